"""Image-text matching (ALBEF: Li et al. 2021, arXiv 2107.07651, section 3.2).

Does this sentence tell of this picture? The wrong pairs are drawn where the contrastive loss finds
them hard to tell from right ones. All that is random comes in as uniform draws. Letters: b batch,
c candidates, t word pieces.
"""

import torch
from torch import Tensor

from minivl.objectives.masking import IGNORE


def hard_negative_weights(similarity: Tensor, same: Tensor) -> Tensor:
    """How likely each wrong partner is to be drawn: softmax, with the true ones left out before.

    similarity (b, c) logits, same (b, c) True at true partners -> (b, c), a constant. A row adds
    to 1, or to 0 where all are true. ALBEF, section 3.2; its code leaves them out after the
    softmax, where a sure model has rounded all others to zero.
    """
    with torch.no_grad():
        similarity = similarity.to(torch.promote_types(similarity.dtype, torch.float32))
        weights = similarity.masked_fill(same, -torch.inf).softmax(dim=-1)
        # Also the NaN of a row without any candidate.
        return weights.masked_fill(same, 0.0)


def draw_partners(weights: Tensor, u: Tensor) -> Tensor:
    """One column a row, as often as its weight says: where the running total passes u.

    weights (b, c), which need not add to 1, u (b) uniform in [0, 1) -> (b) int64. A column without
    weight is never drawn, however u is rounded; a row without any weight gives -1.
    """
    possible = weights > 0
    column = torch.arange(weights.shape[1], device=weights.device)
    last = (column * possible).amax(dim=1, keepdim=True)
    total = weights.cumsum(dim=1)
    reached = possible & (total > u.unsqueeze(1) * total[:, -1:])
    drawn = torch.where(reached, column, last).amin(dim=1)
    return drawn.masked_fill(~possible.any(dim=1), -1)


def itm_batch(
    image: Tensor, text: Tensor, negative_image: Tensor, negative_text: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The right pairs, then each text with a wrong picture, then each picture with a wrong text.

    image (b, ...), text (b, ...), the wrong partners' rows (b) each -> image (3b, ...), text
    (3b, ...), labels (3b): 1 = match. Section 3.2. A partner of -1 is none: that row's label is
    -100, which `F.cross_entropy` leaves out.
    """
    wrong = torch.stack([negative_image, negative_text])
    labels = torch.cat([torch.ones_like(negative_image), wrong.clamp(max=0).flatten()])
    wrong_image, wrong_text = wrong.clamp(min=0)
    return (
        torch.cat([image, image[wrong_image], image]),
        torch.cat([text, text, text[wrong_text]]),
        labels.masked_fill(labels < 0, IGNORE),
    )


def same_pairs(input_ids: Tensor, picture_ids: Tensor | None = None) -> Tensor:
    """Who is no wrong partner: equal captions, equal pictures, and each pair itself.

    input_ids (b, t), picture_ids (b) or None -> (b, b) bool. ALBEF's pretraining leaves out the
    pair itself only; its fine-tuning for retrieval also equal pictures.
    """
    same = (input_ids.unsqueeze(1) == input_ids).all(dim=2)
    if picture_ids is not None:
        same = same | (picture_ids.unsqueeze(1) == picture_ids)
    return same

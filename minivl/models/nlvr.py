"""Two pictures and a statement: ALBEF's paired cross-attention (Li et al. 2021, section 4, NLVR2).

Each fusion block becomes two that share keys and values: the words look at the left picture, then
at the right one. Before the task itself, *text assignment* teaches which of two pictures a sentence
belongs to, or that it belongs to neither. Letters: b examples, t word pieces, n tokens of a
picture, d their width.
"""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from minivl.models.albef_encoders import Encoders
from minivl.models.finetune import ALBEF_UNREAD, Batch, freeze
from minivl.models.weighed import weighed
from minivl.nn.fusion import FusionBlock
from minivl.nn.precision import wide
from minivl.nn.transformer import init_transformer
from minivl.objectives import masked
from minivl.objectives.masking import IGNORE
from minivl.objectives.matching import draw_partners, hard_negative_weights, same_pairs

LEFT, RIGHT, NEITHER = range(3)
"""Which picture the sentence belongs to."""

TEMPERATURE = 0.07
"""How alike pictures look where wrong ones are drawn; a constant in the paper's code."""


class TwoPicturesExit(nn.Module):
    """ALBEF's [CLS] after it has looked at two pictures.

    In the paper's code the blocks for the two pictures take turns in one stack; here they are two
    stacks that are gone through together, so that each may start from the pretrained one.
    """

    def __init__(self, model: Encoders):
        super().__init__()
        self.model = model
        self.width = model.fusion_encoder.width
        self.second = copy.deepcopy(model.fusion_encoder)
        for left, right in self.blocks():
            right.cross_attention.k_proj = left.cross_attention.k_proj
            right.cross_attention.v_proj = left.cross_attention.v_proj
        freeze(model, (*ALBEF_UNREAD, "fusion_encoder.norm"))

    def blocks(self) -> Iterator[tuple[FusionBlock, FusionBlock]]:
        """Pairs of fusion blocks, for the left and for the right picture."""
        return zip(self.model.fusion_encoder.blocks, self.second.blocks, strict=True)

    def forward(self, batch: Batch) -> Tensor:
        """images (b, 2, 3, h, w), input_ids and attention_mask (b, t) -> (b, width)."""
        images = batch["images"]
        tokens = self.model.image_tokens(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        words = self.model.text_states(batch["input_ids"], batch["attention_mask"])
        return self.fuse(words, tokens[:, 0], tokens[:, 1], batch["attention_mask"])

    def fuse(self, words: Tensor, left: Tensor, right: Tensor, attention_mask: Tensor) -> Tensor:
        """words (b, t, width), left and right (b, n, d), attention_mask (b, t) -> (b, width)."""
        visible = attention_mask.to(torch.bool)
        for first, second in self.blocks():
            words = first(words, left, visible)
            words = second(words, right, visible)
        return self.second.norm(words[:, 0])


class TextAssignment(nn.Module):
    """An exit for two pictures learns from captioned pictures, before there are any statements.

    Wrong pictures are those of this process; the mean over sentences is that of all together.
    """

    def __init__(self, exit: TwoPicturesExit):
        super().__init__()
        self.exit = exit
        self.head = nn.Linear(exit.width, 3)
        init_transformer(self.head, exit.width)
        self.gather: Any = None
        self.monitors: dict[str, Tensor] = {}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """{"assignment": scalar} of image (b, 3, h, w), input_ids, attention_mask (b, t), and
        perhaps picture_ids (b)."""
        model, seen = self.exit.model, batch["attention_mask"]
        tokens = model.image_tokens(batch["image"])
        with torch.no_grad():
            looks = model.image_vector(tokens)
            same = same_pairs(batch["input_ids"], batch.get("picture_ids"))
            weights = hard_negative_weights(looks @ looks.T / TEMPERATURE, same)
            left, right, labels = assign_pictures(
                weights, torch.rand(3, len(tokens), device=tokens.device)
            )
        words = model.text_states(batch["input_ids"], seen)
        logits = wide(self.head(self.exit.fuse(words, tokens[left], tokens[right], seen)))
        right, asked = masked.scored(logits.detach(), labels)
        self.monitors["assignment_accuracy"] = right / asked.clamp(min=1)
        learning = self.training and torch.is_grad_enabled()
        mean = masked.masked_cross_entropy(logits, labels)
        return {"assignment": weighed(mean, asked, self.gather if learning else None)}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses, so that DDP and torch.compile wrap what training computes."""
        return self.losses(batch)


def assign_pictures(weights: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Put a picture on each side of each sentence: its own and a wrong one, or two wrong ones.

    weights (b, b): how likely each wrong picture is to be drawn for each sentence, u (3, b) uniform
    in [0, 1) -> rows of the left and of the right pictures (b) each, and labels (b): LEFT or RIGHT,
    each as often as NEITHER, or -100 where there are not enough wrong pictures. Section 4.
    """
    own = torch.arange(len(weights), device=weights.device)
    wrong = draw_partners(weights, u[1])
    others = weights.scatter(1, wrong.clamp(min=0).unsqueeze(1), 0.0)
    another = draw_partners(others, u[2])
    labels = (3 * u[0]).long().clamp(max=NEITHER)
    left = torch.where(labels == LEFT, own, wrong)
    right = torch.where(labels == RIGHT, own, torch.where(labels == LEFT, wrong, another))
    labels = labels.masked_fill((left < 0) | (right < 0), IGNORE)
    return left.clamp(min=0), right.clamp(min=0), labels

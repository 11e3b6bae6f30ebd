"""One step of ALBEF, twice: as the paper tells it, and without doing anything twice.

Both compute the same losses, gradients, queues and twin from the same random numbers, but for
dropout. `reference_step` is for reading, `fused_step` trains: one call of each encoder, a picture
made into keys and values once, a text's words heard once, and of the last blocks only what some
loss reads.
"""

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from minivl.models.flava import read_of
from minivl.nn.transformer import first_only
from minivl.nn.vit import patch_grid
from minivl.objectives import matching
from minivl.objectives.masked import selected_rows
from minivl.objectives.masking import IGNORE

if TYPE_CHECKING:
    from minivl.models.albef import Albef, Encoders

Batch = dict[str, Tensor]
Losses = dict[str, Tensor]
States = Tensor | None


class Summaries(NamedTuple):
    """Unit vectors (b, embed_dim) of a batch: the student's, and its momentum twin's."""

    image: Tensor
    text: Tensor
    image_m: Tensor
    text_m: Tensor


class Neighbours(NamedTuple):
    """Logits of each text for the twin's pictures of the batch, and of each picture for its texts,
    None where nobody asks; and who is right for whom: (b, b) each."""

    pictures: Tensor | None
    texts: Tensor | None
    right: Tensor

    def found_right(self) -> Tensor:
        """Share of texts and pictures that find a right partner the most similar, a scalar."""
        first = [one.argmax(dim=1, keepdim=True) for one in (self.pictures, self.texts)]
        return torch.cat([self.right.gather(1, column) for column in first]).float().mean()


def reference_step(model: "Albef", batch: Batch) -> Losses:
    """The losses in the paper's order, each with the passes that belong to it (section 3).

    What is left out where no objective reads it is left out here, too.
    """
    twin, wanted, losses = model.momentum_encoder, model.objectives, {}
    ids, seen, b = batch["input_ids"], batch["attention_mask"].to(torch.bool), len(batch["image"])

    # Each side alone: the student, then its twin, which has followed before.
    image = model.image_tokens(batch["image"])
    text = model.text_states(ids, seen) if wanted & {"itc", "itm"} else None
    model.follow()
    with torch.no_grad():
        image_m = twin.image_tokens(batch["image"]) if model.asks_twin else None
        text_m = twin.text_states(ids, seen) if model.contrasts else None

    # Image-text contrast: the student's summaries look for the twin's. Only then the queue is
    # written, so that no batch meets itself there.
    found = summaries_of(model, (image, text), (image_m, text_m), seen)
    near = model.look_around(found, batch)
    if "itc" in wanted:
        losses["itc"] = model.contrast(found, near, batch)
        model.remember(found, batch)

    # Image-text matching: words look at the picture. Is it theirs? First those whose it is.
    if "itm" in wanted:
        partners = model.wrong_partners(near)
        images, texts, labels = matching.itm_batch(image, text, *partners)
        masks = matching.itm_batch(seen, seen, *partners)[1]
        right = model.fuse(images[:b], texts[:b], masks[:b])
        wrong = model.fuse(images[b:], texts[b:], masks[b:])
        losses["itm"] = model.match(model.judge(torch.cat([right, wrong])), labels)

    # Masked language modeling: words look at the picture. Which are hidden? The twin is asked, too.
    if "mlm" in wanted:
        holed, teacher = batch["mlm_input_ids"], None
        student = model.predict(model.fuse(image, model.text_states(holed, seen), seen))
        if model.distills("mlm"):
            with torch.no_grad():
                teacher = twin.predict(twin.fuse(image_m, twin.text_states(holed, seen), seen))
        losses["mlm"] = model.name_words(student, teacher, batch["mlm_labels"])
    return losses


def fused_step(model: "Albef", batch: Batch) -> Losses:
    """`reference_step` in one call of each encoder of the student, and of its twin.

    Exact: what differs is the order of sums. Of 4b rows of fusion, b each are the right pairs,
    texts with a wrong picture, pictures with a wrong text, and texts with holes.
    """
    twin, losses = model.momentum_encoder, {}
    seen = batch["attention_mask"].to(torch.bool)
    matches, names = "itm" in model.objectives, "mlm" in model.objectives
    student = encode(model, batch, summaries=model.contrasts, matches=matches, names=names)
    model.follow()
    with torch.no_grad():
        teacher = encode(twin, batch, summaries=model.contrasts, names=model.distills("mlm"))
    found = summaries_of(model, student[:2], teacher[:2], seen)
    near = model.look_around(found, batch)
    if "itc" in model.objectives:
        losses["itc"] = model.contrast(found, near, batch)
        model.remember(found, batch)

    image, whole, holed = student
    rows = []
    if matches:
        pairs, labels = rows_of_pairs(whole, seen, model.wrong_partners(near))
        rows.append(pairs)
    if names:
        rows.append(rows_with_holes(holed, seen, batch["mlm_labels"]))
    fused = fuse(model, image, rows)
    if matches:
        losses["itm"] = model.match(model.judge(fused.pop(0)), labels)
    if names:
        # The vocabulary is the largest layer: only what is hidden goes through it.
        hidden = selected_rows(batch["mlm_labels"] != IGNORE)
        scores, doubts = model.predict(fused[0].flatten(0, 1)[hidden]), None
        if model.distills("mlm"):
            with torch.no_grad():
                (fused_m,) = fuse(twin, teacher[0], [rows[-1]._replace(states=teacher[2])])
                doubts = twin.predict(fused_m.flatten(0, 1)[hidden]).unsqueeze(0)
        asked = batch["mlm_labels"].flatten()[hidden]
        losses["mlm"] = model.name_words(scores.unsqueeze(0), doubts, asked.unsqueeze(0))
    return losses


def summaries_of(
    model: "Albef", student: tuple[Tensor, States], twin: tuple[States, States], seen: Tensor
) -> Summaries | None:
    """Unit vectors of tokens (b, 1+n, width) and states (b, t, width); None where none is read."""
    if not model.contrasts:
        return None
    own = model.image_vector(student[0]), model.text_vector(student[1], seen)
    with torch.no_grad():
        keys = model.momentum_encoder
        return Summaries(*own, keys.image_vector(twin[0]), keys.text_vector(twin[1], seen))


def encode(
    encoders: "Encoders", batch: Batch, *, summaries: bool, names: bool, matches: bool = False
) -> tuple[States, States, States]:
    """Tokens of the pictures (b, 1+n, width), states of whole texts and of those with holes
    (b, t, width), None where nothing reads them: one call of each encoder.

    Fusion reads all states: of whole texts if it `matches`, of those with holes if it `names`.
    Where `summaries` alone are read, and are the class token's, the last block gives only that.
    """
    if not (summaries or names or matches):
        return None, None, None
    seen, device = batch["attention_mask"].to(torch.bool), batch["image"].device
    b, t = seen.shape
    read = None
    if not (names or matches):
        n = 1 + math.prod(patch_grid(batch["image"], encoders.image_encoder.patch_size))
        read = read_of({"whole": b}, n, encoders.image_pool, device)
    image = encoders.image_tokens(batch["image"], read=read)
    versions = {"whole": batch["input_ids"]} if summaries or matches else {}
    versions |= {"holed": batch["mlm_input_ids"]} if names else {}
    read = None
    if not matches:
        read = read_of(dict.fromkeys(versions, b), t, encoders.text_pool, device)
    words = torch.cat(list(versions.values()))
    states = encoders.text_states(words, seen.repeat(len(versions), 1), read=read)
    found = dict(zip(versions, states.split(b), strict=True))
    return image, found.get("whole"), found.get("holed")


class Rows(NamedTuple):
    """Pairs to be fused: texts, states (b, t, width) of which seen (b, t) are no padding; the text
    and the picture of each pair (r); and which states are read of the result (r, t)."""

    states: Tensor
    seen: Tensor
    text: Tensor
    picture: Tensor
    read: Tensor


def rows_of_pairs(
    whole: Tensor, seen: Tensor, partners: tuple[Tensor, Tensor]
) -> tuple[Rows, Tensor]:
    """The pairs of `itm_batch`, of which [CLS] is read, and their labels (3b)."""
    own = torch.arange(len(seen), device=seen.device)
    picture, text, labels = matching.itm_batch(own, own, *partners)
    read = first_only(len(text), seen.shape[1], seen.device)
    return Rows(whole, seen, text, picture, read), labels


def rows_with_holes(holed: Tensor, seen: Tensor, labels: Tensor) -> Rows:
    """Texts with holes, each with its own picture; the hidden places are read."""
    own = torch.arange(len(seen), device=seen.device)
    return Rows(holed, seen, own, own, labels != IGNORE)


def fuse(encoders: "Encoders", image: Tensor, parts: list[Rows]) -> list[Tensor]:
    """Fused states of each part's rows, in one call."""
    if not parts:
        return []
    states, seen, _, picture, _ = (torch.cat(field) for field in zip(*parts, strict=True))
    text = torch.cat([part.text + number * len(image) for number, part in enumerate(parts)])
    read = [part.read for part in parts]
    fused = encoders.fusion_encoder(
        states, image, seen, text_index=text, image_index=picture, read=read
    )
    return list(fused.split([len(mask) for mask in read]))

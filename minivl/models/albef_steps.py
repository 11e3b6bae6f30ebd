"""One step of ALBEF, twice: as the paper tells it, and without doing anything twice.

Both compute the same losses, gradients and queues from the same random numbers. `reference_step`
is for reading; `fused_step` is what trains: one call of each encoder, pictures made into keys and
values once, and of the last blocks only what some loss reads.
"""

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from minivl.models.flava import read_of
from minivl.nn.vit import patch_grid
from minivl.objectives import matching
from minivl.objectives.masked import selected_rows
from minivl.objectives.masking import IGNORE

if TYPE_CHECKING:
    from minivl.models.albef import Albef, Encoders

Batch = dict[str, Tensor]
Losses = dict[str, Tensor]


class Summaries(NamedTuple):
    """Unit vectors (b, embed_dim) of a batch: the student's, and its momentum twin's."""

    image: Tensor
    text: Tensor
    image_m: Tensor
    text_m: Tensor


def reference_step(model: "Albef", batch: Batch) -> Losses:
    """The losses one after another, each with the passes of its own (section 3)."""
    twin, losses = model.momentum_encoder, {}
    ids, seen, b = batch["input_ids"], batch["attention_mask"].to(torch.bool), len(batch["image"])

    # The encoders of one side each.
    image = model.image_tokens(batch["image"])
    if model.objectives & {"itc", "itm"}:
        text = model.text_states(ids, seen)
    if model.contrasts or model.distills("mlm"):
        with torch.no_grad():
            image_m = twin.image_tokens(batch["image"])

    # Summaries of pictures and texts meet: the student's look for the twin's.
    found = None
    if model.contrasts:
        with torch.no_grad():
            text_m = twin.text_states(ids, seen)
            features_m = twin.image_vector(image_m), twin.text_vector(text_m, seen)
        found = Summaries(model.image_vector(image), model.text_vector(text, seen), *features_m)
    if "itc" in model.objectives:
        losses["itc"] = model.contrast(found, batch)
        model.remember(found, batch)

    # Words look at the picture: do the two belong together?
    if "itm" in model.objectives:
        partners = model.wrong_partners(found, batch)
        images, texts, labels = matching.itm_batch(image, text, *partners)
        masks = matching.itm_batch(seen, seen, *partners)[1]
        right = model.fuse(images[:b], texts[:b], masks[:b])
        wrong = model.fuse(images[b:], texts[b:], masks[b:])
        losses["itm"] = model.match(model.judge(torch.cat([right, wrong])), labels)

    # Words look at the picture: what is hidden?
    if "mlm" in model.objectives:
        holed = batch["mlm_input_ids"]
        fused = model.fuse(image, model.text_states(holed, seen), seen)
        teacher = None
        if model.distills("mlm"):
            with torch.no_grad():
                teacher = twin.predict(twin.fuse(image_m, twin.text_states(holed, seen), seen))
        losses["mlm"] = model.name_words(model.predict(fused), teacher, batch["mlm_labels"])
    return losses


def fused_step(model: "Albef", batch: Batch) -> Losses:
    """`reference_step` with one call of each encoder of the student and of the twin.

    Exact: equal losses and gradients but for the order of sums. Of 4b rows of fusion, b each are
    the right pairs, texts with a wrong picture, pictures with a wrong text, and texts with holes.
    """
    twin, losses = model.momentum_encoder, {}
    seen = batch["attention_mask"].to(torch.bool)
    matches, names = "itm" in model.objectives, "mlm" in model.objectives
    image, whole, holed = encode(
        model, batch, summaries=model.contrasts, matches=matches, names=names
    )
    with torch.no_grad():
        image_m, whole_m, holed_m = encode(
            twin, batch, summaries=model.contrasts, names=model.distills("mlm")
        )
    found = None
    if model.contrasts:
        with torch.no_grad():
            features_m = twin.image_vector(image_m), twin.text_vector(whole_m, seen)
        found = Summaries(model.image_vector(image), model.text_vector(whole, seen), *features_m)
    if "itc" in model.objectives:
        losses["itc"] = model.contrast(found, batch)
        model.remember(found, batch)

    own = torch.arange(len(seen), device=seen.device)
    pictures, texts, masks, read = [], [], [], []
    if matches:
        picture, text, labels = matching.itm_batch(own, own, *model.wrong_partners(found, batch))
        pictures.append(picture)
        texts.append(whole.index_select(0, text))
        masks.append(seen[text])
        read += read_of({"whole": len(text)}, seen.shape[1], 1, seen.device)
    if names:
        hidden = batch["mlm_labels"] != IGNORE
        pictures.append(own)
        texts.append(holed)
        masks.append(seen)
        read.append(hidden)
    if not read:
        return losses
    fused = model.fuse(
        image, torch.cat(texts), torch.cat(masks), image_index=torch.cat(pictures), read=read
    )
    if matches:
        losses["itm"] = model.match(model.judge(fused[: len(labels)]), labels)
    if names:
        rows = selected_rows(hidden)
        teacher = None
        if model.distills("mlm"):
            with torch.no_grad():
                fused_m = twin.fuse(image_m, holed_m, seen, read=hidden)
                teacher = scores(twin, fused_m, rows)
        student = scores(model, fused[-len(own) :], rows)
        labels = batch["mlm_labels"].flatten()[rows].unsqueeze(0)
        losses["mlm"] = model.name_words(student, teacher, labels)
    return losses


def encode(
    encoders: "Encoders", batch: Batch, *, summaries: bool, names: bool, matches: bool = False
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Tokens of the pictures (b, 1+n, width), states of whole texts and of those with holes
    (b, t, width), None where nothing reads them: one call of each encoder.

    Fusion reads all states: of whole texts it `matches`, of those with holes it `names`; of what
    only `summaries` are read, the last block gives the class token alone, where that is the
    summary.
    """
    if not (summaries or names or matches):
        return None, None, None
    seen, device = batch["attention_mask"].to(torch.bool), batch["image"].device
    (b, t), first = seen.shape, {"cls": 1, "mean": None}
    read = None
    if not (names or matches):
        n = 1 + math.prod(patch_grid(batch["image"], encoders.image_encoder.patch_size))
        read = read_of({"whole": b}, n, first[encoders.image_pool], device)
    image = encoders.image_tokens(batch["image"], read=read)
    versions = {"whole": batch["input_ids"]} if summaries or matches else {}
    versions |= {"holed": batch["mlm_input_ids"]} if names else {}
    first = None if matches else first[encoders.text_pool]
    read = read_of(dict.fromkeys(versions, b), t, first, device)
    words = torch.cat(list(versions.values()))
    states = encoders.text_states(words, seen.repeat(len(versions), 1), read=read)
    found = dict(zip(versions, states.split(b), strict=True))
    return image, found.get("whole"), found.get("holed")


def scores(encoders: "Encoders", fused: Tensor, rows: Tensor) -> Tensor:
    """Scores of all words (1, rows, words) at some places, counted through fused (b, t, width)."""
    return encoders.predict(fused.flatten(0, 1)[rows]).unsqueeze(0)

"""ALBEF's official state dicts (github.com/salesforce/ALBEF) and ours: every layout, both ways.

    pretrain         ALBEF.pth: encoders, projections, both heads, twins, queues
    retrieval        fine-tuned on COCO or Flickr30k, and for grounding: no MLM head; whose pictures
                     the queue holds
    vqa              encoders and an answer decoder
    classification   encoders and a head of two layers: SNLI-VE, and NLVR2 with its fusion blocks
                     doubled
    assignment       NLVR2's pre-training with text assignment

All functions are pure: tensors by name in, tensors by name out. A name that is unknown or lacks
its tensor is an error that says which; what is left out on purpose is told elsewhere in the file
(`implied`), and is checked to say the same.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

import torch

from minivl.errors import UserError
from minivl.weights.names import (
    Names,
    Tensors,
    check_names,
    embedding_names,
    fusion_layer_names,
    head_names,
    layer_names,
    linear,
    to_ours,
    to_theirs,
    vit_names,
)

Task = Literal["pretrain", "retrieval", "vqa", "classification", "assignment"]

TWIN = "momentum_encoder."
"""What stands in front of our names of the momentum twin's parts."""

OFFICIAL_MARKS: dict[str, Task] = {
    "text_encoder.bert.": "pretrain",
    "text_decoder.": "vqa",
    "idx_queue": "retrieval",
    "ta_head.": "assignment",
    "cls_head.": "classification",
}
"""The beginning of a name that only files of this task have."""

OUR_MARKS: dict[str, Task] = {
    "id_queue": "retrieval",
    "mlm_head.": "pretrain",
    "answer_decoder.": "vqa",
    "assignment_head.": "assignment",
    "head.": "classification",
}


UNTRAINED = ("mlm_head.", f"{TWIN}mlm_head.")
"""What our model keeps while it is fine-tuned for retrieval, and the official one has not."""

EXPORT_REMEDY = "export a model of the official parts: post-norm texts, patches without a stem"


@dataclass(frozen=True)
class Layout:
    """What of ALBEF a file holds, and how many blocks."""

    task: Task
    image_depth: int
    text_depth: int
    fusion_depth: int
    decoder_depth: int = 0
    twins: bool = True


def from_official(tensors: Tensors) -> Tensors:
    """The tensors of an official file under our names. UserError where they are not ALBEF's."""
    names, told = names_of(official_layout(tensors)), implied(tensors)
    rest = {name: value for name, value in tensors.items() if name in told}
    check_names("ALBEF's file", tensors.keys() - told.keys(), names, "use one of its own code")
    for name, value in rest.items():
        if not torch.equal(value, told[name]):
            raise UserError(
                f"{name} differs from {_source_of(name)}, which ALBEF ties it to",
                "use a file that ALBEF's own code has written",
            )
    ours = to_ours(tensors, names)
    return ours | {n: ours[n].reshape(()) for n in ours.keys() & {"queue_pointer"}}


def to_official(tensors: Tensors) -> Tensors:
    """Our tensors under the official names, tied ones written twice, as the official code does.

    UserError where the official code has no place for one of them, or finds none for its own.
    """
    layout = our_layout(tensors)
    names = names_of(layout)
    if layout.task == "retrieval":
        tensors = {name: t for name, t in tensors.items() if not name.startswith(UNTRAINED)}
    ours = {own for parts in names.values() for own in parts}
    check_names("a model for ALBEF's code", tensors, ours, EXPORT_REMEDY)
    theirs = to_theirs(tensors, names)
    theirs |= {n: theirs[n].reshape(1) for n in theirs.keys() & {"queue_ptr"}}
    return theirs | implied(theirs)


def official_layout(names: Collection[str]) -> Layout:
    """Which of the layouts an official file has. UserError if it is none of ALBEF's."""
    tasks = [task for mark, task in OFFICIAL_MARKS.items() if _begins(names, mark)]
    if not tasks or not _begins(names, "visual_encoder."):
        raise UserError(
            f"no file of ALBEF: it begins with {', '.join(sorted(names)[:3])}",
            "ALBEF's files have visual_encoder and text_encoder; DeiT's and BERT's have their own "
            "readers",
        )
    layers = f"text_encoder.{'bert.' if tasks[0] == 'pretrain' else ''}encoder.layer"
    depth = _count(names, layers)
    fusion = [n for n in range(depth) if _begins(names, f"{layers}.{n}.crossattention.")]
    return Layout(
        tasks[0],
        image_depth=_count(names, "visual_encoder.blocks"),
        text_depth=depth - len(fusion),
        fusion_depth=len(fusion),
        decoder_depth=_count(names, "text_decoder.bert.encoder.layer"),
        twins=_begins(names, "visual_encoder_m."),
    )


def our_layout(names: Collection[str]) -> Layout:
    """Which of the layouts a model of ours has. UserError if it is none of ALBEF's."""
    tasks = [task for mark, task in OUR_MARKS.items() if _begins(names, mark)]
    if not tasks or not _begins(names, "fusion_encoder."):
        raise UserError(
            "these are no weights of ALBEF: it has a fusion_encoder and a head to pretrain or "
            "fine-tune with",
            "name a run of `minivl train albef`",
        )
    return Layout(
        tasks[0],
        image_depth=_count(names, "image_encoder.transformer.blocks"),
        text_depth=_count(names, "text_encoder.transformer.blocks"),
        fusion_depth=_count(names, "fusion_encoder.blocks"),
        decoder_depth=_count(names, "answer_decoder.blocks"),
        twins=_begins(names, TWIN),
    )


def names_of(layout: Layout) -> Names:
    """The official names of a layout, all of them but those in `implied`, and ours."""
    names = encoder_names(layout)
    if layout.twins:
        names |= {_twin(a): tuple(f"{TWIN}{own}" for own in b) for a, b in names.items()}
    if layout.task in ("pretrain", "retrieval"):
        names |= linear("itm_head", "itm_head")
        names |= {f"{kind}_queue": (f"{kind}_queue",) for kind in ("image", "text")}
        names["queue_ptr"] = ("queue_pointer",)
    if layout.task == "retrieval":
        names["idx_queue"] = ("id_queue",)
    if layout.task == "assignment":
        names |= linear("ta_head", "assignment_head")
    if layout.task not in ("vqa", "classification"):
        names["temp"] = ("temperature",)
    return names


def encoder_names(layout: Layout) -> Names:
    """What has, or could have, a momentum twin."""
    bert = "text_encoder.bert." if layout.task == "pretrain" else "text_encoder."
    names = vit_names("visual_encoder.", "image_encoder.", layout.image_depth)
    names |= bert_names(bert, layout.text_depth, layout.fusion_depth)
    if layout.task == "pretrain":
        names |= head_names("text_encoder.cls.", "mlm_head.")
    if layout.task == "vqa":
        names |= decoder_names(layout.decoder_depth)
    elif layout.task == "classification":
        names |= linear("cls_head.0", "head.0") | linear("cls_head.2", "head.2")
    else:
        names |= linear("vision_proj", "image_proj") | linear("text_proj", "text_proj")
    return names


def bert_names(theirs: str, text_depth: int, fusion_depth: int, *, cross: bool = True) -> Names:
    """One BERT, cut where its layers begin to look at the picture: text encoder, fusion encoder."""
    names = embedding_names(theirs, "text_encoder.")
    for index in range(text_depth):
        own = f"text_encoder.transformer.blocks.{index}."
        names |= layer_names(f"{theirs}encoder.layer.{index}.", own)
    for index in range(fusion_depth):
        layer = f"{theirs}encoder.layer.{text_depth + index}."
        names |= fusion_layer_names(layer, f"fusion_encoder.blocks.{index}.", cross=cross)
    return names


def decoder_names(depth: int) -> Names:
    """The answer decoder: embeddings, layers that look at the fused question, prediction head."""
    names = embedding_names("text_decoder.bert.", "answer_decoder.")
    for index in range(depth):
        layer = f"text_decoder.bert.encoder.layer.{index}."
        names |= fusion_layer_names(layer, f"answer_decoder.blocks.{index}.")
    return names | head_names("text_decoder.cls.", "answer_decoder.head.")


def implied(tensors: Tensors) -> Tensors:
    """What official files say twice: counted positions, and the tied decoder of each head."""
    told = {}
    for name, value in tensors.items():
        if name.endswith("embeddings.position_embeddings.weight"):
            ids = torch.arange(len(value)).unsqueeze(0)
            told[name.replace("position_embeddings.weight", "position_ids")] = ids
        if name.endswith("cls.predictions.bias"):
            decoder = name.replace("predictions.bias", "predictions.decoder.")
            words = name.replace("cls.predictions.bias", "bert.embeddings.word_embeddings.weight")
            if words in tensors:
                told |= {f"{decoder}weight": tensors[words], f"{decoder}bias": value}
    return told


def _source_of(name: str) -> str:
    return {"weight": "the word embeddings", "bias": "predictions.bias"}.get(
        name.rsplit(".", 1)[1], "0, 1, 2, ..."
    )


def _twin(name: str) -> str:
    """visual_encoder.norm.bias -> visual_encoder_m.norm.bias."""
    module, rest = name.split(".", 1)
    return f"{module}_m.{rest}"


def _begins(names: Iterable[str], mark: str) -> bool:
    return any(name.startswith(mark) for name in names)


def _count(names: Iterable[str], layers: str) -> int:
    """How many layers there are: names LAYERS.0.rest, LAYERS.1.rest, ..."""
    found = (re.match(rf"{re.escape(layers)}\.(\d+)\.", name) for name in names)
    return max((int(match[1]) for match in found if match), default=-1) + 1

"""ALBEF's official state dicts (github.com/salesforce/ALBEF) and ours: every layout, both ways.

    pretrain         ALBEF.pth: encoders, projections, both heads, twins, queues
    retrieval        fine-tuned on COCO or Flickr30k, and for grounding: no MLM head; whose pictures
                     the queue holds
    vqa              encoders and an answer decoder
    classification   encoders and a head of two layers: SNLI-VE, and NLVR2, whose fusion blocks come
                     in pairs
    assignment       NLVR2's pre-training with text assignment

All functions are pure: tensors by name in, tensors by name out. Only two tensors change: official
pictures are normalised by CLIP's mean and deviation, ours are in [-1, 1], and the patch projection
takes care of that (see `pixels`). A name that is unknown or lacks its tensor is an error that says
which. What is left out on purpose stands elsewhere in the file
(`implied`), and is checked to say the same, or nothing reads it (`UNREAD`).
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
from minivl.weights.pixels import CLIP, Pixels, fold, unfold

Task = Literal["pretrain", "retrieval", "vqa", "classification", "assignment"]

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
    "head.words.": "vqa",
    "head.layers.": "classification",
    "head.weight": "assignment",
}
"""The same of our models: `Albef`, `finetune.Finetuned`, `nlvr.TextAssignment`."""

UNREAD: dict[Task, tuple[str, ...]] = {
    "pretrain": (),
    "retrieval": ("mlm_head",),
    "vqa": ("image_proj", "text_proj", "mlm_head"),
    "classification": ("image_proj", "text_proj", "mlm_head"),
    "assignment": ("mlm_head",),
}
"""Parts that our encoders keep for a task, unread and untrained; the official model has none."""

UNUSED_TEMPERATURE = 0.07
"""The official model of text assignment has one that its code neither trains nor reads."""

EXPORT_REMEDY = "export a model of the official parts: post-norm texts, patches without a stem"


@dataclass(frozen=True)
class Layout:
    """What of ALBEF a file holds, and how many blocks."""

    task: Task
    image_depth: int
    text_depth: int
    fusion_depth: int
    decoder_depth: int = 0
    paired: bool = False
    """Fusion blocks take turns, for the left picture and for the right one."""
    twins: bool = True

    @property
    def encoders(self) -> str:
        """What stands in front of our encoders' names."""
        return "" if self.task in ("pretrain", "retrieval") else "exit.model."

    @property
    def twin(self) -> str:
        """What stands in front of the names of our momentum twin."""
        return "momentum_encoder." if self.task in ("pretrain", "retrieval") else "twin."

    @property
    def unread(self) -> tuple[str, ...]:
        """Beginnings of names that our model has, and the official one has not."""
        parts = [f"{self.encoders}{part}." for part in UNREAD[self.task]]
        return (*parts, *(f"{self.twin}{part}" for part in parts))


def from_official(tensors: Tensors, pixels: Pixels | None = CLIP) -> Tensors:
    """The tensors of an official file under our names. UserError where they are not ALBEF's.

    `pixels`: the scale of the pictures that they were trained with; they come out for [-1, 1].
    None: no tensor is changed, and the model reads pictures of the official scale.
    """
    layout, told = official_layout(tensors), implied(tensors)
    names = names_of(layout)
    own = tensors.keys() - told.keys()
    own -= {"temp"} if layout.task == "assignment" else set()
    check_names("ALBEF's file", own, names, "use one that its own code has written")
    for name in tensors.keys() & told.keys():
        if not torch.equal(tensors[name], told[name]):
            raise UserError(
                f"{name} differs from {_source_of(name)}, which ALBEF ties it to",
                "use a file that ALBEF's own code has written",
            )
    ours = fold(to_ours(tensors, names), pixels)
    return ours | {name: ours[name].reshape(()) for name in ours.keys() & {"queue_pointer"}}


def to_official(tensors: Tensors, pixels: Pixels | None = CLIP) -> Tensors:
    """Our tensors under the official names, tied ones written twice, as the official code does.

    `pixels`: the scale of the pictures that they will be given; None: no tensor is changed.
    UserError where the official code has no place for one of them, or finds none for its own.
    """
    layout = our_layout(tensors)
    names = names_of(layout)
    read = [name for name in tensors if not name.startswith(layout.unread)]
    ours = {own for parts in names.values() for own in parts}
    check_names("a model for ALBEF's code", read, ours, EXPORT_REMEDY)
    theirs = to_theirs(unfold(tensors, pixels), names)
    theirs |= {name: theirs[name].reshape(1) for name in theirs.keys() & {"queue_ptr"}}
    if layout.task == "assignment":
        theirs["temp"] = torch.tensor(UNUSED_TEMPERATURE)
    return theirs | implied(theirs)


def official_layout(tensors: Tensors) -> Layout:
    """Which of the layouts an official file has. UserError if it is none of ALBEF's."""
    tasks = [task for mark, task in OFFICIAL_MARKS.items() if _begins(tensors, mark)]
    if not tasks or not _begins(tensors, "visual_encoder."):
        raise UserError(
            f"no file of ALBEF: it begins with {', '.join(sorted(tensors)[:3]) or 'nothing'}",
            "ALBEF's have visual_encoder and text_encoder; DeiT and BERT are read as such",
        )
    layers = f"text_encoder.{'bert.' if tasks[0] == 'pretrain' else ''}encoder.layer"
    depth = _count(tensors, layers)
    fusion = [n for n in range(depth) if _begins(tensors, f"{layers}.{n}.crossattention.")]
    keys = [f"{layers}.{n}.crossattention.self.key.weight" for n in fusion[:2]]
    shared = len(keys) == 2 and all(key in tensors for key in keys) and torch.equal(
        *(tensors[key] for key in keys)
    )  # fmt: skip
    return Layout(
        tasks[0],
        image_depth=_count(tensors, "visual_encoder.blocks"),
        text_depth=depth - len(fusion),
        fusion_depth=len(fusion),
        decoder_depth=_count(tensors, "text_decoder.bert.encoder.layer"),
        paired=shared and tasks[0] in ("classification", "assignment"),
        twins=_begins(tensors, "visual_encoder_m."),
    )


def our_layout(names: Collection[str]) -> Layout:
    """Which of the layouts a model of ours has. UserError if it is none of ALBEF's."""
    tasks = [task for mark, task in OUR_MARKS.items() if _begins(names, mark)]
    fusion = [n for n in ("", "exit.model.") if _begins(names, f"{n}fusion_encoder.")]
    if not tasks or not fusion:
        raise UserError(
            "these are no weights of ALBEF: it has a fusion_encoder, and a head to pretrain or "
            "fine-tune with",
            "name a run of minivl train albef, or one that was fine-tuned from it",
        )
    blocks = _count(names, f"{fusion[0]}fusion_encoder.blocks")
    second = _count(names, "exit.second.blocks")
    return Layout(
        tasks[0],
        image_depth=_count(names, f"{fusion[0]}image_encoder.transformer.blocks"),
        text_depth=_count(names, f"{fusion[0]}text_encoder.transformer.blocks"),
        fusion_depth=blocks + second,
        decoder_depth=_count(names, "head.fusion.blocks"),
        paired=second > 0,
        twins=_begins(names, "momentum_encoder.") or _begins(names, "twin."),
    )


def names_of(layout: Layout) -> Names:
    """The official names of a layout, all of them but those in `implied`, and ours."""
    names = student_names(layout)
    if layout.twins:
        names |= {_twin(a): tuple(f"{layout.twin}{own}" for own in b) for a, b in names.items()}
    if layout.task in ("pretrain", "retrieval"):
        names |= linear("itm_head", "itm_head")
        names |= {f"{kind}_queue": (f"{kind}_queue",) for kind in ("image", "text")}
        names |= {"queue_ptr": ("queue_pointer",), "temp": ("temperature",)}
    if layout.task == "retrieval":
        names["idx_queue"] = ("id_queue",)
    return names


def student_names(layout: Layout) -> Names:
    """What has, or could have, a momentum twin."""
    task, own = layout.task, layout.encoders
    bert = f"text_encoder.{'bert.' if task == 'pretrain' else ''}"
    names = vit_names("visual_encoder.", f"{own}image_encoder.", layout.image_depth)
    blocks = [f"{own}fusion_encoder.blocks.{n}." for n in range(layout.fusion_depth)]
    if layout.paired:
        blocks = [
            f"{stack}.blocks.{n}."
            for n in range(layout.fusion_depth // 2)
            for stack in (f"{own}fusion_encoder", "exit.second")
        ]
    names |= bert_names(bert, f"{own}text_encoder.", layout.text_depth, blocks)
    if task in ("pretrain", "retrieval", "assignment"):
        names |= linear("vision_proj", f"{own}image_proj") | linear("text_proj", f"{own}text_proj")
    heads = {
        "pretrain": head_names("text_encoder.cls.", "mlm_head."),
        "vqa": decoder_names(layout.decoder_depth),
        # Between the layers ours has, beside the ReLU, a dropout.
        "classification": linear("cls_head.0", "head.layers.0")
        | linear("cls_head.2", "head.layers.3"),
        "assignment": linear("ta_head", "head"),
    }
    return names | heads.get(task, {})


def bert_names(
    theirs: str, ours: str, text_depth: int, blocks: Iterable[str], *, cross: bool = True
) -> Names:
    """One BERT, cut where its layers begin to look at the picture.

    The first `text_depth` are those of the text encoder `ours`, the others the fusion `blocks`;
    `cross=False`: as `fusion_layer_names`.
    """
    names = embedding_names(theirs, ours)
    for index in range(text_depth):
        block = f"{ours}transformer.blocks.{index}."
        names |= layer_names(f"{theirs}encoder.layer.{index}.", block)
    for index, block in enumerate(blocks, text_depth):
        names |= fusion_layer_names(f"{theirs}encoder.layer.{index}.", block, cross=cross)
    return names


def decoder_names(depth: int) -> Names:
    """The answer decoder: embeddings, layers that look at the fused question, prediction head."""
    blocks = [f"head.fusion.blocks.{n}." for n in range(depth)]
    names = bert_names("text_decoder.bert.", "head.words.", 0, blocks)
    return names | head_names("text_decoder.cls.", "head.predict.")


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

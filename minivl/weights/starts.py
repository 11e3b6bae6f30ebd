"""What a training starts from: encoders trained elsewhere, or ALBEF's made ready for a task.

Tensors by name in, tensors under our names out. Li et al. 2021, sections 3.1 and 4, and the
official code, which renames a file's tensors in each of its training scripts.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from torch import nn

from minivl.errors import UserError
from minivl.nn.vit import interpolate_positions
from minivl.weights import files
from minivl.weights.albef import bert_names, implied
from minivl.weights.names import Names, Tensors, check_names, head_names, to_ours, vit_names
from minivl.weights.pixels import IMAGENET, Pixels, fold

TWIN = "momentum_encoder."
ENCODERS = r"(image|text|fusion)_encoder\.|(image|text)_proj\.|mlm_head\."
"""What of a pretrained model goes on to tasks; the twin has just that."""

CLASSES = ("head.weight", "head.bias")
"""DeiT's classifier of 1,000 classes: left out."""

NEXT_SENTENCE = ("bert.pooler.", "cls.seq_relationship.")
"""BERT's parts that only judge whether a sentence follows another: left out."""

FRESH_FROM_BERT = (
    r"(momentum_encoder\.)?fusion_encoder\.blocks\.\d+\.(cross_attention|norm2)\.",
    r"(momentum_encoder\.)?(image|text)_proj\.",
    r"(itm_head|temperature|image_queue|text_queue|queue_pointer)\b",
)
"""What neither DeiT nor BERT has, and ALBEF's pretraining begins with as it was drawn."""


def from_deit(tensors: Tensors, pixels: Pixels | None = IMAGENET) -> Tensors:
    """DeiT-base (Touvron et al. 2020, arXiv 2012.12877) as ALBEF's image encoder.

    The plain file: a distilled one has a second token, which ALBEF has no place for. DeiT learned
    on pictures normalised by ImageNet's mean and deviation, and sees ours as it saw those. ALBEF's
    code gives it pictures normalised by CLIP's: `pixels=CLIP` begins as that does.
    """
    depth = len([name for name in tensors if re.fullmatch(r"blocks\.\d+\.norm1\.bias", name)])
    ours = _renamed("DeiT", tensors, vit_names("", "image_encoder.", depth), CLASSES)
    return fold(ours, pixels)


def from_bert(tensors: Tensors, fusion_depth: int = 6) -> Tensors:
    """BERT (transformers' names) as text encoder, fusion encoder and MLM head.

    The last `fusion_depth` layers become the fusion encoder's; their cross-attention, with its
    norm, is not in BERT. Files of the first years call norms' weight and bias gamma and beta.
    """
    named = {
        re.sub(r"LayerNorm\.(gamma|beta)$", _norm_kind, name): value
        for name, value in tensors.items()
    }
    layers = [
        n for n in named if re.fullmatch(r"bert\.encoder\.layer\.\d+\.output\.dense\.bias", n)
    ]
    blocks = [f"fusion_encoder.blocks.{n}." for n in range(fusion_depth)]
    depth = len(layers) - fusion_depth
    names = bert_names("bert.", "text_encoder.", depth, blocks, cross=False)
    names |= head_names("cls.", "mlm_head.")
    left_out = [name for name in named if name.startswith(NEXT_SENTENCE)]
    return _renamed("BERT", named, names, [*left_out, *implied(named)])


def with_twins(tensors: Tensors) -> Tensors:
    """The same, and the momentum encoder as a copy of it: how every training begins."""
    return tensors | {f"{TWIN}{name}": value for name, value in tensors.items()}


def for_classification(tensors: Tensors) -> Tensors:
    """What SNLI-VE's model starts with: pretrained encoders and twins, for `finetune.Finetuned`.

    What the task does not read comes along: the model's encoders have it, too.
    """
    return _of_each_twin(tensors, lambda part: _moved(part, {"": "exit.model."}))


def for_vqa(tensors: Tensors) -> Tensors:
    """The same, and an answer decoder that begins as the fusion encoder did.

    Its layers are copies of the fusion encoder's, which the official files count from 6, its
    embeddings the text encoder's, its head the MLM head. Section 4, "Visual Question Answering".
    """
    decoder = {
        r"text_encoder\.(?=\w*embed)": "head.words.",
        r"fusion_encoder\.": "head.fusion.",
        r"mlm_head\.": "head.predict.",
    }
    return _of_each_twin(
        tensors, lambda part: _moved(part, {"": "exit.model."}) | _moved(part, decoder)
    )


def for_two_pictures(tensors: Tensors) -> Tensors:
    """NLVR2's encoders: each fusion block twice, one for each picture.

    In the official files, which count from 6 and let both take turns, layer 6+i becomes 6+2i and
    7+2i. Section 4, "Natural Language for Visual Reasoning".
    """
    places = {r"fusion_encoder\.": "exit.second."}
    return _of_each_twin(
        tensors, lambda part: _moved(part, {"": "exit.model."}) | _moved(part, places)
    )


def resize_positions(tensors: Tensors, grid: tuple[int, int]) -> Tensors:
    """Positions of the image encoder, and of its twin, for pictures of gh x gw patches.

    Bicubic, the class token's kept: 14 x 14 of DeiT to 16 x 16, and 16 x 16 to 24 x 24 for tasks.
    """
    return {
        name: interpolate_positions(value, grid)
        if name.endswith("image_encoder.pos_embed")
        else value
        for name, value in tensors.items()
    }


def load(model: nn.Module, tensors: Tensors, fresh: Iterable[str] = ()) -> list[str]:
    """Fill a model with tensors of our names; returns the names of those that stay as drawn.

    `fresh`: expressions that the names of such tensors match from their beginning. UserError for
    any other that the tensors lack, for one that the model has no place for, and for another shape.
    """
    own = model.state_dict()
    stays = [name for name in own if any(re.match(pattern, name) for pattern in fresh)]
    offered = {name: value for name, value in tensors.items() if name not in stays}
    remedy = "build the model that the weights are of, or name what is to stay as drawn"
    check_names("a file for this model", offered, own.keys() - set(stays), remedy)
    for name, value in offered.items():
        if value.shape != own[name].shape:
            raise UserError(
                f"{name} is {tuple(value.shape)} in the weights, {tuple(own[name].shape)} in this "
                "model",
                "build the model at their size; positions of another picture size can be resized",
            )
    model.load_state_dict(offered, strict=False)
    return stays


def part_of_file(file: Path, part: str, norm: str = "") -> tuple[str, str]:
    """A .safetensors file under our names, and a part that it holds, for `Stage.start_from`.

    `norm`: "pre" or "post", where the blocks that start from it have their norms. UserError for a
    file without the part, or with norms elsewhere: under the same names they do something else.
    """
    names = files.names(file)
    if not any(name.startswith(f"{part}.") for name in names):
        raise UserError(
            f"{file} holds no {part}", "name a file that minivl weights import has written"
        )
    found = "pre" if f"{part}.norm.weight" in names else "post"
    if norm and norm != found:
        raise UserError(
            f"{file} has a {part} with {found}-norm blocks, and this model's are {norm}-norm",
            f"add --text.norm {found}",
        )
    return str(file), part


def parts_of_file(file: Path, parts: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Those of the parts that a file holds, each with where it is."""
    first = {name.split(".")[0] for name in files.names(file)}
    return {part: (str(file), part) for part in parts if part in first}


def _renamed(whose: str, tensors: Tensors, names: Names, left_out: Iterable[str]) -> Tensors:
    """Through a table, once the names are what such a file has."""
    found = tensors.keys() - set(left_out)
    check_names(f"the file of {whose}", found, names, "name the file of a plain base model")
    return to_ours(tensors, names)


def _norm_kind(match: re.Match) -> str:
    return "LayerNorm." + {"gamma": "weight", "beta": "bias"}[match[1]]


def _moved(tensors: Tensors, places: dict[str, str]) -> Tensors:
    """Those tensors whose names begin as one of the places, moved there."""
    return {
        re.sub(f"^{old}", new, name): value
        for name, value in tensors.items()
        for old, new in places.items()
        if re.match(old, name)
    }


def _of_each_twin(tensors: Tensors, make: Callable[[Tensors], Tensors]) -> Tensors:
    """Of a pretrained model: what is made of its encoders, and of their momentum twin if any."""
    student = {n: t for n, t in tensors.items() if re.match(ENCODERS, n)}
    twin = {n.removeprefix(TWIN): t for n, t in tensors.items() if n.startswith(TWIN)}
    return make(student) | {f"twin.{name}": value for name, value in make(twin).items()}

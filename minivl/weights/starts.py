"""What a training starts from: encoders trained elsewhere, or ALBEF's made ready for a task.

Tensors by name in, tensors under our names out. Li et al. 2021, sections 3.1 and 4, and the
official code, which renames a file's tensors in each of its training scripts.
"""

import re
from collections.abc import Callable, Iterable

from torch import nn

from minivl.errors import UserError
from minivl.nn.vit import interpolate_positions
from minivl.weights.albef import TWIN, bert_names, implied
from minivl.weights.names import Names, Tensors, check_names, head_names, to_ours, vit_names

ENCODERS = ("image_encoder.", "text_encoder.", "fusion_encoder.")
IMAGENET = ("head.weight", "head.bias")
"""DeiT's classifier of 1,000 classes: left out."""

NEXT_SENTENCE = ("bert.pooler.", "cls.seq_relationship.")
"""BERT's parts that only judge whether a sentence follows another: left out."""

FRESH_FROM_BERT = (
    r"(momentum_encoder\.)?fusion_encoder\.blocks\.\d+\.(cross_attention|norm2)\.",
    r"(momentum_encoder\.)?(image|text)_proj\.",
    r"(itm_head|temperature|image_queue|text_queue|queue_pointer)\b",
)
"""What neither DeiT nor BERT has, and ALBEF's pretraining begins with as it was drawn."""


def from_deit(tensors: Tensors) -> Tensors:
    """DeiT-base (Touvron et al. 2020, arXiv 2012.12877) as ALBEF's image encoder.

    The plain file: a distilled one has a second token, which ALBEF has no place for.
    """
    depth = len([name for name in tensors if re.fullmatch(r"blocks\.\d+\.norm1\.bias", name)])
    return _renamed("DeiT", tensors, vit_names("", "image_encoder.", depth), IMAGENET)


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
    names = bert_names("bert.", len(layers) - fusion_depth, fusion_depth, cross=False)
    names |= head_names("cls.", "mlm_head.")
    left_out = [name for name in named if name.startswith(NEXT_SENTENCE)]
    return _renamed("BERT", named, names, [*left_out, *implied(named)])


def with_twins(tensors: Tensors) -> Tensors:
    """The same, and the momentum encoder as a copy of it: how every training begins."""
    return tensors | {f"{TWIN}{name}": value for name, value in tensors.items()}


def for_classification(tensors: Tensors) -> Tensors:
    """What SNLI-VE's model starts with: the encoders and their twins, without heads and queues."""
    return _of_each_twin(tensors, lambda part: _inside(part, ENCODERS))


def for_vqa(tensors: Tensors) -> Tensors:
    """Encoders, and an answer decoder that begins as the fusion encoder did.

    Its layers are copies of the fusion encoder's, which the official files count from 6, its
    embeddings the text encoder's, its head the MLM head. Section 4, "Visual Question Answering".
    """
    places = {
        r"text_encoder\.(\w*embed\w*)\.": r"answer_decoder.\1.",
        r"fusion_encoder\.blocks\.": "answer_decoder.blocks.",
        r"mlm_head\.": "answer_decoder.head.",
    }

    def begin(part: Tensors) -> Tensors:
        copies = {
            re.sub(f"^{old}", new, name): value
            for name, value in part.items()
            for old, new in places.items()
            if re.match(old, name)
        }
        return _inside(part, ENCODERS) | copies

    return _of_each_twin(tensors, begin)


def for_two_pictures(tensors: Tensors) -> Tensors:
    """NLVR2's encoders: fusion block i becomes blocks 2i and 2i+1, one for each picture.

    The official files count from 6: layer 6+i becomes 6+2i and 7+2i. Section 4, "Natural Language
    for Visual Reasoning"; projections and temperature stay, for the pre-training of section 4.
    """

    def double(part: Tensors) -> Tensors:
        kept = _inside(part, (*ENCODERS[:2], "image_proj.", "text_proj.", "temperature"))
        for name, value in _inside(part, ("fusion_encoder.",)).items():
            for second in (0, 1):
                block = re.sub(r"\d+", lambda n: str(2 * int(n[0]) + second), name, count=1)  # noqa: B023
                kept[block] = value
        return kept

    return _of_each_twin(tensors, double)


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


def _renamed(whose: str, tensors: Tensors, names: Names, left_out: Iterable[str]) -> Tensors:
    """Through a table, once the names are what such a file has."""
    found = tensors.keys() - set(left_out)
    check_names(f"the file of {whose}", found, names, "name the file of a plain base model")
    return to_ours(tensors, names)


def _norm_kind(match: re.Match) -> str:
    return "LayerNorm." + {"gamma": "weight", "beta": "bias"}[match[1]]


def _inside(tensors: Tensors, parts: tuple[str, ...]) -> Tensors:
    return {name: value for name, value in tensors.items() if name.startswith(parts)}


def _of_each_twin(tensors: Tensors, make: Callable[[Tensors], Tensors]) -> Tensors:
    """The same made of the student's parts and of the momentum twin's, if there is one."""
    student = {name: value for name, value in tensors.items() if not name.startswith(TWIN)}
    twin = {n.removeprefix(TWIN): value for n, value in tensors.items() if n.startswith(TWIN)}
    return make(student) | {f"{TWIN}{name}": value for name, value in make(twin).items()}

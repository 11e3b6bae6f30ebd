"""Published names of tensors beside ours, as tables, and the way along a table in both directions.

A table has a line a tensor: the published name, and our name, or our three where the published
tensor holds queries, keys and values stacked, as timm's does. Only shapes may differ beside that: a
patch's vector is a convolution's kernel there.
"""

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from minivl.errors import UserError

Tensors = dict[str, Tensor]
Names = dict[str, tuple[str, ...]]
"""Published name -> our name, or names of what is stacked there."""

KERNEL = "patch_embed.proj.weight"
"""The one tensor of another shape."""

SHOWN = 4
"""How many names a message tells."""

VIT = {"patch_embed.proj": "patch_embed.projection", "norm": "norm"}
VIT_BLOCK = {
    "norm1": "norm1",
    "attn.proj": "attention.out_proj",
    "norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
BERT_EMBEDDINGS = {
    "embeddings.word_embeddings.weight": "word_embed.weight",
    "embeddings.position_embeddings.weight": "pos_embed.weight",
    "embeddings.token_type_embeddings.weight": "token_type_embed.weight",
    "embeddings.LayerNorm.weight": "embed_norm.weight",
    "embeddings.LayerNorm.bias": "embed_norm.bias",
}
BERT_ATTENTION = {
    "self.query": "q_proj",
    "self.key": "k_proj",
    "self.value": "v_proj",
    "output.dense": "out_proj",
}
BERT_MLP = {"intermediate.dense": "mlp.fc1", "output.dense": "mlp.fc2"}
BERT_HEAD = {"transform.dense": "dense", "transform.LayerNorm": "norm"}


def linear(theirs: str, ours: str) -> Names:
    """A layer with a weight and a bias: linear, convolution or norm."""
    return {f"{theirs}.{kind}": (f"{ours}.{kind}",) for kind in ("weight", "bias")}


def linears(table: Mapping[str, str], theirs: str, ours: str) -> Names:
    """Such layers, one a line of the table, inside a published module and one of ours."""
    pairs = ((f"{theirs}{a}", f"{ours}{b}") for a, b in table.items())
    return {name: own for a, b in pairs for name, own in linear(a, b).items()}


def vit_names(theirs: str, ours: str, depth: int) -> Names:
    """timm's vision transformer, which DeiT, DINO and ALBEF share, and `nn.vit.ViT`.

    theirs, ours: what stands in front of the names, with a dot at the end where it is not empty.
    """
    names = {f"{theirs}{name}": (f"{ours}{name}",) for name in ("cls_token", "pos_embed")}
    names |= linears(VIT, theirs, ours)
    for index in range(depth):
        block, own = f"{theirs}blocks.{index}.", f"{ours}transformer.blocks.{index}."
        names |= linears(VIT_BLOCK, block, own)
        for kind in ("weight", "bias"):
            parts = (f"{own}attention.{letter}_proj.{kind}" for letter in "qkv")
            names[f"{block}attn.qkv.{kind}"] = tuple(parts)
    return names


def embedding_names(theirs: str, ours: str) -> Names:
    """BERT's embeddings with their norm, and those of `nn.bert.Bert`."""
    return {f"{theirs}{a}": (f"{ours}{b}",) for a, b in BERT_EMBEDDINGS.items()}


def layer_names(theirs: str, ours: str) -> Names:
    """A layer of BERT, and a post-norm `nn.transformer.Block`."""
    return {
        **linears(BERT_ATTENTION, f"{theirs}attention.", f"{ours}attention."),
        **linear(f"{theirs}attention.output.LayerNorm", f"{ours}norm1"),
        **linears(BERT_MLP, theirs, ours),
        **linear(f"{theirs}output.LayerNorm", f"{ours}norm2"),
    }


def fusion_layer_names(theirs: str, ours: str, *, cross: bool = True) -> Names:
    """A layer of BERT with cross-attention, and a post-norm `nn.fusion.FusionBlock`.

    `cross=False`: what a layer of plain BERT has of it.
    """
    own, other = f"{ours}self_attention.", f"{ours}cross_attention."
    names = {
        **linears(BERT_ATTENTION, f"{theirs}attention.", own),
        **linear(f"{theirs}attention.output.LayerNorm", f"{ours}norm1"),
        **linears(BERT_MLP, theirs, ours),
        **linear(f"{theirs}output.LayerNorm", f"{ours}norm3"),
    }
    if cross:
        names |= linears(BERT_ATTENTION, f"{theirs}crossattention.", other)
        names |= linear(f"{theirs}crossattention.output.LayerNorm", f"{ours}norm2")
    return names


def head_names(theirs: str, ours: str) -> Names:
    """BERT's prediction head, and a `nn.head.PredictionHead` tied to the word embeddings."""
    names = linears(BERT_HEAD, f"{theirs}predictions.", ours)
    return names | {f"{theirs}predictions.bias": (f"{ours}bias",)}


def to_ours(tensors: Tensors, names: Names) -> Tensors:
    """Published tensors under our names. KeyError for a line of the table without a tensor."""
    ours = {}
    for theirs, parts in names.items():
        tensor = tensors[theirs]
        if theirs.endswith(KERNEL):  # (width, 3, p, p) -> (width, 3*p*p)
            tensor = tensor.flatten(1)
        ours |= zip(parts, [tensor] if len(parts) == 1 else tensor.chunk(len(parts)), strict=True)
    return ours


def to_theirs(tensors: Tensors, names: Names) -> Tensors:
    """The way back: our tensors under the published names."""
    found = {}
    for theirs, parts in names.items():
        tensor = tensors[parts[0]] if len(parts) == 1 else torch.cat([tensors[p] for p in parts])
        if theirs.endswith(KERNEL):
            side = math.isqrt(tensor.shape[1] // 3)
            tensor = tensor.unflatten(1, (3, side, side))
        found[theirs] = tensor
    return found


def check_names(
    whose: str, found: Collection[str], wanted: Collection[str], remedy: str = ""
) -> None:
    """UserError that tells which names are lacking or too many, if any are."""
    lacking, unknown = set(wanted) - set(found), set(found) - set(wanted)
    for what, names in (("lacks", lacking), ("should not have", unknown)):
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            raise UserError(f"{whose} {what} {', '.join(sorted(names)[:SHOWN])}{more}", remedy)

"""Where a transformer looks: attention rollout, gradient-weighted relevance, and the picture.

Rollout (Abnar & Zuidema 2020, arXiv 2005.00928) follows attention through the layers; it depends
on the picture alone. Relevance (Chefer et al. 2021, arXiv 2103.15679) keeps only the attention
that raises a score, such as the similarity to a sentence, so the map changes with the sentence.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from einops import rearrange, reduce
from torch import Tensor

from minivl.visualize.style import Caption, Picture, place, show_image, styled, wrap, write

HOW_TO_READ = (
    "Bright regions weigh most, dark ones least. The number says how much more the peak weighs "
    "than an average patch: near 1, the map is flat and its pattern means little. A map is a hint "
    "at what the model used, no proof."
)
EDGE, SIDE, GAP, LINE, FOOT = 0.15, 2.35, 0.2, 0.2, 0.42


def rollout(maps: Sequence[Tensor], residual: float = 0.5) -> Tensor:
    """How much of each input token reaches each output token, if attention alone moves it.

    maps: one (b, heads, t, t) a layer, first layer first, rows sum to 1. Returns (b, t, t), rows
    (outputs) sum to 1. `residual` is the share that the skip connection is taken to carry.
    """
    total = _identity(maps)
    for weights in maps:
        # A_l = (1 - r) mean_h A_h + r I ;  rollout = A_L ... A_2 A_1
        mixed = (1 - residual) * reduce(weights, "b h t s -> b t s", "mean")
        total = (mixed + residual * _identity(maps)) @ total
    return total


def relevance(maps: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """How much each input token raises a score, through each output token.

    maps, gradients: one (b, heads, t, t) a layer, the gradients of the score with respect to the
    maps. Returns (b, t, t): the identity plus what attention added to it.
    """
    total = _identity(maps)
    for weights, gradient in zip(maps, gradients, strict=True):
        # R <- R + mean_h (grad * A)^+ R
        raised = reduce((gradient * weights).clamp(min=0), "b h t s -> b t s", "mean")
        total = total + raised @ total
    return total


def sentence_relevance(score: Tensor, maps: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
    """What in each picture raises its score: relevance of the patches to the class token.

    score: (b,), computed with gradient from these maps, each from its own picture only;
    maps: one (b, heads, t, t) a layer. Returns (b, gh, gw).
    """
    gradients = torch.autograd.grad(score.sum(), list(maps), retain_graph=True)
    return cls_map(relevance([m.detach() for m in maps], gradients), grid)


def cls_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """The class token's row over the patches, as a map. (b, 1 + gh*gw, ...) -> (b, gh, gw)."""
    return rearrange(tokens[:, 0, 1:], "b (gh gw) -> b gh gw", gh=grid[0], gw=grid[1])


def pooled_map(tokens: Tensor, grid: tuple[int, int], pool: str) -> Tensor:
    """As `cls_map`, for what the model reads: the class token ("cls") or all patches ("mean")."""
    read = tokens[:, :1] if pool == "cls" else tokens[:, 1:].mean(dim=1, keepdim=True)
    return cls_map(read, grid)


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic enlargement without the overshoot below zero. (b, gh, gw) -> (b, h, w)."""
    large = torch.nn.functional.interpolate(
        rearrange(maps.float(), "b h w -> b 1 h w"), size=size, mode="bicubic"
    )
    return rearrange(large, "b 1 h w -> b h w").clamp(min=0)


def _identity(maps: Sequence[Tensor]) -> Tensor:
    tokens = maps[0].shape[-1]
    eye = torch.eye(tokens, dtype=maps[0].dtype, device=maps[0].device)
    return eye.expand(len(maps[0]), tokens, tokens)


@styled
def attention_figure(
    image: np.ndarray,
    maps_by_title: Mapping[str, Tensor | np.ndarray],
    *,
    sentence: str = "",
    columns: int = 4,
) -> Picture:
    """The picture, and beside it the picture lit by each map.

    image: (h, w, 3) uint8; maps_by_title: title -> (gh, gw), not negative; sentence: what was
    asked, written above.
    """
    panels: list[tuple[str, np.ndarray | None]] = [("the picture", None)]
    for title, values in maps_by_title.items():
        panels.append((title, torch.as_tensor(values).detach().float().cpu().numpy()))
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    top = 0.5 if sentence else 0.1
    titles = [wrap(title, 30, 2) for title, _ in panels]
    head = LINE * (1 + max(title.count("\n") for title in titles)) + 0.07
    height = SIDE * image.shape[0] / image.shape[1]
    row_height = head + height + FOOT
    figure = Picture(
        figsize=(2 * EDGE + columns * SIDE + (columns - 1) * GAP, top + rows * row_height)
    )
    if sentence:
        letters = round(columns * SIDE * 11.5)
        write(figure, EDGE, 0.14, f"“{wrap(sentence, letters, 1)}”", fontsize=12, fontweight="bold")
    for i, (_, values) in enumerate(panels):
        x, y = EDGE + i % columns * (SIDE + GAP), top + i // columns * row_height
        write(figure, x, y + head - 0.07, titles[i], va="bottom", fontsize=10.5)
        axes = place(figure, x, y + head, SIDE, height)
        if values is None:
            show_image(axes, image)
            continue
        show_image(axes, lit(image, values))
        note = f"peak {peak(values):.1f} × the average patch"
        write(figure, x, y + head + height + 0.08, note, fontsize=9.5)
    figure.caption = Caption("Where the model looks", alt_text(maps_by_title, sentence),
                             HOW_TO_READ)  # fmt: skip
    return figure


def peak(values: np.ndarray) -> float:
    """Largest over mean of a map: 1 where it is flat."""
    return float(values.max() / max(float(values.mean()), 1e-12))


def lit(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The picture under a heat that leaves dark what weighs nothing. (h, w, 3), (gh, gw) -> uint8.

    The scale starts at zero and reaches at least twice the mean: a flat map looks flat.
    """
    from matplotlib import colormaps

    size = (max(image.shape[0], 256), max(image.shape[0], 256) * image.shape[1] // image.shape[0])
    picture = rearrange(torch.from_numpy(np.array(image)).float() / 255, "h w c -> 1 c h w")
    picture = torch.nn.functional.interpolate(picture, size=size, mode="bicubic").clamp(0, 1)
    grey = rearrange(picture, "1 c h w -> h w c").numpy().mean(-1, keepdims=True)
    top = max(float(values.max()), 2 * float(values.mean()), 1e-12)
    heat = upsample(torch.from_numpy(np.array(values, dtype=np.float32))[None], size)[0].numpy()
    heat = (heat / top).clip(0, 1)
    colour = colormaps["inferno"](heat)[..., :3]
    return (255 * (0.45 * grey + 0.55 * colour)).round().astype(np.uint8)


def alt_text(maps_by_title: Mapping[str, Tensor | np.ndarray], sentence: str) -> str:
    """The maps in words: where each one's peak is."""
    places = []
    for title, values in maps_by_title.items():
        grid = torch.as_tensor(values).detach().float().cpu().numpy()
        row, column = np.unravel_index(grid.argmax(), grid.shape)
        vertical = ("upper", "middle", "lower")[3 * row // grid.shape[0]]
        across = ("left", "centre", "right")[3 * column // grid.shape[1]]
        places.append(f"{title}: brightest in the {vertical} {across} of the picture")
    asked = f" The sentence is “{sentence}”." if sentence else ""
    return f"A picture beside heat maps of it. {'; '.join(places)}.{asked}"

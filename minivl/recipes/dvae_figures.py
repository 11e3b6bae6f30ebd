"""The pictures that a tokenizer's run leaves: reconstructions, the codebook, a picture in words."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from minivl.data.examples import SceneSource, to_tensor
from minivl.evaluation.tokenizer import unseen
from minivl.nn import dvae
from minivl.visualize.codebook import code_examples, codebook_sheet
from minivl.visualize.patches import cut
from minivl.visualize.picture_words import picture_words
from minivl.visualize.reconstructions import reconstructions
from minivl.visualize.style import Caption, Picture

if TYPE_CHECKING:
    from minivl.models.dvae import DVAE

TEMPERATURES = (2.0, 1.0, 1 / 2, 1 / 4, 1 / 16)
SURROUNDINGS = 1
"""Cells of the same code around the one that is shown as the code's tile."""

EXAMPLES, PIECES, LOOKED_AT = 12, 16, 128


@dataclass
class Snapshots:
    """What a model drew of the same pictures at several moments of its training.

    They live in memory: a resumed run shows those since it was resumed.
    """

    drawn: list[tuple[str, np.ndarray]] = field(default_factory=list)

    def add(self, model: "DVAE", images: np.ndarray, device: torch.device) -> None:
        """Draw uint8 images (n, h, w, 3) from their hard codes."""
        label = f"step {model.step:,}\nτ = {model.temperature:.2g}"
        self.drawn.append((label, redrawn(model, images, device)))


def tokenizer_figures(
    model: "DVAE",
    source: SceneSource,
    device: torch.device,
    *,
    shown: int,
    snapshots: Snapshots,
) -> dict[str, Picture]:
    """Figures by file name, of pictures on photographs that training never saw."""
    images = dict(unseen(source, max(LOOKED_AT, shown)))["validation"]
    tokens = model.tokenize(to_tensor(images).to(device)).cpu()
    shares = dvae.code_shares(tokens, model.vocab_size).numpy()
    tiles = code_tiles(model, device)
    few = images[:shown]
    figures = {
        "temperatures": over_temperature(model, few, device),
        "codebook": codebook_sheet(tiles, shares),
        "codes": code_examples(tiles, *named_pieces(images, tokens.numpy(), shares, model.stride)),
        "words": picture_words(
            images[0], tokens[0].numpy(), tiles, redrawn(model, images[:1], device)[0]
        ),
    }
    if snapshots.drawn:
        figures["reconstructions"] = over_training(few, snapshots)
    return figures


def over_training(images: np.ndarray, snapshots: Snapshots) -> Picture:
    """Reconstructions at several moments of the training."""
    reading = (
        "Each picture becomes hard codes, one a cell, and is drawn from them alone. Above the "
        "columns: the step, the temperature τ of the training then, and the mean error in dB "
        "(higher is better)."
    )
    return reconstructions(
        images, snapshots.drawn, caption=Caption("Reconstructions over training", "", reading)
    )


def over_temperature(model: "DVAE", images: np.ndarray, device: torch.device) -> Picture:
    """What the trained decoder draws of soft names at several temperatures, and of hard ones."""
    reading = (
        "The trained model draws from soft names: shares of codes, with Gumbel noise at "
        "temperature τ. At a high τ every cell is a blend of many codes; at a low one it is nearly "
        "one code, though noise may choose a wrong one. Last: the likeliest code, without noise, "
        "which is what a frozen tokenizer gives."
    )
    columns = [
        (f"soft, τ = {temperature:.2g}", softly(model, images, device, temperature))
        for temperature in TEMPERATURES
    ]
    columns.append(("hard codes", redrawn(model, images, device)))
    return reconstructions(
        images, columns, caption=Caption("Soft names at falling temperatures", "", reading)
    )


def redrawn(model: "DVAE", images: np.ndarray, device: torch.device) -> np.ndarray:
    """uint8 (n, h, w, 3) -> the same from hard codes."""
    image = to_tensor(images).to(device)
    return to_uint8(model.decode(model.tokenize(image)))


def softly(
    model: "DVAE", images: np.ndarray, device: torch.device, temperature: float
) -> np.ndarray:
    """uint8 (n, h, w, 3) -> the same from one soft draw of each code; the same noise every time."""
    logits = model.encode(to_tensor(images).to(device))
    u = torch.rand(logits.shape, generator=torch.Generator().manual_seed(0)).to(logits)
    return to_uint8(model.draw(dvae.gumbel_softmax(logits, u, temperature)))


def code_tiles(model: "DVAE", device: torch.device) -> np.ndarray:
    """What each code draws among its like: uint8 (k, stride, stride, 3)."""
    side, cells = model.stride, 2 * SURROUNDINGS + 1
    middle = slice(SURROUNDINGS * side, (SURROUNDINGS + 1) * side)
    parts = []
    for codes in torch.arange(model.vocab_size, device=device).split(256):
        drawn = model.decode(codes[:, None, None].expand(-1, cells, cells))
        parts.append(to_uint8(drawn[..., middle, middle]))
    return np.concatenate(parts)


def named_pieces(
    images: np.ndarray, tokens: np.ndarray, shares: np.ndarray, side: int
) -> tuple[list[int], list[np.ndarray]]:
    """Codes spread evenly over the use of the codebook, and the pieces that each one names."""
    used = np.argsort(-shares, kind="stable")[: int((shares > 0).sum())]
    codes = used[np.unique(np.linspace(0, len(used) - 1, EXAMPLES).round().astype(int))]
    pieces = np.stack([cut(image, side) for image in images])
    found = []
    for code in codes:
        all_of_it = pieces[tokens == code]
        # From all over the pictures: neighbours look alike anyway.
        chosen = np.unique(np.linspace(0, len(all_of_it) - 1, PIECES).round().astype(int))
        found.append(all_of_it[chosen])
    return [int(code) for code in codes], found


def to_uint8(image: Tensor) -> np.ndarray:
    """(b, 3, h, w) in [-1, 1] -> uint8 (b, h, w, 3)."""
    return ((image + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()

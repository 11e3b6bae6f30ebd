"""The pictures that a FLAVA run leaves."""

from typing import TYPE_CHECKING

import torch

from minivl.data.holes import MaskData
from minivl.data.texts import TextSource
from minivl.recipes.figures import contrastive_figures
from minivl.visualize.scenes import Picture

if TYPE_CHECKING:
    from minivl.models.flava import Flava


def flava_figures(
    model: "Flava",
    source: TextSource,
    device: torch.device,
    grid: tuple[int, int],
    masks: MaskData,
) -> dict[str, Picture]:
    """Figures by file name, on drawings of the artist that training never saw."""
    figures: dict[str, Picture] = {}
    if "contrastive" in model.objectives:
        figures |= contrastive_figures(model, source.scenes, device)
    return figures

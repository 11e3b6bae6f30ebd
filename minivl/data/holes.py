"""Pictures with holes: scenes and bare photographs, and which of their patches are hidden.

The picture and its mask follow from (seed, index) alone.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from minivl.data.examples import SceneSource, Split, to_tensor
from minivl.data.scenes import Scene, scene
from minivl.errors import require_field

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class MaskData:
    """Which patches are hidden. Every field is a flag."""

    share: float = 0.4
    """Share of the patches; FLAVA hides 75 of 196."""
    min_block: int = 16
    """Fewest patches that a block is drawn with; on a small grid a fifth of all hidden ones."""
    aspect: tuple[float, float] = (0.3, 1 / 0.3)
    """Least and greatest height of a block over its width."""
    exact: bool = True
    """Hide the same number in every picture; BEiT's code falls short in a third of them."""
    photo_share: float = 0.25
    """Share of the pictures that are photographs without drawings."""
    thing_share: float = 0.0
    """Share of the pictures where one drawing is hidden whole: only a sentence can tell it."""

    def check(self) -> None:
        """Refuse numbers that no mask can be drawn from (UserError)."""
        for name in ("share", "photo_share", "thing_share"):
            require_field(self, name, 0 <= getattr(self, name) <= 1, "a share from 0 to 1")
        require_field(self, "min_block", self.min_block >= 1, "1 or more")
        low, high = self.aspect
        require_field(self, "aspect", 0 < low <= high, "two rising numbers above 0")


class HoledPictures:
    """An endless sequence of pictures with masks: what masked image modeling reads."""

    endless = True

    def __init__(
        self, source: SceneSource, split: Split, grid: tuple[int, int], masks: MaskData, seed: int
    ):
        """`grid`: rows and columns of patches."""
        self.source = source
        self.world = source.world(split)
        self.grid, self.masks, self.seed = grid, masks, seed
        self.size = source.data.image_size
        self.count = round(masks.share * grid[0] * grid[1])

    def __len__(self) -> int:
        raise TypeError("pictures with holes are endless: ask for any index")

    def scene(self, index: int) -> Scene:
        """The scene graph; without things where a bare photograph is due."""
        drawn = scene(self.world, self.seed, index)
        bare = np.random.default_rng((self.seed, index, 1)).random() < self.masks.photo_share
        return replace(drawn, things=()) if bare else drawn

    def mask(self, index: int) -> "torch.Tensor":
        """(gh, gw) bool, True = hidden."""
        import torch

        from minivl.objectives.masking import blockwise_mask

        number = np.random.SeedSequence((self.seed, index, 2)).generate_state(1)[0]
        generator = torch.Generator().manual_seed(int(number))
        draw = np.random.default_rng((self.seed, index, 4))
        if draw.random() < self.masks.thing_share and (things := self.scene(index).things):
            cells = box_cells(things[draw.integers(len(things))].box, self.grid, self.size)
            return hide(cells, self.count, generator)
        return blockwise_mask(
            *self.grid,
            self.count,
            generator,
            self.masks.min_block,
            self.masks.aspect,
            self.masks.exact,
        )

    def __getitem__(self, index: int) -> dict:
        """image uint8 (h, w, 3) and patches_masked (gh, gw) bool."""
        image = self.source.renderer.image(self.scene(index))
        return {"image": image, "patches_masked": self.mask(index)}

    def collate(self, examples: list[dict]) -> dict:
        """image (b, 3, h, w) float32 in [-1, 1]; patches_masked (b, gh, gw) bool."""
        import torch

        return {
            "image": to_tensor(np.stack([example["image"] for example in examples])),
            "patches_masked": torch.stack([example["patches_masked"] for example in examples]),
        }


def box_cells(box: tuple[int, int, int, int], grid: tuple[int, int], size: int) -> "torch.Tensor":
    """Which cells of a grid a box touches: (gh, gw) bool. box: x, y, width, height in pixels."""
    import torch

    x, y, width, height = box
    rows, columns = (torch.arange(cells) * size // cells for cells in grid)
    high, wide = size // grid[0], size // grid[1]
    inside_rows = (rows < y + height) & (rows + high > y)
    inside_columns = (columns < x + width) & (columns + wide > x)
    return inside_rows[:, None] & inside_columns[None, :]


def hide(cells: "torch.Tensor", count: int, generator: "torch.Generator") -> "torch.Tensor":
    """Exactly `count` hidden cells: those given, or as many of them; the rest drawn one by one."""

    from minivl.objectives.masking import fill_up

    given = int(cells.sum())
    if given <= count:
        return fill_up(cells, count - given, generator)
    return fill_up(~cells, count, generator) & cells

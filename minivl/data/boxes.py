"""Pictures with boxes: scenes whose things are to be found, and what every such data set shares.

A box is x0, y0, x1, y1 in pixels (its corners; x1 and y1 are the first column and row behind it)
wherever pictures are cut and judged, and cx, cy, w, h as fractions of the picture's own sides in a
batch, as DETR learns it (Carion et al. 2020, arXiv 2005.12872, section 3.1). Letters: b pictures,
t boxes of the picture that has most, a attributes of the box that has most.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from minivl.data.examples import SceneSource, Split, to_tensor
from minivl.data.scenes import Scene, scene

NONE = -100
"""The label of a place in a batch where there is no box, or no attribute."""

SIZES = ("large", "small")
"""The attributes that every thing of a scene has one of."""


@dataclass(frozen=True)
class Target:
    """What is to be found in one picture, in pixels of the original."""

    boxes: np.ndarray
    """(n, 4) corners."""
    labels: np.ndarray
    """(n,) int64."""
    size: tuple[int, int]
    """Height and width of the picture."""
    areas: np.ndarray | None = None
    """(n,): the area by which a box is small or large; None: its own."""
    crowd: np.ndarray | None = None
    """(n,) bool: many things that nobody told apart; finding them counts neither way."""


# Scenes.


class SceneBoxes:
    """An endless, reproducible sequence of scenes and the boxes of their things.

    Index in, example out. `classes` are the names of the world's concepts, the same on every split;
    `attribute_names` the two sizes and the colours of the pack.
    """

    endless = True
    area_side = 224
    """Side of the picture in whose pixels COCO's small, medium and large are meant here: of one to
    four things about half are medium then, half large, and none is small."""

    def __init__(self, source: SceneSource, split: Split, seed: int, *, attributes: bool = False):
        """`attributes`: tell each thing's size and, where it has one, its colour too."""
        self.source, self.seed, self.attributes = source, seed, attributes
        self.world = source.world(split)
        concepts = source.world("train").sprites
        self.classes = tuple(drawings[0].name for drawings in concepts)
        self.numbers = {drawings[0].concept: n for n, drawings in enumerate(concepts)}
        colours = {c for concept in source.pack.concepts for c in concept.colour.values() if c}
        self.attribute_names = (*SIZES, *sorted(colours))

    def __len__(self) -> int:
        raise TypeError("scenes are endless: ask for any index")

    def scene(self, index: int) -> Scene:
        """The scene graph of one picture."""
        return scene(self.world, self.seed, index)

    def target(self, index: int) -> Target:
        """What is to be found in a picture: the exact boxes of the visible drawings."""
        return self._target(self.scene(index))

    def __getitem__(self, index: int) -> dict:
        """image uint8 (h, w, 3), boxes float32 (n, 4), box_labels int64 (n,), picture_id, size;
        where asked for, attribute_labels int64 (n, 2): size and colour, or `NONE`."""
        drawn = self.scene(index)
        target = self._target(drawn)
        example = {
            "image": self.source.renderer.image(drawn),
            "boxes": fractions(target.boxes, target.size),
            "box_labels": target.labels,
            "picture_id": index,
            "size": target.size,
        }
        if not self.attributes:
            return example
        place = {None: NONE} | {name: n for n, name in enumerate(self.attribute_names)}
        known = [(place[thing.size], place[thing.colour]) for thing in drawn.things]
        return example | {"attribute_labels": np.array(known, np.int64).reshape(-1, 2)}

    def collate(self, examples: list[dict]) -> dict:
        """The batch of `collate_boxes`."""
        return collate_boxes(examples)

    def _target(self, drawn: Scene) -> Target:
        boxes = np.array([thing.box for thing in drawn.things], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = np.array([self.numbers[thing.concept] for thing in drawn.things], np.int64)
        return Target(boxes, labels, (drawn.image_size, drawn.image_size))


# Batches.


def fractions(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Corners (n, 4) in a picture of (height, width) -> cx, cy, w, h as fractions, float32."""
    height, width = size
    first, last = boxes[:, :2], boxes[:, 2:]
    both = np.concatenate([(first + last) / 2, last - first], axis=1)
    return (both / np.array([width, height, width, height])).astype(np.float32)


def collate_boxes(examples: list[dict], *, imagenet: bool = False) -> dict[str, Any]:
    """Stack examples into a batch; pictures stand at the top left of the largest one's frame.

    image (b, 3, h, w) float32, in [-1, 1] or with ImageNet's mean and deviation taken out, 0 beside
    a picture; pixel_mask (b, h, w) bool, True = picture, only where one does not fill the frame;
    boxes (b, t, 4) float32 cx, cy, w, h; box_labels (b, t) int64; attribute_labels (b, t, a) int64,
    only where there are any; picture_ids (b) int64; sizes (b, 2) int64, height and width of the
    originals. Rows are filled up with `NONE`, boxes with 0; t and a are at least 1.
    """
    import torch

    batch = framed([example["image"] for example in examples], imagenet=imagenet)
    batch["boxes"] = torch.from_numpy(padded([one["boxes"] for one in examples], 0.0))
    for name in ("box_labels", "attribute_labels"):
        if name in examples[0]:
            batch[name] = torch.from_numpy(padded([one[name] for one in examples], NONE))
    batch["picture_ids"] = torch.tensor([one["picture_id"] for one in examples])
    batch["sizes"] = torch.tensor([one["size"] for one in examples])
    return batch


def framed(images: list[np.ndarray], *, imagenet: bool = False) -> dict[str, Any]:
    """Pictures uint8 (h, w, 3) of any sizes -> image (b, 3, H, W) float32, and pixel_mask (b, H, W)
    bool where one of them is smaller than the frame."""
    import torch

    shapes = [image.shape[:2] for image in images]
    height, width = (max(sides) for sides in zip(*shapes, strict=True))
    frame = np.zeros((len(images), height, width, 3), np.uint8)
    inside = np.zeros((len(images), height, width), bool)
    for row, mask, image, (h, w) in zip(frame, inside, images, shapes, strict=True):
        row[:h, :w], mask[:h, :w] = image, True
    image, pixel_mask = to_tensor(frame), torch.from_numpy(inside)
    if imagenet:
        from minivl.nn.resnet import IMAGENET

        mean, deviation = (torch.tensor(numbers)[:, None, None] for numbers in IMAGENET)
        image = image.add_(1).div_(2).sub_(mean).div_(deviation)
    if inside.all():
        return {"image": image}
    return {"image": image.mul_(pixel_mask[:, None]), "pixel_mask": pixel_mask}


def padded(rows: list[np.ndarray], fill: float) -> np.ndarray:
    """Arrays of one type and rank, one below the other: (b, longest of each dimension)."""
    shape = [max(1, *lengths) for lengths in zip(*(row.shape for row in rows), strict=True)]
    out = np.full((len(rows), *shape), fill, rows[0].dtype)
    for place, row in zip(out, rows, strict=True):
        place[tuple(slice(length) for length in row.shape)] = row
    return out


# Pictures that change, and boxes that follow exactly.


def flipped(image: Image.Image, boxes: np.ndarray) -> tuple[Image.Image, np.ndarray]:
    """Left and right exchanged."""
    x0, y0, x1, y1 = boxes.T
    return ImageOps.mirror(image), np.stack([image.width - x1, y0, image.width - x0, y1], axis=1)


def resized(
    image: Image.Image, boxes: np.ndarray, size: tuple[int, int]
) -> tuple[Image.Image, np.ndarray]:
    """The whole picture at another (width, height), its shape changed if need be."""
    scale = np.array([size[0] / image.width, size[1] / image.height] * 2)
    return image.resize(size, Image.Resampling.BILINEAR), boxes * scale


def cropped(
    image: Image.Image, boxes: np.ndarray, region: tuple[int, int, int, int]
) -> tuple[Image.Image, np.ndarray, np.ndarray]:
    """The region (corners) of a picture, boxes cut off at its border, and which are left: (n,)."""
    x0, y0, x1, y1 = region
    moved = boxes - np.array([x0, y0, x0, y0])
    inside, kept = clipped(moved, (x1 - x0, y1 - y0))
    return image.crop(region), inside[kept], kept


def clipped(boxes: np.ndarray, size: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes cut off at the border of a picture of (width, height), and which still have an area."""
    inside = boxes.clip(0, np.array([*size, *size]))
    return inside, (inside[:, 2:] > inside[:, :2]).all(axis=1)


def fitted(size: tuple[int, int], short: int, longest: float) -> tuple[int, int]:
    """(width, height) whose shorter side is `short`, smaller where the longer exceeds `longest`."""
    scale = min(short / min(size), longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))

"""Pictures and boxes as COCO keeps them: a folder of pictures and one JSON file of annotations.

Training shows them as DETR and UniT do: flipped, whole or a part of them, at many sizes (Carion et
al. 2020, arXiv 2005.12872, section 4; Hu and Singh 2021, arXiv 2102.10772). `coco_file` reads
the file.
"""

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from minivl.data.boxes import Target, collate_boxes, cropped, fitted, flipped, fractions, resized
from minivl.data.coco_file import Picture, read_annotations
from minivl.data.images import open_image
from minivl.data.stream import CorruptSample, epoch_order
from minivl.errors import DataError, require_field

SUFFIXES = (".jpg", ".jpeg", ".png")
"""By which a picture of a folder is known."""


@dataclass(frozen=True)
class CocoData:
    """How large pictures are shown, in pixels, and how classes are numbered. Each is a flag.

    The defaults are DETR's and UniT's (Carion et al. 2020, section 4).
    """

    short_sides: tuple[int, ...] = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
    """Shorter sides that training draws from."""
    longest: int = 1333
    """The longer side is never longer: then the shorter one is shorter."""
    crop_share: float = 0.5
    """Share of training pictures of which a random part is shown instead of the whole."""
    before_crop: tuple[int, ...] = (400, 500, 600)
    """Shorter sides, one of which a picture is brought to before a part of it is cut out."""
    crop: tuple[int, int] = (384, 600)
    """Shortest and longest side of that part."""
    flip_share: float = 0.5
    """Share of training pictures with left and right exchanged."""
    evaluation_side: int = 800
    """Shorter side in an evaluation."""
    imagenet: bool = False
    """Take out ImageNet's mean and deviation, as published ResNets expect; else from -1 to 1."""
    official_ids: bool = False
    """A class has the number of its category: 91 classes of COCO, where 80 occur."""
    attributes: bool = False
    """Read the attributes of boxes too."""

    def check(self) -> None:
        """Refuse sizes that no picture can be brought to (UserError)."""
        for name in ("short_sides", "before_crop"):
            sides = getattr(self, name)
            require_field(self, name, bool(sides) and min(sides) >= 1, "one side or more, above 0")
        longest = max(self.short_sides)
        require_field(self, "longest", self.longest >= longest, f"{longest} or more")
        require_field(self, "evaluation_side", self.evaluation_side >= 1, "1 or more")
        least, most = self.crop
        fits = 1 <= least <= most and least <= min(self.before_crop)
        require_field(self, "crop", fits, "two rising sides, the first within --before-crop")
        for name in ("crop_share", "flip_share"):
            require_field(self, name, 0 <= getattr(self, name) <= 1, "a share from 0 to 1")


class CocoBoxes:
    """Pictures of a folder with their boxes: index in, example out.

    For evaluation a finite list, each picture whole at one size. For training an endless sequence
    of epochs, so that a picture is cut and flipped anew each time; index and seed say how. `faults`
    is what the file says wrongly: show `faults.report()`.
    """

    area_side = None

    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        data: CocoData | None = None,
        *,
        training: bool = False,
        seed: int = 0,
        classes: Sequence[str] | None = None,
        folder_shared: bool = False,
    ):
        """`classes`: the names that a model has learned, in the order of their numbers; else those
        of the file. `folder_shared`: pictures that the file does not name are of another file.
        Raises DataError for a file that is none, or that has no box."""
        self.images, self.data = Path(images), data or CocoData()
        self.data.check()
        self.endless, self.seed = training, seed
        read = read_annotations(
            Path(annotations),
            official_ids=self.data.official_ids,
            attributes=self.data.attributes,
            classes=classes,
        )
        self.pictures, self.faults = read.pictures, read.faults
        if not folder_shared:
            named = (picture.file_name for picture in self.pictures)
            self.faults = replace(self.faults, unlisted=unlisted(self.images, named))
        self.classes, self.attribute_names = read.classes, read.attribute_names

    def __len__(self) -> int:
        """Pictures, of which an epoch has each once."""
        return len(self.pictures)

    def picture(self, index: int) -> Picture:
        """Which picture stands at an index."""
        if not self.endless:
            return self.pictures[index]
        epoch, offset = divmod(index, len(self.pictures))
        return self.pictures[epoch_order(len(self.pictures), self.seed, epoch)[offset]]

    def target(self, index: int) -> Target:
        """What is to be found in a picture, crowds among it. ValueError in training, where boxes
        are those of a part."""
        if self.endless:
            raise ValueError("training changes its pictures: evaluate CocoBoxes without training")
        return self.pictures[index].target

    def __getitem__(self, index: int) -> dict:
        """image uint8 (h, w, 3), boxes float32 (n, 4), box_labels int64 (n,), picture_id, size of
        the original; where asked for, attribute_labels int64 (n, a). CorruptSample for a picture
        that is missing, broken, or of another size than the file says."""
        picture = self.picture(index)
        image = self._open(picture)
        target = picture.target
        # Crowds are ignored in an evaluation, not learned.
        chosen = np.flatnonzero(~target.crowd)
        boxes = target.boxes[chosen]
        if self.endless:
            draw = np.random.default_rng((self.seed, index, 1))
            image, boxes, kept = augmented(image, boxes, self.data, draw)
            chosen = chosen[kept]
        else:
            size = fitted(image.size, self.data.evaluation_side, self.data.longest)
            image, boxes = resized(image, boxes, size)
        example = {
            "image": np.asarray(image),
            "boxes": fractions(boxes, (image.height, image.width)),
            "box_labels": target.labels[chosen],
            "picture_id": picture.id,
            "size": picture.size,
        }
        if not self.data.attributes:
            return example
        return example | {"attribute_labels": picture.attributes[chosen].astype(np.int64)}

    def collate(self, examples: list[dict]) -> dict:
        """The batch of `collate_boxes`."""
        return collate_boxes(examples, imagenet=self.data.imagenet)

    def _open(self, picture: Picture) -> Image.Image:
        path = self.images / picture.file_name
        try:
            image = open_image(path)
        except DataError as error:
            raise CorruptSample(str(path), error.what) from error
        height, width = picture.size
        if image.size != (width, height):
            found = (
                f"has {image.width} x {image.height} pixels, its boxes are for {width} x {height}"
            )
            raise CorruptSample(str(path), found)
        return image


def unlisted(folder: Path, named: Iterable[str]) -> tuple[str, ...]:
    """Pictures that lie in a folder and are not among those named; none if it cannot be read."""
    try:
        there = os.listdir(folder)
    except OSError:
        return ()
    known = set(named)
    return tuple(sorted(n for n in there if Path(n).suffix.lower() in SUFFIXES and n not in known))


def augmented(
    image: Image.Image, boxes: np.ndarray, data: CocoData, draw: np.random.Generator
) -> tuple[Image.Image, np.ndarray, np.ndarray]:
    """What training shows of a picture: the whole or a part, flipped or not, at a random size.

    boxes (n, 4) corners -> the picture, the boxes left (m, 4), and the numbers of these (m,).
    """
    kept = np.arange(len(boxes))
    if draw.random() < data.flip_share:
        image, boxes = flipped(image, boxes)
    if draw.random() < data.crop_share:
        side = int(draw.choice(data.before_crop))
        image, boxes = resized(image, boxes, fitted(image.size, side, math.inf))
        image, boxes, inside = cropped(image, boxes, crop_region(image.size, data.crop, draw))
        kept = kept[inside]
    side = int(draw.choice(data.short_sides))
    image, boxes = resized(image, boxes, fitted(image.size, side, data.longest))
    return image, boxes, kept


def crop_region(
    size: tuple[int, int], sides: tuple[int, int], draw: np.random.Generator
) -> tuple[int, int, int, int]:
    """Corners of a part of a picture of (width, height): each side drawn from the shortest to the
    longest of `sides` that fits, and then where it lies."""
    least, most = sides
    lengths = [int(draw.integers(min(least, side), min(most, side) + 1)) for side in size]
    x, y = (
        int(draw.integers(side - length + 1)) for side, length in zip(size, lengths, strict=True)
    )
    return x, y, x + lengths[0], y + lengths[1]

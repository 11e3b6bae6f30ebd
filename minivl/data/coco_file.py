"""The annotation file of COCO, read, checked, and its mistakes counted.

https://cocodataset.org/#format-data, bounding boxes only. Visual Genome comes the same way, each
annotation with up to 16 `attribute_ids` of the file's `attributes`, as UniT reads it. What is no
COCO file is an error; what a COCO file says wrongly of a box is named and counted in `Faults`.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minivl.data.boxes import NONE, Target, clipped, padded
from minivl.errors import DataError

ATTRIBUTES = 16
"""Most attributes of one box, as in UniT's Visual Genome."""

FAULTS = {
    "clipped": "boxes cut off at the border of the picture",
    "outside": "boxes wholly outside of the picture, left out",
    "empty": "boxes without an area, left out",
    "unknown class": "boxes of a class that is not in the list, left out",
    "no picture": "boxes of a picture that is not in the list, left out",
    "unknown attribute": "boxes with an attribute that is not in the list, which was left out",
    "many attributes": f"boxes with more than {ATTRIBUTES} attributes, of which the first are kept",
    "crowd": "boxes around a crowd, neither learned nor counted as missed",
    "without boxes": "pictures without boxes, kept and shown with nothing to find",
}
"""Kind -> in words, what is counted first. The last two are no mistakes; they are counted like
them."""

EDGE = 1e-3
"""Pixels by which a box may stand over the border before it counts as cut off: rounded numbers."""


@dataclass(frozen=True)
class Picture:
    """One picture of the list and its boxes."""

    id: int
    file_name: str
    size: tuple[int, int]
    """Height and width."""
    target: Target
    attributes: np.ndarray
    """(n, a) int16, filled up with `NONE`."""


@dataclass(frozen=True)
class Faults:
    """What was found in an annotation file beside its good boxes."""

    path: Path
    pictures: int
    boxes: int
    """Boxes that are left."""
    ids: Mapping[str, tuple[int, ...]]
    """Kind, one of `FAULTS` -> the annotations, or the pictures, of that kind."""
    unlisted: tuple[str, ...] = ()
    """Pictures of the folder that the file does not name."""

    def report(self) -> str:
        """One line: how many of each kind, and the first three of them."""
        boxes, pictures = counted(self.boxes, "boxes"), counted(self.pictures, "pictures")
        parts = [f"{self.path.name}: {boxes} in {pictures}"]
        for kind, found in self.ids.items():
            what = "picture" if kind == "without boxes" else "annotation"
            what += "s" if len(found) > 1 else ""
            parts.append(f"{counted(len(found), FAULTS[kind])} ({what} {_first(found)})")
        if self.unlisted:
            found = counted(
                len(self.unlisted), "pictures of the folder that the file does not name"
            )
            parts.append(f"{found} ({_first(self.unlisted)})")
        return "; ".join(parts)


def counted(number: int, things: str) -> str:
    """How many boxes or pictures, the first of these words: "1 box of ...", "2 boxes of ..."."""
    word, *more = things.split(" ", 1)
    one = {"boxes": "box", "pictures": "picture"}[word]
    return " ".join([f"{number:,}", one if number == 1 else word, *more])


def _first(found: Sequence[object]) -> str:
    return ", ".join(map(str, found[:3])) + (", ..." if len(found) > 3 else "")


@dataclass(frozen=True)
class Annotations:
    """A COCO file, read and checked."""

    pictures: tuple[Picture, ...]
    """In the order of their ids."""
    classes: tuple[str, ...]
    attribute_names: tuple[str, ...]
    faults: Faults


IMAGE = {"id": int, "file_name": str, "width": int, "height": int}
ANNOTATION = {"image_id": int, "category_id": int, "bbox": list}
CATEGORY = {"id": int, "name": str}
"""What an entry of each section must have, and of which type."""

HIGHEST = 10_000
"""Classes that are numbered as they are: a head for more would be a mistake in the file."""


@dataclass(frozen=True)
class Box:
    """One annotation that is kept."""

    corners: np.ndarray
    """(4,)."""
    label: int
    area: float
    crowd: bool
    attributes: np.ndarray
    """(a,) int16."""


def read_annotations(
    path: Path,
    *,
    official_ids: bool = False,
    attributes: bool = False,
    classes: Sequence[str] | None = None,
) -> Annotations:
    """The pictures of a COCO file with their boxes.

    `official_ids`: a class, or an attribute, has the number of its id; `attributes`: read them too;
    `classes`: the names that a model has learned, in the order of their numbers. Raises DataError,
    which names the file and the place in it, for what is no COCO file, and for one of which no box
    is left.
    """
    document = _document(path)
    names, labels = _numbered(path, _names(path, document, "categories"), official_ids, classes)
    attribute_names, marks = (), None
    if attributes:
        told = _names(path, document, "attributes")
        attribute_names, marks = _numbered(path, told, official_ids)
    images = _images(path, document)
    found: dict[str, list[int]] = {kind: [] for kind in FAULTS}
    boxes: dict[int, list[Box]] = {number: [] for number in images}
    for number, row in enumerate(_rows(path, document, "annotations", ANNOTATION)):
        if not (_numbers(row["bbox"]) and len(row["bbox"]) == 4):
            raise _malformed(path, f"entry {number} of annotations has no proper bbox")
        if not _numbers(row.setdefault("attribute_ids", [])):
            raise _malformed(path, f"entry {number} of annotations has no proper attribute_ids")
        faults, box = _box(row, images, labels, marks)
        for kind in faults:
            found[kind].append(row.get("id", number))
        if box is not None:
            boxes[row["image_id"]].append(box)
    pictures = tuple(_picture(images[number], boxes[number]) for number in sorted(images))
    found["without boxes"] = [one.id for one in pictures if one.target.crowd.all()]
    left = sum(int((~one.target.crowd).sum()) for one in pictures)
    ids = {kind: tuple(which) for kind, which in found.items() if which}
    faults = Faults(path, len(pictures), left, ids)
    if not left:
        remedy = "give the annotations of these pictures, with the classes that you expect"
        raise DataError(f"no box is left to be found: {faults.report()}", remedy)
    return Annotations(pictures, names, attribute_names, faults)


def _document(path: Path) -> dict:
    try:
        document = json.loads(path.read_text(encoding="utf8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", "check the path") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is broken JSON: {error}", "fetch the file again") from error
    if not isinstance(document, dict):
        raise _malformed(path, "it holds no sections")
    return document


def _rows(path: Path, document: dict, section: str, keys: Mapping[str, type]) -> Iterator[dict]:
    """The entries of a section, each checked to have these keys with values of these types."""
    rows = document.get(section)
    if not isinstance(rows, list):
        raise _malformed(path, f"it has no list of {section}")
    for number, row in enumerate(rows):
        for key, kind in keys.items():
            value = row.get(key) if isinstance(row, dict) else None
            if not isinstance(value, kind) or isinstance(value, bool):
                raise _malformed(path, f"entry {number} of {section} has no proper {key}")
        yield row


def _malformed(path: Path, what: str) -> DataError:
    return DataError(
        f"{path} is not in COCO's form: {what}",
        "give a file with images, annotations and categories, such as instances_val2017.json",
    )


def _images(path: Path, document: dict) -> dict[int, dict]:
    """Id -> entry of the list of pictures."""
    images: dict[int, dict] = {}
    for row in _rows(path, document, "images", IMAGE):
        if row["id"] in images:
            raise _malformed(path, f"two of its images have the id {row['id']}")
        if min(row["width"], row["height"]) < 1:
            raise _malformed(path, f"image {row['id']} has no width or height")
        images[row["id"]] = row
    return images


def _names(path: Path, document: dict, section: str) -> dict[int, str]:
    """Id -> name; a list of bare names is numbered from 0."""
    entries = document.get(section)
    if isinstance(entries, list) and entries and all(isinstance(one, str) for one in entries):
        return dict(enumerate(entries))
    names: dict[int, str] = {}
    for row in _rows(path, document, section, CATEGORY):
        if row["id"] in names or row["id"] < 0:
            raise _malformed(path, f"the id {row['id']} in {section} is negative or stands twice")
        names[row["id"]] = row["name"]
    return names


def _numbered(
    path: Path, names: Mapping[int, str], official: bool, learned: Sequence[str] | None = None
) -> tuple[tuple[str, ...], dict[int, int]]:
    """Names in the order of their labels, and id -> label: without gaps, as the ids are, or as a
    model has learned them."""
    if learned is not None:
        places = {name: number for number, name in enumerate(learned)}
        return tuple(learned), {i: places[name] for i, name in names.items() if name in places}
    if not official:
        ids = sorted(names)
        return tuple(names[i] for i in ids), {i: number for number, i in enumerate(ids)}
    highest = max(names, default=-1)
    if highest > HIGHEST:
        raise DataError(f"{path} has a class numbered {highest}", "leave out --official-ids")
    return tuple(names.get(i, f"(none {i})") for i in range(highest + 1)), {i: i for i in names}


def _numbers(values: object) -> bool:
    """Whether this is a list of numbers, none of them too long for a float."""
    return isinstance(values, list) and all(
        isinstance(one, float) or (type(one) is int and abs(one) < 2**63) for one in values
    )


def _box(
    row: dict,
    images: Mapping[int, dict],
    labels: Mapping[int, int],
    marks: Mapping[int, int] | None,
) -> tuple[list[str], Box | None]:
    """The kinds of what is wrong with an annotation, and its box, if that is kept."""
    image, label = images.get(row["image_id"]), labels.get(row["category_id"])
    if image is None:
        return ["no picture"], None
    if label is None:
        return ["unknown class"], None
    x, y, width, height = row["bbox"]
    # NaN is not above 0, and no picture is larger than any number.
    if not (0 < width < math.inf and 0 < height < math.inf):
        return ["empty"], None
    raw = np.array([[x, y, x + width, y + height]], np.float64)
    corners, kept = clipped(raw, (image["width"], image["height"]))
    if not kept[0]:
        return ["outside"], None
    crowd = bool(row.get("iscrowd", 0))
    attributes, faults = _attributes(row["attribute_ids"], marks)
    faults += ["clipped"] if np.abs(corners - raw).max() > EDGE else []
    faults += ["crowd"] if crowd else []
    area = row.get("area")
    # COCO's own area is that of the outline, which is what it calls small or large.
    area = float(area) if isinstance(area, int | float) and area > 0 else float(width * height)
    return faults, Box(corners[0], label, area, crowd, attributes)


def _attributes(
    ids: Sequence[int], numbers: Mapping[int, int] | None
) -> tuple[np.ndarray, list[str]]:
    """The labels of a box's attributes (a,) int16, and the kinds of what is wrong with them.

    Negative ids fill up a row. Without `numbers` nobody asks for attributes.
    """
    if numbers is None:
        return np.zeros(0, np.int16), []
    named = [number for number in ids if number >= 0]
    known = [numbers[number] for number in named if number in numbers]
    faults = ["unknown attribute"] if len(known) < len(named) else []
    faults += ["many attributes"] if len(known) > ATTRIBUTES else []
    return np.array(known[:ATTRIBUTES], np.int16), faults


def _picture(entry: dict, boxes: list[Box]) -> Picture:
    size = (entry["height"], entry["width"])
    target = Target(
        np.array([box.corners for box in boxes], np.float64).reshape(-1, 4),
        np.array([box.label for box in boxes], np.int64),
        size,
        np.array([box.area for box in boxes], np.float64),
        np.array([box.crowd for box in boxes], bool),
    )
    rows = [box.attributes for box in boxes]
    attributes = padded(rows, NONE) if rows else np.zeros((0, 1), np.int16)
    return Picture(entry["id"], entry["file_name"], size, target, attributes)

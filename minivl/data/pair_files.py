"""Pictures with captions in files: the JSON of ALBEF's repository, which holds Karpathy's splits.

    [{"image": "val2014/COCO_val2014_000000391895.jpg", "caption": ["A man ...", "...", ...]}, ...]

Pictures lie where "image" says, in a folder. "caption" is a list, or one string; entries with one
picture become one. COCO and Flickr30k as Karpathy and Fei-Fei (2015, arXiv 1412.2306) divide them
come in this form.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minivl.data.images import open_image
from minivl.errors import DataError, UserError

FORM = '[{"image": "folder/picture.jpg", "caption": ["a dog", "a brown dog"]}, ...]'
READERS = 4
"""Pictures that are decoded at once."""


@dataclass(frozen=True)
class PairFile:
    """Which pictures have which captions."""

    name: str
    """The file's name without its folder."""
    folder: Path
    images: tuple[str, ...]
    """Where in the folder each picture is."""
    captions: tuple[tuple[str, ...], ...]
    """Of each picture, one or more."""
    left_out: tuple[str, ...] = ()
    """What of the file is not here, and why: a line each."""

    def pictures(self, side: int, size: int) -> Iterator[list[np.ndarray | str]]:
        """In their order, `size` at a time: uint8 (side, side, 3), or why there is none.

        The whole picture as a square, bicubic, whatever its own shape: the official test's.
        """
        paths = [self.folder / image for image in self.images]
        with ThreadPoolExecutor(READERS) as readers:
            for first in range(0, len(paths), size):
                part = paths[first : first + size]
                yield list(readers.map(lambda path: square(path, side), part))


def square(path: Path, side: int) -> np.ndarray | str:
    """A picture resized to (side, side, 3) uint8; of a broken one what is wrong with it."""
    from PIL import Image

    try:
        picture = open_image(path)
    except DataError as error:
        return error.what
    return np.array(picture.resize((side, side), Image.Resampling.BICUBIC))


def read(path: str | Path, folder: str | Path) -> PairFile:
    """The pairs of a file, without pictures that the folder lacks and captions without a word.

    UserError for a file or a folder that is not there, DataError for one that is no such list, or
    of which nothing is left.
    """
    path, folder = Path(path), Path(folder)
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}", "name the one that the pictures lie in")
    found: dict[str, list[str]] = {}
    left_out = []
    for number, entry in enumerate(_entries(path)):
        image, captions = _pair(entry, f"{path}, entry {number}")
        said = [caption for caption in captions if any(map(str.isalnum, caption))]
        if len(said) < len(captions):
            left_out.append(f"entry {number}: a caption of {image} has no word")
        if said:
            found.setdefault(image, []).extend(said)
        elif not captions:
            left_out.append(f"entry {number}: {image} has no caption")
    missing = [image for image in found if not (folder / image).is_file()]
    if len(missing) == len(found):
        looked = f": {folder / missing[0]} does not exist" if missing else ""
        raise DataError(
            f"of {path} no picture with a caption is left{looked}",
            "name with --images the folder in which the paths of the file begin",
        )
    left_out += [f"{folder / image} does not exist" for image in missing]
    kept = {image: tuple(said) for image, said in found.items() if image not in set(missing)}
    return PairFile(path.name, folder, tuple(kept), tuple(kept.values()), tuple(left_out))


def _entries(path: Path) -> list[Any]:
    if not path.is_file():
        raise UserError(f"there is no file {path}", "check the path; nothing is downloaded here")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON: {error}", "fetch the file again") from error
    if not isinstance(entries, list):
        raise DataError(f"{path} holds no list, but a {type(entries).__name__}", f"give {FORM}")
    if not entries:
        raise DataError(f"{path} is an empty list", f"give {FORM}")
    return entries


def _pair(entry: Any, where: str) -> tuple[str, list[str]]:
    """The picture and the captions of an entry."""
    if not isinstance(entry, dict):
        raise DataError(f"{where} is a {type(entry).__name__}", f"give {FORM}")
    image, captions = entry.get("image"), entry.get("caption")
    captions = [captions] if isinstance(captions, str) else captions
    if not isinstance(image, str) or not image:
        raise DataError(f'{where} names no "image"', f"give {FORM}")
    if not isinstance(captions, list) or not all(isinstance(one, str) for one in captions):
        raise DataError(f'{where} has no "caption" that is text or a list of texts', f"give {FORM}")
    return image, captions

"""The pictures that `minivl show` is asked about, and those that it writes."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minivl.commands.parser import did_you_mean
from minivl.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from minivl.data.examples import SceneSource, Split
    from minivl.visualize.style import Picture

SHOWN = 5
"""Answers that are printed."""
SEED = 1
"""Of the scenes that are shown; an evaluation reads others."""


def device() -> Any:
    """One picture is quickest on the CPU."""
    import torch

    return torch.device("cpu")


def picture_of(name: str, source: "SceneSource") -> tuple["np.ndarray", str]:
    """The picture (h, w, 3) uint8 at the run's size, and its caption if it is a scene."""
    place = scene_place(name)
    if place is None:
        return from_file(Path(name), source.data.image_size), ""
    split, number = place
    examples = source.examples(split, SEED)
    return examples[number]["image"], examples.caption(number)


def scene_place(name: str) -> tuple["Split", int] | None:
    """The split and the number that SPLIT:NUMBER means; None for the name of a file."""
    from minivl.data.examples import SPLITS

    split, colon, number = name.partition(":")
    if not colon or Path(name).exists():
        return None
    split = "validation" if split == "scene" else split
    if split not in SPLITS:
        raise UserError(f"there is no split {split!r}", did_you_mean(split, ("scene", *SPLITS)))
    if not number.isdigit():
        raise UserError(f"{name}: {number!r} is no scene's number", f"for instance {split}:0")
    return split, int(number)


def from_file(path: Path, side: int) -> "np.ndarray":
    """The middle square of a picture file, at the model's size. (side, side, 3) uint8."""
    import numpy as np
    from PIL import ImageOps

    from minivl.data.images import open_image

    if not path.is_file():
        raise UserError(f"there is no picture {path}", "name a file, or a scene such as scene:0")
    return np.array(ImageOps.fit(open_image(path), (side, side)))


def write(figure: "Picture", out: Path, **options: Any) -> None:
    """Save the picture of where the model looked; options: of matplotlib's savefig."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, format="png", **options)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}", "choose another --out") from error


def file_name(image: str) -> str:
    """scene:0 -> scene_0; pictures/dog.jpg -> dog."""
    stem = image if ":" in image else Path(image).stem
    return re.sub(r"[^\w-]+", "_", stem)

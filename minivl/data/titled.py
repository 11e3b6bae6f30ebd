"""Drawings of Open Clip Art under the titles that people gave them: captions nobody has checked.

Some titles are right, some vague ("card"), some of another drawing, some tell of the author. What
is true of such a picture nobody has written down: it is for training, never for evaluation.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minivl.data.pack import Pack
from minivl.data.render import Renderer, sprite_of
from minivl.data.scenes import Scene, scene
from minivl.data.text import WordPiece
from minivl.errors import DataError

if TYPE_CHECKING:
    from minivl.data.examples import SceneExamples

EXTRA = "openclipart"
ENVIRONMENT = "MINIVL_EXTRAS"
CACHE = Path.home() / ".cache" / "minivl"
DOWNLOADS = CACHE / "downloads"


def extras() -> Path:
    """The folder of what is fetched and not shipped: MINIVL_EXTRAS, else one in the home folder."""
    return Path(os.environ.get(ENVIRONMENT) or CACHE / "extras")


def load_drawings() -> Pack:
    """The titled drawings: a pack whose concepts are drawings and whose names are titles.

    Raises DataError where it was not built.
    """
    root = extras() / EXTRA
    if not (root / "manifest.json").is_file():
        raise DataError(
            f"no drawings of Open Clip Art in {root}",
            f"fetch them (156 MB) with `minivl data build --extra {EXTRA}`, or set {ENVIRONMENT} "
            "to the folder that holds them",
        )
    return Pack.load(root)


def titles(drawings: Pack, text: WordPiece) -> dict[str, str]:
    """Id of a drawing -> its title, for those whose every word can be written in word pieces."""
    named = {one.id: one.name for one in drawings.concepts}
    return {one: name for one, name in named.items() if "[UNK]" not in text.tokens(name)}


class OnPhotographs:
    """Two packs that a renderer takes for one: photographs of the first, drawings of the second."""

    def __init__(self, photographs: Pack, drawings: Pack):
        self.photo, self.sprite = photographs.photo, drawings.sprite


class TitledDrawings:
    """Drawings on the photographs of a sequence of scenes, and their titles: index in, pair out."""

    def __init__(self, scenes: "SceneExamples"):
        """Seed, photographs and light are the scenes'."""
        source, drawings = scenes.source, load_drawings()
        named = titles(drawings, WordPiece.load(source.pack))
        self.seed = scenes.seed
        self.world = replace(
            scenes.world,
            sprites=tuple((sprite_of(drawings, EXTRA, one, said),) for one, said in named.items()),
            objects=(1, 1),
            twin_share=0.0,
            reserved=frozenset(),
            only_reserved=False,
        )
        packs = OnPhotographs(source.pack, drawings)
        self.renderer = Renderer(packs, source.data.image_size)

    def scene(self, index: int) -> Scene:
        """The drawing's scene graph; its thing bears the title."""
        return scene(self.world, self.seed, index)

    def title(self, index: int) -> str:
        """What a person called the drawing."""
        return self.scene(index).things[0].name

    def image(self, index: int) -> np.ndarray:
        """The picture, uint8 (height, width, 3)."""
        return self.renderer.image(self.scene(index))

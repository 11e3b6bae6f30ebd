"""scene-grounding: where is the thing that a phrase names? Exact boxes from the scene graph.

The form of the task is RefCOCO+'s as ALBEF solves it (Li et al. 2021, section 5.5): nobody has
ever shown the model a box; a map tells which of the boxes is meant. The boxes of all things of a
picture are given, as a perfect detector would, so that all that is judged is the choice.

A map that finds things, whatever was asked, is right as often as chance: beside the map stand the
one for a thing that is not there, the one for no words at all, and the centre of the picture.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minivl.data.captions import caption
from minivl.data.examples import SceneSource, Split
from minivl.data.nouns import noun_phrase
from minivl.data.questions import FAR, absent, is_clear
from minivl.data.scenes import Scene, World, scene
from minivl.evaluation.contrastive import SPLITS
from minivl.evaluation.grounding import best_box_hit, centres_inside, pointing_share
from minivl.evaluation.metric import Metric, proportion
from minivl.evaluation.pools import EVALUATION_SEED

TASK = "scene-grounding"
BATCH = 64


@dataclass(frozen=True)
class Phrase:
    """A thing of a scene, and the words that ask for it."""

    scene: Scene
    target: int
    """Which of the scene's things is meant."""
    words: str
    """The name alone, without its place: "a dog", as captions have it."""
    absent: str
    """The same about something that the picture does not show."""
    sentence: str
    """The scene's caption, in which the name occurs once."""
    name: str

    @property
    def boxes(self) -> Tensor:
        """Boxes of all things: x0, y0, x1, y1 in pixels, (things, 4) int64."""
        corners = [(x, y, x + w, y + h) for x, y, w, h in (t.box for t in self.scene.things)]
        return torch.tensor(corners)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return self.scene.image_size, self.scene.image_size


Finder = Callable[[np.ndarray, Sequence[Phrase]], Mapping[str, Tensor]]
"""Pictures uint8 (n, h, w, 3) and what is looked for in each -> maps (n, gh, gw) of each way to
look, by its name; the way "" is the one that counts, the others are compared with it."""


def phrase(world: World, seed: int, index: int) -> Phrase:
    """Number `index` of an endless sequence of phrases, each about a scene of its own.

    Raises ValueError for a world whose scenes have no two things to choose from.
    """
    draw = np.random.default_rng((seed, index, 8))
    for attempt in range(1000):
        drawn = scene(world, seed, index + attempt * FAR)
        if len(drawn.things) > 1 and is_clear(drawn) and names_apart(drawn):
            target = int(draw.integers(len(drawn.things)))
            name = drawn.things[target].name
            return Phrase(
                drawn,
                target,
                noun_phrase(name),
                noun_phrase(absent(drawn, world, draw)),
                caption(drawn, "places"),
                name,
            )
    raise ValueError("the world has no scene with two things of different names")


def names_apart(drawn: Scene) -> bool:
    """Whether no name is a part of another one: "dog" stands in "hot dog", too."""
    names = [f" {thing.name} " for thing in drawn.things]
    return not any(a in b for a in names for b in names if a is not b)


def places_of_name(pieces: Sequence[str], name: Sequence[str]) -> list[int]:
    """Where the pieces of a name stand among those of a sentence, the first time.

    Nowhere, [], in a sentence that was cut before it.
    """
    for start in range(len(pieces) - len(name) + 1):
        after = pieces[start + len(name)] if start + len(name) < len(pieces) else ""
        if list(pieces[start : start + len(name)]) == list(name) and not after.startswith("##"):
            return list(range(start, start + len(name)))
    return []


def evaluate_grounding(source: SceneSource, find: Finder, count: int) -> dict[str, Metric]:
    """Metrics by key, "<split>/scene-grounding/<measure>", on `count` phrases of each split.

    box       the box that frames the map best is the thing's; chance: one of the picture's things
    pointing  the map's hottest cell has its centre in the thing's box; chance: any cell has

    Both also with the name of another way to look behind them, and of two maps that see nothing:
    "box_centre" always shows the middle, "box_uniform" everything alike (the largest box wins).
    """
    metrics: dict[str, Metric] = {}
    for split in SPLITS:
        asked, maps = look_for(source, split, find, count)
        for way, heat in maps.items():
            found = {"box": choosing(heat, asked), "pointing": pointing_at(heat, asked)}
            ending = f"_{way}" if way else ""
            metrics |= {f"{split}/{TASK}/{name}{ending}": found[name] for name in found}
    return metrics


def look_for(
    source: SceneSource, split: Split, find: Finder, count: int
) -> tuple[list[Phrase], dict[str, Tensor]]:
    """Phrases of a split, and maps (count, gh, gw) of all ways to look for them."""
    fewest, most = source.data.objects
    world = source.world(split, (max(2, fewest), max(2, most)))
    asked = [phrase(world, EVALUATION_SEED, number) for number in range(count)]
    parts: list[Mapping[str, Tensor]] = []
    for first in range(0, count, BATCH):
        some = asked[first : first + BATCH]
        parts.append(find(np.stack([source.renderer.image(one.scene) for one in some]), some))
    maps = {way: torch.cat([part[way].cpu() for part in parts]) for way in parts[0]}
    grid = tuple(maps[""].shape[1:])
    blind = {"centre": centre_map(grid), "uniform": torch.ones(grid)}
    return asked, maps | {way: heat.expand(count, *grid) for way, heat in blind.items()}


def choosing(maps: Tensor, asked: Sequence[Phrase]) -> Metric:
    """How often the box that frames the map best is the thing's. maps (n, gh, gw)."""
    hits = [
        best_box_hit(enlarged(heat, one.size), one.boxes, one.boxes[one.target])
        for heat, one in zip(maps, asked, strict=True)
    ]
    return proportion(sum(hits), len(hits), mean([1 / len(one.boxes) for one in asked]))


def pointing_at(maps: Tensor, asked: Sequence[Phrase]) -> Metric:
    """How often the hottest cell's centre lies in the thing's box. maps (n, gh, gw)."""
    hits, chances = [], []
    for heat, one in zip(maps, asked, strict=True):
        inside = centres_inside(heat.shape, one.boxes[one.target].tolist(), one.size)
        hits.append(pointing_share(heat, inside))
        chances.append(inside.double().mean().item())
    return proportion(sum(hits), len(hits), mean(chances))


def enlarged(heat: Tensor, size: tuple[int, int]) -> Tensor:
    """A map (gh, gw) at the size of the picture, bicubic as in the official code: (h, w)."""
    return F.interpolate(heat[None, None].float(), size=size, mode="bicubic")[0, 0]


def centre_map(grid: tuple[int, int]) -> Tensor:
    """A hill in the middle of the picture, a quarter of its sides wide: (gh, gw)."""
    hills = [torch.exp(-8 * ((torch.arange(n) + 0.5) / n - 0.5) ** 2) for n in grid]
    return hills[0][:, None] * hills[1]


def mean(values: Sequence[float]) -> float:
    """Of one or more."""
    return sum(values) / len(values)

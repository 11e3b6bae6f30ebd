"""Pools of scenes to be retrieved, ordered and named: what a two-encoder model is asked."""

from dataclasses import dataclass
from itertools import permutations

import numpy as np

from minivl.data.captions import caption
from minivl.data.examples import SceneSource, Split, distinct_scenes
from minivl.data.nouns import noun_phrase
from minivl.data.scenes import Scene, arranged, mirrored, scene

EVALUATION_SEED = 1_000_003
"""Scenes of an evaluation are drawn from this sequence, never from a training's."""


@dataclass(frozen=True)
class Pool:
    """n pictures and their n captions, all different: picture i belongs to caption i."""

    scenes: tuple[Scene, ...]
    images: np.ndarray
    """uint8 (n, height, width, 3)."""
    captions: tuple[str, ...]


def retrieval_pool(source: SceneSource, split: Split, size: int, number: int = 0) -> Pool:
    """`size` scenes with distinct captions; `number` tells apart the pools of one split."""
    kind = source.data.captions[0]
    scenes = distinct_scenes(source.world(split), EVALUATION_SEED + number, size, kind)
    return _pool(source, scenes, [caption(s, kind) for s in scenes])


def mirrored_pool(source: SceneSource, split: Split, pairs: int) -> Pool:
    """`pairs` scenes of a left and a right thing, each followed by its mirrored twin."""
    world = source.world(split, (2, 2))
    scenes: list[Scene] = []
    index = 0
    while len(scenes) < 2 * pairs:
        drawn = scene(world, EVALUATION_SEED, index)
        index += 1
        if drawn.things[0].place == "left":
            scenes += [drawn, mirrored(drawn)]
    return _pool(source, scenes, [caption(s, "places") for s in scenes])


def rearranged_pool(source: SceneSource, split: Split, groups: int, each: int) -> Pool:
    """`groups` scenes of three or four things, each in `each` arrangements, group after group.

    The captions of a group hold the same words: which is whose is only told by what stands where.
    """
    world = source.world(split, (3, 4))
    scenes: list[Scene] = []
    index = 0
    known: set[frozenset[str]] = set()
    while len(scenes) < groups * each:
        drawn = scene(world, EVALUATION_SEED, index)
        index += 1
        names = frozenset(thing.name for thing in drawn.things)
        if names in known or len(names) < len(drawn.things):
            continue
        known.add(names)
        orders = np.array(list(permutations(range(len(drawn.things)))))
        chosen = np.random.default_rng((EVALUATION_SEED, index)).permutation(orders)[:each]
        scenes += [arranged(drawn, order) for order in chosen]
    return _pool(source, scenes, [caption(s, "places") for s in scenes])


def single_pool(source: SceneSource, split: Split, size: int) -> tuple[Pool, np.ndarray, list[str]]:
    """Pictures of one thing, the class (n,) of each and the class names, for naming."""
    world = source.world(split, (1, 1))
    scenes = [scene(world, EVALUATION_SEED, index) for index in range(size)]
    names = [drawings[0].name for drawings in world.sprites]
    labels = np.array([names.index(s.things[0].name) for s in scenes])
    return _pool(source, scenes, [noun_phrase(s.things[0].name) for s in scenes]), labels, names


def _pool(source: SceneSource, scenes: list[Scene], captions: list[str]) -> Pool:
    images = np.stack([source.renderer.image(drawn) for drawn in scenes])
    return Pool(tuple(scenes), images, tuple(captions))

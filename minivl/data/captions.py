"""Five sentences that are true of a scene, each said another way."""

from minivl.data.nouns import is_plural, noun_phrase
from minivl.data.scenes import Scene, Thing, relation

KINDS = ("places", "existence", "relation", "converse", "attributes")
"""The five ways of saying what is in a scene, in the order of `captions`."""

PLACE_PHRASES = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
    "middle": "in the middle",
    "top left": "at the top left",
    "top right": "at the top right",
    "bottom left": "at the bottom left",
    "bottom right": "at the bottom right",
}

CONVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def captions(scene: Scene) -> tuple[str, str, str, str, str]:
    """All five captions of a scene, in the order of KINDS."""
    return tuple(caption(scene, kind) for kind in KINDS)


def caption(scene: Scene, kind: str) -> str:
    """One sentence about the scene; `kind` is one of KINDS."""
    return _SAY[kind](scene)


def _places(scene: Scene) -> str:
    return _and([f"{noun_phrase(t.name)} {PLACE_PHRASES[t.place]}" for t in scene.things])


def _existence(scene: Scene) -> str:
    verb = "are" if len(scene.things) > 1 or is_plural(scene.things[0].name) else "is"
    names = _and([noun_phrase(t.name) for t in scene.things])
    return f"there {verb} {names} {_where(scene)}"


def _relation(scene: Scene) -> str:
    if len(scene.things) == 1:
        return f"{noun_phrase(scene.things[0].name)} {_where(scene)}"
    first, second = scene.things[:2]
    return f"{noun_phrase(first.name)} {relation(first, second)} {noun_phrase(second.name)}"


def _converse(scene: Scene) -> str:
    if len(scene.things) == 1:
        return f"a picture of {noun_phrase(scene.things[0].name, scene.things[0].size)}"
    first, second = scene.things[:2]
    sized = [noun_phrase(t.name, t.size) for t in (second, first)]
    return f"{sized[0]} {CONVERSE[relation(first, second)]} {sized[1]}"


def _attributes(scene: Scene) -> str:
    return f"{_and([_described(t) for t in scene.things])} {_where(scene)}"


def _described(thing: Thing) -> str:
    # A drawing may show a green "red apple": a colour inside the name is never contradicted.
    colour = thing.colour if thing.colour and thing.colour not in thing.name else ""
    return noun_phrase(thing.name, thing.size, colour or "")


def _where(scene: Scene) -> str:
    return SCENERY[scene.photo_place]


SCENERY = {
    "mountain": "in the mountains",
    "city": "in a city",
    "sea": "at sea",
    "beach": "on a beach",
    "snow": "in the snow",
    "forest": "in a forest",
    "fields": "in the fields",
    "desert": "in a desert",
    "space": "in space",
    "sky": "in the sky",
    "fog": "in the fog",
    "water": "by the water",
    "hills": "in the hills",
    "lava": "by the lava",
    "storm": "in a storm",
    "valley": "in a valley",
    "canyon": "in a canyon",
    "volcano": "by a volcano",
    "tunnel": "in a tunnel",
    "launch pad": "on a launch pad",
    "space station": "in a space station",
    "hangar": "in a hangar",
    "laboratory": "in a laboratory",
}
"""Scene class of a photograph -> how a sentence says it."""


def _and(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


_SAY = dict(zip(KINDS, (_places, _existence, _relation, _converse, _attributes), strict=True))

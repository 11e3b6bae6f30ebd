"""Drawings with the titles that people gave them, among the pairs that training reads."""

from collections import Counter

import numpy as np
import pytest

from minivl.data import titled
from minivl.data.build import sprites, texts
from minivl.data.build.pack import Writer
from minivl.data.captioned import CaptionedExamples, CaptionSource, HiddenWords
from minivl.data.examples import SceneData, SceneExamples
from minivl.data.noise import NoiseData, NoisyCaptions
from minivl.data.text import WordPiece
from minivl.errors import DataError, UserError
from minivl.recipes.albef import AlbefRecipe

TITLES = {"a/zebra": "Zebra crossing xylograph", "b/wok": "WOK 2", "c/odd": "\U0001f600"}
"""The last one has no word pieces."""
COLOURS = ((255, 0, 255, 255), (0, 255, 255, 255), (1, 2, 3, 255))
DATA = SceneData(image_size=32)


@pytest.fixture(autouse=True)
def extras(tmp_path_factory, monkeypatch):
    """A pack of three drawings, each of one colour, where extras are looked for."""
    folder = tmp_path_factory.mktemp("extras")
    cells = [np.full((64, 64, 4), colour, np.uint8) for colour in COLOURS]
    writer = Writer(folder / titled.EXTRA)
    writer.picture(f"sprites/{titled.EXTRA}.webp", sprites.sheet(cells), 100)
    same = {"group": "a", "subgroup": "", "keywords": [], "colour": {}}
    rows = [
        {"id": one, "name": name, "cells": {titled.EXTRA: cell}, **same}
        for cell, (one, name) in enumerate(TITLES.items())
    ]
    facts = {"family": "f", "licence": "l", "package": "p", "version": "1"}
    listed = {"vendors": {titled.EXTRA: facts}, "concepts": rows}
    writer.bytes("concepts.json", texts.json_lines(listed, 2))
    writer.manifest()
    monkeypatch.setenv(titled.ENVIRONMENT, str(folder))
    return folder


@pytest.fixture(scope="module")
def scenes(pack):
    return SceneExamples(CaptionSource(pack, DATA).scenes, "train", 3)


def test_drawings_stand_on_the_photographs_of_the_scenes(scenes, pack):
    drawings = titled.TitledDrawings(scenes)
    colours = dict(zip(TITLES.values(), COLOURS, strict=True))
    for index in range(20):
        shown, image = drawings.scene(index), drawings.image(index)
        (thing,) = shown.things
        x, y, width, height = thing.box
        seen = image[y : y + height, x : x + width].reshape(-1, 3).astype(int)
        assert abs(seen - colours[drawings.title(index)][:3]).max() < 30
        assert shown.photo in {name for name, _ in scenes.world.photos}
        outside = np.ones((32, 32), dtype=bool)
        outside[y : y + height, x : x + width] = False
        there = scenes.source.renderer.background(shown)
        assert np.array_equal(image[outside], there[outside])


def test_titles_that_no_word_pieces_spell_are_left_out(scenes, pack):
    assert list(titled.titles(titled.load_drawings(), WordPiece.load(pack))) == ["a/zebra", "b/wok"]
    drawings = titled.TitledDrawings(scenes)
    assert {drawings.title(i) for i in range(40)} == {"Zebra crossing xylograph", "WOK 2"}


def test_as_many_pairs_are_titled_as_told_and_groups_stay_whole(scenes):
    shares = {"titled": 0.3, "wrong": 0.2, "missing": 0.2, "extra": 0.1}
    captions, count = NoisyCaptions(scenes, NoiseData(**shares)), 4000
    found = [captions.drawn(index) for index in range(count)]
    for kind, share in (shares | {"none": 0.2}).items():
        allowed = 4 * (share * (1 - share) / (count / 4)) ** 0.5
        assert Counter(found)[kind] / count == pytest.approx(share, abs=allowed), kind
    for first in range(0, count, 4):
        assert len({kind == "titled" for kind in found[first : first + 4]}) == 1


def test_pairs_without_titles_are_what_they_were(scenes):
    noise = {"wrong": 0.3, "missing": 0.2, "extra": 0.2}
    bare, mixed = (NoisyCaptions(scenes, NoiseData(**noise, titled=t)) for t in (0.0, 1e-12))
    assert bare.titled is None and mixed.titled is not None
    for index in range(60):
        assert bare.told(index) == mixed.told(index)
        assert bare.scene(index) == mixed.scene(index) == scenes.scene(index)


def test_training_reads_the_title_beside_its_drawing(pack):
    noise = NoiseData(titled=0.5)
    source = CaptionSource(pack, DATA, spoilt=noise)
    pairs = CaptionedExamples(source, "train", HiddenWords(), noise, 0)
    drawings, plain = titled.TitledDrawings(pairs.scenes), pairs.scenes
    kinds = Counter()
    for index in range(48):
        told, one = pairs.captions.told(index), pairs[index]
        kinds[told.kind] += 1
        theirs = told.kind == "titled"
        said = drawings.title(index) if theirs else plain.caption(index)
        image = drawings.image(index) if theirs else plain[index]["image"]
        assert told.said == told.clean == said == pairs.caption(index)
        assert np.array_equal(one["image"], image)
        assert pairs.scene(index) == (drawings if theirs else plain).scene(index)
        assert one["input_ids"] == source.scenes.encode(said)
        assert source.text.unk_id not in one["input_ids"]
    assert kinds["titled"] > 10 and kinds["none"] > 10


def test_only_who_reads_titles_knows_their_words(pack):
    for noise, knows in (
        (None, False),
        (NoiseData(wrong=0.5), False),
        (NoiseData(titled=0.1), True),
    ):
        text = CaptionSource(pack, DATA, spoilt=noise).text
        assert ("[UNK]" not in text.tokens("zebra wok")) == knows
    recipe = AlbefRecipe(data=DATA, noise=NoiseData(titled=0.1))
    assert "[UNK]" not in recipe.load_source().text.tokens("zebra wok")


def test_what_was_not_fetched_is_named_with_the_command(scenes, monkeypatch, tmp_path):
    monkeypatch.setenv(titled.ENVIRONMENT, str(tmp_path))
    with pytest.raises(DataError, match="no drawings of Open Clip Art") as caught:
        NoisyCaptions(scenes, NoiseData(titled=0.1))
    assert "minivl data build --extra openclipart" in caught.value.remedy
    NoisyCaptions(scenes, NoiseData(wrong=0.1))


def test_extras_lie_in_the_home_folder_unless_told(monkeypatch, extras):
    assert titled.extras() == extras
    monkeypatch.delenv(titled.ENVIRONMENT)
    assert titled.extras() == titled.CACHE / "extras"


def test_all_kinds_together_are_a_share_of_all_pairs():
    with pytest.raises(UserError, match="titled add up to 1"):
        NoiseData(wrong=0.6, titled=0.5).check()
    with pytest.raises(UserError, match="titled"):
        NoiseData(titled=-0.1).check()

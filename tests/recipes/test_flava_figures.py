"""The pictures of a FLAVA run: only what was trained, and each number of the right place."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from minivl.data.pairs import PairData, PairExamples
from minivl.data.texts import TextSource
from minivl.evaluation.masked import batches_of
from minivl.recipes import flava_figures as figures
from minivl.recipes.flava import FlavaRecipe

CPU = torch.device("cpu")
RECIPE = FlavaRecipe.at_size("test")


@pytest.fixture(scope="module")
def source():
    return TextSource.load(RECIPE.texts, RECIPE.data)


def model_of(source, *objectives):
    torch.manual_seed(0)
    return replace(RECIPE, objectives=objectives).build_model(source)


DRAWN = {
    ("itm",): {"pair_attention", "pair_matching"},
    ("mmm_text", "mim"): {"pair_words"},
    ("mmm_image",): {"pair_holes"},
    ("mlm",): set(),
    ("contrastive", "itm", "mmm_image", "mmm_text", "mim", "mlm"): {
        "similarity", "retrieved_pictures", "retrieved_captions", "attention", "pair_attention",
        "pair_matching", "pair_words", "pair_holes",
    },
}  # fmt: skip


@pytest.mark.parametrize("objectives", DRAWN, ids="-".join)
def test_only_what_the_objectives_have_taught_is_drawn(objectives, source, monkeypatch):
    for name, few in (("PAIRS", 8), ("HOLED", 6), ("TWINS", 3)):
        monkeypatch.setattr(figures, name, few)
    model = model_of(source, *objectives)
    with torch.no_grad():
        drawn = figures.flava_figures(model, source, CPU, RECIPE.grid, RECIPE.masks)
    assert set(drawn) == DRAWN[objectives]
    for picture in drawn.values():
        assert picture.caption.title and picture.caption.alt and picture.caption.text
    titles = [picture.caption.title for picture in drawn.values()]
    assert len(set(titles)) == len(titles)


class KnowsWithPicture(nn.Module):
    """Says at each place of a text which word stands there, but only if it sees a patch."""

    def __init__(self, truth, words):
        super().__init__()
        self.truth, self.words, self.asked = truth, words, []
        self.image_encoder = nn.Module()
        self.image_encoder.patch_size = 8
        self.mmm_text_head = nn.Identity()

    def encode_pair(self, image, ids, seen, *, patches_masked):
        self.asked.append((ids, patches_masked))
        told = self.truth if not patches_masked.any() else torch.zeros_like(self.truth)
        words = nn.functional.one_hot(told, self.words).float()
        others = torch.zeros(len(ids), 2 + patches_masked[0].numel(), self.words)
        return torch.cat([others, words], dim=1)


def test_a_word_is_asked_for_where_it_is_hidden_and_nowhere_else(source):
    text = source.text
    names = [drawings[0].name for drawings in source.scenes.world("train").sprites]
    first, second, third = [name for name in names if text.tokens(name) == [name]][:3]
    said = (f"a {first} on the left", f"a {second}", f"a {third} at the top")
    rows = [tuple(text.encode(sentence)) for sentence in said]
    places = [figures.hidden_thing(text, row, seed) for seed, row in enumerate(rows)]
    hidden_words = [text.vocab[row[place]] for row, place in zip(rows, places, strict=True)]
    assert hidden_words == [first, second, third]
    truth = torch.tensor([[*row, *[0] * (max(map(len, rows)) - len(row))] for row in rows])
    model = KnowsWithPicture(truth, len(text))
    images = np.zeros((3, 32, 32, 3), dtype=np.uint8)
    seeing, blind = (
        figures.fill_in(model, text, images, rows, places, hidden, CPU) for hidden in (False, True)
    )
    assert [guess.rank for guess in seeing] == [0, 0, 0]
    assert [guess.words[0] for guess in seeing] == [first, second, third]
    assert all(guess.rank > 0 for guess in blind)
    assert (seeing[0].before, seeing[0].after) == ("a", "on the left")
    (ids, shown), (_, hidden) = model.asked
    assert shown.shape == hidden.shape == (3, 4, 4) and not shown.any() and hidden.all()
    changed = (ids != truth).nonzero().tolist()
    assert changed == [[row, place] for row, place in enumerate(places)]
    assert all(ids[row, place] == text.mask_id for row, place in changed)


def test_captions_without_a_thing_are_not_asked(source):
    assert figures.hidden_thing(source.text, source.text.encode("on the left"), 0) is None


def test_seen_patches_keep_their_codes(source):
    model = model_of(source, "mmm_image")
    pairs = PairExamples(
        source, "twemoji", RECIPE.grid, RECIPE.masks, PairData(mismatched=0.0), 5, all_hidden=True
    )
    (batch,) = batches_of(pairs, 3, CPU)
    hidden = batch["patches_masked"]
    codes = torch.full(hidden.shape, 15)
    for blind in (False, True):
        found = figures.codes_named(model, source, batch | {"visual_tokens": codes}, blind)
        assert (found[~hidden] == 15).all() and (found[hidden] != 15).any()


def test_foreign_sentences_are_foreign_and_twins_say_it_in_another_order(source, monkeypatch):
    asked = []

    def scores(source, model, device, images, sentences):
        asked.append(list(sentences))
        return torch.full((len(images),), float(len(asked)))

    monkeypatch.setattr(figures, "matching_scores", scores)
    monkeypatch.setattr(figures, "TWINS", 4)
    picture = figures.matched_pairs(None, source, CPU)
    own, twin, foreign = asked
    assert len(own) == 8
    for a, b, c in zip(own, twin, foreign, strict=True):
        assert a != b and sorted(a.split()) == sorted(b.split())
        assert c not in (a, b)
    assert "8 of 8 pairs" in picture.caption.alt

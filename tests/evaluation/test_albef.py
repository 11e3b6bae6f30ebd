import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from minivl.data.captioned import CaptionSource
from minivl.data.examples import SceneData
from minivl.data.text import pad_batch
from minivl.evaluation import albef as evaluation
from minivl.evaluation.albef import (
    Ranker,
    evaluate_albef,
    fused_scores,
    hidden_name,
    hidden_things,
    word_scores,
)
from minivl.evaluation.contrastive import SPLITS, Judge
from minivl.evaluation.pools import retrieval_pool
from minivl.recipes.albef import AlbefRecipe

CPU = torch.device("cpu")
RECIPE = AlbefRecipe.at_size("test")
COUNTS = {
    "pool_size": 8,
    "pools": 2,
    "reranked": 3,
    "mirrored_pairs": 4,
    "named": 8,
    "matched": 12,
    "masked": 8,
}


@pytest.fixture(scope="module")
def source():
    return CaptionSource.load(RECIPE.data)


@pytest.fixture(scope="module")
def model(source):
    torch.manual_seed(0)
    return RECIPE.build_model(source.text).eval()


def asked_of(source, model):
    """A model that is asked in the same way, and may have other objectives."""
    clone = dataclasses.replace(RECIPE).build_model(source.text)
    clone.load_state_dict(model.state_dict())
    return clone.eval()


# Re-ranking.


def test_a_ranker_scores_pairs_as_the_model_does(source, model):
    pool = retrieval_pool(source.scenes, "validation", 6)
    ranker = Ranker(model, source.scenes, CPU, pool)
    text = source.text.batch(list(pool.captions), source.data.max_length)
    image = (torch.from_numpy(pool.images).permute(0, 3, 1, 2) / 127.5) - 1
    chosen = torch.tensor([4, 0, 2])
    for found, pictures, captions in (
        (ranker.captions_of(1, chosen), [1, 1, 1], chosen),
        (ranker.pictures_of(5, chosen), chosen, [5, 5, 5]),
    ):
        with torch.no_grad():
            fused = model.encode_pair(
                image[pictures], text["input_ids"][captions], text["attention_mask"][captions]
            )
            expected = model.itm_head(fused[:, 0])[:, 1]
        assert torch.allclose(found, expected, atol=1e-5)


def test_the_most_similar_are_fused_both_ways(source, model):
    pool = retrieval_pool(source.scenes, "validation", 9)
    to_text, to_image = fused_scores(model, source.scenes, CPU, pool, 4)
    similarity = Judge(model, source.scenes, CPU).similarity(pool)
    ranker = Ranker(model, source.scenes, CPU, pool)
    everyone = torch.arange(9)
    for scores, similar, of in (
        (to_text, similarity, ranker.captions_of),
        (to_image, similarity.T, ranker.pictures_of),
    ):
        for query in range(9):
            chosen = similar[query].topk(4).indices
            assert set(everyone[scores[query] > -100].tolist()) == set(chosen.tolist())
            assert torch.allclose(scores[query, chosen], of(query, chosen), atol=1e-5)


def test_without_contrast_all_pairs_are_fused(source, model):
    blind = asked_of(source, model)
    blind.objectives = frozenset({"itm", "mlm"})
    pool = retrieval_pool(source.scenes, "validation", 7)
    to_text, to_image = fused_scores(blind, source.scenes, CPU, pool, 2)
    assert (to_text > -100).all() and torch.allclose(to_text, to_image.T, atol=1e-5)


def test_who_fuses_well_finds_what_similarity_has_among_the_first(source, model, monkeypatch):
    """The matching head knows all pairs by heart; similarity is what it is."""
    monkeypatch.setattr(
        Ranker, "pairs", lambda self, pictures, captions: (pictures == captions).float()
    )
    metrics = evaluate_albef(source, model, CPU, **COUNTS | {"reranked": 5, "pools": 1})
    for split in SPLITS:
        for way in ("image_to_text", "text_to_image"):
            before, after = (
                [metrics[f"{split}/{stage}/{way}_r{k}"].value for k in (1, 5)]
                for stage in ("retrieval", "reranked")
            )
            assert after[0] == before[1]
            one = metrics[f"{split}/reranked/{way}_r1"]
            assert (one.n, one.chance) == (8, 1 / 8)


# Hidden things.


def test_a_name_is_hidden_where_it_stands(source):
    text, seen = source.text, set()
    pool = retrieval_pool(source.scenes, "validation", 40)
    for number, (shown, said) in enumerate(zip(pool.scenes, pool.captions, strict=True)):
        ids = text.encode(said)
        places = hidden_name(text, shown, ids, number)
        word = text.decode([ids[place] for place in places])
        names = [thing.name for thing in shown.things]
        assert word in names and places == list(range(places[0], places[0] + len(places)))
        assert places == hidden_name(text, shown, ids, number)
        seen.add((len(names), names.index(word)))
    assert seen == {(1, 0), (2, 0), (2, 1)}


def test_names_that_are_said_twice_or_not_at_all_are_not_hidden(source):
    text = source.text
    dog = SimpleNamespace(name="dog")
    shown = SimpleNamespace(things=(dog,))
    assert hidden_name(text, shown, text.encode("a dog on the left"), 0) == [2]
    assert hidden_name(text, shown, text.encode("a cat on the left"), 0) == []
    assert hidden_name(text, shown, text.encode("a dog and a dog"), 0) == []
    assert hidden_name(text, shown, text.encode("a dog on the left", max_length=3), 0) == []


class Knowing(nn.Module):
    """Knows the words of each picture's sentence by heart; of a grey one, a dog."""

    def __init__(self, source, splits=("validation",)):
        super().__init__()
        self.text, self.said, self.asked = source.text, {}, []
        for split in splits:
            pool = retrieval_pool(source.scenes, split, 30)
            for image, said in zip(pool.images, pool.captions, strict=True):
                pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1
                self.said[pixels.numpy().tobytes()] = source.text.encode(said)

    def encode_pair(self, image, input_ids, attention_mask):
        self.asked.append((image, input_ids))
        dog = self.text.encode("dog")[1]
        rows = [
            self.said.get(one.contiguous().numpy().tobytes(), [dog] * 40)[: input_ids.shape[1]]
            for one in image
        ]
        words, _ = pad_batch([[*row, *[0] * (input_ids.shape[1] - len(row))] for row in rows])
        return nn.functional.one_hot(words, len(self.text)).float()

    def predict(self, states):
        return states


def test_who_knows_the_picture_names_what_is_hidden_and_without_it_nothing(source):
    model = Knowing(source)
    found = hidden_things(model, source.scenes, CPU, "validation", 30)
    seeing, blind = (found[f"masked_thing/{n}"] for n in ("accuracy", "without_picture"))
    assert (seeing.value, seeing.n) == (1.0, 30)
    assert blind.value <= blind.chance < 0.2 and blind.chance == seeing.chance
    (first, ids), (second, same) = model.asked
    assert torch.equal(ids, same) and (ids == source.text.mask_id).any(dim=1).all()
    assert torch.allclose(second, torch.tensor(127 / 127.5 - 1))
    assert not torch.equal(first, second)


def test_scores_come_from_the_hidden_places_in_their_order(source, monkeypatch):
    monkeypatch.setattr(evaluation, "BATCH", 2)
    rows = [source.text.encode(said) for said in ("a dog on the left", "a cat", "some grapes")]
    places, images = [[1, 2], [2], [2, 1]], np.zeros((3, 32, 32, 3), np.uint8)
    model = Knowing(source, [])
    found = list(word_scores(model, source.text, CPU, images, rows, places))
    assert [scores.shape[0] for scores, _ in found] == [2, 1, 2]
    pairs = zip(rows, places, strict=True)
    asked = [[row[place] for place in sorted(hidden)] for row, hidden in pairs]
    assert [answers.tolist() for _, answers in found] == asked
    holes = torch.cat([(ids == source.text.mask_id).sum(dim=1) for _, ids in model.asked])
    assert holes.tolist() == [2, 1, 2]


def test_captions_cut_before_their_first_thing_are_not_asked(source):
    terse = CaptionSource.load(dataclasses.replace(RECIPE.data, max_length=3), source.text)
    assert hidden_things(Knowing(terse, []), terse.scenes, CPU, "validation", 6) == {}


# All together.

TASKS = {
    "itc": {"retrieval", "order", "zeroshot"},
    "itm": {"itm", "reranked"},
    "mlm": {"masked_thing"},
}


@pytest.mark.parametrize("objective", TASKS)
def test_all_splits_are_asked_what_the_objectives_teach(source, model, objective):
    one = asked_of(source, model)
    one.objectives = frozenset({objective})
    metrics = evaluate_albef(source, one, CPU, **COUNTS | {"pools": 1})
    assert {key.split("/")[1] for key in metrics} == TASKS[objective]
    assert {key.split("/")[0] for key in metrics} == set(SPLITS)
    for metric in metrics.values():
        assert metric.low <= metric.value <= metric.high and metric.n > 0


def test_the_pools_of_both_stages_are_the_same_ones(source, model):
    metrics = evaluate_albef(source, model, CPU, **COUNTS)
    for split in SPLITS:
        for k in (1, 5, 10):
            both = [
                metrics[f"{split}/{stage}/image_to_text_r{k}"]
                for stage in ("retrieval", "reranked")
            ]
            assert both[0].n == both[1].n == 16 and both[0].chance == both[1].chance


def test_a_crowded_world_of_attributes_is_not_asked_for_sides(model):
    """Three or four things without places in their captions: no mirrored twin says otherwise."""
    data = SceneData(image_size=32, objects=(3, 4), captions=("attributes",))
    source = CaptionSource.load(data)
    torch.manual_seed(0)
    crowded = dataclasses.replace(RECIPE, data=data).build_model(source.text).eval()
    metrics = evaluate_albef(source, crowded, CPU, **COUNTS | {"pools": 1})
    tasks = {key.split("/", 1)[1] for key in metrics}
    assert "order/left_right_pairs" not in tasks and "itm/mirrored" not in tasks
    assert {"reranked/image_to_text_r1", "itm/random", "masked_thing/accuracy"} <= tasks
    pool = retrieval_pool(source.scenes, "validation", 64)
    assert len(set(pool.captions)) == 64
    assert {len(shown.things) for shown in pool.scenes} == {3, 4}

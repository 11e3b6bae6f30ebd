import dataclasses

import numpy as np
import pytest
import torch

from minivl.data.captions import caption
from minivl.data.examples import SceneData, SceneExamples
from minivl.data.holes import HoledPictures, MaskData
from minivl.data.pairs import PairData, PairExamples
from minivl.data.scenes import mirrored
from minivl.data.texts import TextData, TextSource
from minivl.errors import UserError

TEXTS = TextData(topics=("noun.food",), vocabulary_size=600)
MASKS = MaskData(share=0.4, min_block=3, photo_share=1.0)
GRID = (4, 4)


@pytest.fixture(scope="module")
def source(pack):
    return TextSource(pack, TEXTS, SceneData(image_size=32, twin_share=0.0))


@pytest.fixture(scope="module")
def twins(pack):
    """Every odd picture is the mirrored twin of the one before."""
    return TextSource(pack, TEXTS, SceneData(image_size=32, twin_share=1.0, single_share=0.3))


def examples(source, mismatched=0.25, seed=0, split="train", **options):
    pairs = PairData(mismatched=mismatched, probability=options.pop("probability", 0.3))
    return PairExamples(source, split, GRID, MASKS, pairs, seed, **options)


def own(pairs, index):
    """The sentence that describes a picture."""
    return caption(pairs.scene(index), "places")


@pytest.mark.parametrize("mismatched", [0.0, 0.25, 1.0])
def test_neighbours_exchange_their_captions_or_keep_them(source, mismatched):
    pairs = examples(source, mismatched)
    exchanged = 0
    for first in range(0, 200, 2):
        said = [pairs.caption(first), pairs.caption(first + 1)]
        right = [own(pairs, first), own(pairs, first + 1)]
        assert said in (right, right[::-1])
        exchanged += pairs.exchanged(first)
        assert pairs.exchanged(first) == pairs.exchanged(first + 1)
        assert said == (right[::-1] if pairs.exchanged(first) else right)
    assert exchanged == 100 * mismatched if mismatched != 0.25 else 10 < exchanged < 40


def test_a_label_says_whether_the_sentence_is_the_pictures(source, twins):
    for some in (examples(source, 0.5), examples(twins, 0.5)):
        labels = []
        for index in range(120):
            example = some[index]
            described = source.scenes.encode(own(some, index))
            assert example["itm_label"] == int(example["input_ids"] == described)
            labels.append(example["itm_label"])
        assert 20 < sum(labels) < 100


def test_an_exchange_of_equal_captions_is_no_mismatch(source, monkeypatch):
    pairs = examples(source, 1.0)
    monkeypatch.setattr(pairs.scenes, "caption", lambda index: "a dog on the left")
    assert pairs.exchanged(6) and pairs.matches(6) and pairs.matches(7)
    monkeypatch.setattr(pairs.scenes, "caption", lambda index: f"a dog {index}")
    assert not pairs.matches(6) and not pairs.matches(7)


def test_of_mirrored_twins_only_the_order_of_words_is_wrong(twins):
    pairs = examples(twins, 1.0)
    wrong = 0
    for first in range(0, 100, 2):
        twin = mirrored(pairs.scene(first))
        if twin is None or len(twin.things) < 2:
            continue
        assert dataclasses.replace(pairs.scene(first + 1), index=first) == twin
        assert not pairs.matches(first) and not pairs.matches(first + 1)
        for index in (first, first + 1):
            said, right = pairs.caption(index), own(pairs, index)
            assert said != right and sorted(said.split()) == sorted(right.split())
            wrong += 1
    assert wrong > 20


def test_as_many_pairs_are_wrong_as_asked(source, monkeypatch):
    pairs = examples(source, 0.25)
    monkeypatch.setattr(pairs.scenes, "caption", lambda index: str(index))
    wrong = [not pairs.matches(index) for index in range(8000)]
    assert np.mean(wrong) == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 4000) ** 0.5)
    other = examples(source, 0.25, seed=1)
    assert any(pairs.exchanged(i) != other.exchanged(i) for i in range(0, 40, 2))


def test_pictures_are_the_scenes_own_and_none_is_a_bare_photograph(source):
    pairs, scenes = examples(source, 1.0), SceneExamples(source.scenes, "train", 0)
    assert HoledPictures(source.scenes, "train", GRID, MASKS, 0).scene(3).things == ()
    for index in range(20):
        assert pairs.scene(index).things
        example = pairs[index]
        assert np.array_equal(example["image"], scenes[index]["image"])
        assert example["patches_masked"].sum() == round(0.4 * 16)


def test_a_pair_is_a_function_of_seed_and_index(source):
    one, other = examples(source), examples(source)
    for index in (0, 7, 10**6 + 1):
        a, b = one[index], other[index]
        assert a["input_ids"] == b["input_ids"] and a["itm_label"] == b["itm_label"]
        for name in ("image", "patches_masked", "select", "action", "random"):
            assert np.array_equal(a[name], b[name])
    elsewhere = examples(source, seed=1)
    assert any(one[i]["input_ids"] != elsewhere[i]["input_ids"] for i in range(10))
    assert one.endless
    with pytest.raises(TypeError, match="endless"):
        len(one)


def test_a_batch_holds_pictures_texts_and_labels(source):
    pairs = examples(source, 0.5)
    drawn = [pairs[index] for index in range(64)]
    batch = pairs.collate(drawn)
    ids = batch["input_ids"]
    length = max(len(example["input_ids"]) for example in drawn)
    expected = {"image": (64, 3, 32, 32), "patches_masked": (64, 4, 4), "itm_labels": (64,)}
    words = ("input_ids", "attention_mask", "mlm_input_ids", "mlm_labels")
    expected |= dict.fromkeys(words, (64, length))
    assert {name: tuple(value.shape) for name, value in batch.items()} == expected
    assert batch["itm_labels"].tolist() == [example["itm_label"] for example in drawn]
    assert batch["itm_labels"].dtype == torch.int64
    for row, example in zip(ids, drawn, strict=True):
        assert tuple(row[row != source.text.pad_id].tolist()) == example["input_ids"]
    assert torch.equal(batch["attention_mask"], ids != source.text.pad_id)
    asked = batch["mlm_labels"] != -100
    assert torch.equal(batch["mlm_labels"][asked], ids[asked])
    assert torch.equal(batch["mlm_input_ids"][~asked], ids[~asked])
    free = ids > max(source.text.cls_id, source.text.sep_id, source.text.mask_id)
    assert not asked[~free].any()
    assert asked.sum() / free.sum() == pytest.approx(0.3, abs=0.06)
    # Each picture and each sentence stands in the batch once, whoever stands beside it.
    right = sorted(own(pairs, index) for index in range(64))
    assert sorted(pairs.caption(index) for index in range(64)) == right


def test_what_is_hidden_does_not_depend_on_whether_captions_are_exchanged(source):
    """Right and wrong pairs differ in nothing but what they say."""
    kept, swapped = examples(source, 0.0), examples(source, 1.0)
    for index in range(10):
        a, b = kept[index], swapped[index]
        assert torch.equal(a["patches_masked"], b["patches_masked"])
        assert np.array_equal(a["image"], b["image"])


def test_an_evaluation_hides_all_words_that_it_asks_for(source):
    for split in ("validation", "twemoji", "compositions"):
        pairs = examples(source, 0.0, split=split, all_hidden=True)
        batch = pairs.collate([pairs[index] for index in range(32)])
        asked = batch["mlm_labels"] != -100
        assert asked.any() and (batch["mlm_input_ids"][asked] == source.text.mask_id).all()
        assert batch["itm_labels"].all()
    two = [pairs.scene(index) for index in range(20)]
    assert all(len(drawn.things) == 2 for drawn in two)


@pytest.mark.parametrize(
    "wrong",
    [{"mismatched": -0.1}, {"mismatched": 1.1}, {"probability": 0.0}, {"probability": 1.5}],
    ids=str,
)
def test_shares_that_are_none_are_refused(wrong):
    PairData(mismatched=1.0, probability=1.0).check()
    PairData(mismatched=0.0).check()
    with pytest.raises(UserError, match=next(iter(wrong))):
        dataclasses.replace(PairData(), **wrong).check()

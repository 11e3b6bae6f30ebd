import numpy as np
import pytest
import torch

from minivl.data.captioned import CaptionedExamples, CaptionSource, HiddenWords
from minivl.data.examples import SceneData, SceneExamples
from minivl.data.noise import AFTER, BEFORE, NoiseData
from minivl.data.tasks import SPLITS, TaskExamples
from minivl.errors import UserError

NOISE = NoiseData(wrong=0.3, missing=0.3, extra=0.3)
CLEAN = NoiseData()


@pytest.fixture(scope="module")
def source(pack):
    return CaptionSource(pack, SceneData(image_size=32))


def examples(source, spoilt=CLEAN, seed=0, split="train", probability=0.3, **options):
    return CaptionedExamples(source, split, HiddenWords(probability), spoilt, seed, **options)


def test_pictures_are_the_scenes_own_and_captions_those_that_are_told(source):
    for spoilt in (CLEAN, NOISE):
        pairs, scenes = examples(source, spoilt), SceneExamples(source.scenes, "train", 0)
        for index in range(40):
            one, told = pairs[index], pairs.captions.told(index)
            assert np.array_equal(one["image"], scenes[index]["image"])
            assert told.clean == scenes.caption(index)
            assert one["input_ids"] == source.scenes.encode(told.said)
            assert one["picture_id"] == index
        if spoilt == CLEAN:
            assert all(pairs.captions.told(i).kind == "none" for i in range(40))


def test_a_batch_holds_whole_and_holed_captions_and_whose_pictures_they_are(source):
    pairs = examples(source)
    drawn = [pairs[index] for index in range(7, 71)]
    batch = pairs.collate(drawn)
    ids, length = batch["input_ids"], max(len(one["input_ids"]) for one in drawn)
    expected = {"image": (64, 3, 32, 32), "picture_ids": (64,)}
    words = ("input_ids", "attention_mask", "mlm_input_ids", "mlm_labels")
    expected |= dict.fromkeys(words, (64, length))
    assert {name: tuple(value.shape) for name, value in batch.items()} == expected
    assert batch["picture_ids"].tolist() == list(range(7, 71))
    assert batch["picture_ids"].dtype == torch.int64
    assert torch.equal(batch["attention_mask"], ids != source.text.pad_id)
    asked = batch["mlm_labels"] != -100
    assert torch.equal(batch["mlm_labels"][asked], ids[asked])
    assert torch.equal(batch["mlm_input_ids"][~asked], ids[~asked])
    special = torch.tensor([source.text.pad_id, source.text.cls_id, source.text.sep_id])
    free = ~torch.isin(ids, special)
    assert not asked[~free].any()
    assert asked.sum() / free.sum() == pytest.approx(0.3, abs=0.06)


@pytest.mark.parametrize("separator", [True, False])
def test_words_may_be_hidden_in_the_draws_of_the_official_code(pack, separator):
    source = CaptionSource(pack, SceneData(image_size=32), separator=separator)
    pairs, own, other = (
        CaptionedExamples(source, "train", HiddenWords(0.3, official_draws=on), CLEAN, seed)
        for on, seed in ((True, 0), (False, 0), (True, 1))
    )
    drawn = [pairs[index] for index in range(64)]
    batch, plain = pairs.collate(drawn), own.collate(drawn)
    ids, holed, labels = (batch[name] for name in ("input_ids", "mlm_input_ids", "mlm_labels"))
    # What else it holds is as ever; what is hidden follows from seed and pictures alone.
    for name in ("image", "picture_ids", "input_ids", "attention_mask"):
        assert torch.equal(batch[name], plain[name])
    torch.manual_seed(9)
    again = pairs.collate(drawn)
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    assert not torch.equal(labels, plain["mlm_labels"])
    assert not torch.equal(labels, other.collate(drawn)["mlm_labels"])
    later = pairs.collate([pairs[index] for index in range(64, 128)])
    assert not torch.equal(labels[:, :5] == -100, later["mlm_labels"][:, :5] == -100)
    # The draws of a seed, in the official order: places, masks, swaps, words.
    (seed,) = np.random.SeedSequence((1, 0)).generate_state(1).tolist()
    generator = torch.Generator().manual_seed(seed)
    seen = {
        name: torch.bernoulli(torch.full(ids.shape, share), generator=generator).bool()
        for name, share in (("places", 0.3), ("masks", 0.8), ("swaps", 0.5))
    }
    words = torch.randint(len(source.text), ids.shape, generator=generator)
    asked = seen["places"] & (ids != source.text.pad_id) & (ids != source.text.cls_id)
    assert torch.equal(labels, ids.masked_fill(~asked, -100))
    assert (holed[asked & seen["masks"]] == source.text.mask_id).all()
    swapped = asked & ~seen["masks"] & seen["swaps"]
    assert swapped.any() and torch.equal(holed[swapped], words[swapped])
    kept = ~asked | (~seen["masks"] & ~seen["swaps"])
    assert torch.equal(holed[kept], ids[kept])
    assert (labels == source.text.sep_id).any() == separator


def test_an_evaluation_hides_words_in_draws_of_its_own(source):
    official, own = (
        CaptionedExamples(
            source, "twemoji", HiddenWords(official_draws=on), CLEAN, 0, all_hidden=True
        )
        for on in (True, False)
    )
    drawn = [own[index] for index in range(8)]
    found = official.collate(drawn)["mlm_labels"]
    assert torch.equal(found, own.collate(drawn)["mlm_labels"])


def test_an_evaluation_hides_all_words_that_it_asks_for(source):
    pairs = examples(source, split="twemoji", all_hidden=True)
    batch = pairs.collate([pairs[index] for index in range(32)])
    asked = batch["mlm_labels"] != -100
    assert asked.any() and (batch["mlm_input_ids"][asked] == source.text.mask_id).all()


def test_an_example_is_a_function_of_seed_and_index(source):
    one, other = examples(source, NOISE), examples(source, NOISE)
    for index in (0, 7, 10**6 + 1):
        a, b = one[index], other[index]
        assert a["input_ids"] == b["input_ids"]
        for name in ("image", "select", "action", "random"):
            assert np.array_equal(a[name], b[name])
    elsewhere = examples(source, NOISE, seed=1)
    assert any(one[i]["input_ids"] != elsewhere[i]["input_ids"] for i in range(10))
    assert one.endless
    with pytest.raises(TypeError, match="endless"):
        len(one)


@pytest.mark.parametrize("captions", [("places",), ("attributes", "converse", "existence")])
def test_the_cut_vocabulary_knows_noise_and_the_tasks_to_come(pack, captions):
    source = CaptionSource(pack, SceneData(image_size=32, objects=(1, 4), captions=captions))
    assert len(source.text) < 400
    for text in (*BEFORE, *AFTER, "yes", "no", "two"):
        assert source.text.unk_id not in source.text.encode(text)
    for split in ("train", "validation", "twemoji", "compositions"):
        pairs = examples(source, NOISE, split=split)
        assert all(source.text.unk_id not in pairs.ids(0, index) for index in range(60))
    for task, splits in SPLITS.items():
        for split in splits:
            asked = TaskExamples(source, task, split, 0, "both")
            assert all(source.text.unk_id not in asked[i]["input_ids"] for i in range(40)), task


def test_the_full_vocabulary_and_one_that_is_brought(pack, source):
    data = SceneData(image_size=32, vocabulary="full")
    assert len(CaptionSource(pack, data).text) == 30_522
    brought = CaptionSource(pack, SceneData(image_size=32), CaptionSource(pack, data).text)
    assert len(brought.text) == 30_522 and brought.scenes.text is brought.text


def test_texts_may_end_without_a_separator(pack, source):
    bare = CaptionSource(pack, SceneData(image_size=32), separator=False)
    sentence = "a dog on the left"
    assert bare.text.vocab == source.text.vocab
    assert bare.text.encode(sentence) == source.text.encode(sentence)[:-1]
    assert bare.scenes.encode(sentence) == source.scenes.encode(sentence)[:-1]
    pairs = examples(bare)
    batch = pairs.collate([pairs[index] for index in range(16)])
    assert (batch["input_ids"] != bare.text.sep_id).all()


def test_captions_that_are_too_long_are_cut(pack):
    source = CaptionSource(pack, SceneData(image_size=32, objects=(3, 4), max_length=9))
    pairs = examples(source, NoiseData(extra=1.0))
    assert {len(pairs[index]["input_ids"]) for index in range(20)} == {9}


@pytest.mark.parametrize("probability", [0.0, -0.1, 1.5])
def test_a_share_of_hidden_words_that_is_none_is_refused(probability):
    HiddenWords(1.0).check()
    with pytest.raises(UserError, match="probability"):
        HiddenWords(probability).check()


def test_pieces_drawn_officially_are_no_whole_words():
    HiddenWords(official_draws=True).check()
    with pytest.raises(UserError, match="whole_words"):
        HiddenWords(whole_words=True, official_draws=True).check()

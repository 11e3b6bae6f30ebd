import dataclasses

import numpy as np
import pytest
import torch

from minivl.data.examples import SceneData
from minivl.data.pack import Gloss
from minivl.data.texts import (
    RUN,
    WINDOW,
    Glosses,
    MaskedTexts,
    TextData,
    TextSource,
    chosen_glosses,
    common,
    definition,
    packed,
)
from minivl.errors import DataError, UserError

SMALL = TextData(topics=("noun.food", "noun.body"), vocabulary_size=600)


@pytest.fixture(scope="module")
def source(pack):
    return TextSource(pack, SMALL, SceneData(image_size=32))


def masked(source, texts="train", seed=0, **changes):
    data = dataclasses.replace(SMALL, **changes)
    return MaskedTexts(source.glosses(texts), source.text, data, seed)


def test_a_definition_is_what_stands_before_remarks_and_examples():
    assert definition('an edible (red) root; "she ate a beet"; also: sugar') == "an edible root"
    assert definition("(plural) teeth") == "teeth"
    assert definition("a (b (c) d) e") == "a (b d) e"


def test_topics_choose_glosses_and_equal_definitions_count_once():
    rows = [("noun.food", "a; x"), ("verb.body", "b"), ("noun.food", "a"), ("noun.act", "(c)")]
    glosses = [Gloss("n1", topic, (), text, ()) for topic, text in rows]
    assert list(chosen_glosses(glosses, TextData())) == ["a", "b"]
    assert list(chosen_glosses(glosses, TextData(topics=("noun.food",)))) == ["a"]
    assert list(chosen_glosses(glosses, TextData(glosses="full"))) == ["a; x", "b", "a", "(c)"]


def test_rare_pieces_leave_their_texts_out():
    texts = {"a a": ["a", "a"], "a b": ["a", "b"], "a c": ["a", "c"], "b c": ["b", "[UNK]"]}
    assert list(common(texts, 2)) == ["a a", "a b"]


def test_a_cut_vocabulary_reads_every_text_and_caption(source):
    assert len(source.text) < 800
    assert len(source.train) > 200 and 10 < len(source.held_out) < 0.1 * len(source.train)
    for texts in (source.glosses("train"), source.captions("train"), source.captions("twemoji")):
        for index in range(300):
            ids = texts.ids(0, index)
            assert ids[0] == source.text.cls_id and ids[-1] == source.text.sep_id
            assert source.text.unk_id not in ids and 3 <= len(ids) <= SMALL.max_length


def test_no_held_out_definition_is_read_in_training(source):
    assert not set(source.held_out) & set(source.train)
    texts = source.glosses("train")
    assert {texts.ids(0, i) for i in range(len(texts))} == set(source.train)


def test_what_is_held_out_does_not_depend_on_the_other_texts(pack, source):
    more = dataclasses.replace(SMALL, topics=("noun.food", "noun.body", "noun.act"))
    larger = TextSource(pack, more, SceneData(image_size=32))
    held_out = {larger.text.decode(row) for row in larger.held_out}
    train = {larger.text.decode(row) for row in larger.train}
    own = {source.text.decode(row) for row in source.held_out}
    assert not own & train and len(own & held_out) > len(own) / 4


def test_epochs_read_every_gloss_once_in_runs_of_like_length():
    rows = [tuple(range(2 + n % 7)) + (n,) for n in range(5000)]
    texts = Glosses(rows)
    epochs = [[texts.ids(3, e * 5000 + i) for i in range(5000)] for e in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(rows) and epochs[0] != epochs[1]
    firsts = []
    for start in range(0, 2 * WINDOW, RUN):
        run = epochs[0][start : start + RUN]
        lengths = [len(row) for row in run]
        assert lengths == sorted(lengths) and lengths[-1] - lengths[0] <= 1
        firsts.append(lengths[0])
    assert firsts != sorted(firsts)
    # Texts of one length come in random order.
    numbers = [row[-1] for row in epochs[0][:RUN]]
    assert numbers != sorted(numbers)
    assert [texts.ids(3, i) for i in range(50)] != [texts.ids(4, i) for i in range(50)]


def test_captions_of_unseen_pairs_name_pairs_that_training_never_names(source):
    pairs = source.captions("compositions").world.reserved
    assert pairs and source.captions("compositions").world.only_reserved
    assert not source.captions("train").world.only_reserved


def test_kinds_of_captions_follow_each_other(pack):
    scenes = SceneData(image_size=32, captions=("places", "existence"), objects=(1, 1))
    texts = TextSource(pack, SMALL, scenes).captions("train")
    there = [texts.ids(0, i)[1] for i in range(2 * RUN)]
    assert len(set(there[RUN:])) == 1 and len(set(there[:RUN])) > 1


def test_an_example_is_a_function_of_seed_and_index(source):
    one, other = masked(source), masked(source)
    for index in (0, 7, 100_000):
        a, b = one[index], other[index]
        assert a["input_ids"] == b["input_ids"]
        assert all(np.array_equal(a[name], b[name]) for name in ("select", "action", "random"))
    length = len(source.train)
    batches = [one.collate([one[e * length + i] for i in range(64)]) for e in range(2)]
    labels = [batch["mlm_labels"] for batch in batches]
    assert labels[0].shape != labels[1].shape or not torch.equal(*labels)
    elsewhere = masked(source, seed=1)
    assert any(elsewhere[i]["input_ids"] != one[i]["input_ids"] for i in range(20))


def test_a_batch_hides_some_words_and_asks_for_the_originals(source):
    texts = masked(source, probability=0.3)
    batch = texts.collate([texts[i] for i in range(256)])
    assert set(batch) == {"input_ids", "attention_mask", "mlm_input_ids", "mlm_labels"}
    ids, labels = batch["input_ids"], batch["mlm_labels"]
    asked = labels != -100
    assert torch.equal(labels[asked], ids[asked])
    assert torch.equal(batch["mlm_input_ids"][~asked], ids[~asked])
    special = texts.special(ids)
    assert not (asked & special).any()
    assert asked.sum() / (~special).sum() == pytest.approx(0.3, abs=0.03)
    hidden = batch["mlm_input_ids"][asked] == source.text.mask_id
    assert hidden.float().mean() == pytest.approx(0.8, abs=0.06)
    assert (batch["attention_mask"] == (ids != source.text.pad_id)).all()


def test_an_evaluation_hides_all_that_it_asks_for(source):
    texts = MaskedTexts(source.glosses("held out"), source.text, SMALL, 0, all_hidden=True)
    batch = texts.collate([texts[i] for i in range(64)])
    asked = batch["mlm_labels"] != -100
    assert asked.any() and (batch["mlm_input_ids"][asked] == source.text.mask_id).all()


def test_whole_words_are_asked_for_with_all_their_pieces(source):
    texts = masked(source, probability=0.4, whole_words=True)
    batch = texts.collate([texts[i] for i in range(256)])
    inside = torch.tensor(texts.inside)[batch["input_ids"]]
    asked = batch["mlm_labels"] != -100
    assert inside.any()
    assert torch.equal(asked[:, 1:][inside[:, 1:]], asked[:, :-1][inside[:, 1:]])
    pieces = masked(source, probability=0.4)
    other = pieces.collate([pieces[i] for i in range(256)])["mlm_labels"] != -100
    assert not torch.equal(other[:, 1:][inside[:, 1:]], other[:, :-1][inside[:, 1:]])


def test_long_texts_are_cut_before_their_end(pack):
    short = dataclasses.replace(SMALL, max_length=5)
    source = TextSource(pack, short, SceneData(image_size=32))
    for index in range(200):
        for texts in (source.glosses("train"), source.captions("train")):
            ids = texts.ids(0, index)
            assert len(ids) <= 5 and ids[-1] == source.text.sep_id


def test_texts_without_a_word_are_read_and_never_asked(source):
    texts = masked(source, probability=1.0)
    empty = {
        "input_ids": tuple(source.text.encode("")),
        "select": np.zeros(2),
        "action": np.zeros(2),
        "random": np.zeros(2, dtype=np.int64),
    }
    batch = texts.collate([empty, empty])
    assert batch["input_ids"].tolist() == [[source.text.cls_id, source.text.sep_id]] * 2
    assert (batch["mlm_labels"] == -100).all()


def test_the_full_vocabulary_keeps_all_glosses_of_the_topics(pack):
    data = TextData(topics=("noun.Tops",), vocabulary="full")
    source = TextSource(pack, data, SceneData(image_size=32))
    assert len(source.text) == 30_522
    topic = [gloss for gloss in pack.glosses() if gloss.topic == "noun.Tops"]
    assert len(source.train) + len(source.held_out) == len({definition(g.text) for g in topic})


def test_packing_fills_rows_and_loses_nothing():
    rows = [(1, *range(10, 10 + n % 9), 2) for n in range(400)]
    joined = packed(rows, 32)
    assert all(row[0] == 1 and row[-1] == 2 and row.count(1) == 1 for row in joined)
    assert all(22 < len(row) <= 32 for row in joined[:-1])
    assert sum(row.count(2) for row in joined) == 400
    assert sum(map(len, joined)) == sum(map(len, rows)) - 400 + len(joined)
    long = [(1, *range(50), 2)] * 3
    assert packed(long, 32) == long


def test_only_training_is_packed(pack, source):
    dense = TextSource(pack, dataclasses.replace(SMALL, packed=True), SceneData(image_size=32))
    assert dense.held_out == source.held_out and len(dense.train) < len(source.train) / 2


def test_no_gloss_left_is_said(pack):
    with pytest.raises(DataError, match="no gloss is left"):
        TextSource(pack, TextData(topics=("noun.nothing",)), SceneData(image_size=32))


@pytest.mark.parametrize(
    "wrong",
    [
        {"probability": 1.5},
        {"probability": 0.0},
        {"caption_share": -0.1},
        {"max_length": 2},
        {"vocabulary_size": 3},
    ],
    ids=str,
)
def test_numbers_that_mean_nothing_are_refused(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        TextData(**wrong).check()

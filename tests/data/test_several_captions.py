from collections import Counter

import pytest
import torch

from minivl.data.captions import KINDS, captions
from minivl.data.examples import SceneData, SceneSource
from minivl.data.scenes import mirrored
from minivl.data.several_captions import SeveralCaptions
from minivl.data.stream import Stream, fetch

PICTURES = 14


@pytest.fixture(scope="module")
def source():
    return SceneSource.load(SceneData(image_size=32, twin_share=1.0))


@pytest.fixture(scope="module")
def examples(source):
    return SeveralCaptions(source, "train", 3, pictures=PICTURES, kinds=KINDS)


def test_every_pair_is_read_once_an_epoch(examples):
    assert examples.epoch == PICTURES * len(KINDS)
    orders = []
    for epoch in range(3):
        first = epoch * examples.epoch
        places = [examples.place(index) for index in range(first, first + examples.epoch)]
        assert Counter(places) == {(p, kind): 1 for p in range(PICTURES) for kind in KINDS}
        orders.append(places)
    assert orders[0] != orders[1] != orders[2]
    assert orders[0] != sorted(orders[0]), "an order of its own"


def test_a_picture_keeps_its_id_and_its_look_whatever_is_said(examples):
    seen = {}
    for index in range(examples.epoch):
        picture, kind = examples.place(index)
        example = examples[index]
        assert example["picture_id"] == picture
        before = seen.setdefault(picture, example["image"])
        assert (example["image"] == before).all()
        assert examples.caption(index) == captions(examples.scene(index))[KINDS.index(kind)]
        said = examples.source.text.decode(example["input_ids"])
        assert said == examples.caption(index).lower()
    assert len(seen) == PICTURES


def test_twins_stay_neighbours_and_are_told_of_in_the_same_way(examples):
    twins = 0
    for index in range(0, examples.epoch, 2):
        (first, kind), (second, other) = examples.place(index), examples.place(index + 1)
        assert (second, other) == (first + 1, kind) and first % 2 == 0
        twin = mirrored(examples.scene(index))
        twins += twin is not None and twin.things == examples.scene(index + 1).things
    assert twins > examples.epoch / 4


def test_examples_follow_from_seed_and_index_alone(source, examples):
    again = SeveralCaptions(source, "train", 3, pictures=PICTURES, kinds=KINDS)
    other = SeveralCaptions(source, "train", 4, pictures=PICTURES, kinds=KINDS)
    places = [examples.place(index) for index in range(20)]
    assert [again.place(index) for index in reversed(range(20))][::-1] == places
    assert [other.place(index) for index in range(20)] != places
    assert again.scene(9) == examples.scene(9) != other.scene(9)


def test_a_batch_says_which_rows_show_one_picture(examples):
    batch = fetch(Stream("pairs", examples, 70), range(70), seed=0).batch
    assert batch["picture_ids"].tolist() == [examples.place(index)[0] for index in range(70)]
    assert batch["picture_ids"].dtype == torch.int64 and batch["image"].shape == (70, 3, 32, 32)
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    same = batch["picture_ids"][:, None] == batch["picture_ids"]
    assert (same.sum(dim=1) == len(KINDS)).all()
    picture = batch["image"][same[0]]
    assert (picture == picture[:1]).all() and not torch.equal(batch["image"][0], batch["image"][1])


@pytest.mark.parametrize(("pictures", "kinds"), [(3, KINDS), (0, KINDS), (4, ())])
def test_odd_sets_are_refused(source, pictures, kinds):
    with pytest.raises(ValueError, match="even number"):
        SeveralCaptions(source, "train", 0, pictures=pictures, kinds=kinds)


def test_it_has_no_length(examples):
    with pytest.raises(TypeError, match="without end"):
        len(examples)

from dataclasses import replace

import numpy as np
import pytest
import torch

from minivl.data.crop_data import CropData
from minivl.data.examples import SceneData, SceneSource
from minivl.data.objects import ObjectData, ObjectSource
from minivl.errors import UserError

DATA = ObjectData(picture_size=40, crops=CropData(global_size=32, local_size=16, local_crops=2))


@pytest.fixture(scope="module")
def source():
    return ObjectSource.load(DATA)


def test_an_index_is_always_the_same_example(source):
    examples, again = source.examples("train", 3), source.examples("train", 3)
    for index in (0, 7, 10**6):
        one, two = examples[index], again[index]
        assert np.array_equal(one["image"], two["image"]) and one["label"] == two["label"]
        assert np.array_equal(one["draws"], two["draws"])
    other = source.examples("train", 4)[7]
    assert not np.array_equal(other["image"], examples[7]["image"])
    assert not np.array_equal(examples[7]["draws"], examples[8]["draws"])


def test_a_batch_is_the_same_whoever_shares_it(source):
    examples = source.examples("train", 0)
    batch = examples.collate([examples[i] for i in range(4)])
    alone = examples.collate([examples[2]])
    assert set(batch) == {"global_crops", "local_crops", "label"}
    for name, value in batch.items():
        torch.testing.assert_close(alone[name][0], value[2], rtol=0, atol=1e-5)
    assert batch["global_crops"].shape == (4, 2, 3, 32, 32)
    assert batch["local_crops"].shape == (4, 2, 3, 16, 16)


def test_one_large_thing_on_one_colour(source):
    images, labels, masks = source.pictures("train", 5, 60)
    assert images.shape == (60, 32, 32, 3) and masks.shape == (60, 32, 32)
    for image, mask in zip(images, masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        longest = max(np.ptp(rows), np.ptp(columns)) + 1
        assert 0.5 * 32 < longest <= 0.95 * 32 + 1
        # Nothing of the drawing reaches a pixel two away from its box.
        outside = np.ones((32, 32), bool)
        outside[max(rows[0] - 2, 0) : rows[-1] + 3, max(columns[0] - 2, 0) : columns[-1] + 3] = (
            False
        )
        assert len(np.unique(image[outside].reshape(-1, 3), axis=0)) <= 1
    assert len(set(labels.tolist())) > 25 and labels.max() < 48


def test_labels_name_the_things(source):
    examples = source.examples("train", 0)
    for index in range(30):
        picture = examples.picture(index)
        assert source.names[picture.label] == picture.things[0].name
        assert examples[index]["label"] == picture.label


def test_splits_differ_by_artist(source):
    vendors = {
        split: {source.examples(split, 0).picture(i).things[0].vendor for i in range(80)}
        for split in ("train", "validation", "twemoji")
    }
    assert vendors["twemoji"] == {"twemoji"}
    assert vendors["train"] == vendors["validation"] and "twemoji" not in vendors["train"]


def test_the_drawings_are_those_of_scenes(source):
    scenes = SceneSource.load(SceneData(image_size=32)).world("train")
    ours = source.world("train").sprites
    assert [[(s.concept, s.vendor) for s in drawings] for drawings in ours] == [
        [(s.concept, s.vendor) for s in drawings] for drawings in scenes.sprites
    ]


def test_the_size_and_place_of_things_vary(source):
    examples = source.examples("train", 0)
    boxes = np.array([examples.picture(i).things[0].box for i in range(200)])
    longest = boxes[:, 2:].max(1)
    assert len(set(longest.tolist())) == 8
    assert boxes[:, :2].min() == 0 and (boxes[:, :2] + boxes[:, 2:]).max() == 40


def test_backgrounds_are_colours_or_photographs():
    grey = ObjectSource.load(replace(DATA, colours=0.0)).examples("train", 0)
    assert {grey.picture(i).colour for i in range(9)} == {(128, 128, 128)}
    bright = ObjectSource.load(replace(DATA, colours=1.0)).examples("train", 0)
    values = np.array([bright.picture(i).colour for i in range(300)])
    assert values.min() < 10 and values.max() > 245
    photo = ObjectSource.load(replace(DATA, background="photo")).examples("train", 0)
    assert photo.picture(0).colour is None
    assert len(np.unique(photo[0]["image"].reshape(-1, 3), axis=0)) > 100


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"picture_size": 24}, "picture_size is 24"),
        ({"object_share": (0.9, 0.5)}, "object_share"),
        ({"object_share": (0.5, 1.5)}, "object_share"),
        ({"colours": 2.0}, "colours"),
    ],
    ids=str,
)
def test_pictures_that_cannot_be_drawn_are_refused(change, named):
    with pytest.raises(UserError, match=named):
        replace(DATA, **change).check()


@pytest.mark.parametrize(
    "change",
    [
        {"local_crops": -1},
        {"local_size": 0},
        {"global_scale": (0.0, 1.0)},
        {"local_scale": (0.4, 0.1)},
        {"blur": (0.0, 1.0)},
        {"jitter": 3.0},
        {"grey_share": 1.5},
    ],
    ids=str,
)
def test_crops_that_cannot_be_cut_are_refused(change):
    with pytest.raises(UserError, match=next(iter(change))):
        replace(DATA.crops, **change).check()
    DATA.crops.check()
    DATA.check()

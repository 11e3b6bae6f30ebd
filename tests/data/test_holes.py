import dataclasses

import numpy as np
import pytest
import torch

from minivl.data.examples import SceneData, SceneSource
from minivl.data.holes import HoledPictures, MaskData, box_cells, hide
from minivl.errors import UserError

MASKS = MaskData(share=0.4, min_block=3)


@pytest.fixture(scope="module")
def source(pack):
    return SceneSource(pack, SceneData(image_size=32, twin_share=0.0))


def holed(source, split="train", seed=0, grid=(4, 4), **changes):
    return HoledPictures(source, split, grid, dataclasses.replace(MASKS, **changes), seed)


def test_picture_and_mask_are_functions_of_seed_and_index(source):
    one, other = holed(source), holed(source)
    for index in (0, 5, 10**6):
        assert np.array_equal(one[index]["image"], other[index]["image"])
        assert torch.equal(one[index]["patches_masked"], other[index]["patches_masked"])
    masks = {tuple(one.mask(index).flatten().tolist()) for index in range(50)}
    assert len(masks) > 20
    assert any(not torch.equal(one.mask(i), holed(source, seed=1).mask(i)) for i in range(5))


def test_every_mask_hides_the_same_number(source):
    examples = holed(source, grid=(8, 8), min_block=5)
    batch = examples.collate([examples[index] for index in range(40)])
    assert batch["image"].shape == (40, 3, 32, 32) and batch["image"].dtype == torch.float32
    assert -1 <= batch["image"].min() < batch["image"].max() <= 1
    assert batch["patches_masked"].dtype == torch.bool
    assert (batch["patches_masked"].sum(dim=(1, 2)) == round(0.4 * 64)).all()
    loose = holed(source, grid=(8, 8), min_block=12, exact=False)
    assert len({int(loose.mask(index).sum()) for index in range(100)}) > 1


def test_some_pictures_are_bare_photographs(source):
    assert all(holed(source, photo_share=0.0).scene(i).things for i in range(50))
    assert not any(holed(source, photo_share=1.0).scene(i).things for i in range(50))
    some = [bool(holed(source, photo_share=0.25).scene(i).things) for i in range(400)]
    assert 0.68 < np.mean(some) < 0.82


def test_unseen_photographs_stand_behind_the_pictures_of_the_evaluation(source):
    splits = source.splits
    shown = {holed(source, "validation", photo_share=1.0).scene(i).photo for i in range(200)}
    assert shown == set(splits.validation_photos)
    assert not shown & {holed(source).scene(i).photo for i in range(500)}


def test_a_box_touches_the_cells_that_share_a_pixel_with_it():
    for box in [(0, 0, 8, 8), (7, 3, 2, 6), (31, 31, 1, 1), (4, 10, 20, 9)]:
        x, y, width, height = box
        pixels = torch.zeros(32, 32, dtype=torch.bool)
        pixels[y : y + height, x : x + width] = True
        expected = pixels.view(4, 8, 4, 8).any(dim=3).any(dim=1)
        assert torch.equal(box_cells(box, (4, 4), 32), expected), box


@pytest.mark.parametrize("count", [0, 3, 6, 10, 16])
def test_the_given_cells_are_hidden_first(count):
    cells = torch.zeros(4, 4, dtype=torch.bool)
    cells[1:3, :3] = True
    mask = hide(cells, count, torch.Generator().manual_seed(0))
    assert mask.sum() == count
    assert (mask & cells).sum() == min(count, 6)


def test_a_drawing_is_hidden_whole_where_that_is_asked(source):
    examples = holed(source, thing_share=1.0, share=0.5, photo_share=0.0)
    for index in range(50):
        mask, things = examples.mask(index), examples.scene(index).things
        assert mask.sum() == 8
        boxes = [box_cells(thing.box, (4, 4), source.data.image_size) for thing in things]
        assert any((mask & box).sum() == min(8, int(box.sum())) for box in boxes)
    share = [
        torch.equal(holed(source, photo_share=0.0).mask(i),
                    holed(source, thing_share=0.25, photo_share=0.0).mask(i))
        for i in range(200)
    ]  # fmt: skip
    assert 0.65 < np.mean(share) < 0.85


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nothing_or_everything_may_be_hidden(source, share):
    examples = holed(source, share=share)
    batch = examples.collate([examples[0], examples[1]])
    assert (batch["patches_masked"] == bool(share)).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"share": 1.1},
        {"photo_share": -1},
        {"thing_share": 2},
        {"min_block": 0},
        {"aspect": (2.0, 1.0)},
        {"aspect": (0.0, 1.0)},
    ],
    ids=str,
)
def test_numbers_that_mean_nothing_are_refused(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        MaskData(**wrong).check()

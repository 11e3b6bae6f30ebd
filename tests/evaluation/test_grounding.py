"""Against loops over pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.errors import UserError
from minivl.evaluation.grounding import (
    best_box_hit,
    best_head,
    best_iou,
    box_iou,
    box_scores,
    cell_shares,
    centres_inside,
    grounding,
    iou,
    mass_inside,
    mass_mask,
    pointing,
    pointing_hit,
    pointing_share,
)


@pytest.fixture
def masks():
    rng = np.random.default_rng(0)
    masks = np.zeros((6, 12, 16), bool)
    for mask in masks:
        y, x, h, w = rng.integers(0, 6), rng.integers(0, 8), *rng.integers(3, 7, 2)
        mask[y : y + h, x : x + w] = True
    return torch.from_numpy(masks)


@pytest.fixture
def maps():
    return torch.rand(6, 3, 4, generator=torch.Generator().manual_seed(1))


def pixels(cells):
    """A map (gh, gw) at the masks' size, each pixel with its share of the cell's weight."""
    return np.kron(cells.numpy(), np.ones((4, 4))) / 16


def overlap(a, b):
    return (a & b).sum() / max((a | b).sum(), 1)


def test_shares_are_means_over_the_cells_pixels(masks):
    found = cell_shares(masks, (3, 4))
    for mask, cells in zip(masks.numpy(), found, strict=True):
        for row in range(3):
            for column in range(4):
                part = mask[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
                assert cells[row, column].item() == pytest.approx(part.mean())


def test_mass_inside_adds_up_the_weight_of_the_things_pixels(maps, masks):
    found = mass_inside(maps, cell_shares(masks, (3, 4)))
    for cells, mask, value in zip(maps, masks.numpy(), found, strict=True):
        heat = pixels(cells)
        assert value.item() == pytest.approx(heat[mask].sum() / heat.sum(), rel=1e-5)


def test_pointing_looks_at_the_pixels_of_the_brightest_cell(maps, masks):
    found = pointing(maps, cell_shares(masks, (3, 4)))
    for cells, mask, value in zip(maps, masks.numpy(), found, strict=True):
        heat = pixels(cells)
        assert value.item() == pytest.approx(mask[heat == heat.max()].mean())


def test_the_best_overlap_is_that_of_every_threshold_tried(maps, masks):
    maps = (maps * 5).round() / 5  # with ties
    found = best_iou(maps, cell_shares(masks, (3, 4)))
    for cells, mask, value in zip(maps, masks.numpy(), found, strict=True):
        heat = pixels(cells)
        tried = [overlap(heat >= level, mask) for level in np.unique(heat)]
        assert value.item() == pytest.approx(max(tried), rel=1e-5)


def dinos_mask(attention, threshold):
    """visualize_attention.py, one map (cells,) in plain Python."""
    order = sorted(range(len(attention)), key=lambda i: attention[i])
    total, running, kept = sum(attention), 0.0, [False] * len(attention)
    for i in order:
        running += attention[i] / total
        kept[i] = running > 1 - threshold
    return kept


@pytest.mark.parametrize("mass", [0.3, 0.6, 0.9])
def test_the_mass_mask_is_that_of_dinos_viewer(maps, mass):
    found = mass_mask(maps, mass)
    for cells, kept in zip(maps, found, strict=True):
        assert kept.flatten().tolist() == dinos_mask(cells.flatten().tolist(), mass)
        # The cell that crosses the threshold is kept: at least `mass` is.
        assert cells[kept].sum() / cells.sum() >= mass - 1e-6
        assert cells[kept].min() >= cells[~kept].max()


def test_overlap_of_cells_is_that_of_pixels(maps, masks):
    kept = mass_mask(maps)
    found = iou(kept, cell_shares(masks, (3, 4)))
    for cells, mask, value in zip(kept, masks.numpy(), found, strict=True):
        assert value.item() == pytest.approx(overlap(pixels(cells.float()) > 0, mask), rel=1e-5)


def test_a_flat_map_gets_chance(masks):
    found = grounding(torch.ones(6, 3, 4), masks)
    area = masks.float().mean().item()
    for name in ("pointing", "mass_inside", "best_iou"):
        assert found[name].value == pytest.approx(area) == found[name].chance
    assert found["pointing"].n == 6


def test_a_perfect_map_gets_everything():
    masks = torch.zeros(4, 8, 8, dtype=torch.bool)
    masks[:, 2:6, 4:8] = True
    maps = cell_shares(masks, (4, 4)) + 1e-9
    found = grounding(maps, masks)
    assert {name: round(metric.value, 6) for name, metric in found.items()} == {
        "pointing": 1,
        "mass_inside": 1,
        "best_iou": 1,
        "mass_60_iou": 0.75,  # three of four cells of a quarter each hold 60 %
    }


def test_the_best_head_is_the_one_that_looks_at_the_thing(masks):
    inside = cell_shares(masks, (3, 4))
    maps = torch.stack([1 - inside, 0.1 + inside, torch.ones_like(inside)], dim=1) + 1e-6
    assert best_head(maps, masks) == 1


def test_chance_of_the_mass_mask_is_that_of_cells_at_random():
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(3000, 16, 16, dtype=torch.bool)
    masks[:, 4:12, 4:12] = True
    found = grounding(torch.rand(3000, 8, 8, generator=generator), masks)["mass_60_iou"]
    assert found.value == pytest.approx(found.chance, abs=0.01)


def test_maps_that_do_not_divide_the_picture_are_refused(masks):
    with pytest.raises(UserError, match="12 x 16 pixels do not divide into 5 x 4"):
        grounding(torch.ones(6, 5, 4), masks)


HEAT = torch.tensor([[0.1, 0.2, 0.9], [0.3, 0.8, 0.0]])
SIZE = (20, 60)
"""The hottest cell is in row 0, column 2: its centre lies at x = 50, y = 5."""
BOXES = {
    (45, 0, 55, 9): True,
    (0, 0, 9, 9): False,  # a hit for who takes cells for pixels
    (39, -1, 41, 1): False,  # for who points to the cell's corner
    (0, 40, 10, 60): False,  # for who takes x for y
    (5, 10, 15, 20): False,  # for who divides by the number of rows
}


@pytest.mark.parametrize(("box", "expected"), BOXES.items(), ids=str)
def test_the_hottest_cells_centre_is_looked_for_in_the_box(box, expected):
    assert pointing_hit(HEAT, box, SIZE) is expected


def inside_or_not(x, y, box):
    return box[0] <= x < box[2] and box[1] <= y < box[3]


WRONG = {
    "x and y exchanged": lambda row, column: (10 * (row + 0.5), 20 * (column + 0.5)),
    "cells for pixels": lambda row, column: (column, row),
    "the cell's corner": lambda row, column: (20 * column, 10 * row),
    "divided by the rows": lambda row, column: (  # flat index 2 = 1 * 2 + 0
        20 * ((3 * row + column) % 2 + 0.5),
        10 * ((3 * row + column) // 2 + 0.5),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_every_wrong_reading_hits_a_box_that_is_none(name):
    x, y = WRONG[name](0, 2)
    assert any(inside_or_not(x, y, box) != expected for box, expected in BOXES.items())


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_pointing_to_one_cell_is_pointing_to_the_hottest_ones(gh, gw, seed):
    rng = np.random.default_rng(seed)
    heat = torch.from_numpy(rng.permutation(gh * gw).reshape(gh, gw) / 7)
    size = (int(rng.integers(gh, 50)), int(rng.integers(gw, 50)))
    x, y, w, h = (float(v) for v in rng.uniform(-5, 30, 4))
    box = (x, y, x + abs(w), y + abs(h))
    hit = pointing_share(heat, centres_inside((gh, gw), box, size))
    assert hit == pointing_hit(heat, box, size)


def test_a_flat_map_points_everywhere_alike():
    box = (0, 0, 20, 20)  # the first of three columns
    inside = centres_inside((2, 3), box, SIZE)
    assert inside.tolist() == [[True, False, False]] * 2
    assert pointing_share(torch.ones(2, 3), inside) == pytest.approx(1 / 3)
    two = torch.tensor([[5.0, 0, 5], [0, 0, 0]])
    assert pointing_share(two, inside) == 0.5


def test_a_box_is_scored_by_its_heat_over_the_root_of_its_area():
    heat = torch.tensor([[4.0, 1], [1, 0]])
    boxes = torch.tensor([[0, 0, 1, 1], [0, 0, 2, 1], [0, 0, 2, 2]])
    assert box_scores(heat, boxes).tolist() == pytest.approx([4, 5 / 2**0.5, 3])
    # The sum prefers the largest box, the mean the smallest.
    sums = [4, 5, 6]
    assert np.argmax(sums) == 2 and box_scores(heat, boxes).argmax() == 0
    wide = torch.tensor([[3.0, 2, 2]])
    assert box_scores(wide, torch.tensor([[0, 0, 1, 1], [0, 0, 3, 1]])).argmax() == 1


@given(st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_scores_and_overlaps_are_those_of_pixels(seed):
    rng = np.random.default_rng(seed)
    heat = torch.from_numpy(rng.random((9, 12)))
    corners = np.sort(rng.integers(0, (12, 9), (4, 2, 2)), axis=1)
    boxes = torch.from_numpy(corners.reshape(4, 4) + np.array([0, 0, 1, 1]))
    kept = torch.zeros(4, 9, 12, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(kept, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    scores = [(heat[mask].sum() / mask.sum() ** 0.5).item() for mask in kept]
    assert box_scores(heat, boxes).tolist() == pytest.approx(scores)
    overlaps = [[overlap(a.numpy(), b.numpy()) for b in kept] for a in kept]
    np.testing.assert_allclose(box_iou(boxes, boxes), overlaps, rtol=1e-6)


def test_boxes_that_do_not_meet_overlap_by_nothing():
    a, b = torch.tensor([[0, 0, 2, 2]]), torch.tensor([[3, 3, 5, 5], [2, 0, 4, 2], [1, 1, 3, 3]])
    assert box_iou(a, b).tolist() == [[0, 0, pytest.approx(1 / 7)]]


def test_the_best_box_is_right_if_it_overlaps_the_thing_by_half():
    heat = torch.zeros(10, 10)
    heat[2:6, 2:6] = 1
    boxes = torch.tensor([[2, 2, 6, 6], [6, 6, 10, 10]])
    assert best_box_hit(heat, boxes, torch.tensor([2, 2, 6, 6])) == 1
    assert best_box_hit(heat, boxes, torch.tensor([2, 2, 6, 10])) == 1  # 16 of 32 pixels
    assert best_box_hit(heat, boxes, torch.tensor([2, 2, 7, 10])) == 0  # 16 of 40
    assert best_box_hit(heat, boxes, torch.tensor([6, 6, 10, 10])) == 0


@pytest.mark.parametrize("heat", [0.0, 1.0, 1e-20, -1.0])
def test_a_flat_map_chooses_between_equal_boxes_by_lot(heat):
    boxes = torch.tensor([[0, 0, 4, 4], [5, 5, 9, 9], [0, 5, 4, 9]])
    flat = torch.full((10, 10), heat)
    assert best_box_hit(flat, boxes, boxes[1]) == pytest.approx(1 / 3)


def test_a_faint_map_is_no_flat_one():
    faint = torch.zeros(10, 10)
    faint[6, 6] = 1e-20
    boxes = torch.tensor([[0, 0, 4, 4], [5, 5, 9, 9]])
    assert best_box_hit(faint, boxes, boxes[1]) == 1

"""Against loops over pixels."""

import numpy as np
import pytest
import torch

from minivl.errors import UserError
from minivl.evaluation.grounding import (
    best_head,
    best_iou,
    cell_shares,
    grounding,
    iou,
    mass_inside,
    mass_mask,
    pointing,
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

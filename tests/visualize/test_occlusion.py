"""Occlusion finds what a score depends on, and only that."""

import pytest
import torch

from minivl.visualize.occlusion import blurred, occluded, occlusion, part


def picture_with_dots(*places, side=24):
    picture = torch.zeros(1, 3, side, side)
    for row, column in places:
        picture[..., row, column] = 1.0
    return picture


def brightness(*places):
    """The score of a model that looks at these pixels only, one score each."""

    def score(pictures):
        return torch.stack([pictures[:, 0, row, column] for row, column in places], dim=1)

    return score


def test_each_score_falls_where_its_pixel_is_hidden():
    places = (2, 2), (13, 21)
    maps = occlusion(brightness(*places), picture_with_dots(*places), (6, 6), window=1.0)
    assert maps.shape == (2, 6, 6)
    for found, (row, column) in zip(maps, places, strict=True):
        assert found.nonzero().tolist() == [[row // 4, column // 4]]
        assert 0.9 < found.max() <= 1.0  # all but the little that a blur keeps


def test_a_wider_window_hides_neighbours_too():
    maps = occlusion(brightness((13, 13)), picture_with_dots((13, 13)), (6, 6), window=3.0)
    assert maps[0].nonzero().tolist() == [[r, c] for r in (2, 3, 4) for c in (2, 3, 4)]


def test_what_raises_a_score_counts_as_nothing():
    dark = brightness((13, 13))
    maps = occlusion(lambda x: -dark(x), picture_with_dots((13, 13)), (6, 6))
    assert not maps.any()


def test_many_cells_are_scored_in_parts():
    sizes = []

    def score(pictures):
        sizes.append(len(pictures))
        return pictures.mean((1, 2, 3))[:, None]

    occlusion(score, torch.rand(1, 3, 32, 32), (16, 16))
    assert max(sizes) <= 64 and sum(sizes) == 257


def test_pictures_differ_from_the_original_in_their_window_only():
    torch.manual_seed(0)
    picture = torch.rand(1, 3, 24, 36)
    before = picture.clone()
    hidden = occluded(picture, (2, 3), window=1.0)
    assert torch.equal(picture, before) and hidden.shape == (6, 3, 24, 36)
    changed = (hidden != picture).any(1)
    assert changed[5, 12:, 24:].all() and not changed[5, :12].any() and not changed[5, :, :24].any()


@pytest.mark.parametrize(
    ("cell", "expected"), [(0, slice(0, 6)), (2, slice(6, 14)), (5, slice(18, 24))]
)
def test_windows_are_cut_at_the_edge(cell, expected):
    assert part(cell, 6, 24, 2.0) == expected


def test_blurring_keeps_an_even_picture_and_the_size():
    even = torch.full((1, 3, 12, 20), 0.3)
    assert torch.allclose(blurred(even), even)
    assert blurred(torch.rand(1, 3, 2, 2)).shape == (1, 3, 2, 2)

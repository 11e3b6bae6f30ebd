import numpy as np
import pytest
import torch

from minivl.nn.vit import sincos_positions
from minivl.visualize.positions import mosaic, neighbours, position_maps, position_similarity


def test_cosines_without_the_class_token():
    table = torch.tensor([[[9.0, 9.0], [1.0, 0.0], [3.0, 3.0], [0.0, -2.0], [0.0, 0.0]]])
    table.requires_grad_()
    half = 0.5**0.5
    expected = [[1, half, 0, 0], [half, 1, -half, 0], [0, -half, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(position_similarity(table), expected, atol=1e-12)


def test_each_map_lies_at_its_place():
    """Grid of 2 x 3: map of place (1, 2) is the lower right one, its own cell too."""
    similarity = np.arange(36.0).reshape(6, 6)
    sheet = mosaic(similarity, (2, 3))
    assert sheet.shape == (2 * 3 - 1, 3 * 4 - 1)
    np.testing.assert_array_equal(sheet[3:5, 8:11], similarity[5].reshape(2, 3))
    np.testing.assert_array_equal(sheet[0:2, 4:7], similarity[1].reshape(2, 3))
    assert np.isnan(sheet[2]).all() and np.isnan(sheet[:, [3, 7]]).all()
    assert np.isnan(sheet).sum() == sheet.size - 36


def test_neighbours_are_said_to_be_more_alike():
    table = sincos_positions((4, 4), 64, base=10.0)
    words = neighbours(position_similarity(table), (4, 4))
    near, far = (float(part.split()[-1]) for part in words.split(", ")[1:])
    assert near > far + 0.1
    assert neighbours(np.ones((1, 1)), (1, 1)) == "1 by 1 places, mean similarity "


@pytest.mark.parametrize("grid", [(6, 6), (3, 5), (14, 14)])
def test_two_grids_side_by_side(grid, check_legible, texts):
    gh, gw = grid
    figure = position_maps(
        {
            "as learned": (sincos_positions((4, 4), 32), (4, 4)),
            "stretched": (sincos_positions(grid, 32), grid),
        }
    )
    check_legible(figure)
    first, second, _bar = figure.axes
    assert second.images[0].get_array().shape == (gh * (gh + 1) - 1, gw * (gw + 1) - 1)
    assert first.images[0].get_clim() == second.images[0].get_clim()
    assert {"as learned", "stretched"} <= set(texts(figure))
    assert "as learned: 4 by 4 places" in figure.caption.alt

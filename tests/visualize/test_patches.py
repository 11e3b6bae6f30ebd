import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from minivl.nn.vit import patchify
from minivl.visualize.patches import apart, busiest, cut, enlarged, patch_sheet
from minivl.visualize.style import VERMILLION


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def test_the_cut_is_what_the_model_sees(image):
    """Patch k here holds the pixels of token k+1: the order is patchify's."""
    patches = cut(image, 8)
    assert patches.shape == (3, 4, 8, 8, 3)
    tokens = patchify(torch.from_numpy(image.copy()).permute(2, 0, 1)[None], 8)[0]
    flat = patches.reshape(12, 8, 8, 3).transpose(0, 3, 1, 2).reshape(12, -1)
    np.testing.assert_array_equal(tokens.numpy(), flat)


def test_a_rest_is_refused(image):
    with pytest.raises(ValueError, match="24 x 32 pixels .* patches of 7"):
        cut(image, 7)


def test_gaps_are_white_and_between_patches_only(image):
    image[:] = 10
    sheet = apart(cut(image, 8))
    zoomed, gap = 40, 5
    assert sheet.shape == (3 * zoomed + 2 * gap, 4 * zoomed + 3 * gap, 3)
    white = (sheet == 255).all(-1)
    assert white.sum() == sheet.shape[0] * sheet.shape[1] - 12 * zoomed**2
    assert not white[[0, -1]].all() and not white[:, [0, -1]].all()


def test_enlarging_repeats_pixels():
    patch = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    large = enlarged(patch)
    assert large.shape == (40, 40, 3)
    assert (large[:20, 20:] == patch[0, 1]).all() and (large[20:, :20] == patch[1, 0]).all()
    assert enlarged(np.zeros((56, 56, 3))).shape == (56, 56, 3)


def test_the_busiest_patch_varies_most(image):
    image[:] = 100
    image[16:20, 8:16] = 250
    assert busiest(cut(image, 8)) == 2 * 4 + 1


def framed(axes):
    frames = [p for p in axes.patches if to_hex(p.get_edgecolor()) == VERMILLION.lower()]
    return [tuple(p.get_xy()) for p in frames]


def test_the_sheet_shows_picture_cut_vector_and_sequence(image, texts, check_legible):
    before = image.copy()
    image.flags.writeable = False
    figure = patch_sheet(image, 8, patch=5)
    check_legible(figure)
    np.testing.assert_array_equal(image, before)
    whole, pieces, one, *strips, row = figure.axes
    np.testing.assert_array_equal(whole.images[0].get_array(), image)
    np.testing.assert_array_equal(one.images[0].get_array(), image[8:16, 8:16])
    for channel, strip in enumerate(strips):
        values = strip.images[0].get_array()
        np.testing.assert_array_equal(values[0], image[8:16, 8:16, channel].ravel())
    # Patch 5 of 3 x 4: second row, second column; in the sequence it is token 6.
    step = 40 + 5
    assert framed(pieces) == [(step - 0.5, step - 0.5)]
    width = 40 + 2 * 2
    assert framed(row) == [(6 * width + 2 - 0.5, 2 - 0.5)]
    assert row.images[0].get_array().shape == (width, 13 * width, 3)
    assert "the sequence: 13 tokens" in texts(figure) and "token 6 as a vector" in texts(figure)
    assert "3 rows of 4 patches" in figure.caption.alt and "token 6" in figure.caption.alt


@pytest.mark.parametrize(("side", "patch_size"), [(48, 8), (48, 4), (32, 16), (224, 16)])
def test_legible_at_every_size(side, patch_size, check_legible):
    image = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    check_legible(patch_sheet(image, patch_size))

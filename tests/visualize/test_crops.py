import numpy as np
import pytest
import torch

from minivl.data.crop_data import CropData
from minivl.data.crops import crop_boxes, draw_views, multi_crop
from minivl.visualize.crops import crop_sheet, pixels

DATA = CropData(global_size=32, local_size=16, local_crops=3)


@pytest.fixture
def sheet():
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (2, 48, 48, 3), dtype=np.uint8)
    draws = torch.from_numpy(np.stack([draw_views(draw, DATA) for _ in images]))
    crops = multi_crop(torch.from_numpy(images), draws, DATA)
    boxes = (crop_boxes(draws[:, :2], DATA.global_scale, (48, 48)),
             crop_boxes(draws[:, 2:], DATA.local_scale, (48, 48)))  # fmt: skip
    return images, crops, boxes, crop_sheet(images, *crops.values(), *boxes)


def test_a_row_a_picture_with_all_its_crops(sheet, texts, check_legible):
    images, crops, _, figure = sheet
    check_legible(figure)
    assert {"the picture", "global crops", "local crops", "student only"} <= set(texts(figure))
    shown = [axes.images[0].get_array() for axes in figure.axes]
    assert len(shown) == 2 * (1 + 2 + 3)
    np.testing.assert_array_equal(shown[6], images[1])
    np.testing.assert_array_equal(shown[7], pixels(crops["global_crops"][1, 0]))
    np.testing.assert_array_equal(shown[11], pixels(crops["local_crops"][1, 2]))
    assert "2 global and 3 local" in figure.caption.alt


def test_local_crops_are_drawn_smaller_in_proportion(sheet):
    widths = [axes.get_position().width for axes in sheet[-1].axes]
    assert widths[3] == pytest.approx(widths[1] / 2)


def test_frames_lie_where_the_crops_were_cut(sheet):
    _, _, boxes, figure = sheet
    frames = figure.axes[6].patches
    assert len(frames) == 5
    for frame, box in zip(frames, torch.cat([boxes[0][1], boxes[1][1]]).tolist(), strict=True):
        top, left, height, width = box
        assert frame.get_xy() == (left - 0.5, top - 0.5)
        assert (frame.get_width(), frame.get_height()) == (width, height)


def test_values_become_pixels():
    crop = torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1)
    assert pixels(crop).tolist() == [[[0, 128, 255]]]

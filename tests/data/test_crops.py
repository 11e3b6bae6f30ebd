"""Each step against torchvision or Pillow, one crop at a time."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter

from minivl.data import crops
from minivl.data.crop_data import CropData

SMALL = CropData(global_size=16, local_size=8, local_crops=3, blur=(0.1, 0.6))


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (5, 6, 6, 3), dtype=np.uint8)
    return torch.from_numpy(
        np.stack([np.asarray(Image.fromarray(c).resize((24, 24), Image.BICUBIC)) for c in coarse])
    )


@pytest.fixture(scope="module")
def soft(images):
    """Crops (5, 3, 24, 24) in 0..1."""
    return images.permute(0, 3, 1, 2).float() / 255


def draws(seed, b=5, data=SMALL):
    return torch.from_numpy(
        np.stack([crops.draw_views(np.random.default_rng((seed, i)), data) for i in range(b)])
    )


# --- boxes


def slow_box(u, scale, height, width):
    """torchvision's RandomResizedCrop.get_params with given uniform numbers."""
    n = crops.ATTEMPTS
    for area, shape in zip(u[:n], u[n : 2 * n], strict=True):
        target = height * width * (scale[0] + area * (scale[1] - scale[0]))
        ratio = (3 / 4) ** (1 - 2 * shape)
        w, h = round((target * ratio) ** 0.5), round((target / ratio) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            top, left = int(u[2 * n] * (height - h + 1)), int(u[2 * n + 1] * (width - w + 1))
            return [top, left, h, w]
    side = min(height, width)
    return [(height - side) // 2, (width - side) // 2, side, side]


@pytest.mark.parametrize("scale", [(0.05, 0.4), (0.4, 1.0), (1.0, 1.0)], ids=str)
def test_boxes_are_those_of_random_resized_crop(scale):
    u = draws(1, 200)
    found = crops.crop_boxes(u, scale, (24, 24))
    expected = [[slow_box(v, scale, 24, 24) for v in row] for row in u.double().tolist()]
    assert found.tolist() == expected


def test_areas_and_shapes_fill_their_range():
    found = crops.crop_boxes(draws(2, 500), (0.1, 0.4), (240, 240)).flatten(0, 1).double()
    area, ratio = found[:, 2] * found[:, 3] / 240**2, found[:, 3] / found[:, 2]
    assert 0.098 < area.min() < 0.11 and 0.39 < area.max() < 0.402
    assert abs(area.mean() - 0.25) < 0.01 and abs(ratio.log().mean()) < 0.02
    assert 0.74 < ratio.min() < 0.77 and 1.3 < ratio.max() < 1.35
    assert (found[:, :2] + found[:, 2:] <= 240).all() and (found[:, :2] >= 0).all()


def test_where_nothing_fits_the_middle_square_is_taken():
    u = torch.zeros(1, 1, crops.COLUMNS)
    u[..., crops.ATTEMPTS : 2 * crops.ATTEMPTS] = 0.999  # all too wide
    assert crops.crop_boxes(u, (1.0, 1.0), (12, 20)).tolist() == [[[0, 4, 12, 12]]]


# --- resizing


@pytest.mark.parametrize("size", [8, 16, 40])
def test_resizing_is_torchs_antialiased_bicubic(images, size):
    boxes = crops.crop_boxes(draws(3), (0.1, 1.0), (24, 24))
    flipped = torch.rand(5, 5) < 0.5
    found = crops.resized_crops(images, boxes, flipped, size)
    assert found.shape == (5, 5, 3, size, size)
    for i, j in itertools.product(range(5), range(5)):
        top, left, h, w = boxes[i, j].tolist()
        part = images[i, top : top + h, left : left + w].permute(2, 0, 1)[None].float() / 255
        right = F.interpolate(part, size=(size, size), mode="bicubic", antialias=True).clamp(0, 1)
        right = right.flip(-1) if flipped[i, j] else right
        torch.testing.assert_close(found[i, j], right[0], rtol=0, atol=1e-5)


def test_the_whole_picture_at_its_own_size_is_itself(images, soft):
    boxes = torch.tensor([0, 0, 24, 24]).expand(5, 1, 4)
    found = crops.resized_crops(images, boxes, torch.zeros(5, 1, dtype=torch.bool), 24)
    torch.testing.assert_close(found[:, 0], soft, rtol=0, atol=1e-6)


# --- colours


@pytest.mark.parametrize("turn", range(4))
def test_each_change_of_colour_is_torchvisions(soft, turn):
    import torchvision.transforms.functional as theirs

    ours = (crops._brighter, crops._contrasted, crops._saturated, crops._hue_turned)[turn]
    names = ("brightness", "contrast", "saturation", "hue")
    change = getattr(theirs, f"adjust_{names[turn]}")
    amounts = torch.linspace(-0.4, 0.4, 5)
    found = ours(soft, amounts[:, None, None, None])
    for crop, amount, got in zip(soft, amounts.tolist(), found, strict=True):
        right = change(crop, amount if turn == 3 else 1 + amount)
        # torchvision's luminance has four digits (0.2989), ours Pillow's three.
        torch.testing.assert_close(got, right, rtol=0, atol=2e-4 if turn in (1, 2) else 1e-5)


def test_hues_of_grey_and_pure_colours(soft):
    corners = torch.tensor([c for c in itertools.product((0.0, 1.0), repeat=3)])[:, :, None, None]
    turned = crops._hue_turned(corners, torch.full((8, 1, 1, 1), 1 / 3))
    names = {tuple(c.flatten().tolist()): tuple(t.flatten().round().tolist())
             for c, t in zip(corners, turned, strict=True)}  # fmt: skip
    assert names[1, 0, 0] == (0, 1, 0) and names[0, 1, 0] == (0, 0, 1)
    assert names[0, 0, 0] == (0, 0, 0) and names[1, 1, 1] == (1, 1, 1)
    torch.testing.assert_close(crops._hue_turned(soft, torch.zeros(5, 1, 1, 1)), soft,
                               rtol=0, atol=1e-6)  # fmt: skip


def test_jitter_changes_four_in_five_in_the_drawn_order(soft):
    u = torch.rand(5, 6, generator=torch.Generator().manual_seed(0))
    u[0, 0], u[1:, 0] = 0.9, 0.1
    before = soft.clone()
    found = crops.jittered(soft, u, 0.5)
    assert torch.equal(soft, before) and torch.equal(found[0], soft[0])
    steps = (crops._brighter, crops._contrasted, crops._saturated, crops._hue_turned)
    limits = (0.4, 0.4, 0.2, 0.1)
    for n in range(1, 5):
        crop = soft[n : n + 1]
        order = list(itertools.permutations(range(4)))[int(u[n, 1] * 24)]
        for which in order:
            amount = 0.5 * limits[which] * (2 * u[n, 2 + which] - 1)
            crop = steps[which](crop, amount.view(1, 1, 1, 1))
        torch.testing.assert_close(found[n], crop[0], rtol=0, atol=1e-6)
    assert crops.jittered(soft, u, 0.0) is soft


def test_all_orders_are_there_once():
    assert crops.ORDERS.tolist() == [list(order) for order in itertools.permutations(range(4))]


# --- blur and solarisation


def test_blur_is_a_gaussian_with_the_border_repeated(soft):
    deviation = torch.tensor([0.1, 0.4, 0.9, 1.5, 3.0])
    found = crops.blurred(soft, deviation)
    for crop, sigma, got in zip(soft, deviation.tolist(), found, strict=True):
        offsets = np.arange(-12, 13)
        weights = np.exp(-0.5 * (offsets / sigma) ** 2)
        kernel = torch.tensor(np.outer(weights, weights) / weights.sum() ** 2, dtype=torch.float32)
        padded = F.pad(crop[None], (12,) * 4, mode="replicate")
        right = F.conv2d(padded, kernel.expand(3, 1, 25, 25), groups=3)[0]
        torch.testing.assert_close(got, right, rtol=0, atol=1e-4)
    assert (found[0] - soft[0]).abs().max() < 1e-5


def test_blur_is_near_pillows(soft):
    """Pillow's Gaussian is three box filters."""
    picture = Image.fromarray((soft[0] * 255).permute(1, 2, 0).byte().numpy())
    theirs = np.asarray(picture.filter(ImageFilter.GaussianBlur(1.5))) / 255
    ours = crops.blurred(soft[:1], torch.tensor([1.5]))[0].permute(1, 2, 0).numpy()
    assert np.abs(theirs - ours).max() < 0.06 and np.abs(theirs - ours).mean() < 0.01


def test_solarisation_is_pillows():
    from PIL import ImageOps

    grey = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    theirs = np.asarray(ImageOps.solarize(Image.fromarray(grey)))
    ours = crops.solarised(torch.from_numpy(grey).permute(2, 0, 1)[None].float() / 255)
    assert (ours[0].permute(1, 2, 0) * 255).round().byte().numpy().tolist() == theirs.tolist()


# --- all together


def test_a_picture_has_its_crops_in_any_company(images):
    u = draws(4)
    whole = crops.multi_crop(images, u, SMALL)
    for i in range(5):
        alone = crops.multi_crop(images[i : i + 1], u[i : i + 1], SMALL)
        for name, value in whole.items():
            torch.testing.assert_close(alone[name][0], value[i], rtol=0, atol=1e-5)


def test_shapes_ranges_and_inputs_kept(images):
    u = draws(4)
    before = images.clone(), u.clone()
    found = crops.multi_crop(images, u, SMALL)
    assert found["global_crops"].shape == (5, 2, 3, 16, 16)
    assert found["local_crops"].shape == (5, 3, 3, 8, 8)
    for value in found.values():
        assert value.dtype == torch.float32 and value.min() >= -1.001 and value.max() <= 1.001
    assert torch.equal(images, before[0]) and torch.equal(u, before[1])
    assert "local_crops" not in crops.multi_crop(images, u[:, :2], CropData(16, 8, 0))


def test_the_two_global_views_differ_as_published():
    """First always blurred and never solarised, second blurred in 1 of 10, solarised in 1 of 5."""
    first, second, *local = crops.views_of(CropData())
    assert (first.size, first.scale, first.blur_share, first.solarise_share) == (
        224,
        (0.4, 1),
        1,
        0,
    )
    assert (second.blur_share, second.solarise_share) == (0.1, 0.2)
    assert len(local) == 8
    assert (local[0].size, local[0].scale, local[0].blur_share) == (96, (0.05, 0.4), 0.5)


def test_shares_of_what_is_done_to_crops():
    flat = torch.full((400, 12, 12, 3), 200, dtype=torch.uint8)
    flat[..., 0] = 220
    data = CropData(8, 8, 1, jitter=0, grey_share=0.25, blur=(0.1, 0.2), solarise_share=0.4)
    found = crops.multi_crop(flat, draws(5, 400, data), data)
    views = torch.cat([found["global_crops"], found["local_crops"]], dim=1)[..., 4, 4]
    grey = (views[:, :, 0] - views[:, :, 1]).abs() < 1e-3
    assert abs(grey.float().mean() - 0.25) < 0.04
    dark = (views.amax(2) < 0).float().mean(0)
    assert dark[0] == 0 and abs(dark[1] - 0.4) < 0.08 and dark[2] == 0


def test_one_crop_in_two_is_mirrored():
    half = torch.zeros(400, 12, 12, 3, dtype=torch.uint8)
    half[:, :, 6:] = 255
    data = CropData(8, 8, 0, (1.0, 1.0), jitter=0, grey_share=0, blur=(0.1, 0.2), solarise_share=0)
    found = crops.multi_crop(half, draws(6, 400, data), data)["global_crops"]
    mirrored = found[..., 4, 0].amax(-1) > 0
    assert abs(mirrored.float().mean() - 0.5) < 0.06

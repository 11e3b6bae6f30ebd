import numpy as np
import pytest
import torch
from torch import nn

from minivl.data.crop_data import CropData
from minivl.data.objects import ObjectData, ObjectSource
from minivl.evaluation.dino import Judge, heads_of
from minivl.evaluation.grounding import cell_shares, mass_inside

CPU = torch.device("cpu")
DATA = ObjectData(
    picture_size=32, colours=0.0, crops=CropData(global_size=16, local_size=8, local_crops=0)
)
COUNTS = {"gallery": 120, "queries": 40, "looked_at": 12}


class Pixels(nn.Module):
    """Stands for a picture by its pixels; one head looks at what differs from the background,
    another at what does not."""

    def __init__(self, noise=0.0):
        super().__init__()
        self.noise = noise
        self.modes = []

    def encode_image(self, image, return_attention=False):
        self.modes.append((self.training, torch.is_grad_enabled()))
        generator = torch.Generator().manual_seed(int(image.sum().item() * 1000) % 2**31)
        vector = image.flatten(1)
        vector = vector + self.noise * torch.randn(vector.shape, generator=generator)
        if not return_attention:
            return vector
        cells = image.abs().sum(1).unfold(1, 4, 4).unfold(2, 4, 4).mean((3, 4)).flatten(1)
        rows = torch.stack([1 / (0.01 + cells), 0.01 + cells], dim=1)
        weights = torch.zeros(len(image), 2, 17, 17)
        weights[:, :, 0, 0] = 5.0  # on the class token itself: left out
        weights[:, :, 0, 1:] = rows
        return vector, [torch.full_like(weights, 1 / 17), weights]


@pytest.fixture(scope="module")
def source():
    return ObjectSource.load(DATA)


@pytest.fixture(scope="module")
def judge(source):
    return Judge(source, Pixels(noise=30.0), CPU, **COUNTS)


def test_all_numbers_are_there_with_what_to_compare_them_with(judge):
    found = judge.measure(Pixels())
    tasks = {"knn/accuracy", "linear/accuracy"}
    tasks |= {f"attention/{n}" for n in ("pointing", "mass_inside", "best_iou", "mass_60_iou")}
    expected = {f"{split}/{task}{which}" for split in ("validation", "twemoji") for task in tasks
                for which in ("", "_untrained")}  # fmt: skip
    expected |= {f"{split}/knn/accuracy_raw_pixels" for split in ("validation", "twemoji")}
    assert set(found) == expected
    assert found["validation/knn/accuracy"].chance == 1 / 48
    assert found["validation/knn/accuracy"].n == 40 and found["twemoji/attention/pointing"].n == 12


def test_pixels_do_as_well_as_pixels_and_better_than_noise(judge):
    found = judge.measure(Pixels())
    raw = found["validation/knn/accuracy_raw_pixels"]
    assert found["validation/knn/accuracy"].value == pytest.approx(raw.value)
    assert raw.value > found["validation/knn/accuracy_untrained"].value + 0.1


def test_the_head_that_finds_the_thing_is_chosen(judge, source):
    found = judge.measure(Pixels())["twemoji/attention/mass_inside"]
    few = slice(0, 12)
    pictures = judge.queries["twemoji"]
    maps = heads_of(Pixels(), pictures.images[few], CPU)
    inside = cell_shares(pictures.masks[few], (4, 4))
    assert found.value == pytest.approx(mass_inside(maps[:, 1], inside).mean().item())
    assert found.value > found.chance + 0.2


def test_heads_add_up_to_one_and_the_order_of_pictures_stays(judge):
    images = judge.gallery.images[:7]
    maps = heads_of(Pixels(), images, CPU, batch_size=3)
    assert maps.shape == (7, 2, 4, 4)
    torch.testing.assert_close(maps.sum((2, 3)), torch.ones(7, 2))
    alone = heads_of(Pixels(), images[4:5], CPU)
    torch.testing.assert_close(maps[4:5], alone)


def test_the_model_is_asked_in_evaluation_mode_without_gradient(judge):
    model = Pixels().train()
    judge.measure(model)
    assert set(model.modes) == {(False, False)} and model.training


def test_attention_may_be_left_out(source):
    judge = Judge(source, Pixels(), CPU, gallery=60, queries=8, looked_at=0)
    assert not any("attention" in key for key in judge.measure(Pixels()))


def test_gallery_and_queries_are_different_pictures(judge):
    seen = {image.tobytes() for image in judge.gallery.images}
    for part in judge.queries.values():
        assert not any(image.tobytes() in seen for image in part.images)
    assert np.array_equal(judge.queries["twemoji"].images.shape, (40, 16, 16, 3))

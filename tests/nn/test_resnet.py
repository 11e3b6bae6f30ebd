"""Places by hand, norms that stand still, networks of one interface."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from minivl.nn.resnet import (
    Bottleneck,
    FrozenBatchNorm2d,
    ResNet,
    SmallCNN,
    masked_sine_positions,
    sine_positions_2d,
    waves,
)

SMALL = (1, 1, 1, 2)


def numbers(values):
    return torch.tensor(values, dtype=torch.float64)


def near(got, expected, tolerance=1e-4):
    torch.testing.assert_close(got, numbers(expected), rtol=0, atol=tolerance)


# --- places


def test_waves_by_hand():
    near(waves(numbers([0, math.pi / 2]), 2), [[0, 1], [1, 0]], 1e-12)
    slow = math.pi / 2 / 100
    expected = [1, 0, math.sin(slow), math.cos(slow)]
    near(waves(numbers(math.pi / 2), 4), expected, 1e-12)


def test_places_by_hand():
    near(sine_positions_2d(1, 2, 4), [[[0, 1, 0, -1], [0, 1, 0, 1]]], 1e-5)
    near(sine_positions_2d(1, 1, 8), [[2 * [0, 1, 0.0628, 0.9980]]])
    near(sine_positions_2d(2, 1, 8)[0, 0, :4], [0, -1, 0.0314, 0.9995])


@settings(max_examples=20, deadline=None)
@given(h=st.integers(1, 9), w=st.integers(1, 9), quarter=st.integers(1, 4))
def test_rows_first_then_columns_and_no_two_places_alike(h, w, quarter):
    d = 4 * quarter
    places = sine_positions_2d(h, w, d)
    assert places.shape == (h, w, d) and places.dtype == torch.float64
    rows, columns = places.chunk(2, dim=2)
    assert torch.equal(rows, rows[:, :1].expand_as(rows))
    assert torch.equal(columns, columns[:1].expand_as(columns))
    assert torch.equal(places.transpose(0, 1).roll(d // 2, 2), sine_positions_2d(w, h, d))
    distances = torch.cdist(places.flatten(0, 1), places.flatten(0, 1))
    assert (distances + torch.eye(h * w) > 1e-3).all()


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=4),
    padded=st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
def test_a_padded_picture_has_the_places_it_has_alone(sizes, padded):
    height, width = (max(sides) + more for sides, more in zip(zip(*sizes), padded))  # noqa: B905
    mask = torch.zeros(len(sizes), height, width, dtype=torch.bool)
    for one, (h, w) in zip(mask, sizes, strict=True):
        one[:h, :w] = True
    places = masked_sine_positions(mask, 8)
    assert places.shape == (*mask.shape, 8) and places.isfinite().all()
    for one, (h, w) in zip(places, sizes, strict=True):
        alone = sine_positions_2d(h, w, 8)
        torch.testing.assert_close(one[:h, :w], alone, rtol=0, atol=1e-12)
    narrow = masked_sine_positions(mask, 8, torch.float32)
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), places, rtol=0, atol=2e-6)


def test_an_empty_picture_is_no_nan():
    assert masked_sine_positions(torch.zeros(1, 2, 3, dtype=torch.bool), 8).isfinite().all()


# --- frozen norms


@pytest.fixture
def trained(normal):
    """A batch norm in eval mode whose every number counts."""
    norm = nn.BatchNorm2d(3).double().eval()
    with torch.no_grad():
        norm.weight.copy_(normal(0, 3))
        norm.bias.copy_(normal(1, 3))
        norm.running_mean.copy_(normal(2, 3))
        norm.running_var.copy_(1e-5 * normal(3, 3).exp())
    return norm


def test_a_frozen_norm_is_a_trained_one(trained, normal):
    frozen = FrozenBatchNorm2d(3).double()
    assert not list(frozen.parameters())
    assert frozen.load_state_dict(trained.state_dict())  # strictly, its count of batches let go
    x = normal(4, 2, 3, 4, 5).requires_grad_()
    torch.testing.assert_close(frozen(x), trained(x), rtol=1e-10, atol=1e-10)
    ours, theirs = (torch.autograd.grad(norm(x).sin().sum(), x)[0] for norm in (frozen, trained))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    frozen.train()
    torch.testing.assert_close(frozen(x), trained(x), rtol=1e-10, atol=1e-10)


def test_a_frozen_norm_keeps_no_picture_and_the_format(trained, normal):
    frozen = FrozenBatchNorm2d(3).double()
    frozen.load_state_dict(trained.state_dict())
    x = normal(4, 2, 3, 4, 5).requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()), lambda t: t):
        frozen(x)
    assert max(kept, default=0) < x.numel()
    frozen.float()
    narrow = x.detach().bfloat16()
    assert torch.equal(frozen(narrow), frozen(narrow.float()).bfloat16())


# --- networks


@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_starts_from_what_it_is_given(drawn, normal, stride):
    """Its branch silenced, the block is the shortcut: x itself where shapes allow."""
    alike = drawn(Bottleneck(8, 2, stride=stride))
    with torch.no_grad():
        alike.conv3.weight.zero_()
    x = normal(0, 1, 8, 5, 6)
    assert torch.equal(alike(x), alike.downsample(x).relu())
    assert isinstance(alike.downsample, nn.Identity) == (stride == 1)
    assert alike(x).shape == (1, 8, math.ceil(5 / stride), math.ceil(6 / stride))


@pytest.mark.parametrize(
    "make",
    [lambda: ResNet(SMALL), lambda: ResNet(SMALL, dilated=False), lambda: SmallCNN(8),
     lambda: SmallCNN(16, stride=4)],
    ids=["DC5", "C5", "small", "small of stride 4"],
)  # fmt: skip
def test_one_interface(make):
    torch.manual_seed(0)
    network = make().eval()
    for h, w in ((64, 32), (33, 50)):
        with torch.no_grad():
            cells = network(torch.rand(2, 3, h, w))
        grid = [math.ceil(side / network.stride) for side in (h, w)]
        assert cells.shape == (2, network.channels, *grid)
        assert cells.min() == 0 and cells.std() > 0


def test_dilation_keeps_what_a_stride_would_drop():
    assert (ResNet(SMALL).stride, ResNet(SMALL, dilated=False).stride) == (16, 32)
    assert ResNet.channels == 2048


@pytest.mark.parametrize(
    ("frozen", "learning"),
    [
        (("conv1", "layer1"), {"layer2", "layer3", "layer4"}),
        ((), {"conv1", "layer1", "layer2", "layer3", "layer4"}),
        (("conv1", "layer1", "layer2", "layer3", "layer4"), set()),
    ],
)
def test_what_learns(frozen, learning):
    network = ResNet(SMALL, frozen=frozen)
    cells = network(torch.rand(1, 3, 32, 32))
    assert cells.requires_grad == bool(learning)
    if learning:
        cells.sum().backward()
    moved = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None}
    assert moved == learning


def test_nothing_is_frozen_by_a_wrong_name():
    with pytest.raises(AttributeError, match="layer5"):
        ResNet(SMALL, frozen=("layer5",))


def test_the_small_one_learns_everywhere(normal):
    torch.manual_seed(0)
    network = SmallCNN(8).double()
    network(normal(0, 2, 3, 16, 24)).sin().sum().backward()
    assert all(parameter.grad.any() for parameter in network.parameters())
    with pytest.raises(ValueError, match="power of two"):
        SmallCNN(8, stride=6)


def test_pictures_are_normalised_as_torchvision_does(normal):
    from torchvision.transforms.v2.functional import normalize

    network = ResNet((1, 1, 1, 1)).double()
    image = normal(0, 2, 3, 33, 40).sigmoid()
    expected = network(normalize(image, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    network.normalise = True
    torch.testing.assert_close(network(2 * image - 1), expected)

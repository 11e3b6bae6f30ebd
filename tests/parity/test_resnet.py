"""Our ResNet is torchvision's, our places are those of transformers' DETR, in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from minivl.nn.resnet import ResNet, masked_sine_positions, sine_positions_2d

SMALL = (1, 1, 2, 2)


def with_statistics(network, normal):
    """Norms of an earlier training: none is the identity, none far from it."""
    for seed, (name, buffer) in enumerate(network.named_buffers()):
        spread = 0.3 * normal(seed, *buffer.shape)
        buffer.copy_(spread.exp() if name.endswith(("weight", "var")) else spread)
    return network


@pytest.fixture(scope="module")
def pair(normal, twins):
    """pair(layers, dilated): ours, and theirs without its classifier, of equal weights."""
    from torchvision.models.resnet import Bottleneck
    from torchvision.models.resnet import ResNet as Theirs
    from torchvision.ops import FrozenBatchNorm2d

    def make(layers, dilated):
        torch.manual_seed(0)
        ours = with_statistics(ResNet(layers, dilated=dilated, frozen=()).double(), normal)
        theirs = Theirs(
            Bottleneck, list(layers), replace_stride_with_dilation=[False, False, dilated],
            norm_layer=FrozenBatchNorm2d,
        )  # fmt: skip
        theirs.avgpool = theirs.fc = nn.Identity()
        compare = twins(ours, theirs, {})
        theirs.load_state_dict(ours.state_dict())
        return ours, theirs, compare

    return make


@pytest.mark.parametrize(
    ("layers", "dilated", "sides"),
    [(SMALL, True, (40, 33)), (SMALL, False, (33, 64)), ((3, 4, 6, 3), True, (48, 32))],
    ids=["DC5", "C5", "ResNet-50-DC5"],
)
def test_cells_and_gradients(pair, normal, close, layers, dilated, sides):
    ours, theirs, compare = pair(layers, dilated)
    image = normal(1, 2, 3, *sides).requires_grad_()
    twin = image.detach().clone().requires_grad_()
    a, other = ours(image), theirs(twin)
    close(a, other, "cells")
    weights = normal(2, *a.shape) / a.numel()
    compare((a * weights).sum(), (other.view_as(a) * weights).sum(), [(image, twin)])


def test_resnet_50_is_theirs_by_name(normal, close):
    """A file of torchvision's: norms that count their batches, and a classifier, which is left."""
    from torchvision.models import resnet50

    ours = ResNet()
    assert sum(weight.numel() for weight in ours.parameters()) == 23_454_912
    theirs = resnet50(weights=None, replace_stride_with_dilation=[False, False, True]).eval()
    with torch.no_grad():
        for norm in theirs.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.running_var.uniform_(0.5, 2)
                norm.running_mean.normal_(std=0.1)
    found = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert found.missing_keys == [] and found.unexpected_keys == ["fc.weight", "fc.bias"]
    theirs.avgpool = theirs.fc = nn.Identity()
    image = normal(0, 1, 3, 32, 48)
    with torch.no_grad():
        close(ours.double()(image), theirs.double()(image))


@pytest.fixture(scope="module")
def their_places():
    from transformers.models.detr.modeling_detr import DetrSinePositionEmbedding

    def places(shape, d, mask=None):
        embedding = DetrSinePositionEmbedding(d // 2, normalize=True)
        size = torch.Size((shape[0], 3, *shape[1:]))
        return embedding(size, "cpu", torch.float64, mask=mask).permute(0, 2, 3, 1)

    return places


@settings(max_examples=30, deadline=None)
@given(h=st.integers(1, 12), w=st.integers(1, 12), quarter=st.integers(1, 16))
def test_places(their_places, close, h, w, quarter):
    d = 4 * quarter
    expected = their_places((1, h, w), d)[0]
    close(sine_positions_2d(h, w, d), expected)
    close(masked_sine_positions(torch.ones(1, h, w, dtype=torch.bool), d)[0], expected)


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=4))
def test_places_of_padded_pictures(their_places, close, sizes):
    """At padding, too."""
    mask = torch.zeros(len(sizes), 7, 7, dtype=torch.bool)
    for one, (h, w) in zip(mask, sizes, strict=True):
        one[:h, :w] = True
    close(masked_sine_positions(mask, 16), their_places(mask.shape, 16, mask))

"""Our matching and set loss are transformers' (DETR's), our GIoU torchvision's, in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.objectives.detection import (
    SET_WEIGHTS,
    batch_set_loss,
    box_iou,
    corners,
    generalized_box_iou,
    match,
)

CLASSES, NO_OBJECT = 4, 0.1
THEIR_NAMES = {"ce": "loss_ce", "l1": "loss_bbox", "giou": "loss_giou"}


@pytest.fixture(scope="module")
def theirs():
    from transformers.loss.loss_for_object_detection import HungarianMatcher, ImageLoss

    matcher = HungarianMatcher(*SET_WEIGHTS)
    loss = ImageLoss(matcher, CLASSES, NO_OBJECT, ["labels", "boxes"]).double()
    loss.empty_weight[-1] = NO_OBJECT  # it was rounded to float32
    return loss


def padded(targets):
    """Their dicts of boxes and class_labels -> our box_labels (b, t) and boxes (b, t, 4)."""
    t = max(1, *(len(one["boxes"]) for one in targets))
    labels = torch.full((len(targets), t), -100)
    boxes = torch.zeros(len(targets), t, 4, dtype=torch.float64)
    for row, one in enumerate(targets):
        labels[row, : len(one["boxes"])] = one["class_labels"]
        boxes[row, : len(one["boxes"])] = one["boxes"]
    return labels, boxes


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    counts=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    spare=st.integers(0, 4),
)
def test_any_batch_and_every_layer(theirs, normal, close, seed, counts, spare):
    """Pictures without boxes, or none with any, too; each layer of a decoder is matched anew."""
    b, q, layers = len(counts), max(1, *counts) + spare, 3
    generator = torch.Generator().manual_seed(seed)
    targets = [
        {"class_labels": torch.randint(CLASSES, (n,), generator=generator),
         "boxes": normal(seed + 1 + i, n, 4).sigmoid()}
        for i, n in enumerate(counts)
    ]  # fmt: skip
    logits = (2 * normal(seed, layers, b, q, CLASSES + 1)).requires_grad_()
    raw = normal(seed + 9, layers, b, q, 4).requires_grad_()
    boxes = raw.sigmoid()
    their_layers = [
        {"logits": one, "pred_boxes": box} for one, box in zip(logits, boxes, strict=True)
    ]
    expected = theirs(their_layers[-1] | {"auxiliary_outputs": their_layers[:-1]}, targets)

    labels, true = padded(targets)
    for layer, suffix in ((0, "_0"), (1, "_1"), (2, "")):
        outputs = logits[layer], boxes[layer]
        matched = match(*outputs, labels, true)
        for row, (queries, found) in enumerate(theirs.matcher(their_layers[layer], targets)):
            assert torch.equal(matched[row, found], queries)
        got = batch_set_loss(*outputs, matched, labels, true, NO_OBJECT)
        for name, loss in got.items():
            other = expected[THEIR_NAMES[name] + suffix]
            close(loss, other, f"{name} of layer {layer}")
            ours, reference = (
                torch.autograd.grad(
                    x, [logits, raw], retain_graph=True, allow_unused=True, materialize_grads=True
                )
                for x in (loss, other)
            )
            for a, c in zip(ours, reference, strict=True):
                close(a, c, f"gradient of {name} of layer {layer}")


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(0, 5), m=st.integers(0, 5))
def test_overlaps(normal, close, seed, n, m):
    from torchvision import ops

    a = corners(normal(seed, n, 4).sigmoid()).requires_grad_()
    b = corners(normal(seed + 1, m, 4).sigmoid()).requires_grad_()
    weights = normal(seed + 2, n, m)
    for ours, other in ((generalized_box_iou, ops.generalized_box_iou), (box_iou, ops.box_iou)):
        close(ours(a, b), other(a, b))
        gradients = [
            torch.autograd.grad((measure(a, b) * weights).sum(), [a, b])
            for measure in (ours, other)
        ]
        for one, two in zip(*gradients, strict=True):
            close(one, two, "gradient")
    close(corners(b), ops.box_convert(b, "cxcywh", "xyxy"))

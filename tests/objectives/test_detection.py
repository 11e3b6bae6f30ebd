"""Boxes, matchings and losses: by hand, by brute force, and a batch as its pictures."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from minivl.errors import DataError, DivergedError, UserError
from minivl.objectives import detection
from minivl.objectives.detection import (
    answer_loss,
    assign,
    attribute_loss,
    batch_set_loss,
    box_iou,
    centres,
    corners,
    generalized_box_iou,
    match,
    match_cost,
    set_loss,
)

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
LN3 = math.log(3)
seeds = st.integers(0, 10**6)


def numbers(values):
    return torch.tensor(values, dtype=torch.float64)


def equal(got, expected):
    torch.testing.assert_close(got, expected, **CLOSE)


@pytest.fixture(scope="module")
def some_boxes(normal):
    """some_boxes(seed, *shape): boxes (*shape, 4) as centre, width and height, none empty."""

    def draw(seed, *shape):
        return normal(seed, *shape, 4).sigmoid()

    return draw


@pytest.fixture(scope="module")
def scenes(normal, some_boxes):
    """scenes(seed, counts, q): guesses and truths of a batch; padding holds what no box may."""

    def draw(seed, counts, q, k=3):
        b, t = len(counts), max(1, *counts)
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(k, (b, t), generator=generator)
        targets = some_boxes(seed + 1, b, t)
        padding = torch.arange(t) >= torch.tensor(counts)[:, None]
        labels[padding], targets[padding] = -100, torch.nan
        return 2 * normal(seed, b, q, k + 1), some_boxes(seed + 2, b, q), labels, targets

    return draw


counts_and_queries = st.integers(1, 5).flatmap(
    lambda q: st.tuples(st.lists(st.integers(0, q), min_size=1, max_size=4), st.just(q))
)
"""Boxes of each picture, none too, and queries."""


def pictures(logits, boxes, labels, targets):
    """A batch as calls for one picture each, without padding."""
    for row in zip(logits, boxes, labels, targets, strict=True):
        there = row[2] != -100
        yield row[0], row[1], row[2][there], row[3][there]


# --- boxes

SQUARE = numbers([[0, 0, 2, 2]])
OTHERS = numbers([[1, 1, 3, 3], [4, 0, 6, 2], [0, 0, 2, 2], [3, 3, 4, 5]])


def test_corners_by_hand():
    box = numbers([[0.5, 0.4, 0.2, 0.6]])
    equal(corners(box), numbers([[0.4, 0.1, 0.6, 0.7]]))


@settings(max_examples=20, deadline=None)
@given(seed=seeds, shape=st.lists(st.integers(0, 3), max_size=3))
def test_there_and_back(normal, seed, shape):
    boxes = normal(seed, *shape, 4)
    equal(centres(corners(boxes)), boxes)
    equal(corners(centres(boxes)), boxes)


def test_overlaps_by_hand():
    equal(box_iou(SQUARE, OTHERS), numbers([[1 / 7, 0, 1, 0]]))
    equal(generalized_box_iou(SQUARE, OTHERS), numbers([[1 / 7 - 2 / 9, -1 / 3, 1, -0.7]]))


def test_boxes_that_do_not_touch_are_pulled_together():
    for measure, pulled in ((box_iou, False), (generalized_box_iou, True)):
        box = SQUARE.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(measure(box, OTHERS[1:2]).sum(), box)
        assert (gradient[0, 2] > 0) == pulled, "the right side is to move right"
        assert gradient.any() == pulled


def test_a_box_without_area_is_no_nan():
    flat = numbers([[1, 1, 1, 2], [5, 5, 5, 5]]).requires_grad_()
    overlaps = generalized_box_iou(flat, SQUARE)
    assert (overlaps <= 0).all() and overlaps.isfinite().all()
    assert torch.autograd.grad(overlaps.sum(), flat)[0].isfinite().all()


@settings(max_examples=40, deadline=None)
@given(seed=seeds, n=st.integers(0, 4), m=st.integers(0, 4), size=st.floats(0.01, 2))
def test_overlaps_of_any_boxes(normal, some_boxes, seed, n, m, size):
    a, b = (corners(size * some_boxes(seed + i, many)) for i, many in enumerate((n, m)))
    iou, giou = box_iou(a, b), generalized_box_iou(a, b)
    assert iou.shape == giou.shape == (n, m)
    assert ((iou >= 0) & (iou <= 1 + 1e-12)).all()
    assert ((giou > -1) & (giou <= iou + 1e-12)).all()
    equal(generalized_box_iou(b, a), giou.T)
    equal(generalized_box_iou(a, a).diagonal(), a.new_ones(n))
    # Another place and another scale of all boxes change nothing.
    moved = [3 * x + normal(seed, 2).repeat(2) for x in (a, b)]
    torch.testing.assert_close(generalized_box_iou(*moved), giou, rtol=1e-9, atol=1e-9)


# --- the matching

GUESSES = numbers([[LN3, 0, 0], [0, 0, 0]]), numbers([[0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.4, 0.4]])
TRUTH = torch.tensor([0]), GUESSES[1][:1]


def test_cost_by_hand():
    equal(match_cost(*GUESSES, *TRUTH), numbers([[-0.6 - 2], [-1 / 3 + 5 * 0.4 - 2 * 0.25]]))
    for weights, expected in (((1, 0, 0), -0.6), ((0, 1, 0), 0), ((0, 0, 1), -1)):
        equal(match_cost(*GUESSES, *TRUTH, weights)[0], numbers([expected]))


def test_cost_is_a_constant_and_may_be_that_of_nothing():
    logits, boxes = (tensor.clone().requires_grad_() for tensor in GUESSES)
    assert not match_cost(logits, boxes, *TRUTH).requires_grad
    assert match_cost(*GUESSES, TRUTH[0][:0], TRUTH[1][:0]).shape == (2, 0)


def test_matching_by_hand():
    """The cheapest pair first would force a 8 upon the other box: 9 in all, not 4."""
    queries, targets = assign(numbers([[1, 2], [2, 9], [8, 8]]))
    assert queries.tolist() == [0, 1] and targets.tolist() == [1, 0]
    assert queries.dtype == targets.dtype == torch.int64
    for empty in assign(torch.zeros(3, 0)):
        assert empty.shape == (0,) and empty.dtype == torch.int64


@settings(max_examples=60, deadline=None)
@given(seed=seeds, q=st.integers(1, 5), t=st.integers(0, 5), ties=st.booleans())
def test_no_other_matching_is_cheaper(normal, seed, q, t, ties):
    cost = normal(seed, q, t)
    cost = cost.round() if ties else cost
    queries, targets = assign(cost.requires_grad_())
    assert len(queries) == len(targets) == min(q, t)
    assert len(set(queries.tolist())) == len(set(targets.tolist())) == min(q, t)
    total = cost[queries, targets].sum().item()
    cost = cost.detach() if q >= t else cost.detach().T
    choices = itertools.permutations(range(len(cost)), cost.shape[1])
    cheapest = min(sum(cost[i, j].item() for j, i in enumerate(choice)) for choice in choices)
    assert total == pytest.approx(cheapest, abs=1e-12)


# --- the loss

PAIR = numbers([[LN3, 0], [0, 0]]), numbers([[0.5, 0.5, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]])
FOUND = torch.tensor([0]), torch.tensor([0]), numbers([[0.5, 0.5, 0.4, 0.4]])


def test_loss_by_hand():
    ce = (math.log(4 / 3) + 0.1 * math.log(2)) / 1.1
    losses = set_loss(*PAIR, *FOUND)
    assert set(losses) == {"ce", "l1", "giou"}
    for name, expected in {"ce": ce, "l1": 0.4, "giou": 0.75}.items():
        assert losses[name].item() == pytest.approx(expected, abs=1e-12)
    whole = set_loss(*PAIR, *FOUND, no_object=1.0)
    assert whole["ce"].item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)


def test_a_picture_of_nothing_teaches_silence_alone():
    logits, boxes = (tensor.clone().requires_grad_() for tensor in PAIR)
    losses = set_loss(logits, boxes, *(tensor[:0] for tensor in FOUND))
    assert losses["ce"].item() == pytest.approx((math.log(4) + math.log(2)) / 2)
    assert losses["l1"] == losses["giou"] == 0
    gradients = torch.autograd.grad(sum(losses.values()), [logits, boxes])
    assert (gradients[0][:, -1] < 0).all() and not gradients[1].any()


def test_only_who_answers_for_a_box_moves():
    boxes = PAIR[1].clone().requires_grad_()
    losses = set_loss(PAIR[0], boxes, *FOUND)
    (gradient,) = torch.autograd.grad(losses["l1"] + losses["giou"], boxes)
    assert gradient[0].any() and not gradient[1].any()


def test_answers_by_hand():
    logits, shares = numbers([[0, 0, LN3], [0, 0, 0]]), numbers([[1, 0, 0.3], [0, 0.6, 0]])
    expected = (5 * math.log(2) + math.log(4) - 0.3 * LN3) / 2
    assert answer_loss(logits, shares).item() == pytest.approx(expected, abs=1e-12)
    assert expected == pytest.approx(2.261223, abs=1e-6)
    zeros = torch.zeros(2, 3129)
    assert answer_loss(zeros, zeros).item() == pytest.approx(3129 * math.log(2))


# --- a batch is its pictures


@settings(max_examples=60, deadline=None)
@given(seed=seeds, drawn=counts_and_queries)
def test_each_picture_is_matched_by_itself(scenes, seed, drawn):
    batch = scenes(seed, *drawn)
    matched = match(*batch)
    assert matched.dtype == torch.int64 and matched.shape == batch[2].shape
    assert torch.equal(matched == -100, batch[2] == -100)
    for row, picture in zip(matched, pictures(*batch), strict=True):
        queries, targets = assign(match_cost(*picture))
        assert torch.equal(row[targets], queries)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, drawn=counts_and_queries, no_object=st.floats(0.05, 1))
def test_the_loss_weighs_queries_and_boxes_of_all_pictures_alike(scenes, seed, drawn, no_object):
    counts, q = drawn
    logits, boxes, labels, targets = scenes(seed, counts, q)
    matched = match(logits, boxes, labels, targets)
    guesses = [logits.requires_grad_(), boxes.requires_grad_()]
    got = batch_set_loss(*guesses, matched, labels, targets, no_object)
    each = [
        set_loss(a, b, row[row != -100], c, d, no_object)
        for row, (a, b, c, d) in zip(matched, pictures(*guesses, labels, targets), strict=True)
    ]
    weights = [count + no_object * (q - count) for count in counts]
    ce = sum(w * losses["ce"] for w, losses in zip(weights, each, strict=True)) / sum(weights)
    expected = {"ce": ce} | {
        name: sum(n * losses[name] for n, losses in zip(counts, each, strict=True))
        / max(sum(counts), 1)
        for name in ("l1", "giou")
    }
    for name, loss in expected.items():
        equal(got[name], loss)
        ours, theirs = (
            torch.autograd.grad(x, guesses, retain_graph=True, materialize_grads=True,
                                allow_unused=True)
            for x in (got[name], loss)
        )  # fmt: skip
        for a, b in zip(ours, theirs, strict=True):
            equal(a, b)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, counts=st.lists(st.integers(0, 4), min_size=2, max_size=5))
def test_processes_agree_on_what_a_box_counts(scenes, seed, counts):
    """The mean of two processes' losses is that of all boxes together, however they are dealt."""
    batch = scenes(seed, counts, 4)
    matched = match(*batch)
    whole = batch_set_loss(*batch[:2], matched, *batch[2:])
    mean = numbers(sum(counts) / 2)
    parts = [
        batch_set_loss(*(x[part] for x in (*batch[:2], matched, *batch[2:])), boxes_in_all=mean)
        for part in (slice(0, 1), slice(1, None))
    ]
    for name in ("l1", "giou"):
        together = sum(part[name] for part in parts) / 2
        if sum(counts) == 1:
            together = 2 * together  # no process divides by less than one
        equal(together, whole[name])


def test_padding_alone_is_legal(scenes):
    logits, boxes, labels, targets = scenes(0, [0, 0], 3)
    matched = match(logits, boxes, labels, targets)
    assert (matched == -100).all()
    boxes.requires_grad_()
    losses = batch_set_loss(logits, boxes, matched, labels, targets)
    assert losses["l1"] == losses["giou"] == 0
    assert not torch.autograd.grad(losses["l1"] + losses["giou"], boxes)[0].any()


def test_a_box_may_stand_behind_padding(scenes):
    """Rows are read by their labels, so that who drops a box need not sort the rest."""
    logits, boxes, labels, targets = scenes(5, [3], 4)
    labels[0, 1], targets[0, 1] = -100, torch.nan
    matched = match(logits, boxes, labels, targets)
    kept = [0, 2]
    assert torch.equal(matched[:, kept], match(logits, boxes, labels[:, kept], targets[:, kept]))
    whole = batch_set_loss(logits, boxes, matched, labels, targets)
    dense = [x[:, kept] for x in (matched, labels, targets)]
    assert whole == batch_set_loss(logits, boxes, *dense)


def test_few_digits_are_widened(scenes):
    logits, boxes, labels, targets = scenes(3, [2, 0, 1], 4)
    narrow = logits.bfloat16(), boxes.bfloat16()
    as_read = tuple(x.float() for x in narrow)
    for real in (targets.float(), targets.bfloat16()):
        matched = match(*narrow, labels, real)
        assert torch.equal(matched, match(*as_read, labels, real.float()))
        got = batch_set_loss(*narrow, matched, labels, real)
        expected = batch_set_loss(*as_read, matched, labels, real.float())
        for name, loss in got.items():
            assert loss.dtype == torch.float32
            torch.testing.assert_close(loss, expected[name], rtol=1e-6, atol=1e-6)


class Asked(TorchDispatchMode):
    """Lists the names of what is asked of the device."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.names.append(operation.overloadpacket.__name__)
        return operation(*args, **(kwargs or {}))


WAITING = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "item")


def test_a_batch_waits_once_for_the_device(scenes, monkeypatch):
    batch = scenes(1, [2, 0, 3, 1, 1], 4)
    with Asked() as asked:
        cpu = torch.Tensor.cpu
        monkeypatch.setattr(torch.Tensor, "cpu", lambda x: asked.names.append("CPU") or cpu(x))
        # What it is given is on the CPU by then.
        monkeypatch.setattr(detection, "assign", lambda cost: (torch.arange(cost.shape[1]),) * 2)
        matched = match(*batch)
    assert asked.names.count("CPU") == 1
    assert not set(WAITING).intersection(asked.names[: asked.names.index("CPU")])
    with Asked() as asked:
        batch_set_loss(*batch[:2], matched, *batch[2:])
    assert sum(name in WAITING for name in asked.names) == 1


def test_what_a_learner_writes_is_what_trains(scenes, monkeypatch):
    """Called by name, with shapes of one picture."""
    batch = scenes(2, [2, 1], 3)
    own, shapes = generalized_box_iou, []

    def learners(a, b):
        shapes.append((a.shape, b.shape))
        return 0 * own(a, b)

    monkeypatch.setattr(detection, "generalized_box_iou", learners)
    matched = match(*batch)
    assert batch_set_loss(*batch[:2], matched, *batch[2:])["giou"] == 1
    assert shapes == [((3, 4), (2, 4)), ((1, 4), (1, 4))]
    first = torch.zeros(3, 2)
    first[0, 0] = first[2, 1] = -1
    monkeypatch.setattr(detection, "match_cost", lambda *_: first)
    assert match(*batch).tolist() == [[0, 2], [0, -100]]
    monkeypatch.setattr(detection, "set_loss", lambda *a: {"ce": a[2], "l1": 0, "giou": 0})
    assert batch_set_loss(*batch[:2], matched, *batch[2:])["ce"].max() >= 3


# --- what cannot be matched


def test_more_boxes_than_queries(scenes):
    with pytest.raises(UserError, match="3 boxes.* 2 queries"):
        match(*scenes(0, [1, 3], 2))
    logits, boxes, labels, targets = scenes(0, [1, 3], 2)
    labels[1, 0] = -100  # two are left in a row of three
    assert (match(logits, boxes, labels, targets) != -100).sum() == 3


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(
    ("position", "error", "named"),
    [(0, DivergedError, "class logits hold"), (1, DivergedError, "boxes hold"),
     (3, DataError, "true box holds")],
)  # fmt: skip
def test_no_number_is_named(scenes, bad, position, error, named):
    batch = scenes(0, [1, 2], 3)
    batch[position][1, 1] = bad
    with pytest.raises(error, match=named):
        match(*batch)


def test_two_boxes_of_one_point_are_named(scenes):
    logits, boxes, labels, targets = scenes(0, [1, 2], 3)
    boxes[1, 0] = targets[1, 1] = numbers([0.5, 0.5, 0, 0])
    with pytest.raises(DataError, match="no area"):
        match(logits, boxes, labels, targets)


# --- attributes


def test_attributes_by_hand():
    logits = numbers([[[LN3, 0, 0], [0, 0, 0]], [[0, 0, LN3], [9, 9, 9]]])
    labels = torch.tensor([[[0, 1], [-100, -100]], [[2, -100], [-100, -100]]])
    first = -(math.log(0.6) + math.log(0.2)) / 2
    expected = 0.5 * (first - math.log(0.6)) / 2
    assert attribute_loss(logits, labels).item() == pytest.approx(expected, abs=1e-12)


def test_no_attribute_is_a_zero_with_a_graph(normal):
    logits = normal(0, 2, 3, 4).requires_grad_()
    loss = attribute_loss(logits, torch.full((2, 3, 2), -100))
    assert loss == 0
    assert not torch.autograd.grad(loss, logits)[0].any()


@settings(max_examples=40, deadline=None)
@given(seed=seeds, b=st.integers(1, 3), t=st.integers(1, 3), a=st.integers(1, 3))
def test_attributes_are_a_mean_of_means(normal, seed, b, t, a):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-2, 4, (b, t, a), generator=generator)
    labels[labels < 0] = -100
    logits = normal(seed, b, t, 4)
    each = [
        torch.nn.functional.cross_entropy(row.expand(len(named), -1), named)
        for row, one in zip(logits.flatten(0, 1), labels.flatten(0, 1), strict=True)
        if len(named := one[one != -100])
    ]
    expected = torch.stack(each).mean() / 2 if each else numbers(0)
    equal(attribute_loss(logits, labels), expected)

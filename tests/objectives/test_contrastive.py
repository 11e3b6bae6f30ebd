import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.objectives.contrastive import (
    LOGIT_SCALE_START,
    clamp_logit_scale,
    global_info_nce,
    info_nce,
    itc_with_queue,
    paired_info_nce,
    similarity_logits,
)
from minivl.objectives.momentum import soft_cross_entropy, soft_targets

CLOSE = {"rtol": 1e-12, "atol": 1e-12}

# Cosines 1 and 0.6, 0 and 0.8 after division by the lengths; the scale is 5.
IMAGE = torch.tensor([[3.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
TEXT = torch.tensor([[0.5, 0.0], [3.0, 4.0]], dtype=torch.float64)
SCALE = torch.tensor(math.log(5.0), dtype=torch.float64)


def contrast(image, text, logit_scale):
    """From rows to the loss, as one process computes it."""
    return info_nce(similarity_logits(image, text, logit_scale))


def cross(logits):
    return F.cross_entropy(logits, torch.arange(len(logits)))


def test_two_pairs_by_hand():
    """Logits 5 3 / 0 4: each row and column is ln(1 + e^-(right - wrong))."""
    torch.testing.assert_close(
        similarity_logits(IMAGE, TEXT, SCALE),
        torch.tensor([[5.0, 3.0], [0.0, 4.0]]).double(),
        **CLOSE,
    )
    rows = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-4))) / 2
    columns = (math.log(1 + math.exp(-5)) + math.log(1 + math.exp(-1))) / 2
    assert (rows + columns) / 2 == pytest.approx(0.1162637, abs=1e-7)
    assert contrast(IMAGE, TEXT, SCALE).item() == pytest.approx((rows + columns) / 2, abs=1e-12)


COSINES = F.normalize(IMAGE) @ F.normalize(TEXT).T


@pytest.mark.parametrize(
    ("misconception", "loss"),
    {
        "picture to sentence only": cross(5 * COSINES),
        "sentence to picture only": cross(5 * COSINES.T),
        "sum of the directions": cross(5 * COSINES) + cross(5 * COSINES.T),
        "not normalised": (cross(5 * IMAGE @ TEXT.T) + cross(5 * TEXT @ IMAGE.T)) / 2,
        "scale without exp": (cross(SCALE * COSINES) + cross(SCALE * COSINES.T)) / 2,
        "divided by the scale": (cross(COSINES / 5) + cross(COSINES.T / 5)) / 2,
        "no temperature": (cross(COSINES) + cross(COSINES.T)) / 2,
    }.items(),
)
def test_misconceptions_give_other_numbers(misconception, loss):
    assert abs(contrast(IMAGE, TEXT, SCALE) - loss) > 0.01, misconception


@given(seed=st.integers(0, 10**6), n=st.integers(1, 8), d=st.integers(1, 5), s=st.floats(0, 4.6))
@settings(max_examples=25, deadline=None)
def test_what_does_not_matter(normal, seed, n, d, s):
    image, text, scale = normal(seed, n, d), normal(seed + 1, n, d), torch.tensor(s).double()
    loss = contrast(image, text, scale)
    assert loss.shape == () and loss >= 0
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    lengths = normal(seed + 2, n, 1).exp()
    for same in (
        contrast(text, image, scale),
        contrast(image[order], text[order], scale),
        contrast(image * lengths, text / lengths, scale),
    ):
        torch.testing.assert_close(same, loss, **CLOSE)


def test_which_rows_belong_together_matters(normal):
    image = normal(0, 5, 8)
    matched = contrast(image, image, SCALE)
    assert matched < contrast(image, image.roll(1, 0), SCALE) - 1


@pytest.mark.parametrize("n", [1, 2, 7, 256])
@pytest.mark.parametrize("scale", [0.0, LOGIT_SCALE_START, math.log(100)])
def test_who_cannot_tell_pays_the_log_of_the_choices(n, scale):
    equal = torch.tensor([[1.0, -2.0, 3.0]]).double().expand(n, 3)
    loss = contrast(equal, -equal, torch.tensor(scale).double())
    assert loss.item() == pytest.approx(math.log(n), abs=1e-9)


def test_gradients_are_those_of_the_formula(normal):
    inputs = [normal(0, 4, 3), normal(1, 4, 3), torch.tensor(1.0).double()]
    assert torch.autograd.gradcheck(contrast, [x.requires_grad_() for x in inputs])


def test_the_temperature_learns(normal):
    """Told apart, pairs ask for a sharper softmax; confused ones for a softer one."""
    features = normal(0, 6, 8)
    for text, sign in ((features, -1), (features.roll(1, 0), 1)):
        scale = torch.tensor(2.0).double().requires_grad_()
        contrast(features, text, scale).backward()
        assert scale.grad * sign > 1e-3


def test_the_loss_itself_never_clamps():
    """Above 100 the scale still counts and learns; only clamping after the step ends that."""
    for value in (math.log(100) + 1, -1.0):
        scale = torch.tensor(value, dtype=torch.float64, requires_grad=True)
        loss = contrast(IMAGE, TEXT.flip(0), scale)
        logits = math.exp(value) * F.normalize(IMAGE) @ F.normalize(TEXT.flip(0)).T
        torch.testing.assert_close(loss, (cross(logits) + cross(logits.T)) / 2, **CLOSE)
        loss.backward()
        assert scale.grad.abs() > 1e-3


def test_clamping_keeps_the_scale_between_1_and_100():
    for value, kept in ((-1.0, 0.0), (0.0, 0.0), (3.0, 3.0), (9.0, math.log(100))):
        scale = torch.nn.Parameter(torch.tensor(value).double())
        assert clamp_logit_scale(scale) is None
        assert scale.item() == pytest.approx(kept, abs=1e-15)
        assert scale.is_leaf and scale.requires_grad
    assert math.exp(LOGIT_SCALE_START) == pytest.approx(1 / 0.07)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_mean_over_processes_is_the_joint_loss(normal, world):
    leaves = [normal(0, 6, 4), normal(1, 6, 4), torch.tensor(2.0).double()]
    joint = contrast(*(x.requires_grad_() for x in leaves))
    image, text, scale = leaves
    parts = zip(image.chunk(world), text.chunk(world), strict=True)
    losses = [global_info_nce(*mine, image, text, rank, scale) for rank, mine in enumerate(parts)]
    assert world == 1 or max(losses) - min(losses) > 1e-3
    shared = sum(losses) / world
    torch.testing.assert_close(shared, joint, **CLOSE)
    for a, b in zip(
        torch.autograd.grad(shared, leaves), torch.autograd.grad(joint, leaves), strict=True
    ):
        torch.testing.assert_close(a, b, **CLOSE)


def paired(image, text, is_pair):
    """One process alone."""
    return paired_info_nce(image, text, image, text, 0, SCALE, is_pair)


def test_of_two_pairs_the_wrong_one_is_a_negative_only():
    """Logits 5 3 / 0 4 as above: the first row and the first column alone are scored."""
    loss = paired(IMAGE, TEXT, torch.tensor([True, False]))
    row, column = math.log(1 + math.exp(-2)), math.log(1 + math.exp(-5))
    assert loss.item() == pytest.approx((row + column) / 2, abs=1e-12)
    loss = paired(IMAGE, TEXT, torch.tensor([False, True]))
    row, column = math.log(1 + math.exp(-4)), math.log(1 + math.exp(-1))
    assert loss.item() == pytest.approx((row + column) / 2, abs=1e-12)


@given(seed=st.integers(0, 10**6), n=st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_wrong_pairs_are_columns_but_no_rows(normal, seed, n):
    image, text = normal(seed, n, 4), normal(seed + 1, n, 4)
    is_pair = torch.rand(n, generator=torch.Generator().manual_seed(seed)) < 0.6
    logits = 5 * F.normalize(image) @ F.normalize(text).T
    scored = [i for i in range(n) if is_pair[i]]
    terms = [-logits[i].log_softmax(0)[i] - logits[:, i].log_softmax(0)[i] for i in scored]
    expected = sum(terms) / 2 / len(scored) if scored else torch.zeros(()).double()
    torch.testing.assert_close(paired(image, text, is_pair), expected, **CLOSE)
    everyone = torch.ones(n, dtype=torch.bool)
    torch.testing.assert_close(paired(image, text, everyone), info_nce(logits), **CLOSE)


def test_a_batch_of_wrong_pairs_costs_nothing(normal):
    image, text = normal(0, 3, 4).requires_grad_(), normal(1, 3, 4).requires_grad_()
    is_pair = torch.zeros(3, dtype=torch.bool)
    loss = paired(image, text, is_pair)
    assert loss.item() == 0 and loss.requires_grad and not is_pair.any()
    loss.backward()
    assert not image.grad.any() and not text.grad.any()


@pytest.mark.parametrize("world", [2, 3])
def test_processes_weigh_in_by_their_true_pairs(normal, world):
    """Each one's mean times its pairs, over all pairs: the joint batch's loss and gradient."""
    leaves = [normal(0, 6, 4).requires_grad_(), normal(1, 6, 4).requires_grad_()]
    image, text = leaves
    is_pair = torch.tensor([True, True, True, False, False, True])
    joint = paired(image, text, is_pair)
    parts = zip(image.chunk(world), text.chunk(world), is_pair.chunk(world), strict=True)
    shared = sum(
        paired_info_nce(mine, words, image, text, rank, SCALE, pairs) * pairs.sum() / is_pair.sum()
        for rank, (mine, words, pairs) in enumerate(parts)
    )
    torch.testing.assert_close(shared, joint, **CLOSE)
    for a, b in zip(
        torch.autograd.grad(shared, leaves), torch.autograd.grad(joint, leaves), strict=True
    ):
        torch.testing.assert_close(a, b, **CLOSE)


def numbers(*rows):
    return torch.tensor(rows, dtype=torch.float64)


# Two pairs as student and twin see them, and two old features of each side, a column each.
PAIRS = (
    numbers([1, 0], [0, 1]),
    numbers([0.6, 0.8], [0, 1]),
    numbers([0.8, 0.6], [0, 1]),
    numbers([1, 0], [0.6, 0.8]),
)
QUEUES = numbers([0, 1], [1, 0]), numbers([0, 0.8], [1, 0.6])


@pytest.mark.parametrize(("temperature", "loss"), [(1.0, 1.158778), (0.5, 1.013492)])
def test_two_pairs_and_a_queue_by_hand(temperature, loss):
    """At 1: rows 1 .6 0 .8 / 0 .8 1 .6 and .96 .8 .8 .6 / .6 1 1 0, the first two the batch's."""
    for divisor in (temperature, torch.tensor(temperature).double()):
        found = itc_with_queue(*PAIRS, *QUEUES, divisor)
        assert found.item() == pytest.approx(loss, abs=1e-6)


def test_only_the_student_and_the_temperature_learn():
    *pairs, temperature = (x.clone().requires_grad_() for x in (*PAIRS, numbers(0.5)[0]))
    queues = [queue.clone().requires_grad_() for queue in QUEUES]
    for targets in (None, (torch.eye(2, 4).double(),) * 2):
        loss = itc_with_queue(*pairs, *queues, temperature, targets)
        image, text, *constants, scale = torch.autograd.grad(
            loss, [*pairs, *queues, temperature], allow_unused=True
        )
        assert image.any() and text.any() and scale.any()
        assert constants == [None] * 4


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), b=st.integers(1, 5), length=st.integers(0, 6))
def test_the_queue_adds_columns_and_the_target_is_a_share(normal, seed, b, length):
    """Every form of the loss against the similarity of each row and each key, one by one."""
    image, text, image_m, text_m = (F.normalize(normal(seed + i, b, 3), dim=1) for i in range(4))
    queues = [F.normalize(normal(seed + i, 3, length), dim=0) for i in (4, 5)]
    targets = [normal(seed + i, b, b + length).softmax(dim=1) for i in (6, 7)]
    losses = []
    for query, batch, queue in ((image, text_m, queues[1]), (text, image_m, queues[0])):
        keys = [*batch, *queue.T]
        losses.append(torch.stack([torch.stack([q @ key / 0.07 for key in keys]) for q in query]))
    plain = itc_with_queue(image, text, image_m, text_m, *queues, 0.07)
    torch.testing.assert_close(plain, (cross(losses[0]) + cross(losses[1])) / 2, **CLOSE)
    soft = itc_with_queue(image, text, image_m, text_m, *queues, 0.07, tuple(targets))
    expected = sum(map(soft_cross_entropy, losses, targets)) / 2
    torch.testing.assert_close(soft, expected, **CLOSE)
    # A teacher without a share leaves the labels.
    hard = torch.eye(b, b + length, dtype=torch.float64)
    labels = [soft_targets(logits, hard, 0.0) for logits in losses]
    same = itc_with_queue(image, text, image_m, text_m, *queues, 0.07, tuple(labels))
    torch.testing.assert_close(same, plain, **CLOSE)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), b=st.integers(1, 6), temperature=st.floats(0.01, 1))
def test_without_queue_and_with_twins_alike_it_is_clips_loss(normal, seed, b, temperature):
    image, text = (F.normalize(normal(seed + i, b, 4), dim=1) for i in range(2))
    empty = torch.empty(4, 0, dtype=torch.float64)
    found = itc_with_queue(image, text, image, text, empty, empty, temperature)
    torch.testing.assert_close(found, info_nce(image @ text.T / temperature), **CLOSE)

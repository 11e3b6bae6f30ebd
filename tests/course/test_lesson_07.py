"""Lesson 07's exercises: known mistakes are named, plugged answers train."""

import math

import numpy as np
import pytest
import torch
from answers_07 import (
    draw_stream_in_a_loop,
    joint_loss_in_a_loop,
    mmm_loss_by_formula,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.course import plugged
from minivl.course.exercise import find
from minivl.course.judging import CUT_GRAPH, judge
from minivl.course.train import fit
from minivl.data.mixture import Mixture
from minivl.data.stream import Stream
from minivl.models.flava import Flava, MultimodalEncoder
from minivl.nn.bert import Bert
from minivl.nn.vit import ViT


def test_plain_numbers_are_no_loss():
    exercise = find("joint_loss")
    told = judge(
        lambda losses, weights: sum(weights.get(k, 1.0) * v.item() for k, v in losses.items()),
        exercise,
    )
    assert told.state == "wrong" and told.message == CUT_GRAPH


def test_the_numbers_of_the_hand_cases():
    likely, unlikely, even = math.log(4 / 3), math.log(4), math.log(2)
    one, both, none, _ = (case.expected for case in find("mmm_loss").cases)
    assert one.item() == pytest.approx(0.287682, abs=1e-6) == pytest.approx(likely, abs=1e-6)
    assert both.item() == pytest.approx((likely + unlikely + even) / 3)
    assert both.item() == pytest.approx(0.789041, abs=1e-6) and none.item() == 0


@settings(max_examples=10, deadline=None)
@given(shift=st.floats(1e-3, 0.2), unit=st.floats(0.1, 10))
def test_shifted_borders_never_pass_and_units_do_not_matter(shift, unit):
    exercise = find("draw_stream")

    def shifted(weights, u):
        return exercise.function(weights, min(u + shift, 1 - 1e-9))

    def rescaled(weights, u):
        return exercise.function({name: unit * weight for name, weight in weights.items()}, u)

    assert judge(shifted, exercise).state == "wrong"
    # 2 : 1 : 1 in another unit puts the border of u = 0.5 a rounding away: not asked for there.
    assert [rescaled({"a": 3, "b": 1}, u) for u in (0, 0.7, 0.8)] == ["a", "a", "b"]


@settings(max_examples=10, deadline=None)
@given(row=st.integers(0, 4), factor=st.floats(1.01, 3))
def test_a_pair_that_counts_more_never_passes(row, factor):
    exercise = find("mmm_loss")

    def wrong(states, targets, masked, is_pair, head):
        right = exercise.function(states, targets, masked, is_pair, head)
        if len(states) <= row or not (masked[row] & is_pair[row]).any():
            return right * factor
        alone = torch.arange(len(states)) == row
        return right + (factor - 1) * exercise.function(states, targets, masked, alone, head)

    assert judge(wrong, exercise).state == "wrong"


# --- plugged in


def small():
    torch.manual_seed(0)
    return Flava(
        ViT(image_size=8, patch_size=4, width=8, depth=1, heads=2),
        Bert(vocab_size=11, width=8, depth=1, heads=2, max_length=6, norm="pre"),
        MultimodalEncoder(8, 1, 2),
        embed_dim=8,
        vocab_size=5,
    )


def pairs_of(rows=4):
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(4, 11, (rows, 5), generator=draw)
    hidden = torch.zeros(rows, 5, dtype=torch.bool)
    hidden[:, 1:3] = True
    return {
        "image": torch.randn(rows, 3, 8, 8, generator=draw),
        "patches_masked": torch.tensor([[[True, False], [False, True]]] * rows),
        "visual_tokens": torch.randint(5, (rows, 2, 2), generator=draw),
        "input_ids": ids,
        "attention_mask": torch.ones(rows, 5, dtype=torch.bool),
        "mlm_input_ids": ids.masked_fill(hidden, 3),
        "mlm_labels": ids.masked_fill(~hidden, -100),
        "itm_labels": torch.tensor([1, 0] * (rows // 2)),
    }


def test_a_learners_mmm_loss_trains_the_model():
    model, batch = small(), pairs_of()
    before = {name: loss.item() for name, loss in model(batch).items()}

    def mmm_loss(states, targets, masked, is_pair, head):
        return 3 * mmm_loss_by_formula(states, targets, masked, is_pair, head)

    with plugged(mmm_loss):
        inside = {name: loss.item() for name, loss in model(batch).items()}
    for name, loss in before.items():
        factor = 3 if name.startswith("mmm") else 1
        assert inside[name] == pytest.approx(factor * loss, rel=1e-5)


def test_a_learners_joint_loss_is_what_fit_follows():
    def joint_loss(losses, weights):
        return 2 * joint_loss_in_a_loop(losses, weights)

    right = fit(small(), iter([pairs_of()]), 1)
    with plugged(joint_loss):
        assert fit(small(), iter([pairs_of()]), 1)[0] == pytest.approx(2 * right[0])


def test_a_learners_joint_loss_is_what_the_engine_follows():
    from minivl.training import engine

    assert engine.joint.joint_loss is find("joint_loss").function


def test_a_learners_sampler_makes_the_timetable():
    streams = [Stream(name, [0], 1, weight) for name, weight in (("pairs", 0.7), ("pictures", 0.3))]
    for stream in streams:
        object.__setattr__(stream, "examples", type("Endless", (), {"endless": True})())
    right = Mixture(streams, 0, 50).chosen

    def draw_stream(weights, u):
        return draw_stream_in_a_loop(weights, 1 - u)

    with plugged(draw_stream):
        other = Mixture(streams, 0, 50).chosen
    uniform = np.random.default_rng(0).random(50)
    assert right.tolist() == (uniform >= 0.7).astype(int).tolist()
    assert other.tolist() == (1 - uniform >= 0.7).astype(int).tolist()

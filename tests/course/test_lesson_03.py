"""Lesson 03's exercises: known mistakes are named, plugged answers train."""

import math

import pytest
import torch
from answers_03 import (
    gumbel_softmax_with_loops,
    logit_laplace_nll_by_density,
    map_pixels_in_place,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.course import plugged
from minivl.course.exercise import find
from minivl.course.judging import CHANGED, CUT_GRAPH, judge
from minivl.models.dvae import DVAE
from minivl.nn.dvae import Decoder, Encoder


def test_generic_mistakes_are_named():
    assert judge(map_pixels_in_place, find("map_pixels")).message == CHANGED
    cut = judge(lambda x, eps=0.1: x.detach() * (1 - 2 * eps) + eps, find("map_pixels"))
    assert cut.message == CUT_GRAPH


def test_checking_leaves_the_reader_s_random_state_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    judge(find("gumbel_softmax").function, find("gumbel_softmax"))
    assert torch.equal(torch.rand(3), expected)


# --- small changes of the right answer


@settings(max_examples=10, deadline=None)
@given(power=st.floats(-2, 2).filter(lambda power: abs(power - 1) > 1e-6))
def test_another_power_of_the_temperature_never_passes(power):
    exercise = find("gumbel_softmax")

    def gumbel_softmax(logits, u, temperature, hard=False):
        return exercise.function(logits, u, temperature**power, hard)

    assert judge(gumbel_softmax, exercise).state == "wrong"


@settings(max_examples=10, deadline=None)
@given(base=st.floats(1.1, 20).filter(lambda base: abs(base - math.e) > 1e-6))
def test_another_logarithm_never_passes(base):
    exercise = find("kl_to_uniform")
    assert judge(lambda x: exercise.function(x) / math.log(base), exercise).state == "wrong"


@settings(max_examples=10, deadline=None)
@given(a=st.floats(0.2, 3), b=st.floats(0.2, 3))
def test_wrong_weights_of_the_terms_never_pass(a, b):
    exercise = find("logit_laplace_nll")
    if max(abs(a - 1), abs(b - 1)) < 1e-6:
        return

    def logit_laplace_nll(x, mu, log_scale):
        far = (torch.logit(x) - mu).abs() / log_scale.exp()
        return math.log(2) + log_scale + a * torch.log(x * (1 - x)) + b * far

    assert judge(logit_laplace_nll, exercise).state == "wrong"


# --- plugged in


def small():
    torch.manual_seed(0)
    numbers = {"vocab_size": 6, "width": 4, "groups": 2, "blocks": 1}
    return DVAE(Encoder(**numbers), Decoder(**numbers, code_width=4)).double()


def losses(model):
    torch.manual_seed(1)
    batch = {"image": torch.rand(2, 3, 4, 6, dtype=torch.float64) * 2 - 1}
    return {name: loss.item() for name, loss in model(batch).items()}


def test_a_reader_s_functions_train_the_tokenizer():
    model = small()
    before = losses(model)

    def gumbel_softmax(logits, u, temperature, hard=False):
        return gumbel_softmax_with_loops(logits, u, temperature, hard)

    def logit_laplace_nll(x, mu, log_scale):
        return 2 * logit_laplace_nll_by_density(x, mu, log_scale)

    def visual_tokens(logits):
        return torch.zeros_like(logits[:, 0]).long()

    with plugged(gumbel_softmax, logit_laplace_nll, visual_tokens):
        inside = losses(model)
        assert model.tokenize(torch.zeros(1, 3, 4, 4, dtype=torch.float64)).sum() == 0
    assert inside["reconstruction"] == pytest.approx(2 * before["reconstruction"], rel=1e-12)
    assert losses(model) == before

"""Lesson 04's exercises: known mistakes are named, plugged answers train."""

import pytest
import torch
from answers_04 import blockwise_mask_of_numbers, masked_cross_entropy_of_two
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.course import plugged
from minivl.course.exercise import find
from minivl.course.judging import judge


def test_masks_of_numbers_are_no_masks():
    assert judge(blockwise_mask_of_numbers, find("blockwise_mask")).state == "wrong"


def test_a_verdict_on_masks_shows_no_address():
    told = judge(lambda *a: torch.ones(2, 2).bool(), find("blockwise_mask"))
    text = " ".join(told.lines)
    assert "0x" not in text and "a generator" in text


@settings(max_examples=10, deadline=None)
@given(low=st.floats(0.5, 0.79), high=st.floats(0.91, 1.0))
def test_wrong_shares_of_words_never_pass(low, high):
    exercise = find("mask_tokens")

    def wrong(ids, special, u_select, u_action, random_ids, mask_id, probability=0.15):
        stretched = torch.where(u_action < low, u_action * 0.8 / low, 0.8 + (u_action - low) * 0.2)
        stretched = torch.where(u_action > high, 0.95, stretched)
        return exercise.function(
            ids, special, u_select, stretched, random_ids, mask_id, probability
        )

    assert judge(wrong, exercise).state == "wrong"


@settings(max_examples=10, deadline=None)
@given(spill=st.integers(1, 20))
def test_a_block_mask_with_some_cells_too_many_never_passes(spill):
    exercise = find("blockwise_mask")

    def wrong(gh, gw, count, generator, min_block=16, aspect=(0.3, 1 / 0.3)):
        more = min(count + spill * (count == 75), gh * gw)
        return exercise.function(gh, gw, more, generator, min_block, aspect)

    verdict = judge(wrong, exercise)
    assert verdict.state == "wrong" and "exactly" in verdict.title


def test_a_learners_loss_trains_the_models():
    from minivl.models.mlm import Mlm
    from minivl.nn.bert import Bert

    torch.manual_seed(0)
    model = Mlm(Bert(vocab_size=9, width=8, depth=1, heads=2, max_length=6))
    ids = torch.tensor([[1, 5, 6, 7, 2]])
    labels = torch.tensor([[-100, 5, 6, 7, -100]])
    batch = {"mlm_input_ids": ids, "mlm_labels": labels, "attention_mask": ids > 0}
    right = model(batch)["mlm"]

    def masked_cross_entropy(logits, labels):
        # The model gives its scored rows alone.
        return masked_cross_entropy_of_two(logits[None], labels[None])

    with plugged(masked_cross_entropy):
        assert model(batch)["mlm"].item() == pytest.approx(1.5 * right.item())

"""Lesson 06's exercises: known mistakes are named, plugged answers train."""

import pytest
import torch
from answers_06 import itm_batch_plainly, merge_tokens_with_repeat
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.course import plugged
from minivl.course.exercise import find
from minivl.course.judging import judge
from minivl.models.flava import MultimodalEncoder
from minivl.objectives import matching


@pytest.mark.parametrize(
    ("name", "in_the_case"),
    [
        ("true partner kept", [8 / 11, 2 / 11, 1 / 11]),
        ("zeroed, not renormalised", [0, 2 / 11, 1 / 11]),
        ("uniform", [0, 1 / 2, 1 / 2]),
        ("easy first", [0, 1 / 3, 2 / 3]),
        ("hardest only", [0, 1, 0]),
    ],
)
def test_the_numbers_of_known_mistakes(name, in_the_case):
    exercise = find("hard_negative_weights")
    variant = next(one for one in exercise.variants if one.name == name)
    got = variant.function(*exercise.cases[0].make())[0]
    assert got.tolist() == pytest.approx(in_the_case)


def test_weights_with_a_gradient_are_told_what_they_are_for():
    exercise = find("hard_negative_weights")

    def hard_negative_weights(similarity, same):
        weights = similarity.masked_fill(same, -torch.inf).softmax(dim=1)
        return weights.masked_fill(same, 0.0)

    verdict = judge(hard_negative_weights, exercise)
    assert (verdict.state, verdict.variant) == ("wrong", "with gradient")
    assert verdict.title == "the weights are constants"


@pytest.mark.parametrize("gradient", [True, False])
def test_another_mistake_is_named_whether_the_weights_have_a_gradient_or_not(gradient):
    def hard_negative_weights(similarity, same):
        weights = similarity.softmax(dim=1)
        return weights if gradient else weights.detach()

    verdict = judge(hard_negative_weights, find("hard_negative_weights"))
    assert verdict.variant == "true partner kept"


def test_rows_of_nobody_that_are_dropped_are_named():
    def itm_batch(*arguments):
        images, texts, labels = itm_batch_plainly(*arguments)
        return images[labels >= 0], texts[labels >= 0], labels[labels >= 0]

    verdict = judge(itm_batch, find("itm_batch"))
    assert verdict.variant == "rows without a partner dropped"
    assert verdict.title == "where no partner was drawn, the row stays"


@settings(max_examples=10, deadline=None)
@given(row=st.integers(0, 3), amount=st.floats(0.01, 0.3))
def test_a_row_that_is_shared_out_otherwise_never_passes(row, amount):
    exercise = find("hard_negative_weights")

    def wrong(similarity, same):
        weights = exercise.function(similarity, same).clone()
        if len(weights) > row and (weights[row] > 0).sum() > 1:
            first, second = weights[row].nonzero().flatten()[:2]
            moved = amount * weights[row, first]
            weights[row, first] -= moved
            weights[row, second] += moved
        return weights

    assert judge(wrong, exercise).state == ("wrong" if row < 3 else "passed")


@settings(max_examples=10, deadline=None)
@given(block=st.integers(0, 2), shift=st.integers(1, 2))
def test_a_block_in_another_order_never_passes(block, shift):
    exercise = find("itm_batch")

    def wrong(*arguments):
        images, texts, labels = exercise.function(*arguments)
        parts = list(texts.split(len(texts) // 3))
        parts[block] = parts[block].roll(shift, 0)
        return images, torch.cat(parts), labels

    assert judge(wrong, exercise).state == "wrong"


@settings(max_examples=10, deadline=None)
@given(place=st.integers(0, 4))
def test_a_token_that_is_hidden_or_shown_by_mistake_never_passes(place):
    exercise = find("merge_tokens")

    def wrong(*arguments):
        tokens, mask = exercise.function(*arguments)
        flipped = torch.arange(mask.shape[1]) == place
        return tokens, mask ^ flipped

    assert judge(wrong, exercise).state == "wrong"


# --- plugged in


def test_a_learners_tokens_are_what_the_multimodal_encoder_reads():
    torch.manual_seed(0)
    encoder = MultimodalEncoder(8, 1, 2).eval()
    image, text = torch.randn(2, 3, 8), torch.randn(2, 4, 8)
    words = torch.ones(2, 4, dtype=torch.bool)
    right = encoder(image, text, words)

    def merge_tokens(cls_token, image, text, attention_mask):
        return merge_tokens_with_repeat(cls_token, 2 * image, text, attention_mask)

    with plugged(merge_tokens):
        doubled = encoder(image, text, words)
    torch.testing.assert_close(doubled, encoder(2 * image, text, words))
    assert not torch.allclose(doubled, right)


def test_a_learners_batch_is_what_the_package_asks():
    """Models call `matching.itm_batch`: what is plugged in there is what they train on."""

    def itm_batch(image, text, negative_image, negative_text):
        return itm_batch_plainly(image, text, negative_image, negative_text)

    with plugged(itm_batch):
        assert matching.itm_batch is itm_batch
    assert matching.itm_batch is find("itm_batch").function

"""Lesson 09's exercises: known mistakes are named, plugged answers train."""

import pytest
import torch
from answers_09 import (
    enqueue_by_rolling,
    fusion_block_in_a_loop,
    itc_with_queue_as_in_the_paper,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.course import plugged
from minivl.course.exercise import find
from minivl.course.exercises.itc_with_queue import _two_pairs, by_hand
from minivl.course.judging import CHANGED, CUT_GRAPH, judge
from minivl.course.train import fit
from minivl.models.albef import Albef
from minivl.nn.bert import Bert
from minivl.nn.fusion import FusionEncoder
from minivl.nn.vit import ViT


def test_a_queue_that_is_written_in_place_is_told():
    def enqueue(queue, keys, pointer):
        b, size = len(keys), queue.shape[1]
        if b > size:
            raise ValueError
        queue[:, (pointer + torch.arange(b)) % size] = keys.detach().T
        return queue, (pointer + b) % size

    verdict = judge(enqueue, find("enqueue"))
    assert verdict.state == "wrong" and verdict.message == CHANGED


def test_a_loss_without_a_graph_is_told():
    def itc_with_queue(*arguments):
        return itc_with_queue_as_in_the_paper(*arguments).detach()

    verdict = judge(itc_with_queue, find("itc_with_queue"))
    assert verdict.state == "wrong" and verdict.message == CUT_GRAPH


# --- the numbers of the course's plan


def test_the_losses_by_hand():
    assert by_hand(1.0).item() == pytest.approx(1.158778, abs=1e-6)
    assert by_hand(0.5).item() == pytest.approx(1.013492, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("student keys", 1.236749),
        ("queue ignored", 0.503369),
        ("wrong modality", 1.284298),
        ("queue in front", 1.748778),
        ("enqueued first", 1.196516),
    ],
)
def test_what_mistakes_of_the_loss_compute(name, value):
    variant = next(one for one in find("itc_with_queue").variants if one.name == name)
    assert variant.function(*_two_pairs(1.0)).item() == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cross before self", (-6, -6, 12)),
        ("no self-attention", (-2, -2, 4)),
        ("pre-norm", (31, 1, 43)),
        ("no residual around cross", (24, -12, -12)),
        ("text as context", (-420, -420, 840)),
        ("middle norm missing", (132, -96, -36)),
        ("last norm missing", (132, 0, 156)),
    ],
)
def test_what_mistakes_of_the_block_compute(name, value):
    exercise = find("fusion_block")
    variant = next(one for one in exercise.variants if one.name == name)
    got = variant.function(*exercise.cases[0].make())
    assert got.flatten().tolist() == pytest.approx(value, abs=1e-9)


# --- small changes of the right answer


@settings(max_examples=10, deadline=None)
@given(shift=st.integers(1, 3))
def test_other_columns_never_pass(shift):
    exercise = find("enqueue")

    def enqueue(queue, keys, pointer):
        at = (pointer + shift) % queue.shape[1]
        new, _ = exercise.function(queue, keys, at)
        return new, (pointer + len(keys)) % queue.shape[1]

    assert judge(enqueue, exercise).state == "wrong"


@settings(max_examples=10, deadline=None)
@given(share=st.floats(0.0, 1.0).filter(lambda share: abs(share - 0.5) > 1e-6))
def test_other_weights_of_the_directions_never_pass(share):
    exercise = find("itc_with_queue")

    def itc_with_queue(image, text, *others):
        both = []
        for a, b in ((image, text.detach()), (image.detach(), text)):
            loss = exercise.function(a, b, *others)
            both.append(loss - loss.detach())
        value = exercise.function(image, text, *others).detach()
        return value + 2 * (share * both[0] + (1 - share) * both[1])

    assert judge(itc_with_queue, exercise).state == "wrong"


@settings(max_examples=10, deadline=None)
@given(part=st.integers(0, 2), factor=st.floats(1.01, 3))
def test_a_step_that_counts_more_never_passes(part, factor):
    exercise = find("fusion_block")

    def fusion_block(text, image, own, cross, mlp, *norms):
        layers = [own, cross, mlp]
        right = layers[part]
        layers[part] = lambda *given: factor * right(*given)
        return exercise.function(text, image, *layers, *norms)

    assert judge(fusion_block, exercise).state == "wrong"


# --- plugged in


def small(norm="post"):
    torch.manual_seed(0)
    return Albef(
        ViT(image_size=8, patch_size=4, width=8, depth=1, heads=2),
        Bert(vocab_size=11, width=8, depth=1, heads=2, max_length=6, norm=norm),
        FusionEncoder(8, 2, 2, context_width=8, norm=norm),
        embed_dim=6,
        queue_size=7,
        distill=("itc",),
    )


def batch_of(rows=4):
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(4, 11, (rows, 5), generator=draw)
    hidden = torch.zeros(rows, 5, dtype=torch.bool)
    hidden[:, 1:3] = True
    return {
        "image": torch.randn(rows, 3, 8, 8, generator=draw),
        "input_ids": ids,
        "attention_mask": torch.ones(rows, 5, dtype=torch.bool),
        "mlm_input_ids": ids.masked_fill(hidden, 3),
        "mlm_labels": ids.masked_fill(~hidden, -100),
    }


def test_learners_functions_train_to_the_same_numbers():
    batches = [batch_of() for _ in range(3)]
    right, mine = small(), small()
    losses = fit(right, iter(batches), 3)

    def enqueue(queue, keys, pointer):
        return enqueue_by_rolling(queue, keys, pointer)

    def itc_with_queue(*arguments):
        return itc_with_queue_as_in_the_paper(*arguments)

    def fusion_block(*arguments):
        return fusion_block_in_a_loop(*arguments)

    with plugged(enqueue, itc_with_queue, fusion_block):
        assert fit(mine, iter(batches), 3) == pytest.approx(losses, rel=1e-5)
    assert int(mine.queue_pointer) == int(right.queue_pointer) == 12 % 7
    torch.testing.assert_close(mine.image_queue, right.image_queue, rtol=1e-3, atol=1e-4)


def test_a_learners_queue_is_the_models():
    model, before = small().train(), None

    def enqueue(queue, keys, pointer):
        return torch.zeros_like(queue), pointer

    with plugged(enqueue):
        before = int(model.queue_pointer)
        model(batch_of())
    assert not model.image_queue.any() and not model.text_queue.any()
    assert int(model.queue_pointer) == before


def test_a_learners_contrast_is_the_models():
    model, batch = small().eval(), batch_of()
    right = model(batch)["itc"]

    def itc_with_queue(*arguments):
        return 3 * itc_with_queue_as_in_the_paper(*arguments)

    with plugged(itc_with_queue):
        assert model(batch)["itc"].item() == pytest.approx(3 * right.item(), rel=1e-5)


@pytest.mark.parametrize(("norm", "changes"), [("post", True), ("pre", False)])
def test_a_learners_block_is_that_of_fusion(norm, changes):
    model, batch = small(norm).eval(), batch_of()
    ids, mask = batch["input_ids"], batch["attention_mask"]
    right = model.encode_pair(batch["image"], ids, mask)

    def fusion_block(text, image, own, cross, mlp, norm1, norm2, norm3):
        return text

    with plugged(fusion_block):
        got = model.encode_pair(batch["image"], ids, mask)
    assert torch.equal(got, right) != changes
    assert torch.equal(model.encode_pair(batch["image"], ids, mask), right)

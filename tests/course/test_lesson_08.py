"""Lesson 08's exercises: right answers pass in any style, lucky ones fail, plugged ones train."""

import pytest
import torch
from answers_08 import (
    NAMED,
    answer_loss_by_softplus,
    assign_by_target,
    generalized_box_iou_by_coordinates,
    match_cost_by_detaching,
    set_loss_by_hand,
    set_loss_of_a_label_a_query,
    set_loss_of_float32_weights,
    sine_positions_2d_without_helper,
    task_queries_by_repeating,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.course import plugged
from minivl.course.exercise import find
from minivl.course.judging import FIXED_DTYPE, judge
from minivl.course.train import fit
from minivl.models.unit import Unit, UnitTask
from minivl.models.unit_encoders import UnitImageEncoder, UnitTextEncoder
from minivl.nn.bert import Bert
from minivl.nn.resnet import SmallCNN

# --- the numbers of the course's plan


def made_by(exercise, variant, place=0):
    found = next(one for one in exercise.variants if one.name == variant)
    result = exercise.result(found.function, exercise.cases[place].make())
    return torch.stack(list(result.values())) if isinstance(result, dict) else result


@pytest.mark.parametrize(
    ("name", "variant", "values"),
    [
        ("task_queries", "first task", [1, 2, 3, 4] * 2),
        ("task_queries", "averaged", [6, 7, 6, 7] * 2),
        ("sine_positions_2d", "x first", [0, -1, 0, 1, 0, 1, 0, 1]),
        ("sine_positions_2d", "starting at 0", [0, 1, 0, 1, 0, 1, 0, -1]),
        ("sine_positions_2d", "linspace from 0", [0, 1] * 4),
        ("generalized_box_iou", "hull without overlap", [1 / 7 - 8 / 9, -1, 1, -1]),
        ("generalized_box_iou", "plus", [1 / 7 + 2 / 9, 1 / 3, 1, 0.7]),
        ("generalized_box_iou", "plain IoU", [1 / 7, 0, 1, 0]),
        ("generalized_box_iou", "overlap counted twice", [1 / 8 - 1 / 9, -1 / 3, 1.5, -0.7]),
        ("generalized_box_iou", "divided by union", [-1 / 7, -0.5, 1, -7 / 3]),
        ("match_cost", "log-probability", [-1.4892, 2.5986]),
        ("match_cost", "raw logits", [-3.0986, 1.5]),
        ("match_cost", "softmax over queries", [-2.75, 1.25]),
        ("match_cost", "nothing is the first class", [-2.2, 1.1667]),
        ("match_cost", "class sign", [-1.4, 1.8333]),
        ("match_cost", "GIoU sign", [1.4, 2.1667]),
        ("match_cost", "L2", [-2.6, 0.5809]),
        ("match_cost", "mean of coordinates", [-2.6, -0.3333]),
        ("match_cost", "no-object removed before softmax", [-2.75, 1.0]),
        ("set_loss", "class loss divided by q", [0.178498, 0.4, 0.75]),
        ("set_loss", "no down-weight", [0.490415, 0.4, 0.75]),
        ("set_loss", "matched only", [0.287682, 0.4, 0.75]),
        ("set_loss", "mean over coordinates", [0.324543, 0.1, 0.75]),
        ("set_loss", "box losses divided by q", [0.324543, 0.2, 0.375]),
        ("set_loss", "similarity as loss", [0.324543, 0.4, 0.25]),
        ("set_loss", "labels moved behind nothing", [1.323272, 0.4, 0.75]),
        ("set_loss", "centre boxes into GIoU", [0.324543, 0.4, -8]),
        ("set_loss", "factors inside", [0.324543, 2.0, 1.5]),
        ("answer_loss", "mean over answers", [0.753741]),
        ("answer_loss", "softmax", [1.210926]),
        ("answer_loss", "heaviest answer", [2.426015]),
        ("answer_loss", "any share is a yes", [1.876709]),
        ("answer_loss", "yes alone", [0.597670]),
        ("answer_loss", "batch sum", [4.522447]),
        ("answer_loss", "sigmoid twice", [2.491128]),
    ],
)
def test_what_mistakes_compute(name, variant, values):
    got = made_by(find(name), variant).flatten().tolist()
    assert got == pytest.approx(values, abs=6e-5)


@pytest.mark.parametrize(
    ("name", "mistake"), [(name, mistake) for name, drafts in NAMED.items() for mistake in drafts]
)
def test_mistakes_are_named_however_they_are_written(name, mistake):
    verdict = judge(NAMED[name][mistake], find(name))
    assert (verdict.state, verdict.variant) == ("wrong", mistake)


def test_an_index_astray_is_not_taken_for_a_class_too_many():
    told = judge(set_loss_of_a_label_a_query, find("set_loss"))
    assert "IndexError: index 1 is out of bounds" in told.lines[6]
    assert (told.variant, told.message) == ("", "")


def test_a_crash_over_number_formats_names_its_inputs_and_its_results():
    told = judge(set_loss_of_float32_weights, find("set_loss"))
    assert told.message == FIXED_DTYPE and "expected scalar type" in told.lines[6]
    names = [line[10:].partition(" = ")[0] for line in told.lines[:5]]
    assert names == ["logits", "boxes", "query_index", "labels", "target_boxes"]
    assert told.lines[5] == "expected  ce = 0.3245; l1 = 0.4; giou = 0.75"


def test_far_boxes_in_mistakes_of_the_overlap():
    exercise = find("generalized_box_iou")
    assert made_by(exercise, "no clamp").flatten()[3].item() == pytest.approx(-0.55)
    assert made_by(find("match_cost"), "centre boxes into GIoU").flatten()[1].item() == (
        pytest.approx(-16.3333, abs=1e-4)
    )


@pytest.mark.parametrize(
    ("variant", "pairs_found"),
    [
        ("greedy", {(0, 0), (2, 1)}),
        ("best query per target", {(0, 0), (0, 1)}),
        ("maximised", {(1, 1), (2, 0)}),
    ],
)
def test_whom_mistakes_match(variant, pairs_found):
    exercise = find("assign")
    found = next(one for one in exercise.variants if one.name == variant)
    got = exercise.result(found.function, exercise.cases[0].make())
    assert set(zip(*(one.tolist() for one in got), strict=True)) == pairs_found


def test_the_losses_by_hand():
    expected = [float(one) for one in find("set_loss").cases[0].expected.values()]
    assert expected == pytest.approx([0.324543, 0.4, 0.75], abs=1e-6)
    assert float(find("set_loss").cases[1].expected["ce"]) == pytest.approx(1.039721, abs=1e-6)
    assert float(find("answer_loss").cases[0].expected) == pytest.approx(2.261223, abs=1e-6)


@pytest.mark.parametrize("case", find("sine_positions_2d").cases, ids=lambda case: case.title)
def test_places_are_compared_where_detrs_millionth_does_not_show(case):
    exact = sine_positions_2d_without_helper(*case.make())
    ours = find("sine_positions_2d").function(*case.make())
    assert 0 < (ours - exact).abs().max() < 2e-5
    assert torch.equal(ours.round(decimals=4), exact.round(decimals=4))


# --- small changes of the right answer


@settings(max_examples=10, deadline=None)
@given(error=st.floats(1e-3, 1.0), sign=st.sampled_from((-1.0, 1.0)))
def test_other_places_never_pass(error, sign):
    exercise = find("sine_positions_2d")

    def sine_positions_2d(h, w, d):
        return exercise.function(h, w, d) * (1 + sign * error)

    assert judge(sine_positions_2d, exercise).state == "wrong"


@settings(max_examples=10, deadline=None)
@given(
    term=st.integers(0, 2), factor=st.floats(0.1, 3).filter(lambda factor: abs(factor - 1) > 1e-6)
)
def test_other_weights_of_the_cost_never_pass(term, factor):
    exercise = find("match_cost")

    def match_cost(logits, boxes, labels, target_boxes, weights=(1.0, 5.0, 2.0)):
        weights = [w * factor if n == term else w for n, w in enumerate(weights)]
        return exercise.function(logits, boxes, labels, target_boxes, tuple(weights))

    assert judge(match_cost, exercise).state == "wrong"


@settings(max_examples=10, deadline=None)
@given(name=st.sampled_from(("ce", "l1", "giou")), factor=st.floats(1.001, 4))
def test_another_factor_of_a_loss_never_passes(name, factor):
    exercise = find("set_loss")

    def set_loss(*arguments):
        found = exercise.function(*arguments)
        return found | {name: factor * found[name]}

    assert judge(set_loss, exercise).state == "wrong"


# --- plugged in


def small():
    torch.manual_seed(0)
    image = UnitImageEncoder(SmallCNN(8, stride=4), width=8, depth=1, heads=2, tasks=2)
    bert = Bert(vocab_size=11, width=8, depth=1, heads=2, max_length=6)
    tasks = (
        UnitTask("scene-detection", "boxes", classes=3, queries=4),
        UnitTask("scene-vqa", "answer", classes=5, queries=2, text=True, soft=True),
    )
    text = UnitTextEncoder(bert, tasks=2)
    return Unit(image, text, tasks, width=8, depth=1, heads=2)


def batches(rows=3):
    """Boxes, then questions."""
    draw = torch.Generator().manual_seed(1)
    image = torch.randn(rows, 3, 16, 16, generator=draw)
    boxes = 0.2 + 0.3 * torch.rand(rows, 2, 4, generator=draw)
    labels = torch.tensor([[0, 2], [1, -100], [2, 2]])
    shares = torch.rand(rows, 5, generator=draw)
    ids = torch.randint(4, 11, (rows, 5), generator=draw)
    yield {"task": "scene-detection", "image": image, "boxes": boxes, "box_labels": labels}
    yield {"task": "scene-vqa", "image": image, "input_ids": ids,
           "attention_mask": torch.ones_like(ids), "answer_shares": shares,
           "labels": shares.argmax(1)}  # fmt: skip


def named_as(name, function):
    """The function under the name by which `plugged` finds it."""

    def learner(*arguments):
        return function(*arguments)

    learner.__name__ = name
    return learner


LEARNERS = [
    named_as("task_queries", task_queries_by_repeating),
    named_as("sine_positions_2d", sine_positions_2d_without_helper),
    named_as("generalized_box_iou", generalized_box_iou_by_coordinates),
    named_as("match_cost", match_cost_by_detaching),
    named_as("assign", assign_by_target),
    named_as("set_loss", set_loss_by_hand),
    named_as("answer_loss", answer_loss_by_softplus),
]


def test_learners_functions_train_to_the_same_numbers():
    right, mine = small(), small()
    losses = fit(right, batches(), 2)
    with plugged(*LEARNERS):
        assert fit(mine, batches(), 2) == pytest.approx(losses, rel=1e-4)
    for a, b in zip(right.parameters(), mine.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("learner", LEARNERS, ids=lambda one: one.__name__)
def test_every_function_is_the_models(learner):
    """Training calls it: an error in it comes out."""

    def broken(*arguments):
        raise ZeroDivisionError(learner.__name__)

    model, broken.__name__ = small(), learner.__name__
    with plugged(broken), pytest.raises(ZeroDivisionError, match=learner.__name__):
        for batch in batches():
            model(batch)
    for batch in batches():
        model(batch)

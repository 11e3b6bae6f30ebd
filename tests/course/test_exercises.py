"""Right answers pass in any style; wrong ones fail, and known mistakes are named."""

import math

import pytest
import torch
from exercise_answers import RIGHT, WRONG_LATER
from hypothesis import given, settings
from hypothesis import strategies as st
from lesson_toys import pairs

from minivl.course.compare import difference, map_tensors
from minivl.course.exercise import every, find
from minivl.course.exercises import differs, drawn, global_info_nce, interpolate_positions
from minivl.course.judging import judge

EXERCISES = every()
HERE = [exercise for exercise in EXERCISES if exercise.lesson in ("00", "01", "05")]
"""Answers to the others stand in files of their own, one a lesson."""

WRONG = [(exercise, variant) for exercise in EXERCISES for variant in exercise.variants]
BY_HAND = [(one, case) for one in EXERCISES for case in one.cases if case.expected is not None]

each_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)


def names(found):
    return [f"{exercise.name}: {part.name}" for exercise, part in found]


def test_the_lessons_ask_for_these_functions_in_this_order():
    assert [f"{exercise.number} {exercise.name}" for exercise in HERE] == [
        "00.1 attention",
        "00.2 split_heads",
        "00.3 pre_norm_block",
        "01.1 patchify",
        "01.2 interpolate_positions",
        "01.3 word_pieces",
        "01.4 pad_batch",
        "05.1 similarity_logits",
        "05.2 info_nce",
        "05.3 global_info_nce",
        "05.4 gather_with_grad",
    ]


@each_exercise
def test_minivls_own_function_passes(exercise):
    verdict = judge(exercise.function, exercise)
    assert verdict.state == "passed", verdict


@pytest.mark.parametrize(("exercise", "variant"), WRONG, ids=names(WRONG))
def test_a_known_mistake_is_named_and_never_taken_for_another(exercise, variant):
    verdict = judge(variant.function, exercise)
    assert (verdict.state, verdict.variant) == ("wrong", variant.name)
    assert verdict.message == variant.message


@pytest.mark.parametrize(
    ("exercise", "case"), BY_HAND, ids=[f"{one.name}: {case.title}" for one, case in BY_HAND]
)
def test_numbers_worked_by_hand_are_minivls(exercise, case):
    got = exercise.result(exercise.function, case.make())
    assert not difference(got, case.expected)


@each_exercise
def test_an_exercise_is_complete(exercise):
    assert exercise.cases[0] is exercise.checks[0] and exercise.cases[0].expected is not None
    titles = [check.title for check in exercise.checks]
    assert len(set(titles)) == len(titles)
    known = [variant.name for variant in exercise.variants]
    assert len(set(known)) == len(known) >= 3
    assert len(set(exercise.hints)) == 3
    for text in (*exercise.hints, *(variant.message for variant in exercise.variants)):
        assert text.endswith((".", "?", "`.")) and "—" not in text and len(text) < 260
    assert exercise.minutes > 0 and 1 <= exercise.difficulty <= 3 and exercise.source


@each_exercise
def test_arguments_are_new_at_every_call_and_tiny(exercise):
    for case in exercise.cases:
        tensors: list[list[torch.Tensor]] = [[], []]
        for found in tensors:
            map_tensors(list(case.make()), found.append)
        first, second = tensors
        assert not difference(first, second)
        for a, b in zip(*tensors, strict=True):
            # Tensors without numbers have no place in memory.
            assert a is not b and (a.data_ptr() != b.data_ptr() or a.numel() == 0)
        assert all(a.dtype == torch.float64 and a.numel() <= 350 for a in first)


@pytest.mark.filterwarnings("ignore:torch.distributed.nn:FutureWarning")
@pytest.mark.parametrize(("exercise", "answer"), pairs(RIGHT))
def test_a_right_answer_passes_in_any_style(exercise, answer):
    verdict = judge(answer, exercise)
    assert verdict.state == "passed", verdict


@pytest.mark.parametrize(("exercise", "answer"), pairs(WRONG_LATER))
def test_an_answer_that_is_right_on_the_first_case_only_fails(exercise, answer):
    first = exercise.cases[0]
    assert not difference(exercise.result(answer, first.make()), first.expected)
    verdict = judge(answer, exercise)
    assert verdict.state == "wrong" and verdict.title != first.title


def test_every_exercise_has_answers_of_both_kinds():
    assert list(RIGHT) == list(WRONG_LATER) == [exercise.name for exercise in HERE]


# --- small changes of the right answer

OTHERWISE = ("word_pieces", "pad_batch", "sine_positions_2d")
"""These give lists, or are compared in a few decimals only."""
OF_TENSORS = [exercise for exercise in EXERCISES if exercise.name not in OTHERWISE]


@pytest.mark.parametrize("exercise", OF_TENSORS, ids=lambda exercise: exercise.name)
@settings(max_examples=8, deadline=None)
@given(error=st.floats(1e-6, 10.0), sign=st.sampled_from((-1.0, 1.0)))
def test_a_wrong_factor_never_passes(exercise, error, sign):
    factor = 1 + sign * error
    assert judge(lambda *a: factor * exercise.function(*a), exercise).state == "wrong"


@pytest.mark.parametrize("exercise", OF_TENSORS, ids=lambda exercise: exercise.name)
@settings(max_examples=8, deadline=None)
@given(error=st.floats(1e-6, 10.0), sign=st.sampled_from((-1.0, 1.0)))
def test_a_wrong_constant_never_passes(exercise, error, sign):
    assert judge(lambda *a: exercise.function(*a) + sign * error, exercise).state == "wrong"


@settings(max_examples=8, deadline=None)
@given(power=st.floats(-2.0, 2.0).filter(lambda power: abs(power - 0.5) > 1e-6))
def test_a_wrong_scale_of_attention_never_passes(power):
    exercise = find("attention")

    def attention(query, key, value, mask=None):
        wrong = query.shape[-1] ** (0.5 - power)
        return exercise.function(query * wrong, key, value, mask)

    assert judge(attention, exercise).state == "wrong"


@settings(max_examples=8, deadline=None)
@given(a=st.floats(-2.0, 0.0).filter(lambda a: abs(a + 0.75) > 1e-6))
def test_another_cubic_never_passes(a):
    """Bicubic is a family of curves; torch's has a = -0.75, PIL's -0.5."""

    def other(positions, grid):
        right = find("interpolate_positions").function(positions, grid)
        return right + (a + 0.75) * (right - right.mean())

    assert judge(other, find("interpolate_positions")).state == "wrong"


@settings(max_examples=10, deadline=None)
@given(
    weights=st.tuples(st.floats(0, 2), st.floats(0, 2)).filter(
        lambda two: max(abs(two[0] - 0.5), abs(two[1] - 0.5)) > 1e-6
    )
)
def test_wrong_weights_of_the_two_directions_never_pass(weights):
    def info_nce(logits):
        rows, columns = logits.log_softmax(1), logits.log_softmax(0)
        both = weights[0] * rows + weights[1] * columns
        return -both.diagonal().mean()

    assert judge(info_nce, find("info_nce")).state == "wrong"


@settings(max_examples=10, deadline=None)
@given(shift=st.integers(1, 5), labels=st.sampled_from(("ids", "mask")))
def test_wrong_numbers_of_a_batch_never_pass(shift, labels):
    exercise = find("pad_batch")

    def pad_batch(rows, pad_id=0):
        ids, mask = exercise.function(rows, pad_id)
        return (ids + shift, mask) if labels == "ids" else (ids, mask.roll(shift % 3 or 1, 1))

    assert judge(pad_batch, exercise).state == "wrong"


@settings(max_examples=10, deadline=None)
@given(at=st.integers(0, 2), extra=st.sampled_from(("drop", "double", "upper")))
def test_wrong_pieces_never_pass(at, extra):
    exercise = find("word_pieces")

    def word_pieces(word, vocab, unknown="[UNK]"):
        pieces = exercise.function(word, vocab, unknown)
        changed = {"drop": [], "double": pieces[at : at + 1] * 2}
        upper = [piece.upper() for piece in pieces[at : at + 1]]
        return [*pieces[:at], *changed.get(extra, upper), *pieces[at + 1 :]]

    assert judge(word_pieces, exercise).state == "wrong"


# --- numbers that are called "by hand" are


def test_the_cubic_of_the_positions_is_the_formula():
    def weight(t, a=-0.75):
        t = abs(t)
        if t <= 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0

    for places, size in ((interpolate_positions.THREE, 3), (interpolate_positions.FOUR, 4)):
        for place, number in enumerate(places):
            at = (place + 0.5) * 2 / size - 0.5
            # Cells right of the second repeat its 1, cells left of the first its 0.
            by_formula = sum(weight(at - cell) for cell in range(1, 5))
            assert number == pytest.approx(by_formula, abs=1e-12)


def test_the_losses_of_two_ranks_are_eight_cross_entropies():
    images = [(1, 0), (0, 1), (1, 1), (1, -1)]
    texts = [(2, 1), (0, 1), (1, 1.5), (1, -2)]

    def cosine(v, w):
        return (v[0] * w[0] + v[1] * w[1]) / (math.hypot(*v) * math.hypot(*w))

    def cross_entropy(i, mine, others):
        scores = [cosine(mine[i], other) for other in others]
        return math.log(sum(map(math.exp, scores))) - scores[i]

    for rank, loss in enumerate(global_info_nce.OF_RANK):
        rows = (2 * rank, 2 * rank + 1)
        both = [cross_entropy(i, images, texts) + cross_entropy(i, texts, images) for i in rows]
        assert loss == pytest.approx(sum(both) / 4, abs=1e-12)


# --- comparing


def test_differs_tells_what_came_instead():
    right = drawn(0, 2, 2)
    assert differs("x", right.clone(), right) is None
    assert differs("x", right + 1e-12, right) is None
    told = differs("x", right + 1, right)
    assert told.splitlines()[0] == "input     x" and len(told.splitlines()) == 3
    assert "shape (2,)" in differs("x", right[0], right)
    assert "nothing" in differs("x", None, right)
    assert differs("x", right * math.nan, right) and differs("x", right / 0, right)


@pytest.mark.parametrize(("got", "same"), [(0, True), (0.0, True), (1, False), (1e-9, True)])
def test_a_whole_number_may_stand_for_the_same_float(got, same):
    assert (difference(got, 0.0) == "") == same

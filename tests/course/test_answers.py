"""Exercises of the lessons: right answers pass in any style, lucky ones fail."""

from importlib import import_module

import pytest
from lesson_toys import pairs

from minivl.course.compare import difference
from minivl.course.exercise import of_lesson
from minivl.course.judging import CHANGED, judge

ASKED = {
    "03": ["gumbel_softmax", "kl_to_uniform", "map_pixels", "logit_laplace_nll", "visual_tokens"],
    "04": ["blockwise_mask", "replace_masked", "mask_tokens", "masked_cross_entropy"],
    "06": ["hard_negative_weights", "itm_batch", "merge_tokens"],
    "07": ["joint_loss", "mmm_loss", "draw_stream"],
    "08": [
        "task_queries",
        "sine_positions_2d",
        "generalized_box_iou",
        "match_cost",
        "assign",
        "set_loss",
        "answer_loss",
    ],
    "09": ["enqueue", "itc_with_queue", "fusion_block"],
    "10": ["soft_targets", "soft_cross_entropy", "distilled_mlm", "alpha_at"],
}
"""What each lesson asks for, in its order."""
ANSWERS = {lesson: import_module(f"answers_{lesson}") for lesson in ASKED}


def every(table):
    """Exercises beside their answers, of the table of that name in each lesson's answers."""
    return [case for answers in ANSWERS.values() for case in pairs(getattr(answers, table))]


@pytest.mark.parametrize("lesson", ASKED)
def test_a_lesson_asks_for_its_functions_in_order_and_all_have_answers(lesson):
    numbered = [f"{lesson}.{n} {name}" for n, name in enumerate(ASKED[lesson], start=1)]
    assert [f"{exercise.number} {exercise.name}" for exercise in of_lesson(lesson)] == numbered
    assert list(ANSWERS[lesson].RIGHT) == list(ANSWERS[lesson].WRONG_LATER) == ASKED[lesson]


@pytest.mark.parametrize(("exercise", "answer"), every("RIGHT"))
def test_a_right_answer_passes_in_any_style(exercise, answer):
    verdict = judge(answer, exercise)
    assert verdict.state == "passed", verdict


@pytest.mark.parametrize(("exercise", "answer"), every("WRONG_LATER"))
def test_an_answer_that_is_right_on_the_first_case_only_fails(exercise, answer):
    first = exercise.cases[0]
    assert not difference(exercise.result(answer, first.make()), first.expected)
    verdict = judge(answer, exercise)
    assert verdict.state == "wrong"
    # The first case asks after its values what became of the argument.
    assert verdict.title != first.title or verdict.message == CHANGED

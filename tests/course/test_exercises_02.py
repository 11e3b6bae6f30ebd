"""Lesson 02: answers in other styles pass, lucky ones fail, known mistakes are named."""

import math

import pytest
import torch
import torch.nn.functional as F
from lesson_toys import pairs

from minivl.course.compare import difference
from minivl.course.exercise import of_lesson
from minivl.course.exercises import dino_loss as dino_loss_exercise
from minivl.course.judging import CHANGED, LEAKING_GRAPH, judge

EXERCISES = {exercise.name: exercise for exercise in of_lesson("02")}

# --- right: loops, other names, other library calls


def teacher_probabilities_by_exp(g, c, tau):
    g = (g - c).detach() / tau
    e = torch.exp(g - g.max(dim=-1, keepdim=True).values)
    return e / e.sum(-1, keepdim=True)


@torch.no_grad()
def teacher_probabilities_by_f(logits, center, temperature):
    return F.softmax((logits - center) * (1 / temperature), dim=2)


def dino_loss_with_loops(student, teacher, temperature=0.1):
    total, pairs = 0, 0
    for i, target in enumerate(teacher.detach()):
        for j, logits in enumerate(student):
            if i == j:
                continue
            total = total + F.cross_entropy(logits / temperature, target)
            pairs += 1
    return total / pairs


def dino_loss_with_einsum(student, teacher, temperature=0.1):
    v, b, _ = student.shape
    log_p = F.log_softmax(student / temperature, dim=-1)
    table = -torch.einsum("ibk,jbk->ij", teacher.detach(), log_p) / b
    other = ~torch.eye(2, v, dtype=torch.bool)
    return table[other].mean()


def update_center_with_lerp(center, logits, momentum=0.9):
    return torch.lerp(center, logits.detach().mean(0), 1 - momentum)


def update_center_by_sum(center, logits, momentum=0.9):
    mean = sum(logits.detach()) / len(logits)
    return center + (1 - momentum) * (mean - center)


@torch.no_grad()
def ema_update_in_a_loop(teacher, student, momentum):
    for t, s in zip(teacher, student, strict=True):
        t.mul_(momentum).add_((1 - momentum) * s)


def ema_update_by_data(teacher, student, m):
    for t, s in zip(teacher, student, strict=True):
        t.data = m * t.data + (1 - m) * s.data


def ema_update_by_copy(teacher, student, momentum):
    for t, s in zip(teacher, student, strict=True):
        t.copy_(momentum * t + (1 - momentum) * s.detach())


RIGHT = {
    "teacher_probabilities": (teacher_probabilities_by_exp, teacher_probabilities_by_f),
    "dino_loss": (dino_loss_with_loops, dino_loss_with_einsum),
    "update_center": (update_center_with_lerp, update_center_by_sum),
    "ema_update": (ema_update_in_a_loop, ema_update_by_data, ema_update_by_copy),
}

# --- wrong, though right on the first case


def teacher_probabilities_without_centre(logits, center, temperature):
    return (logits.detach() / temperature).softmax(-1)


def teacher_probabilities_divided_first(logits, center, temperature):
    return (logits.detach() / temperature - center / temperature).softmax(-1)


def teacher_probabilities_of_one_picture(logits, center, temperature):
    return ((logits[:, :1] - center) / temperature).detach().softmax(-1)


def teacher_probabilities_with_history(logits, center, temperature):
    return ((logits - center) / temperature).softmax(-1)


def dino_loss_of_three_crops(student, teacher, temperature=0.1):
    log_p = (student / temperature).log_softmax(-1)
    pairs = ((0, 1), (0, 2), (1, 0), (1, 2))
    return -sum((teacher[i].detach() * log_p[j]).sum(-1).mean() for i, j in pairs) / 4


def dino_loss_by_log_of_softmax(student, teacher, temperature=0.1):
    log_p = (student / temperature).softmax(-1).log()
    pairs = [(i, j) for i in range(2) for j in range(len(student)) if i != j]
    terms = [(teacher[i].detach() * log_p[j]).sum(-1).mean() for i, j in pairs]
    return -sum(terms) / len(terms)


def dino_loss_without_gradient(student, teacher, temperature=0.1):
    return student.new_tensor(dino_loss_with_loops(student, teacher, temperature).item())


def dino_loss_that_teaches_the_teacher(student, teacher, temperature=0.1):
    log_p = F.log_softmax(student / temperature, dim=-1)
    other = ~torch.eye(2, len(student), dtype=torch.bool)
    return -torch.einsum("ibk,jbk->ij", teacher, log_p)[other].mean() / student.shape[1]


def update_center_of_two(center, logits, momentum=0.9):
    return momentum * center + (1 - momentum) * (logits[0] + logits[1]).detach() / 2


def update_center_with_fixed_momentum(center, logits, momentum=0.9):
    return 0.9 * center + 0.1 * logits.detach().mean(0)


def update_center_in_place(center, logits, momentum=0.9):
    return center.mul_(momentum).add_((1 - momentum) * logits.detach().mean(0))


def update_center_with_history(center, logits, momentum=0.9):
    return momentum * center + (1 - momentum) * logits.mean(0)


@torch.no_grad()
def ema_update_at_three_quarters(teacher, student, momentum):
    for t, s in zip(teacher, student, strict=True):
        t.lerp_(s, 0.25)


def ema_update_with_history(teacher, student, momentum):
    for t, s in zip(teacher, student, strict=True):
        t.mul_(momentum).add_((1 - momentum) * s)


def ema_update_that_shares_at_zero(teacher, student, momentum):
    for t, s in zip(teacher, student, strict=True):
        t.data = s.data if momentum == 0 else momentum * t.data + (1 - momentum) * s.data


WRONG_LATER = {
    "teacher_probabilities": (
        teacher_probabilities_without_centre,
        teacher_probabilities_divided_first,
        teacher_probabilities_of_one_picture,
        teacher_probabilities_with_history,
    ),
    "dino_loss": (
        dino_loss_of_three_crops,
        dino_loss_by_log_of_softmax,
        dino_loss_without_gradient,
        dino_loss_that_teaches_the_teacher,
    ),
    "update_center": (
        update_center_of_two,
        update_center_with_fixed_momentum,
        update_center_in_place,
        update_center_with_history,
    ),
    "ema_update": (
        ema_update_at_three_quarters,
        ema_update_with_history,
        ema_update_that_shares_at_zero,
    ),
}

WRONG = [(exercise, variant) for exercise in EXERCISES.values() for variant in exercise.variants]


def test_the_lesson_asks_for_these_functions_in_this_order():
    assert [f"{exercise.number} {exercise.name}" for exercise in EXERCISES.values()] == [
        "02.1 teacher_probabilities",
        "02.2 dino_loss",
        "02.3 update_center",
        "02.4 ema_update",
    ]
    assert list(RIGHT) == list(WRONG_LATER) == list(EXERCISES)


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=list(EXERCISES))
def test_minivls_own_function_passes_and_numbers_by_hand_are_its(exercise):
    assert judge(exercise.function, exercise).state == "passed"
    for case in exercise.cases:
        if case.expected is not None:
            assert not difference(exercise.result(exercise.function, case.make()), case.expected)


@pytest.mark.parametrize(
    ("exercise", "variant"), WRONG, ids=[f"{one.name}: {two.name}" for one, two in WRONG]
)
def test_a_known_mistake_is_named_and_never_taken_for_another(exercise, variant):
    verdict = judge(variant.function, exercise)
    assert (verdict.state, verdict.variant) == ("wrong", variant.name)
    assert verdict.message == variant.message


@pytest.mark.parametrize(("exercise", "answer"), pairs(RIGHT))
def test_a_right_answer_passes_in_any_style(exercise, answer):
    verdict = judge(answer, exercise)
    assert verdict.state == "passed", verdict


@pytest.mark.parametrize(("exercise", "answer"), pairs(WRONG_LATER))
def test_an_answer_that_is_right_on_the_first_case_only_fails(exercise, answer):
    first = exercise.cases[0]
    assert not difference(exercise.result(answer, first.make()), first.expected)
    assert judge(answer, exercise).state == "wrong"


def reason(answer):
    name = next(name for name in EXERCISES if answer.__name__.startswith(name))
    verdict = judge(answer, EXERCISES[name])
    return "\n".join((*verdict.lines, verdict.message))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (teacher_probabilities_with_history, LEAKING_GRAPH),
        (teacher_probabilities_divided_first, "does not fit into float16"),
        (dino_loss_that_teaches_the_teacher, LEAKING_GRAPH),
        (dino_loss_by_log_of_softmax, "`log_softmax` does both"),
        (update_center_with_history, "every earlier step in memory"),
        (update_center_in_place, CHANGED),
        (ema_update_with_history, "torch.no_grad()"),
        (ema_update_that_shares_at_zero, "a teacher of 5"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_numbers_cannot_show_is_explained(answer, words):
    assert words in reason(answer)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("teacher_probabilities", lambda g, c, t: ((g + c) / t).softmax(-1)),
        ("update_center", lambda c, g, m=0.9: (1 - m) * c + m * g.mean(0)),
    ],
)
def test_a_mistake_is_named_whether_or_not_a_graph_hangs_on_it(name, wrong):
    assert judge(wrong, EXERCISES[name]).variant in ("centre added", "weights swapped")


def test_the_numbers_of_the_loss_are_four_cross_entropies():
    def cross_entropy(target, scores):
        total = math.log(sum(map(math.exp, scores)))
        return sum(p * (total - s) for p, s in zip(target, scores, strict=True))

    teacher, ln3 = [(0.75, 0.25), (0.5, 0.5)], math.log(3)
    for tau, expected in ((1, dino_loss_exercise.FOUR_PAIRS), (0.5, dino_loss_exercise.SHARPENED)):
        student = [(ln3 / tau, 0), (0, 0), (0, ln3 / tau)]
        kept = [cross_entropy(teacher[i], student[j]) for i, j in ((0, 1), (0, 2), (1, 0), (1, 2))]
        assert expected == pytest.approx(sum(kept) / 4, abs=1e-12)
    assert dino_loss_exercise.FOUR_PAIRS == pytest.approx(0.869691, abs=5e-7)
    assert dino_loss_exercise.SHARPENED == pytest.approx(1.213593, abs=5e-7)
    assert dino_loss_exercise.TWO_CROPS == pytest.approx(0.765068, abs=5e-7)


def test_variants_give_the_numbers_of_the_table():
    got = {}
    for exercise in EXERCISES.values():
        make = exercise.cases[0].make
        for variant in exercise.variants:
            result = exercise.result(variant.function, make())
            result = result[0] if isinstance(result, tuple) else result
            got[variant.name, exercise.name] = [round(x, 4) for x in result.flatten().tolist()]
    assert got["over the views", "teacher_probabilities"] == [0.9, 0.5, 0.1, 0.5]
    assert got["times temperature", "teacher_probabilities"][:2] == [0.634, 0.366]
    assert got["same view kept", "dino_loss"] == [0.789]
    assert got["sum over pairs", "dino_loss"] == [3.4788]
    assert got["roles swapped", "dino_loss"] == [0.8337]
    assert got["weights swapped", "update_center"] == [2.8, 1.0]
    assert got["sum", "update_center"] == [1.5, 1.1]
    assert got["of probabilities", "update_center"] == [0.9881, 0.9119]
    assert got["swapped", "ema_update"] == [3.5]
    assert got["not averaged", "ema_update"] == [5.5]

"""Lesson 10's exercises: known mistakes are named, plugged answers train."""

import subprocess
import sys

import pytest
import torch
from answers_10 import (
    alpha_at_with_a_branch,
    distilled_mlm_as_two_losses,
    soft_cross_entropy_in_a_loop,
    soft_targets_detached,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.course import plugged
from minivl.course.exercise import find
from minivl.course.judging import CUT_GRAPH, LEAKING_GRAPH, judge
from minivl.course.train import fit
from minivl.models.albef import Albef
from minivl.nn.bert import Bert
from minivl.nn.fusion import FusionEncoder
from minivl.nn.vit import ViT
from minivl.recipes.albef import AlbefRecipe


@pytest.mark.parametrize("name", ["soft_cross_entropy", "distilled_mlm"])
def test_a_loss_without_a_graph_is_told(name):
    exercise = find(name)
    verdict = judge(lambda *given: exercise.function(*given).detach(), exercise)
    assert verdict.state == "wrong" and verdict.message == CUT_GRAPH


def test_a_label_that_would_learn_is_told():
    def soft_targets(similarity_m, hard, alpha):
        return alpha * similarity_m.detach().softmax(dim=-1) + (1 - alpha) * hard

    verdict = judge(soft_targets, find("soft_targets"))
    assert verdict.state == "wrong" and verdict.message == LEAKING_GRAPH


# --- the numbers of the course's plan


@pytest.mark.parametrize(
    ("exercise", "name", "case", "value"),
    [
        ("soft_targets", "alpha swapped", 0, (0.45, 0.55)),
        ("soft_targets", "softmax of the mix", 0, (0.4599, 0.5401)),
        ("soft_targets", "added", 0, (0.3, 1.1)),
        ("soft_targets", "arg-max of the teacher", 0, (0.4, 0.6)),
        ("soft_targets", "over the batch", 0, (0.4, 1.0)),
        ("soft_cross_entropy", "KL", 0, (0.130812,)),
        ("soft_cross_entropy", "reversed", 0, (0.836988,)),
        ("soft_cross_entropy", "mean over k", 0, (0.346574,)),
        ("soft_cross_entropy", "batch sum", 1, (0.980829,)),
        ("soft_cross_entropy", "log-softmax of probabilities", 1, (0.583612,)),
        ("distilled_mlm", "everywhere", 0, (0.854430,)),
        ("distilled_mlm", "alpha swapped", 0, (0.919384,)),
        ("distilled_mlm", "roles swapped", 0, (0.863151,)),
        ("distilled_mlm", "added, not mixed", 0, (1.226714,)),
        ("distilled_mlm", "over positions", 0, (0.981176,)),
        ("distilled_mlm", "KL", 0, (0.640822,)),
        ("alpha_at", "constant", 1, (0.4,)),
        ("alpha_at", "per epoch", 0, (0.0,)),
        ("alpha_at", "saw-tooth", 2, (0.0,)),
        ("alpha_at", "no cap", 3, (1.0,)),
        ("alpha_at", "one step early", 1, (0.004,)),
    ],
)
def test_what_mistakes_compute(exercise, name, case, value):
    exercise = find(exercise)
    variant = next(one for one in exercise.variants if one.name == name)
    got = torch.as_tensor(variant.function(*exercise.cases[case].make())).flatten().tolist()
    assert got == pytest.approx(value, abs=6e-5 if len(value) > 1 else 1e-6)


@pytest.mark.parametrize(
    ("exercise", "case", "value"),
    [
        ("soft_cross_entropy", 0, 0.693147),
        ("soft_cross_entropy", 1, 0.490415),
        ("distilled_mlm", 0, 0.891919),
    ],
)
def test_the_losses_by_hand(exercise, case, value):
    assert find(exercise).cases[case].expected.item() == pytest.approx(value, abs=1e-6)


# --- small changes of the right answer


@settings(max_examples=10, deadline=None)
@given(factor=st.floats(0.5, 2).filter(lambda factor: abs(factor - 1) > 1e-6))
@pytest.mark.parametrize("name", ["soft_targets", "distilled_mlm"])
def test_another_share_of_the_teacher_never_passes(name, factor):
    exercise = find(name)
    verdict = judge(lambda *given: exercise.function(*given[:-1], factor * given[-1]), exercise)
    assert verdict.state == "wrong"


@settings(max_examples=10, deadline=None)
@given(temperature=st.floats(0.5, 2).filter(lambda t: abs(t - 1) > 1e-6))
@pytest.mark.parametrize("place", [0, 1])
def test_a_temperature_never_passes(place, temperature):
    for name in ("distilled_mlm",) if place else ("soft_targets", "distilled_mlm"):
        exercise = find(name)

        def hotter(*given, exercise=exercise):
            given = list(given)
            given[place] = given[place] / temperature
            return exercise.function(*given)

        assert judge(hotter, exercise).state == "wrong"


# --- plugged in


def small(step="fused"):
    torch.manual_seed(0)
    return Albef(
        ViT(image_size=8, patch_size=4, width=8, depth=1, heads=2),
        Bert(vocab_size=11, width=8, depth=1, heads=2, max_length=6),
        FusionEncoder(8, 2, 2, context_width=8),
        embed_dim=6,
        queue_size=7,
        step=step,
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


def ramp():
    return {"alpha": AlbefRecipe.at_size("test").schedules["alpha"]}


def test_learners_functions_train_to_the_same_numbers():
    batches = [batch_of() for _ in range(3)]
    losses = fit(small(), iter(batches), 3, schedules=ramp())

    def soft_targets(*given):
        return soft_targets_detached(*given)

    def soft_cross_entropy(*given):
        return soft_cross_entropy_in_a_loop(*given)

    def distilled_mlm(*given):
        return distilled_mlm_as_two_losses(*given)

    def alpha_at(step, steps_per_epoch, alpha=0.4):
        return alpha_at_with_a_branch(step, steps_per_epoch, alpha)

    with plugged(soft_targets, soft_cross_entropy, distilled_mlm, alpha_at):
        mine = fit(small(), iter(batches), 3, schedules=ramp())
    assert mine == pytest.approx(losses, rel=1e-5)


@pytest.mark.parametrize("step", ["fused", "reference"])
def test_each_learners_function_is_the_models(step):
    model, batch = small(step).eval(), batch_of()

    def losses():
        torch.manual_seed(2)
        return {name: loss.item() for name, loss in model(batch).items()}

    def soft_targets(similarity_m, hard, alpha):
        return hard * 0 + 1

    def soft_cross_entropy(logits, targets):
        return logits.sum() * 0 + 5

    def distilled_mlm(student, teacher, labels, alpha):
        return student.sum() * 0 + 7

    right = losses()
    with plugged(soft_targets):
        assert losses()["itc"] > 2 * right["itc"]  # a target of ones at every candidate
    with plugged(soft_cross_entropy):
        assert losses() == right | {"itc": 5}
    with plugged(distilled_mlm):
        assert losses() == right | {"mlm": 7}
    assert losses() == right


def test_a_learners_ramp_is_the_recipes():
    recipe = AlbefRecipe.at_size("test")

    def alpha_at(step, steps_per_epoch, alpha=0.4):
        return 42.0

    with plugged(alpha_at):
        assert recipe.schedules["alpha"](3) == 42
    assert recipe.schedules["alpha"](0) == 0


def test_where_learners_functions_go_is_loaded_before_they_go_there():
    """A module that is first loaded while one is plugged in would keep it for good."""
    code = (
        "import sys; from minivl.course.exercise import find;"
        "twins = [t for e in ('soft_cross_entropy', 'alpha_at') for t in find(e).fast_twins];"
        "print(len(twins), all(t.rpartition('.')[0] in sys.modules for t in twins))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["2", "True"]

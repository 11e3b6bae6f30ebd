"""The lesson's training loop: it learns, it warms up, it repeats itself, it stops where it must."""

import itertools

import pytest
import torch
from torch import nn

from minivl.course.train import fit
from minivl.errors import DivergedError, UserError


class Line(nn.Module):
    """y = w x + b, its two losses, and what happened to it."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)
        self.before, self.after, self.modes = [], 0, []

    def forward(self, batch):
        self.modes.append(self.training)
        error = self.layer(self.dropout(batch["x"])) - batch["y"]
        return {"square": error.square().mean(), "size": 0.1 * error.abs().mean()}

    def before_step(self, step):
        self.before.append(step)

    def after_step(self):
        assert not torch.is_grad_enabled()
        self.after += 1


def batches(seed=0):
    generator = torch.Generator().manual_seed(seed)
    while True:
        x = torch.randn(32, 1, generator=generator)
        yield {"x": x, "y": 3 * x + 1, "note": "kept as it is"}


def test_it_learns_the_line():
    model = Line()
    losses = fit(model, batches(), 200, lr=0.1)
    assert len(losses) == 200 and all(isinstance(loss, float) for loss in losses)
    assert losses[-1] < 0.1 < losses[0]
    # Weight decay pulls the slope a little, never the bias.
    assert model.layer.weight.item() == pytest.approx(3, abs=0.1)
    assert model.layer.bias.item() == pytest.approx(1, abs=0.1)


def test_the_loss_is_the_sum_of_all_losses():
    batch = next(batches())
    expected = sum(loss.item() for loss in Line()(batch).values())
    assert fit(Line(), iter([batch]), 1)[0] == pytest.approx(expected)


def test_a_loss_counts_as_often_as_its_factor_says():
    batch = next(batches())
    square, size = (loss.item() for loss in Line()(batch).values())
    found = fit(Line(), iter([batch]), 1, weights={"size": 5.0})[0]
    assert found == pytest.approx(square + 5 * size)


def test_warm_up_makes_the_first_step_small():
    """AdamW's first step has the size of the learning rate: lr / warm-up."""
    model = Line()
    fit(model, batches(), 1, lr=0.5)
    assert abs(model.layer.bias.item()) == pytest.approx(0.5, rel=0.01)  # one step: no warm-up left
    model, seen = Line(), []
    fit(model, batches(), 10, lr=0.5, warmup=10, every=1,
        watch=lambda step: seen.append(model.layer.bias.item()))  # fmt: skip
    assert abs(seen[0]) == pytest.approx(0.05, rel=0.01)


def test_it_watches_in_eval_mode_and_trains_on():
    model, seen = Line(), []

    def watch(step):
        seen.append((step, model.training, torch.is_grad_enabled()))

    fit(model, batches(), 7, every=3, watch=watch)
    assert seen == [(3, False, False), (6, False, False)]
    assert model.modes == [True] * 7 and model.after == 7 and not model.training


def test_two_runs_agree_and_the_callers_generator_is_left_alone():
    models = [Line(dropout=0.5) for _ in range(3)]
    state = torch.get_rng_state()
    runs = [fit(m, batches(), 20, lr=0.1, seed=s) for m, s in zip(models, (0, 0, 1), strict=True)]
    assert runs[0] == runs[1] != runs[2]
    assert torch.equal(torch.get_rng_state(), state)


def test_what_cannot_go_on_is_said():
    bad = {"x": torch.ones(2, 1), "y": torch.tensor([[1.0], [float("nan")]])}
    with pytest.raises(DivergedError, match="nan at step 3"):
        fit(Line(), itertools.chain(itertools.islice(batches(), 2), [bad]), 5)
    with pytest.raises(UserError, match="steps is 0"):
        fit(Line(), batches(), 0)


def test_before_step_is_told_the_step():
    model = Line()
    fit(model, batches(), 3)
    assert model.before == [0, 1, 2]


def test_schedules_reach_the_model_and_the_optimiser():
    class Watched(Line):
        heat = 9.0
        seen = ()

        def forward(self, batch):
            self.seen += (self.heat,)
            return super().forward(batch)

    model, plain, decayed = Watched(), Line(), Line()
    fit(model, batches(), 3, schedules={"heat": lambda step: 10.0 - step})
    assert model.seen == (10.0, 9.0, 8.0)
    fit(plain, batches(), 50, lr=0.1, schedules={"weight_decay": lambda step: 0.0})
    fit(decayed, batches(), 50, lr=0.1, schedules={"weight_decay": lambda step: 2.0})
    assert decayed.layer.weight.item() < plain.layer.weight.item() - 0.3


class Deep(Line):
    """As Line, with a hidden matrix."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Sequential(nn.Linear(1, 8), nn.Linear(8, 8), nn.Linear(8, 1))
        self.start = self.layer[1].weight.detach().clone()


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_optimiser_is_the_one_asked_for(optimizer):
    """AdamW's first step moves every weight by the learning rate, Muon's a matrix as a whole."""
    model = Deep()
    fit(model, batches(), 1, lr=0.1, warmup=0, optimizer=optimizer)
    moved = (model.layer[1].weight.detach() - model.start).abs()
    alike = moved.max() < 1.1 * moved.min()
    assert alike == (optimizer == "adamw")

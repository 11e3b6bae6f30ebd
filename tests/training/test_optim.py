"""Who is decayed, how the learning rate runs, and that clipping clips."""

import math

import pytest
import torch
from torch import nn

from minivl.errors import UserError
from minivl.training.optim import (
    clip_gradient,
    cosine,
    decay_groups,
    gradient_norm,
    learning_rate,
    make_optimizer,
    set_learning_rate,
)
from minivl.training.recipe import Training


class Everything(nn.Module):
    def __init__(self):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.pos_embed = nn.Parameter(torch.zeros(1, 5, 4))
        self.logit_scale = nn.Parameter(torch.zeros(()))
        self.linear, self.norm = nn.Linear(4, 4), nn.LayerNorm(4)
        self.words, self.frozen = nn.Embedding(3, 4), nn.Linear(4, 4)
        self.text = nn.ModuleDict({"pos_embed": nn.Embedding(5, 4)})
        self.frozen.requires_grad_(False)


def test_only_matrices_that_are_no_positions_or_tokens_are_decayed():
    model = Everything()
    names = {parameter: name for name, parameter in model.named_parameters()}
    decayed, plain = decay_groups(model, 0.05)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.05, 0.0)
    assert {names[p] for p in decayed["params"]} == {"linear.weight", "words.weight"}
    assert {names[p] for p in plain["params"]} == {
        "cls_token",
        "pos_embed",
        "logit_scale",
        "linear.bias",
        "norm.weight",
        "norm.bias",
        "text.pos_embed.weight",
    }


def test_decay_shrinks_the_decayed_alone():
    model = Everything()
    nn.init.ones_(model.pos_embed)
    before = model.linear.weight.detach().clone()
    optimizer = make_optimizer(model, Training(weight_decay=0.5, lr=0.1))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(model.linear.weight.detach(), before * 0.95)
    assert (model.pos_embed == 1).all()


def test_warm_up_is_a_line_to_the_peak_and_then_half_a_cosine_falls():
    training = Training(steps=110, warmup_steps=10, lr=2.0, final_lr_fraction=0.1)
    rates = [learning_rate(step, training) for step in range(110)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[9] == rates[10] == 2.0
    assert rates[60] == pytest.approx((2.0 + 0.2) / 2)
    assert rates[35] == pytest.approx(0.2 + 1.8 * (1 + math.sqrt(0.5)) / 2)
    assert all(a > b for a, b in zip(rates[10:], rates[11:], strict=False))
    assert 0.2 < rates[-1] < 0.201


def test_cosine_runs_either_way_and_stays_at_its_end():
    assert [cosine(s, 4, start=0.9, end=1.0) for s in (0, 2, 4, 9)] == [0.9, 0.95, 1.0, 1.0]


def test_a_group_may_scale_the_rate():
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [weight], "lr_scale": 0.1}], lr=9.0)
    set_learning_rate(optimizer, 0.5)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


@pytest.mark.parametrize(("clip", "expected"), [(1.0, 1.0), (0.0, 5.0), (9.0, 5.0)])
def test_the_norm_is_of_the_whole_gradient_and_clipped_as_a_whole(clip, expected):
    model = nn.Linear(1, 1)
    model.weight.grad, model.bias.grad = torch.tensor([[3.0]]), torch.tensor([4.0])
    norm = gradient_norm(model)
    assert norm == 5.0
    clip_gradient(model, clip, norm)
    assert gradient_norm(model) == pytest.approx(expected, rel=1e-5)
    assert model.weight.grad.item() / model.bias.grad.item() == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("lr", 0.0),
        ("lr", -1.0),
        ("lr", math.nan),
        ("weight_decay", -0.1),
        ("betas", (0.9, 1.0)),
        ("accumulate", 3),
        ("warmup_steps", 1001),
        ("warmup_steps", -1),
        ("final_lr_fraction", 1.5),
        ("max_bad_fraction", -0.1),
        ("log_every", 0),
        ("workers", 0),
        ("prefetch", -1),
        ("keep_checkpoints", 0),
    ],
)
def test_numbers_that_cannot_train_are_refused_by_name(field, value):
    with pytest.raises(UserError, match=f"^{field} is "):
        Training(**{field: value}).check()


def test_the_defaults_can_train():
    Training().check()

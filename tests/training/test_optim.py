"""Who is decayed, how the learning rate runs, and that clipping clips."""

import copy
import math

import pytest
import torch
from torch import nn

from minivl.errors import UserError
from minivl.training.muon import orthogonalised
from minivl.training.optim import (
    clip_gradient,
    cosine,
    decay_groups,
    fill_idle,
    gradient_norm,
    learning_rate,
    make_optimizer,
    set_learning_rate,
    set_weight_decay,
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


def test_all_is_decayed_where_asked():
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    (group,) = decay_groups(model, 0.05, "all")
    assert group["weight_decay"] == 0.05
    assert {id(p) for p in group["params"]} == {id(p) for p in model.parameters()}


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


def test_a_warm_up_may_start_above_zero():
    training = Training(steps=110, warmup_steps=10, lr=2.0, warmup_lr=1.0)
    rates = [learning_rate(step, training) for step in range(12)]
    assert rates[:10] == pytest.approx([1.1 + 0.1 * step for step in range(10)])
    assert rates[9] == rates[10] == 2.0 > rates[11]


def test_the_official_schedule_of_albef_goes_in_stairs():
    """Numbers that the published scheduler gives: 30 epochs, 20 warm-up steps of 100 iterations."""
    epoch = 7812
    training = Training(
        steps=30 * epoch,
        lr=1e-4,
        final_lr_fraction=0.1,
        warmup_steps=2000,
        warmup_lr=1e-5,
        schedule="by_epochs",
        epochs=30,
    )
    rates = [learning_rate(step, training) for step in range(30 * epoch)]
    # The rate is set behind iterations 0, 100, ..., 2000.
    assert {*rates[:101]} == {1e-5} and rates[101:201] == [pytest.approx(1.45e-5)] * 100
    assert rates[2000] == pytest.approx(9.55e-5)
    assert {*rates[2001:epoch]} == {1e-4}
    by_epoch = [{*rates[n * epoch : (n + 1) * epoch]} for n in range(1, 30)]
    assert all(len(rate) == 1 for rate in by_epoch)
    falls = [rate.pop() for rate in by_epoch]
    assert [falls[n - 1] for n in (1, 15, 29)] == pytest.approx([9.975e-5, 5.5e-5, 1.025e-5], 1e-3)
    assert falls == pytest.approx(
        [1e-5 + 4.5e-5 * (1 + math.cos(math.pi * n / 30)) for n in range(1, 30)]
    )


def test_stairs_without_a_warm_up_begin_at_the_peak():
    training = Training(steps=40, warmup_steps=0, lr=1.0, schedule="by_epochs", epochs=4)
    rates = [learning_rate(step, training) for step in range(40)]
    assert rates[::10] == pytest.approx([1.0, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125)])
    assert rates[9] == 1.0 and rates[10] == rates[19]


@pytest.mark.parametrize(
    ("wrong", "named"), [({"epochs": 0}, "epochs"), ({"epochs": 11}, "epochs"),
                         ({"warmup_lr": -1.0}, "warmup_lr")],
)  # fmt: skip
def test_a_schedule_that_is_none_is_refused(wrong, named):
    with pytest.raises(UserError, match=named):
        Training(**{"steps": 10, "warmup_steps": 0} | wrong).check()


def test_cosine_runs_either_way_and_stays_at_its_end():
    assert [cosine(s, 4, start=0.9, end=1.0) for s in (0, 2, 4, 9)] == [0.9, 0.95, 1.0, 1.0]


def test_a_scheduled_weight_decay_reaches_the_decayed_alone():
    optimizer = make_optimizer(Everything(), Training(optimizer="muon", weight_decay=0.1))
    set_weight_decay(optimizer, 0.4)
    decays = {group["decayed"]: group["weight_decay"] for group in optimizer.param_groups}
    assert decays == {True: 0.4, False: 0.0}


def test_a_group_may_scale_the_rate():
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [weight], "lr_scale": 0.1}], lr=9.0)
    set_learning_rate(optimizer, 0.5)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_parts_of_a_model_may_learn_slower(optimizer):
    model = Everything()
    model.lr_scales = {"linear": 0.2}
    made = make_optimizer(model, Training(optimizer=optimizer, lr=0.5))
    set_learning_rate(made, 0.5)
    rates = {p: group["lr"] for group in made.param_groups for p in group["params"]}
    slow = set(model.linear.parameters())
    assert all(rates.pop(p) == pytest.approx(0.1) for p in slow)
    assert set(rates.values()) == {0.5}
    assert set(rates) | slow == {p for p in model.parameters() if p.requires_grad}


def test_a_part_that_is_not_there_cannot_learn_slower():
    model = Everything()
    model.lr_scales = {"backbone": 0.2}
    with pytest.raises(AttributeError, match="backbone"):
        make_optimizer(model, Training())


@pytest.mark.parametrize("idle", [False, True])
def test_idle_weights_stay_unless_their_gradients_are_filled_in(idle):
    """After a step that moved both layers, a second one reaches the first layer alone."""
    torch.manual_seed(0)
    model = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    made = make_optimizer(model, Training(weight_decay=0.5, lr=0.1))
    sum(layer(torch.ones(1, 2)).sum() for layer in model).backward()
    made.step()
    made.zero_grad(set_to_none=True)
    before = [parameter.detach().clone() for parameter in model[1].parameters()]
    model[0](torch.ones(1, 2)).sum().backward()
    if idle:
        fill_idle(model)
    made.step()
    moved = [not torch.equal(a, b) for a, b in zip(before, model[1].parameters(), strict=True)]
    assert moved == [idle, idle]


@pytest.mark.parametrize(("clip", "expected"), [(1.0, 1.0), (0.0, 5.0), (9.0, 5.0)])
def test_the_norm_is_of_the_whole_gradient_and_clipped_as_a_whole(clip, expected):
    model = nn.Linear(1, 1)
    model.weight.grad, model.bias.grad = torch.tensor([[3.0]]), torch.tensor([4.0])
    norm = gradient_norm(model)
    assert norm == 5.0
    clip_gradient(model, Training(clip_norm=clip), norm)
    assert gradient_norm(model) == pytest.approx(expected, rel=1e-5)
    assert model.weight.grad.item() / model.bias.grad.item() == pytest.approx(0.75)


def test_each_tensor_may_be_clipped_by_itself():
    model = nn.Linear(1, 1)
    model.weight.grad, model.bias.grad = torch.tensor([[3.0]]), torch.tensor([0.5])
    clip_gradient(model, Training(clip_norm=1.0, clip_mode="each"), gradient_norm(model))
    assert model.weight.grad.item() == pytest.approx(1, rel=1e-5) and model.bias.grad == 0.5


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


def test_orthogonalised_matrices_have_singular_values_near_one():
    generator = torch.Generator().manual_seed(0)
    for shape in ((3, 4, 9), (2, 9, 4), (1, 5, 5)):
        matrices = torch.randn(shape, generator=generator, dtype=torch.float64) * 1e-3
        values = torch.linalg.svdvals(orthogonalised(matrices))
        assert (values < 1.3).all() and values.median() > 0.6
        u, _, v = torch.linalg.svd(matrices, full_matrices=False)
        nearest = u @ v
        alike = (orthogonalised(matrices) * nearest).sum() / nearest.square().sum()
        assert 0.6 < alike < 1.2, "it turns no direction round"


def test_muon_takes_hidden_matrices_and_leaves_the_rest_to_adamw():
    model = nn.ModuleDict(
        {"stem": nn.Conv2d(3, 4, 3), "conv": nn.Conv2d(4, 6, 3), "all": Everything()}
    )
    optimizer = make_optimizer(model, Training(optimizer="muon", lr=0.01))
    names = {parameter: name for name, parameter in model.named_parameters()}
    taken = {names[p] for g in optimizer.param_groups if g["orthogonal"] for p in g["params"]}
    assert taken == {"conv.weight", "all.linear.weight"}
    everyone = [names[p] for g in optimizer.param_groups for p in g["params"]]
    trained = [name for name in names.values() if "frozen" not in name]
    assert sorted(everyone) == sorted(trained)


def test_muon_s_steps_equal_torch_s_own():
    """torch.optim.Muon iterates in bfloat16: the same to two digits."""
    torch.manual_seed(0)
    mine = nn.ModuleList([nn.Linear(8, 16, bias=False), nn.Linear(16, 8, bias=False)])
    theirs = copy.deepcopy(mine)
    training = Training(optimizer="muon", lr=0.05, weight_decay=0.1)
    own = make_optimizer(mine, training)
    reference = torch.optim.Muon(
        theirs.parameters(), lr=0.05, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    for step in range(3):
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            a.grad = torch.randn(a.shape, generator=torch.Generator().manual_seed(step))
            b.grad = a.grad.clone()
        own.step()
        reference.step()
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0.02, atol=0.003)


def test_muon_s_other_parameters_move_as_adamw_moves_them():
    models = [Everything() for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    for model, kind in zip(models, ("muon", "adamw"), strict=True):
        optimizer = make_optimizer(model, Training(optimizer=kind, lr=0.1))
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    for (name, a), b in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        assert torch.equal(a, b) == (name != "linear.weight"), name

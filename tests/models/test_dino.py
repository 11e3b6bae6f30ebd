import copy

import pytest
import torch
import torch.nn.functional as F

from minivl.models.dino import CosineLayer, Dino, DinoHead, class_token
from minivl.nn.drop_path import set_drop_path
from minivl.nn.vit import ViT
from minivl.objectives import dino, momentum

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
BACKBONE = {"image_size": 8, "patch_size": 4, "width": 12, "depth": 2, "heads": 2}
HEAD = {"hidden": 16, "bottleneck": 6, "outputs": 9}


def build(backbone=None, head=None, **options):
    return Dino(ViT(**BACKBONE | (backbone or {})), DinoHead(12, **HEAD | (head or {})), **options)


@pytest.fixture
def model(drawn):
    return drawn(build()).train()


@pytest.fixture(scope="module")
def batch(normal):
    return {"global_crops": normal(1, 3, 2, 3, 8, 8), "local_crops": normal(2, 3, 2, 3, 4, 4)}


def network_on_one(network, crop):
    """Backbone and head of one crop (3, h, w), written out."""
    token = network.backbone(crop[None])[0, 0]
    layers = [part for part in network.head.mlp if hasattr(part, "weight")]
    x = F.gelu(F.linear(token, layers[0].weight, layers[0].bias))
    x = F.gelu(F.linear(x, layers[1].weight, layers[1].bias))
    x = F.linear(x, layers[2].weight, layers[2].bias)
    x = x / x.square().sum().sqrt()
    rows = network.head.last_layer
    return torch.stack(
        [
            g * (x @ v) / v.square().sum().sqrt()
            for g, v in zip(rows.gain, rows.direction, strict=True)
        ]
    ).flatten()


def test_logits_of_all_crops_are_those_of_each_alone(model, batch):
    logits = model.student(batch["global_crops"], batch["local_crops"])
    assert logits.shape == (4, 3, 9)
    for picture in range(3):
        crops = [*batch["global_crops"][picture], *batch["local_crops"][picture]]
        for view, crop in enumerate(crops):
            alone = network_on_one(model.student, crop)
            torch.testing.assert_close(logits[view, picture], alone, **CLOSE)


def test_one_call_of_the_backbone_a_resolution_and_one_of_the_head(model, batch, monkeypatch):
    calls = []
    tokens = model.student.backbone.tokens
    monkeypatch.setattr(
        model.student.backbone, "tokens", lambda x: calls.append(tuple(x.shape)) or tokens(x)
    )
    model.student.head.register_forward_hook(lambda *_: calls.append("head"))
    model.student(batch["global_crops"], batch["local_crops"])
    assert calls == [(6, 3, 8, 8), (6, 3, 4, 4), "head"]


@pytest.mark.parametrize("depth", [1, 3])
def test_the_class_token_alone_is_that_of_the_whole_transformer(drawn, normal, depth):
    backbone = drawn(ViT(**BACKBONE | {"depth": depth}))
    image = normal(3, 2, 3, 8, 8)
    torch.testing.assert_close(class_token(backbone, image), backbone(image)[:, 0], **CLOSE)
    wanted, found = (
        torch.autograd.grad(out.square().sum(), list(backbone.parameters()))
        for out in (backbone(image)[:, 0], class_token(backbone, image))
    )
    for a, b in zip(wanted, found, strict=True):
        torch.testing.assert_close(b, a, **CLOSE)


def test_the_loss_is_the_objective_of_student_and_teacher(model, batch):
    model.teacher_temperature = 0.5
    model.center.copy_(torch.linspace(-1, 1, 9))
    found = model(batch)
    student = model.student(batch["global_crops"], batch["local_crops"])
    teacher = model.teacher(batch["global_crops"])
    targets = dino.teacher_probabilities(teacher, model.center, 0.5)
    torch.testing.assert_close(found["dino"], dino.dino_loss(student, targets, 0.1), **CLOSE)
    assert list(found) == ["dino"]
    expected = {
        "teacher_entropy",
        "entropy_of_mean",
        "mutual_information",
        "kl_to_student",
        "kl_to_uniform",
        "feature_spread",
    }
    assert set(model.monitors) == expected
    assert not any(value.requires_grad or value.ndim for value in model.monitors.values())


def test_global_crops_alone_suffice(model, batch):
    loss = model({"global_crops": batch["global_crops"]})["dino"]
    assert loss.isfinite() and loss > 0


def test_objectives_are_looked_up_when_called(model, batch, monkeypatch):
    """So that a learner's versions, put in place of the package's, train this model."""
    monkeypatch.setattr(dino, "dino_loss", lambda *_: torch.tensor(42.0))
    assert model(batch)["dino"].item() == 42
    monkeypatch.setattr(dino, "update_center", lambda center, *_: center + 1)
    monkeypatch.setattr(momentum, "ema_update", lambda *_: None)
    before = model.center.clone()
    model.after_step()
    torch.testing.assert_close(model.center, before + 1)


def test_the_teacher_starts_as_a_copy_learns_nothing_by_itself_and_stays_in_eval_mode(batch):
    model = build().double()
    for theirs, ours in zip(model.student.parameters(), model.teacher.parameters(), strict=True):
        assert torch.equal(theirs, ours) and theirs.data_ptr() != ours.data_ptr()
    assert not any(p.requires_grad for p in model.teacher.parameters())
    set_drop_path(model.student.backbone.transformer, 0.5)
    for mode in (True, False, True):
        model.train(mode)
        assert model.student.training == mode and not model.teacher.training
    model(batch)["dino"].backward()
    assert all(p.grad is None for p in model.teacher.parameters())
    trained = [p for p in model.student.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)


def test_a_step_moves_the_centre_by_the_mean_logit_and_the_teacher_by_its_momentum(model, batch):
    model.momentum = 0.8
    logits = model.teacher(batch["global_crops"]).detach()
    model(batch)
    with torch.no_grad():
        for p in model.student.parameters():
            p.add_(1)
    before = copy.deepcopy(model)
    assert torch.equal(model.center, torch.zeros(9))  # a loss has no lasting effect by itself
    model.after_step()
    torch.testing.assert_close(model.center, 0.1 * logits.flatten(0, 1).mean(0), **CLOSE)
    for old, new, student in zip(
        before.teacher.parameters(), model.teacher.parameters(), model.student.parameters(),
        strict=True,
    ):  # fmt: skip
        torch.testing.assert_close(new, 0.8 * old + 0.2 * student, **CLOSE)
    model.after_step()  # nothing new was seen: the centre rests
    torch.testing.assert_close(model.center, 0.1 * logits.flatten(0, 1).mean(0), **CLOSE)


def test_micro_batches_give_the_centre_of_their_joint_batch(drawn, normal, batch):
    whole, parts = drawn(build()).train(), drawn(build()).train()
    big = {"global_crops": torch.cat([batch["global_crops"], normal(7, 3, 2, 3, 8, 8)])}
    whole(big)
    for start in (0, 3):
        parts({"global_crops": big["global_crops"][start : start + 3]})
    whole.after_step()
    parts.after_step()
    torch.testing.assert_close(whole.center, parts.center, **CLOSE)


def test_the_means_of_all_processes_make_the_centre(model, batch):
    model.gather = lambda means: torch.cat([means, means + 10])
    logits = model.teacher(batch["global_crops"]).detach().flatten(0, 1).mean(0)
    model(batch)
    model.after_step()
    torch.testing.assert_close(model.center, 0.1 * (logits + 5), **CLOSE)


def test_without_centring_the_centre_stays_at_zero(drawn, batch):
    model = drawn(build(centring=False)).train()
    model(batch)
    model.after_step()
    assert torch.equal(model.center, torch.zeros(9, dtype=torch.float64))


def test_evaluation_leaves_no_trace(model, batch):
    model.eval()
    model(batch)
    model.train()
    model.after_step()
    assert torch.equal(model.center, torch.zeros(9, dtype=torch.float64))


def test_the_last_layer_is_frozen_at_first(drawn, batch):
    model = drawn(build(head={"norm_last_layer": False}, frozen_steps=2)).train()
    last = list(model.student.head.last_layer.parameters())
    for step, frozen in ((0, True), (1, True), (2, False)):
        model(batch)["dino"].backward()
        model.before_step(step)
        assert all((p.grad is None) == frozen for p in last)
        assert model.student.head.mlp[0].weight.grad is not None


@pytest.mark.parametrize("norm_last_layer", [True, False])
def test_gains_are_kept_at_one_or_trained(norm_last_layer):
    layer = DinoHead(12, **HEAD, norm_last_layer=norm_last_layer).last_layer
    assert layer.gain.requires_grad is not norm_last_layer
    assert torch.equal(layer.gain, torch.ones(9, 1))
    with torch.no_grad():
        layer.direction.mul_(7)  # only its direction counts
    logits = layer(F.normalize(torch.randn(50, 6), dim=-1))
    assert logits.abs().max() <= 1 + 1e-6


def test_the_last_layer_is_torchs_weight_norm(normal):
    layer = CosineLayer(6, 9, gain_trains=True).double()
    theirs = torch.nn.utils.parametrizations.weight_norm(
        torch.nn.Linear(6, 9, bias=False).double(), dim=0
    )
    gain = normal(0, 9, 1)
    with torch.no_grad():
        layer.gain.copy_(gain)
        theirs.parametrizations.weight.original0.copy_(gain)
        theirs.parametrizations.weight.original1.copy_(layer.direction)
    x = normal(1, 4, 6)
    torch.testing.assert_close(layer(x), theirs(x), **CLOSE)


def test_batch_norms_statistics_follow_the_student(normal):
    torch.manual_seed(0)
    model = build(backbone={"stem": "conv"}).double().train()
    model.momentum = 0.5
    model({"global_crops": normal(1, 4, 2, 3, 8, 8)})
    student = dict(model.student.named_buffers())
    before = {name: value.clone() for name, value in model.teacher.named_buffers()}
    model.after_step()
    assert before
    for name, value in model.teacher.named_buffers():
        if value.is_floating_point():
            expected = (before[name] + student[name]) / 2
            torch.testing.assert_close(value, expected, **CLOSE)
        else:
            assert value == student[name] == 1


def test_encode_image_is_the_teachers_class_token_at_any_size(model, normal):
    image = normal(4, 2, 3, 12, 12)
    with torch.no_grad():
        for p in model.student.parameters():
            p.add_(0.1)
    expected = model.teacher.backbone(image)[:, 0]
    torch.testing.assert_close(model.encode_image(image), expected, **CLOSE)
    found, maps = model.encode_image(image, return_attention=True)
    torch.testing.assert_close(found, expected, **CLOSE)
    assert [m.shape for m in maps] == [(2, 2, 10, 10)] * 2


def test_everything_that_changes_is_in_the_state(model, batch):
    model(batch)
    model.after_step()
    other = build().double()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.center, model.center)
    names = set(model.state_dict())
    assert "center" in names and "teacher.head.last_layer.direction" in names
    assert not any("temperature" in name for name in names)  # scheduled: a function of the step


def test_under_bf16_temperatures_still_act_in_float32(normal):
    torch.manual_seed(0)
    model = build().train()
    batch = {"global_crops": normal(1, 3, 2, 3, 8, 8).float()}
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(batch)["dino"]
        logits = model.teacher(batch["global_crops"])
    assert loss.dtype == torch.float32 and logits.dtype == torch.float32
    loss.backward()
    model.after_step()


def test_a_crop_that_patches_do_not_divide_is_refused(model, normal):
    with pytest.raises(ValueError, match="6 x 6 pixels does not divide into patches of 4"):
        model({"global_crops": normal(0, 2, 2, 3, 6, 6)})


def test_base_has_the_published_number_of_weights(count_weights):
    """ViT-B/16 without head: 85,798,656; its head of 65,536 outputs: 23,138,560."""

    def backbone(**numbers):
        return ViT(image_size=224, patch_size=16, depth=12, **numbers)

    assert count_weights(lambda: backbone(width=768, heads=12)) == 85_798_656
    assert count_weights(lambda: backbone(width=384, heads=6)) == 21_665_664
    assert count_weights(lambda: backbone(width=192, heads=3)) == 5_524_416
    assert count_weights(lambda: DinoHead(768)) == 23_138_560
    assert count_weights(lambda: DinoHead(384)) == 22_352_128

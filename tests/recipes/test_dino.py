"""The dino recipe at size `test`: killed and resumed bit for bit, both collapses, its figures."""

import hashlib
import json
import math
from dataclasses import replace

import pytest
import torch

from minivl import cli
from minivl.commands.runs import check_fields
from minivl.errors import UserError
from minivl.recipes.dino import EPOCH, DinoRecipe, Evaluation, Head

TEST = ["train", "dino", "--size", "test", "--training.threads", "1"]


def outcome(folder):
    weights = next((folder / "checkpoints" / "dino").glob("step-20/model.safetensors"))
    logged = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    names = ("loss", "momentum", "teacher_temperature", "mutual_information", "weight_decay")
    lines = [(line["step"], *(float(line[name]).hex() for name in names)) for line in logged]
    return hashlib.sha256(weights.read_bytes()).hexdigest(), lines


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert cli.main([*TEST, "--out", str(folder)]) == 0
    return folder


def test_a_killed_run_resumes_bit_for_bit(whole, killed_and_resumed):
    """Centre, teacher, schedules and temperatures go on where they stood."""
    broken = killed_and_resumed(TEST, [("dino", 13)])
    assert outcome(broken) == outcome(whole)


def test_a_run_leaves_numbers_curves_and_pictures(whole):
    metrics = json.loads((whole / "eval.json").read_text())
    assert {"validation/knn/accuracy", "twemoji/attention/mass_inside_untrained"} <= set(metrics)
    drawn = {path.stem for path in (whole / "figures").glob("*.png")}
    assert drawn == {"heads", "heads_over_training", "learning"}
    last = json.loads((whole / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"dino", "teacher_entropy", "kl_to_student", "feature_spread", "momentum"} <= set(last)
    assert "Has it collapsed?" in (whole / "report.html").read_text()


@pytest.mark.parametrize(
    ("flags", "entropy"),
    [
        (["--distillation.no-centring"], 0.0),  # one output wins
        (["--distillation.teacher-temperature", "0.1"], 1.0),  # all outputs alike
    ],
)
def test_both_collapses_on_demand(flags, entropy, tmp_path):
    """A few hundred steps of the smallest model: the entropy goes to 0, or to ln k."""
    more = ["--steps", "150", "--training.evaluate-every", "0", "--evaluation.looked-at", "0"]
    assert cli.main([*TEST, *more, *flags, "--lr", "6e-3", "--out", str(tmp_path / "run")]) == 0
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    share = last["teacher_entropy"] / math.log(32)
    assert abs(share - entropy) < 0.1
    assert last["mutual_information"] < 0.05


def test_evaluating_again_gives_the_same_numbers(whole):
    before = json.loads((whole / "eval.json").read_text())
    assert cli.main(["eval", str(whole)]) == 0
    after = json.loads((whole / "eval.json").read_text())
    assert after.keys() == before.keys()
    for key, metric in before.items():
        assert after[key]["value"] == pytest.approx(metric["value"], abs=0.03), key


def test_the_supervised_twin_trains_the_same_encoder(tmp_path):
    folder = tmp_path / "supervised"
    assert cli.main([*TEST, "--objective", "supervised", "--out", str(folder)]) == 0
    metrics = json.loads((folder / "eval.json").read_text())
    assert "validation/knn/accuracy" in metrics
    assert (folder / "checkpoints" / "supervised").is_dir()


def test_schedules_start_and_end_as_published():
    schedules = DinoRecipe.at_size("base").schedules()
    assert schedules["momentum"](0) == pytest.approx(0.996)
    assert schedules["momentum"](400 * EPOCH) == pytest.approx(1)
    assert schedules["momentum"](200 * EPOCH) == pytest.approx(0.998)
    assert schedules["weight_decay"](0) == pytest.approx(0.04)
    assert schedules["weight_decay"](400 * EPOCH) == pytest.approx(0.4)
    temperature = schedules["teacher_temperature"]
    assert temperature(0) == pytest.approx(0.04)
    assert temperature(25 * EPOCH) == pytest.approx(0.055)
    assert temperature(50 * EPOCH) == temperature(399 * EPOCH) == 0.07


def test_without_a_warm_up_the_temperature_is_constant():
    recipe = DinoRecipe.at_size("tiny")
    recipe = replace(recipe, distillation=replace(recipe.distillation, teacher_temperature=0.1))
    temperature = recipe.schedules()["teacher_temperature"]
    assert temperature(0) == temperature(500) == 0.1


def test_base_is_the_published_model(count_weights):
    model = DinoRecipe.at_size("base")
    both = 85_798_656 + 23_138_560
    assert count_weights(lambda: model.build_model(1)) == 2 * both


@pytest.mark.slow
def test_base_takes_a_real_step():
    """Two pictures in two global and ten local crops, through ViT-B/16 and 65,536 outputs."""
    from minivl.training import optim

    recipe = DinoRecipe.at_size("base")
    (stage,) = recipe.stages(0)
    torch.manual_seed(0)
    model = stage.build_model().train()
    (stream,) = stage.build_streams()
    batch = stream.examples.collate([stream.examples[0], stream.examples[1]])
    assert batch["global_crops"].shape == (2, 2, 3, 224, 224)
    assert batch["local_crops"].shape == (2, 10, 3, 96, 96)
    optimizer = optim.make_optimizer(model, stage.training)
    optim.set_learning_rate(optimizer, 1e-3)
    loss = model(batch)["dino"]
    assert 0 < loss.item() < 2 * math.log(65_536)
    loss.backward()
    model.before_step(0)
    frozen = model.student.head.last_layer.direction.detach().clone()
    before = model.teacher.backbone.cls_token.clone()
    optimizer.step()
    with torch.no_grad():
        model.after_step()
    assert torch.equal(model.student.head.last_layer.direction, frozen)
    assert not torch.equal(model.teacher.backbone.cls_token, before)
    assert model.center.abs().max() > 0
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize("size", ["test", "tiny", "small", "base"])
def test_every_size_can_be_drawn(size):
    check_fields(DinoRecipe.at_size(size))


def test_crops_that_patches_do_not_divide_are_refused_before_anything_runs(capsys, tmp_path):
    out = tmp_path / "run"
    assert cli.main([*TEST, "--local-size", "12", "--out", str(out)]) == 2
    told = capsys.readouterr().err
    assert "local_size is 12" in told and "a multiple of patch size 8" in told
    assert not out.exists()


@pytest.mark.parametrize(
    "change", [{"teacher_temperature": 0.0}, {"momentum": 1.5}, {"drop_path": 1.0}], ids=str
)
def test_numbers_that_cannot_train_are_refused(change):
    recipe = DinoRecipe.at_size("test")
    with pytest.raises(UserError, match=next(iter(change))):
        check_fields(replace(recipe, distillation=replace(recipe.distillation, **change)))


def test_the_untrained_encoder_is_the_same_whatever_was_drawn_before():
    recipe = DinoRecipe.at_size("test")
    torch.manual_seed(5)
    one = recipe.build_untrained().state_dict()
    state = torch.get_rng_state()
    two = recipe.build_untrained().state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_dry_run_at_base_lists_the_published_parts(capsys, tmp_path):
    assert cli.main(["train", "dino", "--size", "base", "--dry-run", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "student.backbone 85.8 M, student.head 23.1 M, teacher.backbone 85.8 M" in told
    # Two global crops of 197 tokens for student and teacher each, ten local ones of 37.
    assert f"{2 * 2 * 197 + 10 * 37} tokens a sample" in told


@pytest.mark.parametrize(
    "change",
    [
        {"head": Head(outputs=1)},
        {"evaluation": Evaluation(gallery=0)},
        {"evaluation": Evaluation(gallery=8, queries=8, looked_at=9)},
    ],
    ids=str,
)
def test_numbers_that_measure_nothing_are_refused(change):
    with pytest.raises(UserError):
        check_fields(replace(DinoRecipe.at_size("test"), **change))

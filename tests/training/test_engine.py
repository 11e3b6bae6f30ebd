"""The loop's arithmetic and its five jobs, on a toy."""

import dataclasses
import json
import math
from types import SimpleNamespace

import pytest
import torch
from engine_toys import Points, Square, Toy, curve, outcome, toy_stage, weights
from PIL import Image
from torch import nn

from minivl.data.stream import Stream
from minivl.errors import UserError
from minivl.training import device, engine, loader
from minivl.training.engine import train
from minivl.training.loader import Loader
from minivl.training.run import Run


def trained(out, stage):
    """Train a stage whose model is made once; the model and the run."""
    torch.manual_seed(0)
    model = stage.build_model()
    run = train(dataclasses.replace(stage, build_model=lambda: model), Run(out, {"seed": 1}))
    return model, run


def float64_stage(**training):
    return toy_stage(
        model=Square, streams=[Stream("points", Points(dtype="float64"), 8)], **training
    )


def test_accumulated_micro_batches_equal_one_batch(tmp_path):
    torch.manual_seed(0)
    one, two = Square(), Square()
    two.load_state_dict(one.state_dict())
    trained(tmp_path / "one", dataclasses.replace(float64_stage(), build_model=lambda: one))
    halves = float64_stage(accumulate=2)
    trained(tmp_path / "two", dataclasses.replace(halves, build_model=lambda: two))
    halves = zip(two.batches[::2], two.batches[1::2], strict=True)
    assert [first + second for first, second in halves] == one.batches
    for a, b in zip(curve(tmp_path / "one"), curve(tmp_path / "two"), strict=True):
        for name in ("loss", "square", "small", "grad_norm"):
            assert a[name] == pytest.approx(b[name], rel=1e-12)
    torch.testing.assert_close(one.linear.weight, two.linear.weight, rtol=1e-12, atol=1e-14)


def test_the_loop_equals_one_written_out_by_hand(tmp_path):
    torch.manual_seed(0)
    mine = Square()
    theirs = Square()
    theirs.load_state_dict(mine.state_dict())
    stage = float64_stage(steps=4, warmup_steps=2, lr=0.1, clip_norm=0.5, weight_decay=0.1)
    trained(tmp_path / "run", dataclasses.replace(stage, build_model=lambda: theirs))
    points = Points(dtype="float64")
    weight, bias = mine.linear.weight, mine.linear.bias
    adam = torch.optim.AdamW(
        [{"params": [weight], "weight_decay": 0.1}, {"params": [bias], "weight_decay": 0.0}],
        betas=(0.9, 0.98),
        eps=1e-6,
    )
    for step, indices in enumerate(theirs.batches):
        batch = points.collate([points[index] for index in indices])
        loss = sum(mine(batch).values())
        loss.backward()
        nn.utils.clip_grad_norm_(mine.parameters(), 0.5)
        for group in adam.param_groups:
            group["lr"] = [0.05, 0.1, 0.1, 0.05][step]
        adam.step()
        adam.zero_grad()
    torch.testing.assert_close(weight, theirs.linear.weight, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(bias, theirs.linear.bias, rtol=1e-12, atol=1e-14)


def test_a_logged_step_has_what_was_promised(tmp_path):
    _, run = trained(tmp_path / "run", toy_stage(steps=7, log_every=3, lr=0.01, warmup_steps=2))
    lines = run.metrics()
    assert [line["step"] for line in lines] == [1, 3, 6, 7]
    for line in lines:
        assert set(line) == {
            "stage", "step", "stream", "loss", "bce", "pull", "lr", "grad_norm",
            "samples_per_second", "data_wait_share",
        }  # fmt: skip
        assert line["loss"] == pytest.approx(line["bce"] + line["pull"], rel=1e-6)
        assert line["samples_per_second"] > 0
        assert 0 <= line["data_wait_share"] <= 1
    assert lines[0]["lr"] == pytest.approx(0.005)
    events = list(run.tensorboard.glob("events.out.tfevents.*"))
    assert events
    assert b"toy/bce" in events[0].read_bytes()


def test_it_learns(tmp_path):
    _, run = trained(tmp_path / "run", toy_stage(steps=60, lr=0.1, checkpoint_every=99))
    lines = run.metrics()
    assert sum(line["bce"] for line in lines[-5:]) < 0.6 * sum(line["bce"] for line in lines[:5])


def test_seeds_differ_and_repeat(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(toy_stage(), Run(tmp_path / name, {"seed": seed}))
    assert curve(tmp_path / "a") == curve(tmp_path / "b") != curve(tmp_path / "c")
    assert weights(tmp_path / "a", "toy") == weights(tmp_path / "b", "toy")


def test_dropout_differs_from_step_to_step(tmp_path):
    class Noise(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.drawn = nn.Parameter(torch.ones(1)), []

        def forward(self, batch):
            self.drawn.append(torch.rand(1).item())
            return {"noise": self.weight.square().sum()}

    model, _ = trained(tmp_path / "run", toy_stage(model=Noise))
    assert len(set(model.drawn)) == 6


@pytest.mark.parametrize("ahead", [{"prefetch": 4, "workers": 3}, {"prefetch": 1}])
def test_threads_change_nothing(tmp_path, ahead):
    streams = [Stream("a", Points(30, bad=[3]), 8), Stream("b", Points(endless=True), 8)]
    for name, options in (("inline", {"prefetch": 0}), ("ahead", ahead)):
        train(toy_stage(streams=streams, steps=12, **options), Run(tmp_path / name, {"seed": 1}))
    assert curve(tmp_path / "inline") == curve(tmp_path / "ahead")
    skipped = [(tmp_path / name / "skipped.jsonl").read_text() for name in ("inline", "ahead")]
    assert skipped[0] == skipped[1] != ""


def test_waiting_for_data_is_measured(tmp_path, monkeypatch):
    """On a clock that only ticks when a point is read (1 second) or the model runs (2)."""
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)

    class Slow(Points):
        def __getitem__(self, index):
            clock.now += 1.0
            return super().__getitem__(index)

    def compute(model, losses):
        clock.now += 2.0

    monkeypatch.setattr(loader, "time", clock)
    monkeypatch.setattr(engine, "time", clock)
    stage = toy_stage(
        model=lambda: Toy(trouble=dict.fromkeys(range(1, 7), compute)),
        streams=[Stream("points", Slow(), 8)],
        prefetch=0,
        log_every=3,
    )
    _, run = trained(tmp_path / "run", stage)
    summary = json.loads(run.summary_file.read_text())["stages"]["toy"]
    assert (summary["data_wait_share"], summary["seconds"]) == (0.8, 60.0)
    assert {line["data_wait_share"] for line in run.metrics()} == {0.8}
    assert {line["samples_per_second"] for line in run.metrics()} == {0.8}


def batches_of(processes, accumulate=2):
    """What each process reads: step -> micro-batch -> process -> indices."""
    streams = [Stream("a", Points(30), 8, weight=2.0), Stream("b", Points(endless=True), 12)]
    loaders = [
        Loader(streams, 5, range(9), accumulate=accumulate, shard=(rank, processes), prefetch=0)
        for rank in range(processes)
    ]
    read = []
    for steps in zip(*loaders, strict=True):
        assert len({step.stream.name for step in steps}) == 1, "all draw the same stream"
        micros = zip(*(step.batches for step in steps), strict=True)
        read.append([[batch["index"].tolist() for batch in micro] for micro in micros])
    return read


def test_processes_share_the_batches_of_one():
    joint = [[sum(micro, []) for micro in step] for step in batches_of(2)]
    assert joint == [[sum(micro, []) for micro in step] for step in batches_of(1)]
    assert all(len(share) in (2, 3) for step in batches_of(2) for micro in step for share in micro)


def test_a_batch_that_processes_cannot_share_is_refused():
    with pytest.raises(UserError, match="8 cannot be shared by 6"):
        Loader([Stream("a", Points(30), 8)], 0, range(3), accumulate=2, shard=(0, 3))


def test_evaluation_runs_in_eval_mode_without_gradient_and_lands_in_eval_json(tmp_path):
    seen = []

    def evaluate(model, where):
        seen.append((model.training, torch.is_grad_enabled(), where.type))
        torch.rand(5)  # must not disturb the training
        return {"toy/accuracy": {"value": 0.9, "chance": 0.5, "n": 10}}

    stage = dataclasses.replace(toy_stage(evaluate_every=2), evaluate=evaluate)
    _, run = trained(tmp_path / "run", stage)
    assert seen == [(False, False, "cpu")] * 3  # after steps 2 and 4, and at the end
    assert run.evaluation()["toy/accuracy"]["chance"] == 0.5
    trained(tmp_path / "plain", toy_stage())
    assert curve(tmp_path / "plain") == curve(tmp_path / "run")


def test_the_best_checkpoint_stays(tmp_path):
    values = iter([0.3, 0.8, 0.5, 0.8, 0.6])

    def evaluate(model, where):
        return {"accuracy": {"value": next(values)}}

    stage = toy_stage(steps=5, evaluate_every=1, checkpoint_every=1, keep_checkpoints=2)
    stage = dataclasses.replace(stage, evaluate=evaluate, best="accuracy")
    _, run = trained(tmp_path / "run", stage)
    kept = sorted(path.name for path in (run.checkpoints / "toy").iterdir())
    assert kept == ["BEST", "step-2", "step-4", "step-5"]
    assert (run.checkpoints / "toy" / "BEST").read_text() == "step-2\n"


def test_a_best_that_is_not_measured_is_refused(tmp_path):
    stage = dataclasses.replace(
        toy_stage(evaluate_every=1), best="f1", evaluate=lambda *_: {"a": 1}
    )
    with pytest.raises(UserError, match="judges by f1, its evaluation gave a"):
        trained(tmp_path / "run", stage)


def test_figures_become_pictures(tmp_path):
    def figures(model, where):
        from matplotlib.figure import Figure

        assert not model.training
        return {"curve": Figure(figsize=(1, 1))}

    stage = dataclasses.replace(toy_stage(steps=2), figures=figures)
    _, run = trained(tmp_path / "run", stage)
    with Image.open(run.figures / "curve.png") as picture:
        assert picture.text["Stage"] == stage.name  # the report puts it under this stage


def test_learning_is_watched_at_powers_of_two_and_at_the_end(tmp_path):
    drawn = []

    def watch(model, where):
        assert not model.training and not torch.is_grad_enabled()
        return {"weight": sum(p.sum().item() for p in model.parameters())}

    def figures(model, where, watched):
        drawn.append(watched)
        return {}

    plain = toy_stage(steps=11)
    stage = dataclasses.replace(plain, watch=watch, figures=figures)
    _, run = trained(tmp_path / "run", stage)
    lines = [json.loads(line) for line in run.watched_file.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 4, 8, 11]
    assert {line["stage"] for line in lines} == {stage.name}
    assert len({line["weight"] for line in lines}) == 5
    assert drawn == [lines]
    trained(tmp_path / "unwatched", plain)
    assert curve(run.folder) == curve(tmp_path / "unwatched")  # to look changes nothing
    run.rewind(lambda line: line["step"] <= 4)
    kept = [json.loads(line)["step"] for line in run.watched_file.read_text().splitlines()]
    assert kept == [1, 2, 4]


@pytest.mark.parametrize("idle", ["skipped", "decayed"])
def test_weights_without_a_part_in_a_step_are_left_alone_or_decayed(tmp_path, idle):
    class WithAnother(Square):
        def __init__(self):
            super().__init__()
            self.other = nn.Linear(2, 2).double()

    torch.manual_seed(0)
    model = WithAnother()
    before = model.other.weight.detach().clone()
    stage = float64_stage(steps=2, warmup_steps=0, idle=idle, weight_decay=0.5, lr=0.1)
    trained(tmp_path / "run", dataclasses.replace(stage, build_model=lambda: model))
    same = torch.equal(before, model.other.weight)
    assert same == (idle == "skipped")


def test_a_stage_starts_from_an_earlier_one(tmp_path):
    first = toy_stage("first", steps=3)
    starts = []

    def after_start(model, losses):
        starts.append({name: value.clone() for name, value in model.state_dict().items()})

    second = toy_stage(
        "second", steps=2, start_from="first", model=lambda: Toy(trouble={1: after_start})
    )
    run = train([first, second], Run(tmp_path / "run", {"seed": 1}))
    saved = run.checkpoints / "first" / "step-3" / "model.safetensors"
    from safetensors.torch import load_file

    expected = load_file(saved)
    assert all(torch.equal(starts[0][name], expected[name]) for name in expected)
    elsewhere = toy_stage("third", steps=2, start_from=str(run.folder / "checkpoints/first/step-3"))
    train(elsewhere, Run(tmp_path / "other", {"seed": 1}))


def test_start_from_nowhere_is_refused(tmp_path):
    with pytest.raises(UserError, match="no checkpoint in nowhere"):
        train(toy_stage(start_from="nowhere"), Run(tmp_path / "run"))


def test_a_stream_feeds_only_its_losses(tmp_path):
    streams = [Stream("points", Points(), 8, losses=("bce",))]
    _, run = trained(tmp_path / "run", toy_stage(streams=streams))
    assert all(line["loss"] == line["bce"] for line in run.metrics())
    assert all("pull" not in line for line in run.metrics())


@pytest.mark.parametrize("names", [("itm",), ("bce", "itm")])
def test_a_loss_that_the_model_lacks_is_refused(tmp_path, names):
    streams = [Stream("points", Points(), 8, losses=names)]
    with pytest.raises(UserError, match=r"feeds the losses .*itm.*model returned bce, pull"):
        train(toy_stage(streams=streams), Run(tmp_path / "run"))


def test_a_loss_that_takes_a_field_of_the_log_is_refused(tmp_path):
    class Greedy(Square):
        def forward(self, batch):
            return {"lr": super().forward(batch)["square"]}

    streams = [Stream("points", Points(dtype="float64"), 8)]
    with pytest.raises(UserError, match="feeds the losses lr"):
        train(toy_stage(model=Greedy, streams=streams), Run(tmp_path / "run"))


def test_stages_of_one_name_are_refused(tmp_path):
    with pytest.raises(UserError, match="each differently"):
        train([toy_stage(), toy_stage()], Run(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_bad_number_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match="^lr is -1"):
        train(toy_stage(lr=-1), Run(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_without_a_terminal_plain_lines_are_few(tmp_path, capsys):
    stage = dataclasses.replace(toy_stage(steps=50, log_every=1), notes=("takes a second",))
    trained(tmp_path / "run", stage)
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if line.startswith("toy ") and "/50" in line]
    assert [line.split()[1] for line in lines] == ["1/50", "50/50"]
    assert all("loss" in line and "bce" in line and "samples/s" in line for line in lines)
    assert "takes a second" in out
    assert "\x1b" not in out
    assert "toy trained 50 steps" in out


def test_bfloat16_where_it_is_native(tmp_path, monkeypatch):
    class Looking(Square):
        def forward(self, batch):
            self.kinds = getattr(self, "kinds", []) + [torch.is_autocast_enabled("cpu")]
            return super().forward(batch)

    for native, precision, expected in [
        (True, "auto", True),
        (False, "auto", False),
        (True, "float32", False),
        (False, "bfloat16", True),
    ]:
        monkeypatch.setattr(device, "computes_bfloat16", lambda where, native=native: native)
        stage = dataclasses.replace(float64_stage(steps=2, precision=precision))
        model, _ = trained(
            tmp_path / f"{native}-{precision}",
            dataclasses.replace(stage, build_model=Looking),
        )
        assert model.kinds == [expected] * 2


def test_a_device_that_is_not_there_is_refused(tmp_path):
    missing = "mps" if not torch.backends.mps.is_available() else "cuda"
    with pytest.raises(UserError, match=f"no {missing} device"):
        train(toy_stage(device=missing), Run(tmp_path / "run"))


def test_the_processs_own_settings_come_back(tmp_path):
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    trained(tmp_path / "run", toy_stage(threads=before[0] + 1))
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


def test_the_summary_of_two_stages(uninterrupted):
    stages = json.loads((uninterrupted / "summary.json").read_text())["stages"]
    assert [stage["steps"] for stage in stages.values()] == [6, 8]
    assert stages["second"]["skipped"] == {"known": len(outcome(uninterrupted)[1].splitlines())}
    assert math.isclose(stages["first"]["samples_read"], 6 * 8)


class Scheduled(Toy):
    """Writes down what it finds set, and freezes its first layer for two steps."""

    warmth = None

    def __init__(self):
        super().__init__(dropout=0)
        self.found, self.monitors = [], {}

    def forward(self, batch):
        losses = super().forward(batch)
        self.monitors = {"warm": torch.tensor(10.0) * self.warmth}
        return losses

    def before_step(self, step):
        self.found.append((step, self.warmth, float(self.net[0].weight.detach().sum())))
        if step < 2:
            self.net[0].weight.grad = None


def test_schedules_hooks_and_monitors(tmp_path):
    decay = {"weight_decay": lambda step: 0.1 * step}
    stage = dataclasses.replace(
        toy_stage(model=Scheduled, steps=4), schedules={"warmth": lambda step: step / 4} | decay
    )
    model, run = trained(tmp_path / "run", stage)
    steps, warmths, sums = zip(*model.found, strict=True)
    assert steps == (0, 1, 2, 3) and warmths == (0, 0.25, 0.5, 0.75)
    assert sums[0] == sums[1] == sums[2] != sums[3], "no gradient: no step, no decay"
    lines = run.metrics()
    assert [line["warmth"] for line in lines] == [0, 0.25, 0.5, 0.75]
    assert [line["warm"] for line in lines] == [0, 2.5, 5, 7.5]
    assert [line["weight_decay"] for line in lines] == pytest.approx([0, 0.1, 0.2, 0.3])


def test_a_monitor_is_asked_only_when_a_line_is_written(tmp_path):
    stage = dataclasses.replace(
        toy_stage(model=Scheduled, steps=5, log_every=4), schedules={"warmth": float}
    )
    _, run = trained(tmp_path / "run", stage)
    assert [line["warm"] for line in run.metrics()] == [0, 30, 40]

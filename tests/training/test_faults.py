"""What goes wrong is told in a line, costs no weight, and leaves the last checkpoint whole."""

import dataclasses
import json
import os
import pty
import signal
import subprocess
import sys
import threading

import pytest
import torch
from engine_toys import Points, Toy, curve, outcome, toy_stage, weights
from torch import nn

from minivl.data.stream import Stream
from minivl.errors import DataError, DivergedError, ResourceError, UserError
from minivl.training import checkpoint, stop
from minivl.training.engine import train
from minivl.training.run import Run


def caught(error, stage, out, **options):
    with pytest.raises(error) as info:
        train(stage, Run(out, {"seed": 1}), **options)
    return info.value


def poisoned(name, value):
    def happens(model, losses):
        losses[name] = losses[name] * value
        return losses

    return happens


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_changes_no_weight(tmp_path, value):
    model = Toy(trouble={5: poisoned("pull", value)})
    kept = []
    after_step = model.after_step
    model.after_step = lambda: (after_step(), kept.append(clone(model)))
    stage = toy_stage(model=lambda: model, checkpoint_every=2)
    error = caught(DivergedError, stage, tmp_path / "run")
    assert str(error).startswith("stage toy, step 5, stream points: loss pull is ")
    assert str(tmp_path / "run/checkpoints/toy/step-4") in error.remedy
    assert error.exit_code == 5
    assert len(kept) == 4
    now = clone(model)
    assert all(torch.equal(now[name], kept[-1][name]) for name in now)
    assert [line["step"] for line in curve(tmp_path / "run")] == [1, 2, 3, 4]


def clone(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_a_gradient_that_is_no_number_changes_no_weight(tmp_path):
    class Root(nn.Module):
        """A finite loss whose derivative is not: the root at 0."""

        def __init__(self):
            super().__init__()
            self.good, self.bad = nn.Parameter(torch.ones(2)), nn.Parameter(torch.zeros(2))

        def forward(self, batch):
            return {"root": self.bad.sqrt().sum() + self.good.sum()}

    model = Root()
    error = caught(DivergedError, toy_stage(model=lambda: model), tmp_path / "run")
    assert "step 1" in str(error)
    assert "gradient of bad" in str(error)
    assert "none yet" in error.remedy
    assert (model.good == 1).all()


def test_what_a_model_itself_finds_to_be_no_number_is_told_with_the_step(tmp_path):
    """As the matching of boxes does, which comes before the loss."""
    model = Toy(trouble={5: raising(DivergedError("the boxes hold NaN", "start anew"))})
    stage = toy_stage(model=lambda: model, checkpoint_every=2)
    error = caught(DivergedError, stage, tmp_path / "run")
    assert str(error).startswith("stage toy, step 5, stream points: the boxes hold NaN")
    assert error.remedy.startswith("start anew; the last good checkpoint is ")
    assert error.remedy.endswith("checkpoints/toy/step-4")


def raising(error):
    def happens(model, losses):
        raise error

    return happens


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_out_of_memory_names_the_batch_size_to_try(tmp_path, error):
    stage = toy_stage(model=lambda: Toy(trouble={1: raising(error)}), batch_size=8, accumulate=2)
    told = caught(ResourceError, stage, tmp_path / "run")
    assert "with 4 samples at a time" in str(told)
    assert "--batch-size 4" in told.remedy
    assert "--accumulate 4" in told.remedy
    assert told.exit_code == 3


def test_other_errors_stay_themselves(tmp_path):
    stage = toy_stage(model=lambda: Toy(trouble={2: raising(RuntimeError("shape mismatch"))}))
    assert str(caught(RuntimeError, stage, tmp_path / "run")) == "shape mismatch"
    assert not (tmp_path / "run" / ".lock").exists()


def test_memory_that_runs_out_in_a_loader_thread_is_told_alike(tmp_path):
    class Large(Points):
        def __getitem__(self, index):
            raise MemoryError

    stage = toy_stage(streams=[Stream("large", Large(), 8)])
    assert "--batch-size 4" in caught(ResourceError, stage, tmp_path / "run").remedy


@pytest.mark.parametrize("at", [25, 60], ids=["second checkpoint", "later"])
def test_a_full_disk_keeps_the_old_checkpoint(zygote, uninterrupted, tmp_path, at):
    out = tmp_path / "run"
    code, printed = zygote(out, at=at, what="limit file size")
    assert code == 3, printed
    assert "no space left on the disk" in printed
    kept = max(checkpoint.steps(out / "checkpoints" / "first").values())
    assert "--resume" in printed
    assert "step-" in printed.split("last good checkpoint")[1]
    assert not checkpoint.fault(kept)
    assert not list(out.glob("checkpoints/**/*tmp*"))
    assert not (out / "summary.json").exists()
    code, printed = zygote(out, resume=True)
    assert code == 0, printed
    assert outcome(out) == outcome(uninterrupted)


def test_a_full_disk_stops_a_log_line_too(zygote, uninterrupted, tmp_path):
    out = tmp_path / "run"
    code, printed = zygote(out, trouble={8: "limit file size"})
    assert code == 3, printed
    zygote(out, resume=True)
    assert outcome(out) == outcome(uninterrupted)


def unfinished(tmp_path, **training):
    """A run of one stage with checkpoints at steps 3 and 6, as if killed before its end."""
    run = train(toy_stage(**training), Run(tmp_path / "run", {"seed": 1}))
    run.summary_file.unlink()
    return run, curve(run.folder), weights(run.folder, "toy")


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: flip(folder / "model.safetensors"),
        lambda folder: os.truncate(folder / "optim.safetensors", 100),
        lambda folder: (folder / "MANIFEST.json").unlink(),
        lambda folder: (folder / "state.json").write_text("{}"),
    ],
    ids=["flipped", "truncated", "no manifest", "tampered"],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_goes_on(tmp_path, capsys, damage):
    run, lines, last = unfinished(tmp_path)
    bad = run.checkpoints / "toy" / "step-6"
    damage(bad)
    before = {path.name: path.read_bytes() for path in bad.iterdir()}
    train(toy_stage(), Run(run.folder, {"seed": 1}), resume=True)
    out = capsys.readouterr().out
    assert f"damaged checkpoint ignored: {bad}" in out
    assert "goes on after step 3" in out
    assert curve(run.folder) == lines
    assert weights(run.folder, "toy") == last
    aside = run.checkpoints / "toy" / "step-6.damaged-1"
    assert {path.name: path.read_bytes() for path in aside.iterdir()} == before


def test_two_damaged_checkpoints_are_a_data_error(tmp_path):
    run, _, _ = unfinished(tmp_path)
    for path in checkpoint.steps(run.checkpoints / "toy").values():
        flip(path / "model.safetensors")
    error = caught(DataError, toy_stage(), run.folder, resume=True)
    assert "step-6" in str(error)
    assert "step-3" in str(error)


def test_metrics_of_lost_steps_are_cut_even_half_written(tmp_path):
    run, lines, _ = unfinished(tmp_path)
    (run.checkpoints / "toy" / "step-6" / "MANIFEST.json").unlink()
    with open(run.metrics_file, "a") as file:
        file.write('{"stage": "toy", "step": 7, "lo')
    train(toy_stage(), Run(run.folder, {"seed": 1}), resume=True)
    assert curve(run.folder) == lines


def test_another_seed_or_config_is_refused_on_resume(tmp_path):
    run, lines, _ = unfinished(tmp_path)
    with pytest.raises(UserError, match="seed: 1 -> 2"):
        train(toy_stage(), Run(run.folder, {"seed": 2}), resume=True)
    run.config_file.write_text("seed: 2\n")  # by hand, to get round it
    with pytest.raises(UserError, match="made with other settings"):
        train(toy_stage(), Run(run.folder, {"seed": 2}), resume=True)
    run.config_file.write_text("seed: 1\nlr: 3\n")
    with pytest.raises(UserError, match="made with other settings"):
        train(toy_stage(), Run(run.folder, {"seed": 1, "lr": 3}), resume=True)
    run.config_file.write_text("seed: 1\n")
    with pytest.raises(UserError, match="made with other settings"):
        train(toy_stage(), Run(run.folder, {"seed": 1}, seed=9), resume=True)
    assert curve(run.folder) == lines


def test_another_model_is_refused_on_resume(tmp_path):
    run, _, _ = unfinished(tmp_path)

    class Wider(Toy):
        def __init__(self):
            super().__init__()
            self.extra = nn.Linear(2, 2)

    with pytest.raises(UserError, match="does not fit the model"):
        train(toy_stage(model=Wider), Run(run.folder, {"seed": 1}), resume=True)


def test_another_version_of_torch_is_told(tmp_path, capsys):
    run, _, _ = unfinished(tmp_path)
    path = run.checkpoints / "toy" / "step-6"
    model, optimizer, state = checkpoint.read(path)
    state["versions"]["torch"] = "1.0"
    checkpoint.save(path.parent, 7, model, optimizer, state)
    train(toy_stage(), Run(run.folder, {"seed": 1}), resume=True)
    assert "made with torch 1.0" in capsys.readouterr().out


def test_an_occupied_folder_is_untouched(tmp_path):
    run, lines, last = unfinished(tmp_path)
    caught(UserError, toy_stage(), run.folder)
    assert curve(run.folder) == lines
    assert weights(run.folder, "toy") == last


def test_a_folder_without_permission(zygote, tmp_path):
    tmp_path.chmod(0o555)
    code, printed = zygote(tmp_path / "run", nobody=True)
    assert code == 2
    assert "Permission denied" in printed
    assert not (tmp_path / "run").exists()


def test_two_trainings_in_one_folder(zygote, tmp_path):
    with Run(tmp_path / "run", {"seed": 5}).hold():
        code, printed = zygote(tmp_path / "run", resume=True)
    assert code == 2
    assert f"in use by process {os.getpid()}" in printed


def test_corrupt_samples_are_counted_listed_and_replaced(tmp_path):
    streams = [Stream("points", Points(30, bad=[4, 17]), 10)]
    model = Toy()
    stage = toy_stage(streams=streams, model=lambda: model, steps=6)
    run = train(stage, Run(tmp_path / "run", {"seed": 1}))
    listed = [json.loads(line) for line in run.skipped_file.read_text().splitlines()]
    assert {(line["where"], line["why"]) for line in listed} == {
        ("point-4", "unreadable"),
        ("point-17", "unreadable"),
    }
    assert len(listed) >= 4  # twice each: 6 steps of 10 are 2 epochs of 30
    assert all(line["stream"] == "points" and 1 <= line["step"] <= 6 for line in listed)
    assert all(len(batch) == 10 and not {4, 17}.intersection(batch) for batch in model.seen)
    summary = json.loads(run.summary_file.read_text())["stages"]["toy"]
    assert summary["skipped"] == {"points": len(listed)}
    assert summary["samples_read"] == 60 + len(listed)


def test_too_many_corrupt_samples_stop(tmp_path):
    streams = [Stream("points", Points(30, bad=range(10)), 10)]
    error = caught(DataError, toy_stage(streams=streams, steps=9), tmp_path / "run")
    assert "samples were corrupt, more than 1.0%" in str(error)
    assert error.exit_code == 4
    listed = (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()
    assert len(listed) > 10
    bearable = toy_stage(streams=streams, steps=9, max_bad_fraction=0.9)
    train(bearable, Run(tmp_path / "bearable", {"seed": 1}))


def test_a_closed_pipe_does_not_end_a_training(zygote, uninterrupted, tmp_path):
    code, printed = zygote(tmp_path / "run", **{"closed pipe": True})
    assert code == 0, printed
    assert outcome(tmp_path / "run") == outcome(uninterrupted)


def test_a_closed_pipe_leaves_no_trace():
    reader, writer = os.pipe()
    os.close(reader)
    program = "from minivl.training.monitor import say; say('one'); say('two')"
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, timeout=60
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_terminal_gets_a_progress_bar(zygote, tmp_path):
    master, slave = pty.openpty()
    shown = bytearray()

    def read():
        while True:
            try:
                shown.extend(os.read(master, 4096))
            except OSError:
                return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    wide = {"COLUMNS": "160", "TERM": "xterm-256color"}
    code, _ = zygote(tmp_path / "run", terminal=os.ttyname(slave), environment=wide)
    os.close(slave)
    reader.join(timeout=5)
    assert code == 0
    for text in (b"8/8", b"ETA", b"samples/s", b"bce", b"loss", b"waiting"):
        assert text in shown, text


def test_handlers_are_given_back():
    before = signal.getsignal(signal.SIGINT)
    with stop.stop_on_signal() as flag:
        os.kill(os.getpid(), signal.SIGTERM)
        assert flag.requested
    assert signal.getsignal(signal.SIGINT) is before


def test_training_in_another_thread_leaves_signals_alone(tmp_path):
    errors = []

    def body():
        try:
            train(toy_stage(steps=2), Run(tmp_path / "run"))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert not errors
    assert dataclasses.is_dataclass(toy_stage())

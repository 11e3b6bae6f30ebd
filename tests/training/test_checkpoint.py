"""A checkpoint holds everything, and one that is not intact is never used and never deleted."""

import dataclasses
import json
import random
import shutil

import numpy as np
import pytest
import torch
from engine_toys import Toy
from torch import nn

from minivl.errors import DataError, UserError
from minivl.training import checkpoint
from minivl.training import state as states
from minivl.training.optim import make_optimizer
from minivl.training.randomness import random_states, restore_random_states
from minivl.training.recipe import Training


def made(folder, *steps):
    """Small checkpoints of a stage; their folder."""
    for step in steps:
        weights = {"weight": torch.full((50,), float(step))}
        checkpoint.save(
            folder, step, weights, {"exp_avg/weight": weights["weight"]}, {"step": step}
        )
    return folder


def trained_state(seed):
    torch.manual_seed(seed)
    model = Toy()
    state = states.RunState("toy", model, make_optimizer(model, Training()))
    for _ in range(seed):
        batch = {"x": torch.randn(5, 4), "y": torch.ones(5), "index": torch.arange(5)}
        sum(model(batch).values()).backward()
        state.optimizer.step()
        with torch.no_grad():
            model.after_step()
    state.step, state.samples_read, state.skipped = seed, 5 * seed, {"points": seed}
    state.best = {"checkpoint": "step-1", "step": 1, "value": 0.1 + seed}
    state.seconds, state.seconds_waited = 0.1 * seed, 0.01 * seed
    return state


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return torch.equal(a, b) if torch.is_tensor(a) else a == b


def test_every_field_of_the_state_comes_back(tmp_path):
    saved, other = trained_state(3), trained_state(2)
    path = states.save(saved, tmp_path, {"seed": 1})
    drawn = torch.rand(3).tolist(), random.random()
    assert states.restore(other, path)["seed"] == 1
    assert (torch.rand(3).tolist(), random.random()) == drawn
    for field in dataclasses.fields(states.RunState):
        old, new = getattr(saved, field.name), getattr(other, field.name)
        if field.name == "model":
            assert same(old.state_dict(), new.state_dict())
        elif field.name == "optimizer":
            assert same(old.state_dict()["state"], new.state_dict()["state"])
            assert len(new.state_dict()["state"]) == len(list(other.model.parameters()))
        else:
            assert old == new, field.name


def test_the_generators_come_back(tmp_path):
    def draws():
        return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()  # noqa: NPY002

    kept = json.loads(json.dumps(random_states()))
    first = draws()
    assert draws() != first
    restore_random_states(kept)
    assert draws() == first


def test_tied_weights_and_strided_ones_are_saved(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    model[0].bias = nn.Parameter(torch.arange(6.0)[::2])
    state = states.RunState("tied", model, make_optimizer(model, Training()))
    path = states.save(state, tmp_path, {})
    assert same(checkpoint.read_weights(path), dict(model.state_dict()))


def test_a_model_of_another_shape_is_refused(tmp_path):
    path = states.save(trained_state(1), tmp_path, {})
    other = nn.Linear(2, 2)
    state = states.RunState("toy", other, make_optimizer(other, Training()))
    with pytest.raises(UserError, match="does not fit the model"):
        states.restore(state, path)


def test_what_lies_in_the_folder(tmp_path):
    path = made(tmp_path / "toy", 10) / "step-10"
    assert {file.name for file in path.iterdir()} == {
        "model.safetensors",
        "optim.safetensors",
        "state.json",
        "MANIFEST.json",
    }
    assert (tmp_path / "LATEST").read_text() == "toy/step-10\n"
    manifest = json.loads((path / "MANIFEST.json").read_text())["files"]
    assert manifest["state.json"]["size"] == (path / "state.json").stat().st_size
    assert not checkpoint.fault(path)


FILES = ["model.safetensors", "optim.safetensors", "state.json", "MANIFEST.json"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0, 4, 0.5, -1])
def test_a_truncated_checkpoint_is_passed_over_and_named(tmp_path, name, share):
    folder = made(tmp_path, 1, 2)
    data = (folder / "step-2" / name).read_bytes()
    cut = int(len(data) * share) if share == 0.5 else share
    (folder / "step-2" / name).write_bytes(data[:cut])
    said = []
    assert checkpoint.newest(folder, said.append) == folder / "step-1"
    assert str(folder / "step-2") in said[0]
    assert name in said[0]
    assert (folder / "step-2" / name).exists()


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_is_found(tmp_path, name):
    folder = made(tmp_path, 1, 2)
    data = bytearray((folder / "step-2" / name).read_bytes())
    position = data.rindex(b"sha256") + 12 if name == "MANIFEST.json" else len(data) - 5
    data[position] ^= 1
    (folder / "step-2" / name).write_bytes(data)
    said = []
    assert checkpoint.newest(folder, said.append) == folder / "step-1"
    assert "step-2" in said[0]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_found(tmp_path, name):
    folder = made(tmp_path, 1, 2)
    (folder / "step-2" / name).unlink()
    said = []
    assert checkpoint.newest(folder, said.append) == folder / "step-1"
    assert f"{name} is missing" in said[0]


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"files": []}', '{"files": {"state.json": 3}}', "\xff"]
)
def test_a_manifest_of_nonsense_is_a_fault(tmp_path, text):
    path = made(tmp_path, 1) / "step-1"
    (path / "MANIFEST.json").write_text(text, encoding="latin-1")
    assert "MANIFEST.json" in checkpoint.fault(path) or "missing" in checkpoint.fault(path)


def test_two_bad_checkpoints_are_a_data_error_that_names_both(tmp_path):
    folder = made(tmp_path, 1, 2)
    for step in (1, 2):
        (folder / f"step-{step}" / "MANIFEST.json").unlink()
    with pytest.raises(DataError, match="step-2.*step-1"):
        checkpoint.newest(folder)


def test_no_checkpoint_is_none(tmp_path):
    assert checkpoint.newest(tmp_path / "nothing") is None
    (tmp_path / "step-9.tmp-123").mkdir()
    assert checkpoint.newest(tmp_path) is None


def test_steps_are_ordered_by_number(tmp_path):
    assert list(checkpoint.steps(made(tmp_path, 100, 9, 20))) == [9, 20, 100]


def test_the_newest_few_and_the_best_are_kept(tmp_path):
    folder = made(tmp_path, 1, 2, 3, 4, 5)
    checkpoint.prune(folder, 2, best="step-2")
    assert list(checkpoint.steps(folder)) == [2, 4, 5]
    checkpoint.prune(folder, 0)
    assert list(checkpoint.steps(folder)) == [5], "the newest is never deleted"


def test_a_damaged_checkpoint_is_neither_deleted_nor_counted(tmp_path):
    folder = made(tmp_path, 1, 2, 3, 4)
    for step in (1, 4):
        (folder / f"step-{step}" / "model.safetensors").write_bytes(b"short")
    checkpoint.prune(folder, 2)
    assert list(checkpoint.steps(folder)) == [1, 2, 3, 4]
    data = bytearray((folder / "step-2" / "state.json").read_bytes())
    data[-3] ^= 1
    (folder / "step-2" / "state.json").write_bytes(data)
    checkpoint.prune(folder, 1)
    assert list(checkpoint.steps(folder)) == [1, 2, 3, 4], "its size is right, its bits are not"


def test_one_that_is_deleted_by_halves_does_not_look_like_a_checkpoint(tmp_path, monkeypatch):
    folder = made(tmp_path / "toy", 1, 2)
    monkeypatch.setattr(shutil, "rmtree", lambda path, **options: (path / "state.json").unlink())
    checkpoint.prune(folder, 1)
    assert list(checkpoint.steps(folder)) == [2]
    monkeypatch.undo()
    checkpoint.remove_leftovers(tmp_path)
    assert [path.name for path in folder.iterdir()] == ["step-2"]


def test_a_damaged_one_in_the_way_is_set_aside(tmp_path):
    folder = made(tmp_path, 1)
    (folder / "step-1" / "model.safetensors").write_bytes(b"short")
    made(folder, 1)
    assert not checkpoint.fault(folder / "step-1")
    assert (folder / "step-1.damaged-1" / "model.safetensors").read_bytes() == b"short"


def test_a_full_disk_leaves_the_old_checkpoint_and_no_leftovers(tmp_path, monkeypatch):
    folder = made(tmp_path / "toy", 1)

    def full(name):
        if name.startswith("write optim"):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_fault_point", full)
    with pytest.raises(OSError, match="No space"):
        made(folder, 2)
    assert [path.name for path in folder.iterdir()] == ["step-1"]
    assert not checkpoint.fault(folder / "step-1")
    assert (tmp_path / "LATEST").read_text() == "toy/step-1\n"


def test_leftovers_of_a_killed_save_are_removed_and_nothing_else(tmp_path):
    made(tmp_path / "toy", 1)
    (tmp_path / "toy" / "step-2.tmp-77").mkdir()
    (tmp_path / "toy" / "step-2.tmp-77" / "model.safetensors").touch()
    (tmp_path / "LATEST.tmp-77").touch()
    checkpoint.remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*") if "tmp" in path.name) == []
    assert checkpoint.newest(tmp_path / "toy") == tmp_path / "toy" / "step-1"


def test_everything_reaches_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    """The order that makes a power cut harmless: contents, then folder, then name, then pointer."""
    happened = []
    monkeypatch.setattr(checkpoint, "_fault_point", happened.append)
    made(tmp_path / "toy", 1)

    def at(name):
        return next(i for i, point in enumerate(happened) if point.startswith(name))

    files = [at(f"fsync {name}") for name in FILES]
    assert files == sorted(files), "the manifest is the last"
    assert files[-1] < at("fsync folder step-1.tmp") < at("rename")
    assert at("rename") < at("fsync folder toy") < at("fsync LATEST") < at("replace LATEST")


@pytest.mark.parametrize("where", ["run", "run/checkpoints", "run/checkpoints/b", "file"])
def test_weights_are_found_from_run_stage_checkpoint_or_file(tmp_path, where):
    checkpoints = tmp_path / "run" / "checkpoints"
    made(checkpoints / "b", 7)
    made(checkpoints / "a", 9)
    made(checkpoints / "b", 8)
    path = tmp_path / where if where != "file" else checkpoints / "b/step-8/model.safetensors"
    assert checkpoint.read_weights(path)["weight"][0] == 8


def test_weights_that_are_not_there_or_damaged(tmp_path):
    with pytest.raises(UserError, match="no checkpoint in"):
        checkpoint.read_weights(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        checkpoint.read_weights(tmp_path / "x.safetensors")
    path = made(tmp_path, 1) / "step-1"
    shutil.copy(path / "model.safetensors", tmp_path / "cut.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"12345678")
    with pytest.raises(DataError, match=r"cut\.safetensors"):
        checkpoint.read_weights(tmp_path / "cut.safetensors")
    (path / "state.json").unlink()
    with pytest.raises(DataError, match="step-1"):
        checkpoint.read_weights(path)


def test_starting_from_other_weights_says_what_fits():
    model = nn.Linear(2, 3)
    told = states.start_from(model, {"weight": torch.ones(3, 2), "head": torch.ones(1)}, "other")
    assert (model.weight == 1).all()
    assert told == "1 of 2 tensors of other; fresh: bias; unused: head"
    with pytest.raises(UserError, match="shares no tensor"):
        states.start_from(model, {"head": torch.ones(9)}, "other")


def test_many_tensors_are_told_by_what_they_belong_to():
    model = nn.ModuleDict(
        {"a": nn.Linear(2, 2), "b": nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))}
    )
    model.c = nn.Parameter(torch.zeros(3))
    offered = {"a.weight": torch.ones(2, 2)} | {f"twin.{i}": torch.ones(1) for i in range(200)}
    told = states.start_from(model, offered, "run")
    assert told == "1 of 201 tensors of run; fresh: c, a, b (4); unused: twin (200)"
    rest = {f"a.{name}": torch.ones(1) for name in ("x.u", "x.v", "y")}
    told = states.start_from(model, offered | rest, "run", part="a", of="a")
    assert told == "1 of 4 tensors of run; fresh: a.bias; unused: x (2), y"


def test_starting_from_another_size_names_the_tensor():
    model = nn.Linear(2, 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UserError, match=r"bias is \(4,\) in other, but \(3,\)"):
        states.start_from(model, {"weight": torch.ones(3, 2), "bias": torch.ones(4)}, "other")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_parts_start_from_parts_of_others():
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    model.token = nn.Parameter(torch.zeros(3))
    offered = {"inner.net.weight": torch.ones(2, 2), "inner.net.bias": torch.ones(2),
               "inner.network": torch.ones(7), "token": torch.ones(3)}  # fmt: skip
    told = states.start_from(model, offered, "run", part="b", of="inner.net")
    assert told == "2 of 2 tensors of run; fresh: none; unused: none"
    assert (model["b"].weight == 1).all() and not (model["a"].weight == 1).all()
    states.start_from(model, offered, "run", part="token", of="token")
    assert (model.token == 1).all()

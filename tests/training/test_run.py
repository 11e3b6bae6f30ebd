"""The run's folder: alone in it, nothing overwritten, small files whole or not at all."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from minivl.errors import DataError, UserError
from minivl.training import config
from minivl.training.recipe import Training
from minivl.training.run import Run, append_line, read_lines, write_text


@dataclass(frozen=True)
class Recipe:
    size: Literal["test", "tiny"] = "tiny"
    seed: int = 7
    out: Path | None = None
    objects: tuple[int, int] = (1, 2)
    training: Training = field(default_factory=Training)


def test_a_config_comes_back_from_its_yaml(tmp_path):
    given = Recipe("test", 3, tmp_path, (2, 3), Training(lr=1e-5, betas=(0.8, 0.9)))
    path = tmp_path / "config.yaml"
    path.write_text(config.dump(given))
    again = config.from_plain(Recipe, config.read(path))
    assert again == Recipe("test", 3, tmp_path, (2, 3), Training(lr=1e-5, betas=(0.8, 0.9)))
    assert config.read(path)["training"]["betas"] == [0.8, 0.9]


def test_an_unknown_field_is_named_with_its_nearest():
    with pytest.raises(UserError, match="'trainng'") as error:
        config.from_plain(Recipe, {"trainng": {}})
    assert "'training'" in error.value.remedy


def test_a_damaged_config_is_a_data_error(tmp_path):
    (tmp_path / "config.yaml").write_text("a: [1,")
    with pytest.raises(DataError, match="config.yaml"):
        Run.read(tmp_path)


def test_a_new_run_writes_its_config_and_its_seed_comes_from_it(tmp_path):
    run = Run(tmp_path / "a" / "run", Recipe(seed=11))
    assert run.seed == 11
    with run.hold():
        pass
    again = Run.read(run.folder)
    assert again.seed == 11
    assert again.config["training"]["steps"] == Training().steps
    assert [path.name for path in run.folder.iterdir()] == ["config.yaml"], "the lock is gone"


def test_an_occupied_folder_is_refused_and_untouched(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="occupied") as error, Run(tmp_path, Recipe()).hold():
        pass
    assert "--resume" in error.value.remedy
    assert "--out" in error.value.remedy
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_nothing_to_resume(tmp_path):
    with pytest.raises(UserError, match="nothing to resume"), Run(tmp_path / "x").hold(resume=True):
        pass
    assert not (tmp_path / "x").exists()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for out in (file, file / "run"):
        with pytest.raises(UserError, match=f"cannot write to {out}") as error, Run(out).hold():
            pass
        assert "--out" in error.value.remedy


def test_no_permission_is_refused(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # the tests may run as root, who may write anywhere
    with pytest.raises(UserError, match="Permission denied"), Run(tmp_path / "run").hold():
        pass


def test_a_second_process_is_refused_and_the_first_named(tmp_path):
    with Run(tmp_path, Recipe()).hold():
        with pytest.raises(UserError, match=f"process {os.getpid()} on {socket.gethostname()}"):
            with Run(tmp_path, Recipe()).hold(resume=True):
                pass
        with pytest.raises(UserError, match="in use"), Run(tmp_path, Recipe()).hold(resume=True):
            pass
    with Run(tmp_path, Recipe()).hold(resume=True):
        pass


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    program = (
        "import os, signal, sys; from minivl.training.run import Run\n"
        "with Run(sys.argv[1]).hold(): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "run")], timeout=60)
    assert json.loads((tmp_path / "run" / ".lock").read_text())["pid"]
    with Run(tmp_path / "run").hold(resume=True):
        pass


def test_the_lock_of_another_host_is_respected(tmp_path):
    (tmp_path / ".lock").write_text(json.dumps({"pid": 1, "host": "elsewhere"}))
    with pytest.raises(UserError, match="process 1 on elsewhere") as error, Run(tmp_path).hold():
        pass
    assert str(tmp_path / ".lock") in error.value.remedy
    assert (tmp_path / ".lock").exists()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"seed": 8}, "seed: 7 -> 8"),
        ({"training": Training(lr=0.5)}, "training.lr: 0.001 -> 0.5"),
        ({"training": Training(steps=2000)}, "training.steps: 1000 -> 2000"),
        ({"objects": (1, 3)}, "objects: .1, 2. -> .1, 3."),
    ],
)
def test_other_settings_are_refused_with_the_difference(tmp_path, changed, says):
    with Run(tmp_path, Recipe()).hold():
        pass
    with pytest.raises(UserError, match=says) as error:
        with Run(tmp_path, Recipe(**changed)).hold(resume=True):
            pass
    assert ("cosine" in str(error.value)) == ("steps" in says)
    assert config.from_plain(Recipe, Run.read(tmp_path).config) == Recipe()


def test_settings_that_bend_no_curve_may_change_and_are_noted(tmp_path):
    with Run(tmp_path, Recipe()).hold():
        pass
    free = Recipe(training=Training(log_every=3, keep_checkpoints=9, device="cpu"))
    with Run(tmp_path, free).hold(resume=True):
        pass
    assert Run.read(tmp_path).config["training"]["log_every"] == 3


def test_evaluations_merge(tmp_path):
    class Metric:
        def to_json(self):
            return {"value": 0.5, "chance": 0.1, "n": 20}

    run = Run(tmp_path)
    run.update_evaluation({"a/x": Metric(), "a/y": {"value": 1.0}})
    run.update_evaluation({"a/y": {"value": 2.0}, "b/z": 3})
    assert run.evaluation() == {
        "a/x": {"value": 0.5, "chance": 0.1, "n": 20},
        "a/y": {"value": 2.0},
        "b/z": {"value": 3.0},
    }
    run.eval_file.write_text("{")
    with pytest.raises(DataError, match="eval.json"):
        run.evaluation()


def test_a_line_that_a_kill_cut_off_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append_line(path, {"step": 1, "loss": 0.1 + 0.2})
    append_line(path, {"step": 2})
    path.write_text(path.read_text() + '{"step": 3, "lo')
    assert read_lines(path) == [{"step": 1, "loss": 0.1 + 0.2}, {"step": 2}]
    Run(tmp_path).rewind(lambda line: line["step"] < 2)
    assert path.read_text() == json.dumps({"step": 1, "loss": 0.1 + 0.2}) + "\n"


def test_a_file_is_replaced_as_a_whole(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_text(path, "old")

    def fail(*names):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("command", ["minivl train clip", "minivl train clip --resume"])
def test_the_resume_command_has_the_flag_once(tmp_path, command):
    assert Run(tmp_path, command=command).resume_command == "minivl train clip --resume"


def test_looking_at_runs_needs_no_torch():
    program = (
        "import sys, minivl.training.run, minivl.training.recipe; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "False"

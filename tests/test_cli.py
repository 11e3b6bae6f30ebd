"""The front door: commands answer; a mistake gets one line, a remedy and its exit code."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from minivl import cli
from minivl.commands import fields, show, train
from minivl.commands.parser import did_you_mean
from minivl.commands.runs import load_model, open_run
from minivl.errors import DataError, DivergedError, ResourceError, UserError
from minivl.evaluation.flava import matching_scores
from minivl.recipes.clip import ClipRecipe
from minivl.recipes.flava import FlavaRecipe
from minivl.training.run import Run

CLIP = ["train", "clip", "--size", "test"]
FLAVA = ["train", "flava", "--size", "test"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINIVL_DEBUG", raising=False)


@pytest.fixture(autouse=True, scope="module")
def data_are_read_once():
    """Commands read the data anew; here each folder's pictures are decoded once."""
    from minivl.data import examples, pack

    load_pack, load_source = pack.Pack.load.__func__, examples.SceneSource.load.__func__
    packs, sources = {}, {}

    def pack_once(kind, root=None):
        folder = pack.find(root)
        if folder not in packs:
            packs[folder] = load_pack(kind, folder)
        return packs[folder]

    def source_once(kind, data):
        key = (pack.find(), data)
        if key not in sources:
            sources[key] = load_source(kind, data)
        return sources[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack.Pack, "load", classmethod(pack_once))
        patch.setattr(examples.SceneSource, "load", classmethod(source_once))
        yield


def failure(capsys, *argv):
    """Exit code and the lines on stderr; fails on a traceback."""
    capsys.readouterr()
    code = cli.main(list(argv))
    lines = capsys.readouterr().err.splitlines()
    assert not any("Traceback" in line for line in lines)
    return code, lines


# Bad input: arguments -> exit code, words of the first line, words of the remedy.
MISTAKES = {
    "command": (["trian"], 2, "no command 'trian'", "'train'"),
    "nothing like a command": (["zzz"], 2, "no command 'zzz'", "train, eval"),
    "no recipe": (["train"], 2, "which recipe", "clip"),
    "recipe": (["train", "clp"], 2, "no recipe 'clp'", "'clip'"),
    "flag before recipe": (["train", "--lr", "1"], 2, "before --lr", "train clip --lr 1"),
    "field": ([*CLIP, "--zzz", "1"], 2, "--zzz", "--help"),
    "field, nearly": ([*CLIP, "--trainin.lr", "1"], 2, "--trainin.lr", "--training.lr"),
    "last name, nearly": ([*CLIP, "--batchsize", "8"], 2, "--batchsize", "--training.batch-size"),
    "last name of two": ([*CLIP, "--width", "8"], 2, "several", "--image.width, --text.width"),
    "wrong type": (
        [*CLIP, "--training.lr", "abc"],
        2,
        "--training.lr: could not convert",
        "--help",
    ),
    "whole number": ([*CLIP, "--steps", "1.5"], 2, "--training.steps", "--help"),
    "missing value": ([*CLIP, "--out"], 2, "--out", "--help"),
    "one of two values": ([*CLIP, "--betas", "0.9"], 2, "--training.betas", "--help"),
    "choice": ([*CLIP, "--image.stem", "cnov"], 2, "'cnov'", "--help"),
    "size": (["train", "clip", "--size", "tny"], 2, "--size cannot be 'tny'", "'tiny'"),
    "size without value": (["train", "clip", "--size"], 2, "--size cannot be ''", "test, tiny"),
    "stray word": ([*CLIP, "now"], 2, "now", "--help"),
    "no steps": ([*CLIP, "--steps", "0"], 2, "steps is 0", "1 or more"),
    "negative seed": ([*CLIP, "--seed", "-1"], 2, "seed is -1", "0 or more"),
    "negative rate": ([*CLIP, "--lr", "-1"], 2, "lr is -1", "above 0"),
    "last name of two as deep": (
        ["train", "flava", "--max-length", "8"],
        2,
        "--max-length fits several",
        "--data.max-length, --texts.max-length",
    ),
    "heads": ([*CLIP, "--image.heads", "5"], 2, "--image.heads is 5", "a divisor of 32"),
    "heads of dino": (
        ["train", "dino", "--size", "test", "--heads", "5"],
        2,
        "--backbone.heads is 5",
        "--backbone.width",
    ),
    "heads of flava": ([*FLAVA, "--image.heads", "5"], 2, "--image.heads is 5", "--image.width"),
    "no heads": ([*FLAVA, "--text.heads", "0"], 2, "--text.heads is 0", "a divisor of 32"),
    "no objectives": ([*FLAVA, "--objectives"], 2, "objectives is ()", "at least one"),
    "objective": ([*FLAVA, "--objectives", "itc"], 2, "'itc'", "--help"),
    "nothing to train on": (
        [*FLAVA, "--objectives", "mim", "--pictures", "0"],
        2,
        "shares",
        "--shares",
    ),
    "patches": ([*CLIP, "--image-size", "33"], 2, "33", "change that field"),
    "no things": ([*CLIP, "--objects", "0", "0"], 2, "objects is (0, 0)", "from 1 to 4"),
    "things": ([*CLIP, "--objects", "3", "2"], 2, "objects is (3, 2)", "--objects"),
    "no picture": ([*CLIP, "--image-size", "0"], 2, "image_size is 0", "16 or more"),
    "share": ([*CLIP, "--twin-share", "1.5"], 2, "twin_share is 1.5", "a share from 0 to 1"),
    "no room for words": ([*CLIP, "--max-length", "1"], 2, "max_length is 1", "3 or more"),
    "nothing to resume": ([*CLIP, "--out", "new", "--resume"], 2, "nothing to resume", "--resume"),
    "eval of nothing": (["eval", "runs/none"], 2, "no run in runs/none", "minivl train"),
    "eval without run": (["eval"], 2, "run", "--help"),
    "show of nothing": (["show", "runs/none", "scene:0"], 2, "no run", "minivl train"),
    "data action": (["data", "prevew"], 2, "'prevew'", "'preview'"),
    "data flag": (["data", "list", "--sise", "tiny"], 2, "--sise", "--size"),
    "data split": (["data", "preview", "--split", "twemojis"], 2, "'twemojis'", "'twemoji'"),
    "data count": (["data", "preview", "--count", "0"], 2, "--count is 0", "1 to 400"),
    "bench recipe": (["bench", "clib"], 2, "no recipe 'clib'", "'clip'"),
    "bench steps": (["bench", "--steps", "1"], 2, "too few steps", "--steps 2"),
    "doctor flag": (["doctor", "--fast"], 2, "--fast", "--help"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_gets_its_exit_code_one_line_and_a_remedy(case, capsys, tmp_path):
    argv, code, what, remedy = MISTAKES[case]
    got, lines = failure(capsys, *argv)
    assert got == code and len(lines) == 2
    assert lines[0].startswith("minivl: ") and what in lines[0]
    assert lines[1].startswith("  -> ") and remedy in lines[1]
    assert not list(tmp_path.rglob("*")), "a refused command leaves nothing behind"


def test_an_occupied_folder_is_left_alone(capsys, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    for extra in ([], ["--dry-run"]):
        code, lines = failure(capsys, *CLIP, "--out", "mine", *extra)
        assert code == 2 and "mine is occupied" in lines[0] and "--out" in lines[1]
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_file_or_a_forbidden_place_is_no_folder_for_a_run(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    code, lines = failure(capsys, *CLIP, "--out", "file/run")
    assert code == 2 and "file is a file" in lines[0]
    code, lines = failure(capsys, *CLIP, "--out", "/proc/run")
    assert code == 2 and "cannot write to /proc" in lines[0] and "--out" in lines[1]


def test_an_altered_or_missing_data_pack_is_named(capsys, tmp_path, monkeypatch):
    from minivl.data import pack

    monkeypatch.setenv(pack.ENVIRONMENT, str(tmp_path / "nowhere"))
    code, lines = failure(capsys, *CLIP, "--out", "run")
    assert code == 4 and "no data pack" in lines[0] and "minivl data build" in lines[1]
    monkeypatch.delenv(pack.ENVIRONMENT)
    altered = tmp_path / "altered"
    shutil.copytree(pack.find(), altered)
    with open(altered / "concepts.json", "r+b") as file:
        file.seek(100)
        file.write(b"#")
    monkeypatch.setenv(pack.ENVIRONMENT, str(altered))
    for argv in ([*CLIP, "--out", "run"], ["data", "verify"], ["data", "stats"]):
        code, lines = failure(capsys, *argv)
        assert code == 4 and "concepts.json was altered" in lines[0] and "git checkout" in lines[1]
    assert not (tmp_path / "run").exists()


ERRORS = [
    (UserError("a\nb", "c\nd"), 2, "a b"),
    (ResourceError("a", "c"), 3, "a"),
    (DataError("a", "c"), 4, "a"),
    (DivergedError("a", "c"), 5, "a"),
    (MemoryError(), 3, "out of memory"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 3, "out of memory"),
    (OSError(errno.ENOSPC, "No space left on device", "runs/x"), 3, "no space left on the disk"),
    (PermissionError(errno.EACCES, "Permission denied", "runs/x"), 2, "runs/x: Permission denied"),
    (ModuleNotFoundError("No module named 'rich'", name="rich"), 2, "rich is not installed"),
    (ModuleNotFoundError("No module named 'minivl.x'", name="minivl.x"), 1, "minivl.x"),
    (KeyError("what"), 1, "KeyError"),
]


@pytest.mark.parametrize(("error", "code", "what"), ERRORS, ids=lambda e: type(e).__name__)
def test_every_error_has_an_exit_code_and_two_lines(error, code, what, capsys, monkeypatch):
    def fail(arguments):
        raise error

    monkeypatch.setattr("minivl.commands.data.main", fail)
    got, lines = failure(capsys, "data")
    assert got == code and what in lines[0] and len(lines) == 2


def test_torch_out_of_memory_is_recognised(capsys):
    import torch

    assert cli.explain(torch.OutOfMemoryError("CUDA out of memory. Tried"))[2] == 3


def test_debug_shows_the_traceback(capsys, monkeypatch):
    assert cli.main(["trian", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("MINIVL_DEBUG", "1")
    cli.main(["trian"])
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("MINIVL_DEBUG", "0")
    assert failure(capsys, "trian")[0] == 2


def test_interrupts_and_exits_become_codes(capsys, monkeypatch):
    from minivl.training.stop import Stopped

    for error, code in ((KeyboardInterrupt(), 130), (Stopped(), 0), (SystemExit(130), 130)):

        def fail(arguments, error=error):
            raise error

        monkeypatch.setattr("minivl.commands.data.main", fail)
        assert failure(capsys, "data")[0] == code


def test_a_reader_that_leaves_ends_it_quietly():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "minivl", "--help"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert done.returncode == 0 and done.stderr == b""


def test_help_names_every_command_and_only_those(capsys):
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    listed = re.findall(r"^  ([a-z]+)  ", text.split("First steps")[0], flags=re.M)
    assert listed == list(cli.COMMANDS)
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("command", [c for c in cli.COMMANDS if c != "version"])
def test_each_command_explains_itself(command, capsys):
    assert cli.main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: minivl {command}") and len(text.splitlines()) > 8


def test_version_says_what_a_report_of_a_bug_needs(capsys):
    for argv in (["version"], ["--version"]):
        assert cli.main(argv) == 0
        assert re.fullmatch(r"minivl \S+, Python 3\.\S+, torch \S+\n", capsys.readouterr().out)


def test_nearest_word_or_all():
    assert did_you_mean("trian", ["train", "eval"]) == "did you mean 'train'?"
    assert did_you_mean("xyz", ["train", "eval"]) == "choose one of: train, eval"


# Fields


def test_flags_start_from_the_defaults_of_the_size():
    options, recipe = fields.parse("clip", ["--size=small"])
    assert recipe == ClipRecipe.at_size("small")
    assert (options.seed, options.resume, options.dry_run, options.out) == (0, False, False, None)


def test_every_field_is_a_flag_in_full_and_by_its_last_name():
    argv = "--training.lr 2e-3 --image.width 64 --batch-size=32 --objects 1 3 --seed 5 --resume"
    options, recipe = fields.parse("clip", ["--size", "test", *argv.split()])
    assert recipe.training.lr == 2e-3 and recipe.image.width == 64
    assert recipe.training.batch_size == 32 and recipe.data.objects == (1, 3)
    assert options.seed == 5 and options.resume
    _, under = fields.parse("clip", ["--training.batch_size", "7"])
    assert under.training.batch_size == 7


def test_fewer_steps_shorten_the_warm_up_unless_it_was_given():
    _, recipe = fields.parse("clip", ["--steps", "400"])
    usual = ClipRecipe.at_size("tiny").training
    assert recipe.training.steps == 400
    assert recipe.training.warmup_steps == usual.warmup_steps * 400 // usual.steps
    _, recipe = fields.parse("clip", ["--steps", "400", "--warmup-steps", str(usual.warmup_steps)])
    assert recipe.training.warmup_steps == usual.warmup_steps
    _, recipe = fields.parse("clip", ["--steps", str(2 * usual.steps)])
    assert recipe.training.warmup_steps == usual.warmup_steps


def test_of_equal_last_names_the_one_that_stands_highest_is_meant():
    known = {"training.steps": 1, "dvae.training.steps": 1, "a.b.c": 1, "a.d.c": 1, "e.f.g.c": 1}
    assert fields.in_full("--steps", known) == "--training.steps"
    assert fields.in_full("--dvae.training.steps=3", known) == "--dvae.training.steps=3"
    with pytest.raises(UserError) as told:
        fields.in_full("--c", known)
    assert all(flag in told.value.remedy for flag in ("--a.b.c", "--a.d.c", "--e.f.g.c"))
    _, recipe = fields.parse("flava", ["--steps", "200"])
    usual = FlavaRecipe.at_size("tiny")
    assert recipe.training.steps == 200
    assert (recipe.dvae, recipe.dino, recipe.mim, recipe.mlm) == (
        usual.dvae, usual.dino, usual.mim, usual.mlm
    )  # fmt: skip


def test_each_stage_has_a_warm_up_of_its_own_that_shrinks_with_its_steps():
    usual = FlavaRecipe.at_size("tiny")
    _, recipe = fields.parse("flava", ["--mim.training.steps", "50"])
    expected = usual.mim.training.warmup_steps * 50 // usual.mim.training.steps
    assert 0 < recipe.mim.training.warmup_steps == expected
    assert recipe.training == usual.training and recipe.dvae == usual.dvae
    given = ["--mim.training.steps=50", "--mim.training.warmup-steps", "31"]
    _, recipe = fields.parse("flava", [*given, "--steps", "90"])
    assert recipe.mim.training.warmup_steps == 31
    assert recipe.training.warmup_steps == usual.training.warmup_steps * 90 // usual.training.steps


def test_a_list_may_be_empty():
    _, recipe = fields.parse("flava", ["--objectives", "contrastive", "--pretraining"])
    assert recipe.pretraining == () and recipe.objectives == ("contrastive",)
    _, recipe = fields.parse("flava", ["--pretraining", "--steps", "3"])
    assert recipe.pretraining == () and recipe.training.steps == 3


def test_notes_tell_the_time_of_the_sizes_own_steps_only():
    def notes(*arguments):
        _, recipe = fields.parse("flava", list(arguments))
        usual = FlavaRecipe.at_size("tiny").stages(0)
        stages = train.with_notes_that_hold(recipe.stages(0), usual)
        return [note for stage in stages for note in stage.notes]

    assert len(notes()) == 1 and "all stages" in notes()[0]
    assert len(notes("--lr", "1e-4")) == 1
    assert notes("--steps", "9") == notes("--pretraining") == []


def test_help_of_a_recipe_says_what_it_is_and_keeps_its_lists(capsys):
    assert cli.main(["train", "flava", "--help"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    for start in ("dvae -> dino -> mim", "tiny  ", "small  ", "MIM  ", "FLAVA_C  "):
        assert any(line.startswith(start) for line in lines), start


def test_a_switch_has_an_opposite():
    known = {"training.flip": True, "training.lr": 1.0}
    assert fields.in_full("--no-flip", known) == "--training.no-flip"
    with pytest.raises(UserError):
        fields.in_full("--no-lr", known)


def test_help_of_a_recipe_shows_the_defaults_of_the_size(capsys):
    assert cli.main(["train", "clip", "--size", "small", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"--training.steps INT Optimiser steps. (default: {20000})" in text
    assert "Defaults below are those of --size small" in text


def test_default_folders_are_new_and_resume_finds_the_last(tmp_path, monkeypatch):
    assert str(train.default_folder("clip", "tiny", False)) == "runs/clip_tiny"
    for name in ("clip_tiny", "clip_tiny_2"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert str(train.default_folder("clip", "tiny", False)) == "runs/clip_tiny_3"
    assert str(train.default_folder("clip", "tiny", True)) == "runs/clip_tiny_2"
    monkeypatch.setenv("WORLD_SIZE", "2")  # processes that cannot see each other's folder yet
    assert str(train.default_folder("clip", "tiny", False)) == "runs/clip_tiny"


def test_a_folder_with_a_number_is_told(tmp_path, capsys):
    plain, numbered = tmp_path / "clip_tiny", tmp_path / "clip_tiny_2"
    train.say_if_numbered(numbered, "clip_tiny")
    assert f"{plain} exists, so this run goes to {numbered}" in capsys.readouterr().out
    train.say_if_numbered(plain, "clip_tiny")
    assert capsys.readouterr().out == ""


def test_the_command_to_resume_spells_out_the_folder(tmp_path):
    command = train.command_line("clip", ["--lr", "1e-3", "--resume"], tmp_path / "a b")
    assert command == f"minivl train clip --lr 1e-3 --out '{tmp_path}/a b'"
    assert train.command_line("clip", ["--out=x"], "x") == "minivl train clip --out=x"


# Show


def test_rivals_of_a_sentence():
    names = ["dog", "cat", "owl"]
    assert show.rivals("a dog on the left", names) == [
        "a dog on the left", "a dog on the right", "a cat on the left", "an owl on the left",
    ]  # fmt: skip
    assert show.rivals("a cat above a dog", names) == [
        "a cat above a dog", "a cat below a dog", "a cat above an owl", "an owl above a dog",
    ]  # fmt: skip
    assert show.rivals("a dog house", ["dog", "dog house", "owl"])[1:] == ["a dog", "an owl"]
    assert show.rivals("hello", names) == ["hello", "a dog", "a cat", "an owl"]
    assert show.turned_round("above the top left") == "below the bottom right"
    assert not show.said("a cat", "a caterpillar")


# One whole run, at size test


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run that `minivl train` made, and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    code, out = call("train", "clip", "--size", "test", "--steps", "4", "--out", str(folder))
    assert code == 0, out
    return folder, out


def call(*argv):
    """Exit code and stdout of a command in this process, for fixtures of a module."""
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = cli.main(list(argv))
    return code, out.getvalue()


def test_training_writes_a_run_and_says_what_next(run):
    folder, out = run
    for name in ("config.yaml", "metrics.jsonl", "eval.json", "summary.json", "report.html",
                 "environment.json"):  # fmt: skip
        assert (folder / name).stat().st_size > 0
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["recipe"] == "clip" and config["seed"] == 0 and config["training"]["steps"] == 4
    assert f"report   {folder}/report.html" in out and f"next     minivl show {folder}" in out
    assert "chance" in out and "twemoji" in out
    assert json.loads((folder / "environment.json").read_text())["command"].startswith("minivl tr")


def test_training_again_into_the_same_folder_needs_resume(run, capsys):
    folder, _ = run
    argv = [*CLIP, "--steps", "4", "--out", str(folder)]
    before = (folder / "metrics.jsonl").read_bytes()
    code, lines = failure(capsys, *argv)
    assert code == 2 and "is occupied" in lines[0] and "--resume" in lines[1]
    code, lines = failure(capsys, *argv, "--resume", "--lr", "0.5")
    assert code == 2 and "training.lr: 0.001 -> 0.5" in lines[0]
    assert cli.main([*argv, "--resume"]) == 0
    assert "nothing to resume" in capsys.readouterr().out
    assert (folder / "metrics.jsonl").read_bytes() == before


def test_evaluating_again_gives_the_same_numbers(run, capsys):
    folder, _ = run
    before = json.loads((folder / "eval.json").read_text())
    (folder / "eval.json").unlink()
    (folder / "report.html").unlink()
    assert cli.main(["eval", str(folder)]) == 0
    assert json.loads((folder / "eval.json").read_text()) == before
    assert (folder / "report.html").exists()
    assert "step-4" in capsys.readouterr().out


def test_evaluating_one_task(run, capsys):
    folder, _ = run
    code, lines = failure(capsys, "eval", str(folder), "--task", "retreival")
    assert code == 2 and "'retrieval'" in lines[1]
    assert cli.main(["eval", str(folder), "--task", "zeroshot"]) == 0
    out = capsys.readouterr().out
    assert "retrieval" not in out


def test_showing_a_scene_and_a_file(run, capsys, tmp_path):
    from PIL import Image

    folder, _ = run
    assert cli.main(["show", str(folder), "scene:3"]) == 0
    out = capsys.readouterr().out
    assert "rank" in out and "<- yours" in out and (folder / "show" / "scene_3.png").is_file()
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    argv = ["show", str(folder), "red.png", "a dog on the left", "--out", "look.png"]
    assert cli.main(argv) == 0
    with Image.open(tmp_path / "look.png") as picture:
        assert picture.width > 300
    out = capsys.readouterr().out
    assert "picture   red.png\n" in out and "a dog on the left  <- yours" in out


# A run of flava: only its joint stage, of few steps


@pytest.fixture(scope="module")
def flava_run(tmp_path_factory):
    """The folder of a run without stages before, and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "flava"
    argv = ["--objectives", "contrastive", "itm", "--pretraining", "--steps", "2"]
    argv += ["--matched", "8", "--named", "8", "--mirrored-pairs", "4", "--pool-size", "8"]
    code, out = call(*FLAVA, *argv, "--probed", "8", "--out", str(folder))
    assert code == 0, out
    return folder, out


def test_flava_is_trained_drawn_and_reported(flava_run):
    folder, out = flava_run
    assert "true pair or" in out and f"next     minivl show {folder}" in out
    for name in ("similarity", "pair_attention", "pair_matching"):
        assert (folder / "figures" / f"{name}.png").is_file()
    assert "Do they belong together?" in (folder / "report.html").read_text()


def test_flava_is_measured_again_to_the_same_numbers(flava_run, capsys):
    folder, _ = flava_run
    before = json.loads((folder / "eval.json").read_text())
    (folder / "eval.json").unlink()
    assert cli.main(["eval", str(folder)]) == 0
    assert json.loads((folder / "eval.json").read_text()) == before
    assert "joint/step-2" in capsys.readouterr().out


def test_flava_says_whether_a_pair_matches(flava_run, capsys, monkeypatch):
    folder, _ = flava_run
    sure = [0.875, 0.125]
    monkeypatch.setattr(show, "verdicts", lambda *_: sure + [0.25] * (len(_[-1]) - 2))
    assert cli.main(["show", str(folder), "twemoji:7", "a dog on the left"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "matching  picture and sentence belong together: 87.5% sure that they do" in lines
    (own,) = [line for line in lines if line.endswith("a dog on the left  <- yours")]
    assert own.split("%")[1].strip() == "87.5"
    (turned,) = [line for line in lines if line.endswith("a dog on the right")]
    assert turned.split("%")[1].strip() == "12.5"
    assert (folder / "show" / "twemoji_7.png").is_file()


def test_the_verdict_is_the_matching_heads(flava_run):
    trained = open_run(flava_run[0])
    source = show.source_of(trained)
    model, _ = load_model(trained.stages[-1], trained.run, show.device())
    image, caption = show.picture_of("twemoji:3", source)
    sentences = [caption, "a dog on the left"]
    told = show.verdicts(model, source, image, sentences)
    for sentence, share in zip(sentences, told, strict=True):
        score = matching_scores(TextsOf(source), model, show.device(), image[None], [sentence])
        assert share == pytest.approx(score.sigmoid().item(), abs=1e-5)


class TextsOf:
    """What an evaluation asks of a TextSource."""

    def __init__(self, scenes):
        self.scenes, self.text, self.data = scenes, scenes.text, scenes.data


def test_a_run_without_the_contrastive_objective_cannot_compare(flava_run, capsys, tmp_path):
    folder = shutil.copytree(flava_run[0], tmp_path / "copy")
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("- contrastive\n", "", 1))
    code, lines = failure(capsys, "show", str(folder), "scene:0")
    assert code == 2 and "contrastive" in lines[0] and "--objectives" in lines[1]


SHOW_MISTAKES = {
    "no file": (["dog.jpg", "a dog"], 2, "dog.jpg", "scene:0"),
    "no sentence": (["red.png"], 2, "which sentence", "add one"),
    "split": (["scenes:1"], 2, "'scenes'", "'scene'"),
    "number": (["scene:one"], 2, "'one'", "validation:0"),
    "broken picture": (["broken.png", "a dog"], 4, "broken.png", ""),
    "out": (["scene:0", "--out", "red.png/x.png"], 2, "red.png/x.png", "--out"),
}


@pytest.mark.parametrize("case", SHOW_MISTAKES)
def test_show_names_what_is_wrong(case, run, capsys, tmp_path):
    from PIL import Image

    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "red.png").read_bytes()[:50])
    argv, code, what, remedy = SHOW_MISTAKES[case]
    got, lines = failure(capsys, "show", str(run[0]), *argv)
    assert got == code and what in lines[0] and remedy in lines[1]


def copy_of(run, tmp_path):
    return shutil.copytree(run[0], tmp_path / "copy")


def test_a_tampered_checkpoint_is_refused(run, capsys, tmp_path):
    folder = copy_of(run, tmp_path)
    weights = next(folder.glob("checkpoints/*/step-4/model.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    for argv in (["eval", str(folder)], ["show", str(folder), "scene:0"]):
        code, lines = failure(capsys, *argv)
        assert code == 4 and "model.safetensors is altered" in lines[0]
    weights.write_bytes(data[:-5])
    code, lines = failure(capsys, "eval", str(folder))
    assert code == 4 and "bytes, not" in lines[0]


DAMAGE = {
    "no yaml": ("a: [", 4, "cannot be read"),
    "no settings": ("- 1\n", 4, "holds no settings"),
    "no recipe": ("seed: 0\n", 4, "names no recipe"),
    "other recipe": ("recipe: clap\nseed: 0\n", 2, "no recipe 'clap'"),
    "other field": ("recipe: clip\nseed: 0\nwidth: 3\n", 2, "no field 'width'"),
    "wrong kind": ("recipe: clip\nseed: 0\ntraining: 3\n", 4, "does not describe clip"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_config_is_named(case, capsys, tmp_path):
    text, code, what = DAMAGE[case]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(text)
    got, lines = failure(capsys, "eval", "run")
    assert got == code and what in lines[0]


def test_a_run_without_checkpoint_says_how_to_train_it(run, capsys, tmp_path):
    folder = copy_of(run, tmp_path)
    shutil.rmtree(folder / "checkpoints")
    code, lines = failure(capsys, "eval", str(folder))
    assert code == 2 and "no checkpoint" in lines[0]
    code, lines = failure(capsys, "eval", "cop")
    assert code == 2 and "'copy'" in lines[1]


def test_a_recipe_survives_its_config_file(tmp_path):
    from minivl.commands.runs import settings
    from minivl.training import config

    recipe = ClipRecipe.at_size("small")
    run = Run(tmp_path / "run", settings("clip", recipe, 3))
    with run.hold():
        pass
    read = dict(Run.read(run.folder).config)
    assert (read.pop("recipe"), read.pop("seed")) == ("clip", 3)
    assert config.from_plain(ClipRecipe, read) == recipe


def test_divergence_ends_with_code_5(capsys, tmp_path):
    argv = ["--lr", "1e38", "--clip-norm", "0", "--warmup-steps", "0", "--out", "boom"]
    code, lines = failure(capsys, *CLIP, *argv)
    assert code == 5 and "step" in lines[0] and "--training.lr" in lines[1]


def test_a_training_that_never_began_leaves_no_folder(capsys, monkeypatch, tmp_path):
    def fail(*arguments, **options):
        (tmp_path / "run").mkdir()
        raise ResourceError("out of memory", "buy some")

    monkeypatch.setattr("minivl.training.engine.train", fail)
    assert failure(capsys, *CLIP, "--out", "run")[0] == 3
    assert not (tmp_path / "run").exists()


def test_dry_run_counts_and_writes_nothing(capsys, tmp_path):
    assert cli.main([*CLIP, "--dry-run"]) == 0
    out = capsys.readouterr().out
    for word in (
        "parameters",
        "FLOP",
        "memory",
        "20 of 16 samples",
        "runs/clip_test can be written",
    ):
        assert word in out
    assert not list(tmp_path.iterdir())


def test_data_commands(capsys, tmp_path):
    from PIL import Image

    assert cli.main(["data", "preview", "--count", "3", "--boxes", "--out", "sheet.png"]) == 0
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.width > 200
    assert cli.main(["data", "list"]) == 0
    assert "twemoji" in capsys.readouterr().out
    assert cli.main(["data", "stats", "--size", "test"]) == 0
    assert "average words" in capsys.readouterr().out
    assert cli.main(["data", "verify"]) == 0


def test_bench_measures_and_writes_numbers(capsys, tmp_path):
    argv = ["bench", "--size", "test", "--steps", "2", "--rounds", "1", "--json", "b.json"]
    assert cli.main(argv) == 0
    assert "MFU" in capsys.readouterr().out
    numbers = json.loads((tmp_path / "b.json").read_text())
    assert numbers["variants"][0]["speed_up"] == 1
    assert all(v["samples_per_second"] > 0 for v in numbers["variants"])
    assert all(0 <= v["data_wait_share"] <= 1 for v in numbers["variants"])
    assert not list(tmp_path.glob("runs"))


def test_doctor_reports_and_fails_when_something_fails(capsys, monkeypatch, tmp_path):
    from minivl.commands import doctor
    from minivl.data import pack

    assert cli.main(["doctor", "--quick"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("Python 3" in line for line in lines) and any("data pack" in line for line in lines)
    monkeypatch.setenv(pack.ENVIRONMENT, str(tmp_path))
    assert cli.main(["doctor", "--quick"]) == 1
    assert "FAIL  no data pack" in capsys.readouterr().out
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: "1.0")
    assert "torch 1.0 (needs 2.11)" in next(doctor.packages()).what
    assert "not torch 1.0" in next(doctor.torchvision_fits_torch()).what

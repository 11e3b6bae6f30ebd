"""Shipped models: written from a run, read back the same, refused when altered."""

import json

import pytest
import torch

from minivl import cli
from minivl.commands import shipped
from minivl.errors import DataError, UserError

TEST = ["train", "dvae", "--size", "test", "--steps", "4", "--training.threads", "1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shipped") / "runs" / "first"
    assert cli.main([*TEST, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def root(run, tmp_path):
    shipped.ship(run, "words", root=tmp_path)
    return tmp_path


def test_what_is_shipped_is_the_run_rounded(run, root):
    model, card = shipped.load("words", root)
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    weights = shipped.checkpoint.read_weights(run)
    assert weights.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name].bfloat16().float()), name
    assert card.steps == 4 and card.minutes >= 0
    assert card.command.startswith("minivl train dvae --size test --steps 4")


def test_the_card_holds_what_the_rounded_weights_reach(run, root):
    model, card = shipped.load("words", root)
    stage = shipped.stage_of(card.config, "dvae")
    again = stage.evaluate(model, torch.device("cpu"))
    expected = {key: shipped.as_json(value) for key, value in again.items()}
    assert card.evaluation == json.loads(json.dumps(expected))


def test_only_the_parts_asked_for_are_shipped(run, tmp_path):
    shipped.ship(run, "eyes", ("encoder.",), root=tmp_path)
    model, card = shipped.load("eyes", tmp_path)
    file = tmp_path / "checkpoints" / "eyes.safetensors"
    assert all(name.startswith("encoder.") for name in shipped.checkpoint.read_weights(file))
    assert card.parts == ("encoder.",) and model.encoder.vocab_size == 16


def test_an_altered_file_is_refused(root):
    file = root / "checkpoints" / "words.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(DataError, match="altered"):
        shipped.load("words", root)
    file.unlink()
    with pytest.raises(DataError, match="missing"):
        shipped.load("words", root)


def test_a_card_of_another_model_is_refused(root):
    path = root / "checkpoints" / "words.json"
    card = json.loads(path.read_text())
    card["config"]["tokenizer"]["blocks"] = 2
    path.write_text(json.dumps(card))
    with pytest.raises(DataError, match="does not fit its card"):
        shipped.load("words", root)


def test_an_unknown_name_lists_the_known_ones(root):
    with pytest.raises(UserError, match="choose from: words"):
        shipped.load("clip", root)


def test_a_run_that_is_not_finished_is_not_shipped(run, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "summary.json").unlink()
    with pytest.raises(UserError, match="not finished"):
        shipped.ship(copy, "words", root=tmp_path)


def test_the_learners_own_run_comes_first(run, root, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIVL_DATA", str(root))
    monkeypatch.setattr(shipped.pack, "find", lambda chosen=None: root)
    monkeypatch.chdir(tmp_path)
    _, told = shipped.trained("words")
    assert told == "the words that comes with minivl (4 steps)"
    # A run at size test teaches nothing: it is no model to go on with.
    assert shipped.own_run("dvae", run.parent) is None
    config = run / "config.yaml"
    text = config.read_text()
    try:
        config.write_text(text.replace("size: test", "size: tiny"))
        assert shipped.own_run("dvae", run.parent) == run
        assert shipped.own_run("dino", run.parent) is None
        monkeypatch.undo()
        monkeypatch.chdir(run.parent)
        _, told = shipped.trained("dvae", run.parent)
        assert told == "your own dvae: first, step-4"
    finally:
        config.write_text(text)


def test_an_own_run_that_does_not_fit_is_left_alone(monkeypatch, run):
    monkeypatch.setattr(shipped, "own_run", lambda name, folder: run)
    mine, told = shipped.trained("dvae", fits=lambda model: True)
    assert told == f"your own dvae: {run.name}, {told.split(', ')[1]}"
    with_us, told = shipped.trained("dvae", fits=lambda model: False)
    assert told.startswith("the dvae that comes with minivl") and run.name in told
    own, other = (next(iter(model.state_dict().values())) for model in (mine, with_us))
    assert own.shape != other.shape or not torch.equal(own, other)

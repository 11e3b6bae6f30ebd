"""The mim recipe: its tokenizer's stage, a tokenizer of another run, resuming, bad fields."""

import hashlib
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from minivl import cli
from minivl.commands.runs import check_fields
from minivl.errors import UserError
from minivl.recipes.mim import MimRecipe

ARGUMENTS = ["train", "mim", "--size", "test", "--training.threads", "1"]
ARGUMENTS += ["--dvae.training.threads", "1", "--out"]


def weights(folder, stage):
    return next((folder / "checkpoints" / stage).glob("step-20/model.safetensors"))


def outcome(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [(line["stage"], line["step"], line["loss"].hex()) for line in lines]
    return hashlib.sha256(weights(folder, "mim").read_bytes()).hexdigest(), losses


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of both stages."""
    folder = tmp_path_factory.mktemp("mim") / "whole"
    assert cli.main([*ARGUMENTS, str(folder)]) == 0
    return folder


def test_the_second_stage_keeps_the_first_ones_tokenizer(whole):
    tokenizer, model = (load_file(weights(whole, stage)) for stage in ("dvae", "mim"))
    assert tokenizer
    for name, value in tokenizer.items():
        assert torch.equal(model[f"tokenizer.{name}"], value)
    assert {path.stem for path in (whole / "figures").glob("*.png")} >= {"holes"}
    evaluated = json.loads((whole / "eval.json").read_text())
    assert {"validation/mim/accuracy", "photographs/mim/by_nearest"} <= set(evaluated)


def test_a_killed_run_resumes_bit_for_bit(whole, killed_and_resumed):
    broken = killed_and_resumed(ARGUMENTS[:-1], [("mim", 13)])
    assert outcome(broken) == outcome(whole)


def test_another_runs_tokenizer_takes_the_place_of_the_first_stage(whole, tmp_path):
    out = tmp_path / "second"
    # Its networks are the other run's, whatever this one's fields say.
    given = ["--tokenizer", str(whole), "--dvae.tokenizer.vocab-size", "99"]
    assert cli.main([*ARGUMENTS, str(out), *given]) == 0
    assert [path.name for path in (out / "checkpoints").iterdir() if path.is_dir()] == ["mim"]
    assert outcome(out) == (outcome(whole)[0], [x for x in outcome(whole)[1] if x[0] == "mim"])
    assert cli.main(["eval", str(out)]) == 0


def test_a_run_without_a_tokenizer_is_refused(tmp_path, capsys):
    other = tmp_path / "clip"
    other.mkdir()
    (other / "config.yaml").write_text("recipe: clip\nseed: 0\n")
    assert cli.main([*ARGUMENTS, str(tmp_path / "out"), "--tokenizer", str(other)]) == 2
    assert "is a run of clip, and holds no tokenizer" in capsys.readouterr().err
    assert cli.main([*ARGUMENTS, str(tmp_path / "out"), "--tokenizer", str(tmp_path)]) == 2
    assert "is not a run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (["--image.patch-size", "5"], "a multiple of the patches' side, 5"),
        (["--masks.share", "1.5"], "share is 1.5"),
        (["--image.stem", "conv", "--image.patch-size", "1"], "power of two"),
    ],
    ids=str,
)
def test_wrong_fields_are_named_before_the_run(tmp_path, capsys, field, message):
    out = tmp_path / "run"
    assert cli.main([*ARGUMENTS, str(out), *field]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_all_may_be_hidden_but_not_nothing(tmp_path, capsys):
    assert cli.main([*ARGUMENTS, str(tmp_path / "none"), "--masks.share", "0.01"]) == 2
    assert "share is 0.01" in capsys.readouterr().err
    assert cli.main([*ARGUMENTS, str(tmp_path / "all"), "--masks.share", "1"]) == 0


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_every_size_is_complete(size):
    recipe = MimRecipe.at_size(size)
    assert recipe.size == size == recipe.dvae.size
    recipe.check()
    recipe.masks.check()
    recipe.training.check()


def test_base_hides_75_of_196_patches_and_shows_the_tokenizer_112_pixels():
    recipe = MimRecipe.at_size("base")
    assert recipe.grid == (14, 14)
    assert round(recipe.masks.share * 196) == 75
    assert 14 * 2 ** (recipe.dvae.tokenizer.groups - 1) == 112


@pytest.mark.slow
def test_base_takes_a_real_step():
    from minivl.training.optim import make_optimizer

    recipe = MimRecipe.at_size("base")
    *_, stage = recipe.stages(0)
    torch.manual_seed(0)
    model = stage.build_model()
    parts = (model.image_encoder, model.tokenizer.encoder, model.tokenizer.decoder)
    counts = [sum(p.numel() for p in part.parameters()) for part in parts]
    assert counts == [86_567_656 - 768 * 1000 - 1000, 53_786_240, 43_829_766]
    (stream,) = stage.build_streams()
    batch = stream.examples.collate([stream.examples[0], stream.examples[1]])
    assert batch["patches_masked"].shape == (2, 14, 14)
    loss = model(batch)["mim"]
    assert 8 < loss.item() < 10  # ln 8,192 = 9.01
    loss.backward()
    before = model.head.decoder.detach().clone()
    make_optimizer(model, recipe.training).step()
    assert not torch.equal(before, model.head.decoder)


def test_an_evaluation_of_nothing_is_refused():
    from minivl.recipes.mim import Evaluation

    recipe = replace(MimRecipe.at_size("test"), evaluation=Evaluation(pictures=0))
    with pytest.raises(UserError, match="pictures"):
        check_fields(recipe)

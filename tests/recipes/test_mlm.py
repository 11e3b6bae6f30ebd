"""The mlm recipe: killed and resumed bit for bit, both streams, bad fields."""

import hashlib
import json
from dataclasses import replace

import pytest

from minivl import cli
from minivl.commands.runs import check_fields
from minivl.errors import UserError
from minivl.recipes.mlm import SIZES, MlmRecipe


def outcome(folder):
    weights = next((folder / "checkpoints" / "mlm").glob("step-20/model.safetensors"))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [(line["step"], line["stream"], line["loss"].hex()) for line in lines]
    return hashlib.sha256(weights.read_bytes()).hexdigest(), losses


def test_a_killed_run_resumes_bit_for_bit(tmp_path, killed_and_resumed):
    arguments = ["train", "mlm", "--size", "test", "--training.threads", "1"]
    whole = tmp_path / "whole"
    assert cli.main([*arguments, "--out", str(whole)]) == 0
    broken = killed_and_resumed(arguments, [("mlm", 13)])
    assert outcome(broken) == outcome(whole)
    assert {stream for _, stream, _ in outcome(whole)[1]} == {"glosses", "captions"}
    figures = {path.stem for path in (whole / "figures").glob("*.png")}
    assert figures == {"filled_glosses", "filled_captions"}
    assert "glosses/mlm/accuracy" in json.loads((whole / "eval.json").read_text())


def test_a_share_of_0_or_1_leaves_one_stream():
    for share, name in ((0.0, "glosses"), (1.0, "captions")):
        recipe = SIZES["test"]
        recipe = replace(recipe, data=replace(recipe.data, caption_share=share))
        (stage,) = recipe.stages(0)
        assert [stream.name for stream in stage.build_streams()] == [name]


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_every_size_is_complete(size):
    recipe = MlmRecipe.at_size(size)
    assert recipe.size == size
    recipe.data.check()
    recipe.scenes.check()
    recipe.training.check()


def test_wrong_fields_are_named_before_the_run(tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["train", "mlm", "--size", "test", "--out", str(out)]
    assert cli.main([*arguments, "--probability", "2"]) == 2
    assert "probability is 2" in capsys.readouterr().err
    assert cli.main([*arguments, "--text.heads", "3"]) == 2
    assert "multiple of 3 heads" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.slow
def test_base_takes_a_real_step():
    import torch

    from minivl.training.optim import make_optimizer

    recipe = MlmRecipe.at_size("base")
    (stage,) = recipe.stages(0)
    torch.manual_seed(0)
    model = stage.build_model()
    assert sum(p.numel() for p in model.parameters()) == 109_482_240 - 590_592 + 622_650 + 1536
    (stream,) = stage.build_streams()
    batch = stream.examples.collate([stream.examples[0], stream.examples[1]])
    assert 400 < batch["input_ids"].shape[1] <= 512
    loss = model(batch)["mlm"]
    assert loss.item() == pytest.approx(10.33, abs=0.5)  # ln 30,522
    loss.backward()
    before = model.text_encoder.word_embed.weight.detach().clone()
    make_optimizer(model, recipe.training).step()
    assert not torch.equal(before, model.text_encoder.word_embed.weight)


def test_an_evaluation_of_nothing_is_refused():
    from minivl.recipes.mlm import Evaluation

    recipe = replace(MlmRecipe.at_size("test"), evaluation=Evaluation(texts=0))
    with pytest.raises(UserError, match="texts"):
        check_fields(recipe)

"""What `minivl bench` makes of its timings; FLAVA's step beside transformers', ALBEF's beside the
same step as the paper tells it."""

import json
from dataclasses import replace

import pytest
import torch

from minivl import cli
from minivl.commands import bench_albef, bench_flava
from minivl.commands.bench_flava import as_theirs, in_their_words, rows
from minivl.commands.measure import Variant
from minivl.data.texts import TextSource
from minivl.errors import UserError
from minivl.models.flava import OBJECTIVES
from minivl.recipes.albef import AlbefRecipe
from minivl.recipes.flava import FlavaRecipe

SHARES = {"pairs": 0.70, "pictures": 0.15, "texts": 0.15}


def test_streams_count_by_their_shares_and_each_by_its_median():
    variant = Variant("float32", "float32", None)
    variant.seconds = {"a": [1.0, 9.0, 2.0], "b": [4.0, 4.0, 4.0]}
    variant.waited = {"a": [0.0, 3.0, 0.0], "b": [2.0, 2.0, 2.0]}
    assert variant.step_seconds({"a": 3.0, "b": 1.0}) == (3 * 2.0 + 4.0) / 4
    assert variant.step_seconds({"b": 0.2}) == 4.0
    assert variant.waiting({"a": 1.0, "b": 1.0}) == pytest.approx((1 + 2) / (4 + 4))


def test_the_mixture_is_the_mean_step_by_shares():
    seconds = {"pairs": [1.0, 2.0], "pictures": [0.4, 0.5], "texts": [0.2, 0.1],
               "pairs, codes given to both": [1.0, 1.5]}  # fmt: skip
    found = {row["name"]: row for row in rows(seconds, SHARES)}
    mixture = found["mixture 70:15:15"]
    assert mixture["ours"] == pytest.approx(0.7 + 0.06 + 0.03)
    assert mixture["theirs"] == pytest.approx(1.4 + 0.075 + 0.015)
    assert mixture["ratio"] == pytest.approx(1.49 / 0.79)
    assert found["pairs, codes given to both"]["ratio"] == 1.5


def test_fields_that_transformers_has_none_for_are_set_as_its_model_is_built():
    recipe = as_theirs(replace(FlavaRecipe.at_size("tiny"), objectives=("mim",)))
    assert set(recipe.objectives) == set(OBJECTIVES)
    assert recipe.image.stem == "patch" and recipe.image_pool == "cls"
    assert recipe.training.optimizer == "adamw"
    recipe = FlavaRecipe.at_size("tiny")
    with pytest.raises(UserError, match="widths 64, 96"):
        as_theirs(replace(recipe, text=replace(recipe.text, width=64)))


def test_a_batch_in_their_words_is_not_written_into():
    codes = torch.ones(2, 3, 3, dtype=torch.int64)
    batch = {"image": torch.zeros(2, 3, 4, 4), "visual_tokens": codes, "input_ids": codes[0],
             "mlm_input_ids": codes[0]}  # fmt: skip
    theirs = in_their_words(batch)
    assert set(theirs) == {"pixel_values", "mim_labels", "input_ids", "input_ids_masked"}
    theirs["mim_labels"].zero_()
    assert codes.all()
    assert set(in_their_words({"input_ids": codes, "mlm_labels": codes})) == {"mlm_labels"}


def test_padding_as_the_processor_does_leaves_the_losses_of_transformers_as_they_are():
    recipe = as_theirs(FlavaRecipe.at_size("test"))
    source = TextSource.load(recipe.texts, recipe.data)
    torch.manual_seed(0)
    ours, theirs = bench_flava.contenders(recipe, source, torch.device("cpu"))
    for stream in recipe.build_streams(source, 0):
        _, batch = bench_flava.batches(stream, ours.model, torch.device("cpu"))
        with torch.no_grad():
            short = theirs.model(**in_their_words(batch)).loss
            long = theirs.model(**in_their_words(batch, recipe.texts.max_length)).loss
        assert long.item() == pytest.approx(short.item(), rel=1e-5)


def test_bench_flava_measures_streams_and_the_other_implementation(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = ["bench", "flava", "--size", "test", "--steps", "2", "--rounds", "1"]
    assert cli.main([*argv, "--json", "b.json"]) == 0
    result = json.loads((tmp_path / "b.json").read_text())
    assert result["shares"] == SHARES
    names = [row["name"] for row in result["variants"]]
    assert names[0] == "float32"
    assert names[-3:] == [f"float32, {stream} only" for stream in SHARES]
    first, *_, pairs, pictures, texts = result["variants"]
    mean = 0.7 * pairs["step_seconds"] + 0.15 * (pictures["step_seconds"] + texts["step_seconds"])
    assert first["step_seconds"] == pytest.approx(mean)
    beside = result["beside"]
    assert [row["name"] for row in beside["rows"]] == [
        "mixture 70:15:15", "mixture 70:15:15, each as prepared",
        "pairs", "pairs, each as prepared", "pairs, codes given to both",
        "pictures", "pictures, each as prepared", "pictures, codes given to both",
        "texts", "texts, each as prepared",
    ]  # fmt: skip
    assert all(row["ratio"] == row["theirs"] / row["ours"] for row in beside["rows"])
    ours, theirs = beside["parameters"]
    assert theirs - ours == 3 * (32 * 32 + 32)
    told = capsys.readouterr().out
    assert "beside transformers" in told and "patch projections and class tokens" in told


def test_other_implementations_can_be_left_out(capsys, monkeypatch):
    monkeypatch.setattr(bench_flava, "compare", lambda *rest: 1 / 0)
    argv = ["bench", "flava", "--size", "test", "--steps", "2", "--rounds", "1", "--alone"]
    assert cli.main(argv) == 0
    assert "beside" not in capsys.readouterr().out


def test_bench_albef_takes_the_same_step_in_two_ways(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = ["bench", "albef", "--size", "test", "--steps", "2", "--rounds", "1"]
    assert cli.main([*argv, "--json", "b.json"]) == 0
    rows = json.loads((tmp_path / "b.json").read_text())["beside"]["rows"]
    told = capsys.readouterr().out
    assert [row["words"] < 1000 for row in rows] == [True, False] and rows[1]["words"] == 30_522
    for row in rows:
        assert row["ratio"] == row["reference"] / row["fused"]
        assert f"{row['ratio']:.2f}" in told


def test_both_ways_of_albefs_step_start_from_the_same_weights():
    stage = AlbefRecipe.at_size("test").stages(0)[-1]
    models = [bench_albef.contender(stage, step, torch.device("cpu")).model
              for step in bench_albef.STEPS]  # fmt: skip
    assert [model.step for model in models] == ["fused", "reference"]
    for one, other in zip(*(model.state_dict().values() for model in models), strict=True):
        assert torch.equal(one, other)

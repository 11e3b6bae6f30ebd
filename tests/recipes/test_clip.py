"""The clip recipe at size `test`: killed and resumed bit for bit; pictures of any world."""

import hashlib
import json
from dataclasses import replace

import pytest
import torch

from minivl import cli
from minivl.data.examples import SceneSource
from minivl.recipes.clip import ClipRecipe
from minivl.recipes.figures import contrastive_figures


def outcome(folder):
    weights = next((folder / "checkpoints" / "clip").glob("step-20/model.safetensors"))
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    losses = [(line["step"], line["loss"].hex()) for line in map(json.loads, lines)]
    return hashlib.sha256(weights.read_bytes()).hexdigest(), losses


def test_a_killed_run_resumes_bit_for_bit(tmp_path, killed_and_resumed):
    arguments = ["train", "clip", "--size", "test", "--training.threads", "1"]
    whole = tmp_path / "whole"
    assert cli.main([*arguments, "--out", str(whole)]) == 0
    broken = killed_and_resumed(arguments, [("clip", 13)])
    assert outcome(broken) == outcome(whole)


@pytest.mark.parametrize(
    ("objects", "max_length"), [((1, 1), 32), ((3, 4), 32), ((2, 2), 6)], ids=str
)
def test_figures_of_small_crowded_and_terse_worlds(objects, max_length):
    recipe = ClipRecipe.at_size("test")
    data = replace(recipe.data, objects=objects, max_length=max_length)
    source = SceneSource.load(data)
    torch.manual_seed(0)
    model = replace(recipe, data=data).build_model(source.text).eval()
    with torch.no_grad():
        figures = contrastive_figures(model, source, torch.device("cpu"))
    assert set(figures) == {"similarity", "retrieved_pictures", "retrieved_captions", "attention"}
    assert all(figure.caption.alt for figure in figures.values())

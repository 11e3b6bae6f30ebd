"""The clip recipe at size `test`: killed and resumed bit for bit; pictures of any world."""

import hashlib
import json
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from minivl import cli
from minivl.data.examples import SceneSource
from minivl.recipes.clip import ClipRecipe
from minivl.recipes.figures import contrastive_figures

KILLED = """
import os, signal, sys
from minivl import cli
from minivl.training import engine

step = engine.train_step

def dying(session, data):
    if session.state.step == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(session, data)

engine.train_step = dying
cli.main(sys.argv[1:])
"""


def outcome(folder):
    weights = next((folder / "checkpoints" / "clip").glob("step-20/model.safetensors"))
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    losses = [(line["step"], line["loss"].hex()) for line in map(json.loads, lines)]
    return hashlib.sha256(weights.read_bytes()).hexdigest(), losses


def test_a_killed_run_resumes_bit_for_bit(tmp_path):
    arguments = ["train", "clip", "--size", "test", "--training.threads", "1", "--out"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert cli.main([*arguments, str(whole)]) == 0
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments, str(broken)], capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert cli.main([*arguments, str(broken), "--resume"]) == 0
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

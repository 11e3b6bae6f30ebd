"""`minivl weights`: files in, files out, and a run that other commands take."""

import json
from dataclasses import replace

import pytest
import torch

from minivl import cli
from minivl.commands.runs import load_model, open_run
from minivl.recipes.albef import SIZES, AlbefRecipe
from minivl.weights import files
from minivl.weights.albef import from_official, to_official
from minivl.weights.starts import for_vqa, from_deit, with_twins

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pretrained(official):
    tensors = {
        n: v.float() if v.is_floating_point() else v for n, v in official("pretrain").items()
    }
    beside = {"config": {"queue_size": 6}, "epoch": 29}
    torch.save({"model": tensors, **beside}, "ALBEF.pth")
    return tensors


def same(found, wanted):
    """Equal; projections of patches, which the scale of colours goes through, but for rounding."""
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        if "patch_embed" in name:
            assert torch.allclose(found[name], value, rtol=1e-6, atol=1e-6), name
        else:
            assert torch.equal(found[name], value), name


def run(*argv):
    assert cli.main(["weights", *argv]) == 0


def refused(capsys, *argv):
    capsys.readouterr()
    assert cli.main(["weights", *argv]) == 2
    return capsys.readouterr().err


def test_there_and_back(pretrained, capsys):
    run("import", "albef", "ALBEF.pth", "--out", "ours.safetensors")
    told = capsys.readouterr().out
    ours = from_official(pretrained)
    assert f"{sum(v.numel() for v in ours.values()):,} numbers in ours.safetensors" in told
    same(files.read("ours.safetensors"), ours)
    run("export", "albef", "ours.safetensors", "--out", "back/again.pth")
    same(files.read("back/again.pth"), pretrained)
    assert set(torch.load("back/again.pth", weights_only=True)) == {"model"}


def test_pictures_of_another_size(pretrained):
    run("import", "albef", "ALBEF.pth", "--image-size", "10", "--out", "ours.safetensors")
    ours = files.read("ours.safetensors")
    assert ours["image_encoder.pos_embed"].shape == (1, 26, 8)
    assert ours["momentum_encoder.image_encoder.pos_embed"].shape == (1, 26, 8)


def test_for_a_task(pretrained):
    run("import", "albef", "ALBEF.pth", "--for", "vqa", "--out", "start.safetensors")
    same(files.read("start.safetensors"), for_vqa(from_official(pretrained)))


def test_deit(pretrained):
    start = "visual_encoder."
    image = {n.removeprefix(start): v for n, v in pretrained.items() if n.startswith(start)}
    torch.save({"model": image}, "deit.pth")
    run("import", "deit", "deit.pth", "--out", "image.safetensors")
    same(files.read("image.safetensors"), with_twins(from_deit(image)))


def test_mistakes(pretrained, official, capsys, tmp_path):
    torch.save({"model": official("ve")}, "ve.pth")
    out = ("--out", "out.safetensors")
    for argv, words in {
        ("import", "albef", "none.pth", *out): "there is no file none.pth",
        ("import", "deit", "ALBEF.pth", *out): "the file of DeiT lacks",
        ("import", "bert", "ALBEF.pth", *out): "the file of BERT lacks",
        ("import", "bert", "ALBEF.pth", "--for", "vqa", *out): "--for needs a pretrained ALBEF",
        ("import", "albef", "ve.pth", "--for", "vqa", *out): "no task starts from it",
        ("import", "albef", "ve.pth", "--out", "run"): "not of pretraining",
        (
            "import",
            "albef",
            "ALBEF.pth",
            "--image-size",
            "7",
            *out,
        ): "no multiple of the patches' 2",
        ("export", "albef", "none.safetensors", *out): "does not exist",
        ("export", "albef", "ALBEF.pth", *out): "no checkpoint in ALBEF.pth",
        ("export", "deit", "ALBEF.pth", *out): "nothing of ours is exported as deit",
        ("export", "albef", "ALBEF.pth", "--for", "vqa", *out): "--for is for import",
        ("export", "albef", "ALBEF.pth", "--out", "folder"): "is no file",
        ("import", "clip", "ALBEF.pth", *out): "cannot be 'clip'",
    }.items():
        assert words in refused(capsys, *argv), argv
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ALBEF.pth", "ve.pth"]


def test_a_run_that_others_take(monkeypatch, capsys, tmp_path):
    """A published file becomes a run whose model is the published one; another is not harmed."""
    recipe = AlbefRecipe.at_size("base")
    small = replace(
        recipe,
        image=replace(recipe.image, width=64, depth=2, heads=1, patch_size=8),
        text=replace(recipe.text, width=64, depth=1, heads=1, positions=9),
        fusion=replace(recipe.fusion, depth=2),
        data=replace(recipe.data, image_size=32, max_length=8),
        embed_dim=16,
        queue_size=24,
        training=replace(recipe.training, batch_size=8),
    )
    monkeypatch.setitem(SIZES, "base", small)
    torch.manual_seed(3)
    model = small.build_model(small.load_source().text)
    files.write("ALBEF.pth", to_official(model.state_dict()))
    run("import", "albef", "ALBEF.pth", "--out", "runs/official")
    trained = open_run("runs/official")
    assert trained.recipe == small and trained.name == "albef"
    again, path = load_model(trained.stages[-1], trained.run, CPU)
    same(again.state_dict(), model.state_dict())
    assert json.loads((path / "state.json").read_text())["source"] == "ALBEF.pth"
    run("export", "albef", "runs/official", "--out", "back.pth")
    same(files.read("back.pth"), files.read("ALBEF.pth"))
    assert "occupied" in refused(capsys, "import", "albef", "ALBEF.pth", "--out", "runs/official")
    tensors = files.read("ALBEF.pth")
    words = {n: v[:50] for n, v in tensors.items() if len(v.shape) and len(v) == 30_522}
    files.write("cut.pth", tensors | words)
    told = refused(capsys, "import", "albef", "cut.pth", "--out", "runs/cut")
    assert "(50, 64) in the weights, (30522, 64) in this model" in told
    assert not (tmp_path / "runs" / "cut").exists()

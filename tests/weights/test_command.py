"""`minivl weights`: files in, files out, and a run that other commands take."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.transforms import v2

from minivl import cli
from minivl.commands.runs import load_model, open_run
from minivl.data.text import WordPiece
from minivl.recipes.albef import SIZES, AlbefRecipe
from minivl.weights import files
from minivl.weights.albef import from_official, to_official
from minivl.weights.starts import from_deit, with_twins

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
        ("import", "albef", "ve.pth", "--out", "run"): "neither of pretraining nor of retrieval",
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
        ("export", "albef", "ALBEF.pth", "--image-size", "8", *out): "--image-size is for import",
        ("export", "albef", "ALBEF.pth", "--out", "folder"): "is no file",
        ("import", "clip", "ALBEF.pth", *out): "cannot be 'clip'",
    }.items():
        assert words in refused(capsys, *argv), argv
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ALBEF.pth", "ve.pth"]


@pytest.fixture
def small(monkeypatch):
    """The size that a published file is taken for, made small."""
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
    return small


def test_a_run_that_others_take(small, capsys, tmp_path):
    """A published file becomes a run whose model is the published one; another is not harmed."""
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


def test_retrieval_becomes_a_run_without_mlm(small, tmp_path, capsys):
    """Fine-tuned for retrieval there is no MLM head, and the queue knows its pictures."""
    torch.manual_seed(4)
    model = small.build_model(
        small.load_source().text, objectives=("itc", "itm"), distill=("itc",), id_targets=True
    )
    files.write("mscoco.pth", to_official(model.state_dict()))
    assert not any("mlm" in name or "cls." in name for name in files.read("mscoco.pth"))
    run("import", "albef", "mscoco.pth", "--image-size", "48", "--out", "runs/coco")
    trained = open_run("runs/coco")
    assert trained.recipe.objectives == ("itc", "itm") and trained.recipe.data.image_size == 48
    again, _ = load_model(trained.stages[-1], trained.run, CPU)
    state, theirs = again.state_dict(), model.state_dict()
    own = {name for name in state if "mlm_head" not in name and "pos_embed" not in name}
    assert theirs.keys() - {"id_queue"} == state.keys()
    for name in own:
        assert torch.allclose(state[name], theirs[name], rtol=1e-6, atol=1e-6), name
    assert all(value.isfinite().all() for value in state.values())
    stretched = state["image_encoder.pos_embed"]
    assert stretched.shape == (1, 37, 64) and theirs["image_encoder.pos_embed"].shape == (1, 17, 64)


def official_numbers(model, path, folder):
    """R@k both ways of a published model on a file, as its own code would find it: pictures in
    [0, 1] normalised, captions cleaned by hand, without [SEP]; similarity alone."""
    entries = json.loads(path.read_text())
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    pixels = []
    for entry in entries:
        with Image.open(folder / entry["image"]) as picture:
            whole = np.array(picture.resize((32, 32), Image.Resampling.BICUBIC))
        pixels.append(torch.from_numpy(whole).permute(2, 0, 1) / 255)
    pixels = v2.functional.normalize(torch.stack(pixels), mean, std)
    said = [
        one.lower().replace(",", "").rstrip(".") for entry in entries for one in entry["caption"]
    ]
    plain = WordPiece.load()
    with torch.no_grad():
        images = F.normalize(model.encode_image(pixels), dim=-1)
        texts = [model.encode_text(torch.tensor([plain.encode(one)[:-1][:9]])) for one in said]
        cosines = images @ F.normalize(torch.cat(texts), dim=-1).T
    owner = torch.arange(len(entries)).repeat_interleave(2)
    right = owner == torch.arange(len(entries))[:, None]
    found = {}
    for way, scores, truth in (
        ("image_to_text", cosines, right),
        ("text_to_image", cosines.T, right.T),
    ):
        for k in (1, 5, 10):
            hits = truth.gather(1, scores.topk(k).indices).any(dim=1)
            found[f"{way}_r{k}"] = hits.double().mean().item()
    return found


def test_an_official_file_gives_the_official_numbers(small, tmp_path):
    """From the published file to the table: names, colours, words and ranks all at once."""
    torch.manual_seed(5)
    published = small.build_model(
        small.load_source().text
    ).eval()  # in the official scale of colours
    with torch.no_grad():
        for parameter in published.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    noise, entries = np.random.default_rng(1), []
    for number in range(24):
        shape, base = (30, 50, 3), noise.integers(0, 200, 3)
        pixels = (base + noise.integers(0, 56, shape)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        words = noise.permutation(["dog", "Cats", "red", "a", "running", "two", "hat"])
        entries.append({"image": f"{number}.png",
                        "caption": [", ".join(words[:4]) + ".", " ".join(words[3:])]})  # fmt: skip
    (tmp_path / "pairs.json").write_text(json.dumps(entries))
    wanted = official_numbers(published, tmp_path / "pairs.json", tmp_path)
    files.write("ALBEF.pth", to_official(published.state_dict(), None))
    run("import", "albef", "ALBEF.pth", "--out", "runs/official")
    assert cli.main(["eval", "runs/official", "--pairs", "pairs.json", "--reranked", "5"]) == 0
    found = json.loads((tmp_path / "runs/official/eval.json").read_text())
    for name, value in wanted.items():
        assert found[f"pairs.json/retrieval/{name}"]["value"] == pytest.approx(value, abs=1e-9)
    assert len(set(wanted.values())) > 4
    assert "pairs.json/reranked/image_to_text_r10" in found

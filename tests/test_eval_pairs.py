"""`minivl eval RUN --pairs FILE`: real pairs through runs of every kind that can be asked."""

import json
import time
from functools import cache

import numpy as np
import pytest
from PIL import Image

from minivl import cli
from minivl.commands.eval import Watch, recalls
from minivl.commands.fields import parse
from minivl.commands.runs import settings
from minivl.data.captioned import CaptionSource
from minivl.data.pack import Pack
from minivl.data.texts import TextSource
from minivl.evaluation.metric import Metric
from minivl.training import checkpoint
from minivl.training.run import Run

pytestmark = pytest.mark.timeout(600)

RECIPES = {
    "clip": [],
    "flava": ["--objectives", "contrastive", "itm", "--pretraining"],
    "albef": [],
}


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """Drawings and texts are decoded in seconds: once for all."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in (Pack, TextSource, CaptionSource):
            patch.setattr(kind, "load", cache(kind.load))
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each recipe as it is before its first step."""
    folder = tmp_path_factory.mktemp("runs")
    for name, flags in RECIPES.items():
        recipe = parse(name, ["--size", "test", *flags])[1]
        stage = recipe.stages(0)[-1]
        run = Run(folder / name, settings(name, recipe, 0))
        with run.hold():
            weights = stage.build_model().state_dict()
            about = {"stage": stage.name, "step": 0}
            checkpoint.save(run.checkpoints / stage.name, 0, weights, {}, about)
        run.update_evaluation({"validation/retrieval/image_to_text_r1": Metric(0.5, 0.1, 8, 0, 1)})
    return folder


@pytest.fixture(scope="module")
def miniature(tmp_path_factory):
    """Eight photographs of noise with two captions each, one of them missing."""
    folder = tmp_path_factory.mktemp("coco")
    (folder / "val2014").mkdir()
    noise = np.random.default_rng(0)
    entries = []
    for number in range(8):
        pixels = noise.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "val2014" / f"{number}.jpg")
        captions = ["A dog on the left.", f"A picture of {number} zebras, running."]
        entries.append({"image": f"val2014/{number}.jpg", "caption": captions})
    (folder / "val2014" / "5.jpg").unlink()
    (folder / "mini_test.json").write_text(json.dumps(entries))
    return folder


def failure(capsys, *argv):
    capsys.readouterr()
    code = cli.main(["eval", *map(str, argv)])
    return code, capsys.readouterr().err


@pytest.mark.parametrize("name", RECIPES)
def test_pairs_are_measured_stored_and_told(runs, miniature, name, capsys):
    run, file = runs / name, miniature / "mini_test.json"
    before = json.loads((run / "eval.json").read_text())
    assert cli.main(["eval", str(run), "--pairs", str(file)]) == 0  # --images: the file's folder
    out = capsys.readouterr().out
    after = json.loads((run / "eval.json").read_text())
    assert {key: after[key] for key in before} == before
    new = after.keys() - before.keys()
    ways = {"retrieval", "reranked"} if name == "albef" else {"retrieval"}
    assert new == {
        f"mini_test.json/{way}/{side}_r{k}"
        for way in ways
        for side in ("image_to_text", "text_to_image")
        for k in (1, 5, 10)
    }
    assert after["mini_test.json/retrieval/image_to_text_r1"]["n"] == 7
    assert after["mini_test.json/retrieval/text_to_image_r1"]["n"] == 14
    assert "mini_test.json: 7 pictures, 14 captions" in out and "TR R@10" in out
    assert ("ranked by fusion" in out) == (name == "albef")
    lost = f"{miniature / 'val2014/5.jpg'} does not exist"
    assert lost in out and "left out of mini_test.json: 1" in out
    assert (run / "left_out_mini_test.json.txt").read_text() == f"{lost}\n"
    assert "words are unknown to this run" in out and "captions read 14/14" in out
    assert "mini_test.json" in (run / "report.html").read_text()


def test_a_list_of_before_does_not_stay(runs, miniature, tmp_path, capsys):
    entries = json.loads((miniature / "mini_test.json").read_text())
    (tmp_path / "mini_test.json").write_text(json.dumps([entries[0], entries[1]]))
    run = runs / "clip"
    (run / "left_out_mini_test.json.txt").write_text("old\n")
    argv = ["eval", str(run), "--pairs", str(tmp_path / "mini_test.json")]
    assert cli.main([*argv, "--images", str(miniature)]) == 0
    assert not (run / "left_out_mini_test.json.txt").exists()
    assert "left out" not in capsys.readouterr().out


def test_nothing_is_ranked_anew_where_that_is_asked(runs, miniature, capsys):
    argv = ["eval", str(runs / "albef"), "--pairs", str(miniature / "mini_test.json")]
    assert cli.main([*argv, "--reranked", "0"]) == 0
    assert "ranked by fusion" not in capsys.readouterr().out


def test_mistakes(runs, miniature, tmp_path, capsys):
    file = miniature / "mini_test.json"
    (tmp_path / "bad.json").write_text("{")
    for argv, code, words in (
        ((runs / "clip", "--images", miniature), 2, "--images is for pairs of your own"),
        ((runs / "clip", "--reranked", 4), 2, "--reranked is for pairs of your own"),
        ((runs / "clip", "--pairs", file, "--reranked", 4), 2, "needs ALBEF's matching head"),
        ((runs / "albef", "--pairs", file, "--reranked", -1), 2, "--reranked is -1"),
        ((runs / "clip", "--pairs", file, "--task", "retrieval"), 2, "--task is for scenes"),
        ((runs / "clip", "--pairs", tmp_path / "none.json"), 2, "there is no file"),
        ((runs / "clip", "--pairs", tmp_path / "bad.json"), 4, "is no JSON"),
        ((runs / "clip", "--pairs", file, "--images", tmp_path), 4, "no picture with a caption"),
        ((runs / "clip", "--pairs", file, "--images", tmp_path / "none"), 2, "there is no folder"),
    ):
        told = failure(capsys, *argv)
        assert told[0] == code and words in told[1], argv
    config = runs / "albef" / "config.yaml"
    kept = config.read_text()
    assert "- itc\n" in kept
    config.write_text(
        kept.replace("- itc\n", "", 1).replace("negatives: hard", "negatives: random")
    )
    told = failure(capsys, runs / "albef", "--pairs", file)
    config.write_text(kept)
    assert told[0] == 2 and "cannot say how similar" in told[1]


def test_the_table():
    metrics = {
        f"retrieval/{way}_r{k}": Metric(k / 10, 0.0004 * k, n, 0, 1)
        for way, n in (("image_to_text", 5000), ("text_to_image", 25_010))
        for k in (1, 5, 10)
    }
    title, head, similar, chance = recalls("coco_test.json", metrics).splitlines()
    assert title == "coco_test.json: 5,000 pictures, 25,010 captions"
    assert head.split() == "% TR R@1 TR R@5 TR R@10 IR R@1 IR R@5 IR R@10".split()
    assert similar.split()[-6:] == ["10.0", "50.0", "100.0"] * 2
    assert chance.split()[-6:] == ["0.04", "0.2", "0.4"] * 2


def test_a_long_evaluation_says_how_long_it_will_still_take(monkeypatch, capsys):
    now = iter([0, 2, 6, 8, 20, 30, 31])
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    watch = Watch()
    for done in (10, 20, 30, 40, 100):
        watch("pictures read", done, 100)
    watch("captions read", 1, 9)
    watch("captions read", 9, 9)
    # At 6 s 20 more were read since the first: 70 are left.
    assert capsys.readouterr().out.splitlines() == [
        "pictures read 30/100  ETA 0:21",
        "pictures read 100/100",
        "captions read 9/9",
    ]

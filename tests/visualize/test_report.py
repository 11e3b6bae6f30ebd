import json
import math
import os
import re
from html.parser import HTMLParser

import pytest
import torch

from minivl.data.unit_tasks import GLUE, REAL_BOXES
from minivl.errors import UserError
from minivl.evaluation.table import SENTENCES
from minivl.visualize import results, stages
from minivl.visualize.contents import choices
from minivl.visualize.report import duration, levels, typed, write_report
from minivl.visualize.style import Caption, Picture

VOID = {"meta", "link", "img", "br", "hr"}
EVIL = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'


class Page(HTMLParser):
    """Reads a page: its tags with attributes, its visible text, and whether every tag closes."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    def find(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def metric(value, chance=0.0039, n=1024, low=None, high=None):
    return {"value": value, "chance": chance, "n": n, "low": low, "high": high}


@pytest.fixture
def run(tmp_path):
    """A finished run."""
    folder = tmp_path / "clip run"
    (folder / "figures").mkdir(parents=True)
    (folder / "config.yaml").write_text(
        "recipe: clip\nseed: 3\ntraining:\n  steps: 40\n  batch_size: 128\n  accumulate: 2\n"
    )
    lines = [
        {"stage": "clip", "step": s, "loss": 4 / s, "contrastive": 4 / s, "lr": 1e-3}
        for s in range(1, 41)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    evaluation = {
        "validation/retrieval/image_to_text_r1": metric(0.9234, low=0.9051, high=0.9382),
        "twemoji/retrieval/image_to_text_r1": metric(0.615),
        "twemoji/retrieval/median_rank": metric(2.0, 128.5),
        "compositions/zeroshot/accuracy": metric(0.5, None, 480),
    }
    (folder / "eval.json").write_text(json.dumps(evaluation))
    took = {"steps": 40, "seconds": 151.3, "samples_per_second": 1355.6, "data_wait_share": 0.008}
    (folder / "summary.json").write_text(json.dumps({"stages": {"clip": took}}))
    environment = {"command": "minivl train clip --size tiny", "torch": "2.15.0", "device": "cpu"}
    (folder / "environment.json").write_text(json.dumps(environment))
    picture = Picture(figsize=(1, 1))
    picture.caption = Caption("Own title", "own alt", "own text")
    picture.savefig(folder / "figures" / "own.png")
    return folder


def read(folder):
    text = write_report(folder).read_text(encoding="utf-8")
    return Page(text), text


def test_numbers_stand_beside_chance_interval_and_size(run):
    page, _ = read(run)
    assert "picture → caption, R@1 92.3 % 90.5 to 93.8 0.4 % 1,024" in page.text
    assert "median rank 2 – 128.5 1,024" in page.text
    assert "zero-shot, accuracy 50.0 % – – 480" in page.text
    heads = re.findall(r"(validation|twemoji|compositions) (?:known|an artist|pairs)", page.text)
    assert heads == ["validation", "twemoji", "compositions"]


def test_numbers_are_called_as_the_terminal_calls_them(run):
    path = write_report(run, {"zeroshot/accuracy": "naming", "retrieval/median_rank": "middle"})
    shown = Page(path.read_text(encoding="utf-8")).text
    assert "naming 50.0 % – – 480" in shown and "middle 2 – 128.5 1,024" in shown
    assert "picture → caption, R@1 92.3 %" in shown and "zero-shot, accuracy" not in shown


def test_the_page_holds_everything_of_the_run(run):
    page, text = read(run)
    assert "Finished: clip 40 of 40 steps." in page.text
    for words in ("minivl train clip --size tiny", "2.15.0", "2 min 31 s", "1,356 samples/s", "3"):
        assert words in page.text
    assert "batch_size: 128" in page.text and page.find("details")
    assert "Own title" in page.text and "own text" in page.text
    curves, own = page.find("img")
    assert "contrastive goes from 4 to 0.1" in curves["alt"] and own["alt"] == "own alt"


def test_the_page_opens_offline_and_runs_nothing(run):
    page, text = read(run)
    for tag, attributes in page.tags:
        assert tag not in {"script", "iframe", "object", "embed", "base", "form", "a"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "srcset", "action", "poster", "background"}:
                assert value.startswith("data:")
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    assert "url(" not in style and "@import" not in style and "@font-face" not in style
    assert "//" not in re.sub(r'src="data:image/png;base64,[A-Za-z0-9+/=]+"', "", text)
    policy = next(m for m in page.find("meta") if m.get("http-equiv"))
    assert policy["content"].startswith("default-src 'none'")
    assert os.listdir(run).count("report.html") == 1 and not list(run.glob("*.tmp*"))


def test_readable_on_a_phone_and_in_the_dark(run):
    page, text = read(run)
    assert any(m.get("name") == "viewport" for m in page.find("meta"))
    assert "prefers-color-scheme: dark" in text and "color-scheme: light dark" in text
    assert page.find("html")[0]["lang"] == "en" and all(i["alt"] for i in page.find("img"))


def test_text_from_the_run_is_never_markup(run):
    (run / "config.yaml").write_text(f"caption: '{EVIL}'\ncommand: '{EVIL}'\n")
    (run / "environment.json").write_text(json.dumps({EVIL: EVIL, "command": EVIL}))
    (run / "eval.json").write_text(json.dumps({f"{EVIL}/{EVIL}": metric(0.5), EVIL: 0.5}))
    (run / "summary.json").write_text(json.dumps({EVIL: EVIL, "stages": {EVIL: {EVIL: EVIL}}}))
    caption = {"title": EVIL, "alt": EVIL, "text": EVIL}
    (run / "figures" / "captions.json").write_text(json.dumps({"own": caption}))
    (run / "metrics.jsonl").write_text(json.dumps({"stage": EVIL, "step": 1, EVIL: 2.0}) + "\n")
    page, text = read(run)
    assert "<script" not in text and not page.find("script")
    assert len(page.find("img")) == 2
    assert all("onerror" not in attributes for _, attributes in page.tags)
    assert page.text.count("<script>alert(1)</script>") >= 8


def test_captions_json_comes_before_the_pictures_own_words(run):
    captions = {"own": {"title": "Given title"}, "absent": {"title": "nobody"}}
    (run / "figures" / "captions.json").write_text(json.dumps(captions))
    page, _ = read(run)
    assert "Given title" in page.text and "Own title" not in page.text and "own text" in page.text
    assert "nobody" not in page.text


def test_a_picture_without_words_is_called_by_its_name(run):
    from matplotlib.figure import Figure

    Figure(figsize=(1, 1)).savefig(run / "figures" / "where_it_looks.png")
    page, _ = read(run)
    assert "Where it looks" in page.text
    assert page.find("img")[-1]["alt"] == "Where it looks"


def test_an_interrupted_run_says_so_and_how_to_go_on(run):
    (run / "summary.json").unlink()
    (run / "eval.json").unlink()
    text = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(text[: text.index('{"stage": "clip", "step": 31') + 20])
    page, _ = read(run)
    assert "Not finished (interrupted, or still running): clip 30 of 40 steps." in page.text
    assert "Not evaluated yet" in page.text
    assert "minivl train clip --size tiny --resume" in page.text
    assert "damaged" not in page.text, "a last line cut by a kill is no damage"


def test_only_a_config(tmp_path):
    (tmp_path / "config.yaml").write_text("{}\n")
    page, _ = read(tmp_path)
    assert "No step has been logged yet." in page.text
    assert "recorded no environment" in page.text


@pytest.mark.parametrize(
    "name, content, complaint",
    [
        ("eval.json", b'{"a": ', "eval.json is damaged"),
        ("eval.json", b"[1, 2]", "eval.json is damaged"),
        ("eval.json", b"\xff\xfe", "eval.json is damaged"),
        ("summary.json", b"nonsense", "summary.json is damaged"),
        ("config.yaml", b"a: [1\n", "config.yaml is damaged"),
        ("config.yaml", b"just words", "config.yaml is damaged"),
        ("metrics.jsonl", b'{"step": 1}\n{oops\n3\n{"step": 2}\n', "metrics.jsonl left out: 2"),
        ("figures/own.png", b"\x89PNG junk", "own.png is no readable picture"),
        ("figures/captions.json", b"?", "captions.json is damaged"),
    ],
)
def test_damage_is_said_and_the_rest_is_shown(run, name, content, complaint):
    (run / name).write_bytes(content)
    page, _ = read(run)
    assert complaint in page.text
    assert "What next" in page.text and "Settings" in page.text


@pytest.mark.parametrize(
    "value",
    [
        {"value": None, "chance": None, "n": None, "low": None, "high": None},
        {"value": float("nan"), "chance": 0.5, "n": 3},
        {"value": "many"},
        "many",
        None,
        {},
    ],
)
def test_odd_metrics_are_dashes(run, value):
    (run / "eval.json").write_text(json.dumps({"validation/odd": value}))
    page, _ = read(run)
    assert "odd –" in page.text


def test_what_is_no_run_is_the_users_mistake(tmp_path):
    with pytest.raises(UserError, match="is not a run"):
        write_report(tmp_path / "nowhere")


def test_a_report_is_replaced_as_a_whole(run, monkeypatch):
    write_report(run)
    before = (run / "report.html").read_bytes()

    def no_space(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(OSError):
        write_report(run)
    assert (run / "report.html").read_bytes() == before and not list(run.glob("*.tmp*"))


def test_versions_come_from_the_newest_checkpoint(run):
    (run / "environment.json").unlink()
    for step, version in ((9, "1.0.old"), (10, "9.9.new")):
        path = run / "checkpoints" / "clip" / f"step-{step}" / "state.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"versions": {"torch": version}, "seconds": 3}))
        os.utime(path, (step, step))
    page, _ = read(run)
    assert "9.9.new" in page.text and "1.0.old" not in page.text


def test_skipped_samples_are_counted(run):
    (run / "skipped.jsonl").write_text('{"why": "broken"}\n' * 3)
    assert "3 (skipped.jsonl says which and why)" in read(run)[0].text


def test_chance_of_a_contrastive_loss_is_read_from_the_settings():
    settings = {"training": {"batch_size": 128, "accumulate": 2}}
    assert levels(settings)["contrastive"][1] == "untrained: ln 64 = 4.16"
    for odd in ({}, {"batch_size": "many"}, {"batch_size": 1}, {"training": None}):
        assert "contrastive" not in levels(odd)
    # Of several stages the last one's batch counts, which is the one at the top.
    nested = {"dvae": {"training": {"batch_size": 16}}, "training": {"batch_size": 96}}
    assert levels(nested)["contrastive"][0] == pytest.approx(math.log(96))


def test_chance_of_other_losses_is_that_of_a_guess():
    found = levels({"pairs": {"mismatched": 0.25}}, {"mlm": 3400, "mim": 256})
    assert found["mlm"][0] == pytest.approx(math.log(3400)) and "ln 256" in found["mim"][1]
    # Who always says that a pair is right is wrong for a quarter of them.
    assert found["itm"][0] == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75))
    for half in ({}, {"pairs": {"mismatched": 0.25}, "itm_negatives": "neighbours"}):
        assert levels(half)["itm"][0] == pytest.approx(math.log(2))


FIVE = ("dvae", "dino", "mim", "mlm", "joint")
HOMES = {
    "validation/reconstruction/psnr": "dvae", "validation/attention/pointing": "dino",
    "validation/knn/accuracy_untrained": "dino", "validation/image_linear/accuracy": "joint",
    "glosses/mlm/accuracy": "mlm", "validation/mim/top5": "mim",
    "validation/itm/mirrored": "joint", "twemoji/mmm_text/without_picture": "joint",
}  # fmt: skip


@pytest.fixture
def five_stages(tmp_path):
    """A run of FLAVA's five stages."""
    from safetensors.torch import save_file

    folder = tmp_path / "flava"
    (folder / "figures").mkdir(parents=True)
    (folder / "config.yaml").write_text("recipe: flava\ntraining:\n  batch_size: 8\n")
    lines = []
    for stage in FIVE:
        for step in range(1, 4):
            own = {"joint": {"mlm": 3.0, "itm": 0.6}}.get(stage, {stage: 2.0})
            lines.append({"stage": stage, "step": step, "loss": sum(own.values()), "lr": 0.1} | own)
        path = folder / "checkpoints" / stage / "step-3"
        path.mkdir(parents=True)
        (path / "state.json").write_text("{}")
        bias = {"joint": "mlm_head.bias", "mim": "head.bias"}.get(stage, "encoder.bias")
        save_file({bias: torch.zeros(77 if stage == "joint" else 33)}, path / "model.safetensors")
        picture = Picture(figsize=(1, 1))
        picture.caption = Caption(f"Picture of {stage}", "alt")
        # The names' alphabet is not the stages' order.
        name = f"{9 - FIVE.index(stage)}.png"
        picture.savefig(folder / "figures" / name, metadata={"Stage": stage})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    evaluation = {key: metric(0.5) for key in HOMES}
    evaluation["validation/reconstruction/psnr"] = {"value": 17.54, "chance": 13.1, "n": 9,
                                                    "unit": "dB"}  # fmt: skip
    (folder / "eval.json").write_text(json.dumps(evaluation))
    return folder


def test_stages_stand_in_their_order_under_headings_that_explain_them(five_stages):
    page, _ = read(five_stages)
    results_part, rest = page.text.split("Learning curves", 1)
    curves_part, pictures = rest.split("Pictures Stage", 1)
    pictures = f"Stage{pictures}"
    headings = [f"Stage {number} of 5, {stage}:" for number, stage in enumerate(FIVE, 1)]
    for part in (curves_part, pictures):
        places = [part.index(heading) for heading in headings]
        assert places == sorted(places)
    # The last stage's numbers come first, then the others in their order.
    places = [results_part.index(heading) for heading in [headings[-1], *headings[:-1]]
              if heading in results_part]  # fmt: skip
    assert len(places) == 5 and places == sorted(places)
    shown = [pictures.index(f"Picture of {stage}") for stage in FIVE]
    assert shown == sorted(shown)
    for picture, following in zip(shown[:-1], headings[1:], strict=True):
        assert picture < pictures.index(following)
    assert "a codebook" in page.text and "17.54 dB" in page.text and "13.1 dB" in page.text
    assert "true pair or its mirrored twin's caption?" in page.text
    assert "definitions never read" in page.text


@pytest.mark.parametrize("kind", ["run", "five_stages"])
def test_no_level_of_headings_is_left_out(kind, request):
    page, _ = read(request.getfixturevalue(kind))
    levels_ = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels_[0] == 1
    assert all(after - before <= 1 for before, after in zip(levels_, levels_[1:], strict=False))


def test_every_number_stands_with_the_stage_that_made_it():
    assert {key: stages.home(key, FIVE) for key in HOMES} == HOMES
    assert stages.home("validation/retrieval/image_to_text_r1", ["clip"]) == "clip"
    assert stages.home("validation/mim/accuracy", ["dvae", "joint"]) == "joint"
    assert stages.home("validation/knn/accuracy", ["dvae", "dino", "mim"]) == "dino"
    assert stages.home("loss", []) == ""


def test_one_stage_needs_no_headings(run):
    page, _ = read(run)
    assert "Stage 1" not in page.text


def test_choices_are_read_from_the_weights_of_the_newest_checkpoints(five_stages):
    from safetensors.torch import save_file

    assert choices(five_stages) == {"mlm": 77, "mim": 33}
    newer = five_stages / "checkpoints" / "mim" / "step-10"
    newer.mkdir()
    (newer / "state.json").write_text("{}")
    save_file({"head.bias": torch.zeros(5)}, newer / "model.safetensors")
    assert choices(five_stages)["mim"] == 5
    for junk in (b"", b"\xff" * 64, b"\x02" + bytes(7) + b"[]"):
        (newer / "model.safetensors").write_bytes(junk)
        assert choices(five_stages) == {"mlm": 77}
    write_report(five_stages)


def test_units_tasks_choose_among_their_answers_but_questions_ask_of_each_alone(tmp_path):
    from safetensors.torch import save_file

    folder = tmp_path / "checkpoints" / "unit" / "step-4"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text("{}")
    heads = {"scene-ve.classifier.bias": 3, "scene-ve.classifier.dense.bias": 9,
             "scene-vqa.classifier.bias": 62, "scene-detection.class_embed.bias": 49}  # fmt: skip
    weights = {f"heads.{name}": torch.zeros(size) for name, size in heads.items()}
    save_file(weights, folder / "model.safetensors")
    assert choices(tmp_path) == {"scene-ve/answer": 3}


def test_headlines_are_the_four_that_say_most():
    names = ("image_to_text_r10", "image_to_text_r1", "text_to_image_r1")
    evaluation = {
        f"{split}/retrieval/{name}": metric(0.5)
        for split in ("compositions", "twemoji", "validation")
        for name in names
    }
    evaluation |= {"validation/minimal_pairs/accuracy": metric(0.97, 0.5)}
    cards = Page(results.headlines(evaluation)).text
    assert cards.count("chance") == 4 and "R@10" not in cards
    assert cards.index("validation") < cards.index("twemoji") and "97.0 %" in cards
    assert results.headlines({}) == ""


UNIT = {
    f"{split}/{task}/{name}": metric(0.5)
    for split in ("validation", "twemoji")
    for task, names in {
        "scene-detection": ("ap", "ap50", "ap75", "ap_medium"),
        "scene-attributes": ("ap", "ap50", "size"),
        "scene-vqa": ("accuracy", "where"),
        "scene-ve": ("accuracy",),
    }.items()
    for name in names
}


def test_headlines_of_many_tasks_are_one_a_task():
    def cards(evaluation):
        named = {name.partition("/")[2]: f"[{name.partition('/')[2]}]" for name in evaluation}
        return re.findall(r"\[(.*?)\]", Page(results.headlines(evaluation, names=named)).text)

    assert cards(UNIT) == [
        "scene-detection/ap50", "scene-attributes/ap50", "scene-vqa/accuracy", "scene-ve/accuracy",
    ]  # fmt: skip
    boxes = {key: one for key, one in UNIT.items() if "scene-detection" in key}
    assert cards(boxes)[:2] == ["scene-detection/ap50"] * 2, "of both splits"
    assert len(cards(boxes)) == 4


def test_words_of_the_table_are_explained_where_it_has_them(run):
    page, _ = read(run)
    assert "AP50" not in page.text
    evaluation = UNIT | {"validation/scene-sentences/scenery": metric(0.5)}
    (run / "eval.json").write_text(json.dumps(evaluation))
    page, _ = read(run)
    for words in ("AP50: all boxes", "Medium: as large", "covers the thing by half", "scenery: “a"):
        assert page.text.count(words) == 1
    assert "pixels; small" not in page.text, "of COCO's own pictures"


def test_published_files_and_sentences_are_under_no_artists(run):
    assert set(results.PUBLISHED) == {*REAL_BOXES, *GLUE}
    assert results.SENTENCES == SENTENCES
    files = {f"validation/{task}/ap50": metric(0.5) for task in results.PUBLISHED}
    page = Page(results.table(files | UNIT))
    heads = re.findall(r"validation known artists|twemoji an artist|published validation files",
                       page.text)  # fmt: skip
    assert heads == ["published validation files", "validation known artists", "twemoji an artist"]
    alone = Page(results.headlines(files) + results.table(files)).text
    assert "artists" not in alone and alone.count("published validation files") == 4 + 1
    sentences = {f"validation/{task}/accuracy": metric(0.5) for task in SENTENCES}
    assert "validation sentences alone" in Page(results.table(sentences)).text
    assert "known artists" in Page(results.table(sentences | UNIT)).text


def test_bars_reach_as_far_as_the_value():
    drawn = results.bar(metric(0.25, 0.5, low=0.2, high=1.3))
    assert 'class="value" style="width:25.00%"' in drawn
    assert 'class="range" style="left:20.00%;width:80.00%"' in drawn
    assert 'class="chance" style="left:50.00%"' in drawn


@pytest.mark.parametrize(
    "key, value, shown",
    [
        ("validation/retrieval/text_to_image_r5", 0.5, True),
        ("validation/retrieval/median_rank", 1.0, False),
        ("validation/loss", 0.3, False),
        ("validation/cider", 1.2, False),
        ("glosses/mlm/accuracy", 0.4, True),
    ],
)
def test_only_shares_are_shown_in_per_cent(key, value, shown):
    assert results.is_share(key, metric(value)) is shown


def test_small_words():
    assert [duration(s) for s in (5.4, 151.3, 7300)] == ["5 s", "2 min 31 s", "2 h 1 min"]
    assert results.number(1 / 65536, True) == "0.0015 %" and results.number(0.0, True) == "0.0 %"
    assert results.readable("retrieval/text_to_image_r10") == "caption → picture, R@10"


def test_folders_are_shown_as_one_types_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert typed(tmp_path / "runs" / "a b") == "'runs/a b'"
    assert typed(tmp_path.parent) == str(tmp_path.parent)

"""`minivl show` of runs of ALBEF: where each word is."""

import shutil

import pytest
import torch

from minivl import cli
from minivl.commands import show
from minivl.commands.runs import load_model, open_run
from minivl.data.examples import to_tensor
from minivl.visualize.style import read_caption
from minivl.visualize.words_on_picture import words_on_picture

FEW = ["--evaluation.pool-size", "4", "--evaluation.matched", "4", "--evaluation.named", "4"]
FEW += ["--evaluation.mirrored-pairs", "2", "--evaluation.masked", "4"]


@pytest.fixture(scope="module")
def albef(tmp_path_factory):
    """The folder of a run of ALBEF of two steps."""
    folder = tmp_path_factory.mktemp("runs") / "albef"
    argv = ["train", "albef", "--size", "test", "--training.threads", "1", "--training.steps", "2"]
    assert cli.main([*argv, *FEW, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def opened(albef):
    """The run's model and its scenes."""
    trained = open_run(albef)
    source = show.source_of(trained)
    model, _ = load_model(trained.stages[-1], trained.run, show.device())
    return model, source


def without(albef, tmp_path, objective):
    """A copy of the run that says it was trained without an objective."""
    folder = shutil.copytree(albef, tmp_path / "copy")
    config = (folder / "config.yaml").read_text()
    assert f"- {objective}\n" in config
    (folder / "config.yaml").write_text(config.replace(f"- {objective}\n", "", 1))
    return folder


def test_each_word_is_drawn_and_the_head_says_if_it_matches(albef, capsys):
    assert cli.main(["show", str(albef), "twemoji:7", "a dog on the left"]) == 0
    said = capsys.readouterr().out
    assert "a dog on the left  <- yours" in said and "sure that they do" in said
    caption = read_caption(albef / "show" / "twemoji_7.png")
    assert caption.title == "Where the words are" and "a dog on the left" in caption.alt


def test_shares_are_of_cosines_over_the_temperature(opened):
    model, source = opened
    image, caption = show.picture_of("scene:3", source)
    sentences = [caption, "a dog on the left", "a cat on the right"]
    shares = show.compare(model, source, image, sentences)
    text = source.text.batch(sentences)
    with torch.no_grad():
        own = model.encode_image(to_tensor(image[None]))
        told = model.encode_text(text["input_ids"], text["attention_mask"])
        cosines = torch.cosine_similarity(own, told)
    expected = (cosines / model.temperature.item()).softmax(0)
    assert shares == pytest.approx(expected.tolist(), abs=1e-6)


def test_the_verdict_is_the_matching_heads(opened):
    model, source = opened
    image, caption = show.picture_of("scene:3", source)
    sentences = [caption, "a dog on the left"]
    told = show.verdicts(model, source, image, sentences)
    text = source.text.batch(sentences)
    pixels = to_tensor(image[None]).expand(2, -1, -1, -1)
    with torch.no_grad():
        scores = model.matching_scores(pixels, text["input_ids"], text["attention_mask"])
    assert told == pytest.approx(scores.sigmoid().tolist(), abs=1e-5)


def test_the_picture_is_that_of_the_sentence_that_was_asked(opened, monkeypatch):
    model, source = opened
    image, _ = show.picture_of("scene:3", source)
    drawn = {}
    from minivl.visualize import words_on_picture as figures

    def keep(found, **options):
        drawn.update(found=found, **options)

    monkeypatch.setattr(figures, "words_figure", keep)
    show.draw_words(model, source, image, "a dog on the left", 0.875)
    found = words_on_picture(model, source.text, image, "a dog on the left")
    assert torch.equal(drawn["found"].maps, found.maps)
    assert "87.5% sure" in drawn["note"]


def test_a_run_without_matching_shows_its_attention(albef, tmp_path, capsys):
    folder = without(albef, tmp_path, "itm")
    assert cli.main(["show", str(folder), "scene:0"]) == 0
    assert "sure that they do" not in capsys.readouterr().out
    assert read_caption(folder / "show" / "scene_0.png").title == "Where the model looks"


def test_a_run_without_contrast_cannot_compare(albef, tmp_path, capsys):
    folder = without(albef, tmp_path, "itc")
    assert cli.main(["show", str(folder), "scene:0"]) == 2
    said = capsys.readouterr().err
    assert "this run had none" in said and "--objectives itc" in said

import io

import numpy as np
import pytest
from PIL import Image

from minivl.data.captions import captions
from minivl.data.examples import SPLITS, SceneData, SceneSource
from minivl.visualize.browser import SPLIT_NAMES, browse, scene_card, scene_sheet
from minivl.visualize.style import png_bytes


@pytest.fixture(scope="module")
def source():
    return SceneSource.load(SceneData(image_size=48, objects=(1, 4)))


@pytest.mark.parametrize("index", range(6))
def test_a_card_shows_picture_boxes_and_sentences(source, index, texts, check_legible):
    examples = source.examples("train", 0)
    figure = scene_card(examples, index)
    check_legible(figure)
    scene = examples.scene(index)
    shown = figure.axes[0]
    assert (shown.images[0].get_array() == examples[index]["image"]).all()
    assert len(shown.patches) == 2 * len(scene.things), "each box is a line on a darker line"
    words = " ".join(" ".join(text.split()) for text in texts(figure))
    assert all(sentence in words for sentence in captions(scene))
    assert all(f"{thing.name}, by {thing.vendor}" in words for thing in scene.things)
    assert captions(scene)[-1] in figure.caption.alt


def test_boxes_may_be_left_out(source):
    assert not scene_card(source.examples("train", 0), 0, boxes=False).axes[0].patches


def test_the_still_shows_scenes_with_the_sentence_of_training(source, texts):
    examples = source.examples("validation", 3)
    figure = scene_sheet(examples, first=5, count=3)
    for axes, index in zip(figure.axes, (5, 6, 7), strict=True):
        assert (axes.images[0].get_array() == examples[index]["image"]).all()
    shown = [" ".join(text.split()) for text in texts(figure)]
    assert shown == [examples.caption(index) for index in (5, 6, 7)]
    assert not scene_sheet(examples, 0, 1, boxes=False).axes[0].patches


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_the_widget_draws_what_its_controls_say(source):
    widget = browse(source, seed=1, count=20)
    top, index, image = widget.children
    split, boxes = top.children
    assert index.max == 19 and [value for _, value in split.options] == list(SPLITS)

    def card(name, number, **options):
        return pixels(png_bytes(scene_card(source.examples(name, 1), number, **options)))

    assert (pixels(image.value) == card("train", 0)).all()
    index.value = 7
    assert (pixels(image.value) == card("train", 7)).all()
    split.value = "twemoji"
    assert (pixels(image.value) == card("twemoji", 7)).all()
    boxes.value = False
    assert (pixels(image.value) == card("twemoji", 7, boxes=False)).all()


def test_every_split_has_its_words():
    assert list(SPLIT_NAMES) == list(SPLITS)

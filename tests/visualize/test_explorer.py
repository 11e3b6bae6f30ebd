import base64
import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from minivl.data.text import SPECIAL_TOKENS, WordPiece
from minivl.nn.vit import sincos_positions
from minivl.visualize.explorer import as_bytes, patch_explorer
from minivl.visualize.positions import position_similarity
from minivl.visualize.tokens import token_explorer, token_sheet

VOCAB = [*SPECIAL_TOKENS, "a", "dog", "uni", "##cycl", "##ing", "<", "b", ">", "/"]
SENTENCES = ["a dog unicycling", "dog"]


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


@pytest.fixture
def explorer(image):
    return patch_explorer(image, 8, sincos_positions((3, 4), 16))


@pytest.fixture
def text():
    return WordPiece(VOCAB)


def data_of(html):
    return json.loads(re.search(r"^const data = (.*);$", html, re.MULTILINE)[1])


def pixels(source):
    data = base64.b64decode(source.removeprefix("data:image/png;base64,"))
    return np.array(Image.open(io.BytesIO(data)).convert("RGB"))


def test_the_data_hold_picture_and_similarities(explorer, image):
    data = data_of(explorer.html)
    np.testing.assert_array_equal(pixels(data["picture"]), image)
    assert (data["p"], data["gh"], data["gw"]) == (8, 3, 4)
    assert 1 <= data["first"] <= 12
    alike = np.frombuffer(base64.b64decode(data["alike"]), np.uint8).reshape(12, 12)
    expected = position_similarity(sincos_positions((3, 4), 16))
    shown = data["lowest"] + alike / 255 * (1 - data["lowest"])
    np.testing.assert_allclose(shown, expected, atol=0.005)
    assert len(base64.b64decode(data["heat"])) == 3 * 256


def test_lowest_and_highest_fill_the_scale():
    assert as_bytes(np.array([-0.5, 0.25, 1.0, 1.0 + 1e-9]), -0.5).tolist() == [0, 128, 255, 255]


def test_positions_of_another_grid_are_refused(image):
    with pytest.raises(ValueError, match="3 x 4 patches, but positions for 9"):
        patch_explorer(image, 8, torch.zeros(1, 10, 4))


@pytest.mark.parametrize("kind", ["patches", "tokens"])
def test_a_still_picture_is_inside_and_apart(kind, explorer, text, check_legible):
    shown = explorer if kind == "patches" else token_explorer(SENTENCES, text)
    check_legible(shown.still)
    bundle = shown._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    source, alt = re.search(r'<img src="([^"]+)" alt="([^"]+)"', bundle["text/html"]).groups()
    width, height = np.round(shown.still.get_size_inches() * 144).astype(int)
    assert np.abs(np.subtract(pixels(source).shape[:2], (height, width))).max() <= 1
    assert len(alt) > 40
    assert shown.still._repr_png_()[0].startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", ["patches", "tokens"])
def test_nothing_is_asked_of_the_network_and_builds_agree(kind, image, text):
    def build():
        if kind == "patches":
            return patch_explorer(image, 8, sincos_positions((3, 4), 16)).html
        return token_explorer(SENTENCES, text).html

    html = build()
    assert html == build()
    assert not re.search(r"https?:|src=\"(?!data:)|@import|fetch\(|import\(", html)
    assert html.count("<script>") == html.count("</script>") == 1


def test_two_explorers_have_two_keys(explorer, image):
    other = patch_explorer(image, 8, torch.eye(13)[None])
    key = re.compile(r'data-minivl="(\w+)"')
    assert key.search(explorer.html)[1] != key.search(other.html)[1]


def test_what_is_typed_cannot_leave_the_script(text):
    sentence = "</script><b>a"
    html = token_explorer([sentence], text).html
    assert html.count("</script>") == 1 and "<b>a" not in html
    assert data_of(html)["sentences"] == [sentence]


def test_tokens_are_the_padded_batch(text):
    data = data_of(token_explorer(SENTENCES, text).html)
    assert data["pieces"] == [
        ["[CLS]", "a", "dog", "uni", "##cycl", "##ing", "[SEP]"],
        ["[CLS]", "dog", "[SEP]", *["[PAD]"] * 4],
    ]
    assert data["ids"][1] == [2, 6, 3, 0, 0, 0, 0]
    assert data["mask"] == [[1] * 7, [1, 1, 1, 0, 0, 0, 0]]


def test_the_sheet_tells_padding_from_words(text, texts, check_legible):
    pieces = [["[CLS]", "helicopters", "##copterly", "[SEP]"], ["[CLS]", "[SEP]", "[PAD]", "[PAD]"]]
    ids = np.arange(8).reshape(2, 4)
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], dtype=bool)
    figure = token_sheet(["x" * 300, "b"], pieces, ids, mask)
    check_legible(figure)
    fills = [[patch.get_facecolor() for patch in axes.patches] for axes in figure.axes]
    (special, word, piece, end), (_, _, pad, _) = fills
    assert special == end and len({special, word, piece, pad}) == 4
    words = texts(figure)
    assert "##copterly" in words and "7" in words
    assert "6 of the 8 tokens are real" in figure.caption.alt

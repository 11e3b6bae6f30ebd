import base64
import html
import io
import json
import re

import numpy as np
import pytest

from minivl.visualize.similarity_viewer import sheet, similarity_viewer
from minivl.visualize.temperature import softmax

CAPTIONS = [f"a rather long caption number {i} on the left and a thing" for i in range(40)]


def world(n=40, wrong=10):
    """Picture i finds caption i, but the first `wrong` find caption i + 1."""
    cosines = np.random.default_rng(1).uniform(0, 0.5, size=(n, n))
    np.fill_diagonal(cosines, 0.8)
    for i in range(wrong):
        cosines[i, i + 1] = 0.9
    return cosines


def view(pictures, captions=CAPTIONS, **options):
    n = len(captions)
    return similarity_viewer(world(n, n // 4), pictures(n), captions, temperature=0.1, **options)


def data_of(viewer):
    (text,) = re.findall(r"const data = (\{.*\});\n", viewer.html)
    return json.loads(text)


def test_bets_are_softmax_shares_of_all_captions(pictures):
    data = data_of(view(pictures, shown=40))
    shares = softmax(world()[20], 0.1)
    picture = data["pictures"][20]
    assert picture["own"] == CAPTIONS[20]
    assert picture["bets"][0] == {
        "text": CAPTIONS[20], "share": round(float(shares[20]), 4), "true": True,
    }  # fmt: skip
    assert [bet["share"] for bet in picture["bets"]] == sorted(
        (bet["share"] for bet in picture["bets"]), reverse=True
    )
    assert sum(bet["true"] for bet in picture["bets"]) == 1


def test_mistakes_are_shown_too_and_the_true_one_always(pictures):
    data = data_of(view(pictures, shown=8))
    first = [picture["bets"][0]["true"] for picture in data["pictures"]]
    assert first.count(False) == 4 and len(first) == 8
    assert all(any(bet["true"] for bet in p["bets"]) for p in data["pictures"])
    assert data["total"] == 40


def test_the_still_is_inside_with_its_alternative_text(pictures):
    viewer = view(pictures)
    (alt, source) = re.search(r'<img alt="([^"]*)"[^>]*src="([^"]*)"', viewer.html).groups()
    assert html.unescape(alt) == viewer.still.caption.alt and "30 of 40 pictures" in alt
    assert base64.b64decode(source.partition(",")[2]).startswith(b"\x89PNG")


def test_jupyter_gets_words_and_html_and_the_still_shows_itself(pictures):
    viewer = view(pictures)
    bundle = viewer._repr_mimebundle_()
    assert bundle["text/html"] == viewer.html
    assert viewer.still.caption.alt in bundle["text/plain"]
    assert viewer.still._repr_png_()[0].startswith(b"\x89PNG")


def test_nothing_is_asked_of_the_network_and_two_builds_agree(pictures):
    first, second = view(pictures), view(pictures)
    assert first.html == second.html
    assert not re.findall(r"https?://", first.html)


def test_a_caption_cannot_leave_its_place(pictures):
    evil = ["</script><img src=x onerror=alert(1)>", 'a "quoted" $dollar & more', "b", "c"]
    viewer = view(pictures, evil)
    assert "</script><img" not in viewer.html and viewer.html.count("</script>") == 1
    assert {p["own"] for p in data_of(viewer)["pictures"]} == set(evil)


def test_the_sheet_holds_the_pictures_row_by_row():
    from PIL import Image

    images = np.stack([np.full((16, 16, 3), 20 * i, dtype=np.uint8) for i in range(8)])
    data = base64.b64decode(sheet(images).partition(",")[2])
    page = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert page.shape == (32, 96, 3)
    for i in range(8):
        middle = page[16 * (i // 6) + 8, 16 * (i % 6) + 8]
        assert abs(middle - 20 * i).max() <= 4


@pytest.mark.parametrize("n", [1, 2, 3, 40])
def test_the_still_is_legible(n, pictures, check_legible):
    check_legible(view(pictures, CAPTIONS[:n]).still)


def test_shapes_that_do_not_fit_are_refused(pictures):
    with pytest.raises(ValueError, match="2 pictures, 3 captions"):
        similarity_viewer(np.zeros((3, 3)), pictures(2), CAPTIONS[:3], temperature=0.1)
    with pytest.raises(ValueError, match="temperature"):
        similarity_viewer(np.zeros((3, 3)), pictures(3), CAPTIONS[:3], temperature=0)

import io

import matplotlib
import numpy as np
import pytest

from minivl.visualize.style import (
    Caption,
    Picture,
    place,
    png_bytes,
    read_caption,
    share,
    styled,
    wrap,
)


def small_picture():
    picture = Picture(figsize=(1, 1))
    picture.caption = Caption("Étude 猫 <b>", "two cats & a dog\non a sofa", "read it 'so'")
    return picture


@pytest.mark.parametrize("options", [{}, {"dpi": 150, "bbox_inches": "tight"}])
def test_caption_travels_inside_the_png(tmp_path, options):
    picture = small_picture()
    picture.savefig(tmp_path / "a.png", **options)
    assert read_caption(tmp_path / "a.png") == picture.caption


def test_the_callers_metadata_is_kept_and_other_formats_work(tmp_path):
    from PIL import Image

    picture = small_picture()
    picture.savefig(tmp_path / "a.png", metadata={"Author": "someone"})
    with Image.open(tmp_path / "a.png") as image:
        assert image.text["Author"] == "someone" and image.text["Title"] == picture.caption.title
    picture.savefig(tmp_path / "a.pdf")
    buffer = io.BytesIO()
    picture.savefig(buffer, format="svg")
    assert b"<svg" in buffer.getvalue() and (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


def test_a_foreign_png_has_an_empty_caption_and_a_broken_one_is_an_error(tmp_path):
    from matplotlib.figure import Figure
    from PIL import Image

    Figure(figsize=(1, 1)).savefig(tmp_path / "plain.png")
    assert read_caption(tmp_path / "plain.png") == Caption("", "", "")
    data = png_bytes(small_picture())
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    with pytest.raises((OSError, SyntaxError)):
        read_caption(tmp_path / "cut.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "other.png", format="GIF")
    with pytest.raises(OSError):
        read_caption(tmp_path / "other.png")


def test_jupyter_shows_a_picture_without_pyplot():
    png, words = small_picture()._repr_png_()
    assert png.startswith(b"\x89PNG") and words == {"alt": small_picture().caption.alt}


def test_styled_leaves_the_callers_settings_untouched():
    before = dict(matplotlib.rcParams)

    @styled
    def draw():
        return matplotlib.rcParams["axes.spines.top"], matplotlib.rcParams["text.parse_math"]

    assert draw() == (False, False)
    assert dict(matplotlib.rcParams) == before


def test_place_measures_in_inches_from_the_top_left():
    axes = place(Picture(figsize=(4, 2)), 1, 0.5, 2, 1)
    assert np.allclose(axes.get_position().bounds, (0.25, 0.25, 0.5, 0.5))
    axes = place(Picture(figsize=(4, 2)), 0, 0, 1, 0.5)
    assert np.allclose(axes.get_position().bounds, (0, 0.75, 0.25, 0.25))


def test_wrap_keeps_to_its_lines_and_says_when_words_are_left_out():
    assert wrap("a cat on\n the  left", 40) == "a cat on the left"
    lines = wrap("word " * 50, 20, lines=3).split("\n")
    assert len(lines) == 3 and all(len(line) <= 20 for line in lines)
    assert lines[-1].endswith("…") and "…" not in lines[0]


def test_share_counts_aloud():
    assert share(21, 256, "captions") == "21 of 256 captions (8.2 %)"
    assert share(0, 0, "captions") == "0 of 0 captions (0.0 %)"

"""Pairs in files: read as they are meant, and whatever is wrong with one is named."""

import json

import numpy as np
import pytest
from PIL import Image

from minivl.data.pair_files import read
from minivl.errors import DataError, UserError


@pytest.fixture
def folder(tmp_path):
    """A folder with four pictures of different shapes; pairs(entries) writes a file beside it."""
    images = tmp_path / "images" / "val2014"
    images.mkdir(parents=True)
    noise = np.random.default_rng(0)
    for number, shape in enumerate([(20, 30, 3), (30, 20, 3), (8, 8, 3), (16, 16, 3)]):
        pixels = noise.integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{number}.png")
    return tmp_path / "images"


def pairs(folder, entries):
    path = folder.parent / "coco_test.json"
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return path


def entry(number, *captions, **more):
    return {"image": f"val2014/{number}.png", "caption": list(captions), **more}


def test_pictures_with_their_captions(folder):
    """Fields that other files have, such as image_id, are of no matter."""
    path = pairs(folder, [entry(2, "a", "b", image_id=7), entry(0, "c"), entry(1, "a", "a", "d")])
    found = read(path, folder)
    assert found.name == "coco_test.json" and found.left_out == ()
    assert found.images == ("val2014/2.png", "val2014/0.png", "val2014/1.png")
    assert found.captions == (("a", "b"), ("c",), ("a", "a", "d"))


def test_a_picture_may_have_an_entry_for_each_caption(folder):
    told = [{"image": f"val2014/{n}.png", "caption": said} for n, said in [(1, "x"), (0, "y")] * 2]
    found = read(pairs(folder, told), folder)
    assert found.images == ("val2014/1.png", "val2014/0.png")
    assert found.captions == (("x", "x"), ("y", "y"))


def test_what_is_not_there_is_left_out_and_listed(folder):
    entries = [entry(9, "a"), entry(0, " ", "b", "?!"), entry(1), entry(2, ""), entry(3, "ünd")]
    found = read(pairs(folder, entries), folder)
    assert found.images == ("val2014/0.png", "val2014/3.png")
    assert found.captions == (("b",), ("ünd",))
    assert found.left_out == (
        "entry 1: a caption of val2014/0.png has no word",
        "entry 2: val2014/1.png has no caption",
        "entry 3: a caption of val2014/2.png has no word",
        f"{folder / 'val2014/9.png'} does not exist",
    )


@pytest.mark.parametrize(
    ("entries", "error", "words"),
    {
        "empty file": ("", DataError, "is no JSON"),
        "cut off": ('[{"image": "val2014/0.png", ', DataError, "is no JSON"),
        "deep": ("[" * 100_000, DataError, "is no JSON"),
        "empty list": ([], DataError, "is an empty list"),
        "Karpathy's own form": ({"images": []}, DataError, "holds no list, but a dict"),
        "texts": (["val2014/0.png"], DataError, "entry 0 is a str"),
        "no picture": ([entry(0, "a"), {"caption": "a"}], DataError, 'entry 1 names no "image"'),
        "no caption": ([{"image": "val2014/0.png"}], DataError, 'entry 0 has no "caption"'),
        "numbers": ([{"image": "val2014/0.png", "caption": [1]}], DataError, 'has no "caption"'),
        "nothing left": ([entry(8, "a"), entry(9, "b")], DataError, "8.png does not exist"),
        "no word": ([entry(0, "")], DataError, "no picture with a caption is left"),
    }.values(),
)
def test_files_that_hold_no_pairs(folder, entries, error, words):
    with pytest.raises(error, match="coco_test.json") as told:
        read(pairs(folder, entries), folder)
    assert words in told.value.what and told.value.remedy


def test_no_file_and_no_folder(folder):
    with pytest.raises(UserError, match="there is no file"):
        read(folder / "none.json", folder)
    with pytest.raises(UserError, match="there is no folder"):
        read(pairs(folder, [entry(0, "a")]), folder / "none")


def test_pictures_become_squares_bicubic_and_broken_ones_say_why(folder):
    (folder / "val2014" / "2.png").write_bytes(b"no picture")
    found = read(pairs(folder, [entry(0, "a"), entry(2, "b"), entry(1, "c")]), folder)
    parts = list(found.pictures(10, 2))
    assert [len(part) for part in parts] == [2, 1]
    assert parts[0][1] == f"{folder / 'val2014/2.png'} is not a picture this program reads"
    for picture, number in ((parts[0][0], 0), (parts[1][0], 1)):
        with Image.open(folder / "val2014" / f"{number}.png") as whole:
            assert whole.width != whole.height
            wanted = np.array(whole.convert("RGB").resize((10, 10), Image.Resampling.BICUBIC))
        assert picture.dtype == np.uint8 and np.array_equal(picture, wanted)

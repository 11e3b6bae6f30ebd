import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from minivl.data.images import open_image
from minivl.errors import DataError

RED = (200, 10, 20)


def save(path, mode="RGB", size=(8, 6), colour=RED, **options):
    Image.new(mode, size, colour).save(path, **options)
    return path


def bomb(path, width=200_000, height=200_000):
    """A valid PNG header that promises 40 thousand million pixels, in a hundred bytes."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 64))
        + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize("suffix", ["png", "webp", "bmp", "gif", "tiff"])
def test_reads_the_usual_formats(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    picture = open_image(save(tmp_path / f"a.{suffix}", **options))
    assert picture.mode == "RGB" and picture.size == (8, 6)
    assert picture.getpixel((3, 3)) == RED


def test_content_decides_not_the_name(tmp_path):
    save(tmp_path / "a.png", format="JPEG", quality=95)
    assert open_image(tmp_path / "a.png").size == (8, 6)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 128, (128, 128, 128)),
        ("1", 1, (255, 255, 255)),
        ("RGBA", (0, 0, 0, 0), (255, 255, 255)),
        ("LA", (0, 0), (255, 255, 255)),
        ("I;16", 65535, (255, 255, 255)),
        ("I;16", 257 * 100, (100, 100, 100)),
    ],
)
def test_every_mode_becomes_rgb(tmp_path, mode, colour, expected):
    picture = open_image(save(tmp_path / "a.png", mode=mode, colour=colour))
    assert picture.mode == "RGB"
    assert picture.getpixel((0, 0)) == expected


def test_a_photograph_taken_sideways_is_turned(tmp_path):
    picture = Image.new("RGB", (8, 6))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert open_image(tmp_path / "a.jpg").size == (6, 8)


def test_missing_folder_and_empty_file_are_named(tmp_path):
    (tmp_path / "empty.jpg").touch()
    for name, reason in [("no.jpg", "exist"), ("", "folder"), ("empty.jpg", "0 bytes")]:
        path = tmp_path / name
        with pytest.raises(DataError, match=reason) as caught:
            open_image(path)
        assert str(path) in caught.value.what and caught.value.remedy


def test_a_text_is_no_picture(tmp_path):
    (tmp_path / "a.jpg").write_text("<html>not found</html>")
    with pytest.raises(DataError, match=r"a\.jpg is not a picture"):
        open_image(tmp_path / "a.jpg")


def test_postscript_is_refused(tmp_path):
    """Pillow would hand it to an outside program."""
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(DataError, match="not a picture"):
        open_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_named(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DataError, match=rf"cut\.{suffix}"):
        open_image(path)


@pytest.mark.parametrize(("width", "height"), [(200_000, 200_000), (10_000, 10_000)])
def test_a_bomb_is_refused_before_it_unpacks(tmp_path, width, height):
    """The second is small enough for Pillow itself to pass with a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=r"bomb\.png would unpack") as caught:
            open_image(bomb(tmp_path / "bomb.png", width, height))
    assert "max_pixels" in caught.value.remedy


def test_the_limit_is_a_parameter_and_inclusive(tmp_path):
    path = save(tmp_path / "a.png")
    assert open_image(path, max_pixels=48).size == (8, 6)
    with pytest.raises(DataError, match="8 x 6"):
        open_image(path, max_pixels=47)

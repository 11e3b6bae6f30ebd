"""Open picture files from anywhere: the header is judged before a single pixel is decoded."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from minivl.errors import DataError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 64_000_000

_BROKEN = (OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error, MemoryError)


def open_image(path: str | Path, max_pixels: float = MAX_PIXELS) -> Image.Image:
    """The picture as 8-bit RGB, upright, its first frame, transparency on white.

    Raises DataError, which names the file, for a file that is missing, empty, no picture, broken
    or truncated, or that would unpack to more than `max_pixels` pixels.
    """
    path = Path(path)
    _check_file(path)
    # Pillow warns about large pictures; here the limit is ours, and it is an error.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=FORMATS) as picture:
                _check_size(path, picture.size, max_pixels)
                picture.load()
                return _to_rgb(ImageOps.exif_transpose(picture))
        except UnidentifiedImageError as error:
            kinds = ", ".join(FORMATS)
            raise DataError(
                f"{path} is not a picture this program reads", f"convert it to one of {kinds}"
            ) from error
        except Image.DecompressionBombError as error:
            raise _too_large(path, "far too many", max_pixels) from error
        except _BROKEN as error:
            raise DataError(
                f"{path} is a broken or truncated picture: {error}", "fetch the file again"
            ) from error


def _check_file(path: Path) -> None:
    if not path.is_file():
        what = "is a folder, not a picture" if path.is_dir() else "does not exist"
        raise DataError(f"{path} {what}", "check the path in the list of pictures")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes)", "fetch the file again")


def _check_size(path: Path, size: tuple[int, int], max_pixels: float) -> None:
    width, height = size
    if width * height > max_pixels:
        raise _too_large(path, f"{width:,} x {height:,}", max_pixels)


def _too_large(path: Path, many: str, max_pixels: float) -> DataError:
    return DataError(
        f"{path} would unpack to {many} pixels; the limit is {max_pixels:,.0f}",
        "shrink the picture, or raise max_pixels if you trust the file",
    )


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):  # Pillow would clip 16-bit grey values at 255
        picture = picture.convert("I").point(lambda value: value / 257).convert("L")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")

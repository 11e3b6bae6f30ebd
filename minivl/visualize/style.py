"""One calm look for every figure: colours that colour-blind readers tell apart, words in reach.

Figures are plain matplotlib `Figure` objects without pyplot's process-wide state, so that they can
be drawn in a training, a test or a thread. Each carries a caption; saved as PNG, the caption
travels inside the file, where the report (and anyone's screen reader) finds it again.
"""

import functools
import io
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

# Okabe & Ito 2008: eight colours that stay apart in every common form of colour blindness.
BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, BLACK = "#CC79A7", "#56B4E9", "#000000"
CYCLE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
INK, MUTED, HAIRLINE = "#22272e", "#5f6872", "#d9dde2"
HEAT = "viridis"
DPI = 144

STYLE: dict[str, Any] = {
    "figure.dpi": DPI,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same pixels on every machine
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.labelsize": 11,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": matplotlib.cycler(color=CYCLE),
    "grid.color": HAIRLINE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "text.parse_math": False,  # a caption may hold a dollar sign
    "legend.frameon": False,
    "legend.fontsize": 10.5,
    "lines.linewidth": 2.0,
}

Draw = TypeVar("Draw", bound=Callable[..., Any])


@dataclass(frozen=True)
class Caption:
    """The words that belong to a figure."""

    title: str
    """What it shows, in a few words."""
    alt: str
    """What someone sees who looks at it."""
    text: str = ""
    """How to read it."""


class Picture(Figure):
    """A figure with a caption, which PNG files keep; shows itself in Jupyter."""

    caption = Caption("", "")

    def savefig(self, fname: Any, **options: Any) -> None:
        """As matplotlib's, with the caption in the PNG's text fields."""
        kind = options.get("format") or (
            Path(fname).suffix[1:] if isinstance(fname, str | Path) else "png"
        )
        if kind.lower() in ("png", ""):
            words = {
                "Title": self.caption.title,
                "Description": self.caption.alt,
                "Comment": self.caption.text,
            }
            options["metadata"] = words | (options.get("metadata") or {})
        super().savefig(fname, **options)

    def _repr_png_(self) -> tuple[bytes, dict[str, str]]:
        """What Jupyter shows, and the words that stand for it where pictures are not seen."""
        return png_bytes(self), {"alt": self.caption.alt}


def styled(draw: Draw) -> Draw:
    """Decorator: the function draws in the package's style and leaves the caller's untouched."""

    @functools.wraps(draw)
    def in_style(*args: Any, **options: Any) -> Any:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **options)

    return in_style  # type: ignore[return-value]


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG file's bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def read_caption(path: Path) -> Caption:
    """The caption inside a PNG file; empty where there is none. OSError if it is no PNG."""
    from PIL import Image

    with Image.open(path, formats=["PNG"]) as picture:
        words = picture.text  # reads the file to its end, so a truncated one does not pass
    return Caption(*(str(words.get(key, "")) for key in ("Title", "Description", "Comment")))


def place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Bare axes at a place given in inches from the figure's top left corner."""
    page_width, page_height = figure.get_size_inches()
    bottom = page_height - top - height
    axes = figure.add_axes(
        (left / page_width, bottom / page_height, width / page_width, height / page_height)
    )
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return axes


def write(figure: Figure, left: float, top: float, text: str, **options: Any) -> None:
    """Text whose top left corner is given in inches from the figure's top left corner."""
    page_width, page_height = figure.get_size_inches()
    options = {"ha": "left", "va": "top"} | options
    figure.text(left / page_width, 1 - top / page_height, text, **options)


def show_image(axes: Axes, image: np.ndarray) -> None:
    """A picture (height, width, 3) uint8; small ones are enlarged without visible pixels."""
    image = np.asarray(image)
    axes.imshow(image, interpolation="bicubic" if image.shape[0] < 200 else "antialiased")


def verdict(axes: Axes, right: bool) -> None:
    """Frame a picture: green and whole with a tick, or vermillion and dashed with a cross."""
    colour, line = (GREEN, "-") if right else (VERMILLION, (0, (3, 1.5)))
    edge = Rectangle((0, 0), 1, 1, transform=axes.transAxes, fill=False, clip_on=False)
    edge.set(edgecolor=colour, linewidth=3, linestyle=line)
    axes.add_patch(edge)
    badge = {"boxstyle": "circle,pad=0.15", "facecolor": colour, "edgecolor": "white"}
    axes.text(
        *(0.97, 0.97), "✓" if right else "✗", transform=axes.transAxes, bbox=badge,
        color="white", fontsize=8, fontweight="bold", ha="right", va="top",
    )  # fmt: skip


def wrap(text: str, width: int, lines: int = 2) -> str:
    """Break text into at most `lines` lines of `width` letters; the rest becomes an ellipsis."""
    return textwrap.fill(" ".join(text.split()), width, max_lines=lines, placeholder=" …")


def share(count: int, total: int, things: str) -> str:
    """'21 of 256 captions (8.2 %)'."""
    return f"{count:,} of {total:,} {things} ({100 * count / max(total, 1):.1f} %)"

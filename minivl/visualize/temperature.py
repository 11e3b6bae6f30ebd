"""One row of the similarity matrix at several temperatures: from "all alike" to "only the best".

The temperature divides cosines before the softmax (Radford et al. 2021, arXiv 2103.00020, section
2.3; there as its inverse, exp of the logit scale).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from minivl.visualize.retrieved import ranking
from minivl.visualize.style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    Caption,
    Picture,
    place,
    png_bytes,
    show_image,
    styled,
    wrap,
    write,
)

if TYPE_CHECKING:
    import ipywidgets

SHOWN = 5
EDGE, TOP, THUMB, LINE = 0.15, 0.75, 1.6, 0.37
WORDS, BAR, GAP = 3.1, 1.25, 0.62
OTHERS = "#b6bdc6"


@styled
def row_at_temperatures(
    image: np.ndarray,
    captions: Sequence[str],
    cosines: np.ndarray,
    true: int,
    temperatures: Sequence[float],
) -> Picture:
    """A picture, the captions closest to it, and their share of the softmax at each temperature.

    image: (h, w, 3) uint8; cosines: (m,), of the picture with each of the m captions;
    true: number of the picture's own caption.
    """
    if len(cosines) != len(captions) or min(temperatures) <= 0:
        raise ValueError(
            f"{len(captions)} captions, {len(cosines)} cosines, temperatures {list(temperatures)}: "
            "pass one cosine a caption and temperatures above 0"
        )
    shown = closest(cosines, true)
    lines = len(shown) + 1
    columns = EDGE + THUMB + 0.2 + WORDS
    width = columns + len(temperatures) * (BAR + GAP) + EDGE
    figure = Picture(figsize=(width, TOP + max(THUMB, lines * LINE) + 0.1))
    show_image(place(figure, EDGE, TOP, THUMB, THUMB), image)
    write(figure, EDGE, 0.14, "Which sentence belongs to the picture?", fontweight="bold",
          fontsize=12)  # fmt: skip
    write(figure, columns - WORDS, TOP - 0.1, "closest sentences", fontsize=10, color=MUTED,
          va="bottom")  # fmt: skip
    for row, caption in enumerate(shown):
        own = caption == true
        words = ("✓ " if own else "") + wrap(captions[caption], 40, 2)
        write(figure, columns - WORDS, TOP + (row + 0.4) * LINE, words, fontsize=9, va="center",
              fontweight="bold" if own else "normal", color=GREEN if own else INK)  # fmt: skip
    rest = f"the other {len(captions) - len(shown):,} together"
    write(figure, columns - WORDS, TOP + (len(shown) + 0.4) * LINE, rest, fontsize=9, color=MUTED,
          va="center")  # fmt: skip
    for number, temperature in enumerate(temperatures):
        left = columns + number * (BAR + GAP)
        title = f"temperature {temperature:.3g}"
        write(figure, left, TOP - 0.1, title, fontsize=10, color=MUTED, va="bottom")
        draw_shares(figure, left, softmax(cosines, temperature), shown, true)
    alt = (
        f"A picture and its {len(shown)} closest sentences out of {len(captions)}. The true one "
        + ", ".join(f"gets {softmax(cosines, t)[true]:.2f} at temperature {t:.3g}"
                    for t in temperatures) + "."
    )  # fmt: skip
    reading = (
        "Bars are the softmax of the same cosines divided by each temperature. A high temperature "
        "shares out evenly, a low one gives all to the closest. The true sentence is green."
    )
    figure.caption = Caption("One row at several temperatures", alt, reading)
    return figure


def softmax(cosines: np.ndarray, temperature: float) -> np.ndarray:
    """Positive shares that add to 1, in the order of the cosines. (m,) -> (m,)."""
    scores = np.asarray(cosines, dtype=float) / temperature
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def closest(cosines: np.ndarray, true: int, count: int = SHOWN) -> list[int]:
    """The captions closest to the picture, best first; the true one in the last place if farther.

    cosines: (m,). At equal cosines a wrong caption comes first.
    """
    relevant = np.arange(len(cosines)) == true
    order = ranking(np.asarray(cosines)[None], relevant[None])[0]
    shown = order[:count].tolist()
    return shown if true in shown else [*shown[:-1], true]


def draw_shares(
    figure: Picture, left: float, shares: np.ndarray, shown: Sequence[int], true: int
) -> None:
    """Bars and numbers of the shown captions, and of all others together."""
    rest = max(1.0 - float(shares[list(shown)].sum()), 0.0)
    values = [(float(shares[i]), GREEN if i == true else BLUE) for i in shown] + [(rest, OTHERS)]
    for row, (value, colour) in enumerate(values):
        y = TOP + (row + 0.4) * LINE - 0.07
        bar = place(figure, left, y, BAR, 0.14)
        bar.set(xlim=(0, 1), ylim=(0, 1))
        bar.barh(0.5, 1, height=1, color="#eceff2")
        bar.barh(0.5, value, height=1, color=colour)
        write(figure, left + BAR + 0.06, y + 0.07, f"{value:.2f}", fontsize=9, va="center")


def temperature_slider(
    image: np.ndarray,
    captions: Sequence[str],
    cosines: np.ndarray,
    true: int,
    *,
    start: float = 0.07,
) -> "ipywidgets.VBox":
    """`row_at_temperatures` under a slider; arguments as there, `start` from 0.01 to 1."""
    import ipywidgets

    slider = ipywidgets.FloatLogSlider(
        value=start, base=10, min=-2, max=0, step=0.1, description="temperature",
        readout_format=".3f", layout=ipywidgets.Layout(width="420px"),
    )  # fmt: skip
    slider.style.description_width = "90px"
    view = ipywidgets.Image(format="png", layout=ipywidgets.Layout(max_width="100%"))

    def draw(temperature: float) -> None:
        figure = row_at_temperatures(image, captions, cosines, true, [temperature])
        view.value = png_bytes(figure)

    slider.observe(lambda change: draw(change["new"]), names="value")
    draw(start)
    return ipywidgets.VBox([slider, view])

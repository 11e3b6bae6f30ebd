"""One row of soft targets: the label's share and the teacher's, piled up candidate by candidate.

ALBEF (Li et al. 2021, arXiv 2107.07651), section 3.3, equation 6.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from minivl.visualize.style import BLUE, INK, MUTED, ORANGE, Caption, Picture, styled, wrap

PANEL, BAR, HEADROOM = 2.2, 0.42, 1.15
"""Inches: width of a panel, height of a bar, and what stands above and below the bars."""


@styled
def soft_rows(
    candidates: Sequence[str], label: Sequence[float], teacher: Sequence[float], alpha: float
) -> Picture:
    """Three panels: the label, what the teacher believes, and the target mixed of both.

    candidates: k names; label, teacher: k shares each, that add to 1; alpha: the teacher's share of
    the target. Raises ValueError for other numbers of shares.
    """
    parts = np.array([label, teacher], dtype=float)
    if parts.shape != (2, len(candidates)):
        raise ValueError(f"{len(candidates)} candidates need as many shares, twice")
    mixed = {"label": (1 - alpha) * parts[0], "teacher": alpha * parts[1]}
    panels: Mapping[str, Mapping[str, np.ndarray]] = {
        "the label": {"label": parts[0]},
        "what the teacher believes": {"teacher": parts[1]},
        f"the target, α = {alpha:g}": mixed,
    }
    size = (1.9 + 3 * PANEL, HEADROOM + BAR * len(candidates))
    figure = Picture(figsize=size, layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    places = np.arange(len(candidates))
    for one, (title, piles) in zip(axes, panels.items(), strict=True):
        left = np.zeros(len(candidates))
        for name, shares in piles.items():
            look = {"color": BLUE} if name == "label" else {"color": ORANGE, "hatch": "//"}
            one.barh(places, shares, left=left, height=0.62, edgecolor="white", **look)
            left = left + shares
        for at, value in zip(places, left, strict=True):
            one.text(value + 0.02, at, f"{value:.2f}", va="center", fontsize=9.5, color=INK)
        one.set_title(title, fontsize=10.5)
        one.set(xlim=(0, 1.22), xticks=[0, 0.5, 1])
        one.tick_params(colors=MUTED)
        one.grid(visible=False, axis="y")
    axes[0].set_yticks(places, [wrap(name, 24, 1) for name in candidates], fontsize=9.5)
    axes[0].invert_yaxis()
    shares = mixed["label"] + mixed["teacher"]
    alt = "; ".join(
        f"{name}: label {a:.2f}, teacher {b:.2f}, target {c:.2f}"
        for name, a, b, c in zip(candidates, *parts, shares, strict=True)
    )
    figure.caption = Caption(
        "A soft target",
        f"Shares of {len(candidates)} candidates. {alt}.",
        "Blue is the label's part, hatched orange the teacher's. In the target the label keeps "
        "1 − α, and α is divided as the teacher believes.",
    )
    return figure

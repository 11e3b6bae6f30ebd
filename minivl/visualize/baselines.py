"""How often a model is right, beside what can be had without one."""

from collections.abc import Mapping, Sequence
from typing import Any

from minivl.visualize.style import (
    BLUE,
    INK,
    MUTED,
    VERMILLION,
    Caption,
    Picture,
    place,
    styled,
    write,
)

EDGE, HEAD, LINE, GAP = 0.15, 0.55, 0.29, 0.2
NAMES, BARS, NUMBERS = 2.5, 4.2, 0.75
OTHERS = "#b6bdc6"

Row = tuple[str, float, bool]
"""Name, share of right answers, whether it is the model."""


def rows_of(
    metrics: Mapping[str, Any], game: str, kinds: Mapping[str, str], **rivals: str
) -> dict[str, list[Row]]:
    """Groups for `baselines`: the model, its rivals where they were measured, a constant answer.

    metrics: what `evaluate_mim` or `evaluate_mlm` gives; game: "mim" or "mlm"; kinds: kind of the
    metrics' keys -> how to call it; rivals: name of a metric -> how to call it.
    """
    groups: dict[str, list[Row]] = {}
    for kind, asked in kinds.items():
        own = metrics[f"{kind}/{game}/accuracy"]
        others = {called: metrics.get(f"{kind}/{game}/{name}") for name, called in rivals.items()}
        groups[asked] = [
            ("the model", own.value, True),
            *((called, metric.value, False) for called, metric in others.items() if metric),
            ("always the most frequent", own.chance, False),
        ]
    return groups


@styled
def baselines(title: str, groups: Mapping[str, Sequence[Row]]) -> Picture:
    """Bars of the share of right answers, in groups: the model blue, what needs no model grey.

    groups: what was asked -> rows; where a grey bar is longer than the model's, its number is red.
    Raises ValueError for a share outside of 0 to 1.
    """
    rows = [row for group in groups.values() for row in group]
    if any(not 0 <= value <= 1 for _, value, _ in rows):
        raise ValueError(f"{[value for _, value, _ in rows]}: shares lie between 0 and 1")
    height = HEAD + sum(LINE * (len(group) + 1) + GAP for group in groups.values())
    figure = Picture(figsize=(2 * EDGE + NAMES + BARS + NUMBERS, height))
    write(figure, EDGE, 0.14, title, fontweight="bold", fontsize=12)
    y = HEAD
    for asked, group in groups.items():
        write(figure, EDGE, y, asked, fontsize=10.5, color=INK)
        y += LINE
        reached = max((value for _, value, model in group if model), default=1.0)
        for name, value, model in group:
            write(figure, EDGE + 0.15, y + 0.02, name, fontsize=9.5, color=INK if model else MUTED)
            bar = place(figure, EDGE + NAMES, y, BARS, LINE - 0.09)
            bar.set(xlim=(0, 1), ylim=(0, 1))
            bar.barh(0.5, 1, height=1, color="#eceff2")
            bar.barh(0.5, value, height=1, color=BLUE if model else OTHERS)
            ink = VERMILLION if value > reached else INK
            number = f"{100 * value:.0f} %"
            write(figure, EDGE + NAMES + BARS + 0.08, y + 0.02, number, fontsize=9.5, color=ink)
            y += LINE
        y += GAP
    told = ". ".join(
        f"{asked}: " + ", ".join(f"{name} {100 * value:.0f} %" for name, value, _ in group)
        for asked, group in groups.items()
    )
    reading = (
        "Each bar is the share of hidden places that are named rightly. Blue is the model; grey "
        "is what needs no model. A red number beats the model."
    )
    figure.caption = Caption(title, f"{title}. {told}.", reading)
    return figure

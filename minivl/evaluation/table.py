"""The short table at the end of a run: one row a question, one column a split."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from minivl.evaluation.metric import Metric

COLUMNS = {
    "validation": "validation (training artists)",
    "twemoji": "twemoji (artist never seen)",
    "compositions": "compositions (new pairs)",
}
ROWS = {
    "retrieval/image_to_text_r1": "image -> text R@1",
    "retrieval/text_to_image_r1": "text -> image R@1",
    "retrieval/image_to_text_r5": "image -> text R@5",
    "retrieval/text_to_image_r5": "text -> image R@5",
    "order/left_right_pairs": "left/right told apart",
    "zeroshot/accuracy": "naming",
}
LEFT_OUT = ("retrieval/image_to_text_r10", "retrieval/text_to_image_r10")
LEFT_OUT += ("order/left_right_pictures",)
"""In eval.json and in the report, not in the short table."""

WIDTH = 80

Metrics = Mapping[str, "Metric | Mapping[str, Any]"]


def rows(metrics: Metrics) -> list[tuple[str, dict[str, Metric]]]:
    """(label, {split: metric}) of every row that has a number; unknown rows and splits come last.

    Keys are "<split>/<task>/<measure>"; values are metrics, or the dicts that eval.json holds.
    """
    found: dict[str, dict[str, Metric]] = {name: {} for name in ROWS}
    for key, value in metrics.items():
        split, _, name = key.partition("/")
        metric = _metric(value)
        if metric is not None and name not in LEFT_OUT:
            found.setdefault(name, {})[split] = metric
    return [(ROWS.get(name, name), cells) for name, cells in found.items() if cells]


def table(metrics: Metrics, width: int = WIDTH) -> str:
    """The table as plain text: value and 95 % interval in %, below them chance and sample size."""
    from rich.console import Console
    from rich.table import Table

    lines = rows(metrics)
    if not lines:
        return "nothing was measured"
    present = dict.fromkeys(split for _, cells in lines for split in cells)
    splits = [split for split in COLUMNS if split in present]
    splits += [split for split in present if split not in COLUMNS]
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0), header_style="")
    drawn.add_column("% (95 % interval)", width=17)
    for split in splits:
        drawn.add_column(COLUMNS.get(split, split), min_width=19)
    for label, cells in lines:
        drawn.add_row(label, *(_cell(cells.get(split)) for split in splits))
    out = io.StringIO()
    Console(file=out, width=width, color_system=None, highlight=False).print(drawn)
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())


def _cell(metric: Metric | None) -> str:
    if metric is None:
        return "-"
    value, low, high = (f"{100 * x:.1f}" for x in (metric.value, metric.low, metric.high))
    return f"{value} ({low}-{high})\nchance {percent(metric.chance)}, n {metric.n}"


def percent(share: float) -> str:
    """0.0039 -> "0.39": two digits that count below one per cent, else one behind the point."""
    number = 100 * share
    return f"{number:.2g}" if 0 < number < 1 else f"{number:.1f}"


def _metric(value: Metric | Mapping[str, Any]) -> Metric | None:
    """None for anything that is no complete metric."""
    if isinstance(value, Metric):
        return value
    try:
        return Metric.from_json(value)
    except (KeyError, TypeError):
        return None

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
    "knn/accuracy": "named by k-NN",
    "knn/accuracy_untrained": "- untrained",
    "knn/accuracy_raw_pixels": "- bare pixels",
    "linear/accuracy": "named by a probe",
    "linear/accuracy_untrained": "- untrained",
    "attention/mass_inside": "attention on it",
    "attention/mass_inside_untrained": "- untrained",
    "attention/pointing": "brightest on it",
    "attention/pointing_untrained": "- untrained",
    "reconstruction/psnr": "reconstruction",
    "reconstruction/l1": "mean colour error",
    "codebook/perplexity": "codes, perplexity",
    "mim/accuracy": "hidden patch",
    "mim/top5": "- in first five",
    "mim/by_nearest": "- nearest patch",
    "mlm/accuracy": "hidden word",
    "mlm/top5": "- in first five",
    "mlm/by_neighbours": "- neighbour table",
}
LEFT_OUT = (
    "retrieval/image_to_text_r10",
    "retrieval/text_to_image_r10",
    "order/left_right_pictures",
    "codebook/used",
    *(f"attention/{name}{of}" for name in ("best_iou", "mass_60_iou") for of in ("", "_untrained")),
)
"""In eval.json and in the report, not in the short table."""

WIDTH = 80

Metrics = Mapping[str, "Metric | Mapping[str, Any]"]


def rows(metrics: Metrics) -> list[tuple[str, dict[str, Metric | Mapping[str, Any]]]]:
    """(label, {split: metric}) of every row that has a number; unknown rows and splits come last.

    Keys are "<split>/<task>/<measure>"; values are metrics, or the dicts that eval.json holds.
    """
    found: dict[str, dict[str, Metric | Mapping[str, Any]]] = {name: {} for name in ROWS}
    for key, value in metrics.items():
        split, _, name = key.partition("/")
        metric = _metric(value)
        if metric is not None and name not in LEFT_OUT:
            found.setdefault(name, {})[split] = metric
    return [(ROWS.get(name, name), cells) for name, cells in found.items() if cells]


def table(metrics: Metrics, width: int = WIDTH) -> str:
    """The table as plain text: value and 95 % interval in %, below them chance and sample size.

    Quantities that are no shares (dB, a perplexity) stand with their unit or their size.
    """
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


def _cell(metric: Metric | Mapping[str, Any] | None) -> str:
    if metric is None:
        return "-"
    if not isinstance(metric, Metric):
        of = f"of {metric['size']}" if "size" in metric else metric["unit"]
        return f"{metric['value']:.1f} {of}\nchance {metric['chance']:.1f}, n {metric['n']}"
    value, low, high = (f"{100 * x:.1f}" for x in (metric.value, metric.low, metric.high))
    return f"{value} ({low}-{high})\nchance {percent(metric.chance)}, n {metric.n}"


def percent(share: float) -> str:
    """0.0039 -> "0.39": two digits that count below one per cent, else one behind the point."""
    number = 100 * share
    return f"{number:.2g}" if 0 < number < 1 else f"{number:.1f}"


def _metric(value: Metric | Mapping[str, Any]) -> Metric | Mapping[str, Any] | None:
    """A share, or a quantity with its size or unit; None for anything that is not complete."""
    if isinstance(value, Metric):
        return value
    try:
        if {"value", "chance", "n"} <= set(value) and ("unit" in value or "size" in value):
            return value
        return Metric.from_json(value)
    except (KeyError, TypeError):
        return None

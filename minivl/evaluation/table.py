"""The short table at the end of a run: one row a question, one column a split."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import Any

from minivl.data.unit_tasks import PUBLISHED, SENTENCES
from minivl.evaluation.metric import Metric

COLUMNS = {
    "validation": "validation (training artists)",
    "twemoji": "twemoji (artist never seen)",
    "compositions": "compositions (new pairs)",
    "photographs": "photographs (no drawings)",
    "glosses": "glosses (never read)",
    "captions": "captions (new pairs)",
}
PUBLISHED_FILES = "published validation files"
"""The column of published tasks in place of "validation": no artist of ours drew for them."""
SENTENCES_ALONE = "validation (sentences alone)"
"""What "validation" is called over rows of tasks without a picture alone."""


def of_boxes(task: str, label: str) -> dict[str, str]:
    """The rows of a task that asks for boxes."""
    return {
        f"{task}/ap50": f"{label}, AP50",
        f"{task}/ap": f"{label}, AP",
        f"{task}/ap_small": "- small ones",
        f"{task}/ap_medium": "- medium ones",
        f"{task}/ap_large": "- large ones",
    }


GROUPS: tuple[dict[str, str], ...] = (
    {
        "retrieval/image_to_text_r1": "image -> text R@1",
        "retrieval/text_to_image_r1": "text -> image R@1",
        "retrieval/image_to_text_r5": "image -> text R@5",
        "retrieval/text_to_image_r5": "text -> image R@5",
        "reranked/image_to_text_r1": "by fusion, image -> text R@1",
        "reranked/text_to_image_r1": "by fusion, text -> image R@1",
        "order/left_right_pairs": "left/right told apart",
        "zeroshot/accuracy": "naming",
        "image_knn/accuracy": "k-NN, joint encoder",
        "image_knn/accuracy_untrained": "- untrained",
        "image_knn/accuracy_raw_pixels": "- bare pixels",
        "image_linear/accuracy": "probe, joint encoder",
        "image_linear/accuracy_untrained": "- untrained",
        "itm/random": "true pair or wrong?",
        "itm/mirrored": "- wrong: mirrored",
        "masked_thing/accuracy": "hidden thing, with picture",
        "masked_thing/without_picture": "- without picture",
        "rearranged/image_to_text_r1": "same things, R@1",
        "rearranged_by_fusion/image_to_text_r1": "- by fusion",
        "rearranged/text_to_image_r1": "- text -> image",
        "rearranged_by_fusion/text_to_image_r1": "- so by fusion",
        "scene-grounding/box": "box of what is said",
        "scene-grounding/box_word": "- in its sentence",
        "scene-grounding/box_attention": "- by attention",
        "scene-grounding/box_absent": "- other thing said",
        "scene-grounding/pointing": "hottest cell in it",
        "scene-grounding/pointing_absent": "- other thing said",
        "mmm_text/accuracy": "hidden word, with picture",
        "mmm_text/without_picture": "- without picture",
        "mmm_image/accuracy": "hidden patch, with sentence",
        "mmm_image/without_text": "- without sentence",
        "mim_head/accuracy": "hidden patch, no sentence",
        "mlm_head/accuracy": "hidden word, no picture",
    },
    {
        "reconstruction/psnr": "reconstruction",
        "reconstruction/l1": "mean colour error",
        "codebook/perplexity": "codes, perplexity",
    },
    {
        "knn/accuracy": "named by k-NN",
        "knn/accuracy_untrained": "- untrained",
        "knn/accuracy_raw_pixels": "- bare pixels",
        "linear/accuracy": "named by a probe",
        "linear/accuracy_untrained": "- untrained",
        "attention/mass_inside": "attention on it",
        "attention/mass_inside_untrained": "- untrained",
        "attention/pointing": "brightest on it",
        "attention/pointing_untrained": "- untrained",
    },
    {
        "mim/accuracy": "hidden patch",
        "mim/top5": "- in first five",
        "mim/by_nearest": "- nearest patch",
    },
    {
        "mlm/accuracy": "hidden word",
        "mlm/top5": "- in first five",
        "mlm/by_neighbours": "- neighbour table",
    },
    {
        **of_boxes("scene-detection", "boxes"),
        **of_boxes("scene-attributes", "boxes with attributes"),
        "scene-attributes/size": "size told, of all things",
        "scene-attributes/colour": "colour told, of coloured things",
    },
    {
        "scene-vqa/accuracy": "questions about pictures",
        "scene-vqa/what": "- what is there?",
        "scene-vqa/where": "- where is it?",
        "scene-vqa/how_many": "- how many?",
        "scene-vqa/anything": "- any thing in it?",
        "scene-vqa/exists": "- is it there?",
        "scene-vqa/place": "- is it left, top?",
        "scene-vqa/relation": "- is it left of that?",
        "scene-ve/accuracy": "claims about a picture",
        "scene-nlvr/accuracy": "statements judged",
        "scene-nlvr/more": "- which has more?",
        "scene-nlvr/place": "- is it where?",
        "scene-nlvr/both": "- in both?",
        "scene-nlvr/one": "- in only one?",
        "caption-answers/accuracy": "does the caption answer?",
        "scene-sentences/accuracy": "claims about a sentence",
        "scene-sentences/place": "- about places",
        "scene-sentences/scenery": "- about scenery (a forest)",
        "caption-pairs/accuracy": "do two captions say the same?",
        "gloss-kinds/accuracy": "living thing or artifact?",
        **of_boxes("coco", "COCO"),
        **of_boxes("visual-genome", "Visual Genome"),
        "qnli/accuracy": "QNLI",
        "mnli-matched/accuracy": "MNLI, matched",
        "mnli-mismatched/accuracy": "MNLI, mismatched",
        "qqp/accuracy": "QQP",
        "sst-2/accuracy": "SST-2",
    },
)
"""Rows of one stage after another: the last of all first, then those before in their order.

One word of a label is at most as wide as its column. A dash ties a label to the one above it; of
the others no two are alike.
"""
ROWS = {name: label for group in GROUPS for name, label in group.items()}
FINER = {
    name.replace("/ap50", "/ap75"): label.replace("AP50", "AP75")
    for name, label in ROWS.items()
    if name.endswith("/ap50")
}
"""How the report calls what the short table leaves out."""
GROUNDED = tuple(
    f"scene-grounding/{measure}_{way}"
    for measure in ("box", "pointing")
    for way in ("attention", "absent", "empty", "word", "centre", "uniform",
                *(f"block_{number}" for number in range(1, 13)))
    if f"{measure}_{way}" not in ("box_word", "box_attention", "box_absent", "pointing_absent")
)  # fmt: skip
LEFT_OUT = (
    *GROUNDED,
    *FINER,
    "retrieval/image_to_text_r10",
    "retrieval/text_to_image_r10",
    *(f"reranked/{way}_r{k}" for way in ("image_to_text", "text_to_image") for k in (5, 10)),
    "order/left_right_pictures",
    "codebook/used",
    *(f"attention/{name}{of}" for name in ("best_iou", "mass_60_iou") for of in ("", "_untrained")),
)
"""In eval.json and in the report, not in the short table."""
SECONDARY = (
    "retrieval/image_to_text_r5",
    "retrieval/text_to_image_r5",
    "image_knn/accuracy_untrained",
    "image_knn/accuracy_raw_pixels",
    "image_linear/accuracy_untrained",
)
"""Left out, too, where several stages share the table."""

WIDTH, LABEL, CELL, ABREAST = 80, 17, 19, 3

Metrics = Mapping[str, "Metric | Mapping[str, Any]"]
Cells = dict[str, "Metric | Mapping[str, Any]"]
"""Split -> metric, of one row."""


def rows(metrics: Metrics, *, full: bool = False) -> list[tuple[str, Cells]]:
    """(label, {split: metric}) of every row that has a number; unknown rows and splits come last.

    Keys are "<split>/<task>/<measure>"; values are metrics, or the dicts that eval.json holds.
    Where more than two stages were measured, all but the last are one row each, unless `full`.
    """
    found: dict[str, Cells] = {name: {} for name in ROWS}
    for key, value in metrics.items():
        split, _, name = key.partition("/")
        metric = _metric(value)
        if metric is not None and name not in LEFT_OUT:
            found.setdefault(name, {})[column(split, name)] = metric
    names = [name for name, cells in found.items() if cells]
    chosen = names if full else shortened(names)
    return [(ROWS.get(name, name), found[name]) for name in chosen]


def column(split: str, name: str) -> str:
    """Where a number stands: under its split, or with those of published files."""
    of_files = split == "validation" and name.partition("/")[0] in PUBLISHED
    return PUBLISHED_FILES if of_files else split


def names_alone() -> dict[str, str]:
    """Each measure's label as it reads alone: before "- untrained" stands what is untrained.

    For the report, so that both call a number the same.
    """
    found, head = {}, ""
    for name, label in ROWS.items():
        if label.startswith("- "):
            found[name] = f"{head}: {label.removeprefix('- ')}"
        else:
            found[name] = head = label
    return found | FINER


def shortened(names: list[str]) -> list[str]:
    """The rows that a table of several stages has room for; all, where there are one or two."""
    present = [[name for name in group if name in names] for group in GROUPS]
    if sum(map(bool, present)) <= 2:
        return names
    left_out = {*SECONDARY, *(name for group in present[1:] for name in group[1:])}
    return [name for name in names if name not in left_out]


def table(metrics: Metrics, width: int = WIDTH) -> str:
    """The table as plain text: value and 95 % interval in %, below them chance and sample size.

    Quantities that are no shares (dB, a perplexity) stand with their unit or their size. Rows that
    were measured on other splits than those above them begin a block with its own columns.
    """
    lines = rows(metrics)
    if not lines:
        return "nothing was measured"
    shown = "\n\n".join(_block(*block, width) for block in blocks(lines))
    short = len(lines) < len(rows(metrics, full=True))
    return shown + "\n\nmore of the stages before: in the report" * short


def blocks(lines: list[tuple[str, Cells]]) -> list[tuple[list[str], list[tuple[str, Cells]]]]:
    """(splits, rows) of tables that are at most three splits wide, in the order of the rows.

    Published files have tables of their own: they share no split with what is drawn here.
    """
    found: list[tuple[list[str], list[tuple[str, Cells]]]] = []
    for label, cells in lines:
        own = sorted(cells, key=_place)
        if found:
            splits, block = found[-1]
            together = sorted({*splits, *own}, key=_place)
            alike = (PUBLISHED_FILES in splits) == (PUBLISHED_FILES in own)
            if alike and len(together) <= max(ABREAST, len(own)):
                splits[:] = together
                block.append((label, cells))
                continue
        found.append((own, [(label, cells)]))
    return found


def _place(split: str) -> tuple[int, str]:
    """Known splits in the order of COLUMNS, then others by name."""
    known = list(COLUMNS)
    return (known.index(split), "") if split in COLUMNS else (len(known), split)


def heading(split: str, labels: Iterable[str]) -> str:
    """A column's heading over the rows of these labels."""
    if split == "validation" and set(labels) <= {
        label for name, label in ROWS.items() if name.partition("/")[0] in SENTENCES
    }:
        return SENTENCES_ALONE
    return COLUMNS.get(split, split)


def _block(splits: list[str], lines: list[tuple[str, Cells]], width: int) -> str:
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0), header_style="")
    drawn.add_column("% (95 % interval)", width=LABEL, overflow="fold")
    for split in splits:
        drawn.add_column(heading(split, (label for label, _ in lines)), width=CELL)
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
        return f"{metric['value']:.1f} {of}\nchance {metric['chance']:.1f}, n {size(metric['n'])}"
    value, low, high = (f"{100 * x:.1f}" for x in (metric.value, metric.low, metric.high))
    return f"{value} ({low}-{high})\n{guessed(metric.chance, metric.n)}"


def guessed(chance: float, n: int) -> str:
    """The chance level and the sample's size, in one line of a cell."""
    line = f"chance {percent(chance)}, n {size(n)}"
    if len(line) <= CELL:
        return line
    short = "<0.1" if 100 * chance < 0.05 else f"{100 * chance:.1f}"
    return f"chance {short}, n {size(n)}"


def size(n: int) -> str:
    """1024 -> "1024", 28672 -> "29k": it must fit beside the chance level."""
    return str(n) if n < 10_000 else f"{n / 1000:.0f}k"


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

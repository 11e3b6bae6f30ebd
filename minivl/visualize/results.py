"""The numbers of eval.json as HTML: headlines, and a table with chance, interval and size."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from minivl.data.unit_tasks import PUBLISHED, SENTENCES
from minivl.visualize.page import escape

SPLITS = {
    "validation": "known artists, new photographs",
    "twemoji": "an artist never seen in training",
    "compositions": "pairs of things never seen together",
    "photographs": "photographs without drawings",
    "glosses": "definitions never read",
    "captions": "captions of things never named together",
}
PUBLISHED_FILES = "published validation files"
"""What stands over published tasks in place of "validation"."""
NAMES = {
    "itm/random": "true pair or another one's caption?",
    "itm/mirrored": "true pair or its mirrored twin's caption?",
    "masked_thing/accuracy": "hidden name of a thing, with the picture",
    "masked_thing/without_picture": "hidden name of a thing, without the picture",
    "reranked/image_to_text_r1": "picture -> sentence, ranked anew by fusion: R@1",
    "reranked/text_to_image_r1": "sentence -> picture, ranked anew by fusion: R@1",
    "mmm_text/accuracy": "hidden word named, with the picture",
    "mmm_text/without_picture": "hidden word named, without the picture",
    "mmm_image/accuracy": "hidden patch named, with the sentence",
    "mmm_image/without_text": "hidden patch named, without the sentence",
    "mim/accuracy": "hidden patch named",
    "mim/top5": "hidden patch among the first five",
    "mim/by_nearest": "hidden patch as the nearest seen one",
    "mlm/accuracy": "hidden word named",
    "mlm/top5": "hidden word among the first five",
    "mlm/by_neighbours": "hidden word, by a table of neighbours",
    "reconstruction/psnr": "picture redrawn from its words",
    "reconstruction/l1": "mean error of its colours",
    "codebook/perplexity": "words in use, as perplexity",
    "codebook/used": "share of the words that occur",
    "knn/accuracy": "named by its nearest neighbours",
    "linear/accuracy": "named by a linear probe",
    "mim_head/accuracy": "hidden patch of a picture alone, after joint training",
    "mlm_head/accuracy": "hidden word of a text alone, after joint training",
    "image_knn/accuracy": "image encoder: named by nearest neighbours",
    "image_linear/accuracy": "image encoder: named by a linear probe",
    "order/left_right_pairs": "left and right told apart, both pictures of a pair",
    "order/left_right_pictures": "left and right told apart, single pictures",
}
"""Measures that their keys do not explain."""
COMPARED = {"_untrained": "untrained encoder", "_raw_pixels": "bare pixels"}
"""Ends of a measure's name that say what was measured in place of the model."""
HEADLINES = (
    r"validation/retrieval/image_to_text_r1$",
    r"twemoji/retrieval/image_to_text_r1$",
    r"validation/.*(mirror|minimal|order)",
    r"twemoji/mmm_text/accuracy",
    r"twemoji/zero_?shot/",
    r"validation/zero_?shot/",
    r".*_r1$",
    r"validation/(?:scene-detection|coco)/ap50$",
    r"validation/(?:scene-attributes|visual-genome)/ap50$",
    r"validation/scene-vqa/accuracy$",
    r"validation/scene-ve/accuracy$",
)
"""Which numbers come first, one for each pattern; then those that sum up a task."""
SUMMARY = r".*/(?:ap50|accuracy)$"
NOTES = {
    r".*/ap50$": (
        "AP50: all boxes are gone through, the surest first: how many are right, and how many "
        "things are found? Right is the name, and an overlap (IoU) of a half. AP75 asks for three "
        "quarters, AP is the mean over .50, .55 and so on to .95. Chance: the boxes of one "
        "picture, judged by another's."
    ),
    r".*/scene-[a-z]+/ap_(?:small|medium|large)$": (
        "Medium: as large in area as a square of a seventh to three sevenths of the picture's "
        "side; small and large: below and above (COCO's 32 and 96 pixels, where the side is 224)."
    ),
    r".*/(?:coco|visual-genome)/ap_(?:small|medium|large)$": (
        "Medium: with an area of 32² to 96² pixels; small and large: below and above."
    ),
    r".*/scene-attributes/(?:size|colour)$": (
        "Size and colour count as told only where a box covers the thing by half."
    ),
    r".*/scene-sentences/scenery$": (
        "Claims about scenery: “a dog in a forest”; about places: “a dog on the left”."
    ),
}
"""Words of the table that have to be explained: the keys that they belong to -> what they mean."""

Metric = Mapping[str, Any]


def headlines(
    evaluation: Mapping[str, Metric], count: int = 4, names: Mapping[str, str] | None = None
) -> str:
    """The few numbers that say most, as cards. names: as in `readable`."""
    chosen: list[str] = []
    for pattern in HEADLINES:
        found = [key for key in evaluation if re.match(pattern, key) and key not in chosen]
        chosen += found[:1]
    for key in evaluation:  # one a task and a split
        told = {one.rpartition("/")[0] for one in chosen}
        if re.match(SUMMARY, key) and key.rpartition("/")[0] not in told:
            chosen.append(key)
    chosen += [key for key in evaluation if key not in chosen]
    cards = [card(key, evaluation[key], names) for key in chosen[:count]]
    return f'<div class="cards">{"".join(cards)}</div>' if cards else ""


def card(key: str, metric: Metric, names: Mapping[str, str] | None = None) -> str:
    """One number with its name, chance and size."""
    split, name = divide(key)
    percent = is_share(key, metric)
    chance = quantity(metric, "chance", percent)
    small = [f"chance {chance}"] if known(metric, "chance") else []
    small += [f"n = {metric['n']:,}"] if known(metric, "n") else []
    return (
        f'<div class="card"><b>{escape(quantity(metric, "value", percent))}</b>'
        f"<span>{escape(readable(name, names))}</span>"
        f'<span class="muted">{escape(split)}</span>'
        f'<span class="muted">{escape(", ".join(small))}</span></div>'
    )


def table(evaluation: Mapping[str, Metric], names: Mapping[str, str] | None = None) -> str:
    """Every number, grouped by split: value, 95 % interval, chance, n. names: as in `readable`."""
    groups: dict[str, list[str]] = {}
    for key in evaluation:
        groups.setdefault(divide(key)[0], []).append(key)
    body = []
    for split, keys in groups.items():
        words = about(split, keys)
        about_it = f" <small>{escape(words)}</small>" if words else ""
        head = f'<tr><th colspan="6" scope="rowgroup">{escape(split)}{about_it}</th></tr>'
        body += ["<tbody>", head, *(row(key, evaluation[key], names) for key in keys), "</tbody>"]
    return f'<div class="wide"><table>{HEAD}{"".join(body)}</table></div>'


def about(split: str, keys: Iterable[str]) -> str:
    """What a split holds, in words; "" of one that is not known. keys: its numbers."""
    if split == "validation" and all(key.split("/")[1] in SENTENCES for key in keys):
        return "sentences alone"
    return SPLITS.get(split, "")


def notes(evaluation: Mapping[str, Metric]) -> list[str]:
    """What words of the table mean, as far as it has them."""
    return [
        text for pattern, text in NOTES.items() if any(re.match(pattern, key) for key in evaluation)
    ]


HEAD = (
    '<thead><tr><th scope="col">measure</th><th scope="col">value</th>'
    '<th scope="col">95 % interval</th><th scope="col">chance</th><th scope="col">n</th>'
    '<th scope="col" class="bar">0 to 100 %, chance marked</th></tr></thead>'
)


def row(key: str, metric: Metric, names: Mapping[str, str] | None = None) -> str:
    """One line of the table."""
    percent = is_share(key, metric)
    interval = "–"
    if known(metric, "low") and known(metric, "high"):
        low, high = (number(metric[end], percent, unit=False) for end in ("low", "high"))
        interval = f"{low} to {high}"
    size = f"{metric['n']:,}" if known(metric, "n") else "–"
    value, chance = (escape(quantity(metric, name, percent)) for name in ("value", "chance"))
    name = escape(readable(divide(key)[1], names))
    return (
        f'<tr><td title="{escape(key)}">{name}</td>'
        f'<td>{value}</td><td class="interval">{interval}</td><td>{chance}</td><td>{size}</td>'
        f'<td class="bar">{bar(metric) if percent else ""}</td></tr>'
    )


def bar(metric: Metric) -> str:
    """The value from 0 to 1 with its interval, and a mark at chance."""

    def percent(name: str) -> float:
        return 100 * min(max(float(metric[name]), 0.0), 1.0)

    parts = [f'<i class="value" style="width:{percent("value"):.2f}%"></i>']
    if known(metric, "low") and known(metric, "high"):
        low, high = percent("low"), percent("high")
        parts.append(f'<i class="range" style="left:{low:.2f}%;width:{high - low:.2f}%"></i>')
    if known(metric, "chance"):
        parts.append(f'<i class="chance" style="left:{percent("chance"):.2f}%"></i>')
    return f'<span class="scale" aria-hidden="true">{"".join(parts)}</span>'


def divide(key: str) -> tuple[str, str]:
    """'twemoji/retrieval/image_to_text_r1' -> ('twemoji', 'retrieval/image_to_text_r1').

    'validation/coco/ap' -> ('published validation files', 'coco/ap').
    """
    split, slash, name = key.partition("/")
    if split == "validation" and name.partition("/")[0] in PUBLISHED:
        split = PUBLISHED_FILES
    return (split, name) if slash else ("all", split)


def readable(name: str, names: Mapping[str, str] | None = None) -> str:
    """'retrieval/image_to_text_r1' -> 'picture → caption, R@1'.

    names: measure -> what the terminal calls it, which goes before.
    """
    if names and name in names:
        return names[name]
    name = re.sub(r"_r(?:ecall)?_?(?:at_)?(\d+)$", r", R@\1", name.removeprefix("retrieval/"))
    for end, words in COMPARED.items():
        if name.endswith(end):
            return f"{readable(name.removesuffix(end))}, {words}"
    if name in NAMES:
        return NAMES[name]
    name = name.replace("image_to_text", "picture → caption")
    name = name.replace("text_to_image", "caption → picture")
    return name.replace("zeroshot", "zero-shot").replace("/", ", ").replace("_", " ")


def known(metric: Metric, name: str) -> bool:
    """Whether a metric has a finite number of this name."""
    value = metric.get(name)
    return isinstance(value, int | float) and math.isfinite(value)


def is_share(key: str, metric: Metric) -> bool:
    """Whether a metric is a share of 1, to be shown in per cent; ranks and losses are not."""
    ends = [metric[name] for name in ("value", "chance") if known(metric, name)]
    words = r"(?:^|[/_])(?:rank|loss|entropy|perplexity|temperature|scale)"  # not "glosses"
    unbounded = re.search(words, key) or "unit" in metric
    return known(metric, "value") and not unbounded and all(0 <= end <= 1 for end in ends)


def quantity(metric: Metric, name: str, percent: bool) -> str:
    """A number of the metric with its unit, or with the size that it is a part of."""
    text = number(metric.get(name), percent)
    if percent or not known(metric, name):
        return text
    if isinstance(metric.get("unit"), str):
        return f"{text} {metric['unit']}"
    return f"{text} of {metric['size']:,}" if name == "value" and known(metric, "size") else text


def number(value: Any, percent: bool, unit: bool = True) -> str:
    """0.9234 -> '92.3 %'; small shares keep two digits that count."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    if not percent:
        return f"{value:.4g}"
    text = f"{100 * value:.2g}" if 0 < value < 0.001 else f"{100 * value:.1f}"
    return f"{text} %" if unit else text

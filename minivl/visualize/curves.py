"""Loss curves of a run, from the lines of its metrics.jsonl."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.gridspec import SubplotSpec
from matplotlib.ticker import MaxNLocator

from minivl.visualize.style import CYCLE, MUTED, Caption, Picture, styled

NOT_LOSSES = {
    "stage", "step", "stream", "loss", "lr", "grad_norm", "samples_per_second",
    "data_wait_share", "seconds", "epoch", "time", "mfu",
    # schedules
    "momentum", "weight_decay", "teacher_temperature", "temperature", "beta", "alpha",
    # monitors
    "teacher_entropy", "entropy_of_mean", "mutual_information", "kl_to_student", "kl_to_uniform",
    "feature_spread", "perplexity", "codes_used", "kl_per_cell", "soft_hard_gap",
    "target_entropy",
}  # fmt: skip
"""What a line holds beside losses: other units, other directions. So is what ends in "accuracy"."""

SMOOTHED_FROM = 60
"""Logged steps from which a running mean is drawn over the single values."""
TOGETHER = 3
"""As many named losses of a stage share one panel; of more, each has its own."""
ABREAST = 2
"""Panels in a row."""
MANY, ABREAST_OF_MANY = 9, 3
"""From so many panels on more stand in a row, or the picture is longer than a screen."""


def contrastive_level(batch_size: int) -> tuple[float, str]:
    """The contrastive loss of a model that knows nothing: every one of b partners alike, ln b."""
    return math.log(batch_size), f"untrained: ln {batch_size:,} = {math.log(batch_size):.2f}"


def guessing_level(choices: int) -> tuple[float, str]:
    """The cross-entropy of a model that finds all choices equally likely."""
    return math.log(choices), f"guessing: ln {choices:,} = {math.log(choices):.2f}"


def constant_level(share: float) -> tuple[float, str]:
    """The cross-entropy of always answering that a pair is wrong with this share of all pairs."""
    value = -sum(p * math.log(p) for p in (share, 1 - share) if p > 0)
    return value, f"always the same answer: {value:.2f}"


@styled
def loss_curves(
    metrics: Sequence[Mapping[str, Any]],
    *,
    levels: Mapping[str, tuple[float, str]] | None = None,
) -> Picture:
    """Each named loss and the learning rate over the steps, one row a stage.

    A stage with many losses, or whose streams take turns with losses of their own, has one panel a
    loss; a line joins the steps at which its own stream was drawn.

    metrics: lines with `step` and any of `stage`, `loss`, named losses, `lr`. Steps that a resumed
    run logged twice count once, the later line; missing and non-finite values leave gaps.
    levels: loss name -> (value, label) of the line that an untrained model stands on.
    """
    stages = split_stages(metrics)
    if not stages:
        figure = Picture(figsize=(7.2, 1.2), layout="constrained")
        figure.text(0.5, 0.5, "no steps logged yet", ha="center", va="center", color=MUTED)
        figure.caption = Caption("Learning curves", "Empty: no steps logged yet.")
        return figure
    heights = [height(lines) for lines in stages.values()]
    figure = Picture(figsize=(7.2, 0.3 + sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(stages), 1, height_ratios=heights)
    for (stage, lines), place in zip(stages.items(), grid, strict=True):
        draw_stage(figure, place, stage, lines, levels or {})
    reading = how_to_read(stages, levels or {})
    figure.caption = Caption("Learning curves", describe(stages), reading)
    return figure


def panels(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """The losses that have a panel each, a task's "<task>/..." together; none, where all share."""
    names = loss_names(lines)
    if not take_turns(lines) and len(names) <= TOGETHER + ("loss" in names):
        return []
    tasks = list(dict.fromkeys(name.partition("/")[0] for name in names))
    return sorted(names, key=lambda name: tasks.index(name.partition("/")[0]))


def abreast(names: Sequence[str]) -> int:
    """How many of these panels stand in a row."""
    return ABREAST if len(names) < MANY else ABREAST_OF_MANY


def height(lines: Sequence[Mapping[str, Any]]) -> float:
    """Of one stage, in inches."""
    names = panels(lines)
    rows = -(-len(names) // abreast(names))
    return 1.9 * rows + 1.1 if rows else 4.1


def draw_stage(
    figure: Picture,
    place: SubplotSpec,
    stage: str,
    lines: Sequence[Mapping[str, Any]],
    levels: Mapping[str, tuple[float, str]],
) -> None:
    """Losses above, learning rate below."""
    names = panels(lines)
    columns = abreast(names)
    rows = -(-len(names) // columns)
    shares = [1.9] * rows + [1.1] if rows else [3, 1]
    grid = place.subgridspec(len(shares), columns if rows else 1, height_ratios=shares)
    first = None
    for number, name in enumerate(names):
        axes = figure.add_subplot(grid[divmod(number, columns)], sharex=first)
        first = first or axes
        draw_losses(axes, lines, levels, [name], CYCLE[number % len(CYCLE)])
        axes.set_title(title(stage, name, columns))
        axes.tick_params(labelbottom=number >= len(names) - columns)
    if not names:
        first = figure.add_subplot(grid[0, 0])
        draw_losses(first, lines, levels, loss_names(lines))
        first.set_title(f"{stage}: loss" if stage else "loss")
        first.tick_params(labelbottom=False)
    narrow = len(names) and columns > ABREAST  # all panels have the marks of the lowest
    draw_rate(figure.add_subplot(grid[-1, :], sharex=first), lines, 3 if narrow else 8)


def title(stage: str, name: str, columns: int) -> str:
    """Of one panel; a task's loss below the task's name where panels are narrow."""
    if columns > ABREAST:
        return name.replace("/", "\n")
    return f"{stage}: {name}" if stage else name


def how_to_read(stages: Mapping[str, Sequence], levels: Mapping[str, Any]) -> str:
    """What the drawn lines mean; only those that are there."""
    sentences = ["Lower is better."]
    if any(take_turns(lines) for lines in stages.values()):
        sentences.append(
            "Streams of examples take turns: each loss has a point where its own were drawn."
        )
    if any(name in levels for lines in stages.values() for name in loss_names(lines)):
        sentences.append(
            "The dotted line is the loss of a model that knows nothing: a curve that stays there "
            "has not begun to learn."
        )
    if any(len(lines) >= SMOOTHED_FROM for lines in stages.values()):
        sentences.append("Pale lines are single logged steps, strong ones a running mean.")
    sentences.append("Below: the learning rate.")
    return " ".join(sentences)


def split_stages(metrics: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Stage name -> its lines by rising step, the last line of each step only."""
    stages: dict[str, dict[int, Mapping[str, Any]]] = {}
    for line in metrics:
        if isinstance(line.get("step"), int | float):
            stages.setdefault(str(line.get("stage", "")), {})[int(line["step"])] = line
    return {name: [steps[s] for s in sorted(steps)] for name, steps in stages.items()}


def loss_names(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """The named losses, and their total `loss` where it is not the same as the only one.

    Totals of streams that take turns are sums of different things, and no curve.
    """
    names = list(dict.fromkeys(name for line in lines for name in named(line)))
    has_total = any("loss" in line for line in lines) and not take_turns(lines)
    if has_total and (len(names) != 1 or not same(lines, "loss", names[0])):
        names.insert(0, "loss")
    return names


def named(line: Mapping[str, Any]) -> list[str]:
    """The named losses of one step."""
    return [
        key for key, value in line.items()
        if key not in NOT_LOSSES
        and not key.endswith("accuracy")
        and isinstance(value, int | float)
    ]  # fmt: skip


def take_turns(lines: Sequence[Mapping[str, Any]]) -> bool:
    """Whether streams with different losses feed the steps of this stage."""
    fed: dict[Any, set[str]] = {}
    for line in lines:
        fed.setdefault(line.get("stream"), set()).update(named(line))
    return len(set(map(frozenset, fed.values()))) > 1


def same(lines: Sequence[Mapping[str, Any]], a: str, b: str) -> bool:
    """Whether two columns hold the same numbers."""
    return bool(np.allclose(column(lines, a), column(lines, b), rtol=1e-4, equal_nan=True))


def column(lines: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """One field of each line, (lines,) float; NaN where it is missing or not a finite number."""
    values = [line.get(name) for line in lines]
    numbers = [v if isinstance(v, int | float) and math.isfinite(v) else math.nan for v in values]
    return np.array(numbers, dtype=float)


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Centred mean over `window` (odd) values, fewer at the ends; gaps stay gaps. (n,) -> (n,)."""
    known = ~np.isnan(values)
    kernel = np.ones(window)
    # mode "full" cut by hand: numpy's "same" is longer than a curve shorter than the window.
    half = window // 2
    total = np.convolve(np.where(known, values, 0.0), kernel)[half : half + len(values)]
    count = np.convolve(known.astype(float), kernel)[half : half + len(values)]
    return np.where(known, total / np.maximum(count, 1.0), np.nan)


def draw_losses(
    axes: Axes,
    lines: Sequence[Mapping[str, Any]],
    levels: Mapping[str, tuple[float, str]],
    names: Sequence[str],
    colour: str = "",
) -> None:
    """Some losses of one stage and the levels of an untrained model; one alone in its `colour`."""
    curves = [curve for name in names for curve in curves_of(name, lines)]
    alone = len(curves) == 1
    for i, (name, label, own) in enumerate(curves):
        shade = colour if alone and colour else CYCLE[i % len(CYCLE)]
        steps, values = column(own, "step"), column(own, name)
        marker = "o" if len(own) < 30 else None
        if len(own) >= SMOOTHED_FROM:
            axes.plot(steps, values, color=shade, alpha=0.3, linewidth=1)
            values = running_mean(values, 2 * (len(own) // 60) + 3)
        axes.plot(steps, values, color=shade, label=label, marker=marker, markersize=4)
    for name in levels.keys() & set(names):
        shade = MUTED if len(names) == 1 else CYCLE[names.index(name) % len(CYCLE)]
        draw_level(axes, *levels[name], shade, len(names) > 1)
    legend = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0.1}
    if names and not (alone and panels(lines)):  # a panel is named by its title
        axes.legend(**legend, ncols=3 if len(names) > 3 else 4, handlelength=1.4)
    low, high = axes.get_ylim()
    axes.set_ylim(0 if low > 0 else low, high + 0.06 * (high - min(low, 0)))


def curves_of(name: str, lines: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, list]]:
    """(loss, label, its lines) for each stream that feeds a loss.

    Steps of other streams leave the loss as it was: they are no gaps in its curve.
    """
    own = [line for line in lines if name in line]
    streams = list(dict.fromkeys(line.get("stream") for line in own))
    if len(streams) < 2:
        return [(name, name, own)]
    return [
        (name, f"{name}, {stream}", [line for line in own if line.get("stream") == stream])
        for stream in streams
    ]


def draw_level(axes: Axes, value: float, label: str, colour: str, crowded: bool) -> None:
    """A dotted horizontal line; its label stands on it at the right, where curves have left it.

    Among several curves there is no free place, and the label goes into the legend.
    """
    line = axes.axhline(value, color=colour, linestyle=":", linewidth=1.6)
    if crowded:
        line.set_label(label)
        return
    axes.annotate(
        label, (1, value), xycoords=("axes fraction", "data"), xytext=(-4, 3),
        textcoords="offset points", ha="right", va="bottom", color=colour, fontsize=10,
        bbox={"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.8},
    )  # fmt: skip


def draw_rate(axes: Axes, lines: Sequence, marks: int) -> None:
    """The learning rate of one stage; so many marks at most along the steps."""
    rates = column(lines, "lr")
    marker = "o" if len(lines) < 30 else None
    axes.plot(column(lines, "step"), rates, color=MUTED, marker=marker, markersize=4)
    axes.set(xlabel="step", ylabel="learning rate")
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_locator(MaxNLocator(marks, integer=True))
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    axes.set_ylim(bottom=0)
    if len(lines) == 1:  # else the axis shows hundredths of the one step
        axes.set_xlim(lines[0]["step"] - 1, lines[0]["step"] + 1)


def describe(stages: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The curves in words: where each loss starts and ends."""
    sentences = []
    for stage, lines in stages.items():
        for name in loss_names(lines):
            known = column(lines, name)
            known = known[~np.isnan(known)]
            if len(known):
                sentences.append(
                    f"{stage} {name} goes from {known[0]:.3g} to {known[-1]:.3g} "
                    f"between steps {int(lines[0]['step']):,} and {int(lines[-1]['step']):,}."
                )
    return " ".join(s.strip() for s in sentences) or "No finite loss was logged."

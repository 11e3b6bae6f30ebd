import math

import numpy as np
import pytest
import torch

from minivl.visualize.curves import (
    constant_level,
    contrastive_level,
    guessing_level,
    loss_curves,
    loss_names,
    running_mean,
    split_stages,
)


def log(steps, stage="clip", **losses):
    return [
        {"stage": stage, "step": s, "stream": "pairs", "lr": 1e-3, "grad_norm": 1.0,
         "samples_per_second": 9e3, "data_wait_share": 0.1, "loss": 5.0 / (1 + s)}
        | {name: factor / (1 + s) for name, factor in losses.items()}
        for s in steps
    ]  # fmt: skip


def curve(figure, label):
    (line,) = [x for axes in figure.axes for x in axes.lines if x.get_label() == label]
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata(), dtype=float)


def test_level_of_an_untrained_contrastive_model():
    value, label = contrastive_level(128)
    assert value == pytest.approx(math.log(128)) and "ln 128 = 4.85" in label


def test_the_drawn_curve_is_the_logged_one():
    figure = loss_curves(log(range(5), contrastive=5.0))
    steps, values = curve(figure, "contrastive")
    assert steps.tolist() == [0, 1, 2, 3, 4]
    assert values == pytest.approx([5, 5 / 2, 5 / 3, 5 / 4, 1])


def test_the_level_is_drawn_where_it_belongs_and_labelled(texts):
    figure = loss_curves(log(range(5), contrastive=5.0), levels={"contrastive": (2.5, "chance!")})
    dotted = [line for line in figure.axes[0].lines if line.get_linestyle() == ":"]
    assert [list(line.get_ydata()) for line in dotted] == [[2.5, 2.5]]
    assert "chance!" in texts(figure) and "dotted" in figure.caption.text
    bare = loss_curves(log(range(5), contrastive=5.0), levels={"mim": (2.5, "chance!")})
    assert "chance!" not in texts(bare) and "dotted" not in bare.caption.text


def test_a_resumed_run_counts_repeated_steps_once_the_later_line():
    lines = log([0, 10, 30]) + log([20, 30, 40], contrastive=1.0)
    (kept,) = split_stages(lines).values()
    assert [line["step"] for line in kept] == [0, 10, 20, 30, 40]
    assert "contrastive" in kept[3] and "contrastive" not in kept[1]


def test_total_is_left_out_only_where_it_equals_the_one_named_loss():
    assert loss_names(log(range(3), contrastive=5.0)) == ["contrastive"]
    assert loss_names(log(range(3), contrastive=4.0)) == ["loss", "contrastive"]
    assert loss_names(log(range(3), itm=1.0, mlm=4.0)) == ["loss", "itm", "mlm"]
    assert loss_names(log(range(3))) == ["loss"]


def test_missing_and_infinite_values_leave_gaps():
    lines = log(range(4), contrastive=4.0)
    lines[1]["contrastive"] = None
    lines[2]["contrastive"] = math.inf
    del lines[3]["lr"]
    _, values = curve(loss_curves(lines), "contrastive")
    assert np.isnan(values).tolist() == [False, True, True, False]


def test_one_row_of_losses_and_rates_for_each_stage(texts, check_legible):
    losses = {"mim": 6.0, "mlm": 5.0, "itm": 0.7, "global_contrastive": 4.0}
    level = {"itm": (math.log(2), "coin flip: ln 2 = 0.69")}
    lines = log(range(0, 700, 10), "joint", **losses) + log(range(8), "dvae")
    figure = loss_curves(lines, levels=level)
    # Five panels and a rate; one panel and a rate.
    assert len(figure.axes) == 8
    shown = {"joint: loss", "joint: itm", "dvae: loss", "coin flip: ln 2 = 0.69"}
    assert shown <= set(texts(figure))
    check_legible(figure)


def turns(steps):
    """A log of pairs, texts and pictures in turn, as the joint stage of FLAVA writes it."""
    feeds = {
        "pairs": {"contrastive": 4.0, "itm": 0.7},
        "texts": {"mlm": 5.0},
        "pictures": {"mim": 3.0},
    }
    lines = []
    for step in steps:
        name = list(feeds)[step % 3]
        own = {loss: value - 0.01 * step for loss, value in feeds[name].items()}
        total = {"loss": sum(own.values()), "itm_accuracy": 0.5, "mlm_accuracy": 0.1}
        lines.append({"stage": "joint", "step": step, "stream": name, "lr": 1e-3, **total, **own})
    return lines


def test_streams_that_take_turns_have_lines_through_their_own_steps(texts, check_legible):
    figure = loss_curves(turns(range(30)), levels={"itm": guessing_level(2)})
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "joint: contrastive", "joint: itm", "joint: mlm", "joint: mim", "",
    ]  # fmt: skip
    steps, values = curve(figure, "mlm")
    assert steps.tolist() == list(range(1, 30, 3))
    assert values == pytest.approx([5.0 - 0.01 * step for step in range(1, 30, 3)])
    itm = figure.axes[1]
    levels = [list(line.get_ydata()) for line in itm.lines if line.get_linestyle() == ":"]
    assert levels == [[math.log(2)] * 2] and "guessing: ln 2 = 0.69" in texts(figure)
    assert "take turns" in figure.caption.text
    assert "joint loss goes" not in figure.caption.alt, "totals of different things are no curve"
    check_legible(figure)
    check_legible(loss_curves(turns(range(600)), levels={"mlm": guessing_level(3400)}))


def test_many_tasks_stand_three_abreast_each_with_its_own_and_monitors_are_no_losses(
    texts, check_legible
):
    tasks = {"scene-boxes": ("class", "l1", "giou"), "scene-vqa": ("answer",)} | {
        f"sentences-{number}": ("answer",) for number in range(5)
    }
    lines = []
    for step in range(0, 4200, 20):
        task = list(tasks)[(step // 20) % len(tasks)]
        own = {f"{task}/{loss}": 2.0 - step / 4200 for loss in tasks[task]}
        lines.append({"step": step, "stream": task, "lr": 1e-3, f"{task}/accuracy": 0.5} | own)
    figure = loss_curves(lines)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:4] == [f"scene-boxes\n{x}" for x in ("class", "l1", "giou")] + [
        "scene-vqa\nanswer"
    ]
    assert len(figure.axes) == 9 + 1
    tops = [round(axes.get_position().y0, 3) for axes in figure.axes[:6]]
    figure.canvas.draw()
    assert len(set(tops[:3])) == 1 and tops[3] < tops[0]
    check_legible(figure)


def test_streams_with_the_same_loss_have_a_curve_each_in_one_panel():
    lines = log(range(4), mlm=5.0)
    for line, stream in zip(lines, ("glosses", "captions") * 2, strict=True):
        line["stream"] = stream
    figure = loss_curves(lines, levels={"mlm": guessing_level(8)})
    assert curve(figure, "mlm, glosses")[0].tolist() == [0, 2]
    assert curve(figure, "mlm, captions")[0].tolist() == [1, 3]
    assert len(figure.axes) == 2


def test_levels_are_the_losses_of_models_that_know_nothing():
    logits, labels = torch.zeros(3, 50), torch.tensor([1, 7, 49])
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    assert guessing_level(50)[0] == pytest.approx(loss)
    wrong = torch.tensor([1, 0, 0, 0])  # a quarter of the pairs is wrong
    best = torch.log(torch.tensor([0.75, 0.25])).expand(4, 2)
    loss = torch.nn.functional.cross_entropy(best, wrong).item()
    assert constant_level(0.25)[0] == pytest.approx(loss)
    assert constant_level(0.0)[0] == 0


NO_NUMBER = {"stage": "clip", "step": 4, "loss": math.nan, "lr": math.nan}


@pytest.mark.parametrize(
    "lines",
    [[], [{"note": "no step"}], [{"step": 3}], [NO_NUMBER], log([7], contrastive=5.0)],
)
def test_short_runs_are_drawn(lines, check_legible):
    check_legible(loss_curves(lines, levels={"contrastive": contrastive_level(128)}))


def test_a_single_step_is_visible():
    (line,) = loss_curves(log([7])).axes[0].lines
    assert line.get_marker() == "o"


def test_steps_are_whole_numbers_on_the_axis():
    for lines in (log([7]), log([7, 8])):
        ticks = loss_curves(lines).axes[-1].get_xticks()
        assert ticks.tolist() == [round(tick) for tick in ticks]


@pytest.mark.parametrize("length, window", [(12, 5), (3, 9), (1, 3)])
def test_running_mean_equals_a_slow_loop(length, window):
    values = np.random.default_rng(0).normal(size=length)
    values[length // 3 : length // 2] = np.nan
    expected = []
    for i, value in enumerate(values):
        near = values[max(0, i - window // 2) : i + window // 2 + 1]
        expected.append(np.nan if np.isnan(value) else np.nanmean(near))
    np.testing.assert_allclose(running_mean(values, window), expected)


def test_alt_text_says_where_the_loss_starts_and_ends():
    alt = loss_curves(log([0, 10, 1000], contrastive=5.0)).caption.alt
    assert "contrastive goes from 5 to 0.005 between steps 0 and 1,000" in alt

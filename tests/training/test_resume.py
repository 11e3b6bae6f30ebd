"""kill -9 anywhere, go on, and every loss and weight has the bits it would have had."""

import random
import signal

import pytest
from engine_toys import STEPS, curve, outcome

ALL_STEPS = sum(STEPS.values()) + STEPS["second"]  # the second stage accumulates: two forwards each
KILLED_AT = random.Random(3).sample(range(1, ALL_STEPS + 1), 5)


def finish(zygote, out, **options):
    code, printed = zygote(out, resume=True, **options)
    assert code == 0, printed
    return printed


def test_the_run_to_equal_has_every_step_and_both_streams(uninterrupted):
    lines = curve(uninterrupted)
    expected = [(name, step + 1) for name, steps in STEPS.items() for step in range(steps)]
    assert [(line["stage"], line["step"]) for line in lines] == expected
    assert {line["stream"] for line in lines} == {"points", "known", "new"}
    assert all("pull" not in line for line in lines if line["stream"] == "new")


@pytest.mark.parametrize("step", KILLED_AT)
def test_kill_9_at_a_random_step(zygote, uninterrupted, tmp_path, step):
    out = tmp_path / "run"
    code, _ = zygote(out, trouble={step: "kill"})
    assert code == -signal.SIGKILL
    finish(zygote, out)
    assert outcome(out) == outcome(uninterrupted)


def test_killed_again_and_again(zygote, uninterrupted, tmp_path):
    out = tmp_path / "run"
    for attempt in range(4):
        code, _ = zygote(out, resume=attempt > 0, trouble={5: "kill"})
        assert code == -signal.SIGKILL
    finish(zygote, out)
    assert outcome(out) == outcome(uninterrupted)


def test_kill_9_at_every_point_of_a_save(zygote, uninterrupted, tmp_path):
    """From the second save of the first stage, the first that deletes an old checkpoint."""
    options = {"training": {"keep_checkpoints": 1, "checkpoint_every": 4}}
    names = tmp_path / "names"
    assert zygote(tmp_path / "watched", names=str(names), **options)[0] == 0
    points = names.read_text().splitlines()
    kinds = ("mkdir", "write", "fsync", "rename", "replace LATEST", "prune", "fsync folder")
    assert all(any(point.startswith(kind) for point in points) for kind in kinds)
    one_save = points.index("mkdir", 1)
    for at in range(one_save, len(points)):
        out = tmp_path / f"killed-{at}"
        code, _ = zygote(out, at=at, **options)
        assert code == -signal.SIGKILL, points[at]
        finish(zygote, out, **options)
        assert outcome(out) == outcome(uninterrupted), points[at]
        assert not list(out.glob("checkpoints/**/*tmp*")), points[at]


@pytest.mark.parametrize("name", ["terminate", "interrupt"])
def test_a_signal_saves_after_the_step_and_exits_0(zygote, uninterrupted, tmp_path, name):
    out = tmp_path / "run"
    code, printed = zygote(out, trouble={5: name})
    assert code == 0
    assert (out / "checkpoints/first/step-5/MANIFEST.json").exists()
    assert "go on with: minivl train toy --resume" in printed
    assert not (out / ".lock").exists()
    finish(zygote, out)
    assert outcome(out) == outcome(uninterrupted)


def test_a_second_interrupt_ends_at_once(zygote, uninterrupted, tmp_path):
    out = tmp_path / "run"
    code, _ = zygote(out, trouble={5: "interrupt twice"})
    assert code == 130
    assert not (out / "checkpoints/first/step-5").exists()
    finish(zygote, out)
    assert outcome(out) == outcome(uninterrupted)


def test_a_finished_run_says_so(zygote, uninterrupted):
    before = curve(uninterrupted)
    code, printed = zygote(uninterrupted, resume=True)
    assert code == 0
    assert "is finished" in printed
    assert curve(uninterrupted) == before


def test_settings_that_bend_no_curve_may_change(zygote, uninterrupted, tmp_path):
    out = tmp_path / "run"
    zygote(out, trouble={9: "kill"})
    finish(zygote, out, training={"prefetch": 0, "workers": 2, "checkpoint_every": 5})
    assert outcome(out) == outcome(uninterrupted)


def test_torchrun_restarts_without_the_flag(zygote, uninterrupted, tmp_path):
    out = tmp_path / "run"
    zygote(out, trouble={9: "kill"})
    code, printed = zygote(out, environment={"TORCHELASTIC_RESTART_COUNT": "1"})
    assert code == 0, printed
    assert outcome(out) == outcome(uninterrupted)

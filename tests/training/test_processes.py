"""Two processes train what one would, stop together, and only the first writes."""

import pytest
import torch
from engine_toys import curve, weights

from minivl.training import checkpoint

NUMBERS = ("loss", "square", "small", "grad_norm")


@pytest.fixture(scope="module")
def alone(zygote, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "run"
    code, printed = zygote(out, square=True)
    assert code == 0, printed
    return out


def assert_equal_runs(a, b):
    for one, other in zip(curve(a), curve(b), strict=True):
        assert {k: v for k, v in one.items() if k not in NUMBERS} == {
            k: v for k, v in other.items() if k not in NUMBERS
        }
        for name in NUMBERS:
            assert one[name] == pytest.approx(other[name], rel=1e-12)
    mine, theirs = (checkpoint.read(next(reversed(checkpoint.steps(
        run / "checkpoints/square").values()))) for run in (a, b))  # fmt: skip
    for name, value in mine[0].items():
        torch.testing.assert_close(value, theirs[0][name], rtol=1e-11, atol=1e-13)
    for name in ("step", "samples_read", "skipped"):
        assert mine[2][name] == theirs[2][name]


def test_two_processes_equal_one(zygote, alone, tmp_path):
    out = tmp_path / "run"
    (first, printed), (second, quiet) = zygote(out, square=True, processes=2)
    assert (first, second) == (0, 0), printed + quiet
    assert "square 8/8" in printed
    assert "square" not in quiet
    assert_equal_runs(alone, out)
    skipped = [run.joinpath("skipped.jsonl").read_text().splitlines() for run in (alone, out)]
    assert sorted(skipped[0]) == sorted(skipped[1])


def test_a_signal_to_one_process_stops_both_which_go_on_together(zygote, alone, tmp_path):
    out = tmp_path / "run"
    answers = zygote(out, square=True, processes=2, trouble={6: "terminate"})
    assert [code for code, _ in answers] == [0, 0], answers
    assert [line["step"] for line in curve(out)] == [1, 2, 3]
    answers = zygote(out, square=True, processes=2, resume=True)
    assert [code for code, _ in answers] == [0, 0], answers
    assert_equal_runs(alone, out)


def test_a_nan_in_one_process_stops_both_before_any_weight_changes(zygote, tmp_path):
    out = tmp_path / "run"
    answers = zygote(out, square=True, processes=2, trouble={10: "no number"})
    assert [code for code, _ in answers] == [5, 5], answers
    assert all("step 5" in printed and "loss small is nan" in printed for _, printed in answers)
    assert weights(out, "square")[0] == "step-4"


def test_a_run_of_two_goes_on_alone(zygote, alone, tmp_path):
    """The number of processes changes rounding, not the data or the curve."""
    out = tmp_path / "run"
    zygote(out, square=True, processes=2, trouble={9: "terminate"})
    code, printed = zygote(out, square=True, resume=True)
    assert code == 0, printed
    assert_equal_runs(alone, out)

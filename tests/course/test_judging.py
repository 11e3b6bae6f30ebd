"""Three states, the first failing check, the misconception by name; nothing gets out."""

import math
import threading
import time

import pytest
import torch
import torch.nn.functional as F

from minivl.course import judging
from minivl.course.checking import check, hint, judge, progress
from minivl.course.exercise import Case, Exercise, Property, Variant, find
from minivl.objectives import contrastive

L3 = math.log(3)


def logits(*rows):
    return (torch.tensor(rows, dtype=torch.float64),)


def rows_only(logits):
    return F.cross_entropy(logits, torch.arange(len(logits)))


def summed(logits):
    return rows_only(logits) + rows_only(logits.T)


def is_chance(function):
    got = function(torch.zeros(3, 3).double()).item()
    return None if abs(got - L3) < 1e-9 else f"expected {L3:.4f}\ngot {got:.4f}"


EXERCISE = Exercise(
    target="minivl.objectives.contrastive.info_nce",
    number="05.2",
    minutes=10,
    difficulty=1,
    source="figure 3",
    hints=("labels", "twice", "average"),
    checks=(
        Case(
            "two pairs by hand",
            lambda: logits([L3, L3], [0.0, 0.0]),
            torch.tensor(0.765068, dtype=torch.float64),
            gradient=(0,),
        ),
        Case("three pairs", lambda: logits([1.0, 2, 3], [0, 1, 0], [2, 2, 5])),
        Property("zeros cost ln n", is_chance),
    ),
    variants=(
        Variant("rows only", rows_only, "Only image to text."),
        Variant("sum", summed, "Average the two directions."),
    ),
)


@pytest.fixture(autouse=True)
def only_this_exercise(monkeypatch):
    monkeypatch.setattr("minivl.course.checking.find", lambda name: EXERCISE)


def verdict(function):
    return judge(function, EXERCISE)


def blank(logits):
    """A docstring."""
    ...


def test_what_is_not_written_is_not_done():
    def dots(logits):
        return ...

    def passed_over(logits):
        pass

    for function in (blank, dots, passed_over):
        assert verdict(function).state == "not done"


def by_loops(scores):
    total = 0.0
    for i in range(len(scores)):
        total = total - scores[i, i] + scores[i].exp().sum().log()
        total = total - scores[i, i] + scores[:, i].exp().sum().log()
    return total / (2 * len(scores))


def test_any_style_passes():
    assert verdict(contrastive.info_nce).state == "passed"
    assert verdict(by_loops).state == "passed"
    assert verdict(lambda x: (rows_only(x) + rows_only(x.T)) * 0.5).state == "passed"


@pytest.mark.parametrize("variant", EXERCISE.variants, ids=lambda v: v.name)
def test_a_known_mistake_is_named(variant):
    told = verdict(lambda x: variant.function(x) * 1.0)
    assert (told.state, told.variant, told.message) == ("wrong", variant.name, variant.message)
    assert told.title == "two pairs by hand"
    assert [line.split()[0] for line in told.lines] == ["input", "expected", "got"]


def test_right_on_the_first_example_alone_is_wrong():
    def lucky(scores):
        return by_loops(scores) if len(scores) == 2 else by_loops(scores) + 1e-6

    told = verdict(lucky)
    assert (told.state, told.title, told.variant) == ("wrong", "three pairs", "")


def test_a_property_speaks_for_itself(monkeypatch):
    def lucky(scores):
        return by_loops(scores) + (scores == 0).all() * 1.0

    told = verdict(lucky)
    assert told.title == "zeros cost ln n" and told.lines == ("expected 1.0986", "got 2.0986")


def test_of_two_mistakes_the_one_that_explains_the_failure_is_told():
    def rows_and_a_size(scores):
        return rows_only(scores) + (len(scores) == 3) * 0.125

    told = verdict(rows_and_a_size)
    assert (told.title, told.variant) == ("two pairs by hand", "")
    assert told.message == judging.ALIKE + "Only image to text."


def test_a_failure_that_two_mistakes_would_explain_is_not_explained():
    twin = Variant("rows again", lambda x: rows_only(x) + (len(x) == 3) * 0.5, "Another one.")
    exercise = Exercise(**vars(EXERCISE) | {"variants": (*EXERCISE.variants, twin)})
    assert judge(lambda x: rows_only(x) + (len(x) == 3) * 0.125, exercise).message == ""


def test_a_changed_input_is_told_before_a_broken_promise():
    def doubled(scores):
        scores.mul_(2)
        return by_loops(scores / 2) + (scores == 0).all() * 1.0

    breaks = Variant("breaks", lambda x: by_loops(x) + (x == 0).all() * 1.0, "A promise.")
    exercise = Exercise(**vars(EXERCISE) | {"variants": (breaks,)})
    assert judge(breaks.function, exercise).message == "A promise."
    assert judge(doubled, exercise).message == judging.CHANGED


GENERIC = {
    "no return": (lambda x: by_loops(x) and None, judging.NO_RETURN),
    "input changed": (lambda x: by_loops(x) + 0 * x.mul_(2).sum().detach(), judging.CHANGED),
    "cut graph": (lambda x: torch.tensor(by_loops(x).item(), dtype=x.dtype), judging.CUT_GRAPH),
    "own dtype": (lambda x: by_loops(x).double(), judging.FIXED_DTYPE),
    "formats meet": (lambda x: by_loops(x @ torch.eye(len(x))), judging.FIXED_DTYPE),
    "fixed size": (lambda x: by_loops(x.reshape(2, 2)), judging.FIXED_SIZE),
}


@pytest.mark.parametrize("name", GENERIC)
def test_generic_mistakes(name):
    function, message = GENERIC[name]
    told = verdict(function)
    assert told.state == "wrong" and told.message == message


def test_an_error_is_told_with_its_line():
    def wrong(logits):
        first = logits.sum()
        return first + missing  # noqa: F821

    told = verdict(wrong)
    assert "NameError: name 'missing' is not defined" in told.lines[-2]
    assert "in the line `return first + missing  # noqa: F821`" in told.lines[-1]


def test_a_loop_without_end_is_ended(monkeypatch):
    monkeypatch.setattr(judging.call, "__defaults__", (0.2,))

    def endless(logits):
        while True:
            try:
                while True:
                    logits = logits + 0
            except Exception:
                continue

    told = verdict(endless)
    assert told.message == judging.TOO_LONG and "no answer" in told.lines[-1]


def test_a_long_error_keeps_its_last_line_where_the_reason_is():
    def wrong(logits):
        raise ValueError("a pattern failed\nmany words\nthe reason")

    assert "ValueError: a pattern failed … the reason" in " ".join(verdict(wrong).lines)


def test_a_narrow_number_made_anew_has_lost_its_gradient():
    told = verdict(lambda x: torch.tensor(float(by_loops(x))))
    assert "expected float64, got float32" in told.lines[-1] and told.message == judging.CUT_GRAPH


def test_a_variant_is_known_though_another_promise_breaks():
    def sometimes(scores):
        return rows_only(scores) if scores.any() else scores.sum() * 0 + 7

    assert verdict(sometimes).variant == "rows only"


def test_arguments_are_named(monkeypatch):
    def two(logits):
        return by_loops(logits) * 2

    assert verdict(two).lines[0].startswith("input     logits = [[1.0986, 1.0986], [0.0, 0.0]]")


MEETINGS = {
    "product": lambda x: x @ torch.ones(2, 2),
    "batched product": lambda x: x[None] @ torch.ones(1, 2, 2),
    "dot": lambda x: x[0] @ torch.ones(2),
    "weights": lambda x: F.cross_entropy(x, torch.tensor([0, 1]), torch.ones(2)),
    "probabilities": lambda x: F.binary_cross_entropy(x.sigmoid(), torch.ones(2, 2)),
    "put": lambda x: torch.zeros(2, 2).index_put((torch.tensor([0]),), x[:1]),
    "scatter": lambda x: torch.zeros(2, 2).scatter(1, torch.zeros(2, 1).long(), x),
    "index_add": lambda x: torch.zeros(2, 2).index_add(0, torch.tensor([0]), x[:1]),
    "norm": lambda x: F.layer_norm(x, (2,), torch.ones(2)),
    "between": lambda x: torch.lerp(x, torch.ones(2, 2), 0.5),
}


@pytest.mark.parametrize("name", MEETINGS)
def test_float32_and_float64_that_meet_are_told(name):
    told = verdict(lambda x: MEETINGS[name](x).sum())
    assert "got       RuntimeError" in told.lines[2] and told.message == judging.FIXED_DTYPE


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: F.cross_entropy(x, torch.zeros(2)),
        lambda x: x.gather(1, torch.zeros(2, 1)).sum(),
        lambda x: F.embedding(x, torch.ones(3, 2)).sum(),
        lambda x: (x @ x.new_ones(3, 2)).sum(),
    ],
)
def test_other_errors_are_not_taken_for_it(wrong):
    told = verdict(wrong)
    assert "RuntimeError" in told.lines[2] and told.message == ""


def of_many(a, b, c, d, e, f=0, g=0, h=0):
    return a.sum()


def many(count):
    tensors = tuple(torch.full((3, 9), 1 / 3, dtype=torch.float64) for _ in range(count))
    return judging.inputs(EXERCISE, tensors)


def test_many_arguments_are_cut_few_are_not(monkeypatch):
    monkeypatch.setattr(Exercise, "function", staticmethod(of_many))
    four, five, eight = many(4), many(5), many(8)
    assert len(four) == 4 and all(len(line) > 150 for line in four)
    assert len(five) == 5 and all(len(line) < 90 for line in five)
    assert all(line.endswith("…, shape (3, 9)") for line in five)
    assert [line.split()[0] for line in eight[1:]] == ["b", "c", "d", "e", "f", "and"]
    assert eight[-1].strip() == "and 2 more"


def test_arguments_are_named_where_they_reach_the_function_as_they_are():
    places = find("sine_positions_2d")
    assert judging.inputs(places, places.cases[0].make())[0] == "input     h = 1"
    losses = find("joint_loss")  # their names and values become one argument
    assert not any(" = " in line for line in judging.inputs(losses, losses.cases[0].make()))


def by_name(logits):
    return {"rows": rows_only(logits), "columns": rows_only(logits.T)}


BY_NAME = {
    "other keys": (
        lambda x: {"rows": rows_only(x), "cols": rows_only(x.T)},
        "expected a dict with rows, columns, got rows, cols",
        "",
    ),
    "a sum": (summed, "expected a dict with rows, columns, got a Tensor", ""),
    "no keys": (lambda x: {}, "expected a dict with rows, columns, got an empty one", ""),
    "a wrong one": (
        lambda x: by_name(x) | {"columns": rows_only(x)},
        "got       rows = 0.6931; columns = 0.6931",
        "",
    ),
    "plain numbers": (
        lambda x: {key: loss.item() for key, loss in by_name(x).items()},
        "expected a tensor, got a float",
        judging.CUT_GRAPH,
    ),
}


@pytest.fixture
def named(monkeypatch):
    monkeypatch.setattr(Exercise, "function", staticmethod(by_name))
    case = Case("by name", lambda: logits([L3, L3], [0.0, 0.0]), gradient=(0,))
    return Exercise(**vars(EXERCISE) | {"checks": (case,), "variants": ()})


@pytest.mark.parametrize("name", BY_NAME)
def test_results_are_compared_by_their_names(name, named):
    function, line, message = BY_NAME[name]
    told = judge(function, named)
    assert (told.lines[-1].strip(), told.message) == (line, message)
    assert told.lines[1].startswith("expected  rows = ") and "; columns = " in told.lines[1]


def test_names_may_come_in_any_order(named):
    assert judge(lambda x: dict(reversed(by_name(x).items())), named).state == "passed"


def test_numpy_arrays_are_told_and_never_raise():
    array = Variant("array", lambda x: by_loops(x).detach().numpy().repeat(2), "No array.")
    exercise = Exercise(**vars(EXERCISE) | {"variants": (array,)})
    told = judge(array.function, exercise)
    assert told.variant == "array" and "expected a tensor, got a NumPy array" in told.lines[-1]
    assert judge(rows_only, exercise).variant == ""


def test_a_row_keeps_the_brackets_that_its_shape_counts():
    assert judging.shown(torch.ones(1, 2)) == "[[1.0, 1.0]], shape (1, 2)"
    assert judging.shown(torch.ones(1, 1, 1, 2)) == "[[1.0, 1.0]], shape (1, 1, 1, 2)"


def test_warnings_are_no_part_of_a_verdict():
    def warned(logits):
        import warnings

        warnings.warn("beware", stacklevel=1)
        return by_loops(logits)

    assert verdict(warned).printed == ""


def test_a_float_where_a_tensor_is_due():
    told = verdict(lambda x: by_loops(x).item())
    assert "expected a tensor, got a float" in told.lines[-1]


def test_leaking_gradient():
    exercise = Exercise(
        **vars(EXERCISE)
        | {"checks": (Case("detached", lambda: logits([1.0, 2], [0, 1]), constant=(0,)),)}
    )
    told = judge(by_loops, exercise)
    assert told.message == judging.LEAKING_GRAPH


def test_random_state_and_printing_stay_inside(capsys):
    def noisy(logits):
        print("shape", tuple(logits.shape))
        torch.rand(3)
        return by_loops(logits)

    torch.manual_seed(0)
    before = torch.get_rng_state()
    told = verdict(noisy)
    assert told.state == "passed" and told.printed.startswith("shape (2, 2)")
    assert torch.equal(before, torch.get_rng_state())
    assert capsys.readouterr().out == ""


def test_check_gives_back_what_may_be_used(capsys):
    assert check(by_loops) is by_loops
    assert capsys.readouterr().out.startswith(
        "✓ info_nce passed 3 checks:\n  two pairs by hand; three pairs; zeros cost ln n; gradient"
    )
    assert check(rows_only) is contrastive.info_nce
    out = capsys.readouterr().out
    assert out.startswith("✗ info_nce: two pairs by hand\n  input")
    assert "Only image to text." in out and "minivl's own version is used below" in out
    assert check(blank) is contrastive.info_nce
    assert "not done yet.\n  Hint 1 of 3: labels" in capsys.readouterr().out
    assert check(contrastive.info_nce) is contrastive.info_nce
    assert "minivl's own" in capsys.readouterr().out


def test_strict_raises_and_a_report_collects(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MINIVL_STRICT", "1")
    monkeypatch.setenv("MINIVL_CHECK_REPORT", str(tmp_path / "report"))
    check(by_loops)
    for function in (blank, rows_only):
        with pytest.raises(AssertionError, match="info_nce"):
            check(function)
    import json

    lines = [json.loads(line) for line in (tmp_path / "report").read_text().splitlines()]
    assert [line["state"] for line in lines] == ["passed", "not done", "wrong"]
    assert lines[2]["message"] == "Only image to text." and lines[0]["lesson"] == "05"


def test_hints_come_one_by_one(monkeypatch, capsys):
    monkeypatch.setattr("minivl.course.checking.SESSION.hints", {})
    said = []
    for _ in range(4):
        hint("info_nce")
        said.append(capsys.readouterr().out.splitlines())
    assert [len(lines) for lines in said] == [1, 1, 1, 3]
    assert said[1] == ["info_nce, hint 2 of 3: twice"]


def test_progress_lists_what_was_tried(monkeypatch, capsys):
    monkeypatch.setattr("minivl.course.checking.every", lambda: (EXERCISE,))
    monkeypatch.setattr("minivl.course.checking.SESSION.states", {})
    progress()
    assert capsys.readouterr().out == ""
    check(rows_only)
    capsys.readouterr()
    progress()
    assert capsys.readouterr().out.split() == ["✗", "05.2", "info_nce", "wrong"]


@pytest.mark.parametrize("given", [3, "info_nce", None])
def test_what_is_no_function_is_told(given, capsys, monkeypatch):
    assert check(given) is given
    assert "wants a function" in capsys.readouterr().out


def test_numbers_that_differ_far_behind_are_told_apart():
    told = verdict(lambda x: by_loops(x) + 1e-6)
    assert told.lines[1:] == ("expected  0.7650677", "got       0.7650687")


def test_a_plain_number_has_lost_its_gradient():
    assert verdict(lambda x: by_loops(x).item()).message == judging.CUT_GRAPH


def test_what_answers_too_slowly_is_told_before_patience_ends(monkeypatch):
    monkeypatch.setattr(judging, "PATIENCE", 0.1)

    def slow(logits):
        time.sleep(0.06)
        return by_loops(logits)

    begun = time.monotonic()
    told = verdict(slow)
    assert told.message == judging.TOO_SLOW and time.monotonic() - begun < 2


def test_a_text_that_is_returned_is_an_answer():
    def answer(logits):
        return "0.76"

    assert verdict(answer).state == "wrong"


def test_a_loop_on_several_ranks_ends_with_its_threads():
    exercise = find("gather_with_grad")

    def gather_with_grad(x):
        while True:
            pass

    begun = time.monotonic()
    told = judge(gather_with_grad, exercise)
    assert told.message == judging.TOO_LONG and time.monotonic() - begun < 5
    assert not [t for t in threading.enumerate() if t.name.startswith("rank ")]
    assert judge(exercise.function, exercise).state == "passed"

"""From a function to a verdict: the first check that fails, and which misconception explains it."""

import dis
import inspect
import linecache
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from minivl.course.compare import (
    both_shown,
    difference,
    float_tensors,
    map_tensors,
    shown,
)
from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.guard import Outcome, call

State = Literal["passed", "wrong", "not done"]

NO_RETURN = "Your function computes something but returns nothing. Add a `return`."
CHANGED = (
    "The result may be right, but your function changed its input in place. The caller still "
    "needs it: build a new tensor."
)
CUT_GRAPH = (
    "The numbers are right but no gradient flows back, so nothing would be learned. Something "
    "turned the tensor into a plain number on the way."
)
LEAKING_GRAPH = "Gradient flows into the target. It must be a constant here: detach it."
FIXED_DTYPE = (
    "Create new tensors with the dtype and device of the input (`x.new_zeros`, `torch.zeros_like`)."
)
SQUEEZED = (
    "With one sample the batch dimension disappeared: `squeeze()` without an argument removes "
    "every dimension of size 1."
)
FIXED_SIZE = "It works for one size only. Read sizes from `.shape`."
TOO_LONG = "Is there a loop that never ends?"
TOO_SLOW = (
    "On so few numbers it should answer at once. Work on whole tensors, not number by number."
)
ALIKE = "One cause, at least: "
"""Before the message of a mistake that explains the failing check and not every other one."""
PATIENCE = 3.0
"""Seconds after which no further check is asked."""
OF_FORMATS = re.compile(r"dtypes?\b|scalar type|datatype")
WHOLE = re.compile(r"\b(long|int\d*|short|byte|bool)\b", re.IGNORECASE)
"""Words of torch's errors where number formats meet; where one counts, it is no float to mend."""
NO_CLASS = re.compile(r"Target \S+ is out of bounds")
"""Begins torch's error where a label has no logit: other indices go astray for other reasons."""
FEW, LINES, WIDE = 4, 6, 50
"""More arguments than these few are shown short: so many lines, so many characters of each."""
DOES_NOTHING = {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}
"""The bytecode of a function that has not been written."""


@dataclass(frozen=True)
class Verdict:
    """What there is to say of a learner's function."""

    state: State
    title: str = ""
    """The check that failed."""
    lines: tuple[str, ...] = ()
    """Input, expected, got."""
    message: str = ""
    """Why: the misconception, where it is a known one."""
    variant: str = ""
    """Name of the registered wrong version that it equals."""
    printed: str = ""
    """What the function printed."""


def is_blank(function: Callable) -> bool:
    """Whether the body is still `...` (or nothing but a docstring)."""
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    steps = {step.opname for step in dis.get_instructions(code)}
    constants = set(code.co_consts) - {function.__doc__}
    return steps <= DOES_NOTHING and constants <= {None, ...}


def judge(function: Callable, exercise: Exercise) -> Verdict:
    """Ask every check in turn; the first that fails is explained. Never raises."""
    if is_blank(function):
        return Verdict("not done")
    printed, begun = "", time.monotonic()
    for number, check in enumerate(exercise.checks):
        if time.monotonic() - begun > PATIENCE:
            line = f"the checks before this one took more than {PATIENCE:g} seconds"
            return Verdict("wrong", check.title, (line,), TOO_SLOW, printed=printed)
        asked = _ask_case if isinstance(check, Case) else _ask_property
        failure = asked(function, exercise, check)
        printed = printed or failure.printed
        if failure.state == "not done" and number == 0:
            return failure
        if failure.state != "passed":
            return _explained(failure, function, exercise, check)
    return Verdict("passed", printed=printed)


def _ask_case(function: Callable, exercise: Exercise, case: Case) -> Verdict:
    """Values first, then what happened to the input, other dtypes, then gradients."""
    arguments = case.make()
    outcome = call(lambda *a: exercise.result(function, a), arguments)
    expected = exercise.result(exercise.function, case.make())
    failed = Verdict(
        "wrong",
        case.title,
        (*inputs(exercise, case.make()), f"expected  {shown(expected)}"),
        printed=outcome.printed,
    )
    if outcome.value is Ellipsis and outcome.error is None:
        return replace(failed, state="not done")
    if problem := _crash(outcome, failed):
        return problem
    if outcome.value is None and expected is not None:
        return replace(failed, lines=(*failed.lines, "got       nothing"), message=NO_RETURN)
    if differs := difference(outcome.value, expected):
        right, wrong = both_shown(expected, outcome.value)
        lines = (*failed.lines[:-1], f"expected  {right}", f"got       {wrong}")
        lines += () if differs.startswith("other") else (f"          {differs}",)
        message = _squeezed(outcome.value, expected)
        if differs.startswith("expected float"):
            message = _format_of(function, exercise, case)
        if _is_the_number_of(outcome.value, expected):
            message = CUT_GRAPH
        return replace(failed, lines=lines, message=message)
    if outcome.changed is not None:
        line = f"argument {outcome.changed + 1} is not what it was before the call"
        return replace(failed, lines=(line,), message=CHANGED)
    for ask in (_narrow, _gradients):
        verdict = ask(function, exercise, case, failed)
        if verdict is not None:
            return verdict
    return replace(failed, state="passed")


def inputs(exercise: Exercise, arguments: tuple) -> tuple[str, ...]:
    """The arguments of a call, a line each, with their names; many are cut to what fits."""
    cut = {"longest": WIDE} if len(arguments) > FEW else {}
    given = [
        f"{name} = {shown(value, **cut)}" if name else shown(value, **cut)
        for name, value in zip(_names(exercise, len(arguments)), arguments, strict=True)
    ]
    if len(given) > LINES:
        given = [*given[:LINES], f"and {len(given) - LINES} more"]
    head, *rest = given or ["(nothing)"]
    return f"input     {head}", *(f"          {one}" for one in rest)


def _names(exercise: Exercise, count: int) -> list[str]:
    """The names of so many arguments; empty where others are made of them before the call."""
    own = list(inspect.signature(exercise.function).parameters)
    names = own
    if exercise.call:
        _, *taken = inspect.signature(exercise.call).parameters.values()
        if all(one.kind is not one.VAR_POSITIONAL for one in taken):
            names = [one.name for one in taken]
    names = names[:count]
    return names if len(names) == count and set(names) <= set(own) else [""] * count


def _is_the_number_of(got: Any, expected: Any) -> bool:
    """Whether a plain number came where a tensor of that number is due, or several by name."""
    if isinstance(expected, dict):
        named = isinstance(got, dict) and expected.keys() <= got.keys()
        return named and all(_is_the_number_of(got[key], expected[key]) for key in expected)
    due = torch.is_tensor(expected) and expected.ndim == 0 and expected.is_floating_point()
    return due and isinstance(got, float) and math.isclose(got, expected.item(), rel_tol=1e-6)


def _format_of(function: Callable, exercise: Exercise, case: Case) -> str:
    """Why a result has another number format: a new tensor, which may have cut the graph too."""
    outcome = call(lambda: gradients(function, exercise, case), ())
    flows = outcome.error is None and any(v is not None for v in (outcome.value or {}).values())
    return FIXED_DTYPE if flows or not case.gradient else CUT_GRAPH


def _crash(outcome: Outcome, failed: Verdict) -> Verdict | None:
    if outcome.timed_out:
        line = "got       no answer within a second or two"
        return replace(failed, lines=(*failed.lines, line), message=TOO_LONG)
    if outcome.error is None:
        return None
    error = outcome.error
    first, *rest = (str(error).strip() or "no message").splitlines()
    what = first if not rest else f"{first} … {rest[-1].strip()}"
    lines = [f"got       {type(error).__name__}: {what[:300]}"]
    if source := _source(error):
        lines.append(f"          in the line `{source}`")
    message = FIXED_DTYPE if _mixes_formats(error) else failed.message
    return replace(failed, lines=(*failed.lines, *lines), message=message)


def _mixes_formats(error: BaseException) -> bool:
    """Whether torch refused to compute with float32 and float64 at once."""
    told = str(error)
    meets = isinstance(error, RuntimeError) and OF_FORMATS.search(told)
    return bool(meets) and not WHOLE.search(told)


def _source(error: BaseException) -> str:
    """The line of the learner's function in which an error arose; empty if it is not known."""
    trace, found = error.__traceback__, ""
    while trace is not None and not found:
        file = trace.tb_frame.f_code.co_filename
        if "minivl" not in Path(file).parts:
            found = linecache.getline(file, trace.tb_lineno).strip()
        trace = trace.tb_next
    return found


def _squeezed(got: Any, expected: Any) -> str:
    if not (torch.is_tensor(got) and torch.is_tensor(expected)):
        return ""
    without = [side for side in expected.shape if side != 1]
    return SQUEEZED if got.ndim < expected.ndim and list(got.shape) == without else ""


def _narrow(function: Callable, exercise: Exercise, case: Case, failed: Verdict) -> Verdict | None:
    """float32 in, float32 out: nothing is created in a number format of its own."""
    if not float_tensors(list(case.make())):
        return None
    arguments = map_tensors(case.make(), torch.Tensor.float)
    expected = exercise.result(exercise.function, map_tensors(case.make(), torch.Tensor.float))
    outcome = call(lambda *a: exercise.result(function, a), arguments)
    narrow = replace(failed, title=f"{case.title}, in float32", message=FIXED_DTYPE)
    if problem := _crash(outcome, narrow):
        return problem
    pairs = zip(float_tensors(outcome.value), float_tensors(expected), strict=False)
    wrong = next((g.dtype for g, e in pairs if g.dtype != e.dtype), None)
    if wrong is None:
        return None
    return replace(narrow, lines=(f"input in float32, result in {str(wrong)[6:]}",))


def _gradients(
    function: Callable, exercise: Exercise, case: Case, failed: Verdict
) -> Verdict | None:
    if not case.gradient and not case.constant:
        return None
    outcome = call(lambda: gradients(function, exercise, case), ())
    asked = replace(failed, title=f"{case.title}, gradient")
    if problem := _crash(outcome, asked):
        return problem
    expected = gradients(exercise.function, exercise, case)
    leak = next((i for i in case.constant if outcome.value[i] is not None), None)
    if leak is not None:
        line = f"argument {leak + 1} receives a gradient"
        return replace(asked, lines=(line,), message=LEAKING_GRAPH)
    for position in case.gradient:
        got, right = outcome.value[position], expected[position]
        if got is None:
            line = f"argument {position + 1} receives no gradient"
            return replace(asked, lines=(line,), message=CUT_GRAPH)
        if difference(got, right):
            due, wrong = both_shown(right, got)
            lines = (
                *inputs(exercise, case.make()),
                f"expected  {due} as the gradient of argument {position + 1}",
                f"got       {wrong}",
            )
            return replace(asked, lines=lines)
    return None


def gradients(function: Callable, exercise: Exercise, case: Case) -> dict[int, torch.Tensor | None]:
    """Gradient of the weighted sum of all results, by position of the argument.

    The weights differ from result to result, so that no error cancels. None: nothing flows.
    """
    arguments = list(case.make())
    asked = (*case.gradient, *case.constant)
    for position in asked:
        arguments[position].requires_grad_()
    results = float_tensors(exercise.result(function, tuple(arguments)))
    parts = [
        (result * torch.linspace(1, 2, result.numel()).to(result).view_as(result)).sum()
        for result in results
    ]
    total = sum(parts)
    if not torch.is_tensor(total) or not total.requires_grad:
        return dict.fromkeys(asked)
    leaves = [arguments[position] for position in asked]
    found = torch.autograd.grad(total, leaves, allow_unused=True)
    return dict(zip(asked, found, strict=True))


def _ask_property(function: Callable, exercise: Exercise, check: Property) -> Verdict:
    outcome = call(check.holds, (function,))
    failed = Verdict("wrong", check.title, printed=outcome.printed)
    if problem := _crash(outcome, failed):
        return problem
    if outcome.value is None:
        return replace(failed, state="passed")
    return replace(failed, lines=tuple(str(outcome.value).splitlines()))


def _explained(
    failure: Verdict, function: Callable, exercise: Exercise, check: Case | Property
) -> Verdict:
    """The failure with the message of the variant that it equals, if it equals one."""
    if failure.message in (TOO_LONG, TOO_SLOW):
        return failure  # comparing with known mistakes would keep the learner waiting as long
    if failure.message == CHANGED:
        return failure  # no result tells of it, so another mistake would be named in its place
    traces = [(one, results(one.function, exercise)) for one in exercise.variants]
    own = results(function, exercise)
    if variant := recognised(function, exercise, own, traces):
        return replace(failure, message=variant.message, variant=variant.name)
    if failure.message:
        return failure
    if isinstance(check, Case) and (variant := resembled(check, exercise, own, traces)):
        return replace(failure, message=ALIKE + variant.message)
    if failure.title == exercise.checks[0].title:
        return failure
    told = " ".join(failure.lines)
    crashed = "Error: " in told or "expected the shape" in told
    sized = "shape (" in told
    return replace(failure, message=FIXED_SIZE) if crashed and sized else failure


def recognised(
    function: Callable, exercise: Exercise, own: list[Any], traces: list[tuple[Variant, list[Any]]]
) -> Variant | None:
    """The first registered variant that gives what this function gives on all checks.

    If there is none, the first that gives the same in all cases: a learner may break a promise that
    the variant keeps. Variants that give the right results in all cases are told by their promises.
    """
    kept = promises(function, exercise)
    alike = [variant for variant, found in traces if _same(own, found)]
    exact = [v for v in alike if promises(v.function, exercise) == kept]
    if _same(own, results(exercise.function, exercise)):
        return next(iter(exact), None) if not all(kept) else None
    return next(iter([*exact, *alike]), None)


def resembled(
    case: Case, exercise: Exercise, own: list[Any], traces: list[tuple[Variant, list[Any]]]
) -> Variant | None:
    """The one variant that gives what this function gives in the case in which it failed.

    A draft with two mistakes equals no variant, but its first failure may be one's alone. Nothing
    is said if several would explain it, or if it ended in an error, which may have any reason.
    """
    number = exercise.cases.index(case)
    if number >= len(own) or any(isinstance(one, str) for one in own[number]):
        return None
    fits = [v for v, found in traces if number < len(found) and _same(own[number], found[number])]
    return fits[0] if len(fits) == 1 else None


def results(function: Callable, exercise: Exercise) -> list[Any]:
    """What a function gives in every case: [value, gradients], or the kind of its error."""
    found: list[Any] = []
    for case in exercise.cases:
        outcome = call(lambda *a: exercise.result(function, a), case.make())
        found.append([_trace(outcome)])
        if case.gradient or case.constant:
            found[-1].append(_trace(call(lambda c: gradients(function, exercise, c), (case,))))
        if outcome.timed_out:
            break  # the others would keep the learner waiting as long
    return found


def promises(function: Callable, exercise: Exercise) -> list[bool]:
    """Which of the exercise's properties a function has."""
    asked = (call(one.holds, (function,)) for one in exercise.properties)
    return [told.error is None and not told.timed_out and told.value is None for told in asked]


def _trace(outcome: Outcome) -> Any:
    if outcome.error is None:
        return outcome.value
    name = type(outcome.error).__name__
    return f"{name} of a class" if NO_CLASS.match(str(outcome.error)) else name


def _same(a: Any, b: Any) -> bool:
    """Equal values; a gradient that does not flow is one of zeros."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(_same, a, b))
    if a is None or b is None:
        other = b if a is None else a
        return other is None or (torch.is_tensor(other) and not other.any())
    return not difference(a, b)

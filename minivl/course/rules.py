"""What every lesson keeps to, as far as it can be counted: a rule is a function of the lesson.

Each yields what breaks it. The numbers are those of lessons that people finish: many small steps,
few words each, three to seven blanks.
"""

import ast
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from minivl.course import names, prose
from minivl.course.lesson import Cell, Lesson, answer

REPOSITORY = Path(__file__).resolve().parents[2]

CELLS = (40, 70)
WORDS = (1200, 2000)
WORDS_OF_A_CELL = 90
MEDIAN_WORDS = 30
LINES_OF_A_CELL = 25
MEDIAN_LINES = 6
LINES_OF_IMPORTS = 8
EXERCISES = (3, 7)
LINES_OF_AN_ANSWER = 15
CHARACTERS_OF_AN_ANSWER = 16
"""A shorter expression may stand in a lesson by chance."""


class Broken(NamedTuple):
    """One rule that a lesson breaks."""

    where: str
    what: str
    remedy: str


Rule = Callable[[Lesson], Iterator[Broken]]


def broken(lesson: Lesson) -> list[Broken]:
    """All that is wrong with a lesson."""
    return [found for rule in RULES for found in rule(lesson)]


def number_of_cells(lesson: Lesson) -> Iterator[Broken]:
    """40 to 70 cells, exercises written out."""
    yield from _within(lesson, len(lesson.cells), CELLS, "cells", "split or join cells")


def number_of_words(lesson: Lesson) -> Iterator[Broken]:
    """1,200 to 2,000 words of text, folded answers not counted."""
    count = sum(prose.words(cell.source) for cell in _texts(lesson))
    yield from _within(lesson, count, WORDS, "words of text", "say more, or fold what is aside")


def number_of_exercises(lesson: Lesson) -> Iterator[Broken]:
    """3 to 7 exercises."""
    count = len(lesson.blanks)
    yield from _within(lesson, count, EXERCISES, "exercises", "add one, or move one elsewhere")


def words_of_a_cell(lesson: Lesson) -> Iterator[Broken]:
    """A text cell says one thing: at most 90 words, a median of at most 30."""
    counts = []
    for cell in _texts(lesson):
        counts.append(prose.words_in_sentences(cell.source))
        if counts[-1] > WORDS_OF_A_CELL:
            what = f"{counts[-1]} words in a text cell; at most {WORDS_OF_A_CELL}"
            yield Broken(lesson.where(cell), what, "split it, or fold a part into <details>")
    middle = median([count for count in counts if count] or [0])
    if middle > MEDIAN_WORDS:
        what = f"half of the text cells have more than {middle:g} words; at most {MEDIAN_WORDS}"
        yield Broken(lesson.name, what, "make more and smaller text cells")


def lines_of_a_cell(lesson: Lesson) -> Iterator[Broken]:
    """A code cell does one thing: at most 25 lines, a median of at most 6; blanks excepted."""
    counts = []
    for cell in _codes(lesson):
        if cell.role != "blank":
            counts.append(_lines(cell.source))
            if counts[-1] > LINES_OF_A_CELL:
                what = f"{counts[-1]} lines in a code cell; at most {LINES_OF_A_CELL}"
                yield Broken(lesson.where(cell), what, "split it, or move code into minivl")
    middle = median(counts or [0])
    if middle > MEDIAN_LINES:
        what = f"half of the code cells have more than {middle:g} lines; at most {MEDIAN_LINES}"
        yield Broken(lesson.name, what, "make more and smaller code cells")


def lines_of_imports(lesson: Lesson) -> Iterator[Broken]:
    """The first code cell holds the imports, in at most 8 lines."""
    for cell in _codes(lesson)[:1]:
        if _lines(cell.source) > LINES_OF_IMPORTS:
            what = f"{_lines(cell.source)} lines in the first code cell; at most {LINES_OF_IMPORTS}"
            yield Broken(lesson.where(cell), what, "import less there, the rest where it is used")


def lines_of_an_answer(lesson: Lesson) -> Iterator[Broken]:
    """At most 15 lines are to be written."""
    for cell in lesson.blanks:
        count = _lines(answer(cell.solved))
        if count > LINES_OF_AN_ANSWER:
            what = f"the answer has {count} lines; at most {LINES_OF_AN_ANSWER}"
            yield Broken(lesson.where(cell), what, "split the package's function")


def order_of_exercises(lesson: Lesson) -> Iterator[Broken]:
    """Every exercise of the lesson is there once, in its place: numbers run from 1."""
    here = [cell.exercise.target for cell in lesson.blanks]
    registered = [one.target for one in lesson.registered]
    if here != registered:
        remedy = f"its exercises are, in this order: {', '.join(registered)}"
        yield Broken(lesson.name, "exercises are missing, twice there or in another order", remedy)


def alternative_texts(lesson: Lesson) -> Iterator[Broken]:
    """Every picture in the text also says in words what there is to see."""
    for cell in _texts(lesson):
        for picture in prose.silent_pictures(cell.source):
            what = f"no alternative text: {picture}"
            yield Broken(lesson.where(cell), what, "say in it what there is to see")


def names_in_text(lesson: Lesson) -> Iterator[Broken]:
    """Every `minivl.x.y` and `minivl/x/y.py` in the text exists."""
    for cell in _texts(lesson):
        for name in prose.names(cell.source):
            if not names.exist(name):
                yield Broken(lesson.where(cell), f"there is no {name}", "mend the name")
        for path in prose.files(cell.source):
            if not (REPOSITORY / path).exists():
                yield Broken(lesson.where(cell), f"there is no {path}", "mend the path")


def names_in_code(lesson: Lesson) -> Iterator[Broken]:
    """Every name that code uses was imported or made in this cell or above it."""
    known = set(names.GIVEN)
    for cell in _codes(lesson):
        try:
            used, made = names.of_code(cell.solved)
        except SyntaxError as error:
            what = f"not Python: {error.msg} in its line {error.lineno}"
            yield Broken(lesson.where(cell), what, "use plain Python, no magics")
            continue
        known |= made
        for name in sorted(used - known):
            what = f"{name} is used, but nothing above imports or makes it"
            module = cell.exercise.target.rpartition(".")[0] if cell.exercise else ""
            line = names.import_line(name, module) if module else ""
            remedy = "import it in the lesson's first code cell" + (f": {line}" if line else "")
            yield Broken(lesson.where(cell), what, remedy)


def used_imports(lesson: Lesson) -> Iterator[Broken]:
    """Everything imported is used, exercises solved; what `minivl.course` gives is for learners."""
    sources = [(cell, cell.solved) for cell in _codes(lesson)]
    used = set().union(*(names.of_code(source)[0] for _, source in sources if _parsed(source)))
    for cell, source in sources:
        for node in _parsed(source):
            for name in sorted(names.imported_by(node) - used):
                yield Broken(
                    lesson.where(cell), f"{name} is imported, but not used", "leave it out"
                )


def hidden_answers(lesson: Lesson) -> Iterator[Broken]:
    """No answer stands anywhere in the lesson that the learner gets."""
    yield from shown_answers(lesson, lesson.blanks)


def shown_answers(lesson: Lesson, blanks: Iterable[Cell]) -> Iterator[Broken]:
    """Where a lesson shows the answer to one of these blanks, its own or another lesson's."""
    haystacks = [(cell, _squeezed_forms(cell.source)) for cell in lesson.cells]
    for blank in blanks:
        needles = _answer_forms(answer(blank.solved))
        for cell, forms in haystacks:
            if any(needle in form for needle in needles for form in forms):
                what = f"shows the answer to exercise {blank.exercise.name}"
                yield Broken(lesson.where(cell), what, "show it another way")


RULES: tuple[Rule, ...] = (
    number_of_cells,
    number_of_words,
    number_of_exercises,
    words_of_a_cell,
    lines_of_a_cell,
    lines_of_imports,
    lines_of_an_answer,
    order_of_exercises,
    alternative_texts,
    names_in_text,
    names_in_code,
    used_imports,
    hidden_answers,
)


def _answer_forms(body: str) -> list[str]:
    """A body as it could stand elsewhere; of one that only returns something, that something."""
    body = textwrap.dedent(body)
    match _parsed(body):
        case [ast.Return(value=ast.expr() as value)]:
            returned = _squeezed_forms(ast.get_source_segment(body, value) or ast.unparse(value))
            if min(map(len, returned)) >= CHARACTERS_OF_AN_ANSWER:
                return returned
    return _squeezed_forms(body)


def _squeezed_forms(source: str) -> list[str]:
    """A text, and the code that it is, in the same quotes and without any space."""
    forms = [source]
    if parsed := _parsed(source):
        forms.append(ast.unparse(ast.Module(body=parsed, type_ignores=[])))
    return [re.sub(r"\s+", "", form).replace('"', "'") for form in forms]


def _parsed(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(source).body
    except SyntaxError:
        return []


def _within(
    lesson: Lesson, count: int, limits: tuple[int, int], of: str, remedy: str
) -> Iterator[Broken]:
    low, high = limits
    if not low <= count <= high:
        yield Broken(lesson.name, f"{count:,} {of}; from {low:,} to {high:,} are right", remedy)


def _texts(lesson: Lesson) -> list[Cell]:
    return [cell for cell in lesson.cells if cell.is_text]


def _codes(lesson: Lesson) -> list[Cell]:
    return [cell for cell in lesson.cells if not cell.is_text]


def _lines(source: str) -> int:
    """Lines with something in them."""
    return sum(bool(line.strip()) for line in source.splitlines())

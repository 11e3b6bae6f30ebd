"""Each rule is broken by a lesson that breaks nothing else, and says where and what to do."""

import pytest
from lesson_toys import IMPORTS, code, good_cells, text, words

from minivl.course import build, names, prose, rules
from minivl.course.lesson import blank
from minivl.errors import UserError


def first(cells, start):
    return next(i for i, cell in enumerate(cells) if cell.startswith(start))


def more_cells(cells, toy):
    cells += [code(f"more_{n} = {n}") for n in range(40)]


def fewer_words(cells, toy):
    cells[:] = [cell.replace(words(70), words(30)) for cell in cells]


def two_exercises(cells, toy):
    cells.remove("# %% exercise toy.shifted")
    cells[:] = [cell.replace("shifted(2)", "2") for cell in cells]
    toy.registered.pop()


def one_long_text(cells, toy):
    cells[first(cells, text(words(70)))] = text(words(91))


def texts_of_middle_size(cells, toy):
    cells[:] = [text(words(45)) if cell.startswith(text("word")) else cell for cell in cells]


def one_long_code(cells, toy):
    cells[first(cells, "# %%\nvalue_0")] += "".join(f"\nx_{n} = {n}" for n in range(24))


def codes_of_middle_size(cells, toy):
    ten = "".join(f"\nx_{n} = {n}" for n in range(10))
    cells[:] = [
        cell + ten if cell.startswith(("# %%\nvalue", "# %%\n_")) else cell for cell in cells
    ]


def many_imports(cells, toy):
    cells[1] = IMPORTS + "".join(f"\nj{n} = {n}" for n in range(8))


def long_answer(cells, toy):
    toy.renamed("double", "long")
    cells[:] = [cell.replace("double", "long") for cell in cells]


def other_order(cells, toy):
    toy.registered.reverse()


def unnamed_picture(cells, toy):
    cells[0] += "\n# ![](picture.png)"


def unnamed_picture_tag(cells, toy):
    cells[0] += '\n# <img src="picture.png" alt="">'


def misspelt_name(cells, toy):
    cells[0] += "\n# See `minivl.nn.vit.pachify(image)`."


def misspelt_path(cells, toy):
    cells[0] += "\n# See `minivl/nn/vitt.py`."


def undefined_name(cells, toy):
    cells[first(cells, "# %%\nvalue_1")] += "\nprint([undefined(x) for x in (1, 2)])"


def defined_too_late(cells, toy):
    cells[1] += "\nprint(value_2)"


def helper_not_imported(cells, toy):
    toy.renamed("double", "helped")
    cells[:] = [cell.replace("double", "helped") for cell in cells]


def magic(cells, toy):
    cells[1] += "\n# %timeit 1"


def stale_import(cells, toy):
    cells[1] += "\nimport os.path\nfrom minivl.course import hint"


def answer_in_code(cells, toy):
    cells[first(cells, "# %%\nvalue_1")] += (
        "\ntwice = 3 * 2\ndef f(x):\n    twice = x*2\n    return twice+x"
    )


def answer_in_text(cells, toy):
    cells[0] += "\n# Remember `float( sum([x,1, 1,1]))`, it may help."


def folded_answer(cells, toy):
    cells[0] += (
        "\n# <details>\n#\n# ```python\n# twice = x * 2\n# return twice + x\n# ```\n# </details>"
    )


BROKEN = {
    more_cells: ("number_of_cells", "85 cells; from 40 to 70", "join"),
    fewer_words: ("number_of_words", "words of text; from 1,200 to 2,000", "say more"),
    two_exercises: ("number_of_exercises", "2 exercises; from 3 to 7", "add one"),
    one_long_text: ("words_of_a_cell", "91 words in a text cell; at most 90", "<details>"),
    texts_of_middle_size: ("words_of_a_cell", "more than 45 words; at most 30", "smaller"),
    one_long_code: ("lines_of_a_cell", "26 lines in a code cell; at most 25", "split"),
    codes_of_middle_size: ("lines_of_a_cell", "more than 11 lines; at most 6", "smaller"),
    many_imports: ("lines_of_imports", "9 lines in the first code cell; at most 8", "import less"),
    long_answer: ("lines_of_an_answer", "the answer has 17 lines; at most 15", "split"),
    other_order: ("order_of_exercises", "another order", "toy.shifted, toy.triple, toy.double"),
    unnamed_picture: ("alternative_texts", "no alternative text: ![](picture.png)", "to see"),
    unnamed_picture_tag: ("alternative_texts", "no alternative text: <img", "to see"),
    misspelt_name: ("names_in_text", "there is no minivl.nn.vit.pachify", "mend"),
    misspelt_path: ("names_in_text", "there is no minivl/nn/vitt.py", "mend"),
    undefined_name: ("names_in_code", "undefined is used, but nothing", "first code cell"),
    defined_too_late: ("names_in_code", "value_2 is used, but nothing above", "first code cell"),
    helper_not_imported: ("names_in_code", "SHIFT is used", "cell: from toy import SHIFT"),
    magic: ("names_in_code", "not Python", "no magics"),
    stale_import: ("used_imports", "os is imported, but not used", "leave it out"),
    answer_in_code: ("hidden_answers", "shows the answer to exercise triple", "another way"),
    answer_in_text: ("hidden_answers", "shows the answer to exercise shifted", "another way"),
    folded_answer: ("hidden_answers", "shows the answer to exercise triple", "another way"),
}


def test_a_good_lesson_breaks_no_rule(toy):
    assert rules.broken(toy.read(good_cells())) == []


@pytest.mark.parametrize("breaks", BROKEN, ids=lambda function: function.__name__)
def test_a_lesson_that_breaks_one_rule(breaks, toy):
    name, what, remedy = BROKEN[breaks]
    cells = good_cells()
    breaks(cells, toy)
    found = {rule.__name__: list(rule(toy.read(cells))) for rule in rules.RULES}
    assert {name for name, problems in found.items() if problems} == {name}
    assert what in found[name][0].what
    assert remedy in found[name][0].remedy
    assert found[name][0].where.startswith("90_toys")


def test_every_rule_is_tested():
    assert {rule.__name__ for rule in rules.RULES} == {name for name, *_ in BROKEN.values()}


def test_helper_of_the_module_that_is_no_function(toy):
    toy.renamed("double", "helped")
    cells = [cell.replace("double", "helped") for cell in good_cells()]
    cells[1] = code("from toy import check, double")
    (problem,) = rules.names_in_code(toy.read(cells))
    assert "SHIFT is used" in problem.what and "from toy import SHIFT" in problem.remedy


def test_where_names_the_line_of_the_script_and_the_cell(toy):
    cells = good_cells()
    unnamed_picture(cells, toy)
    (problem,) = rules.broken(toy.read(cells))
    assert problem.where == "90_toys.py line 1, cell 1 (# Toys)"


def test_enforce_raises_the_first_and_prints_the_others(toy, capsys):
    cells = good_cells()
    more_cells(cells, toy)
    unnamed_picture(cells, toy)
    with pytest.raises(UserError, match="85 cells") as error:
        build.enforce([toy.read(cells)])
    assert error.value.remedy
    assert "no alternative text" in capsys.readouterr().err


def test_enforce_finds_another_lessons_answer(toy):
    lesson = toy.read(good_cells())
    toy.registered = toy.registered[:1]
    other = toy.read([text("`float(sum([x, 1, 1, 1]))`"), "# %% exercise toy.double"], "91_other")
    (problem,) = rules.shown_answers(other, lesson.blanks[1:])
    assert "shifted" in problem.what and problem.where.startswith("91_other")


def test_rules_hold_of_the_blank_and_its_answer():
    source = 'def f(x):\n    """Doc."""\n\n    return x\n'
    assert blank(source) == 'def f(x):\n    """Doc."""\n    ...'


@pytest.mark.parametrize(
    ("written", "count"),
    [
        ("two words", 2),
        ("with $x + y$ inside", 3),
        ("$$a + b$$", 0),
        ("a [link to](there.md) follows", 4),
        ("![a picture of nothing](x.png)", 0),
        ("before <details><summary>Answer</summary> many words </details> after", 2),
        ("<b>bold</b> - and `code`", 3),
        ("```python\nx = 1\n```\nafter", 1),
        ("if 3 < 4 and 5 > 4", 6),
    ],
)
def test_words(written, count):
    assert prose.words(written) == count


def test_tables_count_for_the_lesson_not_for_the_cell():
    written = "three words here\n\n| a | b |\n|---|---|\n| one | two |"
    assert prose.words(written) == 7
    assert prose.words_in_sentences(written) == 3


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("minivl", True),
        ("minivl.errors", True),
        ("minivl.errors.UserError", True),
        ("minivl.errors.UserError.exit_code", True),
        ("minivl.errors.NoSuchError", False),
        ("minivl.no_such", False),
        ("minivl.course.exercise.Exercise.name", True),
    ],
)
def test_names_that_exist(name, there):
    assert names.exist(name) is there


def test_of_code_tells_what_a_cell_takes_and_makes():
    source = (
        "import a.b\nfrom c import d as e\n\n"
        "@f\ndef g(h: i, j=k) -> l:\n    m = n(h, e)\n    def o():\n        return m + p\n"
        "    return [q for q in r if q]\n\n"
        "for s in t:\n    u = s\nwith v as w:\n    pass\n"
        "class X(y):\n    z = z2\n"
    )
    used, made = names.of_code(source)
    assert made == {"a", "e", "g", "s", "u", "w", "X"}
    assert used - made == {"f", "i", "k", "l", "n", "p", "r", "t", "v", "y", "z2"}

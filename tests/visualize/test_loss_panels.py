import math

import pytest

from minivl.visualize.curves import constant_level
from minivl.visualize.loss_panels import loss_panels

CLASSES = {"itm": 2, "mim": 256, "mlm": 4000}
RUN = [{"itm": 1 - i / 200} if i % 2 else {"mim": 5.0} for i in range(100)]


def test_each_loss_at_the_steps_that_had_it(texts):
    figure = loss_panels({"one": RUN, "two": RUN[::-1]}, CLASSES, window=1)
    itm, mim, mlm = figure.axes
    assert itm.lines[0].get_xdata().tolist() == [i + 1 for i in range(100) if i % 2]
    assert itm.lines[0].get_ydata() == pytest.approx([1 - i / 200 for i in range(100) if i % 2])
    assert len(mlm.lines) == 1 and mlm.lines[0].get_ydata()[0] == pytest.approx(math.log(4000))
    assert len(mim.lines) == 3
    assert any("ln 256 = 5.55" in words for words in texts(figure))
    assert "itm, one: 0.99" in figure.caption.alt


def test_answers_of_which_one_is_more_frequent_have_a_lower_line(texts):
    figure = loss_panels({"one": RUN}, {"itm": constant_level(1 / 3), "mim": 256})
    line = figure.axes[0].lines[1].get_ydata()[0]
    assert line == pytest.approx(math.log(3) - 2 / 3 * math.log(2)) and line < math.log(2)
    assert "itm, always the same answer: 0.64" in texts(figure)


def test_legible(check_legible):
    level = constant_level(1 / 3)
    check_legible(loss_panels({"one": RUN}, CLASSES | {"itm": level}))
    names = ("merged attention", "co-attention", "cross-attention")
    check_legible(loss_panels(dict.fromkeys(names, RUN), {"itm": level}))
    check_legible(loss_panels(dict.fromkeys(names, RUN), {"itm": level, "mlm": 4000}))
    check_legible(loss_panels({"from noise": RUN, "from MIM and MLM": RUN}, CLASSES))
    check_legible(loss_panels({"alone": RUN[:2]}, CLASSES | {"a": 3, "b": 4}))

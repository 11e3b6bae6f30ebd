import math

import pytest

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


def test_legible(check_legible):
    check_legible(loss_panels({"from noise": RUN, "from MIM and MLM": RUN}, CLASSES))
    check_legible(loss_panels({"alone": RUN[:2]}, CLASSES | {"a": 3, "b": 4}))

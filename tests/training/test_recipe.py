"""Quantities that change while a model trains."""

import pytest

from minivl.training.recipe import alpha_at


def test_alpha_grows_in_the_first_epoch_and_stays():
    assert [alpha_at(step, 100) for step in (0, 50, 100, 250)] == [0.0, 0.2, 0.4, 0.4]
    assert alpha_at(1, 4, 1.0) == 0.25 and alpha_at(3, 1, 0.8) == 0.8


@pytest.mark.parametrize("epoch", [1, 7, 1000])
def test_alpha_starts_at_zero_and_grows_every_step(epoch):
    values = [alpha_at(step, epoch, 0.6) for step in range(2 * epoch)]
    assert values[0] == 0
    for step in range(epoch):
        assert values[step] == pytest.approx(0.6 * step / epoch)
    assert all(value == 0.6 for value in values[epoch:])

import pytest
import torch

from minivl.objectives.joint import joint_loss


def test_a_weighted_sum_of_what_the_batch_has():
    losses = {"mim": torch.tensor(2.0), "itm": torch.tensor(0.5)}
    weights = {"mim": 3.0, "itm": 0.0, "mlm": 100.0}
    assert joint_loss(losses, weights) == 6.0
    assert joint_loss({"itm": losses["itm"]}, weights) == 0.0


def test_a_loss_without_a_weight_counts_once():
    losses = {"mim": torch.tensor(2.0), "itm": torch.tensor(0.5)}
    assert joint_loss(losses, {}) == 2.5
    assert joint_loss(losses, {"mim": 0.5}) == 1.5


def test_weights_scale_gradients():
    x, y = torch.tensor(3.0, requires_grad=True), torch.tensor(5.0, requires_grad=True)
    joint_loss({"a": x * x, "b": x * y, "c": y}, {"a": 0.5, "b": 2.0, "c": 0.0}).backward()
    assert x.grad == 3.0 + 2 * 5.0
    assert y.grad == 2 * 3.0


def test_inputs_stay_and_nothing_is_no_loss():
    losses, weights = {"a": torch.tensor(1.0)}, {"a": 2.0}
    joint_loss(losses, weights)
    assert losses == {"a": torch.tensor(1.0)} and weights == {"a": 2.0}
    with pytest.raises(ValueError, match="no loss"):
        joint_loss({}, {"a": 1.0})

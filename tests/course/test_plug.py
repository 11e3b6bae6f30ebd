"""Inside the block the package calls the learner's function; after it, its own."""

import pytest
import torch

from minivl.course import exercise
from minivl.course.plug import plugged
from minivl.errors import UserError
from minivl.nn import attention as module
from minivl.objectives import contrastive


def info_nce(logits):
    return logits.sum() * 0 + 42


def attention(query, key, value, mask=None):
    return value * 0


def test_the_package_calls_it_and_forgets_it():
    own = contrastive.info_nce
    with plugged(info_nce):
        assert contrastive.info_nce is info_nce
        assert exercise.find("info_nce").function is own
    assert contrastive.info_nce is own


def test_an_error_in_the_block_takes_it_back():
    own = contrastive.info_nce
    with pytest.raises(ZeroDivisionError), plugged(info_nce):
        raise ZeroDivisionError
    assert contrastive.info_nce is own


def test_fast_twins_go_with_it():
    layer = module.Attention(4, 2)
    x = torch.randn(1, 3, 4)
    with plugged(attention, info_nce):
        assert torch.equal(layer(x), layer.out_proj.bias.expand(1, 3, 4))
        with plugged(exercise.find("attention").function):
            assert module.fused_attention is attention, "minivl's own replaces nothing"
    assert module.fused_attention is not attention
    assert not torch.equal(layer(x), layer.out_proj.bias.expand(1, 3, 4))


def test_another_name_is_no_exercise():
    def info_nec(logits):
        return logits

    with pytest.raises(UserError, match="info_nce"), plugged(info_nec):
        pass

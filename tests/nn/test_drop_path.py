import torch

from minivl.nn.drop_path import DropPath, set_drop_path
from minivl.nn.transformer import Transformer


def test_whole_samples_are_dropped_and_the_mean_stays():
    torch.manual_seed(0)
    x = torch.ones(4000, 2, 3, dtype=torch.float64)
    out = DropPath(0.25)(x)
    per_sample = out.flatten(1)
    assert (per_sample == per_sample[:, :1]).all()
    assert set(per_sample[:, 0].tolist()) == {0.0, 1 / 0.75}
    assert abs(out.mean() - 1) < 0.03


def test_nothing_is_dropped_in_evaluation_or_at_rate_0():
    x = torch.randn(8, 2, 3)
    assert torch.equal(DropPath(0.9).eval()(x), x)
    assert torch.equal(DropPath(0.0)(x), x)


def test_rates_rise_linearly_and_reach_the_blocks_branches():
    transformer = Transformer(8, 3, 2)
    set_drop_path(transformer, 0.2)
    assert [block.dropout.rate for block in transformer.blocks] == [0, 0.1, 0.2]
    x = torch.randn(64, 4, 8)
    last = transformer.blocks[-1]
    last.dropout.rate = 1 - 1e-9  # both branches dropped: the block is the identity
    assert torch.equal(last(x), x)
    set_drop_path(Transformer(8, 1, 2), 0.2)  # a single block: no division by zero

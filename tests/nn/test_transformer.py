import math

import pytest
import torch
from torch import nn

from minivl.nn.transformer import Block, Transformer, init_transformer, quick_gelu

CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def layer_norm(x, module, eps):
    centred = x - x.mean(-1, keepdim=True)
    deviation = (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return centred / deviation * module.weight + module.bias


def gelu(x):
    """The exact one: x times the normal distribution function."""
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def mlp(x, module, activation):
    hidden = activation(x @ module.fc1.weight.T + module.fc1.bias)
    return hidden @ module.fc2.weight.T + module.fc2.bias


@pytest.mark.parametrize("eps", [1e-2, 1e-6])
def test_pre_norm_is_its_formula(drawn, normal, eps):
    block, x = drawn(Block(8, 2, norm="pre", eps=eps)), normal(1, 2, 5, 8)
    visible = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    y = x + block.attention(layer_norm(x, block.norm1, eps), None, visible)
    y = y + mlp(layer_norm(y, block.norm2, eps), block.mlp, gelu)
    torch.testing.assert_close(block(x, visible), y, **CLOSE)


@pytest.mark.parametrize("eps", [1e-2, 1e-12])
def test_post_norm_is_its_formula(drawn, normal, eps):
    block, x = drawn(Block(8, 2, norm="post", eps=eps)), normal(1, 2, 5, 8)
    visible = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    y = layer_norm(x + block.attention(x, None, visible), block.norm1, eps)
    y = layer_norm(y + mlp(y, block.mlp, gelu), block.norm2, eps)
    torch.testing.assert_close(block(x, visible), y, **CLOSE)


def test_quick_gelu_is_its_formula_and_is_used(drawn, normal):
    at = torch.tensor([-1.0, 0.0, 1.0, 10.0], dtype=torch.float64)
    by_hand = [-1 / (1 + math.exp(1.702)), 0, 1 / (1 + math.exp(-1.702)), 10.0]
    torch.testing.assert_close(quick_gelu(at), torch.tensor(by_hand).double(), rtol=0, atol=1e-6)
    block, x = drawn(Block(8, 2, activation="quick_gelu", mlp_ratio=1.5)), normal(1, 1, 3, 8)
    assert block.mlp.fc1.out_features == 12
    torch.testing.assert_close(block.mlp(x), mlp(x, block.mlp, quick_gelu), **CLOSE)
    assert (block.mlp(x) - mlp(x, block.mlp, gelu)).abs().max() > 1e-3


def test_dropout_drops_both_branches_in_training_only(drawn, normal):
    block, x = drawn(Block(8, 2, dropout=1.0)), normal(1, 2, 3, 8)
    assert (block(x) != x).all()
    assert torch.equal(block.train()(x), x)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_stack_applies_its_blocks_in_order_and_returns_every_map(drawn, normal, norm):
    stack, x = drawn(Transformer(8, 3, 2, norm=norm)), normal(1, 2, 4, 8)
    visible = torch.tensor([[True] * 4, [True, False, True, False]])
    before, expected, weights = x.clone(), x, []
    for block in stack.blocks:
        expected, seen = block(expected, visible, True)
        weights.append(seen)
    out, maps = stack(x, visible, return_attention=True)
    torch.testing.assert_close(out, expected, rtol=0, atol=0)
    assert len(maps) == 3 and all(map(torch.equal, maps, weights))
    torch.testing.assert_close(stack(x, visible), out, **CLOSE)
    assert all((m[1][..., ~visible[1]] == 0).all() for m in maps)
    assert torch.equal(x, before)


def test_with_a_causal_mask_no_token_knows_the_future(drawn, normal):
    stack, x = drawn(Transformer(8, 2, 2)), normal(1, 1, 5, 8).requires_grad_()
    causal = torch.ones(5, 5, dtype=torch.bool).tril()[None, None]
    for token in range(5):
        (gradient,) = torch.autograd.grad(stack(x, causal)[:, token].square().sum(), x)
        assert (gradient[:, token + 1 :] == 0).all()
        assert (gradient[:, : token + 1] != 0).all()


@pytest.mark.parametrize("width", [192, 768])
def test_start_weights_are_cut_wider_in_narrow_models_and_repeatable(width):
    def start():
        torch.manual_seed(0)
        block = Block(64, 2)
        init_transformer(block, width)
        return block

    block, std = start(), {768: 0.02, 192: 0.04}[width]
    for linear in (m for m in block.modules() if isinstance(m, nn.Linear)):
        # Cut at two deviations, a normal keeps 0.8796 of its deviation.
        assert linear.weight.std().item() == pytest.approx(std * 0.8796, rel=0.05)
        assert linear.weight.abs().max() <= 2 * std and (linear.bias == 0).all()
    assert (block.norm1.weight == 1).all() and (block.norm2.bias == 0).all()
    assert all(map(torch.equal, block.parameters(), start().parameters()))


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("padded", [False, True])
def test_what_is_read_is_what_all_blocks_give(normal, drawn, norm, padded):
    """Output and gradients, wherever tokens are read; the last block works for those alone."""
    model = drawn(Transformer(12, 2, 3, norm=norm))
    x = normal(0, 3, 5, 12).requires_grad_()
    visible = torch.tensor([5, 3, 4]).unsqueeze(1) > torch.arange(5) if padded else None
    read = torch.tensor([[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]).bool()
    worked, weights = [], normal(1, 3, 12)
    handle = model.blocks[-1].mlp.register_forward_hook(lambda m, i, out: worked.append(len(out)))
    some = model(x, visible, read=read)
    handle.remove()
    whole = model(x, visible)
    assert worked == [3] and some.shape == whole.shape
    torch.testing.assert_close(some[read], whole[read], rtol=1e-12, atol=1e-12)
    leaves = [x, *model.parameters()]
    ours, theirs = (torch.autograd.grad((y[read] * weights).sum(), leaves) for y in (some, whole))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_nothing_read_and_all_read(normal, drawn):
    model, x = drawn(Transformer(12, 2, 3)), normal(0, 2, 4, 12)
    everything = torch.ones(2, 4, dtype=torch.bool)
    torch.testing.assert_close(model(x, read=everything), model(x), rtol=1e-12, atol=1e-12)
    assert model(x, read=~everything).shape == x.shape
    out, maps = model(x, return_attention=True, read=everything)
    torch.testing.assert_close(out, model(x), rtol=1e-12, atol=1e-12)
    assert len(maps) == 2

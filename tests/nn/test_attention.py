import math
from itertools import product
from operator import mul

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from minivl.nn.attention import (
    Attention,
    attention,
    attention_map,
    fused_attention,
    merge_heads,
    split_heads,
)

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
sizes = st.integers(1, 3)


def by_loop(q, k, v, visible):
    """Equation 1 of Vaswani et al., one number at a time; visible (b, t, s)."""
    b, h, t, d = q.shape
    weights, out = torch.zeros(b, h, t, k.shape[2]).double(), torch.zeros_like(q)
    q, k, visible = q.tolist(), k.tolist(), visible.tolist()
    for i, j, n in product(range(b), range(h), range(t)):
        scores = {
            s: math.exp(sum(map(mul, q[i][j][n], key)) / math.sqrt(d))
            for s, key in enumerate(k[i][j])
            if visible[i][n][s]
        }
        for s, score in scores.items():
            weights[i, j, n, s] = score / sum(scores.values())
            out[i, j, n] += weights[i, j, n, s] * v[i, j, s]
    return out, weights


def some_visible(seed, *shape):
    """A random mask (..., s) in which every row sees something."""
    generator = torch.Generator().manual_seed(seed)
    visible = torch.rand(*shape, generator=generator) < 0.5
    at = torch.randint(shape[-1], (*shape[:-1], 1), generator=generator)
    return visible.scatter(-1, at, True)


@given(seed=st.integers(0, 10**6), b=sizes, h=sizes, t=sizes, s=sizes, d=sizes)
@settings(max_examples=15, deadline=None)
def test_attention_equals_a_slow_loop(normal, seed, b, h, t, s, d):
    q, k, v = normal(seed, b, h, t, d), normal(seed + 1, b, h, s, d), normal(seed + 2, b, h, s, d)
    visible = some_visible(seed, b, t, s)
    out, weights = by_loop(q, k, v, visible)
    for attend in (attention, fused_attention):
        torch.testing.assert_close(attend(q, k, v, visible[:, None]), out, **CLOSE)
    torch.testing.assert_close(attention_map(q, k, visible[:, None]), weights, **CLOSE)
    unmasked = by_loop(q, k, v, torch.ones(b, t, s, dtype=torch.bool))
    for attend in (attention, fused_attention):
        torch.testing.assert_close(attend(q, k, v), unmasked[0], **CLOSE)
    torch.testing.assert_close(attention_map(q, k), unmasked[1], **CLOSE)


def test_attention_by_hand():
    """Scores ln 3 and 0 (after division by sqrt 4) weigh the values 3 : 1."""
    q = torch.tensor([[[[2 * math.log(3), 0, 0, 0]]]])
    k = torch.tensor([[[[1.0, 0, 0, 0], [0, 1, 0, 0]]]])
    v = torch.tensor([[[[8.0, 0, 0, 0], [0, 4, 0, 0]]]])
    torch.testing.assert_close(attention(q, k, v), torch.tensor([[[[6.0, 1, 0, 0]]]]))


def test_heads_take_neighbouring_features_and_give_them_back():
    x = torch.arange(1.0, 13).reshape(1, 3, 4)
    heads = split_heads(x, 2)
    assert heads[0, 0].tolist() == [[1, 2], [5, 6], [9, 10]]
    assert heads[0, 1].tolist() == [[3, 4], [7, 8], [11, 12]]
    assert torch.equal(merge_heads(heads), x)


@pytest.fixture(scope="module")
def module(drawn):
    return drawn(Attention(6, 3, context_width=4), seed=1)


def test_the_module_projects_and_splits_into_heads(module, normal):
    x, context = normal(2, 2, 3, 6), normal(3, 2, 5, 4)
    visible = some_visible(4, 2, 5)
    q, k, v = (
        (t @ p.weight.T + p.bias).detach()
        for t, p in ((x, module.q_proj), (context, module.k_proj), (context, module.v_proj))
    )
    heads, maps = [], []
    for h in range(3):
        part = [t[:, None, :, 2 * h : 2 * h + 2] for t in (q, k, v)]
        out, weights = by_loop(*part, visible[:, None].expand(2, 3, 5))
        heads.append(out[:, 0])
        maps.append(weights)
    joined = torch.cat(heads, dim=-1) @ module.out_proj.weight.T + module.out_proj.bias
    torch.testing.assert_close(module(x, context, visible), joined, **CLOSE)
    out, weights = module(x, context, visible, return_attention=True)
    torch.testing.assert_close(out, joined, **CLOSE)
    torch.testing.assert_close(weights, torch.cat(maps, dim=1), **CLOSE)


@given(seed=st.integers(0, 10**6), t=sizes, s=st.integers(1, 6), padded=st.booleans())
@settings(max_examples=15, deadline=None)
def test_asking_for_the_weights_changes_neither_output_nor_gradient(
    module, normal, seed, t, s, padded
):
    visible = some_visible(seed, 2, s) if padded else some_visible(seed, 2, 1, t, s)
    answers = []
    for asked in (False, True):
        x = normal(seed, 2, t, 6).requires_grad_()
        context = normal(seed + 1, 2, s, 4).requires_grad_()
        module.zero_grad()
        out = module(x, context, visible, return_attention=asked)
        out, weights = out if asked else (out, None)
        (out * normal(seed + 2, 2, t, 6)).sum().backward()
        answers.append([out, x.grad, context.grad, *(p.grad.clone() for p in module.parameters())])
    for plain, beside_weights in zip(*answers, strict=True):
        torch.testing.assert_close(plain, beside_weights, **CLOSE)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, t, dtype=x.dtype), **CLOSE)


@pytest.mark.parametrize("asked", [False, True])
def test_a_hidden_key_has_no_weight_and_no_gradient(module, normal, asked):
    visible = torch.tensor([[True, False, True, False], [False, True, True, True]])
    context = normal(1, 2, 4, 4).requires_grad_()
    out = module(normal(0, 2, 3, 6), context, visible, return_attention=asked)
    if asked:
        out, weights = out
        shown = visible[:, None, None].expand_as(weights)
        assert (weights[~shown] == 0).all() and (weights[shown] > 0).all()
    out.square().sum().backward()
    assert (context.grad[~visible] == 0).all()
    assert (context.grad[visible] != 0).all()
    # What stands there does not matter either.
    other = torch.where(visible[..., None], context, 1e3)
    again = module(normal(0, 2, 3, 6), other, visible)
    torch.testing.assert_close(again, out, **CLOSE)


def test_a_hidden_key_has_no_weight_however_badly_the_others_fit():
    q, k = torch.tensor([[[[1.0]]]]), torch.tensor([[[[-1e6], [-1e6], [9.0]]]])
    weights = attention_map(q, k, torch.tensor([True, True, False]))
    assert weights.flatten().tolist() == [0.5, 0.5, 0]


@pytest.mark.parametrize("asked", [False, True])
def test_a_query_that_sees_nothing_gets_zeros_and_no_gradient(module, normal, asked):
    visible = torch.tensor([[True, True], [False, False]])
    x, context = normal(0, 2, 3, 6).requires_grad_(), normal(1, 2, 2, 4).requires_grad_()
    out = module(x, context, visible, return_attention=asked)
    if asked:
        out, weights = out
        assert (weights[1] == 0).all()
    torch.testing.assert_close(out[1], module.out_proj.bias.expand(3, 6), **CLOSE)
    out.square().sum().backward()
    for gradient in (x.grad, context.grad):
        assert (gradient[1] == 0).all() and (gradient[0] != 0).all()


@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16_is_the_same_up_to_its_rounding(drawn, normal, autocast):
    module, x = drawn(Attention(8, 2)).float(), normal(0, 2, 5, 8).float()
    visible = torch.tensor([[True] * 5, [True, True, False, False, False]])
    exact = module(x, None, visible)
    if not autocast:
        module, x = module.bfloat16(), x.bfloat16()
    x.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = module(x, None, visible)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), exact, rtol=0.05, atol=0.05)
    out.float().square().sum().backward()
    assert x.grad.isfinite().all()


def test_without_context_a_sequence_looks_at_itself(drawn, normal):
    module, x = drawn(Attention(6, 2)), normal(0, 2, 4, 6)
    torch.testing.assert_close(module(x), module(x, x), rtol=0, atol=0)
    assert (module(x) - module(x, x.flip(0))).abs().min() > 1e-6


def test_a_width_that_heads_do_not_divide_is_named():
    with pytest.raises(ValueError, match="width 10 .* 4 heads"):
        Attention(10, 4)


def test_its_weights_have_their_usual_names():
    names = {name for name, m in Attention(4, 2).named_modules() if isinstance(m, nn.Linear)}
    assert names == {"q_proj", "k_proj", "v_proj", "out_proj"}

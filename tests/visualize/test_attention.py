import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.visualize.attention import (
    attention_figure,
    cls_map,
    lit,
    pooled_map,
    relevance,
    rollout,
    sentence_relevance,
    upsample,
)


def random_maps(layers=3, batch=2, heads=3, tokens=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, heads, tokens, tokens)
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).softmax(-1)
        for _ in range(layers)
    ]


def product(a, b):
    n = len(a)
    return [[sum(a[i][k] * b[k][j] for k in range(n)) for j in range(n)] for i in range(n)]


def slow_rollout(maps, residual):
    """Weight of every path through the layers, one number at a time, of picture 0."""
    tokens = maps[0].shape[-1]
    total = [[float(i == j) for j in range(tokens)] for i in range(tokens)]
    for weights in maps:
        mixed = [[0.0] * tokens for _ in range(tokens)]
        for i in range(tokens):
            for j in range(tokens):
                mean = sum(float(head[i, j]) for head in weights[0]) / len(weights[0])
                mixed[i][j] = (1 - residual) * mean + residual * (i == j)
        total = product(mixed, total)
    return torch.tensor(total, dtype=torch.float64)


def slow_relevance(maps, gradients):
    tokens = maps[0].shape[-1]
    total = [[float(i == j) for j in range(tokens)] for i in range(tokens)]
    for weights, gradient in zip(maps, gradients, strict=True):
        raised = [[0.0] * tokens for _ in range(tokens)]
        for i in range(tokens):
            for j in range(tokens):
                products = (float(w[i, j] * g[i, j]) for w, g in zip(weights[0], gradient[0]))  # noqa: B905
                raised[i][j] = sum(max(p, 0.0) for p in products) / len(weights[0])
        added = product(raised, total)
        total = [[total[i][j] + added[i][j] for j in range(tokens)] for i in range(tokens)]
    return torch.tensor(total, dtype=torch.float64)


@pytest.mark.parametrize("residual", [0.0, 0.5, 0.8])
def test_rollout_equals_slow_loops(residual):
    maps = random_maps()
    torch.testing.assert_close(rollout(maps, residual)[0], slow_rollout(maps, residual))


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 6), st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_rollout_hands_out_shares(layers, heads, tokens, residual):
    shares = rollout(random_maps(layers, 2, heads, tokens), residual)
    assert shares.shape == (2, tokens, tokens) and (shares >= 0).all()
    torch.testing.assert_close(shares.sum(-1), torch.ones(2, tokens, dtype=torch.float64))


def test_rollout_of_simple_attentions():
    uniform = [torch.full((1, 2, 4, 4), 0.25)] * 3
    torch.testing.assert_close(rollout(uniform, residual=0.0), torch.full((1, 4, 4), 0.25))
    itself = [torch.eye(4).expand(1, 2, 4, 4)] * 3
    torch.testing.assert_close(rollout(itself), torch.eye(4)[None])
    torch.testing.assert_close(rollout(uniform, residual=1.0), torch.eye(4)[None])


def moves(target_of):
    """An attention in which token i reads token target_of[i] only. (1, 1, t, t)."""
    return torch.eye(len(target_of), dtype=torch.float64)[list(target_of)][None, None]


def test_rollout_follows_the_layers_in_order():
    first, second = moves((0, 2, 2)), moves((1, 1, 2))
    # Layer 1: token 1 reads token 2. Layer 2: token 0 reads token 1, hence token 2.
    assert rollout([first, second], residual=0.0)[0, 0].tolist() == [0, 0, 1]
    assert rollout([second, first], residual=0.0)[0, 0].tolist() == [0, 1, 0]


def test_relevance_equals_slow_loops():
    maps = random_maps()
    gradients = [m - 0.2 for m in random_maps(seed=1)]
    expected = slow_relevance(maps, gradients)
    torch.testing.assert_close(relevance(maps, gradients)[0], expected)


def test_what_lowers_the_score_is_not_relevant():
    maps = random_maps()
    nothing = torch.eye(5, dtype=torch.float64).expand(2, 5, 5)
    torch.testing.assert_close(relevance(maps, [-torch.ones_like(m) for m in maps]), nothing)
    with pytest.raises(ValueError):
        relevance(maps, maps[:2])


def scored(maps, wanted):
    """A class token that sums the values of what it reads; the score is its `wanted` part."""
    values = torch.eye(5, dtype=torch.float64)
    out = values
    for weights in maps:
        out = out + weights.mean(1) @ out
    return out[:, 0, wanted]


@pytest.mark.parametrize("wanted", [1, 2, 3, 4])
def test_relevance_depends_on_what_is_asked(wanted):
    maps = [m.requires_grad_() for m in random_maps()]
    found = sentence_relevance(scored(maps, wanted), maps, (2, 2))
    assert found.shape == (2, 2, 2) and not found.requires_grad
    for heat in found:
        row, column = divmod(wanted - 1, 2)
        assert heat[row, column] > 0 and heat.flatten().argmax() == wanted - 1


def test_pictures_of_a_batch_do_not_touch():
    maps = [m.requires_grad_() for m in random_maps()]
    both = sentence_relevance(scored(maps, 1), maps, (2, 2))
    alone = [m.detach()[1:].requires_grad_() for m in maps]
    torch.testing.assert_close(both[1:], sentence_relevance(scored(alone, 1), alone, (2, 2)))


def test_the_class_tokens_map_reads_its_row():
    tokens = torch.arange(49.0).reshape(1, 7, 7)
    assert cls_map(tokens, (2, 3)).tolist() == [[[1, 2, 3], [4, 5, 6]]]
    assert cls_map(tokens, (3, 2)).tolist() == [[[1, 2], [3, 4], [5, 6]]]


def test_enlarging_keeps_flat_maps_flat_and_peaks_in_place():
    torch.testing.assert_close(
        upsample(torch.full((1, 3, 3), 0.2), (9, 9)), torch.full((1, 9, 9), 0.2)
    )
    spike = torch.zeros(1, 6, 6)
    spike[0, 1, 4] = 1
    large = upsample(spike, (48, 48))
    assert (large >= 0).all(), "bicubic weights overshoot below zero"
    row, column = divmod(int(large.argmax()), 48)
    assert (row // 8, column // 8) == (1, 4)


def test_heat_lights_what_weighs_and_leaves_flat_maps_flat():
    grey = np.full((12, 12, 3), 128, dtype=np.uint8)
    corner = np.zeros((2, 2))
    corner[0, 1] = 1
    shown = lit(grey, corner).astype(int).sum(-1)
    side = len(shown)
    brightest = shown[side // 8, -side // 8]
    assert brightest > 2 * shown[-side // 8, side // 8]
    np.testing.assert_array_equal(lit(grey, corner), lit(grey, 50 * corner))
    for flat in (np.full((2, 2), 0.7), np.zeros((2, 2))):
        shown = lit(grey, flat).astype(int)
        assert np.ptp(shown, axis=(0, 1)).max() <= 2, "no pattern where there is none"
        assert shown[0, 0].sum() < 0.9 * brightest, "nor the brightness of a peak"


def test_the_figure_shows_picture_maps_and_sentence(pictures, texts, check_legible):
    image = np.zeros((12, 18, 3), dtype=np.uint8)
    image.flags.writeable = False
    spike = torch.zeros(2, 3, requires_grad=True) + torch.tensor([[0, 0, 6.0], [0, 0, 0]])
    maps = {"where the class token looks (rollout)": spike, "flat": np.ones((2, 3))}
    sentence = "a crown on the left and a frog on the right and so on without any end in sight"
    figure = attention_figure(image, maps, sentence=sentence)
    check_legible(figure)
    assert len(figure.axes) == 3
    words = texts(figure)
    assert "peak 6.0 × the average patch" in words and "peak 1.0 × the average patch" in words
    assert "upper right" in figure.caption.alt and sentence in figure.caption.alt
    many = attention_figure(image, {f"head {i}": spike for i in range(6)}, columns=3)
    check_legible(many)
    assert len({round(axes.get_position().y0, 3) for axes in many.axes}) == 3


def test_pooled_map_reads_the_row_that_the_model_reads():
    tokens = torch.arange(25.0).reshape(1, 5, 5)
    grid = (2, 2)
    assert pooled_map(tokens, grid, "cls").tolist() == [[[1.0, 2.0], [3.0, 4.0]]]
    assert pooled_map(tokens, grid, "mean").tolist() == [[[13.5, 14.5], [15.5, 16.5]]]

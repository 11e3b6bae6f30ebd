import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.nn.dvae import (
    Block,
    Conv,
    Decoder,
    Encoder,
    code_shares,
    gumbel_softmax,
    kl_to_uniform,
    logit_laplace_nll,
    map_pixels,
    perplexity,
    unmap_pixels,
    visual_tokens,
)

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
LN3 = math.log(3)


def cell(*values):
    return torch.tensor(values, dtype=torch.float64).reshape(1, -1, 1, 1)


def uniform(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- drawing softly


@pytest.mark.parametrize(
    ("u", "temperature", "expected"),
    [
        ((math.exp(-1), math.exp(-1)), 1.0, (0.75, 0.25)),
        ((math.exp(-9), math.exp(-1)), 1.0, (0.25, 0.75)),
        ((math.exp(-9), math.exp(-1)), 0.5, (0.1, 0.9)),
    ],
)
def test_soft_draws_by_hand(u, temperature, expected):
    got = gumbel_softmax(cell(LN3, 0), cell(*u), temperature)
    torch.testing.assert_close(got, cell(*expected), **CLOSE)


def test_hard_draws_are_one_hot_with_the_gradient_of_soft_ones(normal):
    logits, u, weights = normal(0, 2, 5, 3, 2), uniform(1, 2, 5, 3, 2), normal(2, 2, 5, 3, 2)
    logits.requires_grad_()
    soft, hard = gumbel_softmax(logits, u, 0.7), gumbel_softmax(logits, u, 0.7, hard=True)
    assert ((hard - hard.round()).abs() < 1e-12).all()
    assert torch.equal(hard.detach().argmax(1), soft.argmax(1))
    torch.testing.assert_close(hard.sum(1), torch.ones(2, 3, 2, dtype=torch.float64), **CLOSE)
    of_hard, of_soft = (torch.autograd.grad((x * weights).sum(), logits)[0] for x in (hard, soft))
    torch.testing.assert_close(of_hard, of_soft, **CLOSE)


def test_low_temperatures_approach_one_hot_and_high_ones_even_shares():
    logits, u = cell(1, 2, 3), cell(*(math.exp(-math.exp(-g)) for g in (0.2, -0.1, 0.4)))
    at_one = gumbel_softmax(logits, u, 1.0)
    torch.testing.assert_close(at_one, cell(0.08, 0.17, 0.75), rtol=0, atol=0.01)
    torch.testing.assert_close(gumbel_softmax(logits, u, 1 / 16), cell(0, 0, 1), rtol=0, atol=1e-6)
    torch.testing.assert_close(
        gumbel_softmax(logits, u, 1e9), cell(*[1 / 3] * 3), atol=1e-8, rtol=0
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_ends_of_u_are_finite(dtype):
    u = torch.tensor([0.0, 1.0, 0.5, 1.0], dtype=dtype).reshape(1, 2, 1, 2)
    logits = torch.zeros(1, 2, 1, 2, dtype=dtype, requires_grad=True)
    for hard in (False, True):
        shares = gumbel_softmax(logits, u, 1 / 16, hard)
        assert shares.isfinite().all()
        assert torch.autograd.grad(shares[0, 0].sum(), logits)[0].isfinite().all()


def test_winners_follow_the_softmax():
    logits = cell(0.0, 1.0, -1.0).expand(1, 3, 200, 500)
    wins = gumbel_softmax(logits, uniform(0, 1, 3, 200, 500), 0.3).argmax(1).flatten().bincount()
    expected = torch.tensor([0.0, 1.0, -1.0]).softmax(0)
    torch.testing.assert_close(wins / 100_000, expected, atol=0.005, rtol=0)


# --- the price of certainty


def test_kl_by_hand():
    by_hand = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert kl_to_uniform(cell(LN3, 0)).item() == pytest.approx(by_hand, abs=1e-12)
    both = torch.cat([cell(LN3, 0), cell(5, 5)], dim=3)
    assert kl_to_uniform(both).item() == pytest.approx(by_hand / 2, abs=1e-12)
    assert kl_to_uniform(torch.cat([both, both])).item() == pytest.approx(by_hand / 2, abs=1e-12)
    assert kl_to_uniform(cell(1000, 0, 0, 0, 0)).item() == pytest.approx(math.log(5))
    assert kl_to_uniform(torch.zeros(1, 8192, 2, 2).bfloat16()).isfinite()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 9), st.floats(0.1, 20))
def test_kl_is_what_torch_computes(seed, k, strength):
    generator = torch.Generator().manual_seed(seed)
    logits = strength * torch.randn(2, k, 3, 2, generator=generator, dtype=torch.float64)
    rows = logits.movedim(1, -1).reshape(-1, k).log_softmax(1)
    even = torch.full_like(rows, -math.log(k))
    expected = F.kl_div(even, rows, reduction="batchmean", log_target=True)
    got = kl_to_uniform(logits)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)
    assert -1e-12 <= got <= math.log(k) + 1e-12


# --- pixels


def test_pixels_are_mapped_and_back():
    x = torch.tensor([0, 0.25, 0.5, 1], dtype=torch.float64)
    torch.testing.assert_close(map_pixels(x), x.new_tensor([0.1, 0.3, 0.5, 0.9]), **CLOSE)
    torch.testing.assert_close(unmap_pixels(map_pixels(x, 0.2), 0.2), x, **CLOSE)
    outside = x.new_tensor([0.0, 0.05, 0.95, 1.0])
    torch.testing.assert_close(unmap_pixels(outside), x.new_tensor([0.0, 0, 1, 1]), **CLOSE)


def test_likelihood_by_hand():
    for x, mu, log_scale, expected in (
        (0.5, 0, 0, -math.log(2)),
        (0.75, 0, 0, math.log(1.125)),
        (0.75, 0, math.log(2), math.log(0.75) + LN3 / 2),
        (0.25, -LN3, 0, math.log(0.375)),
    ):
        got = logit_laplace_nll(cell(x), cell(mu), cell(log_scale)).item()
        assert got == pytest.approx(expected, abs=1e-12)


@settings(max_examples=10, deadline=None)
@given(st.floats(-3, 3), st.floats(0.2, 2))
def test_the_density_adds_up_to_one(mu, scale):
    """Over (0, 1) in steps that are even in the logit, mu in the middle of two."""
    step = 1e-3
    x = (mu + step * (torch.arange(-30_000, 30_000, dtype=torch.float64) + 0.5)).sigmoid()
    inside = (x > 0) & (x < 1)
    x = x[inside].reshape(1, 1, 1, -1)
    nll = logit_laplace_nll(x, torch.full_like(x, mu), torch.full_like(x, math.log(scale)))
    assert (torch.exp(-nll) * x * (1 - x) * step).sum().item() == pytest.approx(1, abs=1e-5)


def test_likelihood_is_torch_s_laplace_seen_through_the_logit(normal):
    x, mu, log_scale = normal(0, 2, 3, 4, 4).sigmoid(), normal(1, 2, 3, 4, 4), normal(2, 2, 3, 4, 4)
    laplace = torch.distributions.Laplace(mu, log_scale.exp())
    change = [torch.distributions.transforms.SigmoidTransform()]
    expected = -torch.distributions.TransformedDistribution(laplace, change).log_prob(x)
    torch.testing.assert_close(logit_laplace_nll(x, mu, log_scale), expected)


# --- the use of codes


def test_tokens_are_the_likeliest_codes():
    logits = torch.tensor([[[[0.0, 5.0]], [[2.0, 1.0]], [[1.0, 6.0]]]])
    tokens = visual_tokens(logits)
    assert tokens.tolist() == [[[1, 2]]] and tokens.dtype == torch.int64


def test_shares_and_perplexity():
    shares = code_shares(torch.tensor([[[0, 0], [3, 3]]]), 5)
    assert shares.tolist() == [0.5, 0, 0, 0.5, 0]
    assert perplexity(shares).item() == pytest.approx(2)
    assert perplexity(torch.full((7,), 1 / 7)).item() == pytest.approx(7)
    assert perplexity(torch.tensor([0.0, 1.0])).item() == 1
    assert code_shares(torch.zeros(0, 2, 2, dtype=torch.int64), 3).sum() == 0


# --- networks


def test_base_has_the_published_number_of_weights(count_weights):
    """dall_e's encoder and decoder: 53,786,240 in 74 tensors, 43,829,766 in 76."""
    assert count_weights(Encoder) == 53_786_240
    assert count_weights(Decoder) == 43_829_766
    with torch.device("meta"):
        assert len(list(Encoder().parameters())) == 74
        assert len(list(Decoder().parameters())) == 76


@pytest.mark.parametrize(("groups", "blocks"), [(1, 1), (2, 3), (4, 2)])
def test_shapes_gains_and_strides(groups, blocks):
    numbers = {"vocab_size": 7, "width": 8, "groups": groups, "blocks": blocks}
    encoder, decoder = Encoder(**numbers), Decoder(**numbers, code_width=5)
    stride = 2 ** (groups - 1)
    assert encoder.stride == stride
    image = torch.rand(2, 3, 2 * stride, 3 * stride)
    assert encoder(image).shape == (2, 7, 2, 3)
    assert decoder(encoder(image).softmax(1)).shape == (2, 6, 2 * stride, 3 * stride)
    for network in (encoder, decoder):
        found = [part for part in network.modules() if isinstance(part, Block)]
        assert len(found) == groups * blocks
        assert {part.gain for part in found} == {1 / (groups * blocks) ** 2}


def test_next_to_the_codes_each_cell_speaks_for_itself():
    numbers = {"vocab_size": 7, "width": 8, "groups": 2, "blocks": 1}
    encoder = Encoder(**numbers)
    assert [c.kernel_size[0] for c in encoder.groups[0][0].convs] == [3, 3, 3, 1]
    decoder = Decoder(**numbers, code_width=5)
    assert [c.kernel_size[0] for c in decoder.groups[0][0].convs] == [1, 3, 3, 3]
    widths = [(c.in_channels, c.out_channels) for c in decoder.groups[0][0].convs]
    assert widths == [(5, 4), (4, 4), (4, 4), (4, 16)]


def test_weights_start_at_one_over_the_root_of_what_comes_in():
    torch.manual_seed(0)
    conv = Conv(16, 400, 3)
    assert conv.weight.std().item() == pytest.approx(1 / 12, rel=0.02)
    assert (conv.bias == 0).all()


def test_a_column_of_the_first_weight_is_a_code_s_vector(drawn):
    decoder = drawn(Decoder(vocab_size=7, width=8, code_width=5, groups=1, blocks=1))
    hot = F.one_hot(torch.tensor([[[4]]]), 7).movedim(-1, 1).double()
    expected = decoder.codebook.weight[:, 4, 0, 0] + decoder.codebook.bias
    torch.testing.assert_close(decoder.codebook(hot)[0, :, 0, 0], expected, **CLOSE)


def test_where_codes_compete_numbers_stay_wide_under_autocast():
    torch.manual_seed(0)
    numbers = {"vocab_size": 7, "width": 8, "groups": 2, "blocks": 1}
    encoder, decoder = Encoder(**numbers), Decoder(**numbers, code_width=8)
    seen = {}
    for name, part in (("input", encoder.input), ("codebook", decoder.codebook),
                       ("output", decoder.output)):  # fmt: skip
        part.register_forward_hook(lambda m, i, o, name=name: seen.update({name: o.dtype}))
    with torch.autocast("cpu", torch.bfloat16):
        logits = encoder(torch.rand(1, 3, 8, 8))
        decoder(logits.softmax(1))
    assert logits.dtype == seen["codebook"] == torch.float32
    assert seen["input"] == seen["output"] == torch.bfloat16


@pytest.mark.parametrize(("height", "width"), [(10, 8), (8, 6), (0, 8)])
def test_pictures_that_cells_do_not_divide_are_named(height, width):
    encoder = Encoder(vocab_size=7, width=8, groups=3, blocks=1)
    with pytest.raises(ValueError, match=f"{height} x {width} pixels .* cells of 4"):
        encoder(torch.zeros(1, 3, height, width))


@pytest.mark.parametrize(
    ("changed", "match"),
    [({"vocab_size": 1}, "vocab_size 1"), ({"width": 6}, "width 6"), ({"blocks": 0}, "blocks 0")],
)
def test_impossible_networks_are_named(changed, match):
    for kind in (Encoder, Decoder):
        with pytest.raises(ValueError, match=match):
            kind(**{"vocab_size": 7, "width": 8, "groups": 2, "blocks": 1} | changed)


def test_the_decoder_is_the_published_network_read_aloud(drawn, normal):
    """dall_e's decoder written out: 1x1 conv, then 8, 4, 2 and 1 times n_hid, upsampled between."""
    n_hid, blocks, groups = 4, 2, 4
    numbers = {"width": n_hid, "groups": groups, "blocks": blocks}
    decoder = drawn(Decoder(vocab_size=7, code_width=5, **numbers))
    left = dict(decoder.named_parameters())

    def conv(x, name, kernel):
        weight, bias = left.pop(f"{name}.weight"), left.pop(f"{name}.bias")
        assert weight.shape[2:] == (kernel, kernel)
        return F.conv2d(x, weight, bias, padding=(kernel - 1) // 2)

    def block(x, name, n_in, n_out):
        branch = x
        for number, kernel in enumerate((1, 3, 3, 3)):
            branch = conv(branch.relu(), f"{name}.convs.{number}", kernel)
        skip = conv(x, f"{name}.skip", 1) if n_in != n_out else x
        return skip + branch / (groups * blocks) ** 2

    codes = normal(0, 2, 7, 1, 2).softmax(1)
    x, n_in = conv(codes, "codebook", 1), 5
    for group, times in enumerate((8, 4, 2, 1)):
        for number in range(blocks):
            x = block(x, f"groups.{group}.{number}", n_in, times * n_hid)
            n_in = times * n_hid
        if group < 3:
            x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    expected = conv(x.relu(), "output", 1)
    assert not left and expected.shape == (2, 6, 8, 16)
    torch.testing.assert_close(decoder(codes), expected, rtol=1e-9, atol=1e-9)

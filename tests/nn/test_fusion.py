"""Words that look at pictures: formula, masks, pictures shared by texts, words not asked for."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from minivl.nn.bert import Bert, fusion_block
from minivl.nn.fusion import FusionBlock, FusionEncoder, pre_norm_fusion_block
from minivl.nn.head import PredictionHead

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
WIDTH, CONTEXT, HEADS = 12, 10, 3
LENGTHS = torch.tensor([5, 2, 4, 1])
MASK = torch.arange(5) < LENGTHS[:, None]
"""Four texts of up to five words."""
INDEX = torch.tensor([1, 0, 1, 1])
"""They look at two pictures; a third is looked at by none."""
NORMS = pytest.mark.parametrize("norm", ["pre", "post"])


@pytest.fixture
def encoder(drawn, norm):
    return drawn(FusionEncoder(WIDTH, 2, HEADS, context_width=CONTEXT, norm=norm, eps=1e-3))


@pytest.fixture
def inputs(normal):
    """Four texts and three pictures of six tokens."""
    return normal(1, 4, 5, WIDTH).requires_grad_(), normal(2, 3, 6, CONTEXT).requires_grad_()


def gradients(out, module, *inputs, seed=3):
    """Of a random sum of `out`: for the inputs and each parameter, 0 where there is none."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(out.shape, generator=generator, dtype=out.dtype)
    return torch.autograd.grad(
        (out * weights).sum(),
        [*inputs, *module.parameters()],
        allow_unused=True,
        materialize_grads=True,
    )


def assert_all_close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


@NORMS
@pytest.mark.parametrize("eps", [1e-2, 1e-12])
def test_a_block_is_its_formula(drawn, normal, norm, eps):
    block = drawn(FusionBlock(WIDTH, HEADS, context_width=CONTEXT, norm=norm, eps=eps))
    text, image = normal(1, 4, 5, WIDTH), normal(2, 4, 6, CONTEXT)
    seen = torch.arange(6) < torch.tensor([6, 3, 1, 5])[:, None]

    def layer_norm(x, module):
        deviation = ((x - x.mean(-1, keepdim=True)).square().mean(-1, keepdim=True) + eps).sqrt()
        return (x - x.mean(-1, keepdim=True)) / deviation * module.weight + module.bias

    norm1, norm2, norm3 = (
        (lambda x, module=module: layer_norm(x, module))
        for module in (block.norm1, block.norm2, block.norm3)
    )
    if norm == "pre":
        x = text + block.self_attention(norm1(text), None, MASK)
        x = x + block.cross_attention(norm2(x), image, seen)
        x = x + block.mlp(norm3(x))
    else:
        x = norm1(text + block.self_attention(text, None, MASK))
        x = norm2(x + block.cross_attention(x, image, seen))
        x = norm3(x + block.mlp(x))
    torch.testing.assert_close(block(text, image, MASK, image_visible=seen), x, **CLOSE)
    ready = block.keys_values(image)
    torch.testing.assert_close(block(text, ready, MASK, image_visible=seen), x, **CLOSE)


def test_the_two_orders_by_hand():
    """A self 2x, a cross x + image, an mlp 10x; norms that add 1: before, or after each sum."""

    def add_one(x):
        return x + 1

    steps = (lambda x: 2 * x, lambda x, image: x + image, lambda x: 10 * x, *[add_one] * 3)
    x, image = torch.tensor(1.0), torch.tensor(5.0)
    # 1 + 4 = 5; 5 + (6 + 5) = 16; 16 + 170.
    assert pre_norm_fusion_block(x, image, *steps) == 186
    # 3 + 1 = 4; 4 + 9 + 1 = 14; 14 + 140 + 1.
    assert fusion_block(x, image, *steps) == 155


@NORMS
def test_a_stack_applies_its_blocks_in_order_and_shows_where_words_look(encoder, inputs, norm):
    text, image = inputs
    x, maps = text, []
    for block in encoder.blocks:
        x, weights = block(x, image[INDEX], MASK, True)
        maps.append(weights)
    if norm == "pre":
        x = F.layer_norm(x, (WIDTH,), encoder.norm.weight, encoder.norm.bias, 1e-3)
    before = text.clone(), image.clone()
    out, found = encoder(text, image, MASK, return_attention=True, image_index=INDEX)
    assert_all_close([out, *found], [x, *maps])
    torch.testing.assert_close(encoder(text, image, MASK, image_index=INDEX), x, **CLOSE)
    assert [weights.shape for weights in found] == [(4, HEADS, 5, 6)] * 2
    for weights in found:
        torch.testing.assert_close(weights.sum(-1), torch.ones(4, HEADS, 5).double(), **CLOSE)
    assert torch.equal(text, before[0]) and torch.equal(image, before[1])
    # Read or not, maps come of all words.
    again, _ = encoder(text, image, MASK, True, image_index=INDEX, read=torch.zeros_like(MASK))
    torch.testing.assert_close(again, out, **CLOSE)


@NORMS
def test_attention_has_the_gradient_that_grad_cam_asks_for(encoder, inputs, norm):
    text, image = inputs
    out, maps = encoder(text, image, MASK, return_attention=True, image_index=INDEX)
    for gradient in torch.autograd.grad(out[:, 0].sum(), maps):
        assert gradient.shape == (4, HEADS, 5, 6) and gradient[:, :, 0].abs().min() > 0


@NORMS
def test_padding_words_change_nothing_and_learn_nothing(encoder, inputs, normal, norm):
    text, image = inputs
    out = encoder(text, image, MASK, image_index=INDEX)
    for row, length in enumerate(LENGTHS):
        alone = encoder(text[row : row + 1, :length], image[INDEX[row]][None])
        torch.testing.assert_close(out[row, :length], alone[0], **CLOSE)
    (gradient,) = torch.autograd.grad(out[MASK].square().sum(), text)
    assert not gradient[~MASK].any() and gradient[MASK].all()
    for number in (MASK.int(), MASK.double()):
        again = encoder(text, image, number, image_index=INDEX)
        torch.testing.assert_close(again, out, **CLOSE)
    everything = encoder(text, image, image_index=INDEX)
    assert (everything[1, 0] - out[1, 0]).abs().max() > 1e-3


@NORMS
def test_hidden_tokens_of_a_picture_are_not_looked_at(encoder, inputs, norm):
    """As where what is looked at is itself a padded text; the mask follows its picture."""
    text, image = inputs
    tokens = torch.arange(6) < torch.tensor([2, 6, 1])[:, None]
    out, maps = encoder(text, image, MASK, True, image_index=INDEX, image_mask=tokens)
    short = encoder(text[1:2], image[:1, :2], MASK[1:2])
    torch.testing.assert_close(out[1:2], short, **CLOSE)
    assert all(not weights[1, :, :, 2:].any() and weights[0].all() for weights in maps)
    read = torch.zeros_like(MASK)
    read[:, 0] = True
    some = encoder(text, image, MASK, image_index=INDEX, image_mask=tokens.int(), read=read)
    torch.testing.assert_close(some[:, 0], out[:, 0], **CLOSE)


@NORMS
def test_pictures_shared_by_texts_are_projected_once(encoder, inputs, norm):
    """Values and all gradients are those of pictures repeated for each text."""
    text, image = inputs
    projected = []
    for block in encoder.blocks:
        block.cross_attention.k_proj.register_forward_hook(
            lambda module, given, out: projected.append(len(out))
        )
    shared = encoder(text, image, MASK, image_index=INDEX)
    assert projected == [3, 3]
    plain = encoder(text, image[INDEX], MASK)
    assert projected == [3, 3, 4, 4]
    torch.testing.assert_close(shared, plain, **CLOSE)
    ours = gradients(shared, encoder, text, image)
    assert_all_close(ours, gradients(plain, encoder, text, image))
    assert ours[1][:2].all() and not ours[1][2].any()


@settings(max_examples=25, deadline=None)
@given(data=st.data(), seed=st.integers(0, 10**6), norm=st.sampled_from(["pre", "post"]))
def test_what_is_read_is_what_all_blocks_give(drawn, normal, data, seed, norm):
    """Any texts of any pictures, any words read, in one mask or in several: values, gradients."""
    sizes = st.integers(1, 4)
    b, t, m, n, depth = (
        data.draw(size) for size in (sizes, sizes, sizes, sizes, st.integers(1, 2))
    )
    model = drawn(FusionEncoder(WIDTH, depth, HEADS, context_width=CONTEXT, norm=norm), seed)
    generator = torch.Generator().manual_seed(seed)
    text, image = (
        x.requires_grad_() for x in (normal(seed, b, t, WIDTH), normal(1, m, n, CONTEXT))
    )
    index = torch.randint(m, (b,), generator=generator)
    mask = torch.rand(b, t, generator=generator) < 0.7
    mask[:, 0] = True
    read = torch.rand(b, t, generator=generator) < data.draw(st.floats(0, 1))
    whole = model(text, image[index], mask)
    expected = gradients(whole[read], model, text, image)
    cut = data.draw(st.integers(0, b))
    parts = [part for part in (read[:cut], read[cut:]) if len(part)]
    for asked in (read, parts):
        some = model(text, image, mask, image_index=index, read=asked)
        assert some.shape == whole.shape
        torch.testing.assert_close(some[read], whole[read], **CLOSE)
        assert_all_close(gradients(some[read], model, text, image), expected)


@NORMS
def test_the_last_block_works_for_what_is_read_only(encoder, inputs, norm):
    text, image = inputs
    worked = []
    for block in encoder.blocks:
        block.mlp.register_forward_hook(
            lambda module, given, out: worked.append(out.shape[:-1].numel())
        )
    words = int(LENGTHS.sum())
    first, two = torch.zeros(3, 5).bool(), torch.zeros(1, 5).bool()
    first[:, 0] = two[:, 1] = two[:, 3] = True
    encoder(text, image, MASK, image_index=INDEX, read=(first, two))
    assert worked == [words + 2, 3, 2], "padding thinks where it is read, and only there"
    worked.clear()
    encoder(text, image, MASK, image_index=INDEX, read=MASK)
    assert worked == [words, words]
    worked.clear()
    encoder(text, image, image_index=INDEX, read=(first, two))
    assert worked == [20, 3, 2]
    worked.clear()
    encoder(text, image, MASK, image_index=INDEX)
    assert worked == [20, 20]


@settings(max_examples=15, deadline=None)
@given(data=st.data(), seed=st.integers(0, 10**6), norm=st.sampled_from(["pre", "post"]))
def test_texts_shared_by_pictures_tell_themselves_once_what_they_say(
    drawn, normal, data, seed, norm
):
    """Any pairs of texts and pictures, read in part or whole: values and gradients are those of
    texts repeated for each picture."""
    sizes = st.integers(1, 4)
    b, t, m, n, r, depth = (
        data.draw(size) for size in (sizes, sizes, sizes, sizes, sizes, st.integers(1, 2))
    )
    model = drawn(FusionEncoder(WIDTH, depth, HEADS, context_width=CONTEXT, norm=norm), seed)
    text, image = (
        x.requires_grad_() for x in (normal(seed, b, t, WIDTH), normal(1, m, n, CONTEXT))
    )
    generator = torch.Generator().manual_seed(seed)
    texts, pictures = (torch.randint(size, (r,), generator=generator) for size in (b, m))
    mask = torch.rand(b, t, generator=generator) < 0.7
    mask[:, 0] = True
    read = torch.rand(r, t, generator=generator) < data.draw(st.floats(0, 1))
    told = []
    model.blocks[0].self_attention.k_proj.register_forward_hook(
        lambda module, given, out: told.append(len(out))
    )
    whole = model(text[texts], image[pictures], mask[texts])
    expected = gradients(whole[read], model, text, image)
    for asked in (None, read):
        some = model(text, image, mask, text_index=texts, image_index=pictures, read=asked)
        assert some.shape == whole.shape
        torch.testing.assert_close(some[read], whole[read], **CLOSE)
        assert_all_close(gradients(some[read], model, text, image), expected)
    assert told == [r, b, b]
    out, maps = model(text, image, mask, True, text_index=texts, image_index=pictures)
    torch.testing.assert_close(out, whole, **CLOSE)
    assert [weights.shape for weights in maps] == [(r, HEADS, t, n)] * depth


@NORMS
def test_with_a_causal_mask_no_word_knows_the_future(encoder, inputs, norm):
    """One mask for all texts, or one a text that hides padding, too: a decoder."""
    text, image = inputs
    causal = torch.ones(5, 5, dtype=torch.bool).tril()
    out = encoder(text, image, causal[None, None], image_index=INDEX)
    for word in range(5):
        (gradient,) = torch.autograd.grad(out[:, word].square().sum(), text, retain_graph=True)
        assert not gradient[:, word + 1 :].any() and gradient[:, : word + 1].all()
    both = encoder(text, image, causal & MASK[:, None, None], image_index=INDEX)
    torch.testing.assert_close(both[0], out[0], **CLOSE)
    alone = encoder(text[1:2, :2], image[INDEX[1]][None], causal[None, None, :2, :2])
    torch.testing.assert_close(both[1, :2], alone[0], **CLOSE)


@NORMS
def test_dropout_drops_all_three_steps_in_training_only(drawn, inputs, norm):
    text, image = inputs
    encoder = drawn(FusionEncoder(WIDTH, 2, HEADS, context_width=CONTEXT, norm=norm, dropout=1.0))
    expected = text
    for block in encoder.blocks:
        for norms in (block.norm1, block.norm2, block.norm3):
            expected = norms(expected) if norm == "post" else expected
    out = encoder.train()(text, image, MASK, image_index=INDEX)
    torch.testing.assert_close(out, encoder.norm(expected), **CLOSE)
    out = encoder.eval()(text, image, MASK, image_index=INDEX)
    assert (out - encoder.norm(expected)).abs().max() > 1e-2


def test_options_reach_every_block():
    encoder = FusionEncoder(
        8, 2, 2, context_width=6, mlp_ratio=1.5, norm="pre", dropout=0.1, eps=1e-3,
        activation="quick_gelu",
    )  # fmt: skip
    for block in encoder.blocks:
        assert block.norm == "pre" and block.dropout.p == 0.1
        assert block.mlp.fc1.out_features == 12 and block.mlp.activation.__name__ == "quick_gelu"
        assert block.cross_attention.k_proj.in_features == 6
        assert block.self_attention.k_proj.in_features == 8
    assert {m.eps for m in encoder.modules() if isinstance(m, nn.LayerNorm)} == {1e-3}
    assert isinstance(encoder.norm, nn.LayerNorm)
    plain = FusionEncoder(8, 1, 2)
    assert isinstance(plain.norm, nn.Identity) and plain.blocks[0].norm == "post"
    assert plain.blocks[0].norm1.eps == 1e-12
    assert plain.blocks[0].cross_attention.k_proj.in_features == 8


def test_start_weights_are_those_of_a_transformer():
    torch.manual_seed(0)
    encoder = FusionEncoder(96, 1, 2, context_width=48)
    std = 0.02 * (768 / 96) ** 0.5
    for linear in (m for m in encoder.modules() if isinstance(m, nn.Linear)):
        # Cut at two deviations, a normal keeps 0.8796 of its deviation.
        assert linear.weight.std().item() == pytest.approx(std * 0.8796, rel=0.05)
        assert linear.weight.abs().max() <= 2 * std and not linear.bias.any()


def test_texts_and_pictures_must_pair_up(inputs, drawn):
    text, image = inputs
    with pytest.raises(ValueError, match="3 pictures for 4 texts: image_index"):
        drawn(FusionEncoder(WIDTH, 1, HEADS, context_width=CONTEXT))(text, image)


def test_albefs_text_side_has_the_published_number_of_weights(count_weights):
    """123.7 million (section 3.5): BERT in two halves, cross-attention in one, a tied head."""

    def halves():
        return nn.ModuleList(
            [
                Bert(vocab_size=30_522, width=768, depth=6, heads=12),
                FusionEncoder(768, 6, 12),
                PredictionHead(768, 30_522, tied=True),
            ]
        )

    assert count_weights(halves) == 123_697_722

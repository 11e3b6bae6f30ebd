"""Grad-CAM against hand numbers, finite differences, and a model made to look at one place."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.models.albef import Albef
from minivl.nn.bert import Bert
from minivl.nn.fusion import FusionEncoder
from minivl.nn.vit import ViT
from minivl.visualize.gradcam import (
    grad_cam,
    look,
    look_alone,
    mean_map,
    on_grid,
    on_picture,
    picture_maps,
    usual_block,
    whole_words,
    word_maps,
)

ATTENTION = torch.tensor([[[[0.5, 0.5]], [[0.2, 0.8]]]])
GRADIENT = torch.tensor([[[[2.0, -2.0]], [[-1.0, 1.0]]]])
WRONG = {
    "negative kept": ((ATTENTION * GRADIENT).mean(1), [0.4, -0.1]),
    "clamped after the mean": ((ATTENTION * GRADIENT).mean(1).clamp(min=0), [0.4, 0.0]),
    "absolute": ((ATTENTION * GRADIENT.abs()).mean(1), [0.6, 0.9]),
    "gradient only": (GRADIENT.clamp(min=0).mean(1), [1.0, 0.5]),
    "attention only": (ATTENTION.mean(1), [0.35, 0.65]),
    "one weight per head": (
        (ATTENTION * GRADIENT.mean((2, 3), keepdim=True)).mean(1).clamp(min=0),
        [0.0, 0.0],
    ),
}


def test_attention_counts_where_it_raises_the_score():
    found = grad_cam(ATTENTION, GRADIENT)
    assert found.shape == (1, 1, 2)
    torch.testing.assert_close(found[0, 0], torch.tensor([0.5, 0.4]))


@pytest.mark.parametrize("name", WRONG)
def test_every_wrong_variant_gives_other_numbers(name):
    value, expected = WRONG[name]
    assert value.flatten().tolist() == pytest.approx(expected, abs=1e-6)
    assert value.flatten().tolist() != pytest.approx([0.5, 0.4], abs=1e-3)


@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_it_is_never_negative_and_nothing_comes_of_no_gradient(seed, batch, heads):
    draw = torch.Generator().manual_seed(seed)
    weights = torch.rand(batch, heads, 3, 5, generator=draw, dtype=torch.float64)
    gradient = torch.randn(batch, heads, 3, 5, generator=draw, dtype=torch.float64)
    found = grad_cam(weights, gradient)
    assert (found >= 0).all()
    assert (grad_cam(weights, torch.zeros_like(gradient)) == 0).all()
    assert (grad_cam(weights, -gradient.abs()) == 0).all()
    torch.testing.assert_close(grad_cam(weights, 3 * gradient), 3 * found)


def albef(depth=4, pool="cls", **options):
    return Albef(
        ViT(image_size=12, patch_size=4, width=8, depth=2, heads=2),
        Bert(vocab_size=11, width=8, depth=1, heads=2, max_length=6),
        FusionEncoder(8, depth, 2, context_width=8),
        embed_dim=6,
        image_pool=pool,
        queue_size=4,
        **options,
    )


@pytest.fixture
def model(drawn):
    return drawn(albef())


@pytest.fixture
def pairs(normal):
    """Two pictures of 2 x 3 patches, each with a sentence; the second is shorter."""
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    ids = torch.tensor([[2, 5, 6, 7, 3], [2, 9, 3, 0, 0]])
    return normal(1, 2, 3, 8, 12), ids, mask


def test_the_score_is_the_logit_of_a_match(model, pairs):
    seen = look(model, *pairs)
    states = model.encode_pair(*pairs)
    torch.testing.assert_close(seen.score, model.judge(states)[:, 1].detach())
    assert [tuple(m.shape) for m in seen.attention] == [(2, 2, 5, 7)] * 4
    assert not any(m.requires_grad for m in (*seen.attention, *seen.gradient, seen.score))


@pytest.mark.parametrize("block", [0, 2, 3])
def test_the_gradient_is_what_a_small_change_of_the_attention_does(model, pairs, block):
    """Central differences through the model itself, one weight of one head nudged."""
    seen = look(model, *pairs)
    attend = model.fusion_encoder.blocks[block].cross_attention

    def score(where, nudge):
        def nudged(x, keys_values, visible=None, return_attention=False):
            out, weights = type(attend).attend(attend, x, keys_values, visible, True)
            weights = weights.clone()
            weights[where] += nudge
            mixed = (weights @ keys_values[1]).transpose(1, 2).flatten(2)
            return attend.out_proj(mixed), weights

        attend.attend = nudged
        try:
            with torch.no_grad():
                states, _ = model.encode_pair(*pairs, return_attention=True)
                return model.judge(states)[where[0], 1]
        finally:
            del attend.attend

    for where in [(0, 0, 0, 3), (0, 1, 0, 0), (0, 1, 2, 6), (1, 0, 1, 5)]:
        slope = (score(where, 1e-5) - score(where, -1e-5)) / 2e-5
        assert seen.gradient[block][where].item() == pytest.approx(slope.item(), abs=1e-7)


def test_nothing_is_left_behind(model, pairs):
    image, ids, mask = pairs
    model.train()
    model.text_encoder.eval()
    before = [module.training for module in model.modules()]
    word_maps(model, image, ids, mask)
    assert [module.training for module in model.modules()] == before
    assert not image.requires_grad and image.grad is None
    assert all(parameter.grad is None for parameter in model.parameters())


def test_callers_without_gradients_get_the_same_maps(model, pairs):
    expected = word_maps(model, *pairs)
    assert expected.abs().sum() > 0
    with torch.no_grad():
        torch.testing.assert_close(word_maps(model, *pairs), expected)
    with torch.inference_mode():
        inside = word_maps(model, *(tensor.clone() for tensor in pairs))
    torch.testing.assert_close(inside, expected)
    frozen = word_maps(model.requires_grad_(False), *pairs)
    torch.testing.assert_close(frozen, expected)


def test_dropout_is_off(pairs):
    torch.manual_seed(0)
    image, ids, mask = pairs
    noisy = Albef(
        ViT(image_size=12, patch_size=4, width=8, depth=1, heads=2),
        Bert(vocab_size=11, width=8, depth=1, heads=2, max_length=6, dropout=0.5),
        FusionEncoder(8, 2, 2, context_width=8, dropout=0.5),
        embed_dim=6,
        queue_size=4,
    ).train()
    first, second = (word_maps(noisy, image.float(), ids, mask) for _ in range(2))
    assert torch.equal(first, second)


def test_pairs_of_a_batch_do_not_touch(model, pairs):
    image, ids, mask = pairs
    both = word_maps(model, *pairs)
    alone = word_maps(model, image[1:], ids[1:, :3], mask[1:, :3])
    torch.testing.assert_close(both[1:, :3], alone)
    assert both.shape == (2, 5, 2, 3)
    assert (both[1, 3:] == 0).all()
    unseen = look(model, *pairs).gradient
    assert all((gradient[1, :, 3:] == 0).all() for gradient in unseen)


def test_the_last_block_knows_the_class_token_only(model, pairs):
    last = word_maps(model, *pairs, layer=3)
    assert (last[:, 1:] == 0).all() and last[:, 0].abs().sum() > 0
    assert (word_maps(model, *pairs, layer=2)[0, 1:].flatten(1).sum(1) > 0).all()


@pytest.mark.parametrize(("blocks", "expected"), [(1, 0), (2, 0), (3, 1), (4, 2), (6, 2), (12, 2)])
def test_the_third_block_is_looked_at_unless_it_is_the_last(blocks, expected):
    assert usual_block(blocks) == expected


def test_a_layer_is_chosen_by_its_number(model, pairs):
    assert torch.equal(word_maps(model, *pairs), word_maps(model, *pairs, layer=2))
    assert not torch.equal(word_maps(model, *pairs), word_maps(model, *pairs, layer=1))
    seen = look(model, *pairs)
    expected = grad_cam(seen.attention[1], seen.gradient[1])[0, 2, 1:].view(2, 3)
    torch.testing.assert_close(word_maps(model, *pairs, layer=1)[0, 2], expected)


def test_the_class_tokens_column_is_dropped_before_the_grid():
    tokens = torch.arange(7.0).expand(2, 4, 7)
    assert on_grid(tokens, (2, 3))[1, 3].tolist() == [[1, 2, 3], [4, 5, 6]]


def test_a_sentences_map_is_the_mean_of_its_words():
    maps = torch.tensor([[1.0, 3, 5, 0], [2, 4, 0, 0]])[:, :, None, None].expand(2, 4, 2, 2)
    mask = torch.tensor([[True, True, True, False], [True, True, False, False]])
    assert mean_map(maps, mask)[:, 0, 1].tolist() == [3, 3]
    # The official code divides by all places.
    assert mean_map(maps, torch.ones_like(mask))[:, 1, 0].tolist() == [2.25, 1.5]
    only = torch.tensor([[False, True, False, False], [False] * 4])
    assert mean_map(maps, only)[:, 0, 0].tolist() == [3, 0]


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_the_picture_alone_is_read_as_the_model_reads_it(drawn, pairs, pool):
    model = drawn(albef(pool=pool))
    seen = look_alone(model, *pairs)
    cosine = torch.cosine_similarity(model.encode_image(pairs[0]), model.encode_text(*pairs[1:]))
    torch.testing.assert_close(seen.score, cosine.detach())
    rows = grad_cam(seen.attention[1], seen.gradient[1])
    row = rows[:, 0] if pool == "cls" else rows[:, 1:].mean(1)
    expected = row[:, 1:].view(2, 2, 3)
    torch.testing.assert_close(picture_maps(model, *pairs), expected)
    torch.testing.assert_close(picture_maps(model, *pairs, layer=1), expected)
    assert not torch.equal(picture_maps(model, *pairs, layer=0), expected)
    assert expected.abs().sum() > 0


def test_maps_grow_to_the_picture():
    maps = torch.zeros(2, 3, 2, 3)
    maps[1, 2, 0, 2] = 1.0
    large = on_picture(maps, (20, 60))
    assert large.shape == (2, 3, 20, 60) and (large >= 0).all()
    row, column = divmod(int(large[1, 2].argmax()), 60)
    assert row < 10 and column >= 40 and large[0].sum() == 0


def test_pieces_become_words():
    pieces = ["[CLS]", "an", "un", "##ic", "##orn", "[SEP]"]
    assert whole_words(pieces) == [
        ("[CLS]", [0]),
        ("an", [1]),
        ("unicorn", [2, 3, 4]),
        ("[SEP]", [5]),
    ]
    assert whole_words(["##orn"]) == [("##orn", [0])] and whole_words([]) == []

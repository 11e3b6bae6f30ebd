import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.nn.vit import ConvStem, ViT, interpolate_positions, patchify, sincos_positions

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
SMALL = {"image_size": 8, "patch_size": 2, "width": 8, "depth": 2, "heads": 2}
sides = st.integers(1, 6)


def test_patchify_by_hand():
    """Two channels of 2 x 4 pixels, patches of 2: left then right; channel, row, column inside."""
    image = torch.arange(16).reshape(1, 2, 2, 4)
    left, right = [0, 1, 4, 5, 8, 9, 12, 13], [2, 3, 6, 7, 10, 11, 14, 15]
    assert patchify(image, 2).tolist() == [[left, right]]
    # Row by row: the picture turned on its side has its patches one under the other.
    assert patchify(image.reshape(1, 2, 4, 2), 2)[0, :, 0].tolist() == [0, 4]


@given(b=sides, c=sides, gh=sides, gw=sides, p=sides)
@settings(max_examples=20, deadline=None)
def test_patchify_loses_nothing(normal, b, c, gh, gw, p):
    image = normal(b, b, c, gh * p, gw * p)
    patches = patchify(image, p)
    assert patches.shape == (b, gh * gw, c * p * p)
    assert torch.equal(patches, F.unfold(image, p, stride=p).transpose(1, 2))
    back = F.fold(patches.transpose(1, 2), (gh * p, gw * p), p, stride=p)
    assert torch.equal(back, image)


def test_sincos_by_hand():
    """Width 8: two frequencies, 1 and 1/100; row 1 and column 2 of a 2 x 3 grid stand last."""
    table = sincos_positions((2, 3), 8, magnitude=2.0)
    assert table.shape == (1, 7, 8)
    assert (table[0, 0] == 0).all()
    row, column = (1, 0.01), (2, 0.02)
    by_hand = [f(x) for x_of in (row, column) for f in (math.sin, math.cos) for x in x_of]
    torch.testing.assert_close(table[0, -1], 2 * torch.tensor(by_hand))
    # The second frequency is one over the root of the base.
    by_hand = [0.5 * f(x) for x in (2, 2 / 4) for f in (math.sin, math.cos)]
    columns = sincos_positions((2, 3), 8, base=16.0)[0, -1, 4:]
    torch.testing.assert_close(columns[[0, 2, 1, 3]], torch.tensor(by_hand))
    assert sincos_positions((2, 3), 10).shape == (1, 7, 10)


@pytest.mark.parametrize("base", [10.0, 10_000.0])
@pytest.mark.parametrize(("grid", "width"), [((6, 6), 96), ((3, 8), 64), ((14, 14), 192)])
def test_sincos_tells_neighbours_apart_and_they_are_the_nearest(grid, width, base):
    places = sincos_positions(grid, width, base=base)[0, 1:].double()
    length = 0.5 * (width / 2) ** 0.5
    torch.testing.assert_close(places.norm(dim=1), torch.full((len(places),), length).double())
    distance = torch.cdist(places, places).fill_diagonal_(math.inf)
    assert distance.min() > (0.1 if base > 10 else 0.3) * length
    for place, nearest in enumerate(distance.argmin(dim=1).tolist()):
        (r, c), (r2, c2) = divmod(place, grid[1]), divmod(nearest, grid[1])
        assert abs(r - r2) + abs(c - c2) == 1


@given(seed=st.integers(0, 99), side=sides, gh=sides, gw=sides, offset=st.sampled_from([0, 0.1]))
@settings(max_examples=30, deadline=None)
def test_interpolated_positions_keep_the_class_token_and_the_same_grid(
    normal, seed, side, gh, gw, offset
):
    pos_embed = normal(seed, 1, 1 + side * side, 3)
    stretched = interpolate_positions(pos_embed, (gh, gw), offset)
    assert stretched.shape == (1, 1 + gh * gw, 3)
    assert torch.equal(stretched[:, :1], pos_embed[:, :1])
    assert torch.equal(interpolate_positions(pos_embed, (side, side), offset), pos_embed)
    flat = interpolate_positions(torch.ones_like(pos_embed), (gh, gw), offset)
    torch.testing.assert_close(flat, torch.ones_like(flat), **CLOSE)


def cubic(values, at):
    """Keys' cubic convolution with a = -0.75 at a place between values, the ends repeated."""
    a, first = -0.75, math.floor(at) - 1
    total = 0.0
    for k in range(first, first + 4):
        x = abs(at - k)
        near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * (x**3 - 5 * x**2 + 8 * x - 4)
        total += (near if x <= 1 else far) * values[min(max(k, 0), len(values) - 1)]
    return total


@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_interpolation_is_bicubic_and_knows_rows_from_columns(normal, offset):
    side, (gh, gw) = 4, (7, 3)
    of_row = normal(0, side)
    patches = of_row.repeat_interleave(side)[None, :, None]
    pos_embed = torch.cat([torch.zeros(1, 1, 1), patches], dim=1)
    grid = interpolate_positions(pos_embed, (gh, gw), offset)[0, 1:].reshape(gh, gw)
    where = [(row + 0.5) * side / (gh + offset) - 0.5 for row in range(gh)]
    by_hand = torch.stack([cubic(of_row, at) for at in where])
    torch.testing.assert_close(grid, by_hand[:, None].expand(gh, gw), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("size", [(8, 8), (4, 12)])
def test_tokens_are_class_token_and_projected_patches_at_their_positions(drawn, normal, clip, size):
    model, image = drawn(ViT(**SMALL, clip=clip)), normal(1, 3, 3, *size)
    projection = model.patch_embed.projection
    assert (projection.bias is None) is clip
    patches = patchify(image, 2) @ projection.weight.T + (0 if clip else projection.bias)
    positions = interpolate_positions(model.pos_embed, (size[0] // 2, size[1] // 2))
    expected = torch.cat([model.cls_token.expand(3, 1, 8), patches], dim=1) + positions
    if clip:
        expected = F.layer_norm(expected, (8,), model.norm_pre.weight, model.norm_pre.bias, 1e-6)
    torch.testing.assert_close(model.tokens(image), expected, **CLOSE)


@pytest.mark.parametrize("stem", ["patch", "conv"])
def test_the_model_norms_what_the_transformer_says(drawn, normal, stem):
    model, image = drawn(ViT(**SMALL, stem=stem)), normal(1, 2, 3, 4, 6)
    out = model(image)
    assert out.shape == (2, 1 + 2 * 3, 8)
    expected = model.transformer(model.tokens(image))
    expected = F.layer_norm(expected, (8,), model.norm.weight, model.norm.bias, 1e-6)
    torch.testing.assert_close(out, expected, **CLOSE)
    beside, maps = model(image, return_attention=True)
    torch.testing.assert_close(beside, out, **CLOSE)
    assert [m.shape for m in maps] == [(2, 2, 7, 7)] * 2
    # A picture does not know its neighbours in the batch.
    torch.testing.assert_close(model(image[1:]), out[1:], **CLOSE)


@pytest.mark.parametrize("patch_size", [2, 4, 8, 16])
def test_the_convolutional_stem_halves_to_one_token_a_patch_in_its_place(patch_size):
    """With centred kernels and no norms, a token sees most of the first pixel of its patch."""
    stem = ConvStem(patch_size, 8).double()
    stem.layers = torch.nn.Sequential(
        *(layer for layer in stem.layers if not isinstance(layer, torch.nn.BatchNorm2d))
    )
    for parameter in stem.parameters():
        torch.nn.init.constant_(parameter, 0.1)
        if parameter.ndim == 4:
            middle = parameter.shape[-1] // 2
            torch.nn.init.ones_(parameter[:, :, middle, middle])
    image = torch.zeros(6, 3, 3 * patch_size, 2 * patch_size, dtype=torch.float64)
    for place in range(6):
        row, column = divmod(place, 2)
        image[place, :, row * patch_size, column * patch_size] = 1
    tokens = stem(image)
    assert tokens.shape == (6, 6, 8)
    assert (tokens - stem(torch.zeros_like(image))).sum(-1).argmax(1).tolist() == list(range(6))


def test_the_convolutional_stem_has_two_convolutions_a_halving_but_for_the_first():
    layers = ConvStem(8, 96).layers
    shapes = [(m.in_channels, m.out_channels, m.stride[0], m.kernel_size[0]) for m in layers
              if isinstance(m, torch.nn.Conv2d)]  # fmt: skip
    assert shapes == [(3, 24, 2, 3), (24, 48, 2, 3), (48, 48, 1, 3), (48, 96, 2, 3), (96, 96, 1, 3),
                      (96, 96, 1, 1)]  # fmt: skip


def test_start_weights():
    torch.manual_seed(0)
    model = ViT(**SMALL | {"width": 64})
    assert model.pos_embed.std().item() == pytest.approx(0.02, rel=0.1)
    assert model.cls_token.std().item() == pytest.approx(0.02, rel=0.4)
    wide = 0.02 * (768 / 64) ** 0.5
    weight = model.patch_embed.projection.weight
    assert weight.std().item() == pytest.approx(wide * 0.8796, rel=0.1)
    assert weight.abs().max() <= 2 * wide
    placed = ViT(**SMALL, positions="sincos").pos_embed
    assert placed.requires_grad
    assert torch.equal(placed, sincos_positions((4, 4), 8, magnitude=1.0, base=10.0))


def test_errors_name_the_numbers():
    with pytest.raises(ValueError, match="image_size 9 .* patch 2"):
        ViT(**SMALL | {"image_size": 9})
    with pytest.raises(ValueError, match="50 x 47 pixels .* patches of 2"):
        ViT(**SMALL)(torch.zeros(1, 3, 50, 47))
    for size in (1, 6):
        with pytest.raises(ValueError, match=f"patch_size {size} is not a power of two"):
            ConvStem(size, 8)


def test_base_has_the_published_number_of_weights(count_weights):
    base = {"image_size": 224, "patch_size": 16, "width": 768, "depth": 12, "heads": 12}
    assert count_weights(lambda: ViT(**base)) == 85_798_656
    # CLIP's: a norm more, the patch projection's bias less.
    assert count_weights(lambda: ViT(**base, clip=True)) == 85_798_656 + 2 * 768 - 768


def test_an_edit_changes_the_patches_before_class_token_and_positions(drawn, normal):
    vit = drawn(ViT(image_size=8, patch_size=4, width=12, depth=1, heads=2))
    image, seen = normal(0, 2, 3, 8, 8), []

    def edit(patches):
        seen.append(patches)
        return torch.zeros_like(patches)

    tokens = vit.tokens(image, edit)
    assert torch.equal(seen[0], vit.patch_embed(image))
    assert torch.equal(tokens[:, 1:], vit.pos_embed[:, 1:].expand(2, -1, -1))
    assert torch.equal(tokens[:, 0], vit.tokens(image)[:, 0])
    expected = vit.norm(vit.transformer(tokens))
    assert torch.equal(vit(image, edit=edit), expected)
    assert torch.equal(vit(image, edit=lambda patches: patches), vit(image))

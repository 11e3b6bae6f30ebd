import numpy as np
import pytest
import torch

from minivl.models.flava import MultimodalEncoder
from minivl.nn.co_attention import CoAttentionEncoder
from minivl.nn.fusion import FusionEncoder
from minivl.visualize.fusions import fusions, hears, in_words, work

N, T, WIDTH = 4, 3, 8
WORDS = torch.ones(1, T, dtype=torch.bool)


def merged(depth=1):
    torch.manual_seed(0)
    encoder = MultimodalEncoder(WIDTH, depth, 2)
    return encoder, lambda image, text: encoder(image, text, WORDS)


def co(depth=1):
    torch.manual_seed(0)
    encoder = CoAttentionEncoder(WIDTH, depth, 2)
    return encoder, lambda image, text: torch.cat(encoder(text, image)[::-1], dim=1)


def cross(depth=1):
    torch.manual_seed(0)
    encoder = FusionEncoder(WIDTH, depth, 2, norm="pre")
    return encoder, lambda image, text: torch.cat([image, encoder(text, image)], dim=1)


def grid(make, depth=1):
    return hears(make(depth)[1], N, T, WIDTH)


def test_merged_attention_hears_of_everything_at_once():
    assert grid(merged).shape == (1 + N + T, N + T) and grid(merged).all()


def test_co_attention_hears_of_the_other_side_first_and_of_its_own_from_the_second_block_on():
    once = grid(co)
    assert once[:N, N:].all() and once[N:, :N].all()
    np.testing.assert_array_equal(once[:N, :N], np.eye(N, dtype=bool))
    np.testing.assert_array_equal(once[N:, N:], np.eye(T, dtype=bool))
    assert grid(co, 2).all()


def test_in_cross_attention_the_picture_never_hears_a_word():
    for depth in (1, 2):
        found = grid(cross, depth)
        assert found[N:].all() and not found[:N, N:].any()
        np.testing.assert_array_equal(found[:N, :N], np.eye(N, dtype=bool))


COST = [
    (merged, (1 + N + T) ** 2, 12 * (1 + N + T)),
    (co, 2 * N * T, 12 * (N + T)),
    (cross, T * T + T * N, 14 * T + 2 * N),
]
"""Products of queries and keys, and the linear layers' multiplications by width²."""


@pytest.mark.parametrize(("make", "products", "linear"), COST)
@pytest.mark.parametrize("depth", [1, 3])
def test_the_work_that_is_counted_is_that_of_the_formula(make, products, linear, depth):
    encoder, fuse = make(depth)
    image, text = torch.zeros(1, N, WIDTH), torch.zeros(1, T, WIDTH)
    each = linear * WIDTH**2 + 2 * products * WIDTH
    assert work(encoder, lambda: fuse(image, text)) == (depth * products, depth * each)
    assert not any(part._forward_hooks for part in encoder.modules())


@pytest.mark.parametrize("make", [merged, co, cross])
def test_the_work_of_a_batch_is_that_of_its_pairs_together(make):
    encoder, fuse = make()
    if make is merged:
        many = torch.ones(5, T, dtype=torch.bool)
        fuse = lambda image, text: encoder(image, text, many[: len(text)])  # noqa: E731
    one, five = (
        work(encoder, lambda: fuse(torch.zeros(b, N, WIDTH), torch.zeros(b, T, WIDTH)))  # noqa: B023
        for b in (1, 5)
    )
    assert five == (5 * one.products, 5 * one.multiplications)


def test_an_error_leaves_no_hook_behind():
    encoder, _ = co()
    with pytest.raises(ZeroDivisionError):
        work(encoder, lambda: 1 / 0)
    assert not any(part._forward_hooks for part in encoder.modules())


def heard():
    makes = {"merged attention": merged, "co-attention": co, "cross-attention": cross}
    return {
        name: {"after one block": grid(make), "after two": grid(make, 2)}
        for name, make in makes.items()
    }


def test_grids_are_legible_and_told(check_legible):
    figure = fusions(heard(), N)
    check_legible(figure)
    alt = figure.caption.alt
    assert "merged attention, after one block: the class token hears of all patches" in alt
    assert "patches hear of only their own patches and all words" in alt
    assert "cross-attention, after two: patches hear of only their own patches and no words" in alt


def test_other_rows_of_grids_are_refused():
    grids = heard()
    grids["co-attention"].pop("after two")
    with pytest.raises(ValueError, match="same grids"):
        fusions(grids, N)


def test_what_is_neither_all_nor_nothing_is_said():
    some = np.array([[True, False, True], [False, False, True], [True, True, True]])
    assert in_words(some, 2) == (
        "patches hear of some patches and all words; words hear of all patches and all words"
    )

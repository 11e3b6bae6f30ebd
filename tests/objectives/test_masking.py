"""What is hidden: blocks against a slow oracle, words against obvious loops, and what holds."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.objectives.masking import (
    IGNORE,
    blockwise_mask,
    fill_up,
    mask_tokens,
    replace_masked,
    whole_words,
)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


# --- blocks


def slow_blocks(gh, gw, count, generator, min_block, aspect):
    """BEiT's loop on a set of cells, one cell at a time."""
    hidden, refused = set(), 0
    while len(hidden) < count and refused < 10:
        u = [float(x) for x in torch.rand(4, generator=generator, dtype=torch.float64)]
        left = count - len(hidden)
        area = u[0] * left + (1 - u[0]) * min_block
        ratio = math.exp(u[1] * math.log(aspect[1]) + (1 - u[1]) * math.log(aspect[0]))
        h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        refused += 1
        if h >= gh or w >= gw:
            continue
        top = next(t for t in range(gh - h + 1) if u[2] * (gh - h + 1) < t + 1)
        first = next(t for t in range(gw - w + 1) if u[3] * (gw - w + 1) < t + 1)
        block = {(y, x) for y in range(top, top + h) for x in range(first, first + w)} - hidden
        if block and len(block) <= left:
            hidden |= block
            refused = 0
    return torch.tensor([[(y, x) in hidden for x in range(gw)] for y in range(gh)])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    gh=st.integers(1, 15),
    gw=st.integers(1, 15),
    share=st.floats(0, 1),
    min_block=st.integers(1, 20),
    low=st.floats(0.2, 1.0),
)
def test_blocks_are_those_of_a_slow_loop_filled_up_to_the_count(
    seed, gh, gw, share, min_block, low
):
    count, aspect = round(share * gh * gw), (low, 1.5 / low)
    short = blockwise_mask(gh, gw, count, seeded(seed), min_block, aspect, exact=False)
    assert torch.equal(short, slow_blocks(gh, gw, count, seeded(seed), min_block, aspect))
    full = blockwise_mask(gh, gw, count, seeded(seed), min_block, aspect)
    assert full.dtype == torch.bool and full.shape == (gh, gw)
    assert full.sum() == count >= short.sum()
    assert (full >= short).all()


def test_flavas_masks_hold_75_cells_in_blocks_and_seldom_the_corners():
    masks = torch.stack([blockwise_mask(14, 14, 75, seeded(seed)) for seed in range(300)])
    assert (masks.sum(dim=(1, 2)) == 75).all()
    pairs = (masks[:, 1:] & masks[:, :-1]).sum() + (masks[:, :, 1:] & masks[:, :, :-1]).sum()
    assert 1.6 < pairs / masks.sum() < 1.75
    often = masks.double().mean(dim=0)
    assert often[0, 0] < 0.1 and often[7, 7] > 0.6


def test_beits_masks_fall_short_in_a_third():
    counts = torch.tensor(
        [int(blockwise_mask(14, 14, 75, seeded(s), exact=False).sum()) for s in range(1000)]
    )
    assert counts.max() == 75 and counts.min() >= 60
    assert counts.double().mean() == pytest.approx(74.5, abs=0.2)
    assert (counts == 75).double().mean() == pytest.approx(0.67, abs=0.05)


def test_small_grids_reach_their_number_in_blocks_nearly_always():
    for side, count, least in ((8, 25, 4), (7, 19, 4), (4, 6, 2)):
        full = [
            int(blockwise_mask(side, side, count, seeded(s), least, exact=False).sum()) == count
            for s in range(300)
        ]
        assert sum(full) / 300 > 0.9


def test_the_generator_alone_decides():
    one, other = seeded(3), seeded(3)
    torch.manual_seed(0)
    first = [blockwise_mask(14, 14, 75, one) for _ in range(4)]
    torch.manual_seed(1)
    second = [blockwise_mask(14, 14, 75, other) for _ in range(4)]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not any(torch.equal(first[0], mask) for mask in first[1:])


@pytest.mark.parametrize("count", [-1, 13])
def test_a_number_that_does_not_fit_is_named(count):
    with pytest.raises(ValueError, match=rf"3 x 4 cells cannot hide {count}: ask for 0 to 12"):
        blockwise_mask(3, 4, count, seeded(0))


def test_filling_up_keeps_the_mask_and_leaves_it_as_it_was():
    mask = torch.tensor([[True, False], [False, False]])
    often = torch.zeros(2, 2)
    for seed in range(300):
        more = fill_up(mask, 1, seeded(seed))
        assert more.sum() == 2 and more[0, 0]
        often += more
    assert mask.sum() == 1
    assert often[0, 0] == 300 and (often.flatten()[1:] - 100).abs().max() < 40


# --- patches


def test_the_token_stands_in_hidden_places_only(normal):
    x, token = normal(0, 3, 5, 4), normal(1, 4)
    mask = torch.rand(3, 5, generator=seeded(2)) < 0.5
    given = x.clone()
    out = replace_masked(x, token, mask)
    for i in range(3):
        for j in range(5):
            assert torch.equal(out[i, j], token if mask[i, j] else x[i, j])
    assert torch.equal(x, given)
    assert torch.equal(replace_masked(x, token, torch.zeros_like(mask)), x)
    narrow = replace_masked(x.bfloat16(), token.float(), mask)
    assert narrow.dtype == torch.bfloat16


def test_gradients_of_hidden_patches_go_to_the_token(normal):
    x, token = normal(0, 2, 3, 2).requires_grad_(), normal(1, 2).requires_grad_()
    mask = torch.tensor([[True, False, True], [False, False, True]])
    weights = normal(3, 2, 3, 2)
    (replace_masked(x, token, mask) * weights).sum().backward()
    assert torch.equal(x.grad, weights * ~mask[..., None])
    torch.testing.assert_close(token.grad, weights[mask].sum(dim=0))


# --- words


def slow_words(ids, special, select, action, others, mask_id, probability):
    out, labels = [], []
    for row in range(len(ids)):
        out.append([])
        labels.append([])
        for place in range(ids.shape[1]):
            word = int(ids[row, place])
            chosen = not special[row, place] and select[row, place] < probability
            labels[-1].append(word if chosen else -100)
            if chosen and action[row, place] < 0.8:
                word = mask_id
            elif chosen and action[row, place] < 0.9:
                word = int(others[row, place])
            out[-1].append(word)
    return torch.tensor(out).view_as(ids), torch.tensor(labels).view_as(ids)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    b=st.integers(1, 4),
    t=st.integers(0, 9),
    probability=st.sampled_from((0.0, 0.15, 0.5, 1.0)),
)
def test_words_are_masked_as_by_a_slow_loop(seed, b, t, probability):
    generator = seeded(seed)
    ids, others = (torch.randint(50, (b, t), generator=generator) for _ in range(2))
    select, action = (torch.rand(b, t, generator=generator) for _ in range(2))
    special = torch.rand(b, t, generator=generator) < 0.2
    given_ids = ids.clone()
    got = mask_tokens(ids, special, select, action, others, 99, probability)
    expected = slow_words(ids, special, select, action, others, 99, probability)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    assert torch.equal(ids, given_ids)


def test_shares_of_many_words():
    n = 200_000
    generator = seeded(0)
    select, action = torch.rand(2, 1, n, generator=generator)
    ids, none = torch.full((1, n), 7), torch.zeros(1, n, dtype=torch.bool)
    out, labels = mask_tokens(ids, none, select, action, torch.full((1, n), 9), 4)
    asked = labels != IGNORE
    assert asked.float().mean() == pytest.approx(0.15, abs=0.003)
    for word, share in ((4, 0.8), (9, 0.1), (7, 0.1)):
        assert (out[asked] == word).float().mean() == pytest.approx(share, abs=0.01)
    assert (out[~asked] == 7).all()


def test_special_tokens_and_nothing_else_may_all_be_left_out():
    ids = torch.tensor([[1, 5, 2, 0]])
    draws = torch.zeros(1, 4)
    out, labels = mask_tokens(ids, torch.ones_like(ids).bool(), draws, draws, ids, 4)
    assert torch.equal(out, ids) and (labels == IGNORE).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), b=st.integers(1, 3), t=st.integers(0, 12))
def test_all_pieces_of_a_word_share_its_first_draw(seed, b, t):
    generator = seeded(seed)
    u = torch.rand(b, t, generator=generator)
    inside = torch.rand(b, t, generator=generator) < 0.5
    inside[:, :1] = False
    shared = whole_words(u, inside)
    for row in range(b):
        draw = None
        for place in range(t):
            draw = draw if inside[row, place] else u[row, place]
            assert shared[row, place] == draw


def test_a_piece_without_its_beginning_shares_the_first_place():
    u = torch.tensor([[0.3, 0.6, 0.9]])
    assert whole_words(u, torch.tensor([[True, True, False]])).tolist() == [
        pytest.approx([0.3, 0.3, 0.9])
    ]

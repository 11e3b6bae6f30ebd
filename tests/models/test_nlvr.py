"""Two pictures: who looks at which, what is shared, and to which picture a sentence is assigned."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.models.finetune import Choice, Finetuned
from minivl.models.nlvr import (
    LEFT,
    NEITHER,
    RIGHT,
    TextAssignment,
    TwoPicturesExit,
    assign_pictures,
)
from minivl.nn.bert import fusion_block
from minivl.objectives.masking import IGNORE

CLOSE = {"rtol": 1e-10, "atol": 1e-10}


@pytest.fixture
def batch(normal):
    generator = torch.Generator().manual_seed(1)
    return {
        "images": normal(0, 5, 2, 3, 12, 12),
        "input_ids": torch.randint(5, 23, (5, 6), generator=generator),
        "attention_mask": torch.arange(6) < torch.tensor([6, 4, 3, 6, 5]).unsqueeze(1),
        "answer_shares": F.one_hot(torch.tensor([0, 1, 1, 0, 1]), 2).double(),
    }


def test_words_look_at_the_left_picture_and_the_right_one_in_turn(drawn, batch, encoders):
    exit = drawn(TwoPicturesExit(encoders("post")))
    model, seen = exit.model, batch["attention_mask"]
    tokens = [model.image_encoder(batch["images"][:, side]) for side in (0, 1)]
    words = model.text_encoder(batch["input_ids"], seen)
    stack = [block for pair in exit.blocks() for block in pair]
    assert len(stack) == 4
    for number, block in enumerate(stack):
        words = fusion_block(
            words,
            tokens[number % 2],
            lambda x, block=block: block.self_attention(x, None, seen),
            lambda x, image, block=block: block.cross_attention(x, image),
            block.mlp,
            block.norm1,
            block.norm2,
            block.norm3,
        )
    torch.testing.assert_close(exit(batch), words[:, 0], **CLOSE)


def test_the_last_norm_of_pre_norm_blocks_is_the_right_ones(drawn, batch, encoders):
    exit = drawn(TwoPicturesExit(encoders("pre")))
    exit.second.norm = torch.nn.Identity()
    bare = exit(batch)
    exit.second.norm = norm = torch.nn.LayerNorm(12, dtype=torch.float64)
    torch.testing.assert_close(exit(batch), norm(bare), **CLOSE)


def test_a_pair_shares_keys_and_values_and_nothing_else(encoders):
    exit = TwoPicturesExit(encoders())
    for left, right in exit.blocks():
        ours, theirs = dict(left.named_parameters()), dict(right.named_parameters())
        shared = {name for name in ours if ours[name] is theirs[name]}
        kinds = [f"cross_attention.{part}_proj" for part in "kv"]
        assert shared == {f"{kind}.{of}" for kind in kinds for of in ("weight", "bias")}
    # A copy of the pretrained block each.
    first, second = (stack.state_dict() for stack in (exit.model.fusion_encoder, exit.second))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_twin_shares_what_the_model_shares(encoders):
    exit = TwoPicturesExit(encoders())
    model = Finetuned(exit, Choice(exit.width, 2), distill=True)
    for left, right in model.twin.exit.blocks():
        assert left.cross_attention.k_proj is right.cross_attention.k_proj
        assert left.self_attention.k_proj is not right.self_attention.k_proj
    ours = {p.data_ptr() for p in model.exit.parameters()}
    assert not ours & {p.data_ptr() for p in model.twin.parameters()}


def test_both_pictures_and_their_order_count(drawn, batch, encoders):
    exit = drawn(TwoPicturesExit(encoders()))
    found = exit(batch)
    for side in (0, 1):
        changed = batch["images"].clone()
        changed[2, side] += 1
        other = exit(batch | {"images": changed})
        assert (other - found).abs().amax(dim=1).gt(1e-6).tolist() == [False] * 2 + [True] + [
            False
        ] * 2
    assert (exit(batch | {"images": batch["images"].flip(1)}) - found).abs().min() > 1e-9
    longer = batch | {
        name: F.pad(batch[name], (0, 2), value=value)
        for name, value in (("input_ids", 9), ("attention_mask", False))
    }
    torch.testing.assert_close(exit(longer), found, **CLOSE)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_what_learns_is_exactly_what_is_read(drawn, batch, encoders, norm):
    exit = TwoPicturesExit(encoders(norm))
    model = drawn(Finetuned(exit, Choice(exit.width, 2, hidden=7), distill=True))
    learns = {name for name, p in model.named_parameters() if p.requires_grad}
    model.exit.requires_grad_(True)
    model(batch)["classification"].backward()
    assert learns == {name for name, p in model.named_parameters() if p.grad is not None}


# Text assignment.


def test_each_of_three_answers_is_as_frequent_and_wrong_pictures_are_wrong():
    count = 3000
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(count, 40, generator=generator)
    own = torch.arange(count) % 40
    weights = weights.scatter(1, own.unsqueeze(1), 0.0)
    u = torch.rand(3, count, generator=generator)
    # Rows beyond the fortieth stand for further sentences of the same forty pictures.
    parts = [assign_pictures(weights[i : i + 40], u[:, i : i + 40]) for i in range(0, count, 40)]
    left, right, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    assert labels.unique(return_counts=True)[1].sub(1000).abs().max() < 130
    assert torch.equal(left == own, labels == LEFT)
    assert torch.equal(right == own, labels == RIGHT)
    assert (left != right).all()
    hard = weights.scatter(1, ((own + 1) % 40).unsqueeze(1), 1e3)
    left, right, labels = assign_pictures(hard[:40], u[:, :40])
    wrong = torch.where(labels == LEFT, right, left)
    assert (wrong == (own[:40] + 1) % 40).float().mean() > 0.8


@given(st.integers(1, 5), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_where_wrong_pictures_are_too_few_nothing_is_asked(size, seed):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(size, size, generator=generator)
    weights[torch.rand(size, size, generator=generator) < 0.5] = 0
    weights.fill_diagonal_(0)
    u = torch.rand(3, size, generator=generator)
    left, right, labels = assign_pictures(weights, u)
    wrong = (weights > 0).sum(1)
    wanted = (3 * u[0]).long().clamp(max=2)
    needed = torch.where(wanted == NEITHER, 2, 1)
    assert torch.equal(labels, torch.where(wrong >= needed, wanted, IGNORE))
    assert ((left >= 0) & (right >= 0) & (left < size) & (right < size)).all()
    for row in range(size):
        shown = {"left": left[row].item(), "right": right[row].item()}
        if labels[row] in (LEFT, RIGHT):
            own = "left" if labels[row] == LEFT else "right"
            assert shown.pop(own) == row
        if labels[row] != IGNORE:
            assert all(weights[row, picture] > 0 for picture in shown.values())


def test_assignment_is_judged_on_pictures_encoded_once(drawn, batch, encoders, monkeypatch):
    model = drawn(TextAssignment(TwoPicturesExit(encoders())))
    one = {"image": batch["images"][:, 0]} | {
        name: batch[name] for name in ("input_ids", "attention_mask")
    }
    u = torch.tensor([[0.1, 0.5, 0.9, 0.1, 0.9], [0.3] * 5, [0.6] * 5]).double()
    monkeypatch.setattr(torch, "rand", lambda *shape, device=None: u.reshape(shape))
    tokens = model.exit.model.image_tokens(one["image"])
    vectors = F.normalize(model.exit.model.encode_image(one["image"]), dim=1)
    weights = (vectors @ vectors.T / 0.07).fill_diagonal_(-torch.inf).softmax(1)
    left, right, labels = assign_pictures(weights, u)
    assert labels.tolist() == [LEFT, RIGHT, NEITHER, LEFT, NEITHER]
    pairs = torch.stack([one["image"][left], one["image"][right]], dim=1)
    logits = model.head(model.exit(one | {"images": pairs}))
    loss = model(one)["assignment"]
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels), **CLOSE)
    right_ones = (logits.argmax(1) == labels).double().mean().item()
    assert model.monitors["assignment_accuracy"].item() == pytest.approx(right_ones)
    loss.backward()
    learns = {name for name, p in model.named_parameters() if p.requires_grad}
    assert learns == {name for name, p in model.named_parameters() if p.grad is not None}
    assert tokens.requires_grad


def test_the_mean_over_sentences_is_that_of_all_processes(drawn, batch, encoders):
    """Another process judges one sentence; this one all of its five."""
    model = drawn(TextAssignment(TwoPicturesExit(encoders()))).train()
    one = {"image": batch["images"][:, 0]} | {
        name: batch[name] for name in ("input_ids", "attention_mask")
    }
    found = {}
    for gather in (None, lambda counts: torch.cat([counts, torch.ones_like(counts)])):
        model.gather = gather
        torch.manual_seed(3)
        found[gather is None] = model(one)["assignment"]
        model.eval()
        torch.manual_seed(3)
        torch.testing.assert_close(model(one)["assignment"], found[True], **CLOSE)
        model.train()
    torch.testing.assert_close(found[False], found[True] * 5 / 3, **CLOSE)


def test_equal_captions_are_no_wrong_pictures(drawn, batch, encoders):
    model = drawn(TextAssignment(TwoPicturesExit(encoders())))
    one = {"image": batch["images"][:, 0], "attention_mask": batch["attention_mask"]}
    loss = model(one | {"input_ids": batch["input_ids"][:1].expand(5, -1)})["assignment"]
    assert loss.item() == 0
    loss.backward()


def test_it_learns_one_batch_by_heart(batch, encoders):
    torch.manual_seed(0)
    exit = TwoPicturesExit(encoders())
    model = Finetuned(exit, Choice(exit.width, 2, hidden=16), distill=True).train()
    # The same words everywhere, and pictures exchanged: their order alone decides.
    images = batch["images"].float()
    batch = {
        "images": torch.cat([images, images.flip(1)]),
        "input_ids": batch["input_ids"][:1].expand(10, -1),
        "attention_mask": torch.ones(10, 6, dtype=torch.bool),
        "answer_shares": F.one_hot(torch.arange(10) // 5, 2).float(),
    }
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        model(batch)["classification"].backward()
        optimizer.step()
    assert model.eval().scores(batch).argmax(1).tolist() == [0] * 5 + [1] * 5

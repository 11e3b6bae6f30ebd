"""An exit and a head: what is read, what learns, what stays."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from minivl.models.finetune import Finetuned, PairExit, TextExit, freeze
from minivl.models.flava import Flava, MultimodalEncoder
from minivl.nn.bert import Bert
from minivl.nn.vit import ViT

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
WIDTH = 12


def build(norm="pre"):
    vit = ViT(image_size=12, patch_size=4, width=WIDTH, depth=2, heads=2)
    bert = Bert(vocab_size=23, width=WIDTH, depth=2, heads=2, max_length=16, norm=norm)
    mixed = MultimodalEncoder(16, 2, 4)
    return Flava(vit, bert, mixed, embed_dim=8, objectives=("contrastive",))


@pytest.fixture
def batch(normal):
    generator = torch.Generator().manual_seed(1)
    seen = torch.arange(6) < torch.tensor([6, 4, 3, 6, 5]).unsqueeze(1)
    return {
        "image": normal(0, 5, 3, 12, 12),
        "input_ids": torch.randint(5, 23, (5, 6), generator=generator),
        "attention_mask": seen,
        "token_type_ids": (torch.arange(6) > 2).long().expand(5, 6),
        "labels": torch.tensor([0, 2, 1, 2, 2]),
    }


def test_scores_are_two_layers_on_the_pairs_class_token(drawn, batch):
    model = drawn(Finetuned(PairExit(build()), 3, hidden=7))
    flava = model.exit.flava
    states = flava.encode_pair(batch["image"], batch["input_ids"], batch["attention_mask"])
    first, second = (layer for layer in model.head if isinstance(layer, nn.Linear))
    assert first.weight.shape == (7, 16) and second.weight.shape == (3, 7)
    hidden = (states[:, 0] @ first.weight.T + first.bias).clamp(min=0)
    expected = hidden @ second.weight.T + second.bias
    torch.testing.assert_close(model.scores(batch), expected, **CLOSE)
    loss = model.losses(batch)["classification"]
    own = expected.log_softmax(1)[range(5), batch["labels"]]
    torch.testing.assert_close(loss, -own.mean(), **CLOSE)
    right = (expected.argmax(1) == batch["labels"]).double().mean().item()
    assert model.monitors["accuracy"].item() == pytest.approx(right)
    torch.testing.assert_close(model(batch)["classification"], loss, **CLOSE)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_sentences_go_through_the_text_encoder_with_their_segments(drawn, batch, norm):
    exit = drawn(TextExit(build(norm)))
    bert = exit.flava.text_encoder
    types = batch["token_type_ids"]
    expected = bert(batch["input_ids"], batch["attention_mask"], token_type_ids=types)[:, 0]
    torch.testing.assert_close(exit(batch), expected, **CLOSE)
    other = exit(batch | {"token_type_ids": torch.zeros_like(types)})
    assert (other - expected).abs().max() > 1e-3
    del batch["image"]
    exit(batch)


@pytest.mark.parametrize("make", [PairExit, TextExit])
def test_padding_is_not_read(drawn, batch, make):
    exit = drawn(make(build()))
    longer = dict(batch)
    for name, value in (("input_ids", 9), ("attention_mask", False), ("token_type_ids", 0)):
        longer[name] = F.pad(batch[name], (0, 3), value=value)
    torch.testing.assert_close(exit(longer), exit(batch), **CLOSE)


@pytest.mark.parametrize("make", [PairExit, TextExit])
def test_what_learns_is_exactly_what_the_exit_reads(drawn, batch, make):
    # Several processes would wait for ever for the gradient of anything else.
    model = drawn(Finetuned(make(build()), 3, hidden=7))
    learns = {name for name, p in model.named_parameters() if p.requires_grad}
    model.requires_grad_(True)
    model.losses(batch)["classification"].backward()
    read = {name for name, p in model.named_parameters() if p.grad is not None}
    assert learns == read
    assert any("text_encoder.transformer" in name for name in learns)
    assert ("exit.flava.multimodal_encoder.cls_token" in learns) == (make is PairExit)


def test_dropout_is_between_the_heads_layers_in_training_only(drawn, batch):
    model = drawn(Finetuned(PairExit(build()), 3, hidden=64, dropout=0.5))
    assert torch.equal(model.scores(batch), model.scores(batch))
    model.train()
    assert not torch.equal(model.scores(batch), model.scores(batch))
    torch.testing.assert_close(model.exit(batch), model.exit(batch), **CLOSE)


def test_a_new_head_starts_without_an_opinion(batch):
    torch.manual_seed(0)
    batch["image"] = batch["image"].float()
    for answers in (2, 50):
        batch["labels"] = batch["labels"] % answers
        model = Finetuned(PairExit(build()), answers, hidden=64)
        loss = model.losses(batch)["classification"].item()
        assert abs(loss - math.log(answers)) < 0.5


def test_any_model_with_an_exit_can_be_finetuned():
    class Length(nn.Module):
        width = 2

        def forward(self, batch):
            long = batch["attention_mask"].sum(1, dtype=torch.float32)
            return torch.stack([long, torch.ones_like(long)], dim=1)

    torch.manual_seed(0)
    model = Finetuned(Length(), 2, hidden=8)
    seen = torch.arange(6) < torch.tensor([6, 1, 2, 5, 6, 1]).unsqueeze(1)
    batch = {"attention_mask": seen, "labels": torch.tensor([1, 0, 0, 1, 1, 0])}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        model(batch)["classification"].backward()
        optimizer.step()
    assert model.scores(batch).argmax(1).tolist() == [1, 0, 0, 1, 1, 0]


def test_freezing_names_modules_and_parameters_not_beginnings_of_names():
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "ab": nn.Linear(2, 2)})
    freeze(model, ["a", "ab.bias"])
    learns = {name for name, p in model.named_parameters() if p.requires_grad}
    assert learns == {"ab.weight"}

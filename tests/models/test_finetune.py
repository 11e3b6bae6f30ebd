"""An exit, a head and a twin: what is read, what learns, what stays."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from minivl.models.finetune import Choice, Finetuned, PairExit, TextExit, WordsExit, freeze
from minivl.models.flava import Flava, MultimodalEncoder
from minivl.nn.bert import Bert
from minivl.nn.vit import ViT

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
WIDTH = 12


def flava(norm="pre"):
    vit = ViT(image_size=12, patch_size=4, width=WIDTH, depth=2, heads=2)
    bert = Bert(vocab_size=23, width=WIDTH, depth=2, heads=2, max_length=16, norm=norm)
    mixed = MultimodalEncoder(16, 2, 4)
    return Flava(vit, bert, mixed, embed_dim=8, objectives=("contrastive",))


@pytest.fixture(params=["flava", "albef"])
def build(request, encoders):
    """Builds a model of either kind."""
    return flava if request.param == "flava" else encoders


@pytest.fixture
def batch(normal):
    generator = torch.Generator().manual_seed(1)
    seen = torch.arange(6) < torch.tensor([6, 4, 3, 6, 5]).unsqueeze(1)
    labels = torch.tensor([0, 2, 1, 2, 2])
    return {
        "image": normal(0, 5, 3, 12, 12),
        "input_ids": torch.randint(5, 23, (5, 6), generator=generator),
        "attention_mask": seen,
        "token_type_ids": (torch.arange(6) > 2).long().expand(5, 6),
        "answer_shares": F.one_hot(labels, 3).double(),
    }


def finetuned(exit, answers=3, **options):
    hidden = options.pop("hidden", 7)
    dropout = options.pop("dropout", 0.0)
    return Finetuned(exit, Choice(exit.width, answers, hidden=hidden, dropout=dropout), **options)


def test_scores_are_two_layers_on_the_pairs_class_token(drawn, batch, build):
    model = drawn(finetuned(PairExit(build())))
    pretrained, width = model.exit.model, model.exit.width
    states = pretrained.encode_pair(batch["image"], batch["input_ids"], batch["attention_mask"])
    first, second = (layer for layer in model.head.layers if isinstance(layer, nn.Linear))
    assert first.weight.shape == (7, width) and second.weight.shape == (3, 7)
    hidden = (states[:, 0] @ first.weight.T + first.bias).clamp(min=0)
    expected = hidden @ second.weight.T + second.bias
    torch.testing.assert_close(model.scores(batch), expected, **CLOSE)
    loss = model.losses(batch)["classification"]
    labels = batch["answer_shares"].argmax(1)
    own = expected.log_softmax(1)[range(5), labels]
    torch.testing.assert_close(loss, -own.mean(), **CLOSE)
    right = (expected.argmax(1) == labels).double().mean().item()
    assert model.monitors["accuracy"].item() == pytest.approx(right)
    torch.testing.assert_close(model(batch)["classification"], loss, **CLOSE)


def test_several_right_answers_count_by_their_shares(drawn, batch, build):
    model = drawn(finetuned(PairExit(build())))
    batch["answer_shares"][:2] = torch.tensor([[0.7, 0.0, 0.3], [0.0, 0.5, 0.5]])
    log_p = model.scores(batch).log_softmax(1)
    expected = -(batch["answer_shares"] * log_p).sum(1).mean()
    torch.testing.assert_close(model.losses(batch)["classification"], expected, **CLOSE)


def test_all_words_are_read_where_answers_are_said(drawn, batch, encoders):
    exit = drawn(WordsExit(encoders()))
    expected = exit.model.encode_pair(batch["image"], batch["input_ids"], batch["attention_mask"])
    torch.testing.assert_close(exit(batch), expected, **CLOSE)
    assert exit(batch).shape == (5, 6, WIDTH)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_sentences_go_through_the_text_encoder_with_their_segments(drawn, batch, build, norm):
    exit = drawn(TextExit(build(norm)))
    bert = exit.model.text_encoder
    types = batch["token_type_ids"]
    expected = bert(batch["input_ids"], batch["attention_mask"], token_type_ids=types)[:, 0]
    torch.testing.assert_close(exit(batch), expected, **CLOSE)
    other = exit(batch | {"token_type_ids": torch.zeros_like(types)})
    assert (other - expected).abs().max() > 1e-3
    del batch["image"]
    exit(batch)


@pytest.mark.parametrize("make", [PairExit, TextExit])
def test_padding_is_not_read(drawn, batch, build, make):
    exit = drawn(make(build()))
    longer = dict(batch)
    for name, value in (("input_ids", 9), ("attention_mask", False), ("token_type_ids", 0)):
        longer[name] = F.pad(batch[name], (0, 3), value=value)
    torch.testing.assert_close(exit(longer), exit(batch), **CLOSE)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("make", [PairExit, TextExit])
def test_what_learns_is_exactly_what_the_exit_reads(drawn, batch, build, make, norm):
    # Several processes would wait for ever for the gradient of anything else.
    model = drawn(finetuned(make(build(norm)), distill=True))
    learns = {name for name, p in model.named_parameters() if p.requires_grad}
    model.exit.requires_grad_(True)
    model.losses(batch)["classification"].backward()
    read = {name for name, p in model.named_parameters() if p.grad is not None}
    assert learns == read
    assert any("text_encoder.transformer" in name for name in learns)
    mixing = [name for name in learns if "multimodal_encoder" in name or "fusion_encoder" in name]
    assert bool(mixing) == (make is PairExit)


@pytest.mark.parametrize("on", [False, True])
def test_the_twins_dropout_is_on_in_training_where_asked_for(batch, encoders, on):
    exit = PairExit(encoders())
    model = finetuned(exit, distill=True, dropout=0.5, momentum_dropout=on).double().train()
    torch.manual_seed(0)
    doubts = [model.twin.logits(batch) for _ in range(2)]
    assert torch.equal(*doubts) != on
    assert not model.twin.training and model.head.layers[2].training
    doubts = [model.eval().twin.logits(batch) for _ in range(2)]
    assert torch.equal(*doubts)


def test_dropout_is_between_the_heads_layers_in_training_only(drawn, batch):
    model = drawn(finetuned(PairExit(flava()), hidden=64, dropout=0.5, distill=True))
    assert torch.equal(model.scores(batch), model.scores(batch))
    model.train()
    assert not torch.equal(model.scores(batch), model.scores(batch))
    torch.testing.assert_close(model.exit(batch), model.exit(batch), **CLOSE)
    assert torch.equal(model.twin.scores(batch), model.twin.scores(batch))


def test_a_new_head_starts_without_an_opinion(batch):
    torch.manual_seed(0)
    batch["image"] = batch["image"].float()
    for answers in (2, 50):
        batch["answer_shares"] = F.one_hot(torch.arange(5) % answers, answers).float()
        model = finetuned(PairExit(flava()), answers, hidden=64)
        loss = model.losses(batch)["classification"].item()
        assert abs(loss - math.log(answers)) < 0.5


# The twin.


def test_a_twin_shares_in_what_is_to_be_found(drawn, batch, build):
    model = drawn(finetuned(PairExit(build()), distill=True))
    drawn(model.twin, seed=3)
    hard = batch["answer_shares"]
    log_p = model.scores(batch).log_softmax(1)
    soft = model.twin.scores(batch).softmax(1)
    label, belief = (-(t * log_p).sum(1).mean() for t in (hard, soft))
    assert abs(label - belief) > 1e-2
    for alpha in (0.0, 0.4, 1.0):
        model.alpha = alpha
        expected = (1 - alpha) * label + alpha * belief
        torch.testing.assert_close(model(batch)["classification"], expected, **CLOSE)


def test_a_twin_begins_as_a_copy_and_follows_with_each_training_forward(batch, build):
    torch.manual_seed(0)
    batch["image"], batch["answer_shares"] = batch["image"].float(), batch["answer_shares"].float()
    model = finetuned(PairExit(build()), distill=True).train()
    pairs = [
        (ours, dict(model.twin.named_parameters())[name])
        for name, ours in model.named_parameters()
        if not name.startswith("twin.")
    ]
    assert len(pairs) == len(list(model.twin.parameters()))
    assert all(torch.equal(ours, its) and not its.requires_grad for ours, its in pairs)
    with torch.no_grad():
        for ours, _ in pairs:
            ours += 1.0
    before = [its.clone() for _, its in pairs]
    with torch.no_grad():
        model(batch)
    model.eval()(batch)
    assert all(torch.equal(old, its) for old, (_, its) in zip(before, pairs, strict=True))
    model.train()(batch)
    for old, (ours, its) in zip(before, pairs, strict=True):
        torch.testing.assert_close(its, 0.995 * old + 0.005 * ours)
    model.momentum = 0.5
    model(batch)
    for old, (ours, its) in zip(before, pairs, strict=True):
        torch.testing.assert_close(its, 0.4975 * old + 0.5025 * ours)


def test_the_twin_has_moved_before_it_is_asked(drawn, batch):
    model = drawn(finetuned(PairExit(flava()), distill=True)).train()
    model.alpha = 1.0
    model.momentum = 0.0
    drawn(model.twin, seed=3)
    model.train()
    loss = model(batch)["classification"]
    # The twin is the model itself by now: the cross-entropy with it is its own entropy.
    p = model.scores(batch).softmax(1)
    torch.testing.assert_close(loss, -(p * p.log()).sum(1).mean(), **CLOSE)


def test_any_model_with_an_exit_can_be_finetuned():
    class Length(nn.Module):
        width = 2

        def forward(self, batch):
            long = batch["attention_mask"].sum(1, dtype=torch.float32)
            return torch.stack([long, torch.ones_like(long)], dim=1)

    torch.manual_seed(0)
    seen = torch.arange(6) < torch.tensor([6, 1, 2, 5, 6, 1]).unsqueeze(1)
    labels = torch.tensor([1, 0, 0, 1, 1, 0])
    batch = {"attention_mask": seen, "answer_shares": F.one_hot(labels, 2).float()}
    for distill in (False, True):
        model = finetuned(Length(), 2, hidden=8, distill=distill)
        optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=0.05)
        for _ in range(60):
            optimizer.zero_grad()
            model(batch)["classification"].backward()
            optimizer.step()
        assert model.scores(batch).argmax(1).tolist() == labels.tolist()


def test_freezing_names_modules_and_parameters_not_beginnings_of_names():
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "ab": nn.Linear(2, 2)})
    freeze(model, ["a", "ab.bias"])
    learns = {name for name, p in model.named_parameters() if p.requires_grad}
    assert learns == {"ab.weight"}

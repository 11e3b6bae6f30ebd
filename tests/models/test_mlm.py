import pytest
import torch
import torch.nn.functional as F

from minivl.models.mlm import Mlm
from minivl.nn.bert import Bert
from minivl.objectives import masked

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
WORDS = {"vocab_size": 20, "width": 8, "depth": 2, "heads": 2, "max_length": 6}
PAD, CLS, SEP, MASK = 0, 1, 2, 3


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def model(request, drawn):
    return drawn(Mlm(Bert(**WORDS), tied=request.param))


@pytest.fixture
def batch():
    ids = torch.tensor([[CLS, 7, MASK, SEP, PAD], [CLS, MASK, 19, MASK, SEP]])
    labels = torch.full_like(ids, -100)
    labels[0, 2], labels[1, 1], labels[1, 3], labels[1, 2] = 9, 8, 5, 19
    return {"mlm_input_ids": ids, "mlm_labels": labels, "attention_mask": ids != PAD}


def test_the_loss_scores_labelled_places_by_all_of_the_text(model, batch):
    given = {key: value.clone() for key, value in batch.items()}
    states = model.encode_text(batch["mlm_input_ids"], batch["attention_mask"])
    logits = model.predict(states)
    expected = F.cross_entropy(logits.flatten(0, 1), batch["mlm_labels"].flatten())
    losses = model(batch)
    assert list(losses) == ["mlm"]
    torch.testing.assert_close(losses["mlm"], expected, **CLOSE)
    asked = batch["mlm_labels"] != -100
    right = (logits.argmax(-1) == batch["mlm_labels"])[asked].double().mean()
    assert model.monitors["mlm_accuracy"].item() == pytest.approx(right.item())
    assert all(torch.equal(batch[key], given[key]) for key in given)


def test_only_labelled_rows_reach_the_head(model, batch, monkeypatch):
    seen = []
    head = model.head.dense
    head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    model(batch)
    assert seen == [(4, 8)]


def test_padding_and_its_length_do_not_reach_the_loss(model, batch):
    loss = model(batch)["mlm"]
    longer = {
        "mlm_input_ids": F.pad(batch["mlm_input_ids"], (0, 1), value=11),
        "mlm_labels": F.pad(batch["mlm_labels"], (0, 1), value=-100),
        "attention_mask": F.pad(batch["attention_mask"], (0, 1)),
    }
    longer["mlm_input_ids"][0, 4] = 17
    torch.testing.assert_close(model(longer)["mlm"], loss, **CLOSE)


def test_every_weight_learns(model, batch):
    model.zero_grad()
    model(batch)["mlm"].backward()
    still = {name for name, p in model.named_parameters() if p.grad.abs().max() < 1e-12}
    assert still == {name for name, _ in model.named_parameters() if "k_proj.bias" in name}


def test_a_batch_in_which_nothing_is_asked_is_a_zero_that_moves_nothing(model, batch):
    model.zero_grad()
    loss = model(batch | {"mlm_labels": torch.full_like(batch["mlm_labels"], -100)})["mlm"]
    assert loss == 0 and model.monitors["mlm_accuracy"] == 0
    loss.backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_a_batch_in_which_everything_is_hidden_has_a_loss(model, batch):
    ids = torch.full_like(batch["mlm_input_ids"], MASK)
    labels = torch.full_like(ids, 7)
    assert model(batch | {"mlm_input_ids": ids, "mlm_labels": labels})["mlm"] > 0


def test_texts_without_words_and_too_long_ones(model):
    empty = torch.tensor([[CLS, SEP]])
    batch = {"mlm_input_ids": empty, "mlm_labels": torch.full_like(empty, -100)}
    assert model(batch)["mlm"] == 0
    long = torch.full((1, 7), MASK)
    with pytest.raises(ValueError, match="7 word pieces.* 6 positions.*truncate"):
        model({"mlm_input_ids": long, "mlm_labels": long})


def test_the_objective_is_looked_up_when_called(model, batch, monkeypatch):
    """A reader's own loss, put in place of the package's, trains this model."""
    monkeypatch.setattr(masked, "masked_cross_entropy", lambda logits, labels: logits.sum() * 0 + 4)
    assert model(batch)["mlm"].item() == 4


def test_an_untrained_model_is_as_surprised_as_a_guess():
    torch.manual_seed(0)
    model = Mlm(Bert(vocab_size=1000, width=64, depth=2, heads=2, max_length=8, norm="pre"))
    ids = torch.randint(1000, (64, 8))
    loss = model({"mlm_input_ids": ids, "mlm_labels": ids.flip(0)})["mlm"]
    assert loss.item() == pytest.approx(6.9078, abs=0.3)


def test_base_is_bert_base_with_its_head(count_weights):
    """110 million: 109,482,240 of bert-base-uncased with its pooler (590,592), and the head."""

    def build():
        return Mlm(Bert(vocab_size=30_522, width=768, depth=12, heads=12, max_length=512))

    head = 768 * 768 + 768 + 2 * 768 + 30_522
    assert count_weights(build) == 109_482_240 - 590_592 + head

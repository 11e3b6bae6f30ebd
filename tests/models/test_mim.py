import pytest
import torch
import torch.nn.functional as F
from torch import nn

from minivl.models.mim import Mim, blanked, resized
from minivl.nn.vit import ViT
from minivl.objectives import masked, masking

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
PICTURES = {"image_size": 16, "patch_size": 4, "width": 12, "depth": 2, "heads": 2}


class Brightness(nn.Module):
    """A tokenizer: how bright a cell of 2 x 2 pixels is, in 5 steps."""

    vocab_size, stride = 5, 2

    def __init__(self):
        super().__init__()
        self.step = nn.Parameter(torch.tensor(0.4))
        self.norm = nn.BatchNorm1d(1)
        self.sizes = []

    def tokenize(self, image):
        self.sizes.append(tuple(image.shape[-2:]))
        cells = F.avg_pool2d(image.mean(1, keepdim=True), 2)[:, 0]
        return ((cells + 1) / self.step).long().clamp(0, 4)


@pytest.fixture(params=["patch", "conv"])
def model(request, drawn):
    return drawn(Mim(ViT(**PICTURES, stem=request.param), Brightness()))


@pytest.fixture
def batch(normal):
    hidden = torch.zeros(3, 4, 4, dtype=torch.bool)
    hidden[0, 1:3, 1:3] = hidden[1, 0] = hidden[2, 3, 3] = True
    return {"image": normal(0, 3, 3, 16, 16).clamp(-1, 1), "patches_masked": hidden}


def test_the_loss_scores_hidden_patches_by_the_tokenizers_codes(model, batch):
    given = {key: value.clone() for key, value in batch.items()}
    hidden = batch["patches_masked"]
    codes = model.tokenizer.tokenize(resized(batch["image"], [8, 8]))
    states = model.encode_image(batch["image"], hidden)[:, 1:]
    logits = model.head(states)
    labels = codes.masked_fill(~hidden, -100).flatten()
    losses = model(batch)
    assert list(losses) == ["mim"]
    torch.testing.assert_close(
        losses["mim"], F.cross_entropy(logits.flatten(0, 1), labels), **CLOSE
    )
    right = (logits.argmax(-1).view_as(codes) == codes)[hidden].double().mean()
    assert model.monitors["mim_accuracy"].item() == pytest.approx(right.item())
    assert all(torch.equal(batch[key], given[key]) for key in given)


def test_a_batch_may_bring_its_codes_and_a_model_no_tokenizer(drawn, batch):
    model = drawn(Mim(ViT(**PICTURES), vocab_size=7))
    codes = torch.randint(7, (3, 4, 4), generator=torch.Generator().manual_seed(0))
    loss = model(batch | {"visual_tokens": codes})["mim"]
    hidden = batch["patches_masked"]
    logits = model.head(model.encode_image(batch["image"], hidden)[:, 1:])
    expected = F.cross_entropy(logits[hidden.flatten(1)], codes[hidden])
    torch.testing.assert_close(loss, expected, **CLOSE)
    with pytest.raises(ValueError, match="no visual_tokens .* no tokenizer"):
        model(batch)
    with pytest.raises(ValueError, match="vocab_size"):
        Mim(ViT(**PICTURES))


def test_nothing_of_a_hidden_patch_is_seen_by_any_stem(model, batch):
    model.train()  # batch norms look at the whole batch
    hidden = batch["patches_masked"]
    other = torch.where(blanked(torch.ones_like(batch["image"]), hidden) == 0, 0.77, batch["image"])
    assert not torch.equal(other, batch["image"])
    states = [model.encode_image(image, hidden) for image in (batch["image"], other)]
    assert torch.equal(*states)


def test_hiding_nothing_is_reading_the_picture(model, batch):
    none = torch.zeros_like(batch["patches_masked"])
    assert torch.equal(model.encode_image(batch["image"], none), model.encode_image(batch["image"]))


def test_hidden_patches_become_the_token_before_class_token_and_positions(drawn, batch):
    model = drawn(Mim(ViT(**PICTURES), Brightness()))
    encoder, hidden = model.image_encoder, batch["patches_masked"].flatten(1)
    patches = encoder.patch_embed(batch["image"])
    patches[hidden] = model.mask_token
    tokens = torch.cat([encoder.cls_token.expand(3, -1, -1), patches], 1) + encoder.pos_embed
    expected = encoder.norm(encoder.transformer(tokens))
    torch.testing.assert_close(
        model.encode_image(batch["image"], batch["patches_masked"]), expected, **CLOSE
    )


def test_the_order_of_pictures_does_not_count(model, batch):
    order = torch.tensor([2, 0, 1])
    shuffled = {key: value[order] for key, value in batch.items()}
    states = model.encode_image(**batch)[order]
    torch.testing.assert_close(model.encode_image(**shuffled), states, **CLOSE)
    torch.testing.assert_close(model(shuffled)["mim"], model(batch)["mim"], **CLOSE)


def test_the_tokenizer_sees_small_pictures_and_stays_as_it_was_trained(model, batch):
    model.train()
    assert not model.tokenizer.training and not model.tokenizer.norm.training
    assert model.image_encoder.training
    model(batch)["mim"].backward()
    assert model.tokenizer.sizes[-1] == (8, 8)
    assert model.tokenizer.step.grad is None and not model.tokenizer.step.requires_grad
    assert "tokenizer.step" in model.state_dict()


def test_every_weight_but_the_tokenizers_learns(model, batch):
    model.train().zero_grad()
    model(batch)["mim"].backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    still = {name for name, p in trained.items() if p.grad is None or p.grad.abs().max() < 1e-12}
    assert still == {name for name in trained if "k_proj.bias" in name}
    assert "mask_token" in trained


def test_a_picture_never_masked_and_one_all_masked(model, batch):
    none = torch.zeros_like(batch["patches_masked"])
    model.zero_grad()
    loss = model(batch | {"patches_masked": none})["mim"]
    assert loss == 0 and model.monitors["mim_accuracy"] == 0
    loss.backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())
    loss = model(batch | {"patches_masked": ~none})["mim"]
    assert loss > 0 and loss.isfinite()


def test_shapes_that_do_not_fit_are_named(model, batch):
    with pytest.raises(ValueError, match="18 x 16 pixels does not divide into patches of 4"):
        model.image_encoder(torch.zeros(1, 3, 18, 16).double())
    wide = batch | {"image": batch["image"][..., :14]}
    with pytest.raises(ValueError, match="does not divide a picture of 16 x 14"):
        model(wide)
    codes = torch.zeros(3, 2, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match="one code a patch"):
        model(batch | {"visual_tokens": codes})


def test_blanking_is_exact_and_resizing_smooths(normal):
    image = normal(0, 1, 3, 4, 6)
    hidden = torch.tensor([[[True, False, False], [False, False, True]]])
    out = blanked(image, hidden)
    assert not out[..., :2, :2].any() and not out[..., 2:, 4:].any()
    assert torch.equal(out[..., :2, 2:], image[..., :2, 2:])
    assert resized(image, [4, 6]) is image
    stripes = torch.tensor([1.0, -1.0]).repeat(16).expand(1, 3, 32, 32)
    assert resized(stripes, [16, 16]).abs().max() < 0.2
    assert resized(torch.full((1, 3, 8, 8), 1.0), [4, 4]).amax() == 1


def test_the_objectives_are_looked_up_when_called(model, batch, monkeypatch):
    """A reader's own functions, put in place of the package's, train this model."""
    monkeypatch.setattr(masked, "masked_cross_entropy", lambda logits, labels: logits.sum() * 0 + 4)
    assert model(batch)["mim"].item() == 4
    monkeypatch.setattr(masking, "replace_masked", lambda x, token, mask: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model(batch)


def test_base_has_the_weights_of_vit_b_16_and_flavas_head(count_weights):
    def build():
        vit = ViT(image_size=224, patch_size=16, width=768, depth=12, heads=12)
        return Mim(vit, vocab_size=8192)

    vit_b_16 = 86_567_656 - 768 * 1000 - 1000  # without its classifier
    head = 768 * 768 + 768 + 2 * 768 + 768 * 8192 + 8192
    assert count_weights(build) == vit_b_16 + 768 + head

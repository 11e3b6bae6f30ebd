import pytest
import torch

from minivl.models.mim import Mim
from minivl.models.mim_pixels import MimPixels
from minivl.nn.vit import ViT
from minivl.objectives import masking

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
PICTURES = {"image_size": 16, "patch_size": 4, "width": 12, "depth": 2, "heads": 2}


@pytest.fixture(params=[False, True], ids=["pixels", "normalised"])
def model(request, drawn):
    return drawn(MimPixels(ViT(**PICTURES), normalised=request.param))


@pytest.fixture
def batch(normal):
    hidden = torch.zeros(3, 4, 4, dtype=torch.bool)
    hidden[0, 1:3, 1:3] = hidden[1, 0] = hidden[2, 3, 3] = True
    return {"image": normal(0, 3, 3, 16, 16).clamp(-1, 1), "patches_masked": hidden}


def test_the_loss_is_the_mean_squared_error_of_hidden_patches(model, batch):
    given = {key: value.clone() for key, value in batch.items()}
    painted = model.head(model.encode_image(**batch)[:, 1:])
    terms = []
    for picture, row, column in batch["patches_masked"].nonzero().tolist():
        square = batch["image"][picture, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        due = square.flatten()
        if model.normalised:
            due = (due - due.mean()) / (due.var() + 1e-6).sqrt()
        terms.append((painted[picture, 4 * row + column] - due).square())
    losses = model(batch)
    assert list(losses) == ["mim_pixels"]
    torch.testing.assert_close(losses["mim_pixels"], torch.cat(terms).mean(), **CLOSE)
    assert all(torch.equal(batch[key], given[key]) for key in given)


def test_normalised_patches_have_no_mean_and_contrast_one(drawn, batch):
    model = drawn(MimPixels(ViT(**PICTURES), normalised=True))
    targets = model.targets(batch["image"])
    assert targets.shape == (3, 16, 48)
    assert targets.mean(dim=-1).abs().max() < 1e-12
    torch.testing.assert_close(targets.var(dim=-1), torch.ones(3, 16).double(), rtol=1e-4, atol=0)
    brighter = model.targets(0.5 * batch["image"] + 0.2)
    torch.testing.assert_close(brighter, targets, rtol=1e-4, atol=1e-5)
    assert not model.targets(torch.full((1, 3, 16, 16), 0.3).double()).any(), "an even patch"


def test_pixels_are_painted_as_they_are(drawn, batch):
    model = drawn(MimPixels(ViT(**PICTURES)))
    first = batch["image"][0, :, :4, :4].flatten()
    assert torch.equal(model.targets(batch["image"])[0, 0], first)


def test_hidden_patches_are_not_seen(model, batch):
    cells = batch["patches_masked"].repeat_interleave(4, 1).repeat_interleave(4, 2)
    other = batch["image"].masked_fill(cells.unsqueeze(1), 0.77)
    assert not torch.equal(other, batch["image"])
    states = [
        model.encode_image(image, batch["patches_masked"]) for image in (batch["image"], other)
    ]
    assert torch.equal(*states)


def test_transformer_and_holes_are_those_of_the_twin_that_names(batch):
    def build(kind, **options):
        torch.manual_seed(0)
        return kind(ViT(**PICTURES), **options).double()

    paints, names = build(MimPixels), build(Mim, vocab_size=7)
    assert torch.equal(paints.encode_image(**batch), names.encode_image(**batch))
    assert {name for name, _ in paints.named_parameters()} == {
        name for name, _ in names.named_parameters()
    }


def test_the_order_of_pictures_does_not_count(model, batch):
    order = torch.tensor([2, 0, 1])
    shuffled = {key: value[order] for key, value in batch.items()}
    torch.testing.assert_close(model(shuffled)["mim_pixels"], model(batch)["mim_pixels"], **CLOSE)


def test_every_weight_learns(model, batch):
    model.train().zero_grad()
    model(batch)["mim_pixels"].backward()
    still = {n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-12}
    assert still == {n for n, _ in model.named_parameters() if "k_proj.bias" in n}


def test_a_picture_never_masked_and_one_all_masked(model, batch):
    none = torch.zeros_like(batch["patches_masked"])
    model.zero_grad()
    loss = model(batch | {"patches_masked": none})["mim_pixels"]
    assert loss == 0
    loss.backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())
    loss = model(batch | {"patches_masked": ~none})["mim_pixels"]
    assert loss > 0 and loss.isfinite()


def test_bfloat16_states_are_compared_in_the_pictures_own_format(batch):
    model = MimPixels(ViT(**PICTURES))
    small = batch | {"image": batch["image"].float()}
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(small)["mim_pixels"]
    assert loss.dtype == torch.float32 and loss.isfinite()


def test_shapes_that_do_not_fit_are_named(model, batch):
    with pytest.raises(ValueError, match="does not divide a picture of 16 x 14"):
        model(batch | {"image": batch["image"][..., :14]})


def test_masking_is_looked_up_when_called(model, batch, monkeypatch):
    """A reader's own function, put in place of the package's, trains this model."""
    monkeypatch.setattr(masking, "replace_masked", lambda x, token, mask: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model(batch)

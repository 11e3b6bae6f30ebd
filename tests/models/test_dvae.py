import math

import pytest
import torch
import torch.nn.functional as F

from minivl.models.dvae import DVAE
from minivl.nn import dvae
from minivl.nn.dvae import Decoder, Encoder

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
CODES = 9


def build(**options):
    numbers = {"vocab_size": CODES, "width": 8, "groups": 3, "blocks": 1}
    return DVAE(Encoder(**numbers), Decoder(**numbers, code_width=6), **options)


@pytest.fixture(scope="module")
def model(drawn):
    return drawn(build())


@pytest.fixture(scope="module")
def image(normal):
    return normal(1, 2, 3, 8, 12).clamp(-1, 1)


def losses(model, batch, seed=3):
    torch.manual_seed(seed)
    return model(batch)


def test_losses_are_the_likelihood_of_a_soft_draw_and_the_weighted_kl(model, image):
    model.temperature, model.beta = 0.4, 0.3
    given = image.clone()
    found = losses(model, {"image": image})
    assert torch.equal(image, given) and list(found) == ["reconstruction", "kl"]

    x = 0.8 * (image + 1) / 2 + 0.1
    logits = model.encoder(x)
    torch.manual_seed(3)
    gumbel = -torch.log(-torch.log(torch.rand_like(logits)))
    mu, log_scale = model.decoder(F.softmax((logits + gumbel) / 0.4, 1)).split(3, 1)
    log_scale = log_scale.clamp(min=-7)
    nll = (
        math.log(2) + log_scale + torch.log(x * (1 - x))
        + (torch.log(x / (1 - x)) - mu).abs() / log_scale.exp()
    )  # fmt: skip
    torch.testing.assert_close(found["reconstruction"], nll.mean(), **CLOSE)
    q = logits.softmax(1)
    kl = (q * (q.log() + math.log(CODES))).sum() / (2 * 2 * 3)
    torch.testing.assert_close(found["kl"], 0.3 * kl, **CLOSE)


def test_every_weight_learns(image):
    torch.manual_seed(1)
    model = build().double()
    sum(losses(model, {"image": image}).values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad.abs().max() < 1e-9] == []


def test_straight_through_draws_one_code_and_learns(drawn, image):
    model = drawn(build(straight_through=True))
    seen = []
    model.decoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    losses(model, {"image": image})["reconstruction"].backward()
    assert ((seen[0] - seen[0].round()).abs() < 1e-12).all()
    assert model.encoder.output.weight.grad.abs().max() > 1e-9


def test_the_scale_cannot_run_away(drawn, image):
    model = drawn(build())
    with torch.no_grad():
        model.decoder.output.weight.zero_()
        model.decoder.output.bias.copy_(torch.tensor([0.0, 0, 0, -50, -50, -50]))
    flat = torch.zeros_like(image)  # logit 0 is drawn exactly
    found = losses(model, {"image": flat})["reconstruction"].item()
    assert found == pytest.approx(math.log(2) - 7 + math.log(0.25))


def test_tokens_are_what_the_encoder_holds_likeliest_and_labels_of_a_loss(model, image):
    tokens = model.tokenize(image)
    assert tokens.shape == (2, 2, 3) and tokens.dtype == torch.int64
    assert torch.equal(tokens, model.encode(image).argmax(1))
    assert not tokens.is_inference() and not tokens.requires_grad
    logits = torch.zeros(12, CODES, requires_grad=True)
    F.cross_entropy(logits, tokens.flatten()).backward()
    assert logits.grad.abs().sum() > 0


def test_tokenizing_keeps_no_graph_and_names_pictures_of_a_wrong_size(model, image):
    seen = []
    handle = model.encoder.output.register_forward_hook(lambda m, i, o: seen.append(o))
    try:
        model.tokenize(image.clone().requires_grad_())
    finally:
        handle.remove()
    assert seen[0].is_inference() and seen[0].grad_fn is None
    with pytest.raises(ValueError, match="8 x 10 pixels .* cells of 4"):
        model.tokenize(image[..., :10])


def test_decoding_draws_the_means_of_one_hot_codes(model, image):
    tokens = model.tokenize(image)
    picture = model.decode(tokens)
    assert picture.shape == image.shape and picture.min() >= -1 and picture.max() <= 1
    hot = torch.zeros(2, CODES, 2, 3, dtype=torch.float64).scatter(1, tokens[:, None], 1.0)
    mean = torch.sigmoid(model.decoder(hot)[:, :3])
    expected = 2 * ((mean - 0.1) / 0.8).clamp(0, 1) - 1
    torch.testing.assert_close(picture, expected, **CLOSE)
    torch.testing.assert_close(model.draw(hot), picture, **CLOSE)


def test_decoding_one_picture_of_one_cell(model):
    assert model.decode(torch.tensor([[[3]]])).shape == (1, 3, 4, 4)


def test_monitors_are_those_of_the_last_batch(model, image):
    model.temperature, model.beta = 1.0, 0.5
    assert build().monitors == {}
    soft = losses(model, {"image": image})["reconstruction"].detach()
    monitors = model.monitors
    assert set(monitors) == {"perplexity", "codes_used", "kl_per_cell", "soft_hard_gap"}
    assert all(value.ndim == 0 and not value.requires_grad for value in monitors.values())
    counts = model.tokenize(image).flatten().bincount(minlength=CODES)
    shares = [c / 12 for c in counts.tolist() if c]
    assert monitors["codes_used"] == len(shares)
    entropy = -sum(s * math.log(s) for s in shares)
    assert monitors["perplexity"].item() == pytest.approx(math.exp(entropy), rel=1e-6)
    kl = dvae.kl_to_uniform(model.encode(image)).item()
    assert monitors["kl_per_cell"].item() == pytest.approx(kl)
    hot = model.one_hot(model.tokenize(image))
    hard = model.reconstruction(hot, image)
    torch.testing.assert_close(monitors["soft_hard_gap"], (hard - soft).detach(), **CLOSE)


def test_asking_for_monitors_changes_no_training(drawn, image):
    """They are computed when a line is logged: how often must not matter."""
    outcomes = []
    for asked in (False, True):
        model = drawn(build())
        first = losses(model, {"image": image})
        if asked:
            assert model.monitors
        outcomes.append([*first.values(), *model({"image": image}).values()])
    assert all(torch.equal(a, b) for a, b in zip(*outcomes, strict=True))


def test_the_objectives_are_looked_up_when_called(model, image, monkeypatch):
    monkeypatch.setattr(dvae, "kl_to_uniform", lambda logits: logits.sum() * 0 + 42)
    model.beta = 0.5
    assert losses(model, {"image": image})["kl"].item() == 21


def test_under_bf16_tokens_are_chosen_and_pixels_judged_in_float32(image):
    torch.manual_seed(0)
    model = build()
    batch = {"image": image.float()}
    with torch.autocast("cpu", torch.bfloat16):
        found = losses(model, batch)
        logits = model.encode(batch["image"])
        picture = model.decode(model.tokenize(batch["image"]))
    assert logits.dtype == picture.dtype == torch.float32
    assert {value.dtype for value in found.values()} == {torch.float32}
    wide = losses(model, batch)
    assert found["reconstruction"].item() == pytest.approx(wide["reconstruction"].item(), abs=0.02)


def test_the_engine_s_steps_are_remembered(model):
    model.before_step(6)
    assert model.step == 7


def test_an_encoder_and_a_decoder_of_different_codes_are_refused():
    encoder = Encoder(vocab_size=4, width=8, groups=2, blocks=1)
    decoder = Decoder(vocab_size=5, width=8, groups=2, blocks=1)
    with pytest.raises(ValueError, match="4 codes, the decoder knows 5"):
        DVAE(encoder, decoder)

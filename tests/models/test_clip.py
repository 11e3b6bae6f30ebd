import math

import pytest
import torch
import torch.nn.functional as F

from minivl.models.clip import Clip, TextTower
from minivl.nn.bert import Bert
from minivl.nn.vit import ViT
from minivl.objectives import contrastive

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
PAD, EOT = 0, 3
WORDS = {"vocab_size": 20, "width": 8, "depth": 2, "heads": 2, "max_length": 6}
PICTURES = {"image_size": 8, "patch_size": 4, "width": 12, "depth": 1, "heads": 2}


def build(kind="bert"):
    text = Bert(**WORDS, norm="pre") if kind == "bert" else TextTower(**WORDS, eot_id=EOT)
    return Clip(ViT(**PICTURES), text, embed_dim=5)


@pytest.fixture(scope="module")
def batch(normal):
    ids = torch.tensor([[2, 7, EOT, PAD, PAD], [2, 9, 19, 8, EOT], [2, EOT, PAD, PAD, PAD]])
    return {"image": normal(9, 3, 3, 8, 8), "input_ids": ids, "attention_mask": ids != PAD}


@pytest.fixture(scope="module", params=["bert", "causal"])
def model(request, drawn):
    return drawn(build(request.param))


def test_embeddings_are_projections_of_one_state_each_not_normalised(model, batch):
    image = model.encode_image(batch["image"])
    state = model.image_encoder(batch["image"])[:, 0]
    torch.testing.assert_close(image, state @ model.image_proj.weight.T, **CLOSE)
    text = model.encode_text(batch["input_ids"], batch["attention_mask"])
    states = model.text_encoder(batch["input_ids"], batch["attention_mask"])
    at = [0, 0, 0] if isinstance(model.text_encoder, Bert) else [2, 4, 1]
    state = torch.stack([states[i, at[i]] for i in range(3)])
    torch.testing.assert_close(text, state @ model.text_proj.weight.T, **CLOSE)
    assert image.shape == text.shape == (3, 5)
    for embedding in (image, text):
        assert (embedding.norm(dim=1) - 1).abs().min() > 1e-3


def test_a_picture_may_be_its_mean_patch(drawn, batch):
    image_encoder = ViT(**PICTURES)
    model = drawn(Clip(image_encoder, Bert(**WORDS), embed_dim=5, image_pool="mean"))
    patches = model.image_encoder(batch["image"])[:, 1:]
    expected = sum(patches.unbind(1)) / 4 @ model.image_proj.weight.T
    torch.testing.assert_close(model.encode_image(batch["image"]), expected, **CLOSE)


def test_padding_does_not_reach_a_text(model, batch):
    ids, mask = batch["input_ids"], batch["attention_mask"]
    text = model.encode_text(ids, mask)
    # Neither more of it, nor what stands there: a second end token too, as OpenAI pads.
    longer = F.pad(ids, (0, 1))
    for padding in (PAD, EOT, 17):
        padded = torch.where(F.pad(mask, (0, 1)), longer, padding)
        again = model.encode_text(padded, F.pad(mask, (0, 1)))
        torch.testing.assert_close(again, text, **CLOSE)


def test_the_causal_tower_reads_left_to_right_up_to_its_end(drawn, batch):
    tower = drawn(TextTower(**WORDS, eot_id=EOT))
    ids = batch["input_ids"]
    states = tower(ids)
    assert states.shape == (3, 5, 8)
    later = ids.clone()
    later[:, 3:] = 11
    torch.testing.assert_close(tower(later)[:, :3], states[:, :3], **CLOSE)
    earlier = ids.clone()
    earlier[:, 0] = 11
    assert (tower.pool(tower(earlier), earlier) - tower.pool(states, ids)).abs().min() > 1e-6
    # The words' order counts though one state is pooled.
    swapped = ids[1:2, [0, 2, 1, 3, 4]]
    assert (tower(swapped)[:, 4] - states[1:2, 4]).abs().min() > 1e-6


def test_the_causal_tower_names_a_text_too_long():
    with pytest.raises(ValueError, match="7 tokens.* 6 positions"):
        TextTower(**WORDS, eot_id=EOT)(torch.zeros(1, 7, dtype=torch.long))


def test_losses_are_the_objective_of_the_embeddings(model, batch):
    given = {key: value.clone() for key, value in batch.items()}
    losses = model.losses(batch)
    assert list(losses) == ["contrastive"]
    image = F.normalize(model.encode_image(batch["image"]))
    text = F.normalize(model.encode_text(batch["input_ids"], batch["attention_mask"]))
    logits = model.logit_scale.exp() * image @ text.T
    target = torch.arange(3)
    by_hand = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(losses["contrastive"], by_hand, **CLOSE)
    torch.testing.assert_close(model(batch), losses, rtol=0, atol=0)
    assert all(torch.equal(batch[key], given[key]) for key in given)


def test_every_weight_learns(model, batch):
    model.zero_grad()
    model(batch)["contrastive"].backward()
    still = {name for name, p in model.named_parameters() if p.grad.abs().max() < 1e-9}
    # Adding one number to all scores of a query changes no weight: a key's bias never learns.
    assert still == {name for name, _ in model.named_parameters() if "k_proj.bias" in name}


def test_the_objective_is_looked_up_when_called(model, batch, monkeypatch):
    """A reader's own info_nce, put in place of the package's, trains this model."""
    monkeypatch.setattr(contrastive, "info_nce", lambda logits: logits.sum() * 0 + 42)
    assert model(batch)["contrastive"].item() == 42


def test_the_gather_and_its_rank_reach_the_objective(model, batch, normal):
    """Rows of another process, put before ours, are more wrong answers."""
    others = normal(5, 3, 5)

    class Before:
        rank = 1

        def __call__(self, x):
            return torch.cat([others, x])

    image = model.encode_image(batch["image"])
    text = model.encode_text(batch["input_ids"], batch["attention_mask"])
    everyone = (torch.cat([others, rows]) for rows in (image, text))
    expected = contrastive.global_info_nce(image, text, *everyone, 1, model.logit_scale)
    alone = model(batch)["contrastive"]
    model.gather = Before()
    try:
        torch.testing.assert_close(model(batch)["contrastive"], expected, **CLOSE)
    finally:
        model.gather = None
    assert expected > alone + 0.1


def test_the_temperature_starts_at_its_paper_value_and_is_clamped_after_a_step(batch):
    model = build()
    assert model.logit_scale.item() == pytest.approx(math.log(1 / 0.07))
    model.double()
    with torch.no_grad():
        model.logit_scale.fill_(7)
    model(batch)
    assert model.logit_scale.item() == 7
    model.after_step()
    assert model.logit_scale.item() == pytest.approx(math.log(100))


def test_under_bf16_the_objective_still_counts_in_float32(batch):
    torch.manual_seed(0)
    model = build()
    batch = batch | {"image": batch["image"].float()}
    with torch.no_grad():
        model.logit_scale.fill_(math.log(100))
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(batch)["contrastive"]
            image = model.encode_image(batch["image"])
            text = model.encode_text(batch["input_ids"], batch["attention_mask"])
    assert image.dtype == text.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    wide = contrastive.info_nce(
        contrastive.similarity_logits(image.float(), text.float(), model.logit_scale)
    )
    torch.testing.assert_close(loss, wide, rtol=1e-6, atol=1e-6)


def test_the_picture_s_attention_comes_beside_the_same_embedding_with_gradient(model, batch):
    image = batch["image"].clone().requires_grad_()
    embedding, maps = model.encode_image(image, return_attention=True)
    torch.testing.assert_close(embedding, model.encode_image(image), **CLOSE)
    assert [m.shape for m in maps] == [(3, 2, 5, 5)]
    maps[0][:, :, 0].square().sum().backward()
    assert (image.grad != 0).any()


def test_start_weights():
    torch.manual_seed(0)
    text = TextTower(**WORDS | {"width": 128, "vocab_size": 100}, eot_id=EOT)
    assert text.pos_embed.std().item() == pytest.approx(0.01, rel=0.1)
    wide = 0.02 * (768 / 128) ** 0.5
    assert text.word_embed.weight.std().item() == pytest.approx(wide * 0.8796, rel=0.05)
    model = Clip(ViT(**PICTURES | {"width": 64}), text, embed_dim=256)
    assert model.image_proj.weight.std().item() == pytest.approx(64**-0.5, rel=0.05)
    assert model.text_proj.weight.std().item() == pytest.approx(128**-0.5, rel=0.05)


def test_base_has_the_published_number_of_weights(count_weights):
    """CLIP ViT-B/16: 86,192,640 for pictures, 63,428,096 for text, one temperature."""

    def pictures():
        return ViT(image_size=224, patch_size=16, width=768, depth=12, heads=12, clip=True)

    def text():
        return TextTower(
            vocab_size=49_408, width=512, depth=12, heads=8, max_length=77, eot_id=49_407
        )

    assert count_weights(pictures) == 86_192_640 - 768 * 512
    assert count_weights(text) == 63_428_096 - 512 * 512
    assert count_weights(lambda: Clip(pictures(), text(), embed_dim=512)) == 149_620_737

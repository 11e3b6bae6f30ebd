"""Our Clip is transformers' CLIPModel: embeddings, loss and every gradient, in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.models.clip import Clip, TextTower
from minivl.nn.vit import ViT

SIDE, PATCH = 3, 4
VOCAB, LONGEST, EOT = 23, 8, 9
NAMES = {
    r"^image_encoder\.cls_token": "vision_model.embeddings.class_embedding",
    r"^image_encoder\.pos_embed": "vision_model.embeddings.position_embedding.weight",
    r"^image_encoder\.patch_embed.projection": "vision_model.embeddings.patch_embedding",
    r"^image_encoder\.norm_pre": "vision_model.pre_layrnorm",
    r"^image_encoder\.norm\.": "vision_model.post_layernorm.",
    r"^image_encoder\.transformer\.blocks": "vision_model.encoder.layers",
    r"^text_encoder\.word_embed": "text_model.embeddings.token_embedding",
    r"^text_encoder\.pos_embed": "text_model.embeddings.position_embedding.weight",
    r"^text_encoder\.norm\.": "text_model.final_layer_norm.",
    r"^text_encoder\.transformer\.blocks": "text_model.encoder.layers",
    r"\.attention\.": ".self_attn.",
    r"\.norm([12])\.": r".layer_norm\1.",
    r"^image_proj": "visual_projection",
    r"^text_proj": "text_projection",
}


@pytest.fixture(scope="module")
def models(drawn, twins):
    from transformers.models.clip.configuration_clip import CLIPConfig
    from transformers.models.clip.modeling_clip import CLIPModel

    config = CLIPConfig(
        projection_dim=7,
        vision_config={
            "image_size": SIDE * PATCH,
            "patch_size": PATCH,
            "hidden_size": 12,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "intermediate_size": 48,
        },
        text_config={
            "vocab_size": VOCAB,
            "hidden_size": 8,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": LONGEST,
            "eos_token_id": EOT,
            "bos_token_id": 1,
            "pad_token_id": 0,
        },
        attn_implementation="sdpa",
    )
    like_openai = {"eps": 1e-5, "activation": "quick_gelu"}
    image = ViT(image_size=SIDE * PATCH, patch_size=PATCH, width=12, depth=2, heads=3, clip=True,
                **like_openai)  # fmt: skip
    text = TextTower(vocab_size=VOCAB, width=8, depth=3, heads=2, max_length=LONGEST, eot_id=EOT,
                     **like_openai)  # fmt: skip
    ours, theirs = drawn(Clip(image, text, embed_dim=7)), CLIPModel(config)
    assert theirs.logit_scale.item() == pytest.approx(math.log(1 / 0.07), abs=1e-4)
    with torch.no_grad():
        ours.logit_scale.fill_(2.0)
    return ours, theirs, twins(ours, theirs, NAMES)


def some_texts(seed, b, length, padding):
    """Random ids with an end token somewhere, and padding behind it."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(VOCAB, (b, length), generator=generator)
    ids[ids == EOT] = 1
    end = torch.randint(1, length, (b, 1), generator=generator)
    place = torch.arange(length).expand(b, length)
    return ids.scatter(1, end, EOT).where(place <= end, padding), place <= end


@given(
    seed=st.integers(0, 10**6),
    b=st.integers(2, 4),
    length=st.integers(2, LONGEST),
    padding=st.sampled_from([0, EOT]),
    grid=st.tuples(*[st.integers(1, 4)] * 2),
)
@settings(max_examples=20, deadline=None)
def test_any_batch(models, normal, close, seed, b, length, padding, grid):
    """Any number of pictures of any size and texts of any length, padded as anyone pads."""
    ours, theirs, compare = models
    ids, mask = some_texts(seed, b, length, padding)
    image = normal(seed, b, 3, *(side * PATCH for side in grid)).requires_grad_()
    twin = image.detach().clone().requires_grad_()
    answer = theirs(
        input_ids=ids,
        attention_mask=mask.long(),
        pixel_values=twin,
        interpolate_pos_encoding=True,
        return_loss=True,
    )
    unit = torch.nn.functional.normalize
    close(unit(ours.encode_image(image)), answer.image_embeds, "image")
    close(unit(ours.encode_text(ids, mask)), answer.text_embeds, "text")
    batch = {"image": image, "input_ids": ids, "attention_mask": mask}
    loss = ours(batch)["contrastive"]
    close(loss, answer.loss, "loss")
    compare(loss, answer.loss, [(image, twin)])


def test_embeddings_before_they_are_normalised(models, normal, close):
    ours, theirs, _ = models
    ids, mask = some_texts(0, 3, LONGEST, 0)
    image = normal(0, 3, 3, SIDE * PATCH, SIDE * PATCH)
    close(ours.encode_image(image), theirs.get_image_features(image).pooler_output)
    close(ours.encode_text(ids, mask), theirs.get_text_features(ids, mask.long()).pooler_output)

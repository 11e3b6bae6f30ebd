"""Our ViT is transformers' ViTModel: states and every gradient, in float64."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minivl.nn.vit import ViT

SIDE, PATCH = 4, 3  # positions are learned on 4 x 4 patches of 3 x 3 pixels
NAMES = {
    r"^(cls_token)": r"embeddings.\1",
    r"^pos_embed": "embeddings.position_embeddings",
    r"^patch_embed": "embeddings.patch_embeddings",
    r"^transformer\.blocks": "layers",
    r"\.out_proj\.": ".o_proj.",
    r"\.norm1\.": ".layernorm_before.",
    r"\.norm2\.": ".layernorm_after.",
    r"^norm\.": "layernorm.",
}


@pytest.fixture(scope="module")
def models(drawn, twins):
    from transformers.models.vit.configuration_vit import ViTConfig
    from transformers.models.vit.modeling_vit import ViTModel

    config = ViTConfig(
        image_size=SIDE * PATCH,
        patch_size=PATCH,
        hidden_size=12,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=48,
        layer_norm_eps=1e-6,
        # Their eager attention rounds the softmax to float32.
        attn_implementation="sdpa",
    )
    ours = drawn(ViT(image_size=SIDE * PATCH, patch_size=PATCH, width=12, depth=3, heads=2))
    theirs = ViTModel(config, add_pooling_layer=False)
    return ours, theirs, twins(ours, theirs, NAMES)


@given(seed=st.integers(0, 10**6), b=st.integers(1, 3), grid=st.tuples(*[st.integers(1, 6)] * 2))
@example(seed=0, b=2, grid=(SIDE, SIDE))
@example(seed=0, b=1, grid=(2, 8))  # as many patches, elsewhere
@settings(max_examples=20, deadline=None)
def test_any_picture(models, normal, close, seed, b, grid):
    """Any number of pictures of any size: positions interpolated, but for the size built for."""
    ours, theirs, compare = models
    height, width = (side * PATCH for side in grid)
    image = normal(seed, b, 3, height, width).requires_grad_()
    twin = image.detach().clone().requires_grad_()
    a = ours(image)
    other = theirs(twin, interpolate_pos_encoding=grid != (SIDE, SIDE)).last_hidden_state
    close(a, other, "states")
    weights = normal(seed + 1, *a.shape)
    compare((a * weights).sum(), (other * weights).sum(), [(image, twin)])

"""Small encoders of ALBEF, as those who fine-tune them ask for them."""

import pytest


@pytest.fixture(scope="session")
def encoders():
    """encoders(norm="pre", image_width=12): ALBEF's encoders; texts are 12 wide, words 23."""
    from minivl.models.albef_encoders import Encoders
    from minivl.nn.bert import Bert
    from minivl.nn.fusion import FusionEncoder
    from minivl.nn.vit import ViT

    def build(norm="pre", image_width=12):
        return Encoders(
            ViT(image_size=12, patch_size=4, width=image_width, depth=2, heads=2),
            Bert(vocab_size=23, width=12, depth=2, heads=2, max_length=16, norm=norm),
            FusionEncoder(12, 2, 2, context_width=image_width, norm=norm),
            embed_dim=8,
        )

    return build

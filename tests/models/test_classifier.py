import torch
import torch.nn.functional as F

from minivl.models.classifier import Classifier
from minivl.nn.vit import ViT

BACKBONE = {"image_size": 8, "patch_size": 4, "width": 12, "depth": 2, "heads": 2}


def test_the_loss_is_the_cross_entropy_of_both_global_crops(drawn, normal):
    model = drawn(Classifier(ViT(**BACKBONE), 5))
    batch = {"global_crops": normal(1, 3, 2, 3, 8, 8), "label": torch.tensor([4, 0, 2])}
    terms = [
        F.cross_entropy(model.head(model.backbone(batch["global_crops"][n, v][None])[:, 0]),
                        batch["label"][n : n + 1])
        for n in range(3)
        for v in range(2)
    ]  # fmt: skip
    found = model(batch)["classification"]
    torch.testing.assert_close(found, (sum(terms) / 6).float(), rtol=1e-5, atol=1e-5)


def test_a_picture_is_its_class_token(drawn, normal):
    model = drawn(Classifier(ViT(**BACKBONE), 5))
    image = normal(2, 3, 3, 8, 8)
    expected = model.backbone(image)[:, 0]
    torch.testing.assert_close(model.encode_image(image), expected, rtol=1e-10, atol=1e-10)
    found, maps = model.encode_image(image, return_attention=True)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    assert [m.shape for m in maps] == [(3, 2, 5, 5)] * 2

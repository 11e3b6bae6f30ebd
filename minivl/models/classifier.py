"""A picture encoder that is told the answers: what learning without labels is compared with."""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from minivl.models.dino import class_token
from minivl.nn.transformer import init_transformer
from minivl.nn.vit import ViT


class Classifier(nn.Module):
    """A vision transformer with one linear layer on its class token."""

    def __init__(self, backbone: ViT, classes: int):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.width, classes)
        init_transformer(self.head, backbone.width)
        self.steps_taken = 0

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """{"classification": scalar}: both global_crops (b, 2, 3, h, w) have the label (b)."""
        crops = rearrange(batch["global_crops"], "b v c h w -> (b v) c h w")
        labels = batch["label"].repeat_interleave(batch["global_crops"].shape[1])
        logits = self.head(class_token(self.backbone, crops)).float()
        return {"classification": F.cross_entropy(logits, labels)}

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses, so that DDP and torch.compile wrap what training computes."""
        return self.losses(batch)

    def before_step(self, step: int) -> None:
        """Count; the engine calls this before each optimiser step."""
        self.steps_taken = step + 1

    def encode_image(
        self, image: Tensor, return_attention: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """image (b, 3, h, w) -> the class token (b, width), before the linear layer.

        With return_attention also each block's weights (b, heads, 1+n, 1+n).
        """
        if return_attention:
            tokens, maps = self.backbone(image, return_attention=True)
            return tokens[:, 0], maps
        return class_token(self.backbone, image)

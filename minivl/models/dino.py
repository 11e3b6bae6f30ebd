"""DINO (Caron et al. 2021, arXiv 2104.14294): a student, and a teacher that is its running mean."""

import copy
from typing import Protocol

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from minivl.models.twin import follow
from minivl.nn.precision import wide
from minivl.nn.transformer import first_only, init_transformer
from minivl.nn.vit import ViT
from minivl.objectives import dino


class Gather(Protocol):
    """What the engine gives a model that is to see the rows of all processes."""

    def __call__(self, x: Tensor) -> Tensor:
        """x (n, d) -> (world*n, d)."""


class CosineLayer(nn.Module):
    """The last layer: a weight-normalised linear layer without bias (appendix C).

    Each output is the cosine with a direction of its own, times a gain.
    """

    def __init__(self, width: int, outputs: int, *, gain_trains: bool):
        super().__init__()
        self.direction = nn.Parameter(torch.empty(outputs, width))
        self.gain = nn.Parameter(torch.ones(outputs, 1), requires_grad=gain_trains)
        nn.init.uniform_(self.direction, -(width**-0.5), width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., width), unit vectors -> (..., outputs), in float32 or better."""
        with torch.autocast(x.device.type, enabled=False):
            weight = self.gain * F.normalize(self.direction, dim=-1)
            return F.linear(wide(x), weight)


class DinoHead(nn.Module):
    """Three layers, a narrow unit vector, and k cosines (appendix C)."""

    def __init__(
        self,
        width: int,
        *,
        hidden: int = 2048,
        bottleneck: int = 256,
        outputs: int = 65_536,
        norm_last_layer: bool = True,
    ):
        """`norm_last_layer` keeps the gains of the last layer at 1: steadier, for large models."""
        super().__init__()
        self.outputs = outputs
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        init_transformer(self.mlp, width)
        self.last_layer = CosineLayer(bottleneck, outputs, gain_trains=not norm_last_layer)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., width) -> logits (..., outputs)."""
        return self.last_layer(F.normalize(wide(self.mlp(x)), dim=-1))


class Network(nn.Module):
    """Backbone and head: student and teacher are one each."""

    def __init__(self, backbone: ViT, head: DinoHead):
        super().__init__()
        self.backbone = backbone
        self.head = head

    def features(self, *crops: Tensor) -> Tensor:
        """Class tokens of all crops (v, b, width): one call of the backbone a resolution.

        crops: for each resolution (b, views, 3, h, w).
        """
        found = []
        for views in crops:
            tokens = class_token(self.backbone, rearrange(views, "b v c h w -> (v b) c h w"))
            found.append(rearrange(tokens, "(v b) w -> v b w", b=len(views)))
        return torch.cat(found)

    def forward(self, *crops: Tensor) -> Tensor:
        """crops as in `features` -> logits (v, b, k) from one call of the head."""
        return self.head(self.features(*crops))


class Dino(nn.Module):
    """Learns pictures without labels: `losses` for training, `encode_image` of the teacher after.

    The engine's schedules set `momentum` and `teacher_temperature` before each step.
    """

    parts = ("student.backbone", "student.head", "teacher.backbone", "teacher.head")
    """What an overview of the parameters lists."""

    def __init__(
        self,
        backbone: ViT,
        head: DinoHead,
        *,
        student_temperature: float = 0.1,
        center_momentum: float = 0.9,
        centring: bool = True,
        frozen_steps: int = 0,
    ):
        """`frozen_steps`: how long the last layer stays as it was drawn. `centring=False` leaves
        the centre at zero: one of the two ways to collapse."""
        super().__init__()
        self.student = Network(backbone, head)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False).eval()
        self.student_temperature = student_temperature
        self.center_momentum = center_momentum
        self.centring = centring
        self.frozen_steps = frozen_steps
        self.momentum = 0.996
        self.steps_taken = 0
        self.gather: Gather | None = None
        self.monitors: dict[str, Tensor] = {}
        self.register_buffer("center", torch.zeros(head.outputs))
        # A tensor: a compiled forward pass would be compiled anew for every other float.
        self.register_buffer("_temperature", torch.tensor(0.04), persistent=False)
        self._logit_means: list[Tensor] = []

    @property
    def teacher_temperature(self) -> float:
        """The teacher's temperature; below the student's it sharpens."""
        return self._temperature.item()

    @teacher_temperature.setter
    def teacher_temperature(self, value: float) -> None:
        self._temperature.fill_(value)

    def train(self, mode: bool = True) -> "Dino":
        """As for any module, but the teacher never leaves evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """{"dino": scalar} for a batch of global_crops (b, 2, 3, H, W) and, if any, local_crops
        (b, n, 3, h, w)."""
        large = batch["global_crops"]
        small = [batch["local_crops"]] if "local_crops" in batch else []
        student = self.student(large, *small)
        with torch.no_grad():
            features = self.teacher.features(large)
            logits = self.teacher.head(features)
        # Temperatures and softmax in float32: bf16 has 8 bits for a logit of 25.
        with torch.autocast(student.device.type, enabled=False):
            targets = dino.teacher_probabilities(logits, self.center, self._temperature)
            loss = dino.dino_loss(student, targets, self.student_temperature)
            self.monitors = dino.collapse_monitors(targets, loss)
            self.monitors["feature_spread"] = dino.feature_spread(wide(features).flatten(0, 1))
        if self.training:
            self._logit_means.append(logits.mean(dim=(0, 1)))
        return {"dino": loss}

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses, so that DDP and torch.compile wrap what training computes."""
        return self.losses(batch)

    def encode_image(
        self, image: Tensor, return_attention: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """image (b, 3, h, w), its sides multiples of the patch -> the class token (b, width).

        With return_attention also each block's weights (b, heads, 1+n, 1+n).
        """
        if return_attention:
            tokens, maps = self.teacher.backbone(image, return_attention=True)
            return tokens[:, 0], maps
        return class_token(self.teacher.backbone, image)

    def before_step(self, step: int) -> None:
        """Freeze the last layer at first: without a gradient it neither moves nor decays."""
        self.steps_taken = step + 1
        if step < self.frozen_steps:
            for parameter in self.student.head.last_layer.parameters():
                parameter.grad = None

    def after_step(self) -> None:
        """Move centre and teacher on; the engine calls this after each optimiser step."""
        if self.centring and self._logit_means:
            means = torch.stack(self._logit_means)
            means = means if self.gather is None else self.gather(means)
            self.center.copy_(dino.update_center(self.center, means, self.center_momentum))
        self._logit_means.clear()
        follow(self.teacher, self.student, self.momentum)


def class_token(backbone: ViT, image: Tensor) -> Tensor:
    """The class token (b, width) of `backbone(image)`: of the last block, nothing else is computed.

    image (b, 3, h, w).
    """
    x = backbone.tokens(image)
    read = first_only(*x.shape[:2], x.device)
    return backbone.norm(backbone.transformer(x, read=read)[:, 0])

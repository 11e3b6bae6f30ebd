"""DINO (Caron et al. 2021, arXiv 2104.14294): pictures without labels, a student and its own mean.

tiny    3 minutes on two CPU cores: neighbours that name drawings, heads that find them
small   an estimated hour on one modest GPU: every concept, 96-pixel crops
base    ViT-B/16, 65,536 outputs, the published schedule; many GPUs through torchrun
"""

from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Literal

from minivl.data.crop_data import CropData
from minivl.data.objects import ObjectData
from minivl.errors import require_field
from minivl.training.recipe import Size, Stage, Training

if TYPE_CHECKING:
    from torch import nn

    from minivl.data.objects import ObjectSource
    from minivl.data.stream import Stream
    from minivl.nn.vit import ViT


@dataclass(frozen=True)
class Backbone:
    """The vision transformer."""

    patch_size: int = 8
    """Side of a patch in pixels."""
    width: int = 96
    """Width of the tokens."""
    depth: int = 3
    """Transformer blocks."""
    heads: int = 4
    """Attention heads; a divisor of the width."""
    stem: Literal["patch", "conv"] = "patch"
    """Patch projection as in the paper, or a few convolutions before (Xiao et al. 2021)."""
    positions: Literal["normal", "sincos"] = "sincos"
    """Learned positions start from noise as in the paper, or from 2-D sines and cosines."""


@dataclass(frozen=True)
class Head:
    """What stands between the class token and the outputs."""

    hidden: int = 256
    """Width of the two hidden layers."""
    bottleneck: int = 64
    """Width of the unit vector before the last layer."""
    outputs: int = 256
    """k: over how many outputs teacher and student spread their belief."""
    norm_last_layer: bool = True
    """Keep the gains of the last layer at 1; off for ViT-S in the paper's code."""

    def check(self) -> None:
        """Refuse a head that has nothing to choose from (UserError)."""
        require_field(self, "outputs", self.outputs >= 2, "2 or more")
        for name in ("hidden", "bottleneck"):
            require_field(self, name, getattr(self, name) >= 1, "1 or more")


@dataclass(frozen=True)
class Distillation:
    """How the student learns from its own mean."""

    student_temperature: float = 0.1
    """Divides the student's logits."""
    teacher_temperature: float = 0.04
    """Divides the teacher's, after the warm-up. 0.1 does not sharpen: all outputs become alike."""
    teacher_temperature_start: float = 0.04
    """The teacher's temperature at step 0."""
    teacher_temperature_steps: int = 0
    """Steps until it has risen from its start to its final value."""
    centring: bool = True
    """Subtract the running mean of the teacher's logits; without it one output wins."""
    center_momentum: float = 0.9
    """How much of the centre stays at each step."""
    momentum: float = 0.95
    """How much of the teacher stays at step 0; a cosine takes it to 1."""
    frozen_steps: int = 0
    """First steps during which the last layer stays as it was drawn."""
    final_weight_decay: float = 0.4
    """A cosine takes the weight decay from training.weight_decay to this."""
    drop_path: float = 0.0
    """The student's last block leaves out its branches at this rate, earlier ones at a lower."""

    def check(self) -> None:
        """Refuse numbers that cannot train (UserError)."""
        for name in ("student_temperature", "teacher_temperature", "teacher_temperature_start"):
            require_field(self, name, getattr(self, name) > 0, "a number above 0")
        for name in ("center_momentum", "momentum"):
            require_field(self, name, 0 <= getattr(self, name) <= 1, "a share from 0 to 1")
        for name in ("teacher_temperature_steps", "frozen_steps", "final_weight_decay"):
            require_field(self, name, getattr(self, name) >= 0, "0 or more")
        require_field(self, "drop_path", 0 <= self.drop_path < 1, "a share below 1")


@dataclass(frozen=True)
class Evaluation:
    """How much is measured."""

    gallery: int = 1536
    """Pictures whose names neighbours and the linear probe know."""
    queries: int = 768
    """Pictures to be named, of known artists and of the unseen one each."""
    looked_at: int = 512
    """Pictures on which attention is compared with the thing's mask; 0 leaves it out."""

    def check(self) -> None:
        """Refuse numbers that measure nothing (UserError)."""
        for name in ("gallery", "queries"):
            require_field(self, name, getattr(self, name) >= 1, "1 or more")
        fits = 0 <= self.looked_at <= min(self.gallery, self.queries)
        require_field(self, "looked_at", fits, "0, or at most as many as gallery and queries")


@dataclass(frozen=True)
class DinoRecipe:
    """Learn pictures without labels (DINO): agree with a slower copy of oneself on other crops."""

    size: Size = "tiny"
    objective: Literal["dino", "supervised"] = "dino"
    """DINO, or the same encoder on the same crops told the labels: what to compare with."""
    backbone: Backbone = field(default_factory=Backbone)
    head: Head = field(default_factory=Head)
    distillation: Distillation = field(default_factory=Distillation)
    data: ObjectData = field(default_factory=ObjectData)
    training: Training = field(default_factory=Training)
    evaluation: Evaluation = field(default_factory=Evaluation)

    @classmethod
    def at_size(cls, size: Size) -> "DinoRecipe":
        """The recipe at one of the four sizes."""
        return SIZES[size]

    def check(self) -> None:
        """Refuse crops that the patches do not divide (UserError)."""
        for name in ("global_size", "local_size"):
            whole = getattr(self.data.crops, name) % self.backbone.patch_size == 0
            require_field(
                self.data.crops, name, whole, f"a multiple of patch size {self.backbone.patch_size}"
            )

    def stages(self, seed: int) -> list[Stage]:
        """One stage: self-distillation on crops of pictures."""
        from minivl.data.objects import ObjectSource

        # Loaded when first asked for: --dry-run and --help read no picture.
        source = cache(lambda: ObjectSource.load(self.data))

        @cache
        def diary():
            from minivl.recipes.dino_figures import Diary

            return Diary(source(), self.build_untrained, self.evaluation)

        return [
            Stage(
                name=self.objective,
                training=self.training,
                build_model=lambda: self.build_model(len(source().names)),
                build_streams=lambda: [self.build_stream(source(), seed)],
                evaluate=lambda model, device: diary().evaluate(model, device),
                figures=lambda model, device: diary().figures(model, device),
                schedules=self.schedules() if self.objective == "dino" else {},
                notes=NOTES[self.size],
            )
        ]

    def schedules(self) -> dict:
        """Momentum, weight decay and the teacher's temperature, from the step alone."""
        from minivl.training.optim import cosine

        steps, own = self.training.steps, self.distillation
        rise = own.teacher_temperature - own.teacher_temperature_start

        def temperature(step: int) -> float:
            done = min(step / max(own.teacher_temperature_steps, 1), 1.0)
            return own.teacher_temperature_start + rise * (
                done if own.teacher_temperature_steps else 1
            )

        return {
            "momentum": partial(cosine, steps=steps, start=own.momentum, end=1.0),
            "weight_decay": partial(
                cosine, steps=steps, start=self.training.weight_decay, end=own.final_weight_decay
            ),
            "teacher_temperature": temperature,
        }

    def build_backbone(self) -> "ViT":
        """The vision transformer; weights are drawn from torch's current seed."""
        from minivl.nn.vit import ViT

        return ViT(image_size=self.data.crops.global_size, **vars(self.backbone))

    def build_model(self, classes: int) -> "nn.Module":
        """Student and teacher, or the supervised classifier."""
        from minivl.models.classifier import Classifier
        from minivl.models.dino import Dino, DinoHead
        from minivl.nn.drop_path import set_drop_path

        backbone = self.build_backbone()
        if self.objective == "supervised":
            return Classifier(backbone, classes)
        own = self.distillation
        set_drop_path(backbone.transformer, own.drop_path)
        return Dino(
            backbone,
            DinoHead(backbone.width, **vars(self.head)),
            student_temperature=own.student_temperature,
            center_momentum=own.center_momentum,
            centring=own.centring,
            frozen_steps=own.frozen_steps,
        )

    def build_untrained(self) -> "nn.Module":
        """The same encoder as it is drawn, always from the same seed: what learning starts from."""
        import torch

        from minivl.models.classifier import Classifier

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return Classifier(self.build_backbone(), 1).eval()

    def build_stream(self, source: "ObjectSource", seed: int) -> "Stream":
        """Crops of pictures."""
        from minivl.data.stream import Stream

        loss = "dino" if self.objective == "dino" else "classification"
        examples = source.examples("train", seed)
        return Stream("crops", examples, self.training.batch_size, losses=(loss,))


NOTES = {
    "test": (),
    "tiny": ("about 3 minutes on two CPU cores, 0.7 GB of memory",),
    "small": ("an estimated hour on one GPU of 16 GB (not measured)",),
    "base": ("the paper's 400 epochs of ImageNet: days on many GPUs",),
}

EASY_CROPS = CropData(
    global_size=32,
    local_size=16,
    local_crops=2,
    global_scale=(0.5, 1.0),
    local_scale=(0.2, 0.5),
    jitter=0.4,
    grey_share=0.1,
    blur=(0.1, 0.3),
    solarise_share=0.0,
)
"""Few steps agree on little: crops that share more, in colours that change less."""

EPOCH = 1_281_167 // 1024
"""Steps of 1,024 pictures that see ImageNet once."""

SIZES: dict[str, DinoRecipe] = {
    "test": DinoRecipe(
        size="test",
        backbone=Backbone(width=32, depth=1, heads=2),
        head=Head(hidden=32, bottleneck=16, outputs=32),
        distillation=Distillation(frozen_steps=2),
        data=ObjectData(picture_size=40, colours=0.0, crops=EASY_CROPS),
        training=Training(
            steps=20,
            batch_size=16,
            optimizer="muon",
            warmup_steps=5,
            weight_decay=0.04,
            clip_norm=3.0,
            clip_mode="each",
            log_every=1,
            checkpoint_every=10,
            evaluate_every=10,
        ),
        evaluation=Evaluation(gallery=96, queries=48, looked_at=16),
    ),
    "tiny": DinoRecipe(
        size="tiny",
        data=ObjectData(picture_size=48, colours=0.0, crops=EASY_CROPS),
        training=Training(
            steps=1200,
            batch_size=64,
            optimizer="muon",
            lr=6e-3,
            warmup_steps=50,
            weight_decay=0.04,
            clip_norm=3.0,
            clip_mode="each",
            checkpoint_every=300,
            evaluate_every=240,
            prefetch=0,  # both cores compute: cutting crops beside them costs more than it hides
        ),
    ),
    "small": DinoRecipe(
        size="small",
        backbone=Backbone(patch_size=8, width=384, depth=12, heads=6),
        head=Head(hidden=2048, bottleneck=256, outputs=4096, norm_last_layer=False),
        distillation=Distillation(
            teacher_temperature=0.07,
            teacher_temperature_steps=3000,
            momentum=0.99,
            frozen_steps=300,
            drop_path=0.1,
        ),
        data=ObjectData(
            picture_size=128,
            concepts="seen",
            colours=0.0,
            crops=CropData(
                global_size=96,
                local_size=48,
                local_crops=6,
                local_scale=(0.1, 0.4),
                blur=(0.1, 1.0),
            ),
        ),
        training=Training(
            steps=20_000,
            batch_size=256,
            lr=1e-3,
            warmup_steps=1000,
            weight_decay=0.04,
            clip_norm=3.0,
            clip_mode="each",
            betas=(0.9, 0.999),
            checkpoint_every=1000,
            evaluate_every=2000,
            workers=8,
            prefetch=8,
        ),
    ),
    # Appendix C, the repository's README and the arguments beside the published ViT-B/16.
    "base": DinoRecipe(
        size="base",
        backbone=Backbone(patch_size=16, width=768, depth=12, heads=12, positions="normal"),
        head=Head(hidden=2048, bottleneck=256, outputs=65_536),
        distillation=Distillation(
            teacher_temperature=0.07,
            teacher_temperature_steps=50 * EPOCH,
            momentum=0.996,
            frozen_steps=3 * EPOCH,
            drop_path=0.1,
        ),
        data=ObjectData(
            picture_size=256,
            concepts="seen",
            crops=CropData(local_crops=10, global_scale=(0.25, 1.0), local_scale=(0.05, 0.25)),
        ),
        training=Training(
            steps=400 * EPOCH,
            batch_size=1024,
            lr=7.5e-4 * 1024 / 256,
            final_lr_fraction=2e-6 / (7.5e-4 * 1024 / 256),
            warmup_steps=10 * EPOCH,
            weight_decay=0.04,
            betas=(0.9, 0.999),
            eps=1e-8,
            clip_norm=0.3,
            clip_mode="each",
            precision="float32",
            checkpoint_every=1000,
            evaluate_every=10 * EPOCH,
            keep_checkpoints=3,
            workers=16,
            prefetch=8,
        ),
    ),
}

RECIPE = DinoRecipe

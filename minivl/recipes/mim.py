"""Masked image modeling (BEiT: Bao et al. 2021, FLAVA): name the visual words behind the holes.

Two stages: `dvae` trains the tokenizer, `mim` the transformer that reads pictures with holes.

tiny    3 minutes on two CPU cores, both stages: scenes of 64 pixels in 8 x 8 patches
small   an estimated hour on one modest GPU after the tokenizer's
base    ViT-B/16 and DALL-E's tokenizer, BEiT's schedule; many GPUs through torchrun
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from minivl.data.examples import SceneData
from minivl.data.holes import MaskData
from minivl.errors import require_field
from minivl.recipes.dvae import DvaeRecipe, tokenizer_of
from minivl.training.recipe import Size, Stage, Training

if TYPE_CHECKING:
    import torch

    from minivl.data.examples import SceneSource
    from minivl.data.stream import Stream
    from minivl.models.mim import Mim


@dataclass(frozen=True)
class ImageEncoder:
    """The vision transformer."""

    patch_size: int = 8
    """Side of a patch in pixels; the tokenizer gives one code a patch."""
    width: int = 128
    """Width of the tokens."""
    depth: int = 3
    """Transformer blocks."""
    heads: int = 4
    """Attention heads; a divisor of the width."""
    stem: Literal["patch", "conv"] = "patch"
    """Patch projection as in the papers, or a few convolutions before (Xiao et al. 2021)."""
    positions: Literal["normal", "sincos"] = "sincos"
    """Learned positions start from noise as in the papers, or from 2-D sines and cosines."""


@dataclass(frozen=True)
class Evaluation:
    """How much is measured at the end."""

    pictures: int = 512
    """Pictures of each kind."""

    def check(self) -> None:
        """Refuse a number that measures nothing (UserError)."""
        require_field(self, "pictures", self.pictures >= 1, "1 or more")


@dataclass(frozen=True)
class MimRecipe:
    """Train masked image modeling: a tokenizer, then a transformer that fills in its codes."""

    size: Size = "tiny"
    tokenizer: Path | None = None
    """A run that has trained a tokenizer; its stage is left out here."""
    dvae: DvaeRecipe = field(default_factory=DvaeRecipe)
    image: ImageEncoder = field(default_factory=ImageEncoder)
    data: SceneData = field(default_factory=SceneData)
    masks: MaskData = field(default_factory=MaskData)
    training: Training = field(default_factory=Training)
    evaluation: Evaluation = field(default_factory=Evaluation)

    @classmethod
    def at_size(cls, size: Size) -> "MimRecipe":
        """The recipe at one of the four sizes."""
        return SIZES[size]

    def check(self) -> None:
        """Refuse pictures that the patches do not divide (UserError)."""
        fits = self.data.image_size % self.image.patch_size == 0
        expected = f"a multiple of the patches' side, {self.image.patch_size}"
        require_field(self.data, "image_size", fits, expected)
        hidden = round(self.masks.share * self.grid[0] * self.grid[1])
        require_field(self.masks, "share", hidden >= 1, "enough to hide one patch")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        side = self.data.image_size // self.image.patch_size
        return side, side

    def stages(self, seed: int) -> list[Stage]:
        """The tokenizer's stage, unless a run brings one, and the transformer's."""
        from functools import cache

        from minivl.data.examples import SceneSource

        # Loaded when first asked for: --dry-run and --help read no picture.
        source = cache(lambda: SceneSource.load(self.data))
        mim = Stage(
            name="mim",
            training=self.training,
            build_model=self.build_model,
            build_streams=lambda: [self.build_stream(source(), seed)],
            evaluate=lambda model, device: self.evaluate(source(), model, device),
            figures=lambda model, device: self.figures(source(), model, device),
            start_from={"tokenizer": str(self.trained) if self.trained else "dvae"},
            notes=NOTES[self.size],
        )
        return [mim] if self.trained else [*self.dvae.stages(seed), mim]

    @property
    def trained(self) -> Path | None:
        """The folder of the given tokenizer's checkpoints."""
        return self.tokenizer and tokenizer_of(self.tokenizer)[0] / "checkpoints" / "dvae"

    def build_model(self) -> "Mim":
        """The transformer with its head, and the tokenizer; drawn from torch's current seed."""
        from minivl.models.mim import Mim
        from minivl.nn.vit import ViT

        encoder = ViT(image_size=self.data.image_size, **vars(self.image))
        return Mim(encoder, self.tokenizer_recipe.build_model())

    @property
    def tokenizer_recipe(self) -> DvaeRecipe:
        """The recipe that the tokenizer was, or is to be, made by."""
        return self.dvae if self.tokenizer is None else tokenizer_of(self.tokenizer)[1]

    def build_stream(self, source: "SceneSource", seed: int) -> "Stream":
        """Pictures with holes."""
        from minivl.data.holes import HoledPictures
        from minivl.data.stream import Stream

        examples = HoledPictures(source, "train", self.grid, self.masks, seed)
        return Stream("pictures", examples, self.training.batch_size, losses=("mim",))

    def evaluate(self, source: "SceneSource", model: "Mim", device: "torch.device") -> dict:
        """Accuracy on hidden patches of photographs never seen."""
        from minivl.evaluation.mim import evaluate_mim

        return evaluate_mim(source, model, device, self.masks, self.grid, self.evaluation.pictures)

    def figures(self, source: "SceneSource", model: "Mim", device: "torch.device") -> dict:
        """The pictures of the report."""
        from minivl.recipes.masked_figures import mim_figures

        return mim_figures(model, source, self.masks, self.grid, device)


NOTES = {
    "test": (),
    "tiny": ("with its tokenizer about 3 minutes on two CPU cores, 0.8 GB of memory",),
    "small": ("an estimated hour on one GPU of 16 GB (not measured)",),
    "base": ("BEiT's 500,000 steps of 2,048 pictures: days on many GPUs",),
}

SIZES: dict[str, MimRecipe] = {
    "test": MimRecipe(
        size="test",
        dvae=DvaeRecipe.at_size("test"),
        image=ImageEncoder(patch_size=8, width=32, depth=1, heads=2),
        data=SceneData(image_size=32, twin_share=0.0),
        masks=MaskData(share=0.4, min_block=2),
        training=Training(
            steps=20,
            batch_size=8,
            optimizer="muon",
            warmup_steps=5,
            log_every=1,
            checkpoint_every=10,
        ),
        evaluation=Evaluation(pictures=8),
    ),
    "tiny": MimRecipe(
        size="tiny",
        # The tokenizer sees pictures at half their size: one code a patch.
        dvae=replace(
            DvaeRecipe.at_size("tiny"),
            data=SceneData(image_size=32, twin_share=0.0),
            training=replace(
                DvaeRecipe.at_size("tiny").training, steps=1000, batch_size=16, evaluate_every=500
            ),
        ),
        data=SceneData(image_size=64, twin_share=0.0),
        masks=MaskData(share=0.4, min_block=5),
        training=Training(
            steps=600,
            batch_size=64,
            optimizer="muon",
            lr=3e-3,
            warmup_steps=40,
            checkpoint_every=200,
            prefetch=0,  # both cores compute: rendering beside them costs more than it hides
        ),
    ),
    "small": MimRecipe(
        size="small",
        dvae=DvaeRecipe.at_size("small"),
        image=ImageEncoder(patch_size=8, width=384, depth=8, heads=6),
        data=SceneData(image_size=128, concepts="seen", objects=(1, 4), twin_share=0.0),
        masks=MaskData(share=0.4, min_block=16),
        training=Training(
            steps=20_000,
            batch_size=256,
            lr=1e-3,
            warmup_steps=1000,
            checkpoint_every=1000,
            evaluate_every=5000,
            workers=8,
            prefetch=8,
        ),
    ),
    "base": MimRecipe(
        size="base",
        dvae=DvaeRecipe.at_size("base"),
        image=ImageEncoder(
            patch_size=16, width=768, depth=12, heads=12, stem="patch", positions="normal"
        ),
        data=SceneData(image_size=224, concepts="seen", objects=(1, 4), twin_share=0.0),
        masks=MaskData(share=75 / 196, min_block=16, exact=False),
        training=Training(
            steps=500_000,
            batch_size=2048,
            lr=1.5e-3,
            final_lr_fraction=1e-5 / 1.5e-3,
            warmup_steps=6250,
            betas=(0.9, 0.98),
            eps=1e-8,
            clip_norm=3.0,
            checkpoint_every=1000,
            evaluate_every=10_000,
            keep_checkpoints=3,
            workers=16,
            prefetch=8,
        ),
    ),
}

RECIPE = MimRecipe

"""CLIP (Radford et al. 2021, arXiv 2103.00020): two encoders that meet in one space.

tiny    3 minutes on two CPU cores: names drawings of 48 things and says where they stand
small   an estimated hour on one modest GPU: every concept, one to four things, all five captions
base    ViT-B/16 and the paper's text tower, batch and schedule; many GPUs through torchrun
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from minivl.data.examples import SceneData
from minivl.training.recipe import Size, Stage, Training

if TYPE_CHECKING:
    import torch

    from minivl.data.examples import SceneSource
    from minivl.data.stream import Stream
    from minivl.data.text import WordPiece
    from minivl.models.clip import Clip


@dataclass(frozen=True)
class ImageEncoder:
    """The vision transformer."""

    patch_size: int = 8
    """Side of a patch in pixels."""
    width: int = 96
    """Width of the tokens."""
    depth: int = 1
    """Transformer blocks; one learns most in three minutes on two cores."""
    heads: int = 4
    """Attention heads; a divisor of the width."""
    stem: Literal["patch", "conv"] = "conv"
    """Patch projection as in the paper, or a few convolutions before (Xiao et al. 2021)."""
    positions: Literal["normal", "sincos"] = "sincos"
    """Learned positions start from noise as in the paper, or from 2-D sines and cosines."""
    pool: Literal["cls", "mean"] = "mean"
    """What stands for the picture: the class token as in the paper, or the mean patch."""


@dataclass(frozen=True)
class TextEncoder:
    """The text transformer."""

    kind: Literal["bert", "causal"] = "bert"
    """Reads both ways and pools [CLS], or left to right and pools the last token as CLIP does."""
    width: int = 96
    """Width of the tokens."""
    depth: int = 2
    """Transformer blocks."""
    heads: int = 4
    """Attention heads; a divisor of the width."""


@dataclass(frozen=True)
class Evaluation:
    """How much is measured at the end."""

    pool_size: int = 256
    """Distinct captions that a picture chooses from."""
    pools: int = 4
    """Independent pools a split; R@k is their mean."""
    mirrored_pairs: int = 256
    """Scenes with their mirrored twins."""
    named: int = 480
    """Pictures of one thing to name (zero-shot classification)."""


@dataclass(frozen=True)
class ClipRecipe:
    """Train CLIP on generated scenes: pictures and captions meet in one space."""

    size: Size = "tiny"
    image: ImageEncoder = field(default_factory=ImageEncoder)
    text: TextEncoder = field(default_factory=TextEncoder)
    embed_dim: int = 96
    """Width of the space where pictures and sentences meet."""
    data: SceneData = field(default_factory=SceneData)
    training: Training = field(default_factory=Training)
    evaluation: Evaluation = field(default_factory=Evaluation)

    @classmethod
    def at_size(cls, size: Size) -> "ClipRecipe":
        """The recipe at one of the four sizes."""
        return SIZES[size]

    def stages(self, seed: int) -> list[Stage]:
        """One stage: contrastive training on scenes."""
        from functools import cache

        from minivl.data.examples import SceneSource

        # Loaded when first asked for: --dry-run and --help read no picture.
        source = cache(lambda: SceneSource.load(self.data))
        return [
            Stage(
                name="clip",
                training=self.training,
                build_model=lambda: self.build_model(source().text),
                build_streams=lambda: [self.build_stream(source(), seed)],
                evaluate=lambda model, device: self.evaluate(source(), model, device),
                figures=lambda model, device: self.figures(source(), model, device),
                notes=NOTES[self.size],
            )
        ]

    def build_model(self, text: "WordPiece") -> "Clip":
        """The two towers; weights are drawn from torch's current seed."""
        from minivl.models.clip import Clip, TextTower
        from minivl.nn.bert import Bert
        from minivl.nn.vit import ViT

        image_encoder = ViT(image_size=self.data.image_size, **without(self.image, "pool"))
        words = without(self.text, "kind")
        words |= {"vocab_size": len(text), "max_length": self.data.max_length}
        if self.text.kind == "causal":
            text_encoder = TextTower(**words, eot_id=text.sep_id)
        else:
            text_encoder = Bert(**words, norm="pre")
        return Clip(
            image_encoder, text_encoder, embed_dim=self.embed_dim, image_pool=self.image.pool
        )

    def build_stream(self, source: "SceneSource", seed: int) -> "Stream":
        """Pairs of pictures and captions."""
        from minivl.data.stream import Stream

        examples = source.examples("train", seed)
        return Stream("pairs", examples, self.training.batch_size, losses=("contrastive",))

    def evaluate(self, source: "SceneSource", model: "Clip", device: "torch.device") -> dict:
        """Retrieval, order and naming on every split."""
        from minivl.evaluation.contrastive import evaluate_contrastive

        return evaluate_contrastive(model, source, device, **vars(self.evaluation))

    def figures(self, source: "SceneSource", model: "Clip", device: "torch.device") -> dict:
        """The pictures of the report."""
        from minivl.recipes.figures import contrastive_figures

        return contrastive_figures(model, source, device)


def without(numbers: ImageEncoder | TextEncoder, name: str) -> dict:
    """The fields of a part but one, as keyword arguments."""
    return {key: value for key, value in vars(numbers).items() if key != name}


NOTES = {
    "test": (),
    "tiny": ("about 3 minutes on two CPU cores, 1.5 GB of memory with torch itself",),
    "small": ("an estimated hour on one GPU of 16 GB (not measured)",),
    "base": ("the paper's 390,625 steps of 32,768 pairs: days on many GPUs",),
}

SIZES: dict[str, ClipRecipe] = {
    "test": ClipRecipe(
        size="test",
        image=ImageEncoder(patch_size=8, width=32, depth=1, heads=2),
        text=TextEncoder(width=32, depth=1, heads=2),
        embed_dim=32,
        data=SceneData(image_size=32),
        training=Training(
            steps=20,
            batch_size=16,
            optimizer="muon",
            warmup_steps=5,
            log_every=1,
            checkpoint_every=10,
        ),
        evaluation=Evaluation(pool_size=32, pools=1, mirrored_pairs=16, named=48),
    ),
    "tiny": ClipRecipe(
        size="tiny",
        data=SceneData(twin_share=0.3, single_share=0.2),
        training=Training(
            steps=1000,
            batch_size=128,
            optimizer="muon",  # AdamW's 1,400 steps in the same time end 4 points lower
            lr=3e-3,
            warmup_steps=60,
            checkpoint_every=250,
            prefetch=0,  # both cores compute: rendering beside them costs more than it hides
        ),
    ),
    "small": ClipRecipe(
        size="small",
        image=ImageEncoder(patch_size=16, width=384, depth=8, heads=6),
        text=TextEncoder(width=256, depth=6, heads=4),
        embed_dim=256,
        data=SceneData(
            image_size=128,
            concepts="seen",
            objects=(1, 4),
            captions=("places", "existence", "relation", "converse", "attributes"),
            vocabulary="full",
        ),
        training=Training(
            steps=20_000,
            batch_size=512,
            lr=1e-3,
            warmup_steps=1000,
            weight_decay=0.1,
            checkpoint_every=1000,
            evaluate_every=5000,
            workers=8,
            prefetch=8,
        ),
    ),
    "base": ClipRecipe(
        size="base",
        image=ImageEncoder(
            patch_size=16,
            width=768,
            depth=12,
            heads=12,
            stem="patch",
            positions="normal",
            pool="cls",
        ),
        text=TextEncoder(kind="causal", width=512, depth=12, heads=8),
        embed_dim=512,
        data=SceneData(
            image_size=224,
            concepts="seen",
            objects=(1, 4),
            captions=("places", "existence", "relation", "converse", "attributes"),
            vocabulary="full",
            max_length=77,
        ),
        training=Training(
            steps=390_625,
            batch_size=32_768,
            lr=5e-4,
            warmup_steps=2000,
            weight_decay=0.2,
            checkpoint_every=1000,
            evaluate_every=10_000,
            keep_checkpoints=3,
            workers=16,
            prefetch=8,
        ),
    ),
}

RECIPE = ClipRecipe

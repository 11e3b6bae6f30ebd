"""Masked language modeling (BERT: Devlin et al. 2018): a text encoder that fills in hidden words.

tiny    3 minutes on two CPU cores: WordNet's short definitions of things, captions of scenes
small   an estimated hour on one modest GPU: every definition, all word pieces
base    BERT-base with FLAVA's norms and schedule for texts; many GPUs through torchrun
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from minivl.data.examples import SceneData
from minivl.data.texts import TextData
from minivl.errors import require_field
from minivl.training.recipe import Size, Stage, Training

if TYPE_CHECKING:
    import torch

    from minivl.data.stream import Stream
    from minivl.data.text import WordPiece
    from minivl.data.texts import TextSource
    from minivl.models.mlm import Mlm


@dataclass(frozen=True)
class TextEncoder:
    """The text transformer."""

    width: int = 128
    """Width of the tokens."""
    depth: int = 2
    """Transformer blocks."""
    heads: int = 4
    """Attention heads; a divisor of the width."""
    norm: Literal["pre", "post"] = "pre"
    """Norms before each layer, which learns soonest, or after it as in BERT."""
    dropout: float = 0.0
    """Share of activations dropped in training; BERT's is 0.1."""
    tied: bool = True
    """Name hidden words by their embeddings, as BERT does, or by vectors of their own."""


@dataclass(frozen=True)
class Evaluation:
    """How much is measured at the end."""

    texts: int = 1400
    """Held-out definitions, and as many captions of unseen compositions."""

    def check(self) -> None:
        """Refuse a number that measures nothing (UserError)."""
        require_field(self, "texts", self.texts >= 1, "1 or more")


@dataclass(frozen=True)
class MlmRecipe:
    """Train BERT's masked language modeling: hidden words of definitions and captions."""

    size: Size = "tiny"
    text: TextEncoder = field(default_factory=TextEncoder)
    data: TextData = field(default_factory=TextData)
    scenes: SceneData = field(
        default_factory=lambda: SceneData(
            captions=("places", "existence", "relation", "converse", "attributes"),
        )
    )
    training: Training = field(default_factory=Training)
    evaluation: Evaluation = field(default_factory=Evaluation)

    @classmethod
    def at_size(cls, size: Size) -> "MlmRecipe":
        """The recipe at one of the four sizes."""
        return SIZES[size]

    def stages(self, seed: int) -> list[Stage]:
        """One stage: hidden words."""
        from functools import cache

        from minivl.data.texts import TextSource

        # Loaded when first asked for: --help reads no text.
        source = cache(lambda: TextSource.load(self.data, self.scenes))
        return [
            Stage(
                name="mlm",
                training=self.training,
                build_model=lambda: self.build_model(source().text),
                build_streams=lambda: self.build_streams(source(), seed),
                evaluate=lambda model, device: self.evaluate(source(), model, device),
                figures=lambda model, device: self.figures(source(), model, device),
                notes=NOTES[self.size],
            )
        ]

    def build_model(self, text: "WordPiece") -> "Mlm":
        """The text encoder with its head; weights are drawn from torch's current seed."""
        from minivl.models.mlm import Mlm
        from minivl.nn.bert import Bert

        encoder = Bert(
            vocab_size=len(text),
            width=self.text.width,
            depth=self.text.depth,
            heads=self.text.heads,
            max_length=self.data.max_length,
            norm=self.text.norm,
            dropout=self.text.dropout,
        )
        return Mlm(encoder, tied=self.text.tied)

    def build_streams(self, source: "TextSource", seed: int) -> "list[Stream]":
        """Glosses and captions, each batch of one kind."""
        from minivl.data.stream import Stream
        from minivl.data.texts import MaskedTexts

        kinds = {
            "glosses": (source.glosses("train"), 1 - self.data.caption_share),
            "captions": (source.captions("train"), self.data.caption_share),
        }
        return [
            Stream(
                name,
                MaskedTexts(texts, source.text, self.data, seed),
                self.training.batch_size,
                weight,
                losses=("mlm",),
            )
            for name, (texts, weight) in kinds.items()
            if weight > 0
        ]

    def evaluate(self, source: "TextSource", model: "Mlm", device: "torch.device") -> dict:
        """Accuracy on hidden words of definitions never read, and of compositions never seen."""
        from minivl.evaluation.mlm import evaluate_mlm

        return evaluate_mlm(source, model, device, self.evaluation.texts)

    def figures(self, source: "TextSource", model: "Mlm", device: "torch.device") -> dict:
        """The pictures of the report."""
        from minivl.recipes.masked_figures import mlm_figures

        return mlm_figures(model, source, device)


NOTES = {
    "test": (),
    "tiny": ("about 3 minutes on two CPU cores, 1 GB of memory",),
    "small": ("an estimated hour on one GPU of 16 GB (not measured)",),
    "base": (
        "FLAVA's 125,000 steps of 2,048 texts: days on many GPUs",
        "FLAVA read CCNews and BookCorpus; WordNet's glosses stand in for them",
    ),
}

SIZES: dict[str, MlmRecipe] = {
    "test": MlmRecipe(
        size="test",
        text=TextEncoder(width=32, depth=1, heads=2),
        data=TextData(topics=("noun.food",), vocabulary_size=600, max_length=16),
        scenes=SceneData(image_size=32),
        training=Training(
            steps=20,
            batch_size=16,
            optimizer="muon",
            warmup_steps=5,
            log_every=1,
            checkpoint_every=10,
        ),
        evaluation=Evaluation(texts=32),
    ),
    "tiny": MlmRecipe(
        size="tiny",
        # Definitions of things, and twice as many hidden words as BERT's: minutes are short.
        data=TextData(
            topics=(
                "noun.plant",
                "noun.animal",
                "noun.food",
                "noun.person",
                "noun.artifact",
                "noun.body",
            ),
            probability=0.3,
        ),
        training=Training(
            steps=3000,
            batch_size=64,
            optimizer="muon",
            lr=3e-3,
            warmup_steps=100,
            checkpoint_every=500,
            prefetch=0,  # both cores compute: preparing beside them costs more than it hides
        ),
    ),
    "small": MlmRecipe(
        size="small",
        text=TextEncoder(width=384, depth=6, heads=6),
        data=TextData(glosses="full", vocabulary="full", max_length=64),
        training=Training(
            steps=20_000,
            batch_size=512,
            lr=1e-3,
            warmup_steps=1000,
            checkpoint_every=1000,
            evaluate_every=5000,
            workers=4,
            prefetch=8,
        ),
    ),
    "base": MlmRecipe(
        size="base",
        text=TextEncoder(width=768, depth=12, heads=12),
        data=TextData(
            glosses="full", vocabulary="full", max_length=512, packed=True, caption_share=0.0
        ),
        training=Training(
            steps=125_000,
            batch_size=2048,
            lr=5e-4,
            warmup_steps=10_000,
            weight_decay=0.01,
            clip_norm=0.0,
            checkpoint_every=1000,
            evaluate_every=10_000,
            keep_checkpoints=3,
            workers=16,
            prefetch=8,
        ),
    ),
}

RECIPE = MlmRecipe

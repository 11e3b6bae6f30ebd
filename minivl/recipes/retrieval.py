"""Fine-tuning ALBEF for retrieval (Li et al. 2021, section 5): pictures with several captions.

  minivl train retrieval --run runs/albef_tiny

A run of `minivl train albef` goes on with two of its objectives, contrast and matching, on a set
of pictures that have five captions each. All captions of a picture are right for it: those that
stand elsewhere in the batch, or in the queue, are known again by the picture's id.

Measured is retrieval in two stages (the most similar, ranked anew by the matching head) beside
retrieval by similarity alone; and scene-grounding, for which nothing else is trained in the paper
either: where is the thing that a phrase names, though nobody has ever shown the model a box?

tiny    minutes on two CPU cores
small   an estimated hour on one modest GPU (not measured)
base    the paper's numbers for COCO; for Flickr30k add
        --pictures 29000 --steps 5660 --pool-size 1000 --reranked 128
"""

from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from minivl.data.captions import KINDS
from minivl.data.examples import SceneData
from minivl.errors import UserError, require_counts, require_field
from minivl.recipes.albef import AlbefRecipe
from minivl.recipes.pretrained import begin
from minivl.training.recipe import Size, Stage, Training, alpha_at

if TYPE_CHECKING:
    import torch

    from minivl.data.captioned import CaptionSource
    from minivl.data.stream import Stream
    from minivl.data.text import WordPiece
    from minivl.models.albef import Albef


@dataclass(frozen=True)
class Evaluation:
    """How much is measured at the end."""

    pool_size: int = 256
    """Pictures of a split that retrieval chooses from, each with all its captions."""
    reranked: int = 32
    """How many of the most similar go through fusion; the paper: 256 on COCO, 128 on Flickr30k."""
    matched: int = 512
    """Pairs to judge, half of them wrong."""
    mirrored_pairs: int = 256
    """Scenes with their mirrored twins, for matching."""
    grounded: int = 512
    """Phrases whose thing is to be pointed at."""

    def check(self) -> None:
        """Refuse numbers that measure nothing (UserError)."""
        # Two pictures and two sentences: each picture's wrong sentence is another one's.
        require_counts(self, matched=4)


@dataclass(frozen=True)
class RetrievalRecipe:
    """Fine-tune a run of ALBEF for retrieval; measure it, and where phrases are."""

    size: Size = "tiny"
    run: Path | None = None
    """The run of `minivl train albef` to start from; words, widths and queue are its own."""
    pictures: int = 2048
    """How many there are, an even number; each with a caption of every kind."""
    captions: tuple[Literal["places", "existence", "relation", "converse", "attributes"], ...] = (
        KINDS
    )
    """Kinds of captions; one epoch reads each of every picture once."""
    image_size: int = 0
    """Side of the pictures in pixels, the run's own if 0; the paper goes from 256 to 384."""
    distill: bool = True
    """Contrast also follows the momentum twin."""
    alpha: float = 0.4
    """The twin's share of the targets; it rises from 0 in the first epoch."""
    momentum: float = 0.995
    """How much of the twin stays at each step; the rest is the model's."""
    momentum_dropout: bool = False
    """Dropout in the twin, too, as the paper's code leaves it on."""
    exclude: Literal["same", "picture", "diagonal"] = "same"
    """What is no wrong pair: equal captions and equal pictures; as in the paper's code, equal
    pictures alone; the pair itself alone, so that captions of one picture are called wrong."""
    sampler: Literal["uniform", "multinomial"] = "uniform"
    """How wrong pairs are drawn; multinomial spends random numbers as the paper's code does."""
    clamp_temperature: bool = False
    """Put the temperature back into the run's range before each step; the paper's code does in
    pretraining, and lets it go here."""
    training: Training = field(default_factory=Training)
    evaluation: Evaluation = field(default_factory=Evaluation)

    @classmethod
    def at_size(cls, size: Size) -> "RetrievalRecipe":
        """The recipe at one of the four sizes."""
        return SIZES[size]

    def check(self) -> None:
        """Refuse a missing run, one that cannot be started from, and sets without pairs."""
        for name in ("alpha", "momentum"):
            require_field(self, name, 0 <= getattr(self, name) <= 1, "a share from 0 to 1")
        even = self.pictures >= 2 and self.pictures % 2 == 0
        require_field(self, "pictures", even, "an even number: pictures come with their twins")
        require_field(self, "captions", bool(self.captions), "at least one kind")
        albef, patch = self.albef, self.albef.image.patch_size
        expected = f"0, or a multiple of the run's patches of {patch} pixels, 16 or more"
        fits = self.image_size == 0 or (self.image_size >= 16 and self.image_size % patch == 0)
        require_field(self, "image_size", fits, expected)
        batch = self.training.batch_size // self.training.accumulate
        if 0 < albef.queue_size < batch:
            raise UserError(
                f"a batch of {batch} pairs does not fit the run's queue of {albef.queue_size}",
                "give a smaller --training.batch-size, or more --training.accumulate",
            )
        _ = self.start_from

    @property
    def albef(self) -> AlbefRecipe:
        """The recipe that the run was made by; UserError for no run, or one of another."""
        begun = begin(self.run)
        if not begun.is_albef:
            raise UserError(
                f"{self.run} is a run of flava: there is no fusion encoder to rank with",
                "name a run that minivl train albef has made",
            )
        return begun.recipe

    @property
    def data(self) -> SceneData:
        """The run's scenes, with all captions, at this size."""
        own = self.albef.data
        size = self.image_size or own.image_size
        return replace(own, captions=self.captions, image_size=size)

    @property
    def epoch(self) -> int:
        """Steps that show every pair once."""
        return max(1, self.pictures * len(self.captions) // self.training.batch_size)

    @property
    def start_from(self) -> str:
        """The run's last checkpoint: weights, twin and queue, whose pictures are nobody's."""
        return begin(self.run).part("")[0]

    def stages(self, seed: int) -> list[Stage]:
        """One stage: contrast and matching on pictures with several captions."""
        # Loaded when first asked for: --help reads no picture and needs no run.
        source = cache(self.load_source)
        ramp = partial(alpha_at, steps_per_epoch=self.epoch, alpha=self.alpha)
        return [
            Stage(
                name="retrieval",
                training=self.training,
                build_model=lambda: self.build_model(source().text),
                build_streams=lambda: [self.build_stream(source(), seed)],
                evaluate=lambda model, device: self.evaluate(source(), model, device),
                figures=lambda model, device: self.figures(source(), model, device),
                schedules={"alpha": ramp} if self.distill else {},
                start_from=None if self.run is None else self.start_from,
                notes=NOTES[self.size],
            )
        ]

    def load_source(self) -> "CaptionSource":
        """Scenes, and the run's words."""
        return replace(self.albef, data=self.data).load_source()

    def build_model(self, text: "WordPiece") -> "Albef":
        """The run's model, whose targets know pictures by their ids."""
        albef = self.albef
        return albef.build_model(
            text,
            objectives=("itc", "itm"),
            distill=("itc",) if self.distill else (),
            momentum=self.momentum,
            alpha=self.alpha,
            temperature_range=albef.temperature_range if self.clamp_temperature else None,
            negatives="hard",
            exclude=self.exclude,
            sampler=self.sampler,
            id_targets=True,
            momentum_dropout=self.momentum_dropout,
        )

    def build_stream(self, source: "CaptionSource", seed: int) -> "Stream":
        """Pairs with the ids of their pictures."""
        from minivl.data.several_captions import SeveralCaptions
        from minivl.data.stream import Stream

        examples = SeveralCaptions(
            source.scenes, "train", seed, pictures=self.pictures, kinds=self.captions
        )
        return Stream("pairs", examples, self.training.batch_size, losses=("itc", "itm"))

    def evaluate(self, source: "CaptionSource", model: "Albef", device: "torch.device") -> dict:
        """Retrieval in one stage and in two, matching, and grounding, on every split."""
        from minivl.evaluation.several_captions import evaluate_several
        from minivl.recipes.grounding_figures import grounding

        counts = dict(vars(self.evaluation))
        grounded = counts.pop("grounded")
        if "places" not in self.captions or self.data.objects[0] > 2:
            counts["mirrored_pairs"] = 0  # twins are told apart by the places of one or two things
        found = evaluate_several(source.scenes, model, device, self.captions, **counts)
        return found | grounding(source.scenes, model, device, grounded)

    def figures(self, source: "CaptionSource", model: "Albef", device: "torch.device") -> dict:
        """Captions ranked anew, and where their words are: drawings of the artist never seen."""
        from minivl.recipes.albef_figures import ranked_anew
        from minivl.recipes.grounding_figures import words_pictures

        reranked = ranked_anew(model, source, device, self.evaluation.reranked)
        return {"reranked": reranked} | words_pictures(source.scenes, model)


COCO = 113_287
"""Pictures of COCO that Karpathy and Fei-Fei (2015) leave for training; five captions each."""

NOTES = {
    "test": (),
    "tiny": (),
    "small": ("an estimated hour on one GPU of 16 GB (not measured)",),
    "base": (
        "the paper's 5 epochs of COCO in batches of 256; generated scenes stand in for it",
        "its rate fell by epochs: --schedule by_epochs --epochs 5; the best of them counts there",
        "it computed in float32: --training.precision float32; bfloat16 where the GPU has it here",
    ),
}

SIZES: dict[str, RetrievalRecipe] = {
    "test": RetrievalRecipe(
        size="test",
        pictures=32,
        training=Training(
            steps=20,
            batch_size=16,
            optimizer="muon",
            warmup_steps=5,
            log_every=1,
            checkpoint_every=10,
        ),
        evaluation=Evaluation(pool_size=8, reranked=4, matched=16, mirrored_pairs=8, grounded=16),
    ),
    "tiny": RetrievalRecipe(
        size="tiny",
        training=Training(
            steps=400,
            batch_size=128,
            optimizer="muon",
            lr=1e-3,
            final_lr_fraction=0.1,
            warmup_steps=20,
            checkpoint_every=100,
            prefetch=0,  # both cores compute: rendering beside them costs more than it hides
        ),
    ),
    "small": RetrievalRecipe(
        size="small",
        pictures=20_000,
        training=Training(
            steps=1950,
            batch_size=256,
            lr=1e-4,
            final_lr_fraction=0.1,
            warmup_steps=100,
            weight_decay=0.02,
            checkpoint_every=390,
            workers=8,
            prefetch=8,
        ),
        evaluation=Evaluation(pool_size=1000, reranked=128),
    ),
    "base": RetrievalRecipe(
        size="base",
        pictures=COCO + 1,
        image_size=384,
        training=Training(
            steps=5 * (5 * COCO // 256),
            batch_size=256,
            lr=1e-5,
            final_lr_fraction=0.1,
            warmup_steps=0,
            betas=(0.9, 0.999),
            eps=1e-8,
            weight_decay=0.02,
            decayed="all_but_vectors",
            clip_norm=0.0,
            checkpoint_every=500,
            keep_checkpoints=3,
            workers=16,
            prefetch=8,
        ),
        evaluation=Evaluation(pool_size=5000, reranked=256),
    ),
}

RECIPE = RetrievalRecipe

"""The image tokenizer (Ramesh et al. 2021, arXiv 2102.12092): a picture becomes a few words.

tiny    3 minutes on two CPU cores: scenes of 48 pixels in 144 words out of 256
small   an estimated hour on one modest GPU: 128 pixels in 256 words out of 1,024
base    DALL-E's networks, 8,192 words, 256 pixels, batch and schedule; many GPUs
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from minivl.data.examples import SceneData
from minivl.errors import UserError, require_field
from minivl.training.recipe import Size, Stage, Training

if TYPE_CHECKING:
    import torch

    from minivl.data.examples import SceneSource
    from minivl.data.stream import Stream
    from minivl.models.dvae import DVAE
    from minivl.recipes.dvae_figures import Snapshots


@dataclass(frozen=True)
class Tokenizer:
    """The networks: an encoder that names codes and a decoder that draws them."""

    vocab_size: int = 256
    """Number of codes: the words that a picture can use."""
    code_width: int = 32
    """Width of a code's vector."""
    width: int = 32
    """Width where the picture has its full size; doubles with each halving."""
    groups: int = 3
    """Groups of blocks; a code stands for cells of 2^(groups-1) pixels' side."""
    blocks: int = 1
    """Blocks in a group."""

    def check(self) -> None:
        """Refuse networks that cannot be built (UserError)."""
        require_field(self, "vocab_size", self.vocab_size >= 2, "2 or more")
        require_field(self, "width", self.width % 4 == 0 < self.width, "a multiple of 4")
        for name in ("code_width", "groups", "blocks"):
            require_field(self, name, getattr(self, name) >= 1, "1 or more")


@dataclass(frozen=True)
class Relaxation:
    """How soft names become hard ones."""

    temperature: tuple[float, float] = (1.0, 1 / 16)
    """Of the Gumbel-softmax, at the start and at the end of the annealing (along a cosine)."""
    anneal_share: float = 0.6
    """The share of the steps in which the temperature falls."""
    kl_weight: float = 0.0
    """Weight of the KL divergence from uniform names, nats a cell, once it has risen."""
    kl_share: float = 0.1
    """The share of the steps in which that weight rises from 0 (along a cosine)."""
    straight_through: bool = False
    """Decode one-hot draws in training too, with the gradient of soft ones."""

    def check(self) -> None:
        """Refuse temperatures and shares that mean nothing (UserError)."""
        require_field(self, "temperature", min(self.temperature) > 0, "two numbers above 0")
        require_field(self, "kl_weight", self.kl_weight >= 0, "0 or more")
        for name in ("anneal_share", "kl_share"):
            require_field(self, name, 0 <= getattr(self, name) <= 1, "a share from 0 to 1")

    def schedules(self, steps: int) -> dict[str, Callable[[int], float]]:
        """What the engine sets on the model before each of the steps: temperature and beta."""
        from minivl.training.optim import cosine

        hot, cold = self.temperature
        anneal, rise = self.anneal_share * steps, self.kl_share * steps
        return {
            "temperature": lambda step: cosine(step, anneal, start=hot, end=cold),
            "beta": lambda step: cosine(step, rise, start=0.0, end=self.kl_weight),
        }


@dataclass(frozen=True)
class Evaluation:
    """How much is measured and shown."""

    pictures: int = 512
    """Pictures of each kind that are turned into words and back."""
    shown: int = 6
    """Pictures that the figures follow through the training."""

    def check(self) -> None:
        """Refuse numbers that measure nothing (UserError)."""
        require_field(self, "pictures", self.pictures >= 2, "2 or more")
        require_field(self, "shown", self.shown >= 1, "1 or more")


@dataclass(frozen=True)
class DvaeRecipe:
    """Train an image tokenizer on generated scenes: pictures become words, and words pictures."""

    size: Size = "tiny"
    tokenizer: Tokenizer = field(default_factory=Tokenizer)
    relaxation: Relaxation = field(default_factory=Relaxation)
    data: SceneData = field(default_factory=SceneData)
    training: Training = field(default_factory=Training)
    evaluation: Evaluation = field(default_factory=Evaluation)

    @classmethod
    def at_size(cls, size: Size) -> "DvaeRecipe":
        """The recipe at one of the four sizes."""
        return SIZES[size]

    def check(self) -> None:
        """Refuse pictures that the cells do not divide (UserError)."""
        cell = 2 ** (self.tokenizer.groups - 1)
        fits = self.data.image_size % cell == 0
        require_field(self.data, "image_size", fits, f"a multiple of the cells' side, {cell}")

    def stages(self, seed: int) -> list[Stage]:
        """One stage: reconstruct scenes from soft words that grow hard."""
        from functools import cache

        from minivl.data.examples import SceneSource

        # Loaded when first asked for: --dry-run and --help read no picture.
        source = cache(lambda: SceneSource.load(self.data))
        snapshots = cache(self.snapshots)
        return [
            Stage(
                name="dvae",
                training=self.training,
                build_model=self.build_model,
                build_streams=lambda: [self.build_stream(source(), seed)],
                evaluate=lambda model, device: self.evaluate(source(), model, device, snapshots()),
                figures=lambda model, device: self.figures(source(), model, device, snapshots()),
                schedules=self.relaxation.schedules(self.training.steps),
                notes=NOTES[self.size],
            )
        ]

    def build_model(self) -> "DVAE":
        """Encoder and decoder; weights are drawn from torch's current seed."""
        from minivl.models.dvae import DVAE
        from minivl.nn.dvae import Decoder, Encoder

        numbers = dict(vars(self.tokenizer))
        decoder = Decoder(**numbers)
        numbers.pop("code_width")
        return DVAE(Encoder(**numbers), decoder, straight_through=self.relaxation.straight_through)

    def build_stream(self, source: "SceneSource", seed: int) -> "Stream":
        """Scenes; their captions are not read."""
        from minivl.data.stream import Stream

        examples = source.examples("train", seed)
        return Stream("scenes", examples, self.training.batch_size)

    def snapshots(self) -> "Snapshots":
        """An empty collection of what evaluations draw."""
        from minivl.recipes.dvae_figures import Snapshots

        return Snapshots()

    def evaluate(
        self, source: "SceneSource", model: "DVAE", device: "torch.device", snapshots: "Snapshots"
    ) -> dict:
        """Reconstruction and use of the codes; what is drawn now goes into the snapshots."""
        from minivl.evaluation.tokenizer import evaluate_tokenizer, unseen

        shown = dict(unseen(source, self.evaluation.shown))["validation"]
        snapshots.add(model, shown, device)
        return evaluate_tokenizer(model, source, device, pictures=self.evaluation.pictures)

    def figures(
        self, source: "SceneSource", model: "DVAE", device: "torch.device", snapshots: "Snapshots"
    ) -> dict:
        """The pictures of the report."""
        from minivl.recipes.dvae_figures import tokenizer_figures

        shown = self.evaluation.shown
        return tokenizer_figures(model, source, device, shown=shown, snapshots=snapshots)


def tokenizer_of(folder: Path) -> tuple[Path, DvaeRecipe]:
    """The run that trained a run's tokenizer, often itself, and the recipe it did so by.

    UserError for a run of a recipe that has none.
    """
    from minivl.training import config
    from minivl.training.run import Run

    settings = dict(Run.read(folder).config)
    if settings.get("tokenizer"):
        return tokenizer_of(Path(settings["tokenizer"]))
    if settings.get("recipe") != "dvae" and "dvae" not in settings:
        raise UserError(
            f"{folder} is a run of {settings.get('recipe')}, and holds no tokenizer",
            "name a run of dvae, mim or flava",
        )
    fields = settings.get("dvae", settings)
    fields = {key: value for key, value in fields.items() if key not in ("recipe", "seed")}
    return folder, config.from_plain(DvaeRecipe, fields)


NOTES = {
    "test": (),
    "tiny": ("about 3 minutes on two CPU cores, 0.7 GB of memory",),
    "small": ("an estimated hour on one GPU of 16 GB (not measured)",),
    "base": (
        "DALL-E's 512 pictures a step up to the step where its learning rate ends: many GPUs",
        "the paper trained on to 3,000,000 steps and averaged the weights (0.999)",
    ),
}

SIZES: dict[str, DvaeRecipe] = {
    "test": DvaeRecipe(
        size="test",
        tokenizer=Tokenizer(vocab_size=16, code_width=8, width=8, groups=3, blocks=1),
        data=SceneData(image_size=32),
        training=Training(
            steps=20, batch_size=8, lr=3e-3, warmup_steps=5, log_every=1, checkpoint_every=10
        ),
        evaluation=Evaluation(pictures=16, shown=4),
    ),
    "tiny": DvaeRecipe(
        size="tiny",
        tokenizer=Tokenizer(width=16),
        # A cell has 48 colour values: the KL divergence counts twice what likelihood alone asks.
        # Hot at first, so that many codes are tried before names grow hard.
        relaxation=Relaxation(temperature=(2.0, 1 / 16), kl_weight=2 / 48),
        data=SceneData(twin_share=0.0),
        training=Training(
            steps=1400,
            batch_size=32,
            optimizer="muon",
            lr=2e-2,
            warmup_steps=50,
            checkpoint_every=350,
            evaluate_every=350,
            prefetch=0,  # both cores compute: rendering beside them costs more than it hides
        ),
    ),
    "small": DvaeRecipe(
        size="small",
        tokenizer=Tokenizer(vocab_size=1024, code_width=64, width=64, groups=4, blocks=2),
        relaxation=Relaxation(kl_weight=1 / 192),  # a cell has 8 x 8 x 3 colour values
        data=SceneData(
            image_size=128,
            concepts="seen",
            objects=(1, 4),
            twin_share=0.0,
        ),
        training=Training(
            steps=20_000,
            batch_size=128,
            lr=1e-3,
            warmup_steps=500,
            weight_decay=1e-4,
            checkpoint_every=1000,
            evaluate_every=2500,
            workers=8,
            prefetch=8,
        ),
    ),
    "base": DvaeRecipe(
        size="base",
        tokenizer=Tokenizer(vocab_size=8192, code_width=128, width=256, groups=4, blocks=2),
        # The paper weighs sums: 6.6 x 1,024 codes against 256 x 256 x 3 colour values.
        relaxation=Relaxation(
            anneal_share=150_000 / 1_200_000, kl_weight=6.6 / 192, kl_share=5000 / 1_200_000
        ),
        data=SceneData(
            image_size=256,
            concepts="seen",
            objects=(1, 4),
            twin_share=0.0,
        ),
        training=Training(
            steps=1_200_000,
            batch_size=512,
            lr=1e-4,
            final_lr_fraction=0.0125,
            warmup_steps=0,
            betas=(0.9, 0.999),
            eps=1e-8,
            weight_decay=1e-4,
            checkpoint_every=1000,
            evaluate_every=50_000,
            keep_checkpoints=3,
            workers=16,
            prefetch=8,
        ),
        evaluation=Evaluation(pictures=2048),
    ),
}

RECIPE = DvaeRecipe

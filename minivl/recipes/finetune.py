"""Fine-tuning (FLAVA, appendix B.2): a trained run learns a labelled task, all weights together.

  minivl train finetune --run runs/flava_tiny --task vqa

vqa         a question about a picture: what is there, where is it, how many, yes or no?
entailment  a sentence about a picture of which a part is painted over: true, false, or undecided?
sentences   the same of two sentences, without a picture

Two comparisons tell what a number is worth; each is a run of its own:
  --inputs text, --inputs image   one side alone: no better than chance, or the data betray answers
  --no-pretrained                 the same model from noise: what pretraining was good for

tiny    3 minutes on two CPU cores
small   an estimated half hour on one modest GPU
base    the paper's numbers for VQA; for its other tasks add
        --task entailment --lr 1e-5 --steps 24000
        --task sentences --lr 1e-5 --steps 33112 --batch-size 32 --warmup-steps 1986
"""

from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from minivl.data.tasks import SPLITS, Inputs, Task
from minivl.errors import UserError, require_field
from minivl.recipes.flava import FlavaRecipe, part_of
from minivl.training.recipe import Size, Stage, Training

if TYPE_CHECKING:
    import torch

    from minivl.data.stream import Stream
    from minivl.data.texts import TextSource
    from minivl.models.finetune import Finetuned


@dataclass(frozen=True)
class Head:
    """The two layers that score the answers."""

    hidden: int = 192
    """Width between them; twice the encoder's, as in the paper: 1,536 at 768."""
    dropout: float = 0.0
    """Share of that width dropped in training; torchmultimodal's code has 0.5."""

    def check(self) -> None:
        """Refuse numbers that make no head (UserError)."""
        require_field(self, "hidden", self.hidden >= 1, "1 or more")
        require_field(self, "dropout", 0 <= self.dropout < 1, "a share below 1")


@dataclass(frozen=True)
class Evaluation:
    """How much is measured at the end."""

    questions: int = 2048
    """Questions on each split."""

    def check(self) -> None:
        """Refuse a number that measures nothing (UserError)."""
        require_field(self, "questions", self.questions >= 1, "1 or more")


@dataclass(frozen=True)
class FinetuneRecipe:
    """Fine-tune a FLAVA run on questions about pictures, or on entailment."""

    size: Size = "tiny"
    run: Path | None = None
    """The run of `minivl train flava` to start from; picture size, words and widths are its own."""
    task: Task = "vqa"
    """Questions about pictures, claims about pictures, or claims about sentences."""
    inputs: Inputs = "both"
    """What is read: both sides, or one alone as a baseline. Of two sentences the second is the
    text."""
    pretrained: bool = True
    """Start from the run's weights, or from noise."""
    head: Head = field(default_factory=Head)
    training: Training = field(default_factory=Training)
    evaluation: Evaluation = field(default_factory=Evaluation)

    @classmethod
    def at_size(cls, size: Size) -> "FinetuneRecipe":
        """The recipe at one of the four sizes."""
        return SIZES[size]

    def check(self) -> None:
        """Refuse a missing run, one that cannot be started from, and baselines that are none."""
        flava_of(self.run)
        _ = self.start_from
        if self.task == "sentences" and self.inputs == "image":
            raise UserError(
                "the task sentences has no pictures", "give --inputs text: the second one alone"
            )

    @property
    def start_from(self) -> dict[str, tuple[str, str]] | None:
        """Which part of the model starts from where: all of FLAVA from the joint stage."""
        if self.run is None or not self.pretrained:
            return None
        return {"exit.flava": part_of(self.run, {"joint": ""})}

    def stages(self, seed: int) -> list[Stage]:
        """One stage: the whole model learns the task."""
        from minivl.data.texts import TextSource

        # Loaded when first asked for: --help reads no picture and needs no run.
        flava = cache(lambda: flava_of(self.run))
        source = cache(lambda: TextSource.load(flava().texts, flava().data))
        return [
            Stage(
                name="finetune",
                training=self.training,
                build_model=lambda: self.build_model(flava(), source()),
                build_streams=lambda: [self.build_stream(source(), seed)],
                evaluate=lambda model, device: self.evaluate(source(), model, device),
                start_from=self.start_from,
                notes=NOTES[self.size],
            )
        ]

    def build_model(self, flava: FlavaRecipe, source: "TextSource") -> "Finetuned":
        """FLAVA without the heads of its pretraining, and a new head on one of its exits."""
        from minivl.data.tasks import answers_of
        from minivl.models.finetune import Finetuned, PairExit, TextExit

        make_exit = TextExit if self.task == "sentences" else PairExit
        bare = replace(flava, objectives=("contrastive",), poolers=False)
        answers = len(answers_of(source, self.task))
        return Finetuned(make_exit(bare.build_model(source)), answers, **vars(self.head))

    def build_stream(self, source: "TextSource", seed: int) -> "Stream":
        """Questions with their answers."""
        from minivl.data.stream import Stream
        from minivl.data.tasks import TaskExamples

        examples = TaskExamples(source, self.task, "train", seed, self.inputs)
        return Stream(self.task, examples, self.training.batch_size, losses=("classification",))

    def evaluate(self, source: "TextSource", model: "Finetuned", device: "torch.device") -> dict:
        """Right answers on pictures never seen, of the artist never seen, of pairs never seen."""
        from minivl.data.tasks import TaskExamples
        from minivl.evaluation.finetune import evaluate_finetuned
        from minivl.evaluation.pools import EVALUATION_SEED

        return evaluate_finetuned(
            model,
            lambda split: TaskExamples(source, self.task, split, EVALUATION_SEED, self.inputs),
            SPLITS[self.task],
            device,
            self.evaluation.questions,
        )


def flava_of(folder: Path | None) -> FlavaRecipe:
    """The recipe that a run of FLAVA was made by; UserError for no run, or one of another."""
    from minivl.training import config
    from minivl.training.run import Run

    if folder is None:
        raise UserError(
            "which run is to be fine-tuned?",
            "give --run FOLDER, made by minivl train flava --out FOLDER",
        )
    settings = dict(Run.read(folder).config)
    if settings.get("recipe") != "flava":
        raise UserError(
            f"{folder} is a run of {settings.get('recipe')}, not of flava",
            "name a run that minivl train flava has made",
        )
    fields = {key: value for key, value in settings.items() if key not in ("recipe", "seed")}
    return config.from_plain(FlavaRecipe, fields)


NOTES = {
    "test": (),
    "tiny": ("about 3 minutes on two CPU cores, 1 GB of memory",),
    "small": ("an estimated half hour on one GPU of 16 GB (not measured)",),
    "base": (
        "the paper's 44,000 updates of 256 questions, at the run's picture size instead of 480",
    ),
}

SIZES: dict[str, FinetuneRecipe] = {
    "test": FinetuneRecipe(
        size="test",
        head=Head(hidden=64),
        training=Training(
            steps=20,
            batch_size=16,
            optimizer="muon",
            warmup_steps=5,
            log_every=1,
            checkpoint_every=10,
        ),
        evaluation=Evaluation(questions=64),
    ),
    "tiny": FinetuneRecipe(
        size="tiny",
        training=Training(
            steps=1000,
            batch_size=64,
            optimizer="muon",
            lr=1e-3,
            warmup_steps=50,
            checkpoint_every=250,
            prefetch=0,  # both cores compute: rendering beside them costs more than it hides
        ),
    ),
    "small": FinetuneRecipe(
        size="small",
        head=Head(hidden=768),
        training=Training(
            steps=10_000,
            batch_size=256,
            lr=1e-4,
            warmup_steps=500,
            weight_decay=1e-2,
            checkpoint_every=1000,
            workers=8,
            prefetch=8,
        ),
    ),
    "base": FinetuneRecipe(
        size="base",
        head=Head(hidden=1536, dropout=0.5),
        training=Training(
            steps=44_000,
            batch_size=256,
            lr=1e-4,
            warmup_steps=2000,
            weight_decay=1e-2,
            checkpoint_every=1000,
            keep_checkpoints=3,
            workers=16,
            prefetch=8,
        ),
        evaluation=Evaluation(questions=4096),
    ),
}

RECIPE = FinetuneRecipe

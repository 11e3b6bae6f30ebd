"""Fine-tuning: a trained run of FLAVA or ALBEF learns a labelled task, all weights together.

  minivl train finetune --run runs/albef_tiny --task scene-vqa

scene-vqa        a question about a picture: what is there, where is it, how many, yes or no?
scene-ve         a sentence about a picture of which a part is painted over: true, false, undecided?
scene-nlvr       a statement about two pictures: true or false? ALBEF only
scene-sentences  true, false or undecided, of two sentences without a picture

Comparisons tell what a number is worth; each is a run of its own:
  --inputs text, --inputs image   one side alone: no better than chance, or the data betray answers
  --inputs left                   of scene-nlvr: the statement with one picture of the two
  --no-pretrained                 the same model from noise: what pretraining was good for

Options of the papers:
  --answers generate              ALBEF's answer decoder, which says an answer and ranks a list
  --text-assignment-steps 500     before scene-nlvr: to which of two pictures does a caption belong?
  --distill                       learn from a momentum twin, too

tiny    3 minutes on two CPU cores for scene-vqa with a run of FLAVA
small   an estimated half hour on one modest GPU
base    FLAVA's numbers of the task for a run of FLAVA, ALBEF's for one of ALBEF: with --run and
        --task before it, --help lists them
"""

from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from minivl.data.tasks import SPLITS, Inputs, Task
from minivl.errors import UserError, require_field
from minivl.recipes.pretrained import begin
from minivl.training.recipe import Size, Stage, Training, alpha_at

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from minivl.data.stream import Stream
    from minivl.data.tasks import Source
    from minivl.models.finetune import Exit, Finetuned, Head
    from minivl.models.nlvr import TextAssignment


@dataclass(frozen=True)
class Choice:
    """The two layers that score the answers."""

    hidden: int = 192
    """Width between them: FLAVA's paper has twice the encoder's, 1,536 at 768, ALBEF's the same."""
    dropout: float = 0.0
    """Share of that width dropped in training; torchmultimodal's code has 0.5."""

    def check(self) -> None:
        """Refuse numbers that make no head (UserError)."""
        require_field(self, "hidden", self.hidden >= 1, "1 or more")
        require_field(self, "dropout", 0 <= self.dropout < 1, "a share below 1")


@dataclass(frozen=True)
class Ranking:
    """How a decoder judges the answers of a list."""

    candidates: int = 128
    """Judged whole are the answers whose first word piece is likeliest, so many."""
    official_ranking: bool = False
    """Count the first piece twice, as the paper's code does."""

    def check(self) -> None:
        """Refuse a number that judges nothing (UserError)."""
        require_field(self, "candidates", self.candidates >= 1, "1 or more")


@dataclass(frozen=True)
class Distillation:
    """What the momentum twin does, where there is one."""

    alpha: float = 0.4
    """Its share of what is to be found."""
    momentum: float = 0.995
    """How much of it stays at each step; the rest is the model's."""
    ramp_steps: int | None = None
    """Steps over which its share rises from 0; unless told the paper's first epoch: an eighth of
    scene-vqa, a tenth of scene-nlvr; no rise for the other tasks."""
    momentum_dropout: bool = False
    """Dropout in the twin, too, as the paper's code leaves it on."""

    def check(self) -> None:
        """Refuse numbers that are no shares (UserError)."""
        for name in ("alpha", "momentum"):
            require_field(self, name, 0 <= getattr(self, name) <= 1, "a share from 0 to 1")
        require_field(self, "ramp_steps", (self.ramp_steps or 0) >= 0, "0 or more")


EPOCHS: dict[Task, int] = {"scene-vqa": 8, "scene-nlvr": 10}
"""How often ALBEF's code shows the data of a task whose distillation sets in gradually."""


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
    """Fine-tune a run of FLAVA or ALBEF on questions, claims or statements about pictures."""

    size: Size = "tiny"
    run: Path | None = None
    """The run of `minivl train flava` or `minivl train albef` to start from; picture size, words
    and widths are its own."""
    task: Task = "scene-vqa"
    """Questions about pictures, claims about pictures, statements about two pictures, or claims
    about sentences."""
    inputs: Inputs = "both"
    """What is read: both sides, or one alone as a baseline. Of two sentences the second is the
    text; left: of two pictures the left one, with the text."""
    labels: int = 0
    """Labelled examples to learn from, read again and again; 0: new ones without end."""
    answers: Literal["classify", "generate"] = "classify"
    """Of scene-vqa: score a list of answers, or say them with ALBEF's decoder."""
    image_size: int = 0
    """Side of the pictures in pixels, the run's own if 0; ALBEF goes from 256 to 384, FLAVA from
    224 to 480 for VQA."""
    text_assignment_steps: int = 0
    """Steps of text assignment before scene-nlvr, on pictures of the run's own size."""
    text_assignment_batch_size: int = 0
    """Captioned pictures in a step of it; as many as the task's batch has if 0."""
    text_assignment_lr: tuple[float, float] | None = None
    """Its peak learning rate and the last one; the task's unless told."""
    distill: bool = False
    """Learn from a momentum twin of the whole model, too."""
    pretrained: bool = True
    """Start from the run's weights, or from noise."""
    head: Choice = field(default_factory=Choice)
    ranking: Ranking = field(default_factory=Ranking)
    distillation: Distillation = field(default_factory=Distillation)
    training: Training = field(default_factory=Training)
    evaluation: Evaluation = field(default_factory=Evaluation)

    @classmethod
    def at_size(cls, size: Size) -> "FinetuneRecipe":
        """The recipe at one of the four sizes."""
        return SIZES[size]

    def usual(self) -> "FinetuneRecipe":
        """What this size has for this start and task: at base the numbers of the run's paper."""
        start = {"run": self.run, "task": self.task, "pretrained": self.pretrained}
        own = replace(SIZES[self.size], **start)
        if self.size != "base" or self.run is None:
            return own
        papers = FLAVA | ALBEF if begin(self.run).is_albef else FLAVA
        return replace(own, **papers.get(self.task, {}))

    def check(self) -> None:
        """Refuse a missing run, one that cannot be started from, and what does not fit together."""
        begun = begin(self.run)
        _ = self.start_from
        require_field(self, "labels", self.labels >= 0, "0 or more")
        patch = begun.recipe.image.patch_size
        fits = self.image_size == 0 or (self.image_size >= 16 and self.image_size % patch == 0)
        expected = f"0, or a multiple of the run's patches of {patch} pixels, 16 or more"
        require_field(self, "image_size", fits, expected)
        self.check_assignment()
        for asked, flag in (
            (self.text_assignment_steps > 0, "--text-assignment-steps"),
            (self.inputs == "left", "--inputs left"),
        ):
            if asked and self.task != "scene-nlvr":
                raise UserError(
                    f"{flag} is about two pictures, the task {self.task} has none",
                    "leave it out, or give --task scene-nlvr",
                )
        if self.task == "scene-sentences" and self.inputs == "image":
            raise UserError(
                "the task scene-sentences has no pictures",
                "give --inputs text: the second one alone",
            )
        if self.answers == "generate" and self.task != "scene-vqa":
            raise UserError(
                f"the answers to {self.task} are no words to be said",
                "leave out --answers generate, or give --task scene-vqa",
            )
        begun.check(nlvr=self.task == "scene-nlvr", generate=self.answers == "generate")

    def check_assignment(self) -> None:
        """Refuse numbers that text assignment cannot train with (UserError)."""
        require_field(self, "text_assignment_steps", self.text_assignment_steps >= 0, "0 or more")
        batch, parts = self.text_assignment_batch_size, self.training.accumulate
        fits = batch >= 0 and batch % parts == 0
        expected = f"0 or more, a multiple of the {parts} micro-batches of a step"
        require_field(self, "text_assignment_batch_size", fits, expected)
        first, last = self.text_assignment_lr or (1.0, 0.0)
        fits = first > 0 and 0 <= last <= first
        require_field(self, "text_assignment_lr", fits, "two numbers, the larger first and above 0")

    # What is trained.

    def stages(self, seed: int) -> list[Stage]:
        """The whole model learns the task; before it, if asked for, text assignment."""
        # Loaded when first asked for: --help reads no picture and needs no run.
        source, own = cache(self.load_source), cache(lambda: begin(self.run).load_source())
        prepared = self.task == "scene-nlvr" and self.text_assignment_steps > 0
        return [*([self.assignment_stage(own, seed)] if prepared else []),
                self.task_stage(source, seed)]  # fmt: skip

    def load_source(self) -> "Source":
        """Scenes and the run's words, in pictures of this task's size."""
        begun = begin(self.run)
        data = begun.recipe.data
        data = replace(data, image_size=self.image_size or data.image_size)
        return replace(begun, recipe=replace(begun.recipe, data=data)).load_source()

    def task_stage(self, source: "Callable[[], Source]", seed: int) -> Stage:
        """The task itself."""
        return Stage(
            name="finetune",
            training=self.training,
            build_model=lambda: self.build_model(source()),
            build_streams=lambda: [self.build_stream(source(), seed)],
            evaluate=lambda model, device: self.evaluate(source(), model, device),
            start_from=self.start_from,
            schedules=self.schedules,
            notes=self.notes,
        )

    def assignment_stage(self, source: "Callable[[], Source]", seed: int) -> Stage:
        """Captioned pictures: to which of two does a caption belong?"""
        from minivl.data.examples import SceneExamples
        from minivl.data.stream import Stream

        training = self.assignment_training
        return Stage(
            name="assignment",
            training=training,
            build_model=lambda: self.build_assignment(source()),
            build_streams=lambda: [
                Stream(
                    "captions",
                    SceneExamples(source().scenes, "train", seed),
                    training.batch_size,
                    losses=("assignment",),
                )
            ],
            start_from=self.parts("exit"),
        )

    @property
    def assignment_training(self) -> Training:
        """The task's training, where text assignment has no number of its own."""
        own, steps = self.training, self.text_assignment_steps
        training = replace(
            own,
            steps=steps,
            batch_size=self.text_assignment_batch_size or own.batch_size,
            warmup_steps=min(own.warmup_steps, steps),
            epochs=1,
        )
        if self.text_assignment_lr is None:
            return training
        first, last = self.text_assignment_lr
        return replace(training, lr=first, final_lr_fraction=last / first)

    def build_assignment(self, source: "Source") -> "TextAssignment":
        """The model without a head for the task, and one for text assignment."""
        from minivl.models.nlvr import TextAssignment

        return TextAssignment(self.build_exit(source))

    def build_model(self, source: "Source") -> "Finetuned":
        """The run's model without the heads of its pretraining, and a new one on an exit of it."""
        from minivl.models.finetune import Finetuned

        exit = self.build_exit(source)
        names = ("alpha", "momentum", "momentum_dropout")
        mix = {name: getattr(self.distillation, name) for name in names}
        return Finetuned(exit, self.build_head(exit, source), distill=self.distill, **mix)

    def build_exit(self, source: "Source") -> "Exit":
        """The way that the task's pictures and words take through the run's model."""
        from minivl.models import finetune, nlvr

        exits = {
            "scene-nlvr": nlvr.TwoPicturesExit,
            "scene-sentences": finetune.TextExit,
            "scene-vqa": finetune.WordsExit if self.answers == "generate" else finetune.PairExit,
        }
        make = exits.get(self.task, finetune.PairExit)
        return make(begin(self.run).build_model(source))

    def build_head(self, exit: "Exit", source: "Source") -> "Head":
        """What answers."""
        from minivl.data.tasks import answers_of, encode_answers
        from minivl.data.text import pad_batch
        from minivl.models.answering import AnswerDecoder
        from minivl.models.finetune import Choice

        answers = answers_of(source, self.task)
        if self.answers == "classify":
            return Choice(exit.width, len(answers), **vars(self.head))
        longest = exit.model.text_encoder.pos_embed.num_embeddings
        told = pad_batch(encode_answers(source.text, answers, longest))
        return AnswerDecoder.like(exit.model, *told, **vars(self.ranking))

    def build_stream(self, source: "Source", seed: int) -> "Stream":
        """Questions with their answers."""
        from minivl.data.stream import First, Stream
        from minivl.data.tasks import TaskExamples

        examples = TaskExamples(source, self.task, "train", seed, self.inputs)
        examples = First(examples, self.labels) if self.labels else examples
        loss = "answering" if self.answers == "generate" else "classification"
        return Stream(self.task, examples, self.training.batch_size, losses=(loss,))

    def evaluate(self, source: "Source", model: "Finetuned", device: "torch.device") -> dict:
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

    @property
    def schedules(self) -> dict:
        """The twin's share, where it rises."""
        steps = self.distillation.ramp_steps
        if steps is None:
            steps = self.training.steps // EPOCHS[self.task] if self.task in EPOCHS else 0
        if not self.distill or steps == 0:
            return {}
        return {"alpha": partial(alpha_at, steps_per_epoch=steps, alpha=self.distillation.alpha)}

    @property
    def notes(self) -> tuple[str, ...]:
        """What is said before the first step."""
        if self.size == "base" and self.run is not None and begin(self.run).is_albef:
            return ALBEF_NOTES
        return NOTES[self.size]

    # What it starts from.

    @property
    def start_from(self) -> dict[str, tuple[str, str]] | None:
        """Which part of the model, and of its twin, starts from where."""
        if self.text_assignment_steps:
            start = {"exit": ("assignment", "exit")}
            return start | ({"twin.exit": ("assignment", "exit")} if self.distill else {})
        return self.parts("exit", "head", twin=self.distill)

    def parts(self, *wanted: str, twin: bool = False) -> dict[str, tuple[str, str]] | None:
        """Part of the model -> checkpoints of the run, and the part in there; None from noise."""
        if self.run is None or not self.pretrained:
            return None
        of = {"exit.model": ""}
        if self.task == "scene-nlvr":
            of["exit.second"] = "fusion_encoder"
        if self.answers == "generate":
            of |= {"head.words": "text_encoder", "head.fusion": "fusion_encoder"}
            of["head.predict"] = "mlm_head"
        begun = begin(self.run)
        start = {part: begun.part(of[part]) for part in of if part.startswith(wanted)}
        twins = {f"twin.{part}": begun.part(of[part], twin=True) for part in of}
        return start | twins if twin else start


NOTES = {
    "test": (),
    "tiny": ("about 3 minutes on two CPU cores for scene-vqa with a run of FLAVA, 1 GB of memory",),
    "small": ("an estimated half hour on one GPU of 16 GB (not measured)",),
    "base": (
        "FLAVA's updates of its paper; of VQA at the run's picture size: --image-size 480 for its",
    ),
}
ALBEF_NOTES = (
    "the paper's epochs of VQA v2, SNLI-VE or NLVR2; generated scenes stand in for them",
    "its code lowers the rate by epochs: --schedule by_epochs --epochs N; and keeps the best one",
    "it computed in float32: --training.precision float32; bfloat16 where the GPU has it here",
)

SIZES: dict[str, FinetuneRecipe] = {
    "test": FinetuneRecipe(
        size="test",
        head=Choice(hidden=64),
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
        head=Choice(hidden=768),
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
        head=Choice(hidden=1536, dropout=0.5),
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

# What the papers have for other tasks than FLAVA's for VQA, which is `base` above.

GENTLE = replace(SIZES["base"].training, lr=1e-5)
"""FLAVA's for all tasks but VQA."""

FLAVA: dict[Task, dict[str, Any]] = {
    "scene-ve": {"training": replace(GENTLE, steps=24_000)},
    "scene-sentences": {
        "training": replace(
            GENTLE, steps=33_112, batch_size=32, warmup_steps=1986, weight_decay=0.1
        )
    },
}
"""Appendix B.2, and torchmultimodal's recipe for QNLI."""


def albef(epochs: int, examples: int, batch_size: int = 256, warmup_steps: int = 100) -> dict:
    """Fields of ALBEF's fine-tunings (section 4; numbers of its code): epochs of so many examples.

    Its runs began at 256 pixels. The rate starts at half its peak and ends at a twentieth.
    """
    training = replace(
        SIZES["base"].training,
        steps=epochs * (examples // batch_size),
        batch_size=batch_size,
        lr=2e-5,
        final_lr_fraction=0.05,
        warmup_lr=1e-5,
        warmup_steps=warmup_steps,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.02,
        decayed="all_but_vectors",
        clip_norm=0.0,
    )
    head = Choice(hidden=768)
    return {"training": training, "head": head, "image_size": 384, "distill": True}


ALBEF: dict[Task, dict[str, Any]] = {
    "scene-vqa": albef(8, 443_757 + 214_354, warmup_steps=400) | {"answers": "generate"},
    "scene-ve": albef(5, 529_527),
    "scene-nlvr": albef(10, 86_373, 128)
    | {
        "text_assignment_steps": 4_000_000 // 512,
        "text_assignment_batch_size": 512,
        "text_assignment_lr": (2e-5, 1e-5),
    },
}
"""Questions of VQA v2's training and validation (the code adds Visual Genome's), claims of SNLI-VE,
statements of NLVR2; text assignment sees the four million captioned pictures once."""

RECIPE = FinetuneRecipe

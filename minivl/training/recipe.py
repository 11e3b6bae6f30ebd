"""What a training is made of, as typed data: knobs, stages, sizes. Imports no torch.

Every field here is a command-line flag of `minivl train RECIPE`; a model never sees any of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from minivl.errors import require_field

Decayed = Literal["weights", "all_but_vectors", "all"]
Size = Literal["test", "tiny", "small", "base"]
Turns = Literal["drawn", "round_robin"]
Schedule = Literal["cosine", "by_epochs"]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Training:
    """How long, how fast and how carefully one stage trains."""

    steps: int = 1000
    """Optimiser steps."""
    batch_size: int = 128
    """Samples per optimiser step, over all processes and accumulated micro-batches together."""
    accumulate: int = 1
    """Micro-batches per optimiser step (each holds batch_size / accumulate / processes samples).
    Their losses are averaged; a contrastive loss sees the negatives of its micro-batch only."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """AdamW as in the papers, or Muon for hidden matrices: learns about twice as fast."""
    lr: float = 1e-3
    """Peak learning rate."""
    final_lr_fraction: float = 0.0
    """The cosine ends at this fraction of the peak."""
    warmup_steps: int = 100
    """Steps of linear warm-up."""
    warmup_lr: float = 0.0
    """Learning rate that the warm-up starts from."""
    schedule: Schedule = "cosine"
    """The cosine falls with every step, from the end of the warm-up; or as in ALBEF's code with
    every epoch, from the end of the first one."""
    epochs: int = 1
    """How many epochs by_epochs counts in all steps together."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's two decay rates; Muon leaves it embeddings, norms, biases and what reads pixels."""
    eps: float = 1e-6
    """AdamW's epsilon."""
    weight_decay: float = 0.05
    """Decoupled weight decay of what `decayed` names."""
    decayed: Decayed = "weights"
    """Weight matrices and embeddings, not norms, biases, positions, class tokens and scales; or all
    but vectors and biases, as ALBEF's code has it; or all, as DETR's."""
    idle: Literal["skipped", "decayed"] = "skipped"
    """What a step does with weights that had no part in it (another task's head): nothing, or decay
    them and go on by their running means, as UniT's eight tasks were trained."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; 0 switches clipping off."""
    clip_mode: Literal["global", "each"] = "global"
    """Clip the norm of the whole gradient, or that of each tensor by itself as DINO's code does."""
    precision: Precision = "auto"
    """bfloat16 autocast where the device computes in it natively, else float32."""
    compile: bool | None = None
    """torch.compile; by default on a GPU only."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute."""
    threads: int = 0
    """CPU threads; 0 takes all cores."""
    prefetch: int = 2
    """Batches rendered ahead of the one in training."""
    workers: int = 1
    """Threads that prepare batches."""
    log_every: int = 10
    """Steps between lines of metrics.jsonl."""
    checkpoint_every: int = 200
    """Steps between checkpoints (one is always written at the end and on Ctrl-C)."""
    keep_checkpoints: int = 2
    """How many of the newest checkpoints stay."""
    evaluate_every: int = 0
    """Steps between evaluations; 0 evaluates at the end only."""
    max_bad_fraction: float = 0.01
    """Stop when more than this share of the samples read was corrupt (judged from 1,000 on)."""

    def check(self) -> None:
        """Refuse numbers that cannot train, by name and with what would do (UserError)."""
        for name in ("steps", "batch_size", "accumulate", "log_every", "checkpoint_every"):
            require_field(self, name, getattr(self, name) >= 1, "1 or more")
        require_field(self, "keep_checkpoints", self.keep_checkpoints >= 1, "1 or more")
        require_field(self, "workers", self.workers >= 1, "1 or more")
        for name in ("lr", "eps"):
            require_field(self, name, getattr(self, name) > 0, "a number above 0")
        for name in ("warmup_lr", "weight_decay", "clip_norm"):
            require_field(self, name, getattr(self, name) >= 0, "0 or more")
        for name in ("threads", "prefetch", "evaluate_every"):
            require_field(self, name, getattr(self, name) >= 0, "0 or more")
        fits = 1 <= self.epochs <= self.steps
        require_field(self, "epochs", fits, f"1 to the {self.steps} steps of the training")
        for name in ("final_lr_fraction", "max_bad_fraction"):
            require_field(self, name, 0 <= getattr(self, name) <= 1, "a share from 0 to 1")
        require_field(
            self, "betas", all(0 <= beta < 1 for beta in self.betas), "two numbers below 1"
        )
        fits = 0 <= self.warmup_steps <= self.steps
        require_field(self, "warmup_steps", fits, f"at most the {self.steps} steps of the training")
        shared = self.batch_size % self.accumulate == 0
        require_field(self, "accumulate", shared, f"a divisor of batch_size {self.batch_size}")


@dataclass(frozen=True)
class Stage:
    """One training at run time: made by a recipe from its fields, run by the engine."""

    name: str
    training: Training
    build_model: Callable[[], Any]
    """Makes the model; the engine has seeded torch before the call."""
    build_streams: Callable[[], list[Any]]
    """Makes the list of minivl.data.stream.Stream."""
    evaluate: Callable[..., dict[str, Any]] | None = None
    """evaluate(model, device) -> flat keys to Metric; called in eval mode, without gradient."""
    figures: Callable[..., dict[str, Any]] | None = None
    """figures(model, device) -> name to matplotlib Figure, drawn at the end into figures/. Where
    there is a `watch`, its lines are handed over too: figures(model, device, watched)."""
    watch: Callable[..., dict[str, Any]] | None = None
    """watch(model, device) -> what is to be seen of how learning goes, as JSON can hold it; a line
    of watched.jsonl after steps 1, 2, 4, 8, ... and the last, with its "stage" and "step"."""
    best: str | None = None
    """Key of evaluate's result; the checkpoint where its value is largest stays. Needs
    evaluate_every."""
    schedules: dict[str, Callable[[int], float]] = field(default_factory=dict)
    """Quantity -> its value at a step, counted from 0. "weight_decay" goes to the optimiser; any
    other is set as an attribute of the model before each step."""
    start_from: str | dict[str, str | tuple[str, str]] | None = None
    """Name of an earlier stage, or path of a checkpoint, whose weights this one starts from. A
    dict gives parts of the model theirs, the whole of a stage's model or a part of it:
    {"tokenizer": "dvae", "image_encoder": ("dino", "teacher.backbone")}."""
    fill: Callable[[Any], str] | None = None
    """fill(model) -> what it did, in words: gives a new model published weights, before the first
    step only. A run that goes on, or is measured, does not need their files."""
    loss_weights: dict[str, float] = field(default_factory=dict)
    """Loss -> factor in the sum; 1 unless told."""
    turns: Turns = "drawn"
    """Streams take turns by lot, each as often as its weight says, or one after the other."""
    notes: tuple[str, ...] = field(default=())
    """Lines printed before the first step (expected time, memory)."""


def alpha_at(step: int, steps_per_epoch: int, alpha: float = 0.4) -> float:
    """The teacher's share at a step (from 0): grows from 0 to alpha in the first epoch and stays.

    ALBEF (Li et al. 2021, section 3.5): before it has learned, the teacher knows no better.
    """
    return alpha * min(1.0, step / steps_per_epoch)

"""UniT (Hu and Singh 2021, arXiv 2102.10772): one transformer for pictures, text and both.

An image encoder and a text encoder; what they give stands side by side before one decoder, whose
queries say which task it is. Everything is trained with labels, end to end, no objective before.
Letters: b batch, l decoder blocks, q queries, n tokens that the decoder looks at, t boxes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minivl.models.unit_encoders import Encoded, UnitImageEncoder, UnitTextEncoder
from minivl.models.unit_heads import AnswerHead, AttributeHead, BoxHead
from minivl.models.weighed import weighed
from minivl.nn.decoder import Decoder
from minivl.objectives import detection

Batch = dict[str, Any]
"""Tensors as `data/boxes.py` and `data/tasks.py` collate them, and "task", the task's name."""


@dataclass(frozen=True)
class UnitTask:
    """What the model must know of a task."""

    name: str
    kind: Literal["boxes", "answer"]
    classes: int
    queries: int
    """The paper: 100 for boxes, 25 for an answer, of which the first one's state is read."""
    image: bool = True
    """Whether it shows a picture."""
    text: bool = False
    """Whether it has a text."""
    attributes: int = 0
    """Of a box, to be named too."""
    first_word_only: bool = False
    """The decoder sees [CLS] alone of the text: the paper's code for all but VQA."""
    soft: bool = False
    """Several answers may be right to a degree, each a yes or no of its own."""
    room: int = 0
    """Its head has room for so many classes, if that is more: those beyond are never right."""

    @property
    def outputs(self) -> int:
        """How many classes the head tells apart, "nothing" aside."""
        return max(self.classes, self.room)


def task_queries(table: Tensor, task: int, batch: int) -> Tensor:
    """What tells the shared decoder which task it solves: that task's rows, for each example.

    table (tasks, q, d), task from 0 -> (batch, q, d). Section 3.3: all else that it is given is the
    same.
    """
    return table[task].expand(batch, -1, -1)


class Unit(nn.Module):
    """Two encoders, a decoder (or one a task), and a head a task."""

    def __init__(  # noqa: PLR0913  (a model is made of its numbers)
        self,
        image_encoder: UnitImageEncoder,
        text_encoder: UnitTextEncoder | None,
        tasks: Sequence[UnitTask],
        *,
        width: int,
        depth: int,
        heads: int,
        shared: bool = True,
        init: Literal["xavier", "official"] = "xavier",
        answer_dropout: float = 0.1,
        attribute_relu: Literal["between", "last"] = "between",
        all_blocks_answer: bool = False,
        no_object: float = 0.1,
        eps: float = 1e-5,
        **block: Any,
    ):
        """`width`, `depth`, `heads` and `block` (mlp_ratio, norm, activation, dropout): the
        decoder's. `shared`: one decoder for all tasks. `init`: decoders start from Xavier's
        uniform weights, or as in the published code, where separate ones keep torch's.
        `all_blocks_answer`: answers are learned after each block, as boxes are.
        `no_object`: what a query without a box weighs in the loss.
        """
        super().__init__()
        self.tasks = {task.name: task for task in tasks}
        self.numbers = {name: number for number, name in enumerate(self.tasks)}
        self.image_encoder, self.text_encoder = image_encoder, text_encoder
        self.all_blocks_answer, self.no_object = all_blocks_answer, no_object
        make = projection if image_encoder.width != width else nn.Identity
        self.image_proj, self.image_pos_proj = (make(image_encoder.width, width) for _ in range(2))
        if text_encoder is not None:
            self.text_proj, self.text_pos_proj = (
                projection(text_encoder.width, width) for _ in range(2)
            )
        decoders = 1 if shared else len(tasks)
        self.decoders = nn.ModuleList(
            Decoder(width, depth, heads, eps=eps, **block) for _ in range(decoders)
        )
        for encoder in (image_encoder.transformer, *self.decoders):
            if init == "xavier" or shared or encoder is image_encoder.transformer:
                start_as_xavier(encoder)
        self.query_embed = nn.ParameterDict(self._tables(width))
        self.heads = nn.ModuleDict()
        for task in tasks:
            head = {"boxes": BoxHead, "answer": AnswerHead}[task.kind]
            options = {"dropout": answer_dropout} if task.kind == "answer" else {}
            self.heads[task.name] = head(width, task.outputs, **options)
        self.attribute_heads = nn.ModuleDict(
            {
                task.name: AttributeHead(width, task.outputs, task.attributes, relu=attribute_relu)
                for task in tasks
                if task.attributes
            }
        )
        self.matcher = detection.match
        """Which query answers for which box; estimates, which have no numbers, put another here."""
        self.gather: Any = None
        self.monitors: dict[str, Tensor] = {}

    @property
    def parts(self) -> dict[str, tuple[str, ...]]:
        """What the overview counts apart."""
        image = "image_encoder."
        return {
            "backbone": (f"{image}backbone",),
            "image encoder": (f"{image}transformer", f"{image}input_proj", f"{image}task_embed",
                              f"{image}norm"),
            "text encoder": ("text_encoder",),
            "projections": ("image_proj", "image_pos_proj", "text_proj", "text_pos_proj"),
            "decoder": ("decoders",),
            "queries": ("query_embed",),
            "heads": ("heads", "attribute_heads"),
        }  # fmt: skip

    def _tables(self, width: int) -> dict[str, nn.Parameter]:
        """One table of queries for all tasks with equally many: "25" -> (tasks, 25, width)."""
        sizes = [task.queries for task in self.tasks.values()]
        return {
            str(size): nn.Parameter(torch.randn(sizes.count(size), size, width))
            for size in dict.fromkeys(sizes)
        }

    # Encode, decode.

    def encode_image(self, batch: Batch, task: UnitTask) -> Encoded:
        """The picture's cells for the decoder: (b, n, width)."""
        number = self.numbers[task.name]
        states, places, visible = self.image_encoder(
            batch["image"], number, batch.get("pixel_mask")
        )
        return Encoded(self.image_proj(states), self.image_pos_proj(places), visible)

    def encode_text(self, batch: Batch, task: UnitTask) -> Encoded:
        """The words, or [CLS] alone, for the decoder: (b, n, width)."""
        encoded = self.text_encoder(
            batch["input_ids"],
            batch["attention_mask"],
            self.numbers[task.name],
            batch.get("token_type_ids"),
        )
        if task.first_word_only:
            encoded = Encoded(*(part[:, :1] for part in encoded))
        states, places, visible = encoded
        return Encoded(self.text_proj(states), self.text_pos_proj(places), visible)

    def encode(self, batch: Batch, task: UnitTask) -> Encoded:
        """What the task shows, picture before text: (b, n, width)."""
        shown = [self.encode_image(batch, task)] if task.image else []
        shown += [self.encode_text(batch, task)] if task.text else []
        return Encoded(*(torch.cat(parts, dim=1) for parts in zip(*shown, strict=True)))

    def queries(self, task: UnitTask, batch: int) -> Tensor:
        """The task's own queries (batch, q, width)."""
        alike = [name for name, other in self.tasks.items() if other.queries == task.queries]
        table = self.query_embed[str(task.queries)]
        return task_queries(table, alike.index(task.name), batch)

    def decode(
        self, batch: Batch, return_attention: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """A batch of a task -> what its queries know after each block (l, b, q, width).

        With return_attention also each block's weights on the memory (b, heads, q, n), the
        picture's cells first.
        """
        task = self.tasks[batch["task"]]
        memory = self.encode(batch, task)
        queries = self.queries(task, len(memory.states))
        decoder = self.decoders[self.numbers[task.name] if len(self.decoders) > 1 else 0]
        return decoder(queries, *memory, return_attention)

    # Learn.

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """{"<task>/class", "/l1", "/giou" and, if it has any, "/attributes"} of boxes, each added
        over the decoder's blocks; {"<task>/answer"} of an answer."""
        task = self.tasks[batch["task"]]
        self.monitors = {}  # what another task's batch has said is no news of this one
        states = self.decode(batch)
        if task.kind == "boxes":
            each = [self.box_losses(task, block, batch) for block in states]
            found = {name: sum(losses[name] for losses in each) for name in each[0]}
        else:
            found = {"answer": self.answer_losses(task, states, batch)}
        return {f"{task.name}/{name}": loss for name, loss in found.items()}

    def box_losses(self, task: UnitTask, states: Tensor, batch: Batch) -> dict[str, Tensor]:
        """One block's states (b, q, width), matched anew with what is there."""
        labels, targets = batch["box_labels"], batch["boxes"]
        logits, boxes = self.heads[task.name](states)
        matched = self.matcher(logits.detach(), boxes.detach(), labels, targets)
        found = detection.batch_set_loss(logits, boxes, matched, labels, targets, self.no_object)
        count = (labels >= 0).sum()
        # The published code divides by the boxes of all processes, but each class loss by its own.
        found |= {name: weighed(found[name], count, self.gather) for name in ("l1", "giou")}
        found["class"] = found.pop("ce")
        if task.attributes:
            where = matched.clamp(min=0).unsqueeze(2).expand(-1, -1, states.shape[2])
            head = self.attribute_heads[task.name]
            named = head(states.gather(1, where), labels.clamp(min=0))
            found["attributes"] = detection.attribute_loss(named, batch["attribute_labels"])
        return found

    def answer_losses(self, task: UnitTask, states: Tensor, batch: Batch) -> Tensor:
        """states (l, b, q, width) -> the last block's loss, or the sum over all."""
        blocks = states if self.all_blocks_answer else states[-1:]
        losses = []
        for logits in self.heads[task.name](blocks):
            if task.soft:
                shares = batch["answer_shares"]
                shares = F.pad(shares, (0, logits.shape[1] - shares.shape[1]))
                losses.append(detection.answer_loss(logits, shares))
            else:
                losses.append(F.cross_entropy(logits, batch["labels"]))
        right = logits.detach().argmax(dim=1) == batch["labels"]
        self.monitors = {f"{task.name}/accuracy": right.float().mean()}
        return sum(losses)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses, so that DDP and torch.compile wrap what training computes."""
        return self.losses(batch)

    def for_task(self, name: str) -> "OneTask":
        """The model as one task's own."""
        return OneTask(self, name)

    # Answer.

    def scores(self, batch: Batch) -> Tensor:
        """A batch of a task with answers -> the score of each answer (b, classes)."""
        task = self.tasks[batch["task"]]
        return self.heads[task.name](self.decode(batch)[-1])[:, : task.classes]

    def detect(self, batch: Batch) -> list[dict[str, Tensor]]:
        """A batch of a task with boxes -> for each picture boxes (q, 4) as corners in pixels of the
        original, scores (q), labels (q) and, if the task has any, attributes' logits (q, a).

        Each query tells its likeliest class, "nothing" aside; none is left out: section 3.3.
        """
        task = self.tasks[batch["task"]]
        states = self.decode(batch)[-1]
        logits, boxes = self.heads[task.name](states)
        scores, labels = logits.softmax(dim=-1)[..., : task.classes].max(dim=-1)
        found = {"boxes": in_pixels(boxes, batch), "scores": scores, "labels": labels}
        if task.attributes:
            found["attributes"] = self.attribute_heads[task.name](states, labels)
        return [
            {name: values[number] for name, values in found.items()}
            for number in range(len(scores))
        ]


class OneTask(nn.Module):
    """A Unit that is asked one task only, so that batches need not say which."""

    def __init__(self, unit: Unit, task: str):
        super().__init__()
        self.unit, self.task = unit, task

    def scores(self, batch: Batch) -> Tensor:
        """As `Unit.scores`."""
        return self.unit.scores(batch | {"task": self.task})

    def detect(self, batch: Batch) -> list[dict[str, Tensor]]:
        """As `Unit.detect`."""
        return self.unit.detect(batch | {"task": self.task})


def in_pixels(boxes: Tensor, batch: Batch) -> Tensor:
    """boxes (b, q, 4), fractions of each picture -> corners x0, y0, x1, y1 in pixels."""
    sizes = batch.get("sizes")
    if sizes is None:
        sizes = torch.tensor(batch["image"].shape[-2:], device=boxes.device).expand(len(boxes), 2)
    height, width = sizes.to(boxes).unbind(dim=1)
    sides = torch.stack([width, height, width, height], dim=1)
    return detection.corners(boxes) * sides.unsqueeze(1)


def projection(inputs: int, outputs: int) -> nn.Linear:
    """From an encoder's width to the decoder's."""
    layer = nn.Linear(inputs, outputs)
    start_as_xavier(layer)
    nn.init.zeros_(layer.bias)
    return layer


def start_as_xavier(module: nn.Module) -> None:
    """Every matrix from Glorot and Bengio's uniform distribution, as DETR's transformer starts."""
    for parameter in module.parameters():
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter)

"""Exercise 09.2, itc_with_queue: find the momentum twin's features, in this batch and the queue."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import close_in_bfloat16, differs, drawn, numbers, told
from minivl.objectives.contrastive import info_nce

COSINES = (((1, 0.6, 0, 0.8), 0), ((0, 0.8, 1, 0.6), 1),
           ((0.96, 0.8, 0.8, 0.6), 0), ((0.6, 1, 1, 0), 1))  # fmt: skip
"""Of `_two_pairs`: two pictures with all texts, two texts with all pictures; each one's label."""


def by_hand(temperature: float) -> Tensor:
    """The loss of these cosines: four cross-entropies."""
    rows = [([cosine / temperature for cosine in row], label) for row, label in COSINES]
    return numbers(
        sum(math.log(sum(map(math.exp, row))) - row[label] for row, label in rows) / len(rows)
    )


def _two_pairs(temperature: float | Tensor, *targets: tuple[Tensor, Tensor]) -> tuple:
    """Two pairs and two old ones; all vectors of two numbers have length 1."""
    return (
        numbers([[1, 0], [0, 1]]),
        numbers([[0.6, 0.8], [0, 1]]),
        numbers([[0.8, 0.6], [0, 1]]),
        numbers([[1, 0], [0.6, 0.8]]),
        numbers([[0, 1], [1, 0]]),
        numbers([[0, 0.8], [1, 0.6]]),
        temperature,
        *targets,
    )


def _labels() -> tuple[Tensor, Tensor]:
    """Shares that say what the labels say."""
    return numbers([[1, 0, 0, 0], [0, 1, 0, 0]]), numbers([[1, 0, 0, 0], [0, 1, 0, 0]])


def _doubts() -> tuple[Tensor, Tensor]:
    """Shares of all columns, other ones for either direction."""
    return (
        numbers([[0.5, 0, 0.5, 0], [0.25, 0.75, 0, 0]]),
        numbers([[0.75, 0, 0, 0.25], [0, 0.5, 0, 0.5]]),
    )


def _unit(seed: int, *shape: int, dim: int = 1) -> Tensor:
    return F.normalize(drawn(seed, *shape), dim=dim)


def _three_pairs() -> tuple:
    """Three pairs of four numbers and five old ones, at ALBEF's first temperature."""
    batch = [_unit(seed, 3, 4) for seed in range(1, 5)]
    queues = [_unit(seed, 4, 5, dim=0) for seed in (5, 6)]
    return *batch, *queues, numbers(0.07)


def _without_queue(itc_with_queue: Callable) -> str | None:
    """No old ones, and a twin that equals the student: plain InfoNCE."""
    image, text = _unit(1, 3, 4), _unit(2, 3, 4)
    none = numbers([[], [], [], []])
    got = itc_with_queue(image, text, image.clone(), text.clone(), none, none.clone(), 0.5)
    return differs("three pairs, an empty queue", got, info_nce(image @ text.T / 0.5))


def _queue_is_a_set(itc_with_queue: Callable) -> str | None:
    *batch, image_queue, text_queue, temperature = _three_pairs()
    right = itc_with_queue(*batch, image_queue, text_queue, temperature)
    turned = itc_with_queue(*batch, image_queue.roll(2, 1), text_queue.roll(1, 1), temperature)
    return differs("three pairs; the queues in another order", turned, right)


def _all_shares_are_constants(itc_with_queue: Callable) -> str | None:
    targets = tuple(side.requires_grad_() for side in _doubts())
    image, *others = _two_pairs(1.0, targets)
    loss = itc_with_queue(image.requires_grad_(), *others)
    (gradient,) = torch.autograd.grad(loss, image)
    logits = (image @ torch.cat([others[2].T, others[4]], dim=1)).detach()
    slope = (logits.softmax(dim=1) - targets[0].detach()) / 4
    expected = slope @ torch.cat([others[2].T, others[4]], dim=1).T
    return differs("two pairs and shares; the gradient of the pictures", gradient, expected)


def _hot(temperature: float, given: str) -> Callable:
    def holds(itc_with_queue: Callable) -> str | None:
        arguments = [
            one.float() if torch.is_tensor(one) else one for one in _two_pairs(temperature)
        ]
        got = itc_with_queue(*arguments)
        return None if bool(got.isfinite()) else told(given, "a finite loss", f"{float(got)}")

    return holds


def _finding(  # noqa: PLR0913  (one way to go wrong each)
    *,
    keys: Callable[[tuple, tuple], list[Tensor]] | None = None,
    shift: Callable[[Tensor], int] = lambda queue: 0,
    scale: Callable = lambda logits, temperature: logits / temperature,
    weights: tuple[float, float] = (0.5, 0.5),
    targets_of: Callable = lambda targets: targets,
    reduction: str = "mean",
    detach: bool = True,
) -> Callable:
    """itc_with_queue with other keys, other labels or other weights.

    keys((image, text, image_m, text_m), (image_queue, text_queue)) -> what images and texts find.
    """

    def itc_with_queue(
        image, text, image_m, text_m, image_queue, text_queue, temperature, targets=None
    ):
        batch, queues = (image, text, image_m, text_m), (image_queue, text_queue)
        found = (keys or _right_keys)(batch, queues)
        found = [one.detach() for one in found] if detach else found
        logits = [scale(q @ k, temperature) for q, k in zip((image, text), found, strict=True)]
        labels = targets_of(targets)
        if labels is None:
            own = torch.arange(len(image)) + shift(image_queue)
            labels = (own, own)
        losses = (
            F.cross_entropy(one, label, reduction=reduction)
            for one, label in zip(logits, labels, strict=True)
        )
        return sum(weight * loss for weight, loss in zip(weights, losses, strict=True))

    return itc_with_queue


def _right_keys(batch: tuple, queues: tuple) -> list[Tensor]:
    _, _, image_m, text_m = batch
    return [torch.cat([text_m.T, queues[1]], dim=1), torch.cat([image_m.T, queues[0]], dim=1)]


def _student_keys(batch: tuple, queues: tuple) -> list[Tensor]:
    image, text, _, _ = batch
    return [torch.cat([text.T, queues[1]], dim=1), torch.cat([image.T, queues[0]], dim=1)]


def _batch_alone(batch: tuple, queues: tuple) -> list[Tensor]:
    return [batch[3].T, batch[2].T]


def _queue_alone(batch: tuple, queues: tuple) -> list[Tensor]:
    return [queues[1], queues[0]]


def _own_side(batch: tuple, queues: tuple) -> list[Tensor]:
    return _right_keys(batch, queues)[::-1]


def _queues_exchanged(batch: tuple, queues: tuple) -> list[Tensor]:
    return _right_keys(batch, queues[::-1])


def _queue_in_front(batch: tuple, queues: tuple) -> list[Tensor]:
    return [torch.cat([queues[1], batch[3].T], dim=1), torch.cat([queues[0], batch[2].T], dim=1)]


def _enqueued_first(batch: tuple, queues: tuple) -> list[Tensor]:
    def written(queue: Tensor, keys: Tensor) -> Tensor:
        fits = min(len(keys), queue.shape[1])
        return torch.cat([keys.T[:, :fits], queue[:, fits:]], dim=1)

    news = (written(queues[0], batch[2]), written(queues[1], batch[3]))
    return _right_keys(batch, news)


ITC_WITH_QUEUE = Exercise(
    target="minivl.objectives.contrastive.itc_with_queue",
    number="09.2",
    minutes=15,
    difficulty=3,
    source="Li et al. 2021, sections 3.2 and 3.3, with equation 2",
    hints=(
        "Pictures ask, and texts are the keys; then texts ask. The keys are the *twin's*: those of "
        "this batch, and behind them the queue.",
        "Keys of the pictures: `torch.cat([text_m.detach().T, text_queue], dim=1)`, a matrix "
        "(d, b + Q). So the label of row i is i.",
        "Logits: `image @ keys / temperature`. `F.cross_entropy` takes labels `torch.arange(b)`, "
        "or shares (b, b + Q): `targets[0]` for pictures, `targets[1]` for texts. Mean of both.",
    ),
    checks=(
        Case(
            "two pairs and a queue of two by hand",
            lambda: _two_pairs(numbers(1)),
            by_hand(1.0),
            gradient=(0, 1, 6),
            constant=(2, 3, 4, 5),
        ),
        Case("temperature 1/2", lambda: _two_pairs(0.5), by_hand(0.5)),
        Case("three pairs and five old ones", _three_pairs, gradient=(0, 1, 6)),
        Case(
            "targets that say what the labels say",
            lambda: _two_pairs(1.0, _labels()),
            by_hand(1.0),
        ),
        Case("targets in shares", lambda: _two_pairs(1.0, _doubts()), gradient=(0, 1)),
        Property("without a queue it is InfoNCE", _without_queue),
        Property("the order of the queue does not count", _queue_is_a_set),
        Property("the gradient of shares by hand", _all_shares_are_constants),
        Property("a small temperature", _hot(0.001, "temperature 0.001 in float32")),
        close_in_bfloat16(_three_pairs),
    ),
    variants=(
        Variant(
            "student keys",
            _finding(keys=_student_keys),
            "Your keys of this batch come from the student. Take the momentum twin's: they change "
            "slowly, and can be compared with the queue.",
        ),
        Variant(
            "queue ignored",
            _finding(
                keys=_batch_alone,
                targets_of=lambda t: None if t is None else tuple(s[:, : len(s)] for s in t),
            ),
            "The wrong answers in the queue are missing: join it behind the batch's keys.",
        ),
        Variant(
            "wrong modality",
            _finding(keys=_own_side),
            "Your pictures look for pictures. Image queries need text keys, and texts need image "
            "keys.",
        ),
        Variant(
            "queues exchanged",
            _finding(keys=_queues_exchanged),
            "The batch's keys are right, but behind the texts stands the queue of pictures.",
        ),
        Variant(
            "queue in front",
            _finding(keys=_queue_in_front),
            "Label i is column i, but there the queue sits. The batch's keys come first.",
        ),
        Variant(
            "enqueued first",
            _finding(keys=_enqueued_first),
            "The batch meets itself in the queue, and its own match counts as wrong. Enqueue "
            "afterwards.",
        ),
        Variant(
            "times temperature",
            _finding(scale=lambda logits, temperature: logits * temperature),
            "ALBEF divides by the temperature; CLIP multiplies by its inverse.",
        ),
        Variant(
            "no temperature",
            _finding(scale=lambda logits, temperature: logits),
            "The temperature has no effect. Divide the cosines by it.",
        ),
        Variant(
            "pictures only",
            _finding(weights=(1.0, 0.0)),
            "You ask in one direction only, picture to text. The text must also find its picture.",
        ),
        Variant(
            "sum",
            _finding(weights=(1.0, 1.0)),
            "You added the two directions. Average them.",
        ),
        Variant(
            "sum over the batch",
            _finding(reduction="sum"),
            "You added the losses of all pairs, so the loss grows with the batch. Average them.",
        ),
        Variant(
            "targets ignored",
            _finding(targets_of=lambda targets: None),
            "Where `targets` are given they take the place of the labels: `F.cross_entropy` also "
            "takes shares.",
        ),
        Variant(
            "targets exchanged",
            _finding(targets_of=lambda targets: targets and targets[::-1]),
            "The first of the targets is what pictures are to find, the second what texts are.",
        ),
        Variant(
            "keys that learn",
            _finding(detach=False),
            "Gradient flows into the keys. They are the twin's, which only follows: detach them.",
        ),
    ),
)

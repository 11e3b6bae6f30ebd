"""Exercise 05.3, global_info_nce: own pairs among the pictures and sentences of all processes."""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import differs, drawn, numbers
from minivl.objectives.contrastive import info_nce, similarity_logits

LN_LN3 = math.log(math.log(3.0))
"""As logit_scale it makes a cosine of 1 a logit of ln 3, beside a 0 a probability of 3/4."""


def _one_pair_a_rank() -> tuple:
    """Rank 1 of two holds one pair, at right angles to rank 0's."""
    image, text = numbers([[1, 0], [0, 1]]), numbers([[1, 0], [0, 1]])
    return image[1:], text[1:], image, text, 1, numbers(LN_LN3)


def _share(image: Tensor, text: Tensor, rank: int, ranks: int, logit_scale: float) -> tuple:
    """Arguments of one rank, which holds an equal share of the rows."""
    own_image, own_text = image.chunk(ranks)[rank], text.chunk(ranks)[rank]
    own = own_image.clone(), own_text.clone()
    return *own, image, text, rank, numbers(logit_scale)


def _two_pairs_a_rank(rank: int) -> tuple:
    image = numbers([[1, 0], [0, 1], [1, 1], [1, -1]])
    text = numbers([[2, 1], [0, 1], [1, 1.5], [1, -2]])
    return _share(image, text, rank, 2, 0.0)


OF_RANK = (0.9927687250108803, 0.891672570019653)
"""For each rank the mean of four cross-entropies over four cosines, computed outside of torch."""


def _nine_pairs(rank: int, ranks: int) -> tuple:
    return _share(drawn(1, 9, 4), drawn(2, 9, 4), rank, ranks, 1.1)


def _mean_is_the_joint_loss(global_info_nce: Callable) -> str | None:
    losses = [global_info_nce(*_nine_pairs(rank, 3)) for rank in range(3)]
    _, _, image, text, _, logit_scale = _nine_pairs(0, 3)
    joint = info_nce(similarity_logits(image, text, logit_scale))
    return differs("nine pairs on three ranks, mean of the losses", sum(losses) / 3, joint)


def _contrasting(
    *,
    offset: Callable[[int, int], int] = lambda rank, rows: rank * rows,
    to_text: float = 0.5,
    to_image: float = 0.5,
    logits: Callable = similarity_logits,
    same_side: bool = False,
) -> Callable:
    """global_info_nce with something done differently."""

    def global_info_nce(image, text, all_image, all_text, rank, logit_scale):
        target = torch.arange(len(image)) + offset(rank, len(image))
        texts, images = (all_image, all_text) if same_side else (all_text, all_image)
        forth = F.cross_entropy(logits(image, texts, logit_scale), target)
        back = F.cross_entropy(logits(text, images, logit_scale), target)
        return to_text * forth + to_image * back

    return global_info_nce


def _local_only(image, text, all_image, all_text, rank, logit_scale):
    return info_nce(similarity_logits(image, text, logit_scale))


def _all_rows(image, text, all_image, all_text, rank, logit_scale):
    return info_nce(similarity_logits(all_image, all_text, logit_scale))


GLOBAL_INFO_NCE = Exercise(
    target="minivl.objectives.contrastive.global_info_nce",
    number="05.3",
    minutes=15,
    difficulty=3,
    source="Singh et al. 2022 (FLAVA), global contrastive loss",
    hints=(
        "There are two matrices of logits, each with b rows and a column for every row of all "
        "ranks.",
        "Compare image with all_text and text with all_image. Both have one cross-entropy.",
        "Own row i is row rank·n + i of all: that is its label. "
        "`torch.arange(len(image)) + rank * len(image)`, then the mean of both directions.",
    ),
    checks=(
        Case("one pair on rank 1 of two by hand", _one_pair_a_rank, numbers(math.log(4 / 3))),
        Case(
            "two pairs on rank 1 of two",
            partial(_two_pairs_a_rank, 1),
            numbers(OF_RANK[1]),
        ),
        Case(
            "two pairs on rank 0 of two",
            partial(_two_pairs_a_rank, 0),
            numbers(OF_RANK[0]),
        ),
        Case(
            "three pairs on rank 2 of three", partial(_nine_pairs, 2, 3), gradient=(0, 1, 2, 3, 5)
        ),
        Case("a single rank", partial(_nine_pairs, 0, 1)),
        Property("the mean over ranks is the loss of the joint batch", _mean_is_the_joint_loss),
    ),
    variants=(
        Variant(
            "no offset",
            _contrasting(offset=lambda rank, rows: 0),
            "On rank 1 your labels point at rank 0's sentences. Rank 0 alone cannot show this: "
            "own row i is row rank·n + i of all.",
        ),
        Variant(
            "local only",
            _local_only,
            "You left the gathered negatives unused, so the loss sees no more than the batch of "
            "one process. Compare with all_text and all_image.",
        ),
        Variant(
            "picture to sentence only",
            _contrasting(to_text=1.0, to_image=0.0),
            "You ask in one direction only. Sentence to picture is missing.",
        ),
        Variant(
            "sentence to picture only",
            _contrasting(to_text=0.0, to_image=1.0),
            "You ask in one direction only. Picture to sentence is missing.",
        ),
        Variant(
            "same modality",
            _contrasting(same_side=True),
            "You compare pictures with pictures. Exchange the two gathered sets.",
        ),
        Variant(
            "offset of rank",
            _contrasting(offset=lambda rank, rows: rank),
            "Your labels start at `rank`, but every rank before yours holds n rows: start at "
            "rank·n.",
        ),
        Variant(
            "sum",
            _contrasting(to_text=1.0, to_image=1.0),
            "You added the two directions. Average them.",
        ),
        Variant(
            "not normalised",
            _contrasting(logits=lambda image, text, scale: scale.exp() * image @ text.T),
            "A long vector wins everywhere. Use `similarity_logits`, which compares directions.",
        ),
        Variant(
            "rows of all",
            _all_rows,
            "You score the rows of all ranks on every rank: the same work W times. Each rank "
            "scores its own rows, and the mean over ranks is the joint loss.",
        ),
    ),
)

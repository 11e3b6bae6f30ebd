"""Exercise 01.4, pad_batch: sentences of several lengths as one rectangle, and a mask."""

from collections.abc import Callable

import torch
from torch import Tensor

from minivl.course.compare import name_of
from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import told


def _whole(ids: list, mask: list) -> tuple[Tensor, Tensor]:
    return torch.tensor(ids), torch.tensor(mask).bool()


def _for_embeddings(pad_batch: Callable) -> str | None:
    ids, _ = pad_batch([[101, 102], [101]])
    kind = name_of(ids.dtype)
    return None if kind == "int64" else told("[[101, 102], [101]]", "ids in int64", kind)


def _padding(
    *,
    mask: Callable | None = None,
    left: bool = False,
    shortest: bool = False,
    fill: int | None = None,
) -> Callable:
    """pad_batch with something done differently; `mask` of (ids, lengths, pad_id)."""

    def pad_batch(rows, pad_id=0):
        lengths = torch.tensor([len(row) for row in rows])
        width = int(lengths.min() if shortest else lengths.max())
        filled = []
        for row in rows:
            rest = [pad_id if fill is None else fill] * (width - len(row))
            filled.append(rest + row if left else (row + rest)[:width])
        ids = torch.tensor(filled, dtype=torch.int64)
        real = torch.arange(width) < lengths[:, None]
        if left:
            real = real.flip(dims=(1,))
        return ids, real if mask is None else mask(ids, real, pad_id)

    return pad_batch


FROM_IDS = (
    "You guessed padding from the id, but a real token may have that id. Use the rows' length."
)

PAD_BATCH = Exercise(
    target="minivl.data.text.pad_batch",
    number="01.4",
    minutes=10,
    difficulty=1,
    source="Devlin et al. 2018",
    hints=(
        "The rectangle is as wide as the longest row.",
        "The mask is True (or 1) at real tokens. It follows from the lengths of the rows alone.",
        "Each row is `row + [pad_id] * (longest - len(row))`; the mask is `torch.arange(longest) < "
        "lengths[:, None]`.",
    ),
    checks=(
        Case(
            "two sentences by hand",
            lambda: ([[101, 7, 102], [101, 102]],),
            _whole([[101, 7, 102], [101, 102, 0]], [[1, 1, 1], [1, 1, 0]]),
        ),
        Case(
            "pad_id 1",
            lambda: ([[5, 0], [5]], 1),
            _whole([[5, 0], [5, 1]], [[1, 1], [1, 0]]),
        ),
        Case(
            "a real token with the id of padding",
            lambda: ([[7, 0, 8], [7]],),
            _whole([[7, 0, 8], [7, 0, 0]], [[1, 1, 1], [1, 0, 0]]),
        ),
        Case("one row", lambda: ([[3, 4]],), _whole([[3, 4]], [[1, 1]])),
        Case("a row without tokens", lambda: ([[5], []],), _whole([[5], [0]], [[1], [0]])),
        Case("the longest row in the middle", lambda: ([[1], [2, 3, 4, 5], [6, 7]], 9)),
        Property("ids for an embedding", _for_embeddings),
    ),
    variants=(
        Variant("mask from ids", _padding(mask=lambda ids, real, pad: ids != 0), FROM_IDS),
        Variant("mask from pad_id", _padding(mask=lambda ids, real, pad: ids != pad), FROM_IDS),
        Variant(
            "padded left",
            _padding(left=True),
            "Your padding came first, so CLS is no longer token 0 and the classifier would read "
            "padding.",
        ),
        Variant(
            "padded left, mask right",
            _padding(left=True, mask=lambda ids, real, pad: real.flip(dims=(1,))),
            "Your padding came first, so CLS is no longer token 0 and the mask marks padding. Fill "
            "up behind.",
        ),
        Variant(
            "mask inverted",
            _padding(mask=lambda ids, real, pad: ~real),
            "You marked the padding. True (or 1) marks real tokens.",
        ),
        Variant(
            "cut to the shortest",
            _padding(shortest=True),
            "You cut the long sentence. Pad the short one.",
        ),
        Variant(
            "pad_id unused",
            _padding(fill=0),
            "You fill up with 0 whatever the caller asks for. Fill up with `pad_id`.",
        ),
    ),
)

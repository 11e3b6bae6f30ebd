"""Exercise 06.2, itm_batch: right pairs, wrong pictures and wrong sentences in one batch."""

from collections.abc import Callable

import torch
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import drawn, numbers, told


def _by_hand() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pictures 1, 2, 3 and sentences 10, 20, 30."""
    wrong = torch.tensor([1, 2, 1]), torch.tensor([2, 0, 0])
    return numbers([1, 2, 3]), numbers([10, 20, 30]), *wrong


BY_HAND = (
    numbers([1, 2, 3, 2, 3, 2, 1, 2, 3]),
    numbers([10, 20, 30, 10, 20, 30, 30, 10, 10]),
    torch.tensor([1, 1, 1, 0, 0, 0, 0, 0, 0]),
)
"""Right pairs, wrong pictures, wrong sentences."""


def _states() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four pairs: pictures of 5 tokens, sentences of 3."""
    wrong = torch.tensor([3, 0, 0, 1]), torch.tensor([1, 2, 3, 2])
    return drawn(1, 4, 5, 2), drawn(2, 4, 3, 2), *wrong


def _row_numbers() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Not what the rows hold, but which they are."""
    return torch.arange(4), torch.arange(4), *_states()[2:]


def _masks_travel_along(itm_batch: Callable) -> str | None:
    image, _, *wrong = _states()
    words = torch.tensor([[True, False], [True, True], [False, False], [False, True]])
    _, got, _ = itm_batch(image, words, *wrong)
    expected = words[[0, 1, 2, 3, 0, 1, 2, 3, 1, 2, 3, 2]]
    if torch.is_tensor(got) and got.dtype == torch.bool and torch.equal(got, expected):
        return None
    return told("as text: a mask of words, bool", "its rows as those of a text", f"{got}")


def _nobody_is_no_label(itm_batch: Callable) -> str | None:
    image, text, _, _ = _by_hand()
    nobody = torch.tensor([-1, 0, 0]), torch.tensor([1, -1, 0])
    *_, labels = itm_batch(image, text, *nobody)
    expected = torch.tensor([1, 1, 1, -100, 0, 0, 0, -100, 0])
    if torch.is_tensor(labels) and torch.equal(labels.long(), expected):
        return None
    given = "negative_image [-1, 0, 0], negative_text [1, -1, 0]; the labels"
    got = labels.tolist() if torch.is_tensor(labels) else labels
    return told(given, f"{expected.tolist()}", f"{got}")


def _all_rows_stay(itm_batch: Callable) -> str | None:
    """Batches of one size, whoever was drawn: the rows of nobody are only not asked."""
    image, text, _, _ = _by_hand()
    nobody = torch.tensor([-1, 0, 0]), torch.tensor([1, -1, 0])
    rows = [len(part) for part in itm_batch(image, text, *nobody)]
    if rows == [9, 9, 9]:
        return None
    given = "three pairs, negative_image [-1, 0, 0], negative_text [1, -1, 0]; rows of each result"
    return told(given, "[9, 9, 9]", f"{rows}")


def _building(
    *,
    pictures: Callable[[Tensor, Tensor, Tensor], list[Tensor]] | None = None,
    sentences: Callable[[Tensor, Tensor, Tensor], list[Tensor]] | None = None,
    labels: Callable[[Tensor], Tensor] = lambda labels: labels,
    blocks: slice = slice(None),
    constant: bool = False,
    ignore: bool = True,
) -> Callable:
    """itm_batch with other blocks, other labels, or constant wrong partners.

    pictures(image, negative_image, negative_text) and sentences(text, ...) give the three blocks.
    """

    def itm_batch(image, text, negative_image, negative_text):
        wrong = torch.cat([negative_image, negative_text]) < 0
        negative = negative_image.clamp(min=0), negative_text.clamp(min=0)
        hidden = (image.detach(), text.detach()) if constant else (image, text)
        images = [image, hidden[0][negative[0]], image]
        texts = [text, text, hidden[1][negative[1]]]
        if pictures is not None:
            images = pictures(image, *negative)
        if sentences is not None:
            texts = sentences(text, *negative)
        zeros = torch.zeros_like(wrong, dtype=torch.int64)
        answers = torch.cat([torch.ones_like(negative[0]), zeros - 100 * (wrong & ignore)])
        answers = labels(answers).view(3, -1)[blocks].flatten()
        return torch.cat(images[blocks]), torch.cat(texts[blocks]), answers

    return itm_batch


def _without_nobody(image, text, negative_image, negative_text):
    images, texts, labels = _building()(image, text, negative_image, negative_text)
    kept = labels >= 0
    return images[kept], texts[kept], labels[kept]


def _flipped(labels: Tensor) -> Tensor:
    return torch.where(labels < 0, labels, 1 - labels)


ITM_BATCH = Exercise(
    target="minivl.objectives.matching.itm_batch",
    number="06.2",
    minutes=15,
    difficulty=2,
    source="Li et al. 2021 (ALBEF), section 3.2, image-text matching",
    hints=(
        "Three blocks of b rows each: the right pairs, the same texts with other pictures, the "
        "same pictures with other texts.",
        "In a wrong block only one side changes: `image[negative_image]` stands beside `text`, and "
        "`image` beside `text[negative_text]`. Join the blocks with `torch.cat`.",
        "Labels are int64: b ones, then 2b zeros. Where `torch.cat([negative_image, "
        "negative_text])` is below 0 nobody was drawn: -100 there. `clamp(min=0)` gives an index.",
    ),
    checks=(
        Case("three pairs by hand", _by_hand, BY_HAND, gradient=(0, 1)),
        Case("four pairs of states", _states, gradient=(0, 1)),
        Case("numbers of rows", _row_numbers),
        Property("masks travel along", _masks_travel_along),
        Property("where no partner was drawn, the row stays", _all_rows_stay),
        Property("where no partner was drawn, nothing is asked", _nobody_is_no_label),
    ),
    variants=(
        Variant(
            "both sides swapped",
            _building(
                pictures=lambda image, i, t: [image, image[i], image[i]],
                sentences=lambda text, i, t: [text, text[t], text[t]],
            ),
            "You exchange both sides: that makes an unrelated pair, or even a true one. Change one "
            "side at a time.",
        ),
        Variant(
            "one stranger's whole pair",
            _building(
                pictures=lambda image, i, t: [image, image[i], image[t]],
                sentences=lambda text, i, t: [text, text[i], text[t]],
            ),
            "Picture and text move together, so your wrong pairs are right ones of other rows. "
            "Change one side only.",
        ),
        Variant(
            "labels reversed",
            _building(labels=_flipped),
            "1 means that the two belong together: the right pairs come first, with label 1.",
        ),
        Variant(
            "indices swapped",
            _building(
                pictures=lambda image, i, t: [image, image[t], image],
                sentences=lambda text, i, t: [text, text, text[i]],
            ),
            "`negative_image` belongs to the block in which the *picture* is wrong, "
            "`negative_text` to the one in which the text is.",
        ),
        Variant(
            "wrong texts first",
            _building(
                pictures=lambda image, i, t: [image, image, image[i]],
                sentences=lambda text, i, t: [text, text[t], text],
            ),
            "The order of the blocks: right pairs, then wrong pictures, then wrong texts.",
        ),
        Variant(
            "only wrong pictures",
            _building(blocks=slice(2)),
            "The block of wrong texts is missing. A picture that is often drawn would give the "
            "answer away without any reading.",
        ),
        Variant(
            "only wrong texts",
            _building(blocks=slice(0, 3, 2)),
            "The texts' wrong pictures are missing. Both kinds are asked, one block each.",
        ),
        Variant(
            "constant partners",
            _building(constant=True),
            "Wrong partners teach too: no `detach` here.",
        ),
        Variant(
            "the last row for nobody",
            _building(ignore=False),
            "A partner of -1 is none, but as an index it is the last row, which may be a true one. "
            "Give that row the label -100: `F.cross_entropy` leaves it out.",
        ),
        Variant(
            "rows without a partner dropped",
            _without_nobody,
            "You leave out the rows of which nobody was drawn. All 3b rows stay; a partner of -1 "
            "gets the label -100, which `F.cross_entropy` leaves out.",
        ),
    ),
)

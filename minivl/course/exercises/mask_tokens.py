"""Exercise 04.3, mask_tokens: which words are asked for, and what stands in their place."""

from collections.abc import Callable

import torch
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import numbers, told

CLS, SEP, MASK = 101, 102, 103
IDS = [101, 11, 12, 13, 14, 102, 0]


def _by_hand() -> tuple:
    """Words 11, 12, 13 are selected: hidden, swapped, kept. The special ones draw a 0 too."""
    return (
        torch.tensor([IDS]),
        torch.tensor([[True, False, False, False, False, True, True]]),
        numbers([[0.0, 0.1, 0.1, 0.1, 0.9, 0.0, 0.0]]),
        numbers([[0.1, 0.5, 0.85, 0.95, 0.1, 0.1, 0.1]]),
        torch.arange(50, 57)[None],
        MASK,
    )


def _near_the_shares() -> tuple:
    """Four selected words that draw just below and above 0.8 and 0.9."""
    ids = torch.tensor([[11, 12, 13, 14]])
    none, action = torch.zeros(1, 4, dtype=torch.bool), numbers([[0.79, 0.81, 0.89, 0.91]])
    return ids, none, numbers([[0.0, 0.05, 0.1, 0.14]]), action, torch.arange(50, 54)[None], MASK


def _sentences(probability: float = 0.15, special: bool = True) -> tuple:
    """Three sentences of eight tokens; their draws lie far from every threshold."""
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(200, 300, (3, 8), generator=generator)
    marks = torch.zeros(3, 8, dtype=torch.bool)
    if special:
        marks[:, 0], marks[:, -1], marks[1, 4:] = True, True, True
    select, action = (
        (torch.randint(100, (3, 8), generator=generator).double() + 0.5) / 100 for _ in range(2)
    )
    others = torch.randint(400, 500, (3, 8), generator=generator)
    return ids, marks, select, action, others, MASK, probability


def _shares(mask_tokens: Callable) -> str | None:
    """On an even grid of draws the shares are exact."""
    even = (torch.arange(200.0, dtype=torch.float64) + 0.5) / 200
    select, action = (part.reshape(1, -1) for part in torch.meshgrid(even, even, indexing="ij"))
    ids, others = torch.full((1, 40_000), 7), torch.full((1, 40_000), 9)
    hidden, labels = mask_tokens(ids, torch.zeros_like(ids).bool(), select, action, others, MASK)
    asked = int((labels != -100).sum())
    counts = [asked, int((hidden == MASK).sum()), int((hidden == others).sum())]
    expected = [6000, 4800, 600]
    if counts == expected:
        return None
    given = "40,000 words; how many are asked for, hidden, swapped"
    return told(given, str(expected), str(counts))


def _masking(
    *,
    hide: float = 0.8,
    keep_from: float = 0.9,
    asked: Callable = lambda selected, hidden: selected,
    everywhere: bool = False,
    corrupted: bool = False,
    ignore: int = -100,
) -> Callable:
    """mask_tokens with other shares or other labels."""

    def mask_tokens(
        input_ids, special, u_select, u_action, random_ids, mask_id, probability=0.15
    ) -> tuple[Tensor, Tensor]:
        selected = u_select < probability
        if not everywhere:
            selected = selected & ~special
        hidden = selected & (u_action < hide)
        swapped = selected & (u_action >= hide) & (u_action < keep_from)
        ids = torch.where(swapped, random_ids, input_ids).masked_fill(hidden, mask_id)
        source = ids if corrupted else input_ids
        return ids, source.masked_fill(~asked(selected, hidden), ignore)

    return mask_tokens


MASK_TOKENS = Exercise(
    target="minivl.objectives.masking.mask_tokens",
    number="04.3",
    minutes=15,
    difficulty=2,
    source="Devlin et al. 2018, section 3.1",
    hints=(
        "Choose first, corrupt later. Selected is what draws less than the probability and is not "
        "special.",
        "Labels come from the original ids: the id where selected, -100 elsewhere.",
        "80, 10 and 10 % are shares of the selected: `u_action < 0.8` hides, from there to 0.9 "
        "another word comes in, the rest stays.",
    ),
    checks=(
        Case(
            "one sentence by hand",
            _by_hand,
            (
                torch.tensor([[101, 103, 52, 13, 14, 102, 0]]),
                torch.tensor([[-100, 11, 12, 13, -100, -100, -100]]),
            ),
        ),
        Case(
            "four words near the shares",
            _near_the_shares,
            (torch.tensor([[MASK, 51, 52, 14]]), torch.tensor([[11, 12, 13, 14]])),
        ),
        Case("three sentences", _sentences),
        Case("half of the words", lambda: _sentences(0.5)),
        Case("all words", lambda: _sentences(1.0, special=False)),
        Case("no words", lambda: _sentences(0.0)),
        Property("the shares of many words", _shares),
    ),
    variants=(
        Variant(
            "special tokens masked",
            _masking(everywhere=True),
            "You select [CLS], [SEP] and padding too. They carry no word to guess.",
        ),
        Variant(
            "labels everywhere",
            _masking(asked=lambda selected, hidden: torch.ones_like(selected)),
            "Your labels hold every word. You would score words that the model can see.",
        ),
        Variant(
            "always [MASK]",
            _masking(hide=1.0, keep_from=1.0),
            "Every selected word becomes [MASK]. In fine-tuning there is no [MASK]: 20 % must look "
            "like normal words.",
        ),
        Variant(
            "labels only where [MASK]",
            _masking(asked=lambda selected, hidden: hidden),
            "You score hidden words only. Swapped and kept words are scored too: that is why they "
            "are there.",
        ),
        Variant(
            "labels from the corrupted ids",
            _masking(corrupted=True),
            "You read the labels after overwriting the ids. They must hold the original words.",
        ),
        Variant(
            "0 instead of -100",
            _masking(ignore=0),
            "You mark words that are not asked for with 0, a real token (padding). -100 is what "
            "cross-entropy ignores.",
        ),
        Variant(
            "10 % of the rest",
            _masking(keep_from=0.82),
            "You swap 10 % of what is not hidden, 2 % in all. It is 80, 10 and 10 % of all that "
            "is selected.",
        ),
        Variant(
            "all others swapped",
            _masking(keep_from=1.0),
            "You swap all that is not hidden. Half of it, 10 % of the selected, stays as it is.",
        ),
        Variant(
            "none swapped",
            _masking(keep_from=0.8),
            "You swap no word. A tenth of the selected becomes another word, so that the model "
            "must doubt every word it sees.",
        ),
    ),
)

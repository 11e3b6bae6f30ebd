"""What a dry run counts: parameters by part, and work where only selected rows are computed."""

import pytest
import torch
from torch import nn

from minivl.commands.estimate import parameters_by_part, work_of
from minivl.models.mlm import Mlm
from minivl.nn.bert import Bert


def work(asked, vocab):
    """Operations a sample of four texts of ten words with `asked` labels in all."""
    model = Mlm(Bert(vocab_size=vocab, width=8, depth=1, heads=2, max_length=10))
    labels = torch.full((4, 10), -100)
    labels.view(-1)[:asked] = 7
    ids = torch.ones(4, 10, dtype=torch.int64)
    return work_of(model, {"mlm_input_ids": ids, "mlm_labels": labels}).flops


@pytest.mark.parametrize("asked", [0, 1, 6, 40])
def test_the_vocabulary_is_counted_for_labelled_words_only(asked):
    more = work(asked, 1064) - work(asked, 64)
    # Forward, and backward to both: 3 products of 2 operations a weight and row, in 4 texts.
    assert more == 6 * asked * 8 * 1000 / 4


class Parts(nn.Module):
    """Parts whose names begin alike, a nested one, and parameters of its own."""

    def __init__(self):
        super().__init__()
        self.image = nn.Linear(3, 5)
        self.image_proj = nn.Linear(5, 2, bias=False)
        self.text = nn.ModuleDict({"body": nn.Linear(4, 4), "head": nn.Linear(4, 1)})
        self.mask_token = nn.Parameter(torch.zeros(7))
        self.scale = nn.Parameter(torch.zeros(()))
        self.missing = None


@pytest.mark.parametrize(
    ("parts", "counts"),
    [
        (None, {"image": 20, "image_proj": 10, "text": 25, "(own)": 8}),
        (("text.body", "text.head"), {"text.body": 20, "text.head": 5, "(own)": 38}),
        (
            {
                "picture": ("image", "mask_token"),
                "words": ("text.head", "text.body"),
                "scale": ("scale",),
                "projection": ("image_proj",),
                "absent": ("missing", "imag"),
            },
            {"picture": 27, "words": 25, "scale": 1, "projection": 10},
        ),
        ({"all": ("image", "image_proj", "text", "mask_token", "scale")}, {"all": 63}),
    ],
    ids=["direct parts", "named parts", "parts of several", "nothing left"],
)
def test_parameters_are_counted_by_part(parts, counts):
    model = Parts()
    if parts is not None:
        model.parts = parts
    found = parameters_by_part(model)
    assert found == counts and list(found) == list(counts)
    assert sum(found.values()) == sum(p.numel() for p in model.parameters())

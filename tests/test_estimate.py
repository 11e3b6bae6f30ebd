"""What a dry run counts where only selected rows go through a model's largest layer."""

import pytest
import torch

from minivl.commands.estimate import work_of
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

"""Our block masks are transformers' FlavaMaskingGenerator's, bit for bit, for equal draws."""

import pytest
import torch

from minivl.objectives.masking import blockwise_mask


class Draws:
    """Stands for the module `random`: hands out, four an attempt, what our generator draws."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)
        self.evens, self.places = 0, 0

    def uniform(self, low, high):
        if self.evens % 2 == 0:  # area: a new attempt
            four = torch.rand(4, generator=self.generator, dtype=torch.float64)
            self.four = four.tolist()
            self.places = 0
        self.evens += 1
        return low + (high - low) * self.four[(self.evens - 1) % 2]

    def randint(self, low, high):
        self.places += 1
        return low + int((high - low + 1) * self.four[1 + self.places])


@pytest.mark.parametrize(
    ("grid", "count", "least"), [((14, 14), 75, 16), ((14, 14), 78, 4), ((8, 6), 20, 4)], ids=str
)
def test_equal_draws_give_equal_masks(monkeypatch, grid, count, least):
    from transformers.models.flava import image_processing_flava as flava

    theirs = flava.FlavaMaskingGenerator(
        input_size=grid, total_mask_patches=count, mask_group_min_patches=least
    )
    for seed in range(200):
        monkeypatch.setattr(flava, "random", Draws(seed))
        expected = theirs().bool()
        generator = torch.Generator().manual_seed(seed)
        assert torch.equal(blockwise_mask(*grid, count, generator, least, exact=False), expected)

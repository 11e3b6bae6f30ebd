import numpy as np
import pytest
import torch
from torch import nn

from minivl.data.text import SPECIAL_TOKENS, WordPiece
from minivl.evaluation.embed import embed_images, embed_texts, evaluating

CPU = torch.device("cpu")


class Toy(nn.Module):
    """Embeds a picture as its corner pixel, a text as a masked mean; notes how it was called."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Dropout().eval()
        self.words = nn.Embedding(9, 4, dtype=torch.float64)
        self.calls = []

    def encode_image(self, image):
        self.calls.append((len(image), self.training, torch.is_grad_enabled()))
        return image[:, :, 0, 0].double()

    def encode_text(self, input_ids, attention_mask):
        self.calls.append((len(input_ids), self.training, torch.is_grad_enabled()))
        visible = attention_mask[..., None]
        return (self.words(input_ids) * visible).sum(1) / visible.sum(1)


@pytest.fixture
def toy():
    torch.manual_seed(0)
    return Toy()


@pytest.fixture
def text():
    return WordPiece([*SPECIAL_TOKENS, "a", "dog", "cat", "left"])


def test_pictures_become_unit_vectors_in_their_order(toy):
    images = np.random.default_rng(0).integers(0, 255, (7, 2, 2, 3), dtype=np.uint8)
    found = embed_images(toy, images, CPU, batch_size=3)
    raw = torch.from_numpy(images[:, 0, 0]).float() / 127.5 - 1
    assert torch.allclose(found, raw / raw.norm(dim=1, keepdim=True), atol=1e-6)
    assert found.dtype == torch.float32
    assert toy.calls == [(3, False, False), (3, False, False), (1, False, False)]


def test_vectors_may_take_part_in_gradients(toy, text):
    toy.words.weight.data = torch.ones(9, 4)
    found = embed_texts(toy, text, ["a dog"], CPU)
    assert not found.requires_grad
    ((toy.words.weight.sum(0) @ found[0]) ** 2).backward()
    assert toy.words.weight.grad.norm() > 0


def test_progress_counts_up_to_the_end(toy, text):
    seen = []
    images = np.zeros((5, 2, 2, 3), np.uint8)
    embed_images(toy, images, CPU, batch_size=2, progress=lambda *done: seen.append(done))
    embed_texts(toy, text, ["a"] * 3, CPU, batch_size=3, progress=lambda *done: seen.append(done))
    assert seen == [(2, 5), (4, 5), (5, 5), (3, 3)]


def test_texts_do_not_depend_on_the_batch_they_travel_in(toy, text):
    sentences = ["a", "a dog left", "a cat", "dog", "left cat dog a"]
    alone = embed_texts(toy, text, sentences, CPU, batch_size=1)
    together = embed_texts(toy, text, sentences, CPU, batch_size=4)
    assert torch.allclose(alone, together, atol=1e-6)
    assert torch.allclose(together.norm(dim=1), torch.ones(5))
    assert together.dtype == torch.float32


def test_long_texts_are_cut_for_the_model(toy, text):
    long = embed_texts(toy, text, ["a dog left"], CPU, max_length=4)
    assert torch.equal(long, embed_texts(toy, text, ["a dog"], CPU))
    assert not torch.equal(long, embed_texts(toy, text, ["a dog left"], CPU))


def test_every_module_is_in_its_mode_again_even_after_an_error(toy):
    toy.train()
    toy.frozen.eval()
    with pytest.raises(KeyError), evaluating(toy):
        assert not toy.training and not torch.is_grad_enabled()
        raise KeyError
    assert toy.training and not toy.frozen.training and torch.is_grad_enabled()
    toy.eval()
    with evaluating(toy):
        pass
    assert not toy.training

import pytest
import torch

from minivl.data.codes import CodeCache
from minivl.models.dvae import DVAE
from minivl.nn.dvae import Decoder, Encoder


class Counting(DVAE):
    """A tokenizer that notes how many pictures each call brings."""

    def tokenize(self, image):
        self.calls.append(len(image))
        return super().tokenize(image)


@pytest.fixture
def tokenizer(drawn):
    numbers = {"vocab_size": 300, "width": 4, "groups": 2, "blocks": 1}
    model = drawn(Counting(Encoder(**numbers), Decoder(**numbers, code_width=4)))
    model.calls = []
    return model.requires_grad_(False)


def test_codes_are_the_tokenizer_s_and_each_crop_is_named_once(tokenizer, normal):
    cache = CodeCache(tokenizer)
    image = normal(1, 4, 3, 8, 6).clamp(-1, 1)
    expected = DVAE.tokenize(tokenizer, image)
    pictures, crops = ["a", "b", "a", "c"], [0, 0, 1, 0]
    for _ in range(3):
        codes = cache.tokens(pictures, crops, image)
        assert torch.equal(codes, expected) and codes.dtype == torch.int64
    assert tokenizer.calls == [4] and len(cache) == 4


def test_only_the_new_ones_are_computed_in_any_order(tokenizer, normal):
    cache = CodeCache(tokenizer)
    image = normal(2, 5, 3, 4, 4).clamp(-1, 1)
    expected = DVAE.tokenize(tokenizer, image)
    cache.tokens([0, 1], [0, 0], image[:2])
    order = [4, 1, 0, 2, 3]
    codes = cache.tokens(order, [0] * 5, image[order])
    assert torch.equal(codes, expected[order])
    assert tokenizer.calls == [2, 3]


def test_a_crop_that_occurs_twice_in_a_batch_is_computed_once(tokenizer, normal):
    cache = CodeCache(tokenizer)
    image = normal(3, 1, 3, 4, 4).clamp(-1, 1).expand(3, 3, 4, 4)
    codes = cache.tokens([7, 7, 7], [2, 2, 2], image)
    assert tokenizer.calls == [1] and len(cache) == 1
    assert torch.equal(codes[0], codes[1]) and torch.equal(codes[0], codes[2])


def test_the_same_picture_in_another_crop_has_codes_of_its_own(tokenizer, normal):
    cache = CodeCache(tokenizer)
    image = normal(4, 2, 3, 8, 8).clamp(-1, 1)
    one = cache.tokens([0], [0], image[:1])
    other = cache.tokens([0], [1], image[1:])
    assert not torch.equal(one, other)
    assert torch.equal(cache.tokens([0], [0], image[:1]), one)


def test_what_comes_back_is_the_caller_s_own(tokenizer, normal):
    cache = CodeCache(tokenizer)
    image = normal(5, 1, 3, 4, 4).clamp(-1, 1)
    codes = cache.tokens([0], [0], image)
    kept = codes.clone()
    codes.zero_()
    assert torch.equal(cache.tokens([0], [0], image), kept)


def test_a_tokenizer_that_learns_and_a_list_too_short_are_refused(tokenizer, normal):
    with pytest.raises(ValueError, match="2 pictures, 1 crops, but 2 images"):
        CodeCache(tokenizer).tokens([0, 1], [0], normal(0, 2, 3, 4, 4))
    tokenizer.decoder.output.bias.requires_grad_(True)
    with pytest.raises(ValueError, match="frozen"):
        CodeCache(tokenizer)

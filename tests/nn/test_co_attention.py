"""Two streams: each hears the other's past, padding says nothing, the cost is what it should be."""

import pytest
import torch

from minivl.nn.co_attention import CoAttentionBlock, CoAttentionEncoder

WIDTH, T, N = 8, 3, 5


def small(depth=1):
    torch.manual_seed(0)
    return CoAttentionEncoder(WIDTH, depth, 2).double()


def pair(batch=2):
    draw = torch.Generator().manual_seed(1)
    text = torch.randn(batch, T, WIDTH, generator=draw, dtype=torch.float64)
    image = torch.randn(batch, N, WIDTH, generator=draw, dtype=torch.float64)
    return text, image


def test_a_block_by_its_equations():
    block = CoAttentionBlock(WIDTH, 2).double()
    text, image = pair()
    said, shown = block.text_norm1(text), block.image_norm1(image)
    y = text + block.text_attention(said, shown)
    z = image + block.image_attention(shown, said)
    expected = y + block.text_mlp(block.text_norm2(y)), z + block.image_mlp(block.image_norm2(z))
    torch.testing.assert_close(block(text, image), expected)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_side_hears_of_its_own_tokens_only_from_the_second_block_on(depth):
    model = small(depth)
    text, image = pair(1)
    text.requires_grad_()
    words, _ = model(text, image)
    (gradient,) = torch.autograd.grad((words[0, 0] * torch.arange(WIDTH)).sum(), text)
    reached = gradient[0].abs().amax(dim=1) > 1e-12
    assert reached.tolist() == [True, depth > 1, depth > 1]


def test_both_sides_look_at_what_the_other_was():
    """Not at what it has become: exchanging the two lines of a block would change nothing."""
    block = small().blocks[0]
    text, image = pair()
    words, patches = block(text, image)
    with torch.no_grad():
        for name in ("attention", "mlp"):
            for part in getattr(block, f"text_{name}").parameters():
                part.zero_()
    still, same = block(text, image)
    torch.testing.assert_close(still, text)
    torch.testing.assert_close(same, patches)
    assert not torch.allclose(words, text)


def test_padding_is_not_heard():
    model = small(2)
    text, image = pair()
    seen = torch.tensor([[True, True, False], [True, True, True]])
    other = text.clone()
    other[0, 2] = 9.0
    a, b = model(text, image, seen), model(other, image, seen)
    torch.testing.assert_close(a[0][0, :2], b[0][0, :2])
    torch.testing.assert_close(a[1], b[1])
    assert not torch.allclose(a[1], model(other, image)[1])


def test_a_block_has_twice_the_parameters_of_one_of_self_attention():
    from minivl.nn.transformer import Block

    def size(module):
        return sum(p.numel() for p in module.parameters())

    assert size(CoAttentionBlock(WIDTH, 2)) == 2 * size(Block(WIDTH, 2))

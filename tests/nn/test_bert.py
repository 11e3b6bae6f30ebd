import pytest
import torch
import torch.nn.functional as F

from minivl.nn.bert import Bert, fusion_block

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
SMALL = {"vocab_size": 20, "width": 8, "depth": 2, "heads": 2, "max_length": 10}
IDS = torch.tensor([[2, 7, 9, 3], [2, 9, 7, 3]])


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_the_model_is_its_formula(drawn, norm):
    model = drawn(Bert(**SMALL, norm=norm, eps=1e-3))
    types = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1]])
    x = model.word_embed.weight[IDS] + model.pos_embed.weight[:4]
    for given, segment in ((types, types), (None, torch.zeros_like(types))):
        embedded = x + model.token_type_embed.weight[segment]
        expected = F.layer_norm(
            embedded, (8,), model.embed_norm.weight, model.embed_norm.bias, 1e-3
        )
        expected = model.transformer(expected)
        if norm == "pre":
            expected = F.layer_norm(expected, (8,), model.norm.weight, model.norm.bias, 1e-3)
        torch.testing.assert_close(model(IDS, token_type_ids=given), expected, **CLOSE)


def test_blocks_have_the_order_asked_for():
    for norm in ("pre", "post"):
        model = Bert(**SMALL, norm=norm)
        assert [block.norm for block in model.transformer.blocks] == [norm] * 2


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_padding_changes_nothing_and_gets_no_gradient(drawn, norm):
    model = drawn(Bert(**SMALL, norm=norm))
    alone = model(IDS)
    padded = torch.cat([IDS, torch.tensor([[0, 0], [17, 18]])], dim=1)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0]] * 2)
    for attention_mask in (mask, mask.bool()):
        states = model(padded, attention_mask)
        torch.testing.assert_close(states[:, :4], alone, **CLOSE)
    assert (model(padded)[:, :4] - alone).abs().max() > 1e-3
    states[:, :4].square().sum().backward()
    assert (model.word_embed.weight.grad[[0, 17, 18]] == 0).all()
    assert (model.word_embed.weight.grad[[2, 3, 7, 9]] != 0).all()


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_asking_for_the_weights_changes_nothing(drawn, norm):
    model = drawn(Bert(**SMALL, norm=norm))
    mask = torch.tensor([[True] * 4, [True] * 3 + [False]])
    states, maps = model(IDS, mask, return_attention=True)
    torch.testing.assert_close(states, model(IDS, mask), **CLOSE)
    assert [m.shape for m in maps] == [(2, 2, 4, 4)] * 2
    assert all((m[1, :, :, 3] == 0).all() for m in maps)


def test_it_reads_both_ways_and_knows_the_order(drawn):
    model = drawn(Bert(**SMALL))
    states = model(IDS)
    # The two sentences differ in the order of words 1 and 2: word 0 and word 3 both notice.
    assert (states[0, [0, 3]] - states[1, [0, 3]]).abs().min() > 1e-6


def test_dropout_reaches_embeddings_and_blocks(drawn):
    model = drawn(Bert(**SMALL, dropout=1.0)).train()
    assert (model.embed(IDS) == 0).all()
    assert all(block.dropout.p == 1.0 for block in model.transformer.blocks)
    assert (model.eval().embed(IDS) != 0).all()


def test_a_text_too_long_is_named():
    with pytest.raises(ValueError, match="11 word pieces.* 10 positions"):
        Bert(**SMALL)(torch.zeros(1, 11, dtype=torch.long))


def test_base_has_the_published_number_of_weights(count_weights):
    """BERT-base has 109,482,240 with its pooler, one square layer of 768."""
    count = count_weights(lambda: Bert(vocab_size=30_522, width=768, depth=12, heads=12))
    assert count == 109_482_240 - (768**2 + 768)


# Steps that can be followed by hand.
def centred(x):
    return x - x.mean(dim=-1, keepdim=True)


def by_its_sum(x, image):
    return x * image.sum(dim=1, keepdim=True)


WORDS = torch.tensor([[[0.0, 0, 3]]])
PICTURE = torch.tensor([[[1.0, 0, 0], [2, 0, 0]]])


def test_a_fusion_block_by_hand():
    """0 0 12 less its mean: -4 -4 8; with 3 times the first: -12 0 12; with squares: 36 -96 60."""
    steps = (torch.square, by_its_sum, torch.square, centred, centred, centred)
    assert fusion_block(WORDS, PICTURE, *steps).tolist() == [[[36, -96, 60]]]


def test_a_fusion_block_takes_its_three_steps_in_order():
    """Each step is called once with what the one before gave; only the second sees the picture."""
    called = []

    def step(name, result):
        def call(x, *image):
            called.append((name, x.item(), *(one.item() for one in image)))
            return torch.tensor(result)

        return call

    text, image = torch.tensor(1.0), torch.tensor(100.0)
    names = ("self", "cross", "mlp", "norm1", "norm2", "norm3")
    results = (2.0, 20.0, 200.0, 5.0, 7.0, 11.0)
    assert fusion_block(text, image, *map(step, names, results)) == 11
    assert called == [
        ("self", 1), ("norm1", 3),
        ("cross", 5, 100), ("norm2", 25),
        ("mlp", 7), ("norm3", 207),
    ]  # fmt: skip


def test_steps_that_say_nothing_leave_three_norms():
    def nothing(x, *image):
        return torch.zeros_like(x)

    def halved(x):
        return x / 2

    found = fusion_block(WORDS, PICTURE, nothing, nothing, nothing, halved, halved, halved)
    assert torch.equal(found, WORDS / 8)

"""Our Bert is transformers' BertModel: states, attention and every gradient, in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.nn.bert import Bert

VOCAB, LONGEST = 23, 9
NAMES = {
    r"^(word|position|token_type)_embed\.": r"embeddings.\1_embeddings.",
    r"^pos_embed\.": "embeddings.position_embeddings.",
    r"^embed_norm": "embeddings.LayerNorm",
    r"^transformer\.blocks": "encoder.layer",
    r"attention\.q_proj": "attention.self.query",
    r"attention\.k_proj": "attention.self.key",
    r"attention\.v_proj": "attention.self.value",
    r"attention\.out_proj": "attention.output.dense",
    r"\.norm1\.": ".attention.output.LayerNorm.",
    r"\.mlp\.fc1\.": ".intermediate.dense.",
    r"\.mlp\.fc2\.": ".output.dense.",
    r"\.norm2\.": ".output.LayerNorm.",
}


@pytest.fixture(scope="module", params=["eager", "sdpa"])
def models(request, drawn, twins):
    from transformers.models.bert.configuration_bert import BertConfig
    from transformers.models.bert.modeling_bert import BertModel

    config = BertConfig(
        vocab_size=VOCAB,
        hidden_size=12,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=48,
        max_position_embeddings=LONGEST,
        layer_norm_eps=1e-12,
        # Else their padding's embedding gets no gradient even where it is looked at.
        pad_token_id=None,
        attn_implementation=request.param,
    )
    ours = drawn(Bert(vocab_size=VOCAB, width=12, depth=3, heads=3, max_length=LONGEST))
    theirs = BertModel(config, add_pooling_layer=False)
    return ours, theirs, twins(ours, theirs, NAMES)


@given(
    seed=st.integers(0, 10**6),
    b=st.integers(1, 3),
    length=st.integers(1, LONGEST),
    masked=st.booleans(),
    typed=st.booleans(),
)
@settings(max_examples=20, deadline=None)
def test_any_text(models, normal, close, seed, b, length, masked, typed):
    """Any number of texts of any length, with or without padding and second segments."""
    ours, theirs, compare = models
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(VOCAB, (b, length), generator=generator)
    mask = types = None
    if masked:  # holes, too; the first word piece is always there
        mask = torch.rand(b, length, generator=generator) < 0.6
        mask[:, 0] = True
    if typed:
        types = torch.randint(2, (b, length), generator=generator)
    a = ours(ids, mask, token_type_ids=types)
    other = theirs(
        ids, attention_mask=None if mask is None else mask.long(), token_type_ids=types
    ).last_hidden_state
    close(a, other, "states")
    weights = normal(seed + 1, *a.shape)
    compare((a * weights).sum(), (other * weights).sum())


@pytest.mark.parametrize("models", ["eager"], indirect=True)
def test_attention(models, close):
    ours, theirs, _ = models
    ids, mask = torch.tensor([[2, 5, 7, 3], [2, 8, 3, 0]]), torch.tensor([[1] * 4, [1, 1, 1, 0]])
    maps = ours(ids, mask, return_attention=True)[1]
    for a, b in zip(maps, theirs(ids, mask, output_attentions=True).attentions, strict=True):
        close(a, b)

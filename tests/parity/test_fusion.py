"""Our FusionEncoder is a stack of transformers' BertLayer with cross-attention, in float64.

Outputs, attention and every gradient; reading both ways as ALBEF's fusion layers, whose mask those
layers take from outside, and left to right as its answer decoder.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from minivl.nn.bert import Bert
from minivl.nn.fusion import FusionEncoder

WIDTH, DEPTH, HEADS, VOCAB, LONGEST = 12, 3, 3, 23, 7
LAYER = {
    r"self_attention\.q_proj": "attention.self.query",
    r"self_attention\.k_proj": "attention.self.key",
    r"self_attention\.v_proj": "attention.self.value",
    r"self_attention\.out_proj": "attention.output.dense",
    r"cross_attention\.q_proj": "crossattention.self.query",
    r"cross_attention\.k_proj": "crossattention.self.key",
    r"cross_attention\.v_proj": "crossattention.self.value",
    r"cross_attention\.out_proj": "crossattention.output.dense",
    r"\.norm1\.": ".attention.output.LayerNorm.",
    r"\.norm2\.": ".crossattention.output.LayerNorm.",
    r"\.mlp\.fc1\.": ".intermediate.dense.",
    r"\.mlp\.fc2\.": ".output.dense.",
    r"\.norm3\.": ".output.LayerNorm.",
}


def config():
    from transformers.models.bert.configuration_bert import BertConfig

    return BertConfig(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=LONGEST,
        layer_norm_eps=1e-12,
        # Else their padding's embedding gets no gradient even where it is looked at.
        pad_token_id=None,
        is_decoder=True,
        add_cross_attention=True,
        attn_implementation="eager",
    )


def widen(layers, context):
    """Their cross-attention has the text's width only, ALBEF's BERT that of the pictures."""
    for layer in layers:
        for name in ("key", "value"):
            setattr(layer.crossattention.self, name, nn.Linear(context, WIDTH))


def additive(visible):
    """True = visible as what their layers add to the scores: (b, t) -> (b, 1, 1, t)."""
    hidden = torch.zeros(visible.shape, dtype=torch.float64).masked_fill(~visible, -torch.inf)
    return hidden[:, None, None]


def visible_words(generator, b, t):
    """Padding and holes; the first word is always there."""
    mask = torch.rand(b, t, generator=generator) < 0.6
    mask[:, 0] = True
    return mask


@pytest.fixture(scope="module", params=[WIDTH, 10], ids=["as wide", "wider text"])
def stacks(request, drawn, twins):
    from transformers.models.bert.modeling_bert import BertLayer

    context, settings = request.param, config()
    ours = drawn(FusionEncoder(WIDTH, DEPTH, HEADS, context_width=context))
    theirs = nn.ModuleList(BertLayer(settings, layer_idx=i) for i in range(DEPTH))
    widen(theirs, context)
    compare = twins(ours, theirs, {r"^blocks\.": "", **LAYER})

    def run(text, image, mask=None, image_mask=None):
        """As ALBEF runs them: a mask for padding, none for the future."""
        for layer in theirs:
            text = layer(
                text,
                None if mask is None else additive(mask),
                image,
                None if image_mask is None else additive(image_mask),
            )
        return text

    return context, ours, run, compare


@given(
    seed=st.integers(0, 10**6),
    b=st.integers(1, 3),
    t=st.integers(1, 6),
    n=st.integers(1, 5),
    masked=st.booleans(),
    image_masked=st.booleans(),
)
@settings(max_examples=20, deadline=None)
def test_any_texts_and_pictures(stacks, normal, close, seed, b, t, n, masked, image_masked):
    context, ours, theirs, compare = stacks
    generator = torch.Generator().manual_seed(seed)
    mask = visible_words(generator, b, t) if masked else None
    image_mask = visible_words(generator, b, n) if image_masked else None
    drawn = normal(seed, b, t, WIDTH), normal(seed + 1, b, n, context)
    (text, image), others = ([x.clone().requires_grad_() for x in drawn] for _ in range(2))
    a = ours(text, image, mask, image_mask=image_mask)
    other = theirs(*others, mask, image_mask)
    close(a, other, "states")
    weights = normal(seed + 2, *a.shape)
    inputs = list(zip((text, image), others, strict=True))
    compare((a * weights).sum(), (other * weights).sum(), inputs)


@given(seed=st.integers(0, 10**6), b=st.integers(1, 5), m=st.integers(1, 3), split=st.booleans())
@settings(max_examples=15, deadline=None)
def test_shared_pictures_of_which_a_few_words_are_read(stacks, normal, close, seed, b, m, split):
    """The fast path against their plain one: texts that share pictures, words that nobody reads."""
    context, ours, theirs, compare = stacks
    generator = torch.Generator().manual_seed(seed)
    mask, index = visible_words(generator, b, 5), torch.randint(m, (b,), generator=generator)
    read = torch.rand(b, 5, generator=generator) < 0.3
    read[:, 0] = True
    drawn = normal(seed, b, 5, WIDTH), normal(seed + 1, m, 4, context)
    (text, image), others = ([x.clone().requires_grad_() for x in drawn] for _ in range(2))
    asked = [part for part in (read[:2], read[2:]) if len(part)] if split else read
    a = ours(text, image, mask, image_index=index, read=asked)[read]
    other = theirs(others[0], others[1][index], mask)[read]
    close(a, other, "states")
    weights = normal(seed + 2, *a.shape)
    inputs = list(zip((text, image), others, strict=True))
    compare((a * weights).sum(), (other * weights).sum(), inputs)


class Decoder(nn.Module):
    """Embedded words and the fusion encoder, reading left to right."""

    def __init__(self):
        super().__init__()
        self.text = Bert(vocab_size=VOCAB, width=WIDTH, depth=0, heads=HEADS, max_length=LONGEST)
        self.fusion = FusionEncoder(WIDTH, DEPTH, HEADS)

    def forward(self, ids, context, mask, context_mask, return_attention=False):
        causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
        return self.fusion(
            self.text.embed(ids),
            context,
            causal & mask[:, None, None],
            return_attention,
            image_mask=context_mask,
        )


@pytest.fixture(scope="module")
def decoders(drawn, twins):
    from transformers.models.bert.modeling_bert import BertModel

    ours, theirs = drawn(Decoder()), BertModel(config(), add_pooling_layer=False)
    names = {
        r"^text\.(word|position|token_type)_embed\.": r"embeddings.\1_embeddings.",
        r"^text\.pos_embed\.": "embeddings.position_embeddings.",
        r"^text\.embed_norm": "embeddings.LayerNorm",
        r"^fusion\.blocks": "encoder.layer",
        **LAYER,
    }
    return ours, theirs, twins(ours, theirs, names)


@given(seed=st.integers(0, 10**6), b=st.integers(1, 3), t=st.integers(1, LONGEST))
@settings(max_examples=15, deadline=None)
def test_a_decoder(decoders, normal, close, seed, b, t):
    """Their own causal mask, over texts padded at the end, looking at padded states."""
    ours, theirs, compare = decoders
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(VOCAB, (b, t), generator=generator)
    mask = torch.arange(t) < torch.randint(1, t + 1, (b, 1), generator=generator)
    seen = visible_words(generator, b, 4)
    context, other_context = (normal(seed, b, 4, WIDTH).requires_grad_() for _ in range(2))
    a, maps = ours(ids, context, mask, seen, return_attention=True)
    close(ours(ids, context, mask, seen), a, "with and without attention")
    answer = theirs(
        ids,
        attention_mask=mask.long(),
        encoder_hidden_states=other_context,
        encoder_attention_mask=seen.long(),
        use_cache=False,
        output_attentions=True,
    )
    close(a, answer.last_hidden_state, "states")
    for own, other in zip(maps, answer.cross_attentions, strict=True):
        close(own, other, "attention")
    weights = normal(seed + 1, *a.shape)
    compare(
        (a * weights).sum(),
        (answer.last_hidden_state * weights).sum(),
        [(context, other_context)],
    )

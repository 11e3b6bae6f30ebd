"""Our Mlm is transformers' BertForMaskedLM: loss, scores and every gradient, in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.models.mlm import Mlm
from minivl.nn.bert import Bert

VOCAB, LONGEST = 23, 9
BERT = {
    r"^text_encoder\.(word|position|token_type)_embed\.": r"bert.embeddings.\1_embeddings.",
    r"^text_encoder\.pos_embed\.": "bert.embeddings.position_embeddings.",
    r"^text_encoder\.embed_norm": "bert.embeddings.LayerNorm",
    r"^text_encoder\.transformer\.blocks": "bert.encoder.layer",
    r"attention\.q_proj": "attention.self.query",
    r"attention\.k_proj": "attention.self.key",
    r"attention\.v_proj": "attention.self.value",
    r"attention\.out_proj": "attention.output.dense",
    r"\.norm1\.": ".attention.output.LayerNorm.",
    r"\.mlp\.fc1\.": ".intermediate.dense.",
    r"\.mlp\.fc2\.": ".output.dense.",
    r"\.norm2\.": ".output.LayerNorm.",
    r"^head\.dense": "cls.predictions.transform.dense",
    r"^head\.norm": "cls.predictions.transform.LayerNorm",
    r"^head\.bias": "cls.predictions.bias",
    r"^head\.decoder": "cls.predictions.decoder.weight",
}


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def models(request, drawn, twins):
    from transformers.models.bert.configuration_bert import BertConfig
    from transformers.models.bert.modeling_bert import BertForMaskedLM

    config = BertConfig(
        vocab_size=VOCAB,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=48,
        max_position_embeddings=LONGEST,
        layer_norm_eps=1e-12,
        pad_token_id=None,
        tie_word_embeddings=request.param,
    )
    bert = Bert(vocab_size=VOCAB, width=12, depth=2, heads=3, max_length=LONGEST)
    ours = drawn(Mlm(bert, tied=request.param))
    theirs = BertForMaskedLM(config)
    if not request.param:  # untied, their decoder keeps a bias of its own beside the head's
        theirs.cls.predictions.decoder.bias = theirs.cls.predictions.bias
    return ours, theirs, twins(ours, theirs, BERT)


@given(seed=st.integers(0, 10**6), b=st.integers(1, 3), length=st.integers(1, LONGEST))
@settings(max_examples=20, deadline=None)
def test_any_batch(models, close, seed, b, length):
    ours, theirs, compare = models
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(VOCAB, (b, length), generator=generator)
    labels = torch.randint(VOCAB, (b, length), generator=generator)
    labels[torch.rand(b, length, generator=generator) < 0.6] = -100
    labels[0, 0] = 3  # theirs is NaN where nothing is asked
    mask = torch.rand(b, length, generator=generator) < 0.7
    mask[:, 0] = True
    batch = {"mlm_input_ids": ids, "mlm_labels": labels, "attention_mask": mask}
    loss = ours(batch)["mlm"]
    other = theirs(ids, attention_mask=mask.long(), labels=labels)
    close(loss, other.loss, "loss")
    close(ours.predict(ours.encode_text(ids, mask)), other.logits, "scores")
    compare(loss, other.loss)

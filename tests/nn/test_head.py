import pytest
import torch
import torch.nn.functional as F

from minivl.nn.head import PredictionHead
from minivl.training.muon import hidden_matrices
from minivl.training.optim import is_decayed


def test_dense_gelu_norm_and_a_vector_a_class(drawn, normal):
    head = drawn(PredictionHead(6, 9))
    x = normal(1, 2, 3, 6)
    hidden = F.gelu(x @ head.dense.weight.T + head.dense.bias)
    normed = F.layer_norm(hidden, (6,), head.norm.weight, head.norm.bias, 1e-12)
    expected = normed @ head.decoder.T + head.bias
    torch.testing.assert_close(head(x), expected, rtol=1e-12, atol=1e-12)
    assert head(x[0, :0]).shape == (0, 9)


def test_a_tied_head_scores_by_the_vectors_it_is_given(drawn, normal):
    head, own = drawn(PredictionHead(6, 9, tied=True)), drawn(PredictionHead(6, 9))
    assert head.decoder is None and len(list(head.parameters())) == len(list(own.parameters())) - 1
    x, vectors = normal(1, 4, 6), normal(2, 9, 6)
    own.load_state_dict(head.state_dict() | {"decoder": vectors})
    assert torch.equal(head(x, vectors), own(x))


def test_scores_are_wide_under_bf16_and_float64_stays():
    head = PredictionHead(6, 9)
    with torch.autocast("cpu", torch.bfloat16):
        assert head(torch.zeros(2, 6)).dtype == torch.float32
    assert head.double()(torch.zeros(2, 6, dtype=torch.float64)).dtype == torch.float64


def test_class_vectors_decay_but_are_no_hidden_matrices():
    head = PredictionHead(6, 9)
    assert [name for name, _ in hidden_matrices(head)] == ["dense.weight"]
    assert is_decayed("head.decoder", head.decoder) and not is_decayed("head.bias", head.bias)


def test_start_weights():
    torch.manual_seed(0)
    head = PredictionHead(192, 500)
    for weight in (head.decoder, head.dense.weight):
        assert weight.std().item() == pytest.approx(0.02 * 2 * 0.8796, rel=0.05)
    assert not head.bias.any()

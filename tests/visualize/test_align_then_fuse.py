import pytest
import torch

from minivl.models.albef import Albef
from minivl.nn.bert import Bert
from minivl.nn.fusion import FusionEncoder
from minivl.nn.vit import ViT
from minivl.visualize.align_then_fuse import align_then_fuse


def small(**options):
    torch.manual_seed(0)
    return Albef(
        ViT(image_size=8, patch_size=4, width=10, depth=3, heads=2),
        Bert(vocab_size=11, width=8, depth=1, heads=2, max_length=6),
        FusionEncoder(8, 2, 2, context_width=10),
        **{"embed_dim": 6, "queue_size": 1200} | options,
    )


@pytest.fixture
def batch():
    return {
        "image": torch.zeros(2, 3, 8, 8),
        "input_ids": torch.full((2, 6), 5),
        "attention_mask": torch.ones(2, 6, dtype=torch.bool),
    }


def test_its_numbers_are_the_models(batch, pictures, texts, check_legible):
    figure = align_then_fuse(small(), batch, pictures(1)[0], "a cat on a mat")
    check_legible(figure)
    assert {
        "image encoder: ViT\n3 blocks: patches look at patches",
        "text encoder: BERT, lower half\n1 block: words look at words",
        "fusion encoder: BERT, upper half\n2 blocks: words look at words, then at patches",
        "queues: 1,200 pictures, 1,200 sentences",
        "image_proj\n→ 6",
        "5 tokens × 10\nkeys and values, once a picture",
        "6 word pieces × 8",
        "ITM\n2 answers",
        "MLM\n11 words",
    } <= set(texts(figure))
    assert "5 tokens of width 10" in figure.caption.alt and "6 words come out" in figure.caption.alt


def test_what_is_left_out_is_said(batch, pictures, texts):
    model = small(objectives=("itc", "mlm"))
    shown = texts(align_then_fuse(model, batch, pictures(1)[0], "a cat"))
    assert "ITM\nleft out" in shown and "MLM\n11 words" in shown


def test_nothing_is_learned_by_drawing(batch, pictures):
    model = small().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    align_then_fuse(model, batch, pictures(1)[0], "a cat")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_long_sentences_and_full_sizes_stay_inside(batch, pictures, check_legible):
    sentence = "a rather incomprehensible hippopotamus on the left and a mushroom on the right " * 3
    check_legible(align_then_fuse(small(queue_size=65_536), batch, pictures(1)[0], sentence))

import numpy as np
import pytest
import torch

from minivl.models.unit import Unit, UnitTask
from minivl.models.unit_encoders import UnitImageEncoder, UnitTextEncoder
from minivl.nn.bert import Bert
from minivl.nn.resnet import SmallCNN
from minivl.visualize.one_decoder import one_decoder

TASKS = (
    UnitTask("scene-detection", "boxes", classes=3, queries=6),
    UnitTask("scene-attributes", "boxes", classes=3, queries=6, attributes=2),
    UnitTask("scene-vqa", "answer", classes=5, queries=2, text=True, soft=True),
    UnitTask("scene-ve", "answer", classes=3, queries=2, text=True, first_word_only=True),
    UnitTask("caption-answers", "answer", classes=2, queries=2, image=False, text=True),
    UnitTask("scene-sentences", "answer", classes=3, queries=2, image=False, text=True),
    UnitTask("caption-pairs", "answer", classes=2, queries=2, image=False, text=True),
    UnitTask("gloss-kinds", "answer", classes=2, queries=2, image=False, text=True),
)


def drawn(asked="scene-vqa", tasks=TASKS):
    torch.manual_seed(0)
    image = UnitImageEncoder(SmallCNN(8, stride=4), width=8, depth=2, heads=2, tasks=len(tasks))
    bert = Bert(vocab_size=11, width=12, depth=1, heads=2, max_length=9)
    text = UnitTextEncoder(bert, tasks=len(tasks))
    model = Unit(image, text, tasks, width=8, depth=3, heads=2).eval()
    batch = {
        "task": asked,
        "image": torch.randn(2, 3, 16, 16),
        "input_ids": torch.randint(1, 11, (2, 7)),
        "attention_mask": torch.ones(2, 7, dtype=torch.bool),
    }
    return one_decoder(model, batch, np.zeros((16, 16, 3), np.uint8), "what is left of the dog?")


def test_the_numbers_are_those_of_the_model(texts, check_legible):
    figure = drawn()
    check_legible(figure)
    words = texts(figure)
    assert "16 cells × 8" in words and "7 word pieces × 8" in words
    assert "side by side: 23 tokens with their places" in words
    assert any(word.startswith("decoder, 3 blocks") for word in words)
    assert "scene-attributes: 6" in words and "gloss-kinds: 2" in words
    assert any(word.startswith("2 heads: a class") for word in words)
    assert any(word.startswith("6 heads: an answer") for word in words)
    assert "here the 2 of scene-vqa" in figure.caption.alt


@pytest.mark.parametrize(
    ("asked", "tasks"), [("scene-ve", TASKS), ("scene-vqa", TASKS[2:3]), ("scene-ve", TASKS[1:4])]
)
def test_legible_with_any_tasks(asked, tasks, check_legible):
    check_legible(drawn(asked, tasks))


def test_of_some_tasks_the_decoder_sees_one_word(texts):
    assert "1 word pieces × 8" in texts(drawn("scene-ve"))

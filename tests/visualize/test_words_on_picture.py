"""The figure of words over their maps."""

import numpy as np
import pytest
import torch

from minivl.data.text import SPECIAL_TOKENS, WordPiece
from minivl.models.albef import Albef
from minivl.nn.bert import Bert
from minivl.nn.fusion import FusionEncoder
from minivl.nn.vit import ViT
from minivl.visualize.attention import lit
from minivl.visualize.gradcam import mean_map, word_maps
from minivl.visualize.words_on_picture import (
    WordsOnPicture,
    lit_map,
    strengths,
    words_figure,
    words_on_picture,
)

WORDS = ("[CLS]", "a", "unicorn", "and", "a", "cat")


def found(image=None):
    maps = torch.zeros(6, 2, 3)
    maps[2, 0, 2], maps[5, 1, 0], maps[1] = 4.0, 2.0, 0.04
    image = np.full((12, 18, 3), 128, dtype=np.uint8) if image is None else image
    return WordsOnPicture(image, "a unicorn and a cat", WORDS, maps, maps.mean(0))


def test_every_word_has_its_picture(texts, check_legible):
    figure = words_figure(found(), note="nobody has shown this model a box")
    check_legible(figure)
    assert len(figure.axes) == 2 + len(WORDS)
    said = texts(figure)
    assert "“a unicorn and a cat”" in said and said.count("“a”") == 2
    assert "100 % of the strongest" in said and "50 % of the strongest" in said
    assert said.count("1 % of the strongest") == 1 and said.count("0 % of the strongest") == 3
    assert "nobody has shown this model a box" in said
    alt = figure.caption.alt
    assert "“unicorn” (100 %, word 3): brightest in the upper right" in alt
    assert "“cat” (50 %, word 6): brightest in the middle left" in alt and "“and”" not in alt


def test_a_long_sentence_takes_several_rows(check_legible):
    words = tuple(f"word{i}" for i in range(17))
    long = WordsOnPicture(
        np.zeros((12, 12, 3), np.uint8), " ".join(words * 3), words, torch.rand(17, 2, 2),
        torch.rand(2, 2),
    )  # fmt: skip
    figure = words_figure(long)
    check_legible(figure)
    assert len({round(axes.get_position().y0, 3) for axes in figure.axes}) == 4


def test_a_weak_word_leaves_the_picture_dark():
    image = np.full((12, 18, 3), 128, dtype=np.uint8)
    heat = torch.tensor([[0.0, 0, 1], [0, 0, 0]])
    light = [lit_map(image, heat, share).astype(int).max() for share in (1.0, 0.5, 0.0)]
    assert light[0] > light[1] > light[2]
    np.testing.assert_array_equal(lit_map(image, heat), lit(image, heat.numpy()))
    np.testing.assert_array_equal(lit_map(image, heat, 0.0), lit(image, np.zeros((2, 3))))


def test_strengths_share_one_scale():
    maps = torch.tensor([[[1.0, 0]], [[0, 4]], [[0, 0]]])
    assert strengths(maps) == [0.25, 1, 0]
    assert strengths(torch.zeros(2, 1, 2)) == [0, 0]


@pytest.mark.parametrize("separator", [True, False])
def test_the_maps_are_the_models_own_joined_to_words(drawn, separator):
    text = WordPiece((*SPECIAL_TOKENS, "a", "un", "##ic", "##orn", "cat", "and"))
    model = drawn(
        Albef(
            ViT(image_size=12, patch_size=4, width=8, depth=1, heads=2),
            Bert(vocab_size=len(text), width=8, depth=1, heads=2, max_length=16),
            FusionEncoder(8, 3, 2, context_width=8),
            embed_dim=6,
            queue_size=4,
        )
    ).float()
    if not separator:
        text.encode = lambda said, longest=None: WordPiece.encode(text, said, longest)[:-1]
    image = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    shown = words_on_picture(model, text, image, "a unicorn and a cat")
    assert shown.words == WORDS and shown.maps.shape == (6, 3, 3)
    batch = text.batch(["a unicorn and a cat"])
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
    maps = word_maps(model, pixels, batch["input_ids"], batch["attention_mask"])
    torch.testing.assert_close(shown.maps[2], maps[0, 2:5].mean(0))
    torch.testing.assert_close(shown.maps[5], maps[0, 7])
    torch.testing.assert_close(shown.whole, mean_map(maps, batch["attention_mask"])[0])
    first = words_on_picture(model, text, image, "a unicorn and a cat", layer=0)
    assert not torch.equal(first.maps, shown.maps)

import pytest
from flava_toy import batches, small

from minivl.visualize.trio import trio


@pytest.fixture
def figure(pictures):
    return trio(small(), batches()["pairs"], pictures(1)[0], "a cat on a mat")


def test_its_numbers_are_the_models(figure, texts, check_legible):
    check_legible(figure)
    shown = texts(figure)
    assert {
        "image encoder\n1 block",
        "text encoder\n1 block",
        "mim_head\n5 codes",
        "mlm_head\n11 words",
        "mmm_image_head\n5 codes",
        "mmm_text_head\n11 words",
        "itm_head\n2 answers",
        "1 + 5 + 5 = 11\ntokens × 8",
        "image_proj\n→ 6",
        "5 × 8\nimage_to_mm",
    } <= set(shown)
    assert any(words.startswith("multimodal encoder\n2 blocks") for words in shown)
    assert "11 together" in figure.caption.alt


def test_a_head_that_is_not_there_is_said_to_be_left_out(pictures, texts):
    model = small(objectives=("itm", "contrastive"))
    shown = texts(trio(model, batches()["pairs"], pictures(1)[0], "a cat"))
    assert "mim_head\nleft out" in shown and "itm_head\n2 answers" in shown


def test_long_sentences_stay_inside(pictures, check_legible):
    sentence = "a rather incomprehensible hippopotamus on the left and a mushroom on the right " * 3
    check_legible(trio(small(), batches()["pairs"], pictures(1)[0], sentence))

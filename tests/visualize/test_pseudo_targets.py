import numpy as np
import pytest

from minivl.visualize.blanks import Guess
from minivl.visualize.pseudo_targets import Named, caption_targets, word_targets

GREY = np.full((8, 8, 3), 120, np.uint8)
PLACES = ("sea", "zoo", "pool", "pond", "ice")


def named(rank, *, spoilt=False, number=0):
    """A guess whose label stands at a place of the list, or behind it."""
    label = PLACES[rank] if rank < len(PLACES) else "moon"
    shares = (0.4, 0.3, 0.1, 0.05, 0.05)
    return Named(GREY, Guess(f"bear {number} in the", "", label, PLACES, shares, rank), spoilt)


def texts(figure):
    return [text.get_text() for text in figure.texts]


def test_the_headlines_count_labels_that_come_first_and_that_are_listed():
    figure = word_targets([named(0), named(0), named(3), named(7)], shown=2)
    assert "twin's first word for 2 of 4 captions (50.0 %)" in texts(figure)[0]
    assert "3 of 4 captions" in texts(figure)[1]
    assert "2 of 4" in figure.caption.alt and figure.caption.title and figure.caption.text


def test_label_and_likeliest_words_are_shown():
    figure = word_targets([named(2), named(9, spoilt=True, number=1)], shown=2)
    shown = texts(figure)
    assert shown.count("sea") == 2 and "pool" in shown and "40 %" in shown
    assert "✗ hidden: moon (place 10)" in shown
    assert shown.count("✓") == 1 and shown.count("✗") == 1
    assert "bear 0 in the _____" in shown
    assert "(pool): sea 40 %, zoo 30 %" in figure.caption.alt


def test_no_more_than_asked_are_shown():
    figure = word_targets([named(0, number=i) for i in range(20)], shown=3)
    assert sum(text.startswith("bear") for text in texts(figure)) == 3


def targets(**options):
    said = ["a cat", "a dog", "a bus", "a dog"]
    clean = ["a cat", "a cow", "a bus", "a dog"]
    candidates = ["a cat", "a dog", "a bus", "a cow"]
    shares = np.array([[0.7, 0.1, 0.2, 0.0], [0.1, 0.2, 0.1, 0.6], [0.5, 0.1, 0.4, 0.0],
                       [0.2, 0.3, 0.1, 0.4]])  # fmt: skip
    asked = {"images": [GREY] * 4, "said": said, "clean": clean, "candidates": candidates}
    return caption_targets(**asked | {"shares": shares} | options)


def test_what_the_twin_finds_first_is_compared_with_the_truth():
    figure = targets(shown=4, top=2)
    assert "is true for 2 of 4 pictures" in texts(figure)[0]
    assert "spoilt for 1 of 4 pictures" in texts(figure)[1]
    assert "“a dog” (true: “a cow”): a cow 60 %, a dog 20 %" in figure.caption.alt
    assert "“a bus” (true: “a bus”): a cat 50 %, a bus 40 %" in figure.caption.alt
    # The spoilt caption has a cross; what is true of the picture a tick where it comes first.
    shown = texts(figure)
    assert shown.count("✗") == 1 and shown.count("✓") == 3
    assert sum(text.endswith(" ✓") and len(text) > 2 for text in shown) == 2


def test_spoilt_captions_are_shown_as_often_as_clean_ones():
    n = 30
    said = [f"caption {i}" for i in range(n)]
    clean = ["another" if i in (4, 9, 14) else one for i, one in enumerate(said)]
    figure = caption_targets([GREY] * n, said, clean, said, np.full((n, n), 1 / n), shown=4)
    assert texts(figure).count("✗") == 2 and texts(figure).count("✓") == 2


def test_few_candidates_and_long_captions():
    long = " and ".join(["a very long caption"] * 12)
    figure = caption_targets([GREY], [long], [long], [long], np.ones((1, 1)))
    assert max(map(len, texts(figure))) <= 80 and long in figure.caption.alt


@pytest.mark.parametrize("wrong", [{"shares": np.ones((4, 3))}, {"said": ["a"]}, {"clean": ["a"]}])
def test_numbers_that_differ_are_refused(wrong):
    with pytest.raises(ValueError, match="4 pictures"):
        targets(**wrong)

import pytest

from minivl.visualize.turns import letter, turns

STEPS = ["pairs", "texts", "pairs", "pictures"] * 25


def test_strips_and_shares(texts, check_legible):
    figure = turns({"by lot": STEPS, "one after the other": ["pairs", "texts"] * 10}, shown=8)
    check_legible(figure)
    shown = texts(figure)
    assert "100 steps: pairs 50.0 %, texts 25.0 %, pictures 25.0 %" in shown
    assert "20 steps: pairs 50.0 %, texts 50.0 %" in shown
    assert shown.count("pa") == 8 and shown.count("pi") == 2 and shown.count("t") == 6
    assert "by lot: 100 steps" in figure.caption.alt


@pytest.mark.parametrize(
    ("name", "names", "expected"),
    [
        ("pairs", ["pairs", "pictures"], "pa"),
        ("texts", ["pairs", "texts"], "t"),
        ("a", ["a", "ab"], "a"),
        ("ab", ["a", "ab"], "ab"),
    ],
)
def test_the_shortest_letters_that_tell(name, names, expected):
    assert letter(name, names) == expected

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from minivl.visualize.similarity import chosen, similarity_matrix

CAPTIONS = [f"a rather long caption number {i} on the left and a thing" for i in range(16)]


def draw(similarity, pictures):
    n = len(similarity)
    return similarity_matrix(similarity, pictures(n), CAPTIONS[:n])


def test_captions_run_down_and_pictures_across(pictures):
    similarity = np.arange(9.0).reshape(3, 3)
    figure = draw(similarity, pictures)
    heat = figure.axes[0].images[0].get_array()
    np.testing.assert_array_equal(heat, similarity.T)
    thumbs = sorted(figure.axes[1:4], key=lambda axes: axes.get_position().x0)
    assert [int(axes.images[0].get_array()[0, 0, 0]) for axes in thumbs] == [0, 1, 2]


def test_the_diagonal_is_framed(pictures):
    frames = [p for p in draw(np.eye(4), pictures).axes[0].patches if isinstance(p, Rectangle)]
    corners = {tuple(np.round(np.add(p.get_xy(), 0.47), 6)) for p in frames}
    assert corners == {(i, i) for i in range(4)}


def test_the_headline_counts_captions_not_pictures(pictures, texts):
    # Caption 0 wins every picture, yet each caption finds its own picture but the last one.
    similarity = np.array([[0.9, 0.5, 0.0], [0.8, 0.7, 0.6], [0.8, 0.2, 0.1]])
    figure = draw(similarity, pictures)
    assert "The closest picture is the true one for 2 of 3 captions (66.7 %)" in texts(figure)
    assert "2 of 3 captions" in figure.caption.alt


def test_a_tie_is_no_success():
    assert chosen(np.ones((3, 3))).tolist() == [1, 0, 0]
    assert chosen(np.eye(3)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("n", [1, 8, 16])
def test_legible_at_every_size(n, pictures, check_legible):
    similarity = np.random.default_rng(0).normal(size=(n, n))
    check_legible(draw(similarity, pictures))


def test_shapes_that_do_not_fit_are_refused(pictures):
    with pytest.raises(ValueError, match="3 captions, 3 pictures"):
        similarity_matrix(np.zeros((3, 4)), pictures(3), CAPTIONS[:3])
    with pytest.raises(ValueError, match="2 pictures"):
        similarity_matrix(np.zeros((3, 3)), pictures(2), CAPTIONS[:3])


def test_dollars_are_words_and_inputs_stay(pictures):
    similarity, images = np.eye(2), pictures(2)
    similarity.flags.writeable = images.flags.writeable = False
    similarity_matrix(similarity, images, ["costs $5^ and $_{", "<b>"]).draw_without_rendering()

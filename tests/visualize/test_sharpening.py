import numpy as np
import pytest

from minivl.visualize.sharpening import sharpening


def moments(n=12):
    noise = np.random.default_rng(0).uniform(0, 0.2, size=(n, n))
    return {"before": np.full((n, n), 0.3), "in between": noise, "after": noise + np.eye(n)}


def heats(figure):
    return [axes.images[0] for axes in figure.axes if axes.images and axes.collections]


def test_pictures_run_down_and_all_panels_share_one_scale(pictures):
    shown = {"a": np.arange(9.0).reshape(3, 3), "b": np.full((3, 3), 20.0)}
    first, second = heats(sharpening(shown, pictures(3)))
    np.testing.assert_array_equal(first.get_array(), shown["a"])
    assert first.get_clim() == second.get_clim() == (0.0, 20.0)


def test_thumbnails_stand_beside_their_rows(pictures):
    figure = sharpening(moments(), pictures(12))
    thumbs = [a for a in figure.axes if a.images and a.images[0].get_array().ndim == 3]
    thumbs.sort(key=lambda axes: -axes.get_position().y0)
    assert [int(axes.images[0].get_array()[0, 0, 0]) for axes in thumbs] == list(range(12))


def test_the_counts_are_of_pictures_that_find_their_sentence(pictures, texts):
    # Picture 0 and 1 both find sentence 1; as columns, two sentences would be right.
    values = np.array([[0.5, 0.6, 0.0], [0.1, 0.9, 0.0], [0.0, 0.0, 0.8]])
    figure = sharpening({"now": values}, pictures(3))
    assert "2 of 3 closest are true" in texts(figure)
    assert "now: 2 of 3 on the diagonal" in figure.caption.alt


def test_a_model_that_finds_all_alike_has_none_right(pictures, texts):
    assert "0 of 12 closest are true" in texts(sharpening(moments(), pictures(12)))


@pytest.mark.parametrize("n, panels", [(3, 1), (12, 3), (16, 3)])
def test_legible(n, panels, pictures, check_legible):
    shown = dict(list(moments(n).items())[:panels])
    check_legible(sharpening(shown, pictures(n)))


def test_shapes_that_do_not_fit_are_refused(pictures):
    with pytest.raises(ValueError, match="2 pictures"):
        sharpening({"before": np.zeros((3, 3))}, pictures(2))
    with pytest.raises(ValueError, match="pass"):
        sharpening({}, pictures(2))

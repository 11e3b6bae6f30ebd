import numpy as np
import pytest
import torch

from minivl.evaluation.grounding import mass_mask
from minivl.visualize.heads import heads_figure, heads_over_training


@pytest.fixture
def maps():
    maps = torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    maps[1, 0] = 0
    maps[1, 0, 2, 3] = 1
    return maps


def segments(axes):
    return axes.collections[0].get_segments()


def images_of(figure):
    return [axes.images[0].get_array() for axes in figure.axes if axes.images]


def test_a_row_a_picture_and_a_column_a_head(maps, pictures, check_legible, texts):
    figure = heads_figure(pictures(3), maps, mass_mask(maps), names=["dog", "cat", "bus"])
    assert len(images_of(figure)) == 9
    assert {"the picture", "head 1", "head 2", "dog", "cat", "bus"} <= set(texts(figure))
    check_legible(figure)
    # Where a map is bright, its panel is, and elsewhere it is dark.
    lit = images_of(figure)[4].astype(float).mean(-1)
    quarter = lit.shape[0] // 4
    bright = lit[2 * quarter : 3 * quarter, 3 * quarter :].mean()
    assert bright > 3 * lit[: 2 * quarter, : 2 * quarter].mean()


def test_the_outline_is_drawn_where_asked(maps, pictures):
    kept = torch.zeros(3, 2, 4, 4, dtype=torch.bool)
    kept[:, :, 1:3, 0:2] = True
    kept[2, 1] = False  # nothing to outline
    figure = heads_figure(pictures(3), maps, kept)
    outlined = [axes for axes in figure.axes if axes.collections[0:] and segments(axes)]
    assert len(outlined) == 5
    corners = np.concatenate(segments(outlined[0]))
    assert len(segments(outlined[0])) == 8  # also where the cells touch the picture's border
    height = images_of(figure)[1].shape[0]
    assert corners[:, 1].min() == pytest.approx(height / 4, abs=height / 30)
    assert corners[:, 1].max() == pytest.approx(3 * height / 4, abs=height / 30)
    assert corners[:, 0].max() == pytest.approx(height / 2, abs=height / 30)


def test_overlaps_are_written_below(maps, pictures, texts, check_legible):
    overlaps = torch.tensor([[0.5, 0.25], [1.0, 0.0], [0.333, 0.1]])
    figure = heads_figure(pictures(3), maps, mass_mask(maps), overlaps=overlaps)
    shown = texts(figure)
    assert {"overlap 50 %", "overlap 25 %", "overlap 100 %", "overlap 0 %", "overlap 33 %"} <= set(
        shown
    )
    check_legible(figure)
    assert "Overlap" in figure.caption.text and "head 2" in figure.caption.alt


def test_moments_of_a_training_in_their_order(maps, pictures, texts, check_legible):
    moments = {500: maps[0], 0: maps[1], 1000: maps[2]}
    outlines = {step: mass_mask(found) for step, found in moments.items()}
    figure = heads_over_training(pictures(1)[0], moments, outlines)
    shown = [t for t in texts(figure) if t.startswith(("untrained", "step"))]
    assert shown == ["untrained", "step 500", "step 1,000"]
    assert len(images_of(figure)) == 1 + 2 * 3
    check_legible(figure)
    assert "step 0 to 1,000" in figure.caption.alt
    with pytest.raises(ValueError, match="no moment"):
        heads_over_training(pictures(1)[0], {}, {})

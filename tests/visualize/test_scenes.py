import numpy as np

from minivl.visualize.scenes import contact_sheet

LONG = "a small green turtle, a large rocket, a large trophy and a large airplane in a desert"


def test_every_picture_above_its_caption(pictures, texts, check_legible):
    figure = contact_sheet(pictures(6), [f"{i} {LONG}" for i in range(6)], columns=4)
    check_legible(figure)
    tops = [axes.get_position() for axes in figure.axes]
    assert [axes.images[0].get_array()[0, 0, 0] for axes in figure.axes] == list(range(6))
    assert len({round(p.y0, 4) for p in tops}) == 2, "two rows"
    assert len({round(p.x0, 4) for p in tops}) == 4, "four columns"
    for words, box in zip(figure.texts, tops, strict=True):
        x, y = words.get_position()
        assert abs(x - box.x0) < 1e-6 and y < box.y0


def test_boxes_surround_their_pixels(pictures):
    boxes = [np.array([[2, 3, 4, 5]]), np.zeros((0, 4))]
    figure = contact_sheet(pictures(2), ["a", "b"], boxes=boxes)
    for patch in figure.axes[0].patches:
        # Pixels 2..5 across and 3..7 down: their outer edges.
        assert patch.get_bbox().extents.tolist() == [1.5, 2.5, 5.5, 7.5]
    assert len(figure.axes[0].patches) == 2 and not figure.axes[1].patches


def test_outlines_follow_the_mask(pictures):
    mask = np.zeros((2, 12, 12), dtype=bool)
    mask[0, 4:8, 2:6] = True
    (axes,) = contact_sheet(pictures(1), ["a"], masks=[mask]).axes
    points = np.concatenate([path.vertices for c in axes.collections for path in c.get_paths()])
    assert points.min(0).tolist() == [1.5, 3.5] and points.max(0).tolist() == [5.5, 7.5]


def test_no_pictures_and_one_column(pictures, texts):
    assert "no pictures" in texts(contact_sheet([], []))
    figure = contact_sheet(pictures(3), ["a", "b", "c"], columns=1)
    assert len({axes.get_position().x0 for axes in figure.axes}) == 1


def test_alt_text_reads_the_captions(pictures):
    assert "a cat; a dog" in contact_sheet(pictures(2), ["a cat", "a dog"]).caption.alt

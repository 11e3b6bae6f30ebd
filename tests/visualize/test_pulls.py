import numpy as np
import pytest

from minivl.objectives.detection import box_iou, generalized_box_iou
from minivl.visualize.pulls import COUNT, TRUE, pull, pulls

FAR = np.array([[-3.0, 0.0], [0.0, 2.5], [2.5, -2.5]])


def test_far_boxes_are_pulled_by_the_generalised_overlap_only():
    assert not pull(box_iou, FAR, (1.0, 0.8)).any()
    arrows = pull(generalized_box_iou, FAR, (1.0, 0.8))
    assert (arrows[0, 0] > 0) and (arrows[1, 1] < 0)
    assert (arrows[2] * FAR[2] < 0).all(), "towards the middle"


def test_the_pull_is_the_slope():
    centre, size, step = np.array([[1.1, 0.7]]), (1.0, 0.8), 1e-6

    def overlap(x):
        import torch

        half = np.array(size) / 2
        boxes = torch.tensor(np.concatenate([x - half, x + half], axis=1))
        return float(box_iou(boxes, torch.tensor([TRUE], dtype=torch.float64)))

    slopes = [
        (overlap(centre + shift) - overlap(centre - shift)) / (2 * step)
        for shift in (np.array([step, 0]), np.array([0, step]))
    ]
    assert pull(box_iou, centre, size)[0] == pytest.approx(slopes, abs=1e-6)


def test_the_figure_counts_what_stands_still(texts, check_legible):
    figure = pulls({"IoU": box_iou, "GIoU": generalized_box_iou})
    check_legible(figure)
    words = " ".join(texts(figure))
    steps = np.linspace(-3, 3, COUNT)
    centres = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    still = int((~pull(box_iou, centres, (1.0, 0.8)).any(axis=1)).sum())
    assert f"{still} of {COUNT**2} boxes are not pulled" in words and still > COUNT**2 / 2
    assert "GIoU" in figure.caption.alt
    assert "Dots: a step moves it nowhere." in words and "their lengths, all alike" in words

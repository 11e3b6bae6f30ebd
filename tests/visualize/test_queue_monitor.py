"""The queue is watched as it is written: by what changed, at which step, near to what."""

import copy

import numpy as np
import pytest
import torch
from matplotlib.patches import Wedge

from minivl.models.albef import Albef
from minivl.models.albef_steps import Summaries
from minivl.nn.bert import Bert
from minivl.nn.fusion import FusionEncoder
from minivl.nn.vit import ViT
from minivl.visualize.queue_monitor import Ring, compared, queue_rings, watching


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Albef(
        ViT(image_size=8, patch_size=4, width=8, depth=1, heads=2),
        Bert(vocab_size=11, width=8, depth=1, heads=2, max_length=6),
        FusionEncoder(8, 1, 2, context_width=8),
        embed_dim=6,
        queue_size=7,
        objectives=("itc",),
        distill=(),
    ).train()


def batch_of(rows, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randn(rows, 3, 8, 8, generator=draw),
        "input_ids": torch.randint(4, 11, (rows, 5), generator=draw),
        "attention_mask": torch.ones(rows, 5, dtype=torch.bool),
    }


def test_places_are_noted_where_something_was_written(model):
    with watching(model) as monitor:
        for step in range(4):
            model(batch_of(3, step))
    one, two, three, four = (ring.written.tolist() for ring in monitor.rings)
    assert one == [1, 1, 1, 0, 0, 0, 0] and two == [1, 1, 1, 2, 2, 2, 0]
    assert three == [3, 3, 1, 2, 2, 2, 3] and four == [3, 3, 4, 4, 4, 2, 3]
    assert [ring.pointer for ring in monitor.rings] == [3, 6, 2, 5]
    assert [ring.filled for ring in monitor.rings] == [3, 6, 7, 7]
    assert monitor.rings[0].ages.tolist() == [0, 0, 0, -1, -1, -1, -1]
    assert monitor.rings[3].ages.tolist() == [1, 1, 0, 0, 0, 2, 1]


def test_only_training_is_watched_and_all_is_as_before(model):
    with watching(model) as monitor:
        model.eval()(batch_of(3))
        with torch.no_grad():
            model.train()(batch_of(3))
    assert monitor.rings == [] and "remember" not in vars(model)
    with pytest.raises(RuntimeError), watching(model):
        raise RuntimeError
    assert "remember" not in vars(model)


def test_the_same_is_trained_under_watch(model):
    again = copy.deepcopy(model)
    with watching(model):
        watched = model(batch_of(3))["itc"]
    assert torch.equal(watched, again(batch_of(3))["itc"])
    assert torch.equal(model.image_queue, again.image_queue)


def test_cosines_by_hand():
    image, text = torch.eye(2), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    image_m, text_m = torch.eye(2), torch.tensor([[0.6, 0.8], [0.0, 1.0]])
    image_queue, text_queue = torch.tensor([[1.0], [0.0]]), torch.tensor([[0.8, 0.0], [0.6, 1.0]])
    found = compared(Summaries(image, text, image_m, text_m), image_queue[:, [0, 0]], text_queue)
    # Pictures find texts: .6, .8; 0, 1. Texts find pictures: 0, 1; 1, 0.
    assert found["own partner"] == pytest.approx((0.6 + 1 + 0 + 0) / 4)
    assert found["others of the batch"] == pytest.approx((0.8 + 0 + 1 + 1) / 4)
    # In the queue: pictures .8, 0; .6, 1. Texts 0, 0; 1, 1.
    assert found["the queue"] == pytest.approx((0.8 + 0 + 0.6 + 1 + 0 + 0 + 1 + 1) / 8)
    assert found["nearest in the queue"] == pytest.approx((0.8 + 1 + 0 + 1) / 4)


def test_the_queue_of_the_step_before_is_compared(model):
    queues = model.image_queue.clone(), model.text_queue.clone()
    with watching(model) as monitor:
        model.eval()
        with torch.no_grad():
            batch = batch_of(3)
            vectors = [
                torch.nn.functional.normalize(one, dim=-1)
                for one in (
                    model.encode_image(batch["image"]),
                    model.encode_text(batch["input_ids"], batch["attention_mask"]),
                )
            ]
        model.train()(batch)
    both = torch.stack([vectors[0] @ queues[1], vectors[1] @ queues[0]])
    assert monitor.cosines["the queue"] == pytest.approx([both.mean().item()], abs=1e-6)


def test_without_a_queue_nothing_is_said_of_it():
    four = [torch.eye(2)] * 4
    assert set(compared(Summaries(*four), torch.zeros(2, 0), torch.zeros(2, 0))) == {
        "own partner",
        "others of the batch",
    }


# --- the figure


def ring(step, written, pointer=0):
    return Ring(step, np.array(written), pointer)


def test_pieces_have_the_size_of_what_was_written():
    figure = queue_rings([ring(1, [1, 1, 0, 0], 2), ring(3, [3, 3, 2, 2])])
    first, second = (
        [patch for patch in axes.patches if isinstance(patch, Wedge)] for axes in figure.axes[:2]
    )
    assert [(piece.theta1, piece.theta2) for piece in first] == [(-90, 90), (-270, -90)]
    # Grey is noise; the new piece is the brightest.
    light = [[sum(piece.get_facecolor()[:3]) for piece in pieces] for pieces in (first, second)]
    red, green, blue, _ = first[1].get_facecolor()
    assert max(red, green, blue) - min(red, green, blue) < 0.05
    assert light[1][0] > light[1][1]


def test_what_it_says(texts, check_legible):
    figure = queue_rings([ring(1, [1, 1, 0, 0], 2), ring(3, [3, 3, 2, 2])])
    check_legible(figure)
    shown = texts(figure)
    assert "step 1\n2 of 4\nfilled" in shown and "step 3\n4 of 4\nfilled" in shown
    assert "2 of 4 places are filled, ages 0 to 0, the pointer at 2" in figure.caption.alt


@pytest.mark.parametrize("count", [0, 1, 5])
def test_any_number_of_rings(count, check_legible):
    rings = [ring(1 + step, [step] * 65_536) for step in range(count)]
    figure = queue_rings(rings)
    check_legible(figure)
    assert len(figure.axes) == count + 2

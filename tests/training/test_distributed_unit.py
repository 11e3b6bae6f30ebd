"""Two processes with half of UniT's batch each: what is divided by the boxes of all, what is not.

As in DETR's code, distances and overlaps are divided by the mean number of boxes of a process, so
that they are those of the joint batch; the class loss is each process's own mean, averaged.
"""

import multiprocessing

import pytest
import torch
from torch.multiprocessing import start_processes
from unit_toys import build, half, learn, work

TOLERANCE = {"rtol": 1e-11, "atol": 1e-12}


def boxes_of(normal, labels, seed):
    """Four pictures with up to two boxes each; some attributes are unknown."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor(labels)
    centres = 0.3 + 0.4 * torch.rand(4, 2, 2, generator=generator).double()
    sides = 0.1 + 0.3 * torch.rand(4, 2, 2, generator=generator).double()
    attributes = torch.randint(5, (4, 2, 2), generator=generator)
    return {
        "task": "boxes",
        "image": normal(seed, 4, 3, 12, 12),
        "box_labels": labels,
        "boxes": torch.cat([centres, sides], dim=2),
        "attribute_labels": attributes.masked_fill(labels.unsqueeze(2) < 0, -100),
    }


@pytest.fixture(scope="module")
def given(drawn, normal):
    ids = torch.randint(1, 12, (4, 5), generator=torch.Generator().manual_seed(0))
    claims = {
        "task": "claim",
        "image": normal(9, 4, 3, 12, 12),
        "input_ids": ids,
        "attention_mask": ids > 2,
        "labels": torch.tensor([0, 2, 1, 1]),
    }
    batches = [
        boxes_of(normal, [[0, 1], [2, 0], [1, -100], [-100, -100]], 1),
        boxes_of(normal, [[0, 1], [2, 0], [-100, -100], [-100, -100]], 2),  # one has none at all
        claims,
    ]
    return {"weights": drawn(build()).state_dict(), "batches": batches}


@pytest.fixture(scope="module")
def answers(given, tmp_path_factory):
    """For each process what it found of each batch."""
    folder = tmp_path_factory.mktemp("unit")
    torch.save(given, folder / "given.pt")
    # Both are forked from one that has imported what DDP needs, which takes seconds.
    multiprocessing.set_forkserver_preload(["torch._dynamo"])
    start_processes(work, (str(folder),), nprocs=2, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.fixture(scope="module")
def alone(given):
    """Model and what one process finds of a batch."""
    model = build()
    model.load_state_dict(given["weights"])
    return lambda batch: learn(model, model, batch)


@pytest.mark.parametrize("number", range(3))
def test_two_do_what_the_method_says(given, answers, alone, number):
    batch = given["batches"][number]
    joint, halves = alone(batch), [alone(half(batch, rank)) for rank in (0, 1)]
    both = [answer[number] for answer in answers]
    for name in joint["losses"]:
        kind = name.split("/")[1]
        # Of pictures: boxes of all. Of answers, as many in each half: the same either way.
        whole = kind in ("l1", "giou", "answer")
        mean = sum(one["losses"][name] for one in both) / 2
        of_halves = sum(one["losses"][name] for one in halves) / 2
        torch.testing.assert_close(mean, joint["losses"][name] if whole else of_halves, **TOLERANCE)
        for part, gradient in both[0]["gradients"][name].items():
            torch.testing.assert_close(gradient, both[1]["gradients"][name][part], **TOLERANCE)
            expected = (
                joint["gradients"][name][part]
                if whole
                else sum(one["gradients"][name][part] for one in halves) / 2
            )
            torch.testing.assert_close(gradient, expected, **TOLERANCE)


def test_the_two_halves_alone_would_divide_otherwise(given, alone):
    batch = given["batches"][0]
    joint, halves = alone(batch), [alone(half(batch, rank)) for rank in (0, 1)]
    for name in ("boxes/l1", "boxes/giou"):
        assert abs(sum(one["losses"][name] for one in halves) / 2 - joint["losses"][name]) > 1e-3

"""Two processes with half of FLAVA's batch each learn what one with all of it learns."""

import multiprocessing

import pytest
import torch
from flava_toys import build, choose, learn, work
from torch.multiprocessing import start_processes

TOLERANCE = {"rtol": 1e-11, "atol": 1e-12}
MATCHING = {
    # Of six pairs each process has three.
    "uneven": [1, 1, 1, 0, 1, 0],
    "one has none": [1, 0, 1, 0, 0, 0],
    "none": [0, 0, 0, 0, 0, 0],
    "all": [1, 1, 1, 1, 1, 1],
}
OF_PAIRS = {"contrastive", "itm", "mmm_image", "mmm_text"}
SCORED = OF_PAIRS - {"itm"}
CASES = {
    **dict.fromkeys(MATCHING, OF_PAIRS),
    "one has none, all scored": OF_PAIRS,
    "none, all scored": OF_PAIRS,
    "neighbours": OF_PAIRS,
    "mean words": SCORED,
    "untold": SCORED,
    "pairs, each has one side whole": SCORED,
    "pictures": {"mim"},
    "pictures, one has whole ones": {"mim"},
    "texts": {"mlm"},
    "texts, one has whole ones": {"mlm"},
}
"""Name -> losses that there are."""


def pictures(normal, whole=()):
    """Six pictures, more hidden in the first three; nothing where they stay whole."""
    places = torch.arange(4).reshape(1, 2, 2)
    hidden = places < torch.tensor([3, 4, 2, 1, 0, 1]).reshape(6, 1, 1)
    hidden[list(whole)] = False
    codes = torch.randint(7, (6, 2, 2), generator=torch.Generator().manual_seed(3))
    return {"image": normal(2, 6, 3, 8, 8), "patches_masked": hidden, "visual_tokens": codes}


def texts(whole=()):
    """Six texts, more hidden in the last three; nothing where they stay whole."""
    ids = torch.randint(1, 12, (6, 5), generator=torch.Generator().manual_seed(1))
    seen = torch.arange(5) < torch.tensor([[5], [2], [3], [4], [5], [2]])
    hidden = (torch.arange(5) < torch.tensor([[1], [1], [0], [3], [4], [2]])) & seen
    hidden[list(whole)] = False
    return {
        "input_ids": ids,
        "mlm_input_ids": ids.masked_fill(hidden, 3),
        "mlm_labels": ids.masked_fill(~hidden, -100),
        "attention_mask": seen,
    }


def cases(normal) -> dict:
    """Name -> rows of a batch, and options of the model."""
    pairs = pictures(normal) | texts()
    told = {name: pairs | {"itm_labels": torch.tensor(labels)} for name, labels in MATCHING.items()}
    rest = {
        "untold": pairs,
        "pairs, each has one side whole": pictures(normal, whole=(3, 4, 5)) | texts((0, 1, 2)),
        "pictures": pictures(normal),
        "pictures, one has whole ones": pictures(normal, whole=(3, 4, 5)),
        "texts": texts(),
        "texts, one has whole ones": texts(whole=(0, 1, 2)),
    }
    for name in ("texts", "texts, one has whole ones"):
        del rest[name]["input_ids"]
    # Both halves have whole pairs of neighbours.
    even = {name: value[[0, 1, 3, 4]] for name, value in told["uneven"].items()}
    optional = {
        "one has none, all scored": (told["one has none"], {"without_pairs": "all"}),
        "none, all scored": (told["none"], {"without_pairs": "all"}),
        "neighbours": (even, {"itm_negatives": "neighbours"}),
        "mean words": (pairs, {"text_pool": "mean"}),
    }
    return {name: (batch, {}) for name, batch in (told | rest).items()} | optional


@pytest.fixture(scope="module")
def answers(drawn, normal, tmp_path_factory):
    """(case, "joint"): one process's answer; (case, form, rank): those of two."""
    folder = tmp_path_factory.mktemp("flava")
    model, given = drawn(build()), cases(normal)
    with torch.no_grad():
        model.logit_scale.fill_(2.0)
    torch.save({"weights": model.state_dict(), "cases": given}, folder / "given.pt")
    # Both are forked from one that has imported what DDP needs, which takes seconds.
    multiprocessing.set_forkserver_preload(["torch._dynamo"])
    start_processes(work, (str(folder),), nprocs=2, start_method="forkserver")
    found = {}
    for rank in (0, 1):
        for (case, form), answer in torch.load(folder / f"{rank}.pt").items():
            found[case, form, rank] = answer
    for case, (batch, options) in given.items():
        choose(model, options)
        found[case, "joint"] = learn(model, model, batch)
    return found


def mean(answers, case, form):
    """The losses' mean over both."""
    one, other = (answers[case, form, rank]["losses"] for rank in (0, 1))
    return {name: (one[name] + other[name]) / 2 for name in one}


def distance(answers, case, form):
    """How far the gradients of two are from those of one, as a share of all."""
    two, one = (answers[case, *key]["gradients"] for key in ((form, 0), ("joint",)))
    error = sum((two[name] - one[name]).square().sum() for name in one)
    return (error / sum(gradient.square().sum() for gradient in one.values())).sqrt()


@pytest.mark.parametrize("case", CASES)
def test_two_learn_what_one_does(answers, case):
    """Whatever share of the true pairs, the hidden patches and the hidden words each has."""
    joint = answers[case, "joint"]
    for name, loss in mean(answers, case, "global").items():
        torch.testing.assert_close(loss, joint["losses"][name], **TOLERANCE)
    for rank in (0, 1):
        torch.testing.assert_close(
            answers[case, "global", rank]["gradients"], joint["gradients"], **TOLERANCE
        )


def test_the_cases_are_what_they_are_called(answers):
    """Losses are there, and those of a process that has nothing to score are 0."""
    assert {case for case, *_ in answers} == set(CASES)
    for case, names in CASES.items():
        losses = answers[case, "joint"]["losses"]
        assert set(losses) == names
        nothing = SCORED if case == "none" else set()
        assert {name for name, loss in losses.items() if loss == 0} == nothing, case
    for case, rank, names in (
        ("one has none", 1, SCORED),
        ("one has none, all scored", 1, SCORED),
        ("pairs, each has one side whole", 0, {"mmm_text"}),
        ("pairs, each has one side whole", 1, {"mmm_image"}),
        ("pictures, one has whole ones", 1, {"mim"}),
        ("texts, one has whole ones", 0, {"mlm"}),
    ):
        losses = answers[case, "global", rank]["losses"]
        assert {name for name, loss in losses.items() if loss == 0} == names, case


@pytest.mark.parametrize("case", ["uneven", "one has none", "all", "untold"])
def test_deaf_to_the_others_gradients_the_loss_is_right_and_the_way_is_wrong(answers, case):
    joint = answers[case, "joint"]["losses"]
    for name, loss in mean(answers, case, "deaf").items():
        torch.testing.assert_close(loss, joint[name], **TOLERANCE)
    assert distance(answers, case, "global") < 1e-12
    assert distance(answers, case, "deaf") > 0.01


@pytest.mark.parametrize(
    ("case", "names"),
    {
        "uneven": SCORED,
        "one has none": SCORED,
        "all": {"contrastive"},
        "pictures": {"mim"},
        "texts": {"mlm"},
    }.items(),
)
def test_a_mean_of_means_is_another_loss(answers, case, names):
    """Each for itself: fewer wrong answers, and few hidden places weigh as much as many."""
    joint, local = answers[case, "joint"]["losses"], mean(answers, case, "local")
    for name in names:
        assert (local[name] - joint[name]).abs() > 1e-3, name
    assert distance(answers, case, "local") > 0.01

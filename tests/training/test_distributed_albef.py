"""Two processes with half of ALBEF's batch each: what is joined, and what stays with each.

As in the paper's code wrong partners, and keys of the present batch, are a process's own; queues
get the keys of all. The means over judged pairs and over hidden words are those of the joint batch.
"""

import copy
import multiprocessing

import pytest
import torch
from albef_toys import build, descend, learn, work
from torch.multiprocessing import start_processes

from minivl.objectives import momentum

TOLERANCE = {"rtol": 1e-11, "atol": 1e-12}
CASES = {
    "all": {},
    "by ids": {"id_targets": True, "exclude": "picture"},
    "random": {"negatives": "random", "distill": ()},
    "read": {"step": "reference"},
    "mlm": {"objectives": ("mlm",)},
}
"""Name -> options of the model."""
STEPS = 3
"""Of six keys each, in queues of eight: they go round twice."""


def batch_of(normal, seed):
    """Six pairs. More is hidden in the last three; of the first three, captions may be alike."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 12, (6, 5), generator=generator)
    if seed == 1:
        ids[1:3] = ids[0]  # the first process has no wrong partner
    seen = torch.arange(5) < torch.tensor([[5], [5], [5], [4], [5], [2]])
    hidden = (torch.arange(5) < torch.tensor([[1], [1], [0], [3], [4], [2]])) & seen
    if seed == 2:
        hidden[3:] = False  # the second process has nothing hidden
    ids = ids.masked_fill(~seen, 0)
    return {
        "image": normal(seed, 6, 3, 8, 8),
        "input_ids": ids,
        "attention_mask": seen,
        "mlm_input_ids": ids.masked_fill(hidden, 3),
        "mlm_labels": ids.masked_fill(~hidden, -100),
        "picture_ids": torch.tensor([3, 4, 3, 4, 5, 6]),
    }


@pytest.fixture(scope="module")
def given(drawn, normal):
    model = drawn(build())
    with torch.no_grad():
        model.temperature.fill_(0.2)
    batches = [batch_of(normal, seed) for seed in range(STEPS)]
    return {
        "weights": model.state_dict(),
        "cases": {case: (options, batches) for case, options in CASES.items()},
    }


@pytest.fixture(scope="module")
def answers(given, tmp_path_factory):
    """(rank, case, whether DDP sends buffers round, step): what a process found."""
    folder = tmp_path_factory.mktemp("albef")
    torch.save(given, folder / "given.pt")
    # Both are forked from one that has imported what DDP needs, which takes seconds.
    multiprocessing.set_forkserver_preload(["torch._dynamo"])
    start_processes(work, (str(folder),), nprocs=2, start_method="forkserver")
    return {
        (rank, *key): answer
        for rank in (0, 1)
        for key, answer in torch.load(folder / f"{rank}.pt").items()
    }


def model_of(given, case):
    model = build(**CASES[case])
    model.load_state_dict(given["weights"], strict=False)
    return model


def halves_as_one(model, batch, step) -> dict:
    """What both are to find, in one process: two models of the same weights and queues."""
    models = [copy.deepcopy(model) for _ in range(2)]
    parts = [{key: value.chunk(2)[rank] for key, value in batch.items()} for rank in (0, 1)]
    losses, counts = [], []
    for rank, (one, part) in enumerate(zip(models, parts, strict=True)):
        judged = []
        original = one.match
        one.match = lambda logits, labels, o=original, j=judged: (
            j.append((labels != -100).sum()) or o(logits, labels)
        )
        torch.manual_seed(2 * step + rank)
        losses.append(one(part))
        hidden = (part["mlm_labels"] != -100).sum()
        counts.append({"itc": 1, "itm": int(sum(judged)), "mlm": int(hidden)})
    shares = [
        {name: count[name] / sum(c[name] for c in counts) for name in losses[0]} for count in counts
    ]
    joint = {name: sum(s[name] * of[name] for s, of in zip(shares, losses, strict=True))
             for name in losses[0]}  # fmt: skip
    sum(joint.values()).backward()
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    state = {
        name: value
        for name, value in models[0].state_dict().items()
        if name.startswith("momentum_encoder.") or "queue" in name
    }
    if "itc" in joint:
        before = model.queue_pointer
        for name in (name for name in state if name.endswith("_queue")):
            own = (before + torch.arange(3)) % 8
            keys = torch.cat([one.get_buffer(name)[:, own].T for one in models])
            state[name], state["queue_pointer"] = momentum.enqueue(
                model.get_buffer(name), keys, before
            )
    return {
        "losses": {name: loss.detach() for name, loss in joint.items()},
        "gradients": {
            name: sum(one.get_parameter(name).grad for one in models) for name in trained
        },
        "state": state,
    }


@pytest.mark.parametrize("broadcast", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_two_do_what_the_method_says(given, answers, case, broadcast):
    """Losses in the mean, gradients, queues and twin: over three steps, on both."""
    model = model_of(given, case)
    for step, batch in enumerate(given["cases"][case][1]):
        expected = halves_as_one(model, batch, step)
        found = [answers[rank, case, broadcast, step] for rank in (0, 1)]
        for name, loss in expected["losses"].items():
            mean = (found[0]["losses"][name] + found[1]["losses"][name]) / 2
            torch.testing.assert_close(mean, loss, **TOLERANCE)
        for one in found:
            for key in ("gradients", "state"):
                torch.testing.assert_close(one[key], expected[key], **TOLERANCE)
        model.load_state_dict(expected["state"], strict=False)
        descend(model, expected["gradients"])


@pytest.mark.parametrize("broadcast", [True, False])
def test_queues_are_alike_to_the_last_bit(answers, broadcast):
    for case in CASES:
        for step in range(STEPS):
            one, other = (answers[rank, case, broadcast, step]["state"] for rank in (0, 1))
            for name in (name for name in one if "queue" in name):
                assert torch.equal(one[name], other[name]), (case, step, name)
            assert one["queue_pointer"] == (0 if case == "mlm" else 6 * (step + 1) % 8)


def test_hidden_words_are_those_of_the_joint_batch(given, answers):
    """However many each process has, one with all of them learns the same."""
    model = model_of(given, "mlm")
    for step, batch in enumerate(given["cases"]["mlm"][1]):
        joint = learn(model, model, batch, 0)
        found = [answers[rank, "mlm", True, step] for rank in (0, 1)]
        mean = (found[0]["losses"]["mlm"] + found[1]["losses"]["mlm"]) / 2
        torch.testing.assert_close(mean, joint["losses"]["mlm"], **TOLERANCE)
        for one in found:
            torch.testing.assert_close(one["gradients"], joint["gradients"], **TOLERANCE)
        descend(model, joint["gradients"])


def test_the_cases_are_what_they_are_called(given, answers):
    """A process without a wrong partner, and one with nothing hidden, are among them."""
    batches = given["cases"]["all"][1]
    assert (batches[1]["input_ids"][:3] == batches[1]["input_ids"][0]).all()
    losses = answers[1, "all", True, 2]["losses"]
    assert losses["mlm"] == 0 and answers[0, "all", True, 2]["losses"]["mlm"] > 0
    assert set(losses) == {"itc", "itm", "mlm"}
    ids = answers[0, "by ids", True, 0]["state"]["id_queue"]
    assert ids.tolist() == [[3, 4, 3, 4, 5, 6, -100, -100]]

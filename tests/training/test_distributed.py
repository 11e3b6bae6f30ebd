"""Two processes with half of the batch each learn what one with all of it learns."""

import multiprocessing

import pytest
import torch
from distributed_toys import build, learn, work
from torch.multiprocessing import start_processes

from minivl.training import distributed


@pytest.fixture(scope="module")
def answers(drawn, normal, tmp_path_factory):
    """{"joint": one process's answer, 0 and 1: the answers of two}."""
    folder = tmp_path_factory.mktemp("two")
    model = drawn(build())
    with torch.no_grad():
        model.logit_scale.fill_(2.0)
    ids = torch.randint(1, 12, (6, 5), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(5) < torch.tensor([[5], [2], [3], [4], [5], [2]])
    batch = {"image": normal(2, 6, 3, 8, 8), "input_ids": ids, "attention_mask": mask}
    torch.save({"weights": model.state_dict(), "batch": batch}, folder / "given.pt")
    # Both are forked from one that has imported what DDP needs, which takes seconds.
    multiprocessing.set_forkserver_preload(["torch._dynamo"])
    start_processes(work, (str(folder),), nprocs=2, start_method="forkserver")
    two = {rank: torch.load(folder / f"{rank}.pt") for rank in (0, 1)}
    return {"joint": learn(model, model, batch)} | two


def mean_loss(answers, form):
    return (answers[0][form]["loss"] + answers[1][form]["loss"]) / 2


def relative_error(ours, truth):
    return (ours - truth).norm() / truth.norm()


def test_the_global_loss_of_two_is_that_of_one(answers):
    joint = answers["joint"]["loss"]
    torch.testing.assert_close(mean_loss(answers, "global"), joint, rtol=1e-12, atol=1e-12)
    # Each one's is its own rows': they differ.
    assert (answers[0]["global"]["loss"] - joint).abs() > 1e-2


def test_so_is_every_gradient(answers):
    for rank in (0, 1):
        torch.testing.assert_close(
            answers[rank]["global"]["gradients"], answers["joint"]["gradients"],
            rtol=1e-12, atol=1e-12,
        )  # fmt: skip


def test_the_local_form_learns_something_else(answers):
    """Fewer wrong answers: a lower loss, and gradients that point elsewhere."""
    assert mean_loss(answers, "local") < answers["joint"]["loss"] - 0.1
    truth = answers["joint"]["gradients"]
    for name in ("image_proj.weight", "text_proj.weight", "logit_scale"):
        assert relative_error(answers[0]["local"]["gradients"][name], truth[name]) > 0.1, name


def test_gathered_rows_stand_in_order_of_rank_and_gradients_return_to_their_owners(answers):
    upstream = torch.arange(12.0, dtype=torch.float64).reshape(4, 3)
    for rank in (0, 1):
        seen = answers[rank]["gathered"]
        assert seen["joined"][:, 0].tolist() == [1, 1, 2, 2]
        assert seen["rank"] == rank
        both = upstream * (1 + 10)
        assert torch.equal(seen["rows"], both[2 * rank : 2 * rank + 2])


def test_summing_gradients_leaves_those_of_others_alone(answers):
    upstream = torch.arange(12.0, dtype=torch.float64).reshape(4, 3)
    for rank in (0, 1):
        seen = answers[rank]["gathered"]
        assert torch.equal(seen["neighbour"], 2 * upstream * 10**rank)
        assert seen["gradient unchanged"]


def test_a_flag_of_any_is_heard_by_all(answers):
    for rank in (0, 1):
        assert answers[rank]["votes"] == [True, True, False, True]
        assert answers[rank]["who"] == (rank, 2, rank == 0)


def test_alone_nothing_is_shared(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    distributed.init()
    assert not torch.distributed.is_initialized()
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
    distributed.barrier()
    assert distributed.any_rank(True) is True and distributed.any_rank(False) is False
    rows, gather = torch.ones(3, 2), distributed.Gather()
    assert gather(rows) is rows and gather.rank == 0

"""Threads answer torch.distributed's calls as processes would, and say who did not come."""

import threading
import time

import pytest
import torch
import torch.distributed as dist

from minivl.course.ranks import ANSWERS, RankError, run_ranks
from minivl.training import distributed

TWO, THREE = [(0,), (1,)], [(0,), (1,), (2,)]


def of(rank, *shape):
    """Whole numbers that tell ranks and places apart."""
    numbers = torch.arange(float(torch.Size(shape).numel()), dtype=torch.float64)
    return (numbers + 100 * rank).reshape(shape)


def test_each_rank_knows_itself():
    def who(rank):
        return dist.is_available(), dist.is_initialized(), dist.get_rank(), dist.get_world_size()

    assert run_ranks(who, THREE) == [(True, True, rank, 3) for rank in range(3)]
    assert run_ranks(lambda: dist.get_world_size(), [()]) == [1]
    assert run_ranks(who, []) == []
    assert run_ranks(lambda a, b: a + b, [(1, 2), (3, 4)]) == [3, 7]


def test_rows_are_gathered_in_order_of_rank():
    def work(rank):
        own = of(rank, 2, 3)
        parts = [torch.empty_like(own) for _ in range(3)]
        dist.all_gather(parts, own)
        joined, stacked = own.new_empty(6, 3), own.new_empty(3, 2, 3)
        dist.all_gather_into_tensor(joined, own)
        dist.all_gather_into_tensor(stacked, own)
        return parts, joined, stacked

    right = [of(rank, 2, 3) for rank in range(3)]
    for parts, joined, stacked in run_ranks(work, THREE):
        assert all(map(torch.equal, parts, right))
        assert torch.equal(joined, torch.cat(right)) and torch.equal(stacked, torch.stack(right))


@pytest.mark.parametrize(
    ("op", "expected"), [("SUM", 6.0), ("AVG", 2.0), ("PRODUCT", 6.0), ("MAX", 3.0), ("MIN", 1.0)]
)
def test_tensors_are_reduced(op, expected):
    def work(rank):
        x = torch.tensor([rank + 1.0])
        answer = dist.all_reduce(x, op=getattr(dist.ReduceOp, op), async_op=True)
        assert answer.wait() and answer.is_completed()
        return x.item()

    assert run_ranks(work, THREE) == [expected] * 3
    assert dist.all_reduce is not None and not dist.is_initialized()


def test_an_unknown_reduction_is_an_error():
    with pytest.raises(RankError, match="rank 0: ValueError: ranks in threads do not know"):
        run_ranks(
            lambda rank: dist.all_reduce(torch.ones(1, dtype=torch.int64), dist.ReduceOp.BXOR), TWO
        )


def test_sums_are_scattered():
    def work(rank):
        whole = of(rank, 4, 1)
        one, other = whole.new_empty(2, 1), whole.new_empty(2, 1)
        dist.reduce_scatter_tensor(one, whole)
        dist.reduce_scatter(other, list(whole.chunk(2)))
        return one, other

    right = (of(0, 4, 1) + of(1, 4, 1)).chunk(2)
    for rank, found in enumerate(run_ranks(work, TWO)):
        assert all(torch.equal(part, right[rank]) for part in found)


def test_tensors_are_exchanged_and_sent_to_all():
    def work(rank):
        got = [torch.zeros(1), torch.zeros(1)]
        dist.all_to_all(got, [torch.tensor([10.0 * rank]), torch.tensor([10.0 * rank + 1])])
        word, other = torch.tensor([float(rank)]), torch.tensor([float(rank)])
        dist.broadcast(word, src=1)
        dist.broadcast(other, group_src=0)
        dist.barrier()
        return torch.cat([*got, word, other]).tolist()

    assert run_ranks(work, TWO) == [[0, 10, 1, 0], [1, 11, 1, 0]]


def test_what_is_sent_is_a_copy():
    """A rank goes on at once and overwrites what another may not have read yet."""

    def work(rank):
        x = torch.tensor([float(rank)])
        parts = [torch.empty(1), torch.empty(1)]
        dist.all_gather(parts, x)
        x.fill_(99.0)
        if rank:
            time.sleep(0.02)
        return [part.item() for part in parts]

    assert run_ranks(work, TWO) == [[0.0, 1.0]] * 2


@pytest.mark.filterwarnings("ignore:torch.distributed.nn:FutureWarning")
def test_torchs_gather_with_gradient_works_between_threads():
    """torch.distributed.nn is made of the calls that ranks answer."""
    import torch.distributed.nn.functional as with_gradient

    def work(rank):
        x = of(rank, 1, 1).requires_grad_()
        y = torch.cat(with_gradient.all_gather(x))
        ((10.0**rank) * torch.tensor([[1.0], [2.0]]) * y).sum().backward()
        total = with_gradient.all_reduce(x * 2)
        return y.detach(), x.grad, total.detach()

    found = run_ranks(work, TWO)
    for rank, (gathered, gradient, total) in enumerate(found):
        assert torch.equal(gathered, torch.cat([of(0, 1, 1), of(1, 1, 1)]))
        assert gradient.item() == 11.0 * (rank + 1) and total.item() == 200.0


def test_minivls_own_functions_work_between_threads():
    def work(rank):
        x = of(rank, 2, 3).requires_grad_()
        joined = distributed.gather_with_grad(x)
        (joined * (1 + rank)).sum().backward()
        votes = distributed.any_rank(rank == 1), distributed.any_rank(False)
        return joined.detach(), x.grad, votes, distributed.is_main()

    for rank, (joined, gradient, votes, main) in enumerate(run_ranks(work, TWO)):
        assert torch.equal(joined, torch.cat([of(0, 2, 3), of(1, 2, 3)]))
        assert torch.equal(gradient, torch.full((2, 3), 3.0, dtype=torch.float64))
        assert votes == (True, False) and main == (rank == 0)


def gather(x):
    parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, x)
    return torch.cat(parts)


def test_a_rank_that_leaves_is_named_at_once():
    start = time.monotonic()
    with pytest.raises(RankError, match=r"^rank 1 never called all_gather$"):
        run_ranks(lambda rank: gather(torch.ones(1)) if rank == 0 else None, TWO, seconds=30)
    assert time.monotonic() - start < 10


def test_a_rank_that_is_late_is_named_after_the_limit():
    release = threading.Event()
    try:
        with pytest.raises(RankError, match="rank 1 never called barrier"):
            run_ranks(lambda rank: release.wait(20) if rank else dist.barrier(), TWO, seconds=0.05)
        with pytest.raises(RankError, match="rank 1 is not done after 0.05 seconds"):
            run_ranks(lambda rank: release.wait(20) if rank else None, TWO, seconds=0.05)
    finally:
        release.set()


def test_different_calls_are_named():
    def work(rank):
        x = torch.ones(1)
        return gather(x) if rank == 0 else dist.all_reduce(x)

    with pytest.raises(
        RankError,
        match="called all_gather while rank 1 called all_reduce|"
        "called all_reduce while rank 0 called all_gather",
    ):
        run_ranks(work, TWO)


def test_an_error_is_told_with_its_rank_rather_than_who_waited_for_it():
    def work(rank):
        if rank == 1:
            raise KeyError("no such row")
        return gather(torch.ones(1))

    with pytest.raises(RankError, match="rank 1: KeyError: 'no such row'") as caught:
        run_ranks(work, TWO)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (
            lambda rank: dist.all_gather([torch.ones(1)], torch.ones(1)),
            "a list of 2 tensors, got 1",
        ),
        (
            lambda rank: dist.all_gather([torch.ones(1), torch.ones(1)], torch.ones(2)),
            r"all_gather: a tensor of shape \(2,\).* does not fit .* \(1,\)",
        ),
        (
            lambda rank: dist.all_gather([torch.ones(1).double()] * 2, torch.ones(1)),
            "float32 does not fit .*float64",
        ),
        (lambda rank: dist.all_reduce(torch.ones(2, 3).T), "Tensors must be contiguous"),
        (lambda rank: dist.all_reduce(torch.ones(rank + 1)), "ranks sent other shapes"),
    ],
)
def test_tensors_that_do_not_fit_are_an_error(work, message):
    with pytest.raises(RankError, match=message):
        run_ranks(work, TWO)


def test_everything_is_taken_back():
    before = {name: getattr(dist, name) for name in ANSWERS}
    run_ranks(lambda rank: dist.barrier(), TWO)
    with pytest.raises(RankError):
        run_ranks(lambda rank: 1 / 0, TWO)
    assert all(getattr(dist, name) is original for name, original in before.items())
    assert not dist.is_initialized()


def test_other_threads_see_torchs_own_answers():
    inside, seen, go_on = threading.Event(), [], threading.Event()

    def work(rank):
        inside.set()
        go_on.wait(10)
        return dist.is_initialized()

    def bystander():
        inside.wait(10)
        seen.append(dist.is_initialized())
        go_on.set()

    watcher = threading.Thread(target=bystander)
    watcher.start()
    assert run_ranks(work, TWO, seconds=10) == [True, True]
    watcher.join()
    assert seen == [False]


def test_two_runs_at_a_time_do_not_meet():
    results = {}

    def run(name):
        results[name] = run_ranks(lambda rank: gather(torch.tensor([name + rank])), TWO, seconds=10)

    runs = [threading.Thread(target=run, args=(10.0 * name,)) for name in range(4)]
    for thread in runs:
        thread.start()
    for thread in runs:
        thread.join()
    for name, found in results.items():
        assert [part.tolist() for part in found] == [[name, name + 1]] * 2
    assert len(results) == 4


def test_a_rank_cannot_start_ranks():
    with pytest.raises(RankError, match="by a rank of another run"):
        run_ranks(lambda rank: run_ranks(lambda: None, [()]), TWO)


def test_a_rank_left_behind_disturbs_no_later_run():
    go_on, late = threading.Event(), []

    def leaves_late(rank):
        if rank:
            try:
                go_on.wait(20)
                gather(torch.zeros(1))
            except BaseException as error:  # what ends it comes when it wakes
                late.append(error)

    with pytest.raises(RankError, match="rank 1 is not done"):
        run_ranks(leaves_late, TWO, seconds=0.05)

    def work(rank):
        go_on.set()
        return gather(torch.tensor([rank + 1.0])).tolist()

    assert run_ranks(work, TWO, seconds=10) == [[1.0, 2.0]] * 2
    for _ in range(200):
        if late:
            break
        time.sleep(0.01)
    assert late

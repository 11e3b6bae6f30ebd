"""Order without memory: what a position, a step and a process read follows from the seed alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.data.mixture import Mixture, draw_stream
from minivl.data.stream import CorruptSample, First, Stream, fetch, index_at, positions
from minivl.errors import DataError, UserError


class Numbers:
    def __init__(self, length=10, *, endless=False, bad=()):
        self.length, self.endless, self.bad = length, endless, set(bad)

    def __len__(self):
        if self.endless:
            raise AssertionError("an endless set has no length")
        return self.length

    def __getitem__(self, index):
        if index in self.bad:
            raise CorruptSample(f"number {index}", "odd")
        return index

    def collate(self, examples):
        return {"index": np.array(examples)}


def read(stream, where, seed=0):
    return fetch(stream, where, seed).batch["index"].tolist()


@given(length=st.integers(1, 40), seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_every_epoch_reads_every_example_once(length, seed, epoch):
    numbers = Numbers(length)
    where = range(epoch * length, (epoch + 1) * length)
    assert sorted(index_at(numbers, p, seed) for p in where) == list(range(length))


def test_epochs_and_seeds_differ_and_are_repeatable():
    stream = Stream("numbers", Numbers(30), 30)
    first, second = read(stream, range(30)), read(stream, range(30, 60))
    assert first != second != list(range(30)) != first
    assert read(stream, range(30), seed=1) != first
    assert read(stream, range(30)) == first


def test_an_endless_set_is_read_in_its_own_order():
    stream = Stream("rendered", Numbers(endless=True), 4)
    assert read(stream, positions(3, 4)) == [12, 13, 14, 15]


def test_a_few_of_an_endless_set_are_read_again_and_again():
    stream = Stream("few", First(Numbers(endless=True), 6), 4)
    epochs = [read(stream, range(first, first + 6)) for first in (0, 6)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(6))] * 2
    assert epochs[0] != epochs[1]


def test_a_few_of_a_shorter_set_are_all_of_it():
    assert len(First(Numbers(3), 5)) == 3 and len(First(Numbers(9), 5)) == 5


def test_what_stands_in_for_a_corrupt_one_of_a_few_is_of_the_few():
    stream = Stream("few", First(Numbers(endless=True, bad={1, 2}), 4), 4)
    assert set(read(stream, range(40))) == {0, 3}


def test_a_batch_crosses_the_end_of_an_epoch():
    stream = Stream("numbers", Numbers(5), 4)
    both = read(stream, positions(0, 4)) + read(stream, positions(1, 4))
    assert sorted(both[:5]) == list(range(5))
    assert len(both) == 8


@given(draw=st.integers(0, 1000), share=st.integers(1, 8), parts=st.integers(1, 6))
def test_the_parts_of_a_batch_are_consecutive_and_cover_it(draw, share, parts):
    batch = share * parts
    pieces = [positions(draw, batch, part, parts) for part in range(parts)]
    assert all(len(piece) == share for piece in pieces)
    assert [p for piece in pieces for p in piece] == list(positions(draw, batch))
    assert positions(draw, batch)[-1] + 1 == positions(draw + 1, batch)[0]


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(UserError, match="10 cannot be shared by 4"):
        positions(0, 10, 0, 4)


@pytest.mark.parametrize("endless", [False, True])
def test_a_corrupt_sample_is_replaced_always_by_the_same_one_and_listed(endless):
    stream = Stream("numbers", Numbers(50, endless=endless, bad=[7]), 50)
    fetched = fetch(stream, range(50), seed=3)
    indices = fetched.batch["index"].tolist()
    assert len(indices) == 50
    assert 7 not in indices
    assert [(s.where, s.why) for s in fetched.skipped] == [("number 7", "odd")]
    good = Stream("numbers", Numbers(50, endless=endless), 50)
    as_ever = [a for a, b in zip(indices, read(good, range(50), 3), strict=True) if b != 7]
    assert as_ever == [b for b in read(good, range(50), 3) if b != 7], "others keep their places"
    assert read(stream, range(50), 3) == indices
    assert read(stream, range(20, 50), 3) == indices[20:], "whatever is read beside it"


def test_replacements_of_one_sample_are_not_all_the_same():
    stream = Stream("numbers", Numbers(1000, endless=True, bad=[0, 1, 2, 3]), 4)
    assert len(set(read(stream, range(4)))) == 4


def test_a_stream_of_corrupt_samples_is_given_up():
    with pytest.raises(DataError, match="stream numbers.*corrupt"):
        fetch(Stream("numbers", Numbers(5, bad=range(5)), 1), range(1), 0)


def mixture(steps=4000, seed=1, weights=(0.7, 0.2, 0.1)):
    streams = [Stream(str(w), Numbers(), 2, weight=w) for w in weights]
    return Mixture(streams, seed, steps)


def test_streams_are_drawn_by_weight():
    timetable = mixture()
    drawn = [timetable.at(step)[0].weight for step in range(4000)]
    for weight in (0.7, 0.2, 0.1):
        assert drawn.count(weight) / 4000 == pytest.approx(weight, abs=0.025)  # 3.4 sigma


def test_a_draw_counts_the_earlier_draws_of_its_stream():
    timetable, counts = mixture(300), {}
    for step in range(300):
        stream, draw = timetable.at(step)
        assert draw == counts.get(stream.name, 0)
        counts[stream.name] = draw + 1


def test_the_timetable_depends_on_the_seed_alone():
    def drawn(timetable):
        return [(timetable.at(step)[0].name, timetable.at(step)[1]) for step in range(200)]

    assert drawn(mixture(200)) == drawn(mixture(900))
    assert drawn(mixture(200)) != drawn(mixture(200, seed=2))


@pytest.mark.parametrize(
    ("streams", "says"),
    [
        ([], "no stream"),
        ([Stream("a", Numbers(), 1), Stream("a", Numbers(), 1)], "share a name"),
        ([Stream("a", Numbers(), 1, weight=0.0)], "a has weight 0"),
        ([Stream("a", Numbers(), 0)], "a has batch size 0"),
        ([Stream("a", Numbers(0), 1)], "a has no examples"),
    ],
)
def test_streams_that_cannot_be_drawn_from_are_refused(streams, says):
    with pytest.raises(UserError, match=says):
        Mixture(streams, 0, 10)


@pytest.mark.parametrize(
    ("u", "drawn"),
    [(0.0, "a"), (0.25, "a"), (0.4999, "a"), (0.5, "b"), (0.7499, "b"), (0.75, "c"), (0.9999, "c")],
)
@pytest.mark.parametrize("unit", [1, 0.25, 70])
def test_a_draw_falls_where_the_running_total_passes_it(u, drawn, unit):
    assert draw_stream({"a": 2 * unit, "b": unit, "c": unit}, u) == drawn


@given(
    weights=st.lists(st.sampled_from([0, 0.15, 1, 7]), min_size=1, max_size=5).filter(any),
    u=st.floats(0, 1, exclude_max=True),
)
def test_a_weight_of_0_is_never_drawn(weights, u):
    named = {str(number): weight for number, weight in enumerate(weights)}
    for edge in (u, 0.0, np.nextafter(1, 0)):
        assert named[draw_stream(named, edge)] > 0


def test_10_000_draws_come_as_often_as_flavas_shares_say():
    shares = {"pairs": 0.7, "pictures": 0.15, "texts": 0.15}
    drawn = [draw_stream(shares, u) for u in np.random.default_rng(0).random(10_000)]
    for name, share in shares.items():
        deviation = (share * (1 - share) / 10_000) ** 0.5
        assert drawn.count(name) / 10_000 == pytest.approx(share, abs=4 * deviation)


def round_robin(steps):
    streams = [
        Stream(name, Numbers(), 2, weight) for name, weight in (("a", 7), ("b", 1), ("c", 2))
    ]
    timetable = Mixture(streams, 0, steps, "round_robin")
    return [(timetable.at(step)[0].name, timetable.at(step)[1]) for step in range(steps)]


def test_round_robin_takes_one_stream_after_the_other_whatever_their_weights():
    assert round_robin(7) == [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("b", 1), ("c", 1), ("a", 2)]
    assert round_robin(50)[:7] == round_robin(7)

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivl.evaluation.metric import Metric, clustered, pooled, proportion, wilson


def test_wilson_gives_published_values():
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for right, n, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        assert wilson(right / n, n) == pytest.approx((low, high), abs=5e-5)


@given(n=st.integers(1, 10_000), share=st.floats(0, 1))
def test_the_ends_solve_wilsons_equation_and_hold_the_value(n, share):
    metric = proportion(share * n, n, 0.5)
    assert 0 <= metric.low <= metric.value <= metric.high <= 1
    for end in (metric.low, metric.high):
        if 1e-6 < end < 1 - 1e-6:
            z = abs(metric.value - end) / math.sqrt(end * (1 - end) / n)
            assert z == pytest.approx(1.96, abs=1e-3)


def test_the_interval_covers_a_share_about_95_times_in_100():
    n, share = 40, 0.3
    weights = [math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1)]
    inside = [wilson(k / n, n)[0] <= share <= wilson(k / n, n)[1] for k in range(n + 1)]
    assert 0.93 < sum(w for w, hit in zip(weights, inside, strict=True) if hit) < 0.97


def test_fewer_independent_answers_widen_the_interval_only():
    narrow, wide = proportion(60, 100, 0.5), proportion(60, 100, 0.5, independent=50)
    assert wide.low < narrow.low and wide.high > narrow.high
    assert (wide.value, wide.n) == (narrow.value, narrow.n) == (0.6, 100)


@pytest.mark.parametrize("successes, n", [(0, 0), (-1, 3), (4, 3), (math.nan, 3)])
def test_what_is_no_share_is_refused(successes, n):
    with pytest.raises(ValueError, match="not a share"):
        proportion(successes, n, 0.5)


def test_a_metric_survives_json_and_cannot_be_changed():
    metric = proportion(3, 7, 0.25)
    entry = json.loads(json.dumps(metric.to_json()))
    assert set(entry) == {"value", "chance", "n", "low", "high"}
    assert Metric.from_json(entry | {"note": "more"}) == metric
    with pytest.raises(AttributeError):
        metric.value = 1.0


def test_pools_of_different_size_count_by_their_size():
    both = pooled([proportion(10, 10, 0.5), proportion(0, 30, 0.1)])
    assert both == proportion(10, 40, 0.2)


def test_clusters_of_one_answer_give_the_plain_interval():
    hits = [1, 0, 1, 1, 0, 1, 1, 1, 0, 1] * 20
    one = clustered(hits, [1] * len(hits), 0.1)
    plain = proportion(sum(hits), len(hits), 0.1)
    assert one.value == plain.value and one.n == plain.n and one.chance == 0.1
    assert one.low == pytest.approx(plain.low, abs=2e-4)
    assert one.high == pytest.approx(plain.high, abs=2e-4)


def test_answers_that_agree_within_a_picture_count_once():
    pictures = [1, 0, 1, 1, 0, 1, 1, 1, 0, 1] * 20
    together = clustered([8 * hit for hit in pictures], [8] * len(pictures), 0.1)
    alone = proportion(sum(pictures), len(pictures), 0.1)
    assert together.n == 8 * len(pictures)
    assert together.low == pytest.approx(alone.low, abs=2e-4)


def test_the_clustered_interval_is_that_of_a_bootstrap_over_pictures():
    draw = np.random.default_rng(0)
    asked = draw.integers(1, 20, size=400)
    hits = draw.binomial(asked, draw.beta(2, 5, size=400))
    rows = draw.integers(400, size=(4000, 400))
    shares = hits[rows].sum(axis=1) / asked[rows].sum(axis=1)
    low, high = np.quantile(shares, [0.025, 0.975])
    metric = clustered(hits.tolist(), asked.tolist(), 0.0)
    assert metric.low == pytest.approx(low, abs=0.004)
    assert metric.high == pytest.approx(high, abs=0.004)

import itertools
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.errors import DivergedError, UserError
from minivl.evaluation.retrieval import (
    chance_at_k,
    expected_hits,
    minimal_pair_accuracy,
    recall_at_k,
    relevance,
    rerank,
    retrieval,
)


def by_enumeration(scores, relevant, k):
    """Oracle: over all orders of the candidates, how often a stable sort has a hit on top."""
    orders = list(itertools.permutations(range(len(scores))))
    hits = 0
    for order in orders:
        top = sorted(order, key=lambda j: -scores[j])[:k]
        hits += any(relevant[j] for j in top)
    return hits / len(orders)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    row=st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=5),
    k=st.integers(1, 7),
)
def test_hits_are_the_mean_over_all_orders_of_ties(row, k):
    scores, relevant = [s for s, _ in row], [r for _, r in row]
    hits = expected_hits(torch.tensor([scores]).float(), torch.tensor([relevant]), k)
    assert hits.item() == pytest.approx(by_enumeration(scores, relevant, k), abs=1e-12)


def test_without_ties_recall_is_what_sorting_finds(generator):
    scores = torch.rand(40, 60, generator=generator)
    relevant = torch.rand(40, 60, generator=generator) < 0.05
    for k in (1, 5, 10):
        to_text, to_image = recall_at_k(scores, relevant, k)
        ways = ((to_text, scores, relevant), (to_image, scores.T, relevant.T))
        for metric, s, r in ways:
            hits = [
                any(r[i, j] for j in sorted(range(len(s[i])), key=lambda j: -s[i, j])[:k])
                for i in range(len(s))
                if r[i].any()
            ]
            assert metric.n == len(hits)
            assert metric.value == pytest.approx(sum(hits) / len(hits))


def test_recall_by_hand():
    # Picture 0 has two captions; the second is found only among the two best.
    scores = torch.tensor([[0.9, 0.8, 0.1, 0.2], [0.7, 0.85, 0.95, 0.3], [0.2, 0.1, 0.5, 0.4]])
    relevant = torch.tensor([0, 0, 1, 2]) == torch.arange(3)[:, None]
    assert [m.value for m in recall_at_k(scores, relevant, 1)] == pytest.approx([2 / 3, 3 / 4])
    for k in (2, 9):
        assert [m.value for m in recall_at_k(scores, relevant, k)] == [1.0, 1.0]


def test_a_constant_similarity_gets_exactly_chance(generator):
    relevant = (torch.rand(12, 30, generator=generator) < 0.2) | torch.eye(12, 30).bool()
    for key, metric in retrieval(torch.full((12, 30), 0.3), relevant).items():
        assert metric.value == metric.chance, key


def test_chance_of_one_right_answer_is_k_in_m():
    for k in (1, 3, 8, 9):
        hits = chance_at_k(torch.eye(8, dtype=torch.bool), k)
        assert torch.allclose(hits, torch.full((8,), min(k / 8, 1.0), dtype=torch.float64))


def test_chance_agrees_with_random_scores():
    relevant = torch.tensor([[True, False, True, False, False, False, True, False, False, False]])
    draw = torch.Generator().manual_seed(0)
    scores = torch.rand(40_000, 10, generator=draw)
    for k in (1, 2, 5):
        found = expected_hits(scores, relevant.expand(40_000, -1), k).mean().item()
        assert found == pytest.approx(chance_at_k(relevant, k).item(), abs=0.01)


def test_order_of_pictures_and_texts_changes_nothing(generator):
    scores = torch.randint(0, 4, (15, 22), generator=generator).float()  # many ties
    relevant = torch.rand(15, 22, generator=generator) < 0.15
    rows = torch.randperm(15, generator=generator)
    columns = torch.randperm(22, generator=generator)
    before = retrieval(scores, relevant)
    after = retrieval(scores[rows][:, columns], relevant[rows][:, columns])
    for key in before:
        assert before[key].value == pytest.approx(after[key].value)
        assert before[key].chance == pytest.approx(after[key].chance)


def test_the_two_ways_are_not_mixed_up():
    # Both pictures like text 0 best: one of two pictures is right, both texts find their picture.
    scores = torch.tensor([[0.9, 0.1], [0.8, 0.2]])
    metrics = retrieval(scores, torch.eye(2).bool())
    assert metrics["image_to_text_r1"].value == 0.5
    assert metrics["text_to_image_r1"].value == 1.0
    assert list(metrics) == [f"{way}_r{k}" for k in (1, 5, 10) for way in
                             ("image_to_text", "text_to_image")]  # fmt: skip


def test_a_caption_equal_to_the_true_one_is_a_hit():
    texts = ["a dog", "a cat", "a dog"]
    assert relevance(texts, texts).tolist() == [
        [True, False, True],
        [False, True, False],
        [True, False, True],
    ]
    wrong_copy = torch.tensor([[0.1, 0.2, 0.9], [0.1, 0.9, 0.2], [0.9, 0.2, 0.1]])
    assert recall_at_k(wrong_copy, relevance(texts, texts), 1)[0].value == 1.0


def test_a_picture_may_have_several_captions():
    found = relevance([["a dog", "one dog"], ["a cat"]], ["a cat", "one dog", "a dog", "a do"])
    assert found.tolist() == [[False, True, True, False], [True, False, False, False]]
    two_of_four = chance_at_k(found, 1)
    assert two_of_four.tolist() == pytest.approx([0.5, 0.25])


def test_queries_with_nothing_to_find_are_left_out():
    relevant = torch.tensor([[True, False, False], [False, True, False]])
    to_text, to_image = recall_at_k(torch.eye(2, 3), relevant, 1)
    assert (to_text.n, to_image.n) == (2, 2)
    assert (to_text.chance, to_image.chance) == pytest.approx((1 / 3, 1 / 2))
    with pytest.raises(UserError, match="anything to find"):
        recall_at_k(torch.eye(2), torch.zeros(2, 2).bool(), 1)


def test_scores_of_minus_infinity_are_allowed_and_nan_is_not():
    scores = torch.tensor([[-torch.inf, 0.0], [-torch.inf, -torch.inf]])
    assert recall_at_k(scores, torch.eye(2).bool(), 1)[0].value == pytest.approx(0.25)
    for judge in (lambda s: retrieval(s, torch.eye(2).bool()), minimal_pair_accuracy):
        with pytest.raises(DivergedError, match="not a number"):
            judge(torch.tensor([[torch.nan, 0.0], [0.0, 1.0]]))


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(UserError, match=r"\(2, 3\) and relevance \(3, 2\)"):
        recall_at_k(torch.zeros(2, 3), torch.zeros(3, 2).bool(), 1)
    with pytest.raises(UserError, match="k is 0"):
        recall_at_k(torch.eye(2), torch.eye(2).bool(), 0)
    for shape in ((3, 3), (2, 4), (0, 0)):
        with pytest.raises(UserError, match="twins"):
            minimal_pair_accuracy(torch.zeros(shape))


def test_inputs_are_not_changed(generator):
    scores = torch.rand(4, 4, generator=generator)
    relevant = torch.eye(4).bool()
    before = scores.clone(), relevant.clone()
    retrieval(scores, relevant)
    minimal_pair_accuracy(scores)
    assert torch.equal(scores, before[0]) and torch.equal(relevant, before[1])


def slow_minimal_pairs(s):
    def right(own, twin):
        return 1.0 if own > twin else 0.5 if own == twin else 0.0

    answers = []
    for k in range(0, len(s), 2):
        answers.append((right(s[k][k], s[k][k + 1]), right(s[k + 1][k + 1], s[k + 1][k])))
    return sum(a * b for a, b in answers) / len(answers), sum(map(sum, answers)) / len(s)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(pairs=st.integers(1, 6), seed=st.integers(0, 10**6))
def test_minimal_pairs_agree_with_a_slow_loop(pairs, seed):
    draw = random.Random(seed)
    scores = [[draw.randint(0, 3) for _ in range(2 * pairs)] for _ in range(2 * pairs)]
    both, single = minimal_pair_accuracy(torch.tensor(scores).float())
    assert (both.value, single.value) == pytest.approx(slow_minimal_pairs(scores))
    assert (both.n, single.n, both.chance, single.chance) == (pairs, 2 * pairs, 0.25, 0.5)


def test_minimal_pairs_of_blind_and_of_perfect_models():
    both, single = minimal_pair_accuracy(torch.zeros(20, 20))
    assert (both.value, single.value) == (0.25, 0.5)
    both, single = minimal_pair_accuracy(torch.eye(20))
    assert (both.value, single.value) == (1.0, 1.0)
    both, single = minimal_pair_accuracy(-torch.eye(20))
    assert (both.value, single.value) == (0.0, 0.0)
    # A model that sees no order gives both twins the same caption.
    both, single = minimal_pair_accuracy(torch.tensor([1.0, 0.0]).repeat(20, 10))
    assert (both.value, single.value) == (0.0, 0.5)


def test_two_scores_of_minus_infinity_are_a_tie():
    assert minimal_pair_accuracy(torch.full((2, 2), -torch.inf))[1].value == 0.5


def test_the_interval_of_pictures_counts_pairs():
    both, single = minimal_pair_accuracy(torch.eye(40))
    assert single.low == pytest.approx(both.low)


def test_pairs_may_change_places(generator):
    scores = torch.rand(12, 12, generator=generator)
    order = torch.randperm(6, generator=generator)
    index = torch.stack([2 * order, 2 * order + 1], dim=1).flatten()
    assert minimal_pair_accuracy(scores[index][:, index]) == minimal_pair_accuracy(scores)


# Two stages.


def test_the_most_similar_alone_are_judged_and_ranked_by_the_judgement_alone():
    similarity = torch.tensor([[0.9, 0.8, 0.1], [0.1, 0.2, 0.3]])
    logits, asked = torch.tensor([[1.0, 3.0, 9.0], [2.0, 0.0, 1.0]]), []

    def score(query, candidates):
        asked.append((query, sorted(candidates.tolist())))
        return logits[query, candidates]

    assert rerank(similarity, score, 2).tolist() == [[1, 3, -100], [-100, 0, 1]]
    assert asked == [(0, [0, 1]), (1, [1, 2])]
    for k in (3, 7):
        assert torch.equal(rerank(similarity, score, k), logits)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(queries=st.integers(1, 5), candidates=st.integers(1, 6), k=st.integers(1, 8),
       seed=st.integers(0, 99))  # fmt: skip
def test_reranking_keeps_candidates_and_changes_their_order(queries, candidates, k, seed):
    draw = torch.Generator().manual_seed(seed)
    similarity, logits = torch.randn(2, queries, candidates, generator=draw)
    before = similarity.clone()
    found = rerank(similarity, lambda query, chosen: logits[query, chosen], k)
    assert torch.equal(similarity, before)
    judged = found != -100
    assert (judged.sum(dim=1) == min(k, candidates)).all()
    assert torch.equal(found[judged], logits[judged])
    lowest = similarity.masked_fill(~judged, torch.inf).amin(dim=1)
    assert (similarity.masked_fill(judged, -torch.inf).amax(dim=1) <= lowest).all()


def test_scores_of_the_two_ways_may_differ(generator):
    there, back = torch.rand(2, 12, 12, generator=generator)
    truth = torch.eye(12, dtype=torch.bool)
    both, one, other = (
        retrieval(there, truth, back),
        retrieval(there, truth),
        retrieval(back, truth),
    )
    for k in (1, 5, 10):
        assert both[f"image_to_text_r{k}"] == one[f"image_to_text_r{k}"]
        assert both[f"text_to_image_r{k}"] == other[f"image_to_text_r{k}"]

"""The answer decoder: likelihoods piece by piece, what is ranked, what is learned."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.models.answering import AnswerDecoder, right_answers
from minivl.models.finetune import Finetuned, WordsExit

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
CLS, SEP, WORDS = 2, 3, 23
# Two begin alike, one is the beginning of another, and they are of three lengths.
LIST = [[CLS, 7, SEP], [CLS, 7, 9, SEP], [CLS, 8, SEP], [CLS, 11, 12, 7, SEP], [CLS, 5, 5, SEP]]
IDS = torch.tensor([row + [0] * (5 - len(row)) for row in LIST])
MASK = torch.arange(5) < torch.tensor([len(row) for row in LIST]).unsqueeze(1)


@pytest.fixture(params=["pre", "post"])
def decoder(request, drawn, encoders):
    return drawn(AnswerDecoder.like(encoders(request.param), IDS, MASK))


@pytest.fixture
def question(normal):
    return normal(1, 3, 6, 12), torch.arange(6) < torch.tensor([[6], [3], [4]])


SHARES = torch.tensor(
    [[0.0, 1.0, 0.0, 0.0, 0.0], [0.7, 0.0, 0.0, 0.3, 0.0], [0.0, 0.2, 0.2, 0.0, 0.6]],
    dtype=torch.float64,
)


def piece_by_piece(decoder, question, visible, row):
    """ln p(row | question) (1, t, width): each piece from a pass over what stands before it."""
    total = 0.0
    for place in range(1, len(row)):
        before = torch.tensor([row[:place]])
        states = decoder.fusion(
            decoder.words.embed(before),
            question[:, : int(visible.sum())],
            torch.ones(place, place, dtype=torch.bool).tril()[None, None],
        )
        logits = decoder.predict(states[:, -1], decoder.words.word_embed.weight)
        total = total + logits.log_softmax(1)[0, row[place]]
    return total


def by_hand(decoder, question, visible):
    """The likelihood of every answer to every question (3, 5)."""
    rows = [
        [piece_by_piece(decoder, question[i : i + 1], visible[i], row) for row in LIST]
        for i in range(3)
    ]
    return torch.stack([torch.stack(row) for row in rows])


def test_the_likelihood_of_an_answer_is_that_of_its_pieces_one_after_the_other(decoder, question):
    expected = by_hand(decoder, *question)
    asked = torch.arange(3).repeat_interleave(5)
    found = decoder.log_likelihood(*question, IDS.repeat(3, 1), MASK.repeat(3, 1), asked)
    torch.testing.assert_close(found.view(3, 5), expected, **CLOSE)
    assert expected.std() > 0.1 and (expected < 0).all()


def test_with_enough_candidates_the_list_is_ranked_by_true_likelihood(decoder, question):
    expected = by_hand(decoder, *question)
    for candidates in (5, 128):
        found = decoder.rank_answers(*question, IDS, MASK, candidates=candidates)
        torch.testing.assert_close(found, expected, **CLOSE)


@given(candidates=st.integers(1, 5), order=st.permutations(range(5)), official=st.booleans())
@settings(max_examples=20, deadline=None)
def test_candidates_are_those_of_the_likeliest_first_pieces(
    drawn, encoders, normal, candidates, order, official
):
    decoder = drawn(AnswerDecoder.like(encoders(), IDS, MASK))
    question, visible = normal(1, 3, 6, 12), torch.arange(6) < torch.tensor([[6], [3], [4]])
    order = list(order)
    found = decoder.rank_answers(
        question,
        visible,
        IDS[order],
        MASK[order],
        candidates=candidates,
        official_ranking=official,
    )
    start = torch.full((3, 1), CLS)
    first = decoder.states(question, visible, start, torch.arange(3))[:, 0]
    first = decoder.name(first).log_softmax(1)[:, IDS[order, 1]]
    everything = decoder.rank_answers(question, visible, IDS[order], MASK[order])
    everything = everything + (first if official else 0)
    for row in range(3):
        by_first = sorted(range(5), key=lambda n: (-first[row, n].item(), n))
        chosen, others = by_first[:candidates], by_first[candidates:]
        torch.testing.assert_close(found[row, chosen], everything[row, chosen], **CLOSE)
        assert (found[row, others] == -torch.inf).all()


def test_the_official_ranking_may_choose_another_answer(drawn, encoders, normal):
    # A first piece that is likely twice over outweighs what follows it.
    decoder = drawn(AnswerDecoder.like(encoders(), IDS, MASK))
    question, visible = normal(2, 200, 6, 12), torch.ones(200, 6, dtype=torch.bool)
    best = [
        decoder.rank_answers(question, visible, IDS, MASK, official_ranking=official).argmax(1)
        for official in (False, True)
    ]
    assert (best[0] != best[1]).any()


def test_many_answers_are_judged_in_parts(decoder, question, monkeypatch):
    whole = decoder.rank_answers(*question, IDS, MASK)
    monkeypatch.setattr("minivl.models.answering.AT_ONCE", 4)
    torch.testing.assert_close(decoder.rank_answers(*question, IDS, MASK), whole, **CLOSE)


def test_the_loss_is_the_weighted_likelihood_of_all_right_answers(drawn, encoders, normal):
    visible = torch.arange(6) < torch.tensor([[6], [3], [4]])
    batch = {
        "image": normal(0, 3, 3, 12, 12),
        "input_ids": torch.arange(18).view(3, 6) + 4,
        "attention_mask": visible,
        "answer_shares": SHARES,
    }
    for norm in ("pre", "post"):
        pretrained = encoders(norm)
        head = AnswerDecoder.like(pretrained, IDS, MASK)
        model = drawn(Finetuned(WordsExit(pretrained), head))
        expected = by_hand(head, model.exit(batch), visible)
        (loss,) = (losses := model(batch)).values()
        assert list(losses) == ["answering"]
        torch.testing.assert_close(loss, -(SHARES * expected).sum() / 3, **CLOSE)
        found = model.scores(batch)
        torch.testing.assert_close(found, expected, **CLOSE)
        pieces = sum(len(LIST[n]) - 1 for row in SHARES for n in row.nonzero().flatten().tolist())
        assert model.logits(batch).shape == (pieces, WORDS)
        assert 0 <= model.monitors["accuracy"] <= 1


def test_a_twin_teaches_every_piece(drawn, encoders, normal):
    pretrained = encoders()
    head = AnswerDecoder.like(pretrained, IDS, MASK)
    model = drawn(Finetuned(WordsExit(pretrained), head, distill=True))
    drawn(model.twin, seed=3)
    batch = {
        "image": normal(0, 3, 3, 12, 12),
        "input_ids": torch.arange(18).view(3, 6) + 4,
        "attention_mask": torch.ones(3, 6, dtype=torch.bool),
        "answer_shares": SHARES,
    }
    log_p, soft = model.logits(batch).log_softmax(1), model.twin.logits(batch).softmax(1)
    # Rows are question by question, answer by answer: each piece weighs as much as its answer.
    weights = [
        SHARES[row, n].item()
        for row in range(3)
        for n in SHARES[row].nonzero().flatten().tolist()
        for _ in LIST[n][1:]
    ]
    belief = -(torch.tensor(weights, dtype=torch.float64) * (soft * log_p).sum(1)).sum() / 3
    model.alpha = 0.0
    label = model(batch)["answering"]
    model.alpha = 0.25
    mixed = 0.75 * label + 0.25 * belief
    torch.testing.assert_close(model(batch)["answering"], mixed, **CLOSE)


@pytest.mark.parametrize("distill", [False, True])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_batch_without_a_listed_answer_loses_nothing(drawn, encoders, normal, norm, distill):
    pretrained = encoders(norm)
    head = AnswerDecoder.like(pretrained, IDS, MASK)
    model = drawn(Finetuned(WordsExit(pretrained), head, distill=distill)).train()
    batch = {
        "image": normal(0, 3, 3, 12, 12),
        "input_ids": torch.arange(18).view(3, 6) + 4,
        "attention_mask": torch.ones(3, 6, dtype=torch.bool),
        "answer_shares": torch.zeros(3, 5, dtype=torch.float64),
    }
    loss = model(batch)["answering"]
    assert loss.item() == 0 and model.monitors["accuracy"].item() == 0
    loss.backward()
    # Several processes wait for the gradient of all that is to learn.
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and not parameter.grad.any(), name


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_what_learns_is_exactly_what_is_read(drawn, encoders, normal, norm):
    pretrained = encoders(norm)
    exit = WordsExit(pretrained)
    model = drawn(Finetuned(exit, AnswerDecoder.like(pretrained, IDS, MASK), distill=True))
    batch = {
        "image": normal(0, 3, 3, 12, 12),
        "input_ids": torch.arange(18).view(3, 6) + 4,
        "attention_mask": torch.ones(3, 6, dtype=torch.bool),
        "answer_shares": SHARES,
    }
    learns = {name for name, p in model.named_parameters() if p.requires_grad}
    model.exit.requires_grad_(True), model.head.requires_grad_(True)
    model(batch)["answering"].backward()
    assert learns == {name for name, p in model.named_parameters() if p.grad is not None}
    assert {"head.predict.bias", "head.words.word_embed.weight"} <= learns
    assert not any(name.startswith("exit.model.mlm_head") for name in learns)


def test_a_decoder_begins_as_the_pretrained_model_and_learns_apart_from_it(encoders):
    torch.manual_seed(0)
    pretrained = encoders()
    decoder = AnswerDecoder.like(pretrained, IDS, MASK)
    theirs = pretrained.state_dict()
    places = {"words.": "text_encoder.", "fusion.": "fusion_encoder.", "predict.": "mlm_head."}
    for name, value in decoder.state_dict().items():
        mine = next(place for place in places if name.startswith(place))
        of = name.replace(mine, places[mine], 1)
        assert torch.equal(value, theirs[of]) and value.data_ptr() != theirs[of].data_ptr()
    assert len(decoder.fusion.blocks) == 2
    assert not any(name.startswith("words.transformer") for name in decoder.state_dict())


def test_right_answers_are_all_of_any_weight():
    asked, told, weights = right_answers(SHARES)
    assert asked.tolist() == [0, 1, 1, 2, 2, 2] and told.tolist() == [1, 0, 3, 1, 2, 4]
    assert weights.tolist() == [1.0, 0.7, 0.3, 0.2, 0.2, 0.6]


def test_it_learns_one_batch_by_heart(encoders, normal):
    torch.manual_seed(0)
    pretrained = encoders()
    head = AnswerDecoder.like(pretrained, IDS, MASK, candidates=3)
    model = Finetuned(WordsExit(pretrained), head).train()
    generator = torch.Generator().manual_seed(1)
    batch = {
        "image": normal(0, 8, 3, 12, 12).float(),
        "input_ids": torch.randint(5, WORDS, (8, 6), generator=generator),
        "attention_mask": torch.ones(8, 6, dtype=torch.bool),
        "answer_shares": torch.eye(5).repeat(2, 1)[:8],
    }
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        loss = model(batch)["answering"]
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    assert model.eval().scores(batch).argmax(1).tolist() == [0, 1, 2, 3, 4, 0, 1, 2]

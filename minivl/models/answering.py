"""Answers in words: ALBEF's decoder for questions about pictures (Li et al. 2021, section 4).

A stack of fusion blocks with a causal mask says an answer word piece by word piece, looking at the
words of the question that have looked at the picture. It learns all right answers of a question,
each by its weight; asked, it ranks a list. Letters: b questions, t their words, a answers of the
list, m answers that are told, s their word pieces with [CLS] and [SEP].
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minivl.models.albef_encoders import Encoders
from minivl.nn.bert import Bert
from minivl.nn.fusion import FusionEncoder
from minivl.nn.head import PredictionHead
from minivl.objectives.masked import selected_rows

AT_ONCE = 1024
"""Answers that are judged together: each of their word pieces takes a row as long as the
vocabulary."""


class AnswerDecoder(nn.Module):
    """Embeddings, fusion blocks that look at the question, and the head that names word pieces.

    A head of `finetune.Finetuned` over an exit that gives all words. The paper's starts from the
    pretrained model: the embeddings from its text encoder, the blocks from its fusion encoder, the
    head from its MLM head.
    """

    loss = "answering"

    def __init__(
        self,
        words: Bert,
        fusion: FusionEncoder,
        predict: PredictionHead,
        answer_ids: Tensor,
        answer_mask: Tensor,
        *,
        candidates: int = 128,
        official_ranking: bool = False,
    ):
        """words: a BERT without blocks, for its embeddings; answer_ids, answer_mask (a, s): the
        list, each answer as [CLS] pieces [SEP]; `candidates`, `official_ranking`: as in
        `rank_answers`."""
        super().__init__()
        self.words, self.fusion, self.predict = words, fusion, predict
        words.norm.requires_grad_(False)  # behind the blocks that it has none of
        self.candidates, self.official_ranking = candidates, official_ranking
        self.register_buffer("answer_ids", answer_ids, persistent=False)
        self.register_buffer("answer_mask", answer_mask.to(torch.bool), persistent=False)

    @classmethod
    def like(cls, encoders: Encoders, *answers: Tensor, **ranking) -> "AnswerDecoder":
        """A decoder of the size, and with the weights, of a model that is to answer questions."""
        words = copy.deepcopy(encoders.text_encoder)
        words.transformer = nn.Identity()
        fusion, predict = copy.deepcopy((encoders.fusion_encoder, encoders.mlm_head))
        return cls(
            words, fusion.requires_grad_(True), predict.requires_grad_(True), *answers, **ranking
        )

    # As a head of `Finetuned`.

    def forward(self, question: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """question (b, t, width), batch with attention_mask (b, t) and answer_shares (b, a)
        -> logits (r, vocabulary) of the r word pieces of all right answers, one after the other."""
        asked, told, _ = right_answers(batch["answer_shares"])
        ids, mask = self.answer_ids[told], self.answer_mask[told]
        states = self.states(question, batch["attention_mask"], ids[:, :-1], asked)
        return self.name(states.flatten(0, 1)[self.scored(mask)])

    def targets(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The right word pieces (r, vocabulary), one-hot, and what each weighs (r): its answer's
        weight, a question's part of the mean over questions."""
        shares = batch["answer_shares"]
        _, told, weights = right_answers(shares)
        ids, rows = self.answer_ids[told, 1:], self.scored(self.answer_mask[told])
        pieces = ids.flatten()[rows]
        each = weights.unsqueeze(1).expand_as(ids).flatten()[rows] / len(shares)
        vocabulary = self.words.word_embed.num_embeddings
        return F.one_hot(pieces, vocabulary).to(shares.dtype), each

    def scores(self, question: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """What each answer of the list is worth (b, a); -inf for those that are no candidates."""
        return self.rank_answers(
            question,
            batch["attention_mask"],
            self.answer_ids,
            self.answer_mask,
            candidates=self.candidates,
            official_ranking=self.official_ranking,
        )

    # How likely is an answer?

    def states(self, question: Tensor, visible: Tensor, ids: Tensor, asked: Tensor) -> Tensor:
        """question (b, t, width) of which visible (b, t) are words, ids (m, s), asked (m): the
        question that each answer belongs to -> (m, s, width): after each piece, what comes next."""
        length = ids.shape[1]
        before = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
        return self.fusion(
            self.words.embed(ids),
            question,
            before[None, None],
            image_index=asked,
            image_mask=visible,
        )

    def name(self, states: Tensor) -> Tensor:
        """States (..., width) -> logits (..., vocabulary)."""
        return self.predict(states, self.words.word_embed.weight)

    def scored(self, mask: Tensor) -> Tensor:
        """mask (m, s) -> which of the m(s-1) places that something follows are followed by a real
        piece: their numbers."""
        return selected_rows(mask[:, 1:])

    def log_likelihood(
        self, question: Tensor, visible: Tensor, ids: Tensor, mask: Tensor, asked: Tensor
    ) -> Tensor:
        """ln p(answer | question, picture), the sum over its pieces and [SEP]: (m). Arguments as in
        `states`; mask (m, s)."""
        states = self.states(question, visible, ids[:, :-1], asked)
        log_p = self.name(states).log_softmax(dim=-1)
        each = log_p.gather(2, ids[:, 1:].unsqueeze(2)).squeeze(2)
        return each.masked_fill(~mask[:, 1:], 0.0).sum(dim=1)

    def rank_answers(
        self,
        question: Tensor,
        visible: Tensor,
        answer_ids: Tensor,
        answer_mask: Tensor,
        *,
        candidates: int = 128,
        official_ranking: bool = False,
    ) -> Tensor:
        """Judge the answers of a list: those whose first piece is likeliest by their likelihood,
        ln p (b, a); the others -inf.

        question (b, t, width), visible (b, t), answer_ids and answer_mask (a, s). Of answers whose
        first pieces are equally likely the earlier ones are candidates. With `official_ranking`
        ln p of the first piece is added once more, as the paper's code does; the paper has the
        likelihood.
        """
        everyone = torch.arange(len(question), device=question.device)
        start = answer_ids[:1, :1].expand(len(question), -1)
        first = self.name(self.states(question, visible, start, everyone)[:, 0])
        first = first.log_softmax(dim=-1)[:, answer_ids[:, 1]]
        chosen = first.argsort(dim=1, descending=True, stable=True)[:, :candidates]
        asked = everyone.repeat_interleave(chosen.shape[1])
        pairs = zip(asked.split(AT_ONCE), chosen.flatten().split(AT_ONCE), strict=True)
        likely = torch.cat(
            [
                self.log_likelihood(
                    question, visible, answer_ids[answers], answer_mask[answers], asked
                )
                for asked, answers in pairs
            ]
        ).view_as(chosen)
        if official_ranking:
            likely = likely + first.gather(1, chosen)
        return torch.full_like(first, -torch.inf).scatter(1, chosen, likely)


def right_answers(shares: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """shares (b, a) -> for each answer of any weight its question, its number and its weight: (m)
    three times, question by question."""
    asked, told = shares.nonzero(as_tuple=True)
    return asked, told, shares[asked, told]

"""Labelled examples of a task: pictures, sentences and the number of the answer. Index in, out.

The tasks are those of `questions` and `statements`. What a baseline must not read is blanked here,
so that any model can be one: a grey picture, an empty sentence, the second sentence without the
first.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np

from minivl.data import questions, statements
from minivl.data.examples import SceneSource, Split, to_tensor
from minivl.data.questions import Asked
from minivl.data.text import WordPiece, pad_batch
from minivl.errors import UserError

Task = Literal["scene-vqa", "scene-ve", "scene-nlvr", "scene-sentences"]
"""Named after the benchmarks whose form they have; VQA v2, SNLI-VE, NLVR2, MNLI are other data."""

Inputs = Literal["both", "text", "image", "left"]
"""Both sides; one alone; or, of two pictures, the text with the left one alone."""

GREY = 127
"""What is painted over, and the whole picture where none is to be seen."""

ASK = {
    "scene-vqa": questions.vqa,
    "scene-ve": questions.entailment,
    "scene-nlvr": statements.nlvr,
    "scene-sentences": questions.sentences,
}

SPLITS: dict[Task, tuple[Split, ...]] = {
    "scene-vqa": ("validation", "twemoji", "compositions"),
    "scene-ve": ("validation", "twemoji", "compositions"),
    "scene-nlvr": ("validation", "twemoji", "compositions"),
    "scene-sentences": ("validation", "compositions"),
}
"""What is measured: sentences have no artist."""


class Source(Protocol):
    """Where scenes and words come from: `texts.TextSource`, or `captioned.CaptionSource`."""

    text: WordPiece
    scenes: SceneSource
    data: Any
    """Its `max_length` is the longest text in word pieces."""


class TaskExamples:
    """An endless, reproducible sequence of questions with their answers."""

    endless = True

    def __init__(self, source: Source, task: Task, split: Split, seed: int, inputs: Inputs):
        """`inputs`: both sides, or one alone; of two sentences the second is the text."""
        self.source, self.task, self.seed, self.inputs = source, task, seed, inputs
        self.worlds = partial(source.scenes.world, split)
        self.answers = answers_of(source, task)
        self.numbers = {answer: number for number, answer in enumerate(self.answers)}
        self.max_length = source.data.max_length

    def __len__(self) -> int:
        raise TypeError("questions are endless: ask for any index")

    def asked(self, index: int) -> Asked:
        """One question in words, with its scene and its answer."""
        return ASK[self.task](self.worlds, self.seed, index)

    def __getitem__(self, index: int) -> dict:
        """input_ids, segments: tuples of ints; shares: float32 (answers,), each answer's weight;
        image uint8 (h, w, 3), if any, or (2, h, w, 3)."""
        asked = self.asked(index)
        text = "" if self.inputs == "image" else asked.text
        premise = "" if self.inputs == "text" else asked.premise
        ids, segments = encode_pair(self.source.text, premise, text, self.max_length)
        shares = np.zeros(len(self.answers), np.float32)
        for answer, share in asked.shares.items():
            shares[self.numbers[answer]] = share
        example = {"input_ids": ids, "segments": segments, "shares": shares}
        if self.task == "scene-sentences":
            return example
        return example | {"image": self.picture(asked)}

    def picture(self, asked: Asked) -> np.ndarray:
        """What is seen of a question's scene, uint8 (h, w, 3), or of its two (2, h, w, 3)."""
        side = self.source.scenes.data.image_size
        grey = np.full((side, side, 3), GREY, np.uint8)
        render = self.source.scenes.renderer.image
        image = grey if self.inputs == "text" else render(asked.scene)
        if asked.second is not None:
            hidden = self.inputs in ("text", "left")
            return np.stack([image, grey if hidden else render(asked.second)])
        if asked.covered is None or self.inputs == "text":
            return image
        return painted_over(image, asked.covered)

    def collate(self, examples: list[dict]) -> dict:
        """input_ids, token_type_ids (b, t) int64, attention_mask (b, t) bool; answer_shares
        (b, answers) float32, rows add to 1, and labels (b) int64, the heaviest; image (b, 3, h, w)
        float32 in [-1, 1], or images (b, 2, 3, h, w), but for sentences."""
        import torch

        input_ids, attention_mask = pad_batch([example["input_ids"] for example in examples])
        segments, _ = pad_batch([example["segments"] for example in examples])
        shares = torch.from_numpy(np.stack([example["shares"] for example in examples]))
        batch = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": segments,
            "answer_shares": shares,
            "labels": shares.argmax(dim=1),
        }
        if "image" not in examples[0]:
            return batch
        pictures = np.stack([example["image"] for example in examples])
        if pictures.ndim == 4:
            return {"image": to_tensor(pictures)} | batch
        return {
            "images": to_tensor(pictures.reshape(-1, *pictures.shape[2:])).unflatten(0, (-1, 2))
        } | batch


def answers_of(source: Source, task: Task) -> tuple[str, ...]:
    """The classes of a task in the order of their numbers, the same on every split."""
    if task == "scene-vqa":
        return questions.vqa_answers(source.scenes.world("train"))
    return statements.TRUTHS if task == "scene-nlvr" else questions.VERDICTS


def encode_answers(
    words: WordPiece, answers: Sequence[str], longest: int | None = None
) -> list[tuple[int, ...]]:
    """A list of answers, each as [CLS] answer [SEP], as a decoder says and ranks them.

    UserError for an answer that is empty, ends in its middle, holds an unknown word, has more than
    `longest` word pieces with [CLS], or stands there twice.
    """
    if not answers:
        raise UserError("the list of answers is empty", "give one answer or more")
    rows: dict[tuple[int, ...], str] = {}
    for answer in answers:
        # Written out: ALBEF's own tokenizer puts no [SEP] behind a text.
        ids = words.encode(f"{answer} [SEP]")[1:]
        ids = (words.cls_id, *ids[: len(words.tokens(answer)) + 1])
        if wrong := wrong_with(words, ids, longest):
            raise UserError(f"the answer {answer!r} {wrong}", "leave it out, or say it otherwise")
        if ids in rows:
            raise UserError(
                f"the answer {answer!r} stands twice in the list (also as {rows[ids]!r})",
                "leave one out: they would share what is likely",
            )
        rows[ids] = answer
    return list(rows)


def wrong_with(words: WordPiece, ids: tuple[int, ...], longest: int | None) -> str:
    """Why [CLS] answer [SEP] cannot be said by a decoder; empty if it can."""
    if len(ids) < 3:
        return "is empty"
    if words.unk_id in ids:
        return "has a word that the model does not know"
    if words.sep_id in ids[:-1]:
        return "has [SEP] inside, where it would end"
    # The last piece is said, not read.
    if longest is not None and len(ids) - 1 > longest:
        return f"has {len(ids) - 1} word pieces with [CLS]: the model reads {longest}"
    return ""


def encode_pair(
    words: WordPiece, premise: str, text: str, max_length: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """[CLS] premise [SEP] text [SEP] as ids, and to which of the two each belongs: 0 or 1.

    Without a premise [CLS] text [SEP], all 0. What is too long loses its last pieces, the premise
    first; together at most `max_length`.
    """
    if not premise:
        ids = tuple(words.encode(text, max_length))
        return ids, (0,) * len(ids)
    second = words.encode(text, max_length - 1)[1:]
    first = words.encode(premise, max_length - len(second))
    return (*first, *second), (0,) * len(first) + (1,) * len(second)


def painted_over(image: np.ndarray, region: tuple[float, float, float, float]) -> np.ndarray:
    """A copy of a picture (h, w, 3) that is grey from x0 to x1 and y0 to y1, given as shares."""
    height, width = image.shape[:2]
    x0, x1, y0, y1 = region
    hidden = image.copy()
    hidden[round(y0 * height) : round(y1 * height), round(x0 * width) : round(x1 * width)] = GREY
    return hidden

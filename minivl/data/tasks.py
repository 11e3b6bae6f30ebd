"""Labelled examples of a task: pictures, sentences and the number of the answer. Index in, out.

The tasks are those of `questions`. What a baseline must not read is blanked here, so that any
model can be one: a grey picture, an empty sentence, the second sentence without the first.
"""

from functools import partial
from typing import Literal

import numpy as np

from minivl.data import questions
from minivl.data.examples import Split, to_tensor
from minivl.data.questions import Asked
from minivl.data.text import WordPiece, pad_batch
from minivl.data.texts import TextSource

Task = Literal["vqa", "entailment", "sentences"]
Inputs = Literal["both", "text", "image"]

GREY = 127
"""What is painted over, and the whole picture where none is to be seen."""

ASK = {
    "vqa": questions.vqa,
    "entailment": questions.entailment,
    "sentences": questions.sentences,
}

SPLITS: dict[Task, tuple[Split, ...]] = {
    "vqa": ("validation", "twemoji", "compositions"),
    "entailment": ("validation", "twemoji", "compositions"),
    "sentences": ("validation", "compositions"),
}
"""What is measured: sentences have no artist."""


class TaskExamples:
    """An endless, reproducible sequence of questions with their answers."""

    endless = True

    def __init__(self, source: TextSource, task: Task, split: Split, seed: int, inputs: Inputs):
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
        """input_ids, segments: tuples of ints; label, an int; image uint8 (h, w, 3), if any."""
        asked = self.asked(index)
        text = "" if self.inputs == "image" else asked.text
        premise = "" if self.inputs == "text" else asked.premise
        ids, segments = encode_pair(self.source.text, premise, text, self.max_length)
        example = {"input_ids": ids, "segments": segments, "label": self.numbers[asked.answer]}
        return example if self.task == "sentences" else example | {"image": self.picture(asked)}

    def picture(self, asked: Asked) -> np.ndarray:
        """What is seen of a question's scene, uint8 (h, w, 3)."""
        if self.inputs == "text":
            side = self.source.scenes.data.image_size
            return np.full((side, side, 3), GREY, np.uint8)
        image = self.source.scenes.renderer.image(asked.scene)
        return image if asked.covered is None else painted_over(image, asked.covered)

    def collate(self, examples: list[dict]) -> dict:
        """input_ids, token_type_ids (b, t) int64, attention_mask (b, t) bool, labels (b) int64;
        image (b, 3, h, w) float32 in [-1, 1], but for sentences."""
        import torch

        input_ids, attention_mask = pad_batch([example["input_ids"] for example in examples])
        segments, _ = pad_batch([example["segments"] for example in examples])
        batch = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": segments,
            "labels": torch.tensor([example["label"] for example in examples]),
        }
        if "image" not in examples[0]:
            return batch
        return {"image": to_tensor(np.stack([example["image"] for example in examples]))} | batch


def answers_of(source: TextSource, task: Task) -> tuple[str, ...]:
    """The classes of a task in the order of their numbers, the same on every split."""
    if task == "vqa":
        return questions.vqa_answers(source.scenes.world("train"))
    return questions.VERDICTS


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

"""GLUE's own files of the four tasks that UniT learns: QNLI, MNLI, QQP and SST-2.

Wang et al. 2018 (arXiv 1804.07461); https://gluebenchmark.com has the files. Columns go by the
names in the first line, and quotation marks are letters like others. The numbers of the classes are
those of the benchmark, as published models of the four tasks count them. What GLUE calls `dev` is
measured here: the labels of its test files were never published.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from minivl.data.sentence_tasks import collate
from minivl.data.stream import CorruptSample
from minivl.data.text import WordPiece
from minivl.errors import DataError, UserError

if TYPE_CHECKING:
    import torch

GlueTask = Literal["qnli", "mnli-matched", "mnli-mismatched", "qqp", "sst-2"]


@dataclass(frozen=True)
class Form:
    """How the files of a task are written."""

    folder: str
    """Its name in GLUE's archive."""
    texts: tuple[str, ...]
    """Columns of the first sentence and of the second, if there are two."""
    label: str
    """Column of the answer."""
    classes: tuple[str, ...]
    """In the order of their numbers."""
    written: tuple[str, ...]
    """The same as they stand in the column."""
    dev: str = "dev.tsv"


_MNLI = {
    "folder": "MNLI",
    "texts": ("sentence1", "sentence2"),
    "label": "gold_label",
    "classes": ("entailment", "neutral", "contradiction"),
    "written": ("entailment", "neutral", "contradiction"),
}

FORMS: dict[GlueTask, Form] = {
    "qnli": Form(
        folder="QNLI",
        texts=("question", "sentence"),
        label="label",
        classes=("entailment", "not_entailment"),
        written=("entailment", "not_entailment"),
    ),
    "mnli-matched": Form(**_MNLI, dev="dev_matched.tsv"),
    "mnli-mismatched": Form(**_MNLI, dev="dev_mismatched.tsv"),
    "qqp": Form(
        folder="QQP",
        texts=("question1", "question2"),
        label="is_duplicate",
        classes=("not_duplicate", "duplicate"),
        written=("0", "1"),
    ),
    "sst-2": Form(
        folder="SST-2",
        texts=("sentence",),
        label="label",
        classes=("negative", "positive"),
        written=("0", "1"),
    ),
}
"""Both kinds of MNLI train on the same file; UniT measures the mismatched one."""


@dataclass(frozen=True)
class Row:
    """One line of a file."""

    texts: tuple[str, ...]
    label: int


@dataclass(frozen=True)
class Rows:
    """A file, read and checked."""

    path: Path
    good: tuple[Row, ...]
    skipped: tuple[CorruptSample, ...]
    """Lines that lack a column, have one too many, or an empty sentence."""

    def report(self) -> str:
        """One line: how many were read, how many were not, and the first three of these."""
        # Every task has a train.tsv: the folder says of which this is.
        said = f"{self.path.parent.name}/{self.path.name}: {len(self.good):,} example"
        said += "s" if len(self.good) > 1 else ""
        if not self.skipped:
            return said
        first = "; ".join(map(str, self.skipped[:3])) + ("; ..." if len(self.skipped) > 3 else "")
        lines = "broken line" if len(self.skipped) == 1 else "broken lines"
        return f"{said}, {len(self.skipped):,} {lines} left out ({first})"


def read_glue(path: Path, task: GlueTask) -> Rows:
    """All examples of one of a task's files, broken lines listed.

    DataError for a file that is missing, empty, no text, without a column, without labels, with a
    label that is none of the task's, or without one whole line.
    """
    form, lines = FORMS[task], _lines(path)
    header = next(lines, (1, []))[1]
    places = _places(path, form, header)
    good: list[Row] = []
    skipped: list[CorruptSample] = []
    for number, cells in lines:
        texts, label = ([cells[place] for place in group if place < len(cells)] for group in places)
        fault = _fault(cells, header, texts)
        if fault:
            skipped.append(CorruptSample(f"line {number}", fault))
        elif label[0] in form.written:
            good.append(Row(tuple(texts), form.written.index(label[0])))
        else:
            raise DataError(
                f"{path}, line {number}: the {form.label} is {label[0]!r}",
                f"the labels of {task} are {', '.join(form.written)}",
            )
    if not good:
        raise DataError(f"{path} holds no whole example", "fetch the file again")
    return Rows(path, tuple(good), tuple(skipped))


def check_columns(path: Path, task: GlueTask) -> None:
    """Refuse a file that is missing, empty, or without a column of the task (DataError)."""
    _places(path, FORMS[task], next(_lines(path), (1, []))[1])


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(number, cells) of each line that is not blank; the first line has number 1."""
    number = 0
    try:
        # A byte-order mark would become a letter of the first column's name.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            for cells in reader:
                number = reader.line_num
                if cells:
                    yield number, cells
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror}", "fetch it from https://gluebenchmark.com"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path} is broken after line {number}: {error}", "fetch the file again"
        ) from error


def _places(path: Path, form: Form, header: list[str]) -> tuple[list[int], list[int]]:
    """Where the sentences stand in a line, and where the label; DataError if one does not."""
    if not header:
        raise DataError(f"{path} is empty", "fetch the file again")
    for column in (*form.texts, form.label):
        if column in header:
            continue
        remedy = f"line 1 has {', '.join(header)}; fetch the file again"
        if column == form.label:
            remedy = f"GLUE's test files have no labels: take train.tsv or {form.dev}"
        raise DataError(f"{path}, line 1: no column is called {column!r}", remedy)
    return [header.index(column) for column in form.texts], [header.index(form.label)]


def _fault(cells: list[str], header: list[str], texts: list[str]) -> str:
    if len(cells) != len(header):
        return f"{len(cells)} columns instead of {len(header)}"
    return "" if all(text.strip() for text in texts) else "a sentence is empty"


def path_of(folder: Path, task: GlueTask, split: Literal["train", "test"]) -> Path:
    """Where GLUE's archive, unpacked in a folder, has a task's file; test: its `dev` file."""
    form = FORMS[task]
    return Path(folder) / form.folder / ("train.tsv" if split == "train" else form.dev)


class GlueExamples:
    """The examples of one task and split, in the file's order. Index in, example out."""

    endless = False

    def __init__(
        self,
        folder: Path,
        task: GlueTask,
        split: Literal["train", "test"],
        text: WordPiece,
        max_length: int = 128,
    ):
        """`folder`: the one that holds QNLI, MNLI, QQP and SST-2; test: GLUE's `dev` files."""
        if split not in ("train", "test"):
            raise ValueError(f"{task} has no split {split!r}")
        pieces = 2 + len(FORMS[task].texts)
        if max_length < pieces:
            raise UserError(
                f"max_length is {max_length}", f"{task} needs {pieces} or more for words and signs"
            )
        self.form, self.text, self.max_length = FORMS[task], text, max_length
        self.rows = read_glue(path_of(folder, task, split), task)

    def __len__(self) -> int:
        return len(self.rows.good)

    def __getitem__(self, index: int) -> dict:
        """input_ids, segments: tuples of ints; label: the number of the class."""
        row = self.rows.good[index]
        ids, segments = encode_sentences(self.text, row.texts, self.max_length)
        return {"input_ids": ids, "segments": segments, "label": row.label}

    def collate(self, examples: list[dict]) -> "dict[str, torch.Tensor]":
        """input_ids, token_type_ids (b, t) int64, attention_mask (b, t) bool; labels (b) int64."""
        return collate(examples)


def encode_sentences(
    words: WordPiece, texts: tuple[str, ...], max_length: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """[CLS] first [SEP] second [SEP] as ids, and to which of the two each belongs: 0 or 1.

    While there are more than `max_length`, the longer one loses its last piece, as BERT's code does
    it: of QNLI's long sentences the short question is kept, which `tasks.encode_pair` would cut.
    """
    rows = [words.encode(text)[1:-1] for text in texts]
    kept = [len(row) for row in rows]
    while sum(kept) + 1 + len(kept) > max_length:
        # Of two that are equally long the second.
        kept[-1 if kept[-1] >= kept[0] else 0] -= 1
    ids, segments = [words.cls_id], [0]
    for segment, (row, length) in enumerate(zip(rows, kept, strict=True)):
        ids += [*row[:length], words.sep_id]
        segments += [segment] * (length + 1)
    return tuple(ids), tuple(segments)

"""What the papers published: the one place that lessons and reports read figures from.

Each table is a file beside this module, as printed, empty where nothing is. What is known to
be wrong in print is said in its notes, never corrected in the file.
"""

import csv
import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from minivl.errors import DataError, UserError

FOLDER = Path(__file__).with_suffix("")

Cell = str | float | None
"""A word, a number, or nothing printed."""
Row = Mapping[str, Cell]
"""Column -> cell."""


@dataclass(frozen=True)
class Paper:
    """Where figures come from."""

    name: str
    """What the model is called."""
    authors: str
    year: int
    venue: str
    arxiv: str
    """Number on arXiv: the first four digits are year and month."""

    @property
    def month(self) -> tuple[int, int]:
        """Year and month of the arXiv number."""
        return 2000 + int(self.arxiv[:2]), int(self.arxiv[2:4])

    def __str__(self) -> str:
        return f"{self.authors} {self.year}, {self.venue}, arXiv {self.arxiv}"


PAPERS = {
    paper.name: paper
    for paper in (
        Paper("BERT", "Devlin et al.", 2019, "NAACL", "1810.04805"),
        Paper("ViLBERT", "Lu et al.", 2019, "NeurIPS", "1908.02265"),
        Paper("ImageBERT", "Qi et al.", 2020, "preprint", "2001.07966"),
        Paper("ViT", "Dosovitskiy et al.", 2021, "ICLR", "2010.11929"),
        Paper("ALIGN", "Jia et al.", 2021, "ICML", "2102.05918"),
        Paper("UniT", "Hu and Singh", 2021, "ICCV", "2102.10772"),
        Paper("CLIP", "Radford et al.", 2021, "ICML", "2103.00020"),
        Paper("ALBEF", "Li et al.", 2021, "NeurIPS", "2107.07651"),
        Paper("SimVLM", "Wang et al.", 2022, "ICLR", "2108.10904"),
        Paper("FLAVA", "Singh et al.", 2022, "CVPR", "2112.04482"),
    )
}

FAMILIES = {
    "one modality": {
        "BERT": "hides words,\npredicts them",
        "ViT": "a picture is\na row of patches",
    },
    "fusion encoder": {
        "ViLBERT": "two streams,\ncross-attention",
        "ImageBERT": "BERT's masking\nfor both",
    },
    "dual encoder": {
        "ALIGN": "more pairs,\nand noisier ones",
        "CLIP": "400 million\npairs",
    },
    "encoder-decoder": {
        "UniT": "queries for\nmany tasks",
        "SimVLM": "predicts the\nrest of a text",
    },
    "dual and fusion": {
        "ALBEF": "aligns,\nthen fuses",
        "FLAVA": "three domains,\npublic data",
    },
}
"""Where picture and text meet -> model -> what was new, in a few words."""


def milestones() -> tuple[tuple[str, int, int, str, str], ...]:
    """Name, year, month, family and note of every model on the course's timeline."""
    return tuple(
        (name, *PAPERS[name].month, family, note)
        for family, models in FAMILIES.items()
        for name, note in models.items()
    )


@dataclass(frozen=True, repr=False)
class Table:
    """Rows of published figures; shows itself in Jupyter."""

    name: str
    title: str
    sources: tuple[tuple[Paper, str], ...]
    """Papers, each with the number of its table."""
    notes: tuple[str, ...]
    """How to read it, and what is known to be wrong in print."""
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    decimals: Mapping[str, int]
    """Column of numbers -> digits behind the point, as printed."""

    @property
    def source(self) -> str:
        """One line: the papers and their tables."""
        return "; ".join(f"{paper}, {number}" for paper, number in self.sources)

    def column(self, name: str) -> tuple[Cell, ...]:
        """One column from top to bottom. UserError if there is none."""
        self._known(name)
        return tuple(row[name] for row in self.rows)

    def row(self, where: Mapping[str, Cell]) -> Row:
        """The one row with these cells. UserError if there is none, or more than one."""
        for name in where:
            self._known(name)
        found = [row for row in self.rows if where.items() <= row.items()]
        if len(found) != 1:
            raise UserError(f"{len(found)} rows of {self.name} have {dict(where)}", "name one row")
        return found[0]

    def select(
        self,
        columns: Sequence[str] | None = None,
        rows: Callable[[Row], bool] | None = None,
    ) -> "Table":
        """The table with these columns, in this order, and the rows for which `rows` is true."""
        names = self.columns if columns is None else tuple(columns)
        for name in names:
            self._known(name)
        kept = (row for row in self.rows if rows is None or rows(row))
        cut = tuple({name: row[name] for name in names} for row in kept)
        return replace(self, columns=names, rows=cut)

    def text(self, row: Row, column: str) -> str:
        """A cell as printed: "73.20", "400M", empty where nothing is."""
        value = row[column]
        if isinstance(value, float):
            return f"{value:.{self.decimals.get(column, 0)}f}"
        return value or ""

    def is_number(self, column: str) -> bool:
        """Whether a column stands to the right: numbers, and what begins as one ("400M")."""
        texts = [self.text(row, column) for row in self.rows]
        return any(texts) and all(text[0].isdigit() for text in texts if text)

    def markdown(self) -> str:
        """The table in Markdown: title, numbers to the right, source line, notes."""
        rules = ["--:" if self.is_number(name) else ":--" for name in self.columns]
        lines = [self.columns, rules]
        lines += [[self.text(row, name) for name in self.columns] for row in self.rows]
        body = ("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines)
        below = "\n\n".join(f"*{words}*" for words in (f"Source: {self.source}.", *self.notes))
        return f"**{self.title}**\n\n" + "\n".join(body) + f"\n\n{below}"

    def html(self) -> str:
        """The table in HTML: caption, numbers to the right, source line, notes."""
        side = {name: "right" if self.is_number(name) else "left" for name in self.columns}

        def line(cells: Sequence[tuple[str, str]], tag: str) -> str:
            inside = "".join(
                # `align` too: pages that strip styles keep it.
                f'<{tag} align="{side[name]}" style="text-align: {side[name]}">'
                f"{html.escape(text)}</{tag}>"
                for name, text in cells
            )
            return f"<tr>{inside}</tr>"

        head = line([(name, name) for name in self.columns], "th")
        lines = ([(name, self.text(row, name)) for name in self.columns] for row in self.rows)
        body = "\n".join(line(cells, "td") for cells in lines)
        below = "<br>".join(html.escape(w) for w in (f"Source: {self.source}.", *self.notes))
        return (
            f"<table>\n<caption><b>{html.escape(self.title)}</b></caption>\n"
            f"<thead>{head}</thead>\n<tbody>{body}</tbody>\n</table>\n<p><small>{below}</small></p>"
        )

    def __repr__(self) -> str:
        return f"{self.title} ({len(self.rows)} rows). {self.source}"

    _repr_markdown_, _repr_html_ = markdown, html

    def _known(self, column: str) -> None:
        if column not in self.columns:
            raise UserError(
                f"{self.name} has no column {column!r}", f"it has: {', '.join(self.columns)}"
            )


@dataclass(frozen=True)
class Description:
    """What a file of figures does not say itself."""

    title: str
    sources: tuple[tuple[str, str], ...]
    """(name in PAPERS, number of the table)."""
    words: str
    """Columns that hold words, with semicolons between; all others hold numbers."""
    notes: tuple[str, ...] = ()


DESCRIPTIONS = {
    "model_families": Description(
        "What models are trained on, and what they can do",
        (("FLAVA", "Table 1"),),
        "model; public data; pretraining data; pairs; contrastive; image-text matching; masking; "
        "unimodal objective; vision; cross-modal; multimodal; language",
        (
            "Cross-modal: picture against text, as in retrieval. Multimodal: both at once, as in "
            "questions about a picture. Empty: no, or not stated.",
        ),
    ),
    "pmd": Description(
        "PMD, the public pairs that FLAVA is trained on",
        (("FLAVA", "Table 2"),),
        "data set",
        ("Pairs in millions. Pictures and texts without a partner are not counted here.",),
    ),
    "comparison": Description(
        "Models side by side",
        (("FLAVA", "Table 5"),),
        "model; public data; MRPC acc/F1; QQP acc/F1",
        (
            "In percent. The marks of the original (who measured a number, and how) are left out. "
            "FLAVA's and CLIP's numbers differ a little from those of the paper's Table 4: compare "
            "inside one table only.",
        ),
    ),
    "flava_ablation": Description(
        "FLAVA with and without its parts",
        (("FLAVA", "Table 4"),),
        "domain; data set; protocol",
        (
            "In percent.",
            "Known misprints: QQP of “w/o init” is 98.61 here and 88.60 in the paper's appendix, "
            "which is what its average of 75.55 needs. The vision average of “CLIP (PMD)” is "
            "printed as 76.12; its rows give 76.09.",
        ),
    ),
    "albef_ablation": Description(
        "ALBEF with and without its parts",
        (("ALBEF", "Table 1"),),
        "pretraining images; training tasks",
        ("In percent. TR and IR: mean of R@1, R@5 and R@10 for texts and for pictures.",),
    ),
    "flickr_zero_shot": Description(
        "Retrieval on Flickr30K without training on it",
        (("ALBEF", "Table 3"),),
        "method; pretraining images",
        (
            "In percent. TR: find the text for a picture; IR: find the picture for a text; R@k: "
            "the right one is among the first k. ALBEF's network was fine-tuned on COCO first. "
            "ALIGN's pairs are 1.2B here and 1.8B in FLAVA's Table 1.",
        ),
    ),
}
"""Name of the file -> what belongs to it."""


@lru_cache
def table(name: str) -> Table:
    """One published table by its name in DESCRIPTIONS.

    Raises UserError for another name, DataError for a file that is missing or damaged.
    """
    if name not in DESCRIPTIONS:
        raise UserError(
            f"no published table is called {name!r}", f"there are: {', '.join(DESCRIPTIONS)}"
        )
    about, path = DESCRIPTIONS[name], FOLDER / f"{name}.csv"
    words = set(about.words.split("; "))
    try:
        with path.open(encoding="utf8", newline="") as file:
            header, *lines = csv.reader(file)
        rows = tuple(
            {key: read(cell, key in words) for key, cell in zip(header, line, strict=True)}
            for line in lines
        )
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}", f"restore the file {path.name}") from error
    decimals = {
        key: max(len(line[position].partition(".")[2]) for line in lines)
        for position, key in enumerate(header)
        if key not in words
    }
    sources = tuple((PAPERS[paper], place) for paper, place in about.sources)
    return Table(name, about.title, sources, about.notes, tuple(header), rows, decimals)


def read(cell: str, is_word: bool) -> Cell:
    """A cell of a file: None if it is empty. ValueError where a number is due and none stands."""
    if not cell:
        return None
    return cell if is_word else float(cell)

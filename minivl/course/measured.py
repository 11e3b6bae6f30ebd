"""What minivl itself measured for the course, beside what the papers published.

    python -m minivl.course.measured RUNS

reads the finished runs RUNS/full, RUNS/mim, ... of FLAVA's ablation and writes their numbers into
the table that lesson 07 shows. A cell is empty where nothing was measured.
"""

import argparse
import csv
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minivl.errors import DataError, UserError

FOLDER = Path(__file__).with_suffix("")
ABLATION = FOLDER / "flava_ablation_tiny.csv"

VARIANTS = {
    "MIM": "--objectives mim --pretraining dino mim",
    "MLM": "--objectives mlm --pretraining mlm",
    "FLAVA_C": "--objectives contrastive --pretraining",
    "FLAVA_MM": "--objectives contrastive itm mmm_image mmm_text --pretraining",
    "w/o init": "--pretraining",
    "full": "",
}
"""Row of the paper's table 4 -> what to add to `minivl train flava`."""

METRICS = {
    "retrieval_r1": "validation/retrieval/image_to_text_r1",
    "itm_random": "validation/itm/random",
    "itm_mirrored": "validation/itm/mirrored",
    "mmm_text": "validation/mmm_text/accuracy",
    "mmm_image": "validation/mmm_image/accuracy",
    "mim": "validation/mim_head/accuracy",
    "mlm": "glosses/mlm_head/accuracy",
    "knn": "validation/image_knn/accuracy",
}
"""Column -> key in a run's eval.json."""

EMPTY = "not measured"

Row = Mapping[str, float | None]


def folder_of(variant: str) -> str:
    """Name of a variant's run: "w/o init" -> "without_init"."""
    return variant.lower().replace("w/o ", "without_")


def command(variant: str, runs: str = "runs/ablation") -> str:
    """What to type to train one variant."""
    words = f"minivl train flava --size tiny {VARIANTS[variant]}".rstrip()
    return f"{words} --out {runs}/{folder_of(variant)}"


@dataclass(frozen=True, repr=False)
class Ablation:
    """FLAVA's ablation at size tiny; shows itself in Jupyter."""

    rows: Mapping[str, Row]
    """Variant -> column -> share of right answers, None where nothing was measured."""

    @property
    def complete(self) -> bool:
        """Whether each variant was measured at all."""
        return all(any(v is not None for v in row.values()) for row in self.rows.values())

    def text(self, variant: str, column: str) -> str:
        """A cell: per cent, "–" where the variant cannot do it, or "not measured"."""
        row = self.rows[variant]
        if row[column] is not None:
            return f"{100 * row[column]:.1f}"
        return "–" if any(value is not None for value in row.values()) else EMPTY

    def markdown(self) -> str:
        """The table in Markdown."""
        lines = [["variant", *METRICS], [":--", *["--:"] * len(METRICS)]]
        lines += [[name, *(self.text(name, column) for column in METRICS)] for name in self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def html(self) -> str:
        """The table in HTML."""
        head = "".join(f"<th>{name}</th>" for name in ("variant", *METRICS))
        body = "".join(
            f'<tr><td align="left">{html.escape(name)}</td>'
            + "".join(f'<td align="right">{self.text(name, c)}</td>' for c in METRICS)
            + "</tr>"
            for name in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def __repr__(self) -> str:
        known = sum(any(v is not None for v in row.values()) for row in self.rows.values())
        return f"FLAVA's ablation at size tiny: {known} of {len(self.rows)} variants measured"

    _repr_markdown_, _repr_html_ = markdown, html


def ablation(path: Path = ABLATION) -> Ablation:
    """The table of a file. DataError where it is missing, or no such table."""
    try:
        with path.open(encoding="utf8", newline="") as file:
            lines = list(csv.DictReader(file))
        rows = {
            line["variant"]: {c: float(line[c]) if line[c] else None for c in METRICS}
            for line in lines
        }
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}", f"restore the file {path.name}") from error
    if list(rows) != list(VARIANTS):
        raise DataError(f"{path} has the rows {list(rows)}", f"there must be {list(VARIANTS)}")
    return Ablation(rows)


def measured(run: Path) -> Row:
    """What a finished run measured, by column. UserError if it was not evaluated."""
    file = run / "eval.json"
    if not file.is_file():
        raise UserError(f"{run} has no eval.json", f"finish it, or run: minivl eval {run}")
    found = json.loads(file.read_text(encoding="utf-8"))
    return {
        column: round(found[key]["value"], 4) if key in found else None
        for column, key in METRICS.items()
    }


def write(rows: Mapping[str, Row], path: Path = ABLATION) -> None:
    """Write a table."""
    with path.open("w", encoding="utf8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["variant", *METRICS])
        for name, row in rows.items():
            out.writerow([name, *("" if row[c] is None else row[c] for c in METRICS)])


def main(arguments: Sequence[str] | None = None, path: Path = ABLATION) -> None:
    """Fill in what the runs in a folder measured; others stay as they were."""
    parser = argparse.ArgumentParser(
        prog="python -m minivl.course.measured",
        description="Write the numbers of FLAVA's ablation runs into lesson 07's table.",
    )
    parser.add_argument("runs", type=Path, help="the folder that holds full/, mim/, mlm/, ...")
    runs = parser.parse_args(arguments).runs
    rows = dict(ablation(path).rows)
    there = [name for name in VARIANTS if (runs / folder_of(name)).is_dir()]
    if not there:
        raise UserError(f"{runs} holds no run of the ablation", f"train one: {command('full')}")
    write(rows | {name: measured(runs / folder_of(name)) for name in there}, path)
    print(f"{path.name}: {', '.join(there)}")


if __name__ == "__main__":
    main()

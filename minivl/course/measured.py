"""What minivl itself measured for the course, beside what the papers published.

    python -m minivl.course.measured RUNS [--of albef]

reads the finished runs RUNS/full, RUNS/mim, ... of an ablation, FLAVA's unless told, and writes
their numbers into the table that lesson 07, 08, 09 or 10 shows. A cell is empty where nothing was
measured.
"""

import argparse
import csv
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from minivl.data.unit_tasks import BOXES, TASKS
from minivl.errors import DataError, UserError
from minivl.recipes.unit import UnitRecipe

FOLDER = Path(__file__).with_suffix("")

Row = Mapping[str, float | None]


@dataclass(frozen=True)
class Study:
    """An ablation: which trainings it compares, by which numbers."""

    recipe: str
    """What is trained."""
    title: str
    variants: Mapping[str, str]
    """Row of the paper's table -> what to add to `minivl train RECIPE`."""
    metrics: Mapping[str, str]
    """Column -> key in a run's eval.json."""
    runs: str = "runs/ablation"
    """Where its runs go unless told."""
    folders: Mapping[str, str] = field(default_factory=dict)
    """Row -> name of its run, where it is not the row's own name."""
    table: str = "ablation"
    """What its file is called, between the recipe and the size."""
    recipes: Mapping[str, str] = field(default_factory=dict)
    """Row -> what is trained, where it is another recipe."""
    each: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Row -> the runs that it is made of, if several: name -> what to add for this one."""

    @property
    def path(self) -> Path:
        """The table's file."""
        return FOLDER / f"{self.recipe}_{self.table}_tiny.csv"

    def folder_of(self, variant: str) -> str:
        """Name of a variant's run: "w/o init" -> "without_init"."""
        return self.folders.get(variant, variant.lower().replace("w/o ", "without_"))

    def recipe_of(self, variant: str) -> str:
        """What a variant trains."""
        return self.recipes.get(variant, self.recipe)

    def runs_of(self, variant: str) -> dict[str, str]:
        """Name of each run of a variant -> what to add to `minivl train RECIPE`."""
        folder, flags = self.folder_of(variant), self.variants[variant]
        if variant not in self.each:
            return {folder: flags}
        return {
            f"{folder}_{name.replace('-', '_')}": f"{more} {flags}".strip()
            for name, more in self.each[variant].items()
        }

    def commands(self, variant: str, runs: str | None = None) -> list[str]:
        """What to type to train a variant, a line for each of its runs."""
        start, folder = f"minivl train {self.recipe_of(variant)} --size tiny", runs or self.runs
        return [
            f"{start} {flags}".rstrip() + f" --out {folder}/{name}"
            for name, flags in self.runs_of(variant).items()
        ]

    def command(self, variant: str, runs: str | None = None) -> str:
        """What to type to train a variant; of several runs the first."""
        return self.commands(variant, runs)[0]


FLAVA = Study(
    "flava",
    "FLAVA's ablation",
    variants={
        "MIM": "--objectives mim --pretraining dino mim",
        "MLM": "--objectives mlm --pretraining mlm",
        "FLAVA_C": "--objectives contrastive --pretraining",
        "FLAVA_MM": "--objectives contrastive itm mmm_image mmm_text --pretraining",
        "w/o init": "--pretraining",
        "full": "",
    },
    metrics={
        "retrieval_r1": "validation/retrieval/image_to_text_r1",
        "itm_random": "validation/itm/random",
        "itm_mirrored": "validation/itm/mirrored",
        "mmm_text": "validation/mmm_text/accuracy",
        "mmm_image": "validation/mmm_image/accuracy",
        "mim": "validation/mim_head/accuracy",
        "mlm": "glosses/mlm_head/accuracy",
        "knn": "validation/image_knn/accuracy",
    },
)
"""Rows: Singh et al. 2022, table 4."""

ALBEF = Study(
    "albef",
    "ALBEF's ablation",
    variants={
        "MLM + ITM": "--objectives itm mlm --negatives random --distill",
        "ITC + MLM + ITM": "--negatives random --distill",
        "ITC + MLM + ITM_hard": "--distill",
        "ITC_MoD + MLM + ITM_hard": "--distill itc",
        "Full (ITC_MoD + MLM_MoD + ITM_hard)": "",
    },
    metrics={
        "retrieval_r1": "validation/retrieval/image_to_text_r1",
        "reranked_r1": "validation/reranked/image_to_text_r1",
        "itm_random": "validation/itm/random",
        "itm_mirrored": "validation/itm/mirrored",
        "masked_thing": "validation/masked_thing/accuracy",
    },
    runs="runs/albef_ablation",
    folders={
        "MLM + ITM": "mlm_itm",
        "ITC + MLM + ITM": "with_itc",
        "ITC + MLM + ITM_hard": "with_hard",
        "ITC_MoD + MLM + ITM_hard": "with_itc_mod",
        "Full (ITC_MoD + MLM_MoD + ITM_hard)": "full",
    },
)
"""Rows: Li et al. 2021, table 1, but for distillation downstream."""

NOISES = {"clean": 0, "20 % wrong": 20, "40 % wrong": 40}
"""How a row is called -> per cent of the captions that are another picture's."""

ALBEF_NOISE = Study(
    "albef",
    "ALBEF with noisy captions",
    variants={
        f"{name}, {how}": f"--noise.wrong {wrong / 100:g} {flags}".rstrip()
        for name, wrong in NOISES.items()
        for how, flags in (("labels alone", "--distill"), ("distilled", ""))
    },
    metrics=ALBEF.metrics,
    runs="runs/albef_noise",
    folders={
        f"{name}, {how}": f"{folder}_{how.partition(' ')[0]}"
        for name, folder in zip(NOISES, ("clean", "noisy", "noisier"), strict=True)
        for how in ("labels alone", "distilled")
    },
    table="noise",
)
"""With and without the momentum twin's soft targets (Li et al. 2021, section 3.3)."""

ALBEF_CROWDED = Study(
    "albef",
    "ALBEF on three or four things a picture, with eight numbers to sum them up",
    variants={
        f"seed {seed}": f"--data.objects 3 4 --embed-dim 8 --steps 1200 --seed {seed}"
        for seed in range(3)
    },
    metrics={
        "similarity": "validation/retrieval/image_to_text_r1",
        "reranked": "validation/reranked/image_to_text_r1",
        "similarity, same things": "validation/rearranged/image_to_text_r1",
        "fusion, same things": "validation/rearranged_by_fusion/image_to_text_r1",
    },
    runs="runs/albef_crowded",
    folders={f"seed {seed}": f"seed_{seed}" for seed in range(3)},
    table="crowded",
)
"""R@1 of any pictures, and of the same things in four arrangements; what a summary cannot hold."""

LABELS = (640, 6_400, 64_000)
"""Labelled questions: a hundredth, a tenth, and all that 1,000 steps of 64 can read."""

FROM_LABELS = {
    "UniT": "--tasks scene-vqa --scene-vqa.batch-size 64 --steps 1000 --evaluation.questions 2048",
    "FLAVA from noise": "--run runs/flava_tiny --no-pretrained",
    "FLAVA pretrained": "--run runs/flava_tiny",
}
"""How a row begins -> how to train it on questions about pictures."""

UNIT_LABELS = Study(
    "unit",
    "UniT and FLAVA with fewer labels",
    variants={
        f"{name}, {count:,}": f"{flags} --labels {count}"
        for count in LABELS
        for name, flags in FROM_LABELS.items()
    },
    metrics={
        "known artists": "validation/scene-vqa/accuracy",
        "an artist never seen": "twemoji/scene-vqa/accuracy",
        "pairs never seen": "compositions/scene-vqa/accuracy",
    },
    runs="runs/unit_labels",
    folders={
        f"{name}, {count:,}": f"{name.lower().replace(' ', '_')}_{count}"
        for count in LABELS
        for name in FROM_LABELS
    },
    table="labels",
    recipes={
        f"{name}, {count:,}": "finetune"
        for count in LABELS
        for name in FROM_LABELS
        if name != "UniT"
    },
)
"""Right answers to questions about pictures, by labelled questions; what pretraining is worth."""

TOGETHER = UnitRecipe.at_size("tiny")
"""All eight tasks by one model, each as often as its share says."""

ALONE = {
    task: f"--tasks {task} --steps {round(TOGETHER.training.steps * TOGETHER.settings(task).share)}"
    for task in TASKS
}
"""Each task by a model of its own, that reads as many examples of it."""

DECODERS = {"alone": "", "together": "", "together, a decoder each": "--decoder.no-shared"}

UNIT_TASKS = Study(
    "unit",
    "UniT's tasks alone and together",
    variants={
        f"{how}, seed {seed}": f"{flags} --seed {seed}".strip()
        for how, flags in DECODERS.items()
        for seed in range(3)
    },
    metrics={
        task: f"validation/{task}/{'ap50' if task in BOXES else 'accuracy'}" for task in TASKS
    },
    runs="runs/unit_tasks",
    folders={
        f"{how}, seed {seed}": f"{how.replace(',', '').replace(' ', '_')}_{seed}"
        for how in DECODERS
        for seed in range(3)
    },
    table="tasks",
    each={f"alone, seed {seed}": ALONE for seed in range(3)},
)
"""Hu and Singh 2021, tables 2 and 3: one model against eight, one decoder against eight."""

STUDIES = {
    "flava": FLAVA,
    "albef": ALBEF,
    "albef_noise": ALBEF_NOISE,
    "albef_crowded": ALBEF_CROWDED,
    "unit_labels": UNIT_LABELS,
    "unit_tasks": UNIT_TASKS,
}
ABLATION, VARIANTS, METRICS = FLAVA.path, FLAVA.variants, FLAVA.metrics

EMPTY = "not measured"


def command(variant: str, study: Study = FLAVA) -> str:
    """What to type to train one variant."""
    return study.command(variant)


@dataclass(frozen=True, repr=False)
class Ablation:
    """An ablation at size tiny; shows itself in Jupyter."""

    rows: Mapping[str, Row]
    """Variant -> column -> share of right answers, None where nothing was measured."""
    study: Study = FLAVA

    @property
    def complete(self) -> bool:
        """Whether each variant was measured at all."""
        return all(any(v is not None for v in row.values()) for row in self.rows.values())

    def select(self, variants: Sequence[str]) -> "Ablation":
        """The table with these rows only."""
        return replace(self, rows={name: self.rows[name] for name in variants})

    def text(self, variant: str, column: str) -> str:
        """A cell: per cent, "–" where the variant cannot do it, or "not measured"."""
        row = self.rows[variant]
        if row[column] is not None:
            return f"{100 * row[column]:.1f}"
        return "–" if any(value is not None for value in row.values()) else EMPTY

    def markdown(self) -> str:
        """The table in Markdown."""
        columns = self.study.metrics
        lines = [["variant", *columns], [":--", *["--:"] * len(columns)]]
        lines += [[name, *(self.text(name, column) for column in columns)] for name in self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def html(self) -> str:
        """The table in HTML."""
        columns = self.study.metrics
        head = "".join(f"<th>{name}</th>" for name in ("variant", *columns))
        body = "".join(
            f'<tr><td align="left">{html.escape(name)}</td>'
            + "".join(f'<td align="right">{self.text(name, c)}</td>' for c in columns)
            + "</tr>"
            for name in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def __repr__(self) -> str:
        known = sum(any(v is not None for v in row.values()) for row in self.rows.values())
        title = f"{self.study.title} at size tiny"
        return f"{title}: {known} of {len(self.rows)} variants measured"

    _repr_markdown_, _repr_html_ = markdown, html


def ablation(path: Path | None = None, study: Study = FLAVA) -> Ablation:
    """The table of a file, the study's own unless told. DataError where it is missing, or no such
    table."""
    path = path or study.path
    try:
        with path.open(encoding="utf8", newline="") as file:
            lines = list(csv.DictReader(file))
        rows = {
            line["variant"]: {c: float(line[c]) if line[c] else None for c in study.metrics}
            for line in lines
        }
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}", f"restore the file {path.name}") from error
    if list(rows) != list(study.variants):
        what = f"{path} has the rows {list(rows)}"
        raise DataError(what, f"there must be {list(study.variants)}")
    return Ablation(rows, study)


def measured(runs: Sequence[Path], study: Study = FLAVA) -> Row:
    """What a variant's finished runs measured, by column. UserError if one was not evaluated."""
    found: dict[str, Any] = {}
    for run in runs:
        file = run / "eval.json"
        if not file.is_file():
            raise UserError(f"{run} has no eval.json", f"finish it, or run: minivl eval {run}")
        found |= json.loads(file.read_text(encoding="utf-8"))
    return {
        column: round(found[key]["value"], 4) if key in found else None
        for column, key in study.metrics.items()
    }


def write(rows: Mapping[str, Row], path: Path | None = None, study: Study = FLAVA) -> None:
    """Write a table, the study's own unless told."""
    with (path or study.path).open("w", encoding="utf8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["variant", *study.metrics])
        for name, row in rows.items():
            out.writerow([name, *("" if row[c] is None else row[c] for c in study.metrics)])


def main(arguments: Sequence[str] | None = None, path: Path | None = None) -> None:
    """Fill in what the runs in a folder measured; others stay as they were."""
    parser = argparse.ArgumentParser(
        prog="python -m minivl.course.measured",
        description="Write the numbers of an ablation's runs into the table of its lesson.",
    )
    parser.add_argument("runs", type=Path, help="the folder that holds full/ and the other runs")
    parser.add_argument("--of", choices=STUDIES, default="flava", help="whose ablation (flava)")
    chosen = parser.parse_args(arguments)
    runs, study = chosen.runs, STUDIES[chosen.of]
    rows: dict[str, Row] = {name: dict.fromkeys(study.metrics) for name in study.variants}
    if (path or study.path).is_file():
        rows |= ablation(path, study).rows
    found = {
        name: [runs / run for run in study.runs_of(name) if (runs / run).is_dir()]
        for name in study.variants
    }
    there = {name: folders for name, folders in found.items() if folders}
    if not there:
        first = study.command(next(reversed(study.variants)))
        raise UserError(f"{runs} holds no run of the ablation", f"train one: {first}")
    for name, folders in there.items():
        rows[name] = measured(folders, study)
    write(rows, path, study)
    print(f"{(path or study.path).name}: {', '.join(there)}")


if __name__ == "__main__":
    main()

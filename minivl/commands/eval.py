"""`minivl eval RUN`: measure the newest intact checkpoint again, or on pictures of your own."""

import argparse
import time
from pathlib import Path
from typing import Any

from minivl.commands.parser import Parser, did_you_mean
from minivl.commands.runs import Trained, load_model, open_run
from minivl.errors import UserError

DESCRIPTION = """\
Measures a trained run again: its newest checkpoint whose checksums hold, on the same questions.
Prints the table, and brings eval.json and report.html up to date.

With --pairs, retrieval on real pictures instead, by a run of clip, flava, albef or retrieval: the
test sets of COCO and Flickr30k in the form of ALBEF's repository, a JSON list of
  {"image": "val2014/COCO_val2014_000000391895.jpg", "caption": ["A man ...", "...", ...]}
R@1, R@5 and R@10 both ways, by similarity, and of ALBEF with the most similar ranked anew by the
matching head. Pictures become squares of the run's size, bicubic; captions are cleaned as ALBEF's
code does it where texts have no [SEP] (--text.separator false), as its weights and size base have
it. What cannot be read is left out, counted and listed. Keys in eval.json begin with the file's
name.

With --boxes, the average precision of the boxes that a run of unit finds in any folder in COCO's
format, such as instances_val2017.json and the pictures of val2017: AP, AP50, AP75, and AP by size.
The run's first task with boxes is asked. Classes are those of the same name ("Dog" is "dog"); boxes
of others are left out, counted and named, and so is a picture that cannot be read.
"""

EXAMPLES = """\
examples
  minivl eval runs/clip_tiny
  minivl eval runs/clip_tiny --task zeroshot      print and store only this task
  minivl eval runs/albef_coco --pairs coco_test.json --images coco --reranked 256
  minivl eval runs/albef_flickr --pairs flickr30k_test.json --images flickr30k --reranked 128
  minivl eval runs/unit_tiny --boxes my_boxes.json --images my_pictures
  minivl eval runs/unit_coco --boxes instances_val2017.json --images val2017
"""

RERANKED = 256
"""How many ALBEF fuses of COCO's; of Flickr30k's 128."""
SHOWN = 5
"""How many of what is left out are printed."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    parser = Parser("eval", DESCRIPTION, EXAMPLES)
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--task", nargs="+", default=[], metavar="TASK", help="only these tasks")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="where to compute"
    )
    parser.add_argument("--pairs", type=Path, metavar="FILE", help="pictures with captions: a JSON "
                        "list")  # fmt: skip
    parser.add_argument("--boxes", type=Path, metavar="FILE", help="pictures with boxes: a JSON "
                        "file of COCO's form")  # fmt: skip
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="where their paths begin "
                        "(the folder of FILE)")  # fmt: skip
    parser.add_argument("--reranked", type=int, metavar="K", help="how many of the most similar "
                        f"pairs ALBEF ranks anew ({RERANKED}); 0: none")  # fmt: skip
    chosen = parser.parse_args(arguments)
    check_flags(chosen)
    trained = open_run(chosen.run)
    if chosen.boxes is not None:
        from minivl.commands.eval_boxes import on_boxes

        return on_boxes(trained, chosen)
    if chosen.pairs is not None:
        return on_pairs(trained, chosen)
    check_tasks(chosen.task, trained.run.evaluation())  # wrong names fail before the work
    metrics = evaluate(trained, chosen.device)
    check_tasks(chosen.task, metrics)
    metrics = {
        key: value
        for key, value in metrics.items()
        if not chosen.task or task_of(key) in chosen.task
    }
    trained.run.update_evaluation(metrics)
    finish(trained, metrics)
    return 0


def check_flags(chosen: argparse.Namespace) -> None:
    """UserError for flags that do not go together."""
    if chosen.pairs is not None and chosen.boxes is not None:
        raise UserError("--pairs and --boxes are measured apart", "leave out one of them")
    if chosen.pairs is None and chosen.reranked is not None:
        raise UserError("--reranked is for pairs of your own", "add --pairs FILE, or leave it")
    if chosen.pairs is None and chosen.boxes is None and chosen.images is not None:
        raise UserError(
            "--images is for pairs of your own, or boxes",
            "add --pairs FILE or --boxes FILE, or leave it",
        )


def evaluate(trained: Trained, device: str) -> dict:
    """The metrics of every stage that has an evaluation and a checkpoint."""
    import torch

    from minivl.training.device import choose_device
    from minivl.training.randomness import seed_everything

    metrics = {}
    for stage in trained.stages:
        if stage.evaluate is None:
            continue
        where = choose_device(device)
        model, path = load_model(stage, trained.run, where)
        print(f"evaluating {path}")
        step = int(path.name.removeprefix("step-"))
        seed_everything(trained.run.seed, stage.name, step, "evaluate")
        with torch.no_grad():
            metrics |= stage.evaluate(model, where)
    if not metrics:
        raise UserError(f"the recipe {trained.name} has no evaluation", "see `minivl train --help`")
    return metrics


def task_of(key: str) -> str:
    """The task in a key of eval.json: twemoji/retrieval/image_to_text_r1 -> retrieval."""
    parts = key.split("/")
    return parts[1] if len(parts) > 2 else parts[0]


def check_tasks(asked: list[str], metrics: dict) -> None:
    """UserError for a task that none of the metrics belongs to; accepts all if there are none."""
    known = sorted({task_of(key) for key in metrics})
    for task in asked:
        if known and task not in known:
            raise UserError(f"there is no task {task!r}", did_you_mean(task, known))


def finish(trained: Trained, metrics: dict) -> None:
    """Rewrite the report and print the table."""
    from minivl.evaluation.table import names_alone, table
    from minivl.training.run import as_json
    from minivl.visualize.report import write_report

    write_report(trained.run.folder, names_alone())
    print(table({key: as_json(value) for key, value in metrics.items()}))
    print(f"report   {trained.run.report}")


# Pairs in files.


def on_pairs(trained: Trained, chosen: argparse.Namespace) -> int:
    """Retrieval on the pairs of a file: measured, printed, in eval.json and in the report."""
    from minivl.data import pair_files
    from minivl.data.official_text import RETRIEVAL_LENGTH, OfficialWordPiece
    from minivl.evaluation.pair_files import evaluate_pairs, unknown
    from minivl.evaluation.table import names_alone
    from minivl.training.device import choose_device
    from minivl.training.monitor import say
    from minivl.visualize.report import write_report

    if chosen.task:
        raise UserError("--task is for scenes: pairs are retrieved", "leave out --task or --pairs")
    folder = chosen.pairs.parent if chosen.images is None else chosen.images
    pairs = pair_files.read(chosen.pairs, folder)
    source = source_of(trained)
    where = choose_device(chosen.device)
    model, path = load_model(trained.stages[-1], trained.run, where)
    say(f"evaluating {path}")
    longest = source.data.max_length
    if isinstance(source.text, OfficialWordPiece):
        longest = min(RETRIEVAL_LENGTH, model.text_encoder.pos_embed.num_embeddings)
    lacking = unknown(source.text, pairs)
    if lacking:
        say(f"{lacking:.1%} of the captions' words are unknown to this run")
    found, left_out = evaluate_pairs(
        model,
        source.text,
        pairs,
        where,
        side=source.data.image_size,
        longest=longest,
        reranked=anew(model, chosen.reranked),
        progress=Watch(),
    )
    metrics = {f"{pairs.name}/{key}": metric for key, metric in found.items()}
    trained.run.update_evaluation(metrics)
    write_report(trained.run.folder, names_alone())
    tell_left_out(pairs.name, left_out, trained.run.folder / f"left_out_{pairs.name}.txt")
    print(recalls(pairs.name, found))
    print(f"report   {trained.run.report}")
    return 0


def source_of(trained: Trained) -> Any:
    """The words and the picture size of a run in which pictures meet sentences."""
    from minivl.commands import show
    from minivl.recipes import ASKABLE

    objectives = getattr(trained.recipe, "objectives", ("contrastive",))
    if trained.name not in ASKABLE or not {"contrastive", "itc"} & set(objectives):
        raise UserError(
            f"{trained.run.folder} cannot say how similar a picture and a sentence are",
            f"name a run of {' or '.join(ASKABLE)} with its contrastive objective",
        )
    return show.source_of(trained)


def anew(model: Any, asked: int | None) -> int:
    """How many candidates are ranked anew: of ALBEF with its matching head, else none."""
    ranks = hasattr(model, "fusion_encoder") and "itm" in model.objectives
    if asked is not None and asked < 0:
        raise UserError(f"--reranked is {asked}", "give 0 or more")
    if asked and not ranks:
        raise UserError(
            "--reranked needs ALBEF's matching head, which this run has not trained",
            "leave it out: similarity alone is measured",
        )
    return (RERANKED if asked is None else asked) if ranks else 0


def tell_left_out(name: str, left_out: list[str], file: Path) -> None:
    """Print how much is missing, and write all of it to a file of the run."""
    from minivl.training.run import write_text

    file.unlink(missing_ok=True)  # of an evaluation before
    if left_out:
        write_text(file, "".join(f"{line}\n" for line in left_out))
        print(f"left out of {name}: {len(left_out):,}, all of them in {file}")
        print("".join(f"  {line}\n" for line in left_out[:SHOWN]), end="")


def recalls(name: str, metrics: dict) -> str:
    """R@1, R@5 and R@10 in %, both ways, a line for each way of ranking."""
    from minivl.evaluation.table import percent

    ways = {"TR": "image_to_text", "IR": "text_to_image"}
    counts = [metrics[f"retrieval/{way}_r1"].n for way in ways.values()]
    heads = "".join(f"{f'{short} R@{k}':>9}" for short in ways for k in (1, 5, 10))
    lines = [f"{name}: {counts[0]:,} pictures, {counts[1]:,} captions", f"{'%':18}{heads}"]
    for stage, label in (("retrieval", "by similarity"), ("reranked", "ranked by fusion")):
        cells = [metrics.get(f"{stage}/{way}_r{k}") for way in ways.values() for k in (1, 5, 10)]
        if None not in cells:
            lines.append(f"{label:18}" + "".join(f"{100 * cell.value:9.1f}" for cell in cells))
    chances = [metrics[f"retrieval/{way}_r{k}"].chance for way in ways.values() for k in (1, 5, 10)]
    lines.append(f"{'by chance':18}" + "".join(f"{percent(chance):>9}" for chance in chances))
    return "\n".join(lines)


class Watch:
    """Says every few seconds how far a long evaluation is, and how long it will still take."""

    def __init__(self, seconds: float = 5.0):
        self.seconds, self.what = seconds, ""
        self.began = self.last = 0.0
        self.first = 0

    def __call__(self, what: str, done: int, total: int) -> None:
        """As `evaluation.pair_files.Progress`."""
        from minivl.training.monitor import clock, say

        now = time.monotonic()
        if what != self.what:
            self.what, self.began, self.last, self.first = what, now, now, done
        if done == total:
            say(f"{what} {done:,}/{total:,}")
        elif done > self.first and now - self.last >= self.seconds:
            self.last = now
            left = (now - self.began) / (done - self.first) * (total - done)
            say(f"{what} {done:,}/{total:,}  ETA {clock(left)}")

"""`minivl eval RUN`: measure the newest intact checkpoint again."""

from minivl.commands.parser import Parser, did_you_mean
from minivl.commands.runs import Trained, load_model, open_run
from minivl.errors import UserError

DESCRIPTION = """\
Measures a trained run again: its newest checkpoint whose checksums hold, on the same questions.
Prints the table, and brings eval.json and report.html up to date.
"""

EXAMPLES = """\
examples
  minivl eval runs/clip_tiny
  minivl eval runs/clip_tiny --task zeroshot      print and store only this task
"""


def main(arguments: list[str]) -> int:
    """Run the command."""
    parser = Parser("eval", DESCRIPTION, EXAMPLES)
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--task", nargs="+", default=[], metavar="TASK", help="only these tasks")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="where to compute"
    )
    chosen = parser.parse_args(arguments)
    trained = open_run(chosen.run)
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
    from minivl.evaluation.table import table
    from minivl.training.run import as_json
    from minivl.visualize.report import write_report

    write_report(trained.run.folder)
    print(table({key: as_json(value) for key, value in metrics.items()}))
    print(f"report   {trained.run.report}")

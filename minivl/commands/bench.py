"""`minivl bench`: how fast a training step runs here, and what makes it so."""

import argparse
import contextlib
import importlib
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minivl.commands.parser import Parser
from minivl.commands.runs import SIZES, check_fields, check_model, recipe_class, settings
from minivl.errors import UserError
from minivl.training.run import Run

if TYPE_CHECKING:
    from minivl.commands.measure import Variant
    from minivl.training.session import Session

DESCRIPTION = """\
Measures one training step of a recipe's last stage: samples and tokens a second, number formats,
the share of time that it waits for data, memory, and operations as a share of a measured matrix
product (MFU). Streams that take turns count by their shares. Variants take turns within one run:
their ratios hold even where another program disturbs. FLAVA's step is also measured beside that of
transformers, ALBEF's beside the same step as the paper's code computes it.
"""

EXAMPLES = """\
examples
  minivl bench                               about a minute on two CPU cores
  minivl bench clip --size base --batch-size 256 --json bench.json
  minivl bench flava                         a few minutes, beside transformers' model
  minivl bench flava --alone --steps 3
"""

RIVALS = {
    "albef": "minivl.commands.bench_albef",
    "flava": "minivl.commands.bench_flava",
}
"""Recipe -> module that compares its step with another implementation's."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    parser = Parser("bench", DESCRIPTION, EXAMPLES)
    parser.add_argument("recipe", nargs="?", default="clip", help="whose step (clip)")
    parser.add_argument("--size", choices=SIZES, default="tiny", help="at which size (tiny)")
    parser.add_argument("--batch-size", type=int, help="samples a step (the recipe's)")
    parser.add_argument("--steps", type=int, default=6, help="steps a turn (6)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each variant (3)")
    parser.add_argument("--json", type=Path, help="write the numbers into this file")
    parser.add_argument("--alone", action="store_true", help="leave out other implementations")
    chosen = parser.parse_args(arguments)
    if chosen.steps < 2 or chosen.rounds < 1:
        raise UserError("too few steps to measure", "give --steps 2 or more, --rounds 1 or more")
    result = run(chosen)
    print_result(result)
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"\nnumbers  {chosen.json}")
    return 0


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """Run all variants in turns; the numbers as they stand in --json."""
    from minivl.commands import measure
    from minivl.training.device import computing
    from minivl.training.session import begin

    recipe = recipe_class(chosen.recipe).at_size(chosen.size)
    if chosen.batch_size:
        recipe = replace(recipe, training=replace(recipe.training, batch_size=chosen.batch_size))
    check_fields(recipe)
    # What the recipe is named after; its weights are fresh, whatever stage came before.
    stage = replace(recipe.stages(0)[-1], start_from=None)
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        with contextlib.redirect_stdout(nowhere):
            session = begin(stage, Run(folder, settings(chosen.recipe, recipe, 0)), None)
        with computing(stage.training, session.device):
            measure.reset_memory(session.device)
            variants = measure.variants_of(stage.training, session.device)
            streams = stage.build_streams()
            measure.run_in_turns(session, streams, variants, chosen.steps, chosen.rounds)
            result = summarise(session, streams, variants, chosen)
    if chosen.recipe in RIVALS and not chosen.alone:
        # Not within the engine's settings: determinism is ours to want.
        rivals = importlib.import_module(RIVALS[chosen.recipe])
        result["beside"] = rivals.compare(recipe, session.device, chosen.steps, chosen.rounds)
    return result


def summarise(
    session: "Session", streams: list, variants: list["Variant"], chosen: argparse.Namespace
) -> dict[str, Any]:
    """All numbers of the benchmark."""
    from minivl.commands import estimate, measure

    memory = measure.memory_peak(session.device)  # before counting takes some of its own
    training, model = session.stage.training, session.model
    works = {stream.name: work_of(session.stage, stream) for stream in streams}
    shares = {stream.name: stream.weight for stream in streams}
    parameters = sum(p.numel() for p in model.parameters())
    peaks = {name: measure.matmul_peak(session.device, name) for name in ("float32", "bfloat16")}
    batch_size = streams[0].batch_size
    work = mean_work(works, shares)
    rows = [describe(variant, work, batch_size, peaks, shares) for variant in variants]
    if len(streams) > 1:
        # The same steps again, of the first variant, stream by stream.
        for name in shares:
            one = describe(variants[0], works[name], batch_size, peaks, {name: 1.0})
            rows.append(one | {"name": f"{variants[0].name}, {name} only"})
    for row in rows:
        row["speed_up"] = rows[0]["step_seconds"] / row["step_seconds"]
    most = max(works.values(), key=lambda one: one.activation_bytes)
    planned = estimate.memory_bytes(parameters, most, batch_size // training.accumulate)
    return {
        "recipe": chosen.recipe,
        "size": chosen.size,
        "machine": measure.machine(session.device),
        "batch_size": batch_size,
        "shares": shares,
        "parameters": parameters,
        "tokens_per_sample": work.tokens,
        "flops_per_sample": work.flops,
        "matmul_flops_per_second": peaks,
        "memory_bytes": memory,
        "memory_bytes_estimated": planned,
        "variants": rows,
    }


def work_of(stage: Any, stream: Any) -> Any:
    """What a sample of a stream costs."""
    from minivl.commands import estimate

    samples = min(stream.batch_size, 32)
    batch = stream.examples.collate([stream.examples[index] for index in range(samples)])
    return estimate.work_of(check_model(stage), batch)


def mean_work(works: dict[str, Any], shares: dict[str, float]) -> Any:
    """What a sample costs in the mean, streams by their shares."""
    from minivl.commands.estimate import Work
    from minivl.commands.measure import mixed

    return Work(
        **{
            name: mixed({stream: getattr(work, name) for stream, work in works.items()}, shares)
            for name in Work.__dataclass_fields__
        }
    )


def describe(
    variant: "Variant", work: Any, batch_size: int, peaks: dict, shares: dict[str, float]
) -> dict[str, Any]:
    """The numbers of one variant on streams that take turns by their shares."""
    seconds = variant.step_seconds(shares)
    rate = batch_size / seconds
    return {
        "name": variant.name,
        "precision": variant.precision,
        "step_seconds": seconds,
        "samples_per_second": rate,
        "tokens_per_second": rate * work.tokens,
        "flops_per_second": rate * work.flops,
        "mfu": rate * work.flops / peaks[variant.precision],
        "data_wait_share": variant.waiting(shares),
    }


def print_result(result: dict[str, Any]) -> None:
    """The numbers for people."""
    from minivl.commands.data import print_table
    from minivl.commands.estimate import human

    print(f"{result['recipe']} at size {result['size']} on {result['machine']}")
    print(
        f"{result['batch_size']} samples a step, {human(result['parameters'])} parameters, "
        f"{result['tokens_per_sample']:.0f} tokens and {human(result['flops_per_sample'], 'FLOP')} "
        "a sample"
    )
    if len(result["shares"]) > 1:
        shares = ", ".join(f"{name} {share:g}" for name, share in result["shares"].items())
        print(f"streams by their shares: {shares}")
    print()
    rows = [("step", "ms", "samples/s", "tokens/s", "speed-up", "waiting", "FLOP/s", "MFU")]
    for row in result["variants"]:
        rows.append(
            (
                row["name"],
                f"{1000 * row['step_seconds']:.1f}",
                f"{row['samples_per_second']:,.0f}",
                f"{row['tokens_per_second']:,.0f}",
                f"{row['speed_up']:.2f}",
                f"{row['data_wait_share']:.0%}",
                human(row["flops_per_second"]),
                f"{row['mfu']:.0%}",
            )
        )
    print_table(rows)
    peaks = ", ".join(
        f"{name} {human(peak, 'FLOP/s')}"
        for name, peak in result["matmul_flops_per_second"].items()
    )
    print(f"\nspeed-up against the first row; MFU against a matrix product measured here: {peaks}")
    print(
        f"memory {human(result['memory_bytes'], 'B')} at the peak "
        f"(--dry-run estimates {human(result['memory_bytes_estimated'], 'B')})"
    )
    if "beside" in result:
        importlib.import_module(RIVALS[result["recipe"]]).print_comparison(result["beside"])

"""The report of a run: one HTML file that opens offline, made from the run's folder alone.

Whatever is missing or damaged (no evaluation yet, an interrupted training, a broken picture) is
said in the report; it never stops the rest from being shown.
"""

import base64
import json
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minivl.errors import UserError
from minivl.visualize import page, results
from minivl.visualize.collapse import collapse_curves
from minivl.visualize.contents import Contents, find, read_contents, read_json
from minivl.visualize.curves import contrastive_level, loss_curves
from minivl.visualize.style import Caption, png_bytes, read_caption


def write_report(run_folder: str | Path) -> Path:
    """Write report.html into the run's folder and return its path.

    Raises UserError where the folder is not a run's.
    """
    folder = Path(run_folder)
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder} is not a run: it has no config.yaml", "name a run's folder")
    text = report_html(read_contents(folder))
    path = folder / "report.html"
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)  # a reader sees the old report or the new one
    finally:
        temporary.unlink(missing_ok=True)
    return path


def report_html(run: Contents) -> str:
    """The whole document."""
    figures = figures_html(run)  # first: it may add to the complaints
    curves = curves_html(run)
    title = run.folder.resolve().name
    parts = [
        f"<header><h1>{page.escape(title)}</h1>",
        state_html(run),
        "</header>",
        results.headlines(run.evaluation),
        "".join(page.paragraph(complaint, "bad") for complaint in run.complaints),
        page.section("Results", results_html(run)),
        page.section("Learning curves", curves),
        page.section("Pictures", figures) if figures else "",
        page.section("How this run was made", making_html(run)),
        page.section("What next", page.command("\n".join(next_commands(run)))),
        page.section("Settings", page.folded("config.yaml, as resolved", run.config_text)),
    ]
    return page.page(f"{title} – minivl report", parts)


def state_html(run: Contents) -> str:
    """Finished, or interrupted at which step."""
    done = progress(run)
    if run.summary:
        return page.paragraph(f"Finished: {done}." if done else "Finished.", "state good")
    if not run.metrics:
        return page.paragraph("No step has been logged yet.", "state bad")
    return page.paragraph(f"Not finished (interrupted, or still running): {done}.", "state bad")


def progress(run: Contents) -> str:
    """'clip 1,600 of 1,600 steps', for each stage that has begun."""
    last: dict[str, int] = {}
    for line in run.metrics:
        if isinstance(line.get("step"), int | float):
            stage = str(line.get("stage", "training"))
            last[stage] = max(last.get(stage, 0), int(line["step"]))
    total = find(run.config, "steps") if len(last) == 1 else None
    of = f" of {total:,}" if isinstance(total, int) else ""
    return ", ".join(f"{stage} {step:,}{of} steps" for stage, step in last.items())


def results_html(run: Contents) -> str:
    """The table, or what to do to get one."""
    if not run.evaluation:
        return page.paragraph("Not evaluated yet. To do it:", "muted") + page.command(
            f"minivl eval {typed(run.folder)}"
        )
    note = (
        "Read every number beside its chance level: what guessing would reach. The interval "
        "says how far another draw of n examples could have moved it."
    )
    return results.table(run.evaluation) + page.paragraph(note, "muted")


def curves_html(run: Contents) -> str:
    """The learning curves, and DINO's entropies if there are any, drawn from metrics.jsonl."""
    pictures = [loss_curves(run.metrics, levels=levels(run.config))]
    outputs = find(run.config, "outputs")
    if isinstance(outputs, int) and any("mutual_information" in line for line in run.metrics):
        pictures.append(collapse_curves({"this run": run.metrics}, outputs))
    parts = []
    for number, picture in enumerate(pictures):
        words = picture.caption
        title = words.title if number else ""  # the section names the first
        parts.append(
            page.figure(data_uri(png_bytes(picture)), (title, words.alt, words.text), 1000)
        )
    return "\n".join(parts)


def levels(config: Mapping[str, Any]) -> dict[str, tuple[float, str]]:
    """Where the losses of an untrained model stand, as far as the settings tell."""
    batch, parts = find(config, "batch_size"), find(config, "accumulate") or 1
    if not isinstance(batch, int) or not isinstance(parts, int) or batch // parts < 2:
        return {}
    level = contrastive_level(batch // parts)
    return {"contrastive": level, "global_contrastive": level}


def figures_html(run: Contents) -> str:
    """Every picture in figures/, with the caption it carries or that captions.json has for it."""
    folder = run.folder / "figures"
    captions = read_json(folder / "captions.json", run.complaints)
    parts = []
    for path in sorted(folder.glob("*.png"), key=lambda path: path.name):
        try:
            words = read_caption(path)
            picture = path.read_bytes()
        except (OSError, SyntaxError, ValueError):  # Pillow's words for a broken PNG
            run.complaints.append(f"figures/{path.name} is no readable picture and was left out.")
            continue
        words = caption_of(path, words, captions.get(path.stem))
        width = int.from_bytes(picture[16:20], "big")  # PNG: the header begins with the width
        parts.append(page.figure(data_uri(picture), (words.title, words.alt, words.text), width))
    return "\n".join(parts)


def caption_of(path: Path, words: Caption, given: Any) -> Caption:
    """captions.json before the picture's own words before its name."""
    given = given if isinstance(given, dict) else {}
    name = path.stem.replace("_", " ").capitalize()
    title = str(given.get("title") or words.title or name)
    alt = str(given.get("alt") or words.alt or title)
    return Caption(title, alt, str(given.get("text") or words.text))


def making_html(run: Contents) -> str:
    """The command, the time it took, and what it ran on."""
    made_by = first_of(run, "command")
    parts = [page.command(made_by)] if made_by else []
    rows = [(name, value) for name, value in run.environment.items() if name != "command"]
    rows += [(n, v) for n, v in run.summary.items() if n != "command" and not nested(v)]
    stages = run.summary.get("stages", {})
    for stage, took in stages.items() if isinstance(stages, dict) else ():
        rows.append((f"stage {stage}", taken(took) if isinstance(took, dict) else took))
    if run.skipped:
        rows.append(("samples skipped", f"{run.skipped:,} (skipped.jsonl says which and why)"))
    seed = find(run.config, "seed")
    rows += [("seed", seed)] if seed is not None else []
    rows = [(name.replace("_", " "), value) for name, value in rows if not nested(value)]
    missing = page.paragraph("The run recorded no environment.", "muted")
    return "\n".join([*parts, page.pairs(rows) if rows else missing])


def nested(value: Any) -> bool:
    """Whether a value is more than a word or a number."""
    return isinstance(value, dict | list)


def taken(took: Mapping[str, Any]) -> str:
    """What a stage took: '1,600 steps in 2 min 31 s, 1,356 samples/s, waiting for data 1 %'."""
    parts = []
    if results.known(took, "steps") and results.known(took, "seconds"):
        parts.append(f"{took['steps']:,} steps in {duration(took['seconds'])}")
    if results.known(took, "samples_per_second"):
        parts.append(f"{took['samples_per_second']:,.0f} samples/s")
    if results.known(took, "data_wait_share"):
        parts.append(f"waiting for data {100 * took['data_wait_share']:.1f} % of the time")
    return ", ".join(parts) or json.dumps(took)


def duration(seconds: float) -> str:
    """151 -> '2 min 31 s'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    words = [f"{hours} h"] * (hours > 0) + [f"{minutes} min"] * (minutes > 0)
    return " ".join([*words, f"{rest} s"] if not hours else words)


def next_commands(run: Contents) -> list[str]:
    """What to type now."""
    made_by = first_of(run, "command")
    lines = []
    if not run.summary and made_by:
        resume = made_by if re.search(r"--resume\b", made_by) else f"{made_by} --resume"
        lines.append(f"{resume}    # go on where it stopped")
    lines.append(f"minivl eval {typed(run.folder)}    # measure again")
    if any("/retrieval/" in key for key in run.evaluation):  # it can say what fits
        lines.append(
            f'minivl show {typed(run.folder)} PICTURE "a sentence"    # where does it look?'
        )
    return lines


def typed(folder: Path) -> str:
    """A folder as one types it: seen from here if it lies here, quoted if it must be."""
    here = Path.cwd()
    absolute = folder.absolute()
    return shlex.quote(str(absolute.relative_to(here) if here in absolute.parents else folder))


def first_of(run: Contents, name: str) -> str:
    """A word recorded in the summary, the environment or the settings."""
    for source in (run.summary, run.environment, run.config):
        if isinstance(source.get(name), str):
            return source[name]
    return ""


def data_uri(picture: bytes) -> str:
    """A PNG as an address that holds the picture itself."""
    return "data:image/png;base64," + base64.b64encode(picture).decode()

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
from minivl.visualize import page, results, stages
from minivl.visualize.collapse import collapse_curves
from minivl.visualize.contents import Contents, find, read_contents, read_json, stage_of
from minivl.visualize.curves import (
    constant_level,
    contrastive_level,
    guessing_level,
    loss_curves,
    split_stages,
)
from minivl.visualize.style import Caption, Picture, png_bytes, read_caption


def write_report(run_folder: str | Path, names: Mapping[str, str] | None = None) -> Path:
    """Write report.html into the run's folder and return its path.

    names: measure -> what the terminal's table calls it, so that both use the same words.
    Raises UserError where the folder is not a run's.
    """
    folder = Path(run_folder)
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder} is not a run: it has no config.yaml", "name a run's folder")
    text = report_html(read_contents(folder), names)
    path = folder / "report.html"
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)  # a reader sees the old report or the new one
    finally:
        temporary.unlink(missing_ok=True)
    return path


def report_html(run: Contents, names: Mapping[str, str] | None = None) -> str:
    """The whole document."""
    figures = figures_html(run)  # first: it may add to the complaints
    curves = curves_html(run)
    title = run.folder.resolve().name
    parts = [
        f"<header><h1>{page.escape(title)}</h1>",
        state_html(run),
        "</header>",
        results.headlines(run.evaluation, names=names),
        "".join(page.paragraph(complaint, "bad") for complaint in run.complaints),
        page.section("Results", results_html(run, names)),
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


def results_html(run: Contents, names: Mapping[str, str] | None = None) -> str:
    """The table, or what to do to get one; of several stages the last one's first."""
    if not run.evaluation:
        return page.paragraph("Not evaluated yet. To do it:", "muted") + page.command(
            f"minivl eval {typed(run.folder)}"
        )
    groups: dict[str, dict[str, Any]] = {stage: {} for stage in [*run.stages[-1:], *run.stages]}
    for key, metric in run.evaluation.items():
        groups.setdefault(stages.home(key, run.stages), {})[key] = metric
    note = (
        "Read every number beside its chance level: what guessing would reach. The interval "
        "says how far another draw of n examples could have moved it."
    )
    parts = [
        stage_heading(stage, run) + results.table(found, names)
        for stage, found in groups.items()
        if found
    ]
    told = [note, *results.notes(run.evaluation)]
    return "\n".join([*parts, *(page.paragraph(words, "muted") for words in told)])


def stage_heading(stage: str, run: Contents) -> str:
    """The stage's name and what it does, where a run has several stages."""
    title = stages.title(stage, run.stages) if stage in run.stages else ""
    return page.heading(title, stages.about(stage)) if title else ""


def curves_html(run: Contents) -> str:
    """The learning curves of each stage, and DINO's entropies if there are any."""
    parts = []
    known = levels(run.config, run.choices)
    outputs = find(run.config, "outputs")
    for stage, lines in split_stages(run.metrics).items() or {"": []}.items():
        heading = stage_heading(stage, run)
        picture = loss_curves(lines, levels=known)
        # The heading, or else the section, names it.
        parts.append(heading + drawn(picture, "", run))
        told = [line for line in lines if "mutual_information" in line]
        if isinstance(outputs, int) and told:
            picture = collapse_curves({"this run": told}, outputs)
            parts.append(drawn(picture, picture.caption.title, run))
    return "\n".join(parts)


def drawn(picture: Picture, title: str, run: Contents) -> str:
    """A figure drawn for the report."""
    words = picture.caption
    shown = data_uri(png_bytes(picture))
    return page.figure(shown, (title, words.alt, words.text), 1000, figure_level(run))


def figure_level(run: Contents) -> int:
    """Of a figure's heading: below that of its stage, if there are several."""
    return 4 if len(run.stages) > 1 else 3


def levels(
    config: Mapping[str, Any], choices: Mapping[str, int] | None = None
) -> dict[str, tuple[float, str]]:
    """Where the losses of an untrained model stand, as far as the settings tell.

    choices: loss -> among how many words or codes it chooses. The contrastive loss is that of the
    last stage, whose `training` stands at the top.
    """
    known = {name: guessing_level(count) for name, count in (choices or {}).items() if count > 1}
    known["itm"] = guessing_level(2)
    pairs = config.get("pairs")
    wrong = pairs.get("mismatched") if isinstance(pairs, Mapping) else None
    given = config.get("itm_negatives", "given") == "given"  # else half of the pairs are wrong
    if given and isinstance(wrong, float) and 0 < wrong < 1:
        known["itm"] = constant_level(wrong)
    if "negatives" in config:  # ALBEF: two wrong pairs beside each right one
        known["itm"] = constant_level(1 / 3)
    training = config.get("training")
    batch, parts = find(training, "batch_size"), find(training, "accumulate") or 1
    if isinstance(batch, int) and isinstance(parts, int) and batch // parts > 1:
        level = contrastive_level(batch // parts)
        known |= {"contrastive": level, "global_contrastive": level}
        queue = config.get("queue_size")
        known |= {"itc": contrastive_level(batch // parts + queue)} if queue is not None else {}
    return known


def figures_html(run: Contents) -> str:
    """Every picture in figures/, by stage, with the caption it carries or captions.json has."""
    folder = run.folder / "figures"
    captions = read_json(folder / "captions.json", run.complaints)
    groups: dict[str, list[str]] = {stage: [] for stage in run.stages}
    for path in sorted(folder.glob("*.png"), key=lambda path: path.name):
        try:
            words, stage = read_caption(path), stage_of(path)
            picture = path.read_bytes()
        except (OSError, SyntaxError, ValueError):  # Pillow's words for a broken PNG
            run.complaints.append(f"figures/{path.name} is no readable picture and was left out.")
            continue
        words = caption_of(path, words, captions.get(path.stem))
        width = int.from_bytes(picture[16:20], "big")  # PNG: the header begins with the width
        groups.setdefault(stage, []).append(
            page.figure(
                data_uri(picture), (words.title, words.alt, words.text), width, figure_level(run)
            )
        )
    return "\n".join(
        "\n".join([stage_heading(stage, run), *figures])
        for stage, figures in groups.items()
        if figures
    )


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
    recorded = run.summary.get("stages", {})
    for stage, took in recorded.items() if isinstance(recorded, dict) else ():
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

"""Ablations at size tiny: read, shown with its gaps, filled in from runs."""

import json
import re

import pytest

from minivl.commands.fields import parse
from minivl.commands.runs import check_fields
from minivl.course.measured import (
    ABLATION,
    ALBEF,
    FLAVA,
    METRICS,
    STUDIES,
    UNIT_LABELS,
    UNIT_TASKS,
    VARIANTS,
    ablation,
    command,
    main,
    write,
)
from minivl.course.published import table as published
from minivl.errors import DataError, UserError

NOTHING = dict.fromkeys(METRICS)


def run(folder, **values):
    folder.mkdir(parents=True)
    found = {METRICS[name]: {"value": value} for name, value in values.items()}
    (folder / "eval.json").write_text(json.dumps(found))


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "flava_ablation_tiny.csv"
    write({name: NOTHING for name in VARIANTS}, path)
    return path


def test_the_table_of_the_course_has_all_variants():
    found = ablation()
    assert list(found.rows) == list(VARIANTS)
    assert ABLATION.read_text().splitlines()[0] == ",".join(["variant", *METRICS])
    for row in found.rows.values():
        assert all(value is None or 0 <= value <= 1 for value in row.values())


def test_gaps_are_said(table):
    found = ablation(table)
    assert not found.complete and "0 of 6" in repr(found)
    assert found.markdown().count("not measured") == 48 == found.html().count("not measured")


def test_runs_fill_their_rows_and_leave_the_others(table, tmp_path, capsys):
    run(tmp_path / "ablation" / "full", retrieval_r1=0.87674, itm_random=0.9)
    run(tmp_path / "ablation" / "without_init", mmm_text=0.5)
    main([str(tmp_path / "ablation")], table)
    assert "w/o init, full" in capsys.readouterr().out
    found = ablation(table)
    assert found.text("full", "retrieval_r1") == "87.7" and found.rows["full"]["itm_random"] == 0.9
    assert found.text("full", "knn") == "–" and found.text("MIM", "knn") == "not measured"
    run(tmp_path / "later" / "mim", mmm_image=0.25)
    main([str(tmp_path / "later")], table)
    assert ablation(table).rows["full"] == found.rows["full"]
    assert ablation(table).rows["MIM"]["mmm_image"] == 0.25


def test_a_table_that_is_not_there_yet_is_begun(tmp_path):
    run(tmp_path / "ablation" / "full", retrieval_r1=0.5)
    main([str(tmp_path / "ablation")], tmp_path / "new.csv")
    rows = ablation(tmp_path / "new.csv").rows
    assert list(rows) == list(VARIANTS)
    assert [row["retrieval_r1"] for row in rows.values()] == [None] * (len(rows) - 1) + [0.5]


def test_bad_input(table, tmp_path):
    with pytest.raises(UserError, match="no run of the ablation"):
        main([str(tmp_path)], table)
    (tmp_path / "mim").mkdir()
    with pytest.raises(UserError, match=r"no eval\.json"):
        main([str(tmp_path)], table)
    with pytest.raises(DataError, match="cannot read"):
        ablation(tmp_path / "none.csv")
    table.write_text("variant,retrieval_r1\nfull,x\n")
    with pytest.raises(DataError):
        ablation(table)
    table.write_text(",".join(["variant", *METRICS]) + "\nfull" + "," * len(METRICS) + "\n")
    with pytest.raises(DataError, match="rows"):
        ablation(table)


ALL = [(study, variant) for study in STUDIES.values() for variant in study.variants]


@pytest.mark.parametrize(("study", "variant"), ALL, ids=[variant for _, variant in ALL])
def test_every_flag_is_one_of_the_recipe(study, variant):
    recipe = study.recipe_of(variant)
    runs = study.runs_of(variant)
    for flags in runs.values():
        _, chosen = parse(recipe, ["--size", "tiny", *flags.split()])
        if recipe != "finetune":  # which needs a run
            check_fields(chosen)
    told = study.commands(variant)
    assert len(told) == len(runs) and command(variant, study) == told[0]
    for words, name in zip(told, runs, strict=True):
        assert words.startswith(f"minivl train {recipe} --size tiny") and "  " not in words
        assert words.endswith(f"--out {study.runs}/{name}")
        assert re.fullmatch(r"[a-z_0-9]+", name)


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_runs_do_not_share_a_folder(study):
    folders = [name for variant in study.variants for name in study.runs_of(variant)]
    assert len(set(folders)) == len(folders) and FLAVA.runs != ALBEF.runs


def test_a_row_of_several_runs_has_the_numbers_of_all(tmp_path, capsys):
    row, other = "alone, seed 1", "together, seed 1"
    path = tmp_path / "tasks.csv"
    names = list(UNIT_TASKS.runs_of(row))
    assert names[:2] == ["alone_1_scene_detection", "alone_1_scene_attributes"]
    for name, task, value in zip(names, UNIT_TASKS.metrics, (0.5, 0.25), strict=False):
        (tmp_path / name).mkdir()
        key = UNIT_TASKS.metrics[task]
        (tmp_path / name / "eval.json").write_text(json.dumps({key: {"value": value}}))
    main([str(tmp_path), "--of", "unit_tasks"], path)
    assert capsys.readouterr().out == f"tasks.csv: {row}\n"
    found = ablation(path, UNIT_TASKS)
    assert found.text(row, "scene-detection") == "50.0"
    assert found.text(row, "scene-attributes") == "25.0"
    assert found.text(row, "scene-vqa") == "–"
    assert found.text(other, "scene-vqa") == "not measured"


def test_each_task_alone_reads_what_it_reads_together():
    whole = parse("unit", ["--size", "tiny"])[1]
    steps = 0
    for task, flags in UNIT_TASKS.each["alone, seed 0"].items():
        alone = parse("unit", ["--size", "tiny", *flags.split()])[1]
        assert alone.tasks == (task,)
        share = alone.training.steps / whole.training.steps
        assert share == pytest.approx(whole.settings(task).share, abs=1e-3)
        steps += alone.training.steps
    assert steps == whole.training.steps


def test_rows_with_equal_labels_read_equally_much():
    for variant, flags in UNIT_LABELS.variants.items():
        _, chosen = parse(UNIT_LABELS.recipe_of(variant), ["--size", "tiny", *flags.split()])
        batch = getattr(chosen, "scene_vqa", chosen.training).batch_size
        assert (chosen.training.steps, batch, chosen.evaluation.questions) == (1000, 64, 2048)
        assert f"{chosen.labels:,}" == variant.partition(", ")[2]
        assert getattr(chosen, "pretrained", True) != ("noise" in variant)


def test_albefs_rows_are_those_of_the_paper():
    rows = published("albef_ablation").column("training tasks")
    assert list(ALBEF.variants) == list(rows[: len(ALBEF.variants)])


def test_albefs_flags_are_those_of_the_recipes_help():
    import minivl.recipes.albef as recipe

    told = recipe.__doc__.partition("row by row, as flags:\n")[2].splitlines()
    flags = [re.split(r"\s{2,}", line.strip())[1] for line in told[: len(ALBEF.variants)]]
    assert flags == [one or "nothing to add" for one in ALBEF.variants.values()]


def test_albefs_table_has_its_rows_and_fills_up(tmp_path, capsys):
    found = ablation(study=ALBEF)
    assert list(found.rows) == list(ALBEF.variants) and "ALBEF's ablation" in repr(found)
    path = tmp_path / "albef.csv"
    write({name: dict.fromkeys(ALBEF.metrics) for name in ALBEF.variants}, path, ALBEF)
    folder = tmp_path / "runs" / "mlm_itm"
    folder.mkdir(parents=True)
    values = {ALBEF.metrics["itm_random"]: {"value": 0.75}}
    (folder / "eval.json").write_text(json.dumps(values))
    main([str(tmp_path / "runs"), "--of", "albef"], path)
    assert "MLM + ITM" in capsys.readouterr().out
    found = ablation(path, ALBEF)
    assert found.text("MLM + ITM", "itm_random") == "75.0"
    assert found.text("MLM + ITM", "retrieval_r1") == "–"
    two = found.select(["MLM + ITM", "ITC + MLM + ITM"])
    assert list(two.rows) == ["MLM + ITM", "ITC + MLM + ITM"] and "1 of 2" in repr(two)
    assert two.markdown().count("not measured") == len(ALBEF.metrics) == 5


def test_measured_keys_are_those_of_the_evaluations():
    import inspect

    from minivl.evaluation import albef, contrastive

    told = inspect.getsource(albef) + inspect.getsource(contrastive)
    for key in ALBEF.metrics.values():
        _, task, _ = key.split("/")
        assert f"{task}/" in told or f'"{task}"' in told, key


def test_the_flags_are_those_of_the_recipes_help():
    import minivl.recipes.flava as recipe

    told = {line[:10].strip(): " ".join(line[10:].split()) for line in
            recipe.__doc__.splitlines() if line.startswith("  ")}  # fmt: skip
    for variant, flags in VARIANTS.items():
        expected = flags or "nothing to add"
        assert told[variant] == expected

"""FLAVA's ablation at size tiny: read, shown with its gaps, filled in from runs."""

import json
from dataclasses import fields

import pytest

from minivl.course.measured import (
    ABLATION,
    METRICS,
    VARIANTS,
    ablation,
    command,
    folder_of,
    main,
    write,
)
from minivl.errors import DataError, UserError
from minivl.recipes.flava import FlavaRecipe

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


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_flag_is_a_field_of_the_recipe(variant):
    known = {field.name for field in fields(FlavaRecipe)}
    assert {word[2:] for word in VARIANTS[variant].split() if word.startswith("--")} <= known
    words = command(variant)
    assert words.startswith("minivl train flava --size tiny")
    assert words.endswith(f"--out runs/ablation/{folder_of(variant)}") and "  " not in words


def test_the_flags_are_those_of_the_recipes_help():
    import minivl.recipes.flava as recipe

    told = {line[:10].strip(): " ".join(line[10:].split()) for line in
            recipe.__doc__.splitlines() if line.startswith("  ")}  # fmt: skip
    for variant, flags in VARIANTS.items():
        expected = flags or "nothing to add"
        assert told[variant] == expected

from minivl.data.sentence_tasks import SPLITS as OWN_SENTENCES
from minivl.data.unit_tasks import BOXES, GLUE, REAL_BOXES
from minivl.evaluation.average_precision import KEYS
from minivl.evaluation.metric import proportion
from minivl.evaluation.table import (
    COLUMNS,
    FINER,
    GROUPS,
    PUBLISHED,
    ROWS,
    SENTENCES,
    names_alone,
    percent,
    rows,
    table,
)

METRICS = {
    "compositions/retrieval/image_to_text_r1": proportion(256, 1024, 1 / 256),
    "validation/retrieval/image_to_text_r1": proportion(900, 1024, 1 / 256),
    "twemoji/retrieval/image_to_text_r1": proportion(1024, 1024, 1 / 256),
    "twemoji/retrieval/image_to_text_r10": proportion(1024, 1024, 10 / 256),
    "validation/order/left_right_pairs": proportion(77, 256, 0.25),
    "validation/order/left_right_pictures": proportion(300, 512, 0.5),
    "validation/zeroshot/accuracy": proportion(100, 480, 1 / 48),
}


def test_rows_keep_their_order_and_leave_the_long_tail_out():
    found = rows(METRICS)
    assert [label for label, _ in found] == ["image -> text R@1", "left/right told apart", "naming"]
    assert set(found[0][1]) == {"validation", "twemoji", "compositions"}
    assert found[2][1] == {"validation": METRICS["validation/zeroshot/accuracy"]}


def test_the_table_says_value_interval_chance_and_size():
    text = table(METRICS)
    assert max(map(len, text.splitlines())) <= 80
    shown = [" ".join(line.split()) for line in text.splitlines()]
    assert "image -> text R@1 87.9 (85.7-89.7) 100.0 (99.6-100.0) 25.0 (22.4-27.7)" in shown
    assert text.count("chance 0.39, n 1024") == 3
    for split in ("validation", "twemoji", "compositions"):
        assert all(word in text for word in COLUMNS[split].split()), split
    assert text.isascii()


def test_stored_metrics_print_like_fresh_ones():
    assert table({key: metric.to_json() for key, metric in METRICS.items()}) == table(METRICS)


def test_a_split_or_a_task_that_is_new_is_shown_too():
    text = table({"openmoji/ocr/accuracy": proportion(3, 4, 0.5), "loss": {"value": 2.0}})
    assert "openmoji" in text and "ocr/accuracy" in text and "75.0" in text
    assert "loss" not in text


def test_labels_that_belong_to_the_row_above_name_it_where_they_stand_alone():
    names = names_alone()
    assert names.keys() == ROWS.keys() | FINER.keys()
    assert names["scene-detection/ap_small"] == "boxes, AP: small ones"
    assert names["coco/ap75"] == "COCO, AP75"
    assert names["knn/accuracy"] == "named by k-NN"
    assert names["knn/accuracy_raw_pixels"] == "named by k-NN: bare pixels"
    assert not any(name.startswith("-") or ": -" in name for name in names.values())


def test_without_numbers_it_says_so():
    assert table({}) == "nothing was measured"


def test_small_shares_keep_two_digits():
    assert [percent(x) for x in (0.0, 1 / 256, 0.00034, 0.25, 1.0)] == [
        "0.0", "0.39", "0.034", "25.0", "100.0",
    ]  # fmt: skip


def test_quantities_stand_with_their_unit_or_size():
    metrics = {
        "validation/reconstruction/psnr": {"value": 20.34, "chance": 12.7, "n": 9, "unit": "dB"},
        "validation/codebook/perplexity": {"value": 112.0, "chance": 1.0, "n": 9, "size": 256},
        "validation/codebook/odd": {"value": 1.0, "chance": 1.0, "n": 9},
    }
    text = table(metrics)
    assert "20.3 dB" in text and "112.0 of 256" in text and "odd" not in text


CELL = {"value": 0.5, "chance": 0.1, "n": 1024, "low": 0.4, "high": 0.6}
UNIT = [
    *(f"{task}/{name}" for task in BOXES for name in KEYS),
    "scene-attributes/size",
    "scene-attributes/colour",
    *(f"{task}/accuracy" for task in ("scene-vqa", "scene-ve", *SENTENCES, *GLUE)),
    "scene-sentences/place",
    "scene-sentences/scenery",
]


def test_each_number_of_unit_has_a_name_of_its_own():
    assert not set(UNIT) - set(names_alone())
    assert len(set(names_alone().values())) == len(names_alone()), "no two alike"
    shown = [label for label, _ in rows({f"validation/{name}": CELL for name in UNIT})]
    heads = [label for label in shown if not label.startswith("- ")]
    assert len(set(heads)) == len(heads) and len(shown) == len(UNIT) - len(BOXES)
    assert "boxes, AP50" in shown and "boxes, AP75" not in shown


def test_average_precision_by_size_stands_below_that_of_all():
    shown = [label for label, _ in rows({f"validation/{name}": CELL for name in UNIT})]
    for head in ("boxes, AP", "boxes with attributes, AP", "COCO, AP", "Visual Genome, AP"):
        at = shown.index(head)
        assert shown[at + 1 : at + 4] == ["- small ones", "- medium ones", "- large ones"]


SCENES = {f"{split}/scene-detection/ap50": CELL for split in ("validation", "twemoji")}
FILES = {f"validation/{name}": CELL for name in UNIT if name.partition("/")[0] in PUBLISHED}


def test_published_files_stand_in_a_table_of_their_own():
    assert set(PUBLISHED) == {*REAL_BOXES, *GLUE}
    text = table(FILES | SCENES | {"validation/scene-vqa/accuracy": CELL})
    assert max(map(len, text.splitlines())) <= 80
    scenes, files = text.split("published")
    assert "boxes, AP50" in scenes and "questions about" in scenes
    assert "COCO" not in scenes and "QNLI" not in scenes and "training artists" in scenes
    for name in ("COCO, AP50", "Visual Genome, AP", "QNLI", "MNLI, mismatched", "SST-2"):
        assert name in files
    ones = [name for name in FILES if not name.endswith("/ap75")]
    assert "artist" not in files and files.count("n 1024") == len(ones)


def test_scenes_alone_look_as_if_there_were_no_published_files():
    assert table(FILES | SCENES).startswith(table(SCENES))
    assert "published" not in table(SCENES)


def test_sentences_alone_have_no_artists():
    assert set(SENTENCES) == {"scene-sentences", *OWN_SENTENCES}
    sentences = {f"validation/{task}/accuracy": CELL for task in SENTENCES}
    assert "artist" not in table(sentences) and "(sentences alone)" in table(sentences)
    assert "(training artists)" in table(sentences | SCENES)


def test_a_name_that_is_too_long_goes_on_in_the_next_line():
    name = "incomprehensibilities-of-dogs/accuracy"
    for width in (80, 160):
        text = table({f"validation/{name}": CELL}, width)
        assert "".join(line[:17].strip() for line in text.splitlines()).endswith(name)


def test_chance_and_size_stand_in_one_line():
    for chance, shown in ((0.00096, "0.1"), (0.000026, "<0.1"), (0.0021, "0.21"), (0.5, "50.0")):
        assert f"chance {shown}, n 1295" in table({"validation/x/y": proportion(7, 1295, chance)})


def test_three_splits_fit_into_a_terminal():
    splits = ("validation", "twemoji", "photographs")
    for group in GROUPS:
        text = table({f"{split}/{name}": CELL for split in splits for name in group})
        assert text.count("n 1024") == 3 * len(group)
        assert max(map(len, text.splitlines())) <= 80
        # A label that is too long goes on in the next line, in a column of its own.
        first = " ".join(line[:17].strip() for line in text.splitlines())
        assert all(label in " ".join(first.split()) for label in group.values())


FIVE_STAGES = {
    "validation twemoji compositions": ("retrieval/image_to_text_r1", "retrieval/image_to_text_r5",
                                        "itm/mirrored", "mmm_text/accuracy"),
    "validation twemoji": ("zeroshot/accuracy", "image_knn/accuracy",
                           "image_knn/accuracy_untrained", "knn/accuracy",
                           "attention/mass_inside", "attention/pointing"),
    "validation twemoji photographs": ("reconstruction/l1", "mim/accuracy", "mim/top5"),
    "glosses captions": ("mlm/accuracy", "mlm/top5"),
}  # fmt: skip


def test_of_five_stages_the_last_comes_first_and_the_others_keep_one_row_each():
    metrics = {
        f"{split}/{name}": CELL
        for splits, names in reversed(FIVE_STAGES.items())
        for name in names
        for split in splits.split()
    }
    assert [label for label, _ in rows(metrics)] == [
        "image -> text R@1", "naming", "k-NN, joint encoder", "- wrong: mirrored",
        "hidden word, with picture", "mean colour error", "named by k-NN", "hidden patch",
        "hidden word",
    ]  # fmt: skip
    assert len(rows(metrics, full=True)) == 15
    text = table(metrics)
    assert max(map(len, text.splitlines())) <= 80 and "in the report" in text
    # Every number that is measured stands in a column; a dash says that there is none.
    assert text.count("n 1024") == 3 * 3 + 2 * 2 + 3 + 2 + 3 + 2
    named = [line.split() for line in text.splitlines() if line.startswith("nam")]
    assert [words.count("-") for words in named] == [1, 1]
    heads = [line.split()[0] for line in text.splitlines() if line.startswith(" " * 19 + "v")]
    assert heads == ["validation", "validation"]
    word = next(line for line in text.splitlines() if line.startswith("hidden word  "))
    assert word.count("50.0 (40.0-60.0)") == 2


def test_one_stage_and_its_tokenizer_keep_all_their_rows():
    both = {**GROUPS[1], **GROUPS[3]}
    assert len(rows({f"validation/{name}": CELL for name in both})) == len(both)


def test_large_samples_are_shortened_so_that_chance_fits_beside_them():
    assert "chance 25.0, n 29k" in table({"validation/x/y": proportion(7, 28672, 0.25)})
    assert "n 9999" in table({"validation/x/y": proportion(7, 9999, 0.25)})

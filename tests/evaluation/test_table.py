from minivl.evaluation.metric import proportion
from minivl.evaluation.table import COLUMNS, ROWS, percent, rows, table

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
    for heading in COLUMNS.values():
        assert all(word in text for word in heading.split()), heading
    assert text.isascii()


def test_stored_metrics_print_like_fresh_ones():
    assert table({key: metric.to_json() for key, metric in METRICS.items()}) == table(METRICS)


def test_a_split_or_a_task_that_is_new_is_shown_too():
    text = table({"openmoji/vqa/accuracy": proportion(3, 4, 0.5), "loss": {"value": 2.0}})
    assert "openmoji" in text and "vqa/accuracy" in text and "75.0" in text
    assert "loss" not in text


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


def test_three_splits_fit_into_a_terminal():
    cell = {"value": 0.5, "chance": 0.1, "n": 1024, "low": 0.4, "high": 0.6}
    splits = ("validation", "twemoji", "photographs")
    text = table({f"{split}/{name}": cell for split in splits for name in ROWS})
    assert text.count("n 1024") == 3 * len(ROWS)
    assert all(label.split(" apart")[0] in text for label in ROWS.values())

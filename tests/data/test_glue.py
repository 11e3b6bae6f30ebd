"""GLUE's files as its archive holds them: columns, labels, broken lines, and what is refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minivl.data.glue import FORMS, GlueExamples, encode_sentences, read_glue
from minivl.data.stream import Stream, fetch
from minivl.data.text import SPECIAL_TOKENS, WordPiece
from minivl.errors import DataError, UserError

WORDS = WordPiece(
    [*SPECIAL_TOKENS, *"abcdefgh", '"', "?", *(f"##{letter}" for letter in "abcdefgh")]
)
CLS, SEP = WORDS.cls_id, WORDS.sep_id

PARSES = ["sentence1_binary_parse", "sentence2_binary_parse", "sentence1_parse", "sentence2_parse"]
MNLI = ["index", "promptID", "pairID", "genre", *PARSES, "sentence1", "sentence2", "label1"]
HEADERS = {
    "qnli": ["index", "question", "sentence", "label"],
    "mnli-matched": [*MNLI, "gold_label"],
    "mnli-mismatched": [*MNLI, "gold_label"],
    "qqp": ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"],
    "sst-2": ["sentence", "label"],
}
"""Of the training files; MNLI's dev files have four more labels before the last column."""
FOLDERS = {
    "qnli": "QNLI",
    "mnli-matched": "MNLI",
    "mnli-mismatched": "MNLI",
    "qqp": "QQP",
    "sst-2": "SST-2",
}
LABELS = {
    "qnli": ["entailment", "not_entailment"],
    "mnli-matched": ["entailment", "neutral", "contradiction"],
    "mnli-mismatched": ["entailment", "neutral", "contradiction"],
    "qqp": ["0", "1"],
    "sst-2": ["0", "1"],
}
"""In the order of their numbers in the benchmark."""


def write(path, rows, ending="\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join("\t".join(row) + ending for row in rows).encode())
    return path


def line(task, label, texts=("a b", "c"), header=None):
    """One line of a task's file; what is not read holds a word that must not be."""
    columns = iter(texts)
    return [
        label if name == header_label(task) else next(columns) if name in sentences(task) else "x"
        for name in header or HEADERS[task]
    ]


def header_label(task):
    return HEADERS[task][-1]


def sentences(task):
    pairs = {"qnli": ("question", "sentence"), "qqp": ("question1", "question2")}
    return pairs.get(task, ("sentence",) if task == "sst-2" else ("sentence1", "sentence2"))


@pytest.mark.parametrize("task", FORMS)
def test_files_are_read_from_where_the_archive_has_them(tmp_path, task):
    folder, labels, header = tmp_path / FOLDERS[task], LABELS[task], HEADERS[task]
    write(folder / "train.tsv", [header, *(line(task, label) for label in labels)])
    dev = header
    name = "dev.tsv"
    if task.startswith("mnli"):
        dev = [*header[:-1], "label2", "label3", "label4", "label5", header[-1]]
        name = f"dev_{task.removeprefix('mnli-')}.tsv"
    write(folder / name, [dev, line(task, labels[-1], ("d", "e"), dev)])

    train = GlueExamples(tmp_path, task, "train", WORDS)
    test = GlueExamples(tmp_path, task, "test", WORDS)
    assert (len(train), len(test), train.endless) == (len(labels), 1, False)
    assert [train[i]["label"] for i in range(len(labels))] == list(range(len(labels)))
    assert test[0]["label"] == len(labels) - 1 and len(FORMS[task].classes) == len(labels)
    said = "[CLS] a b [SEP] c [SEP]" if task != "sst-2" else "[CLS] a b [SEP]"
    assert [WORDS.vocab[i] for i in train[0]["input_ids"]] == said.split()
    segments = (0, 0, 0, 0, 1, 1) if task != "sst-2" else (0, 0, 0, 0)
    assert train[0]["segments"] == segments
    assert test.rows.good[0].texts == (("d", "e") if task != "sst-2" else ("d",))


def test_columns_go_by_their_names(tmp_path):
    header = ["label", "sentence", "index", "question"]
    path = write(tmp_path / "dev.tsv", [header, ["not_entailment", "an answer", "0", "a question"]])
    (row,) = read_glue(path, "qnli").good
    assert row.texts == ("a question", "an answer") and row.label == 1


def test_quotation_marks_are_letters_and_lines_end_anyhow(tmp_path):
    rows = [["sentence", "label"], ['"a b', "1"], ['c" "d"', "0"], ["e \u2028 f \x85", "1"]]
    for ending in ("\n", "\r\n"):
        path = write(tmp_path / "train.tsv", rows, ending)
        read = read_glue(path, "sst-2")
        assert [row.texts[0] for row in read.good] == [text for text, _ in rows[1:]]
        assert not read.skipped
    path.write_bytes(
        "\ufeffsentence\tlabel\na\t1".encode()
    )  # a mark of the byte order, no last line end
    assert [(row.texts, row.label) for row in read_glue(path, "sst-2").good] == [(("a",), 1)]


def test_broken_lines_are_left_out_counted_and_listed(tmp_path):
    good = ["0", "1", "2", "why a", "why b", "1"]
    rows = [
        HEADERS["qqp"],
        good,
        ["1", "3", "4", "the line ends in"],  # as in QQP: a line break inside of a question
        ["the question", "why c", "0"],
        good,
        ["2", "5", "6", "why d", "  ", "0"],
        [*good, "0"],
    ]
    path = tmp_path / "QQP" / "train.tsv"
    read = read_glue(write(path, rows), "qqp")
    assert [row.texts for row in read.good] == [("why a", "why b")] * 2
    assert [(broken.where, broken.why) for broken in read.skipped] == [
        ("line 3", "4 columns instead of 6"),
        ("line 4", "3 columns instead of 6"),
        ("line 6", "a sentence is empty"),
        ("line 7", "7 columns instead of 6"),
    ]
    assert read.report() == (
        "QQP/train.tsv: 2 examples, 4 broken lines left out (line 3: 4 columns instead of 6; "
        "line 4: 3 columns instead of 6; line 6: a sentence is empty; ...)"
    )
    clean = read_glue(write(path, rows[:2]), "qqp")
    assert clean.report() == "QQP/train.tsv: 1 example"
    one = read_glue(write(path, rows[:3]), "qqp").report()
    assert "1 broken line left out (line 3: 4 columns instead of 6)" in one


QQP = HEADERS["qqp"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "train.tsv is empty"),
        (b"\n\n", "train.tsv is empty"),
        (b"a\tb\n", "train.tsv, line 1: no column is called 'question1'.*line 1 has a, b"),
        (
            b"id\tquestion1\tquestion2\n0\ta\tb\n",  # as test.tsv has them
            "train.tsv, line 1: no column is called 'is_duplicate'.*test files have no labels: "
            "take train.tsv or dev.tsv",
        ),
        (
            "\t".join(QQP).encode() + b"\n0\t1\t2\ta\tb\t1\n\n0\t1\t2\ta\tb\tyes\n",
            "train.tsv, line 4: the is_duplicate is 'yes'.*labels of qqp are 0, 1",
        ),
        ("\t".join(QQP).encode() + b"\n0\t1\t2\ta\tb\t\n", "line 2: the is_duplicate is ''"),
        ("\t".join(QQP).encode() + b"\n0\t1\t2\n", "train.tsv holds no whole example"),
        ("\t".join(QQP).encode() + b"\n", "train.tsv holds no whole example"),
        (
            "\t".join(QQP).encode() + b"\n0\t1\t2\ta\tb\t1\n0\t1\t2\t\xff\tb\t1\n",
            "train.tsv is broken after line .*codec can't decode byte 0xff",
        ),
        (
            "\t".join(QQP).encode() + b"\n0\t1\t2\ta\tb\t1\n" + b"a" * 200_000 + b"\n",
            "train.tsv is broken after line 2: field larger than field limit",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_line(tmp_path, content, message):
    (tmp_path / "QQP").mkdir()
    (tmp_path / "QQP" / "train.tsv").write_bytes(content)
    with pytest.raises(DataError, match=f"(?s){message}"):
        GlueExamples(tmp_path, "qqp", "train", WORDS)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*MNLI.dev_mismatched.tsv: No such file"):
        GlueExamples(tmp_path, "mnli-mismatched", "test", WORDS)
    with pytest.raises(ValueError, match="qqp has no split 'dev'"):
        GlueExamples(tmp_path, "qqp", "dev", WORDS)
    for task, few in (("qqp", 3), ("sst-2", 2)):
        with pytest.raises(UserError, match=f"max_length is {few}"):
            GlueExamples(tmp_path, task, "train", WORDS, max_length=few)


def test_a_batch_has_what_models_read(tmp_path):
    texts = [("a b c", "d"), ("a", "b c d e"), ("hah", '"?')]
    rows = [HEADERS["qqp"], *(line("qqp", str(i % 2), pair) for i, pair in enumerate(texts))]
    write(tmp_path / "QQP" / "train.tsv", rows)
    examples = GlueExamples(tmp_path, "qqp", "train", WORDS)
    batch = fetch(Stream("qqp", examples, 3), range(3), seed=1).batch
    assert set(batch) == {"input_ids", "attention_mask", "token_type_ids", "labels"}
    assert batch["input_ids"].shape == batch["token_type_ids"].shape == (3, 8)
    assert batch["attention_mask"].shape == (3, 8) and batch["attention_mask"].dtype == torch.bool
    assert batch["token_type_ids"].dtype == batch["labels"].dtype == torch.int64
    assert sorted(batch["labels"].tolist()) == [0, 0, 1]
    for ids, types, visible in zip(
        batch["input_ids"], batch["token_type_ids"], batch["attention_mask"], strict=True
    ):
        first, second = (ids[visible & (types == segment)].tolist() for segment in (0, 1))
        pair = next(p for p in texts if first == WORDS.encode(p[0]))
        assert second == WORDS.encode(pair[1])[1:]


@given(
    st.lists(st.sampled_from("abcdefgh"), max_size=12).map(" ".join),
    st.lists(st.sampled_from("abcdefgh"), max_size=12).map(" ".join),
    st.integers(4, 30),
)
def test_the_longer_sentence_is_cut_first(first, second, longest):
    ids, segments = encode_sentences(WORDS, (first, second), longest)
    assert len(ids) == len(segments) == min(longest, len(first.split()) + len(second.split()) + 3)
    assert ids[0] == CLS and ids[-1] == SEP and ids.count(SEP) == 2
    cut = ids.index(SEP)
    assert segments == (0,) * (cut + 1) + (1,) * (len(ids) - cut - 1)
    parts = [ids[1:cut], ids[cut + 1 : -1]]
    whole = [tuple(WORDS.encode(text)[1:-1]) for text in (first, second)]
    for part, text, other in zip(parts, whole, reversed(parts), strict=True):
        assert part == text[: len(part)]
        # One that lost a piece was never the shorter one.
        assert part == text or len(part) >= len(other) - 1


def test_one_sentence_and_two_that_are_cut(tmp_path):
    assert encode_sentences(WORDS, ("a b c",), 4)[0] == tuple(WORDS.encode("a b c", 4))
    ids, segments = encode_sentences(WORDS, ("a b", "c d e f g h"), 7)
    assert [WORDS.vocab[i] for i in ids] == ["[CLS]", "a", "b", "[SEP]", "c", "d", "[SEP]"]
    assert segments == (0, 0, 0, 0, 1, 1, 1)
    # Of two that are equally long the second loses a piece, as in BERT's code.
    ids, _ = encode_sentences(WORDS, ("a b", "c d"), 6)
    assert [WORDS.vocab[i] for i in ids] == ["[CLS]", "a", "b", "[SEP]", "c", "[SEP]"]

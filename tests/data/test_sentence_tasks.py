"""Tasks on sentences: answers found by reading them anew, priors, words, order, what is refused."""

import math
import re
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minivl.data.captioned import CaptionSource
from minivl.data.captions import CONVERSE, PLACE_PHRASES
from minivl.data.examples import SceneData
from minivl.data.sentence_tasks import (
    CHANGES,
    CLASSES,
    SPLITS,
    TOPICS,
    SentenceExamples,
    caption_answers,
    caption_pairs,
    classes,
    definitions,
    gloss_kinds,
    one_side,
    two_things,
)
from minivl.data.text import WordPiece
from minivl.data.texts import TextData, TextSource, definition
from minivl.errors import DataError
from minivl.evaluation.probe import linear_probe

SMALL = TextData(topics=("noun.food",), vocabulary_size=600)
PAIRED = ("caption-answers", "caption-pairs")
COUNT = 2400
PLACES = sorted(PLACE_PHRASES.values(), key=len, reverse=True)


@pytest.fixture(scope="module")
def source(pack):
    return TextSource(pack, SMALL, SceneData(image_size=32, objects=(1, 4)))


@pytest.fixture(scope="module")
def judged(source):
    """task -> its first examples in training."""
    return {
        task: [SentenceExamples(source, task, "train", 0).judged(i) for i in range(COUNT)]
        for task in CLASSES
    }


def without_article(phrase):
    return re.sub(r"^(an?|some) ", "", phrase)


def ending(text, endings):
    """The text before its ending, and the ending, if it has one of these."""
    found = next((end for end in endings if text.endswith(f" {end}")), "")
    return text.removesuffix(found).strip(), found


def answered(question, sentence):
    """Whether the sentence tells of the thing what the question asks."""
    asked, _, name = re.fullmatch(r"(where|how large) (is|are) the (.+)", question).groups()
    told = {}
    for part in sentence.split(" and "):
        phrase, place = ending(part, PLACES)
        sized = re.fullmatch(r"(small|large) (.+)", without_article(phrase))
        assert bool(place) != bool(sized)  # one fact of each thing
        told[sized[2] if sized else without_article(phrase)] = "where" if place else "how large"
    assert len(told) == 2
    return told[name] == asked


def meaning(sentence):
    """What a sentence says, whatever comes first in it."""
    relations = re.fullmatch(r"(.+) (left of|right of|above|below) (.+)", sentence)
    if relations:
        first, relation, second = relations.groups()
        return {(first, relation, second), (second, CONVERSE[relation], first)}
    return set(sentence.split(" and "))


def test_a_question_is_answered_if_the_sentence_tells_that_fact_of_that_thing(judged):
    for one in judged["caption-answers"]:
        expected = "answered" if answered(one.first, one.text) else "not answered"
        assert one.answer == expected, one
    kinds = Counter((one.kind, one.answer) for one in judged["caption-answers"])
    assert len(kinds) == 4 and min(kinds.values()) > COUNT / 6


def test_a_place_is_never_said_where_it_could_be_that_of_both_things(judged):
    for one in judged["caption-answers"]:
        first, second = (ending(part, PLACES)[1] for part in one.text.split(" and "))
        assert first or not second


def test_two_sentences_say_the_same_if_their_facts_are_the_same(judged):
    for one in judged["caption-pairs"]:
        same = meaning(one.first) == meaning(one.text)
        assert one.answer == ("same" if same else "different"), one
        assert one.first != one.text  # two wordings, whatever they say
    kinds = Counter((one.kind, one.answer) for one in judged["caption-pairs"])
    changes = {f"{kind}, {change}" for kind, found in CHANGES.items() for change in found}
    assert {kind for kind, _ in kinds} == changes
    assert len(kinds) == 2 * len(changes) and min(kinds.values()) > COUNT / 40


def names(sentence):
    """The names of the two things that a sentence of caption-pairs is about."""
    phrases = re.split(" and | left of | right of | above | below ", sentence)
    bare = (without_article(ending(phrase, PLACES)[0]) for phrase in phrases)
    return {re.sub("^(small|large) ", "", phrase) for phrase in bare}


def test_different_sentences_differ_in_one_thing(judged):
    for one in judged["caption-pairs"]:
        if one.answer == "same":
            continue
        (kind, change), first, second = one.kind.split(", "), names(one.first), names(one.text)
        assert len(first) == len(second) == 2
        assert len(first & second) == (1 if change == "name" else 2), one
        if kind != "relation" and change != "name":
            words = [Counter(text.split()) for text in (one.first, one.text)]
            other = sum((words[0] - words[1]).values())
            # Of the axis two places are said otherwise: "on the left" is "at the top".
            assert other == {"sides": 0, "size": 1, "axis": 4}[change], one


def test_neighbours_have_one_sentence_in_common_and_opposite_answers(judged):
    found = judged["caption-pairs"]
    for one, other in zip(found[::2], found[1::2], strict=True):
        assert one.first == other.first and one.text != other.text
        assert {one.answer, other.answer} == {"same", "different"}


@pytest.mark.parametrize("task", PAIRED)
@pytest.mark.parametrize("split", ["train", "compositions"])
def test_only_things_that_the_split_may_show_together_are_named(source, task, split):
    examples = SentenceExamples(source, task, split, 3)
    world = source.scenes.world(split)
    concepts = {drawings[0].name: drawings[0].concept for drawings in world.sprites}
    changed = Counter()
    for index in range(300):
        one = examples.judged(index)
        for text in (one.first, one.text) if task == "caption-pairs" else (one.text,):
            named = {
                concept
                for name, concept in concepts.items()
                if re.search(rf"\b{name}\b", text)
                # "fish" in "tropical fish": the longer name is meant.
                and not any(name != other and name in other and other in text for other in concepts)
            }
            assert len(named) == 2
            assert (named in world.reserved) == (split == "compositions")
        changed[one.kind] += 1
    assert len(changed) > 1


def features(texts):
    """(n, grams) which words, and which two words in a row, stand in each text."""
    grams = [{*text.split(), *zip(text.split(), text.split()[1:], strict=False)} for text in texts]
    common = Counter(gram for found in grams for gram in found)
    numbers = {gram: i for i, gram in enumerate(g for g, n in common.items() if n > 2)}
    rows = torch.zeros(len(grams), len(numbers))
    for row, found in zip(rows, grams, strict=True):
        row[[numbers[gram] for gram in found if gram in numbers]] = 1
    return rows


def guessed(texts, answers):
    """How often a logistic regression on words is right in the second half, after the first."""
    x, names, half = features(texts), sorted(set(answers)), len(texts) // 2
    y = torch.tensor([names.index(answer) for answer in answers])
    scores = linear_probe(x[:half], y[:half], x[half:], len(names), penalty=0.03)
    return (scores.argmax(1) == y[half:]).double().mean().item()


@pytest.mark.parametrize("task", PAIRED)
@pytest.mark.parametrize("side", ["first", "text"])
def test_neither_sentence_alone_tells_the_answer(judged, task, side):
    found = judged[task]
    deviation = 0.5 / math.sqrt(COUNT / 2)
    share = guessed([getattr(one, side) for one in found], [one.answer for one in found])
    assert abs(share - 0.5) < 3.5 * deviation
    first = Counter(one.answer for one in found)[classes(task)[0]] / COUNT
    assert abs(first - 0.5) < 3.5 * 0.5 / math.sqrt(COUNT)


def test_what_is_defined_is_learned_from_the_words(pack):
    rows = definitions(pack, WordPiece.load(pack), 32)
    sides = [one_side(rows, held_out=held_out) for held_out in (False, True)]
    found = [gloss_kinds(side, 0, index) for side in sides for index in range(1000)]
    assert len({one.text for one in found}) == 2000
    assert guessed([one.text for one in found], [one.answer for one in found]) > 0.8


def test_definitions_have_the_class_of_their_topic_and_do_not_say_it(pack, source, judged):
    topics = {}
    for gloss in pack.glosses():
        topics.setdefault(definition(gloss.text), set()).add(gloss.topic)
    held_out = SentenceExamples(source, "gloss-kinds", "validation", 0)
    for one in (*judged["gloss-kinds"], *map(held_out.judged, range(40))):
        known = {TOPICS[topic] for topic in topics[one.text] if topic in TOPICS}
        assert known == {one.answer}
        for said in ("animal", "plant", "person", "artifact", "living thing"):
            assert not re.search(rf"\b{said}s?\b", one.text.lower())


def test_no_definition_of_the_test_is_read_in_training(source):
    rows = definitions(source.scenes.pack, source.text, 32)
    train, test = (one_side(rows, held_out=side) for side in (False, True))
    for answer, texts in rows.items():
        read, kept = train[answer], test[answer]
        assert not set(read) & set(kept) and set(read) | set(kept) == set(texts)
        assert len(read) + len(kept) == len(set(texts))
        assert 0.01 < len(kept) / len(texts) < 0.15
    seen = [
        {SentenceExamples(source, "gloss-kinds", split, 5).judged(i).text for i in range(400)}
        for split in ("train", "validation")
    ]
    assert not seen[0] & seen[1]


@given(
    living=st.integers(1, 9),
    made=st.integers(1, 9),
    seed=st.integers(0, 2**31),
    start=st.integers(0, 50),
)
def test_both_classes_come_equally_often_and_all_before_one_comes_again(living, made, seed, start):
    counts = {"living thing": living, "artifact": made}
    rows = {answer: tuple(f"{answer} {i}" for i in range(n)) for answer, n in counts.items()}
    read = [gloss_kinds(rows, seed, 2 * start + i) for i in range(20)]
    for one, other in zip(read[::2], read[1::2], strict=True):
        assert {one.answer, other.answer} == set(rows)
    for answer, count in counts.items():
        epoch = [gloss_kinds(rows, seed, index) for index in range(2 * count)]
        assert {one.text for one in epoch if one.answer == answer} == set(rows[answer])


def test_which_class_comes_first_is_a_coin(judged):
    first = Counter(one.answer for one in judged["gloss-kinds"][::2])
    assert abs(first["artifact"] - COUNT / 4) < 3.5 * math.sqrt(COUNT / 8)


@pytest.mark.parametrize("task", CLASSES)
def test_every_word_is_known_and_nothing_is_cut_off(pack, source, task):
    alone = CaptionSource(pack, SceneData(image_size=32))
    for words in (source, alone) if task != "gloss-kinds" else (source,):
        for split in ("train", *SPLITS[task]):
            examples = SentenceExamples(words, task, split, 1)
            for index in range(200):
                one, ids = examples.judged(index), examples[index]["input_ids"]
                assert words.text.unk_id not in ids and len(ids) <= words.data.max_length
                whole = words.text.encode(
                    f"{one.first} [SEP] {one.text}" if one.first else one.text
                )
                assert list(ids) == whole


@pytest.mark.parametrize("task", CLASSES)
def test_an_example_follows_from_seed_and_index(source, task):
    first, again, other = (SentenceExamples(source, task, "train", seed) for seed in (5, 5, 6))
    order = [9, 2, 7]
    one = first.collate([first[index] for index in order])
    for index in (3, 7, 2, 9):
        again[index]
    two = again.collate([again[index] for index in order])
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert any(first.judged(i).text != other.judged(i).text for i in range(4))
    assert first.endless
    with pytest.raises(TypeError, match="endless"):
        len(first)


@pytest.mark.parametrize("task", CLASSES)
def test_a_batch_has_what_models_read(source, task):
    examples = SentenceExamples(source, task, "train", 0)
    rows = [examples[index] for index in range(6)]
    batch = examples.collate(rows)
    assert set(batch) == {"input_ids", "attention_mask", "token_type_ids", "labels"}
    shape = (6, max(len(row["input_ids"]) for row in rows))
    assert batch["input_ids"].shape == batch["token_type_ids"].shape == shape
    assert batch["attention_mask"].shape == shape
    assert batch["attention_mask"].dtype == torch.bool
    assert batch["labels"].dtype == batch["token_type_ids"].dtype == torch.int64
    for row, index in enumerate(range(6)):
        one = examples.judged(index)
        assert classes(task)[batch["labels"][row]] == one.answer
        seen = batch["input_ids"][row][batch["attention_mask"][row]]
        types = batch["token_type_ids"][row][batch["attention_mask"][row]]
        second = source.text.encode(one.text)[1:]
        assert types.sum() == (len(second) if one.first else 0)
        assert seen[-len(second) :].tolist() == second
        if one.first:
            assert types[-len(second) :].all()


@pytest.mark.parametrize("task", PAIRED)
def test_the_baseline_reads_the_second_sentence_alone(source, task):
    both, alone = (
        SentenceExamples(source, task, "validation", 2, side) for side in ("both", "text")
    )
    for index in range(20):
        one, row = both.judged(index), alone[index]
        assert list(row["input_ids"]) == source.text.encode(one.text)
        assert set(row["segments"]) == {0} and row["label"] == both[index]["label"]


def test_classes_stand_where_glue_has_the_like_of_them():
    assert classes("caption-answers") == ("answered", "not answered")
    assert classes("caption-pairs") == ("different", "same")
    assert classes("gloss-kinds") == ("living thing", "artifact")


def test_what_cannot_be_asked_is_refused(source):
    with pytest.raises(ValueError, match="gloss-kinds has no split 'compositions'"):
        SentenceExamples(source, "gloss-kinds", "compositions", 0)
    with pytest.raises(
        DataError, match="no definition of the class 'artifact' is left for the test"
    ):
        one_side({"artifact": ("a chair",)}, held_out=True)

    world = source.scenes.world("train", (2, 2))
    alike = [replace(drawings[0], name="dog") for drawings in world.sprites[:3]]
    same = replace(world, sprites=tuple((sprite,) for sprite in alike))
    for tell in (two_things, caption_answers, caption_pairs):
        with pytest.raises(ValueError, match="no two concepts of different names"):
            tell(lambda objects: same, 0, 0)

"""The labelled tasks: answers against pictures and sentences read anew, priors, blanks, words."""

import math
import re
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from minivl.data import questions
from minivl.data.captions import SCENERY
from minivl.data.examples import SceneData
from minivl.data.questions import NUMBERS, VERDICTS, is_clear
from minivl.data.scenes import Scene, Thing
from minivl.data.statements import TRUTHS
from minivl.data.tasks import (
    SPLITS,
    TaskExamples,
    answers_of,
    encode_answers,
    encode_pair,
    painted_over,
)
from minivl.data.text import WordPiece
from minivl.data.texts import TextData, TextSource
from minivl.errors import UserError
from minivl.evaluation.probe import linear_probe

SMALL = TextData(topics=("noun.food",), vocabulary_size=600)
TASKS = tuple(SPLITS)
COUNT = 4000
SAID = {"on the left": "left", "on the right": "right", "at the top": "top"}
SAID |= {"at the bottom": "bottom"}
SAID |= {f"at the {y} {x}": f"{y} {x}" for y in ("top", "bottom") for x in ("left", "right")}


@pytest.fixture(scope="module")
def two(pack):
    """Pictures of one or two things."""
    return TextSource(pack, SMALL, SceneData(image_size=32))


@pytest.fixture(scope="module")
def four(pack):
    """Pictures of one to four things."""
    return TextSource(pack, replace(SMALL, max_length=64), SceneData(image_size=64, objects=(1, 4)))


@pytest.fixture(scope="module")
def asked(two):
    """task -> its first questions in training."""
    return {
        task: [TaskExamples(two, task, "train", 0, "both").asked(i) for i in range(COUNT)]
        for task in TASKS
    }


def seen_at(scene):
    """Place -> name, by where the boxes lie: the picture's halves, or its corners."""
    half = scene.image_size // 2
    corners = {}
    for thing in scene.things:
        x, y, w, h = thing.box
        sides = {
            "left": x + w <= half,
            "right": x >= half,
            "top": y + h <= half,
            "bottom": y >= half,
        }
        corners[thing.name] = {side for side, holds in sides.items() if holds}
    if len(scene.things) > 2:
        return {" ".join(sorted(s, key="top bottom left right".split().index)): name
                for name, s in corners.items()}  # fmt: skip
    first, second = corners
    for one, other in (("left", "right"), ("right", "left"), ("top", "bottom"), ("bottom", "top")):
        if one in corners[first] and other in corners[second]:
            return {one: first, other: second}
    raise AssertionError(f"{corners} have no sides")


def named(phrase):
    """A noun phrase without its article."""
    return re.sub(r"^(an?|some|the) ", "", phrase)


def answer(question, scene):
    """The right answer, by the boxes and the words of the question alone."""
    names = [thing.name for thing in scene.things]
    if question == "how many things are there":
        return NUMBERS[len(names) - 1]
    if there := re.fullmatch(r"(?:is|are) there (.+)", question):
        return "yes" if named(there[1]) in names else "no"
    relations = "left of|right of|above|below"
    if related := re.fullmatch(rf"(?:is|are) the (.+) ({relations}) the (.+)", question):
        boxes = {thing.name: thing.box for thing in scene.things}
        (x, y), (u, v) = (
            (2 * a + w, 2 * b + h)
            for a, b, w, h in (boxes[name] for name in (related[1], related[3]))
        )
        holds = {"left of": x < u, "right of": x > u, "above": y < v, "below": y > v}
        return "yes" if holds[related[2]] else "no"
    places = seen_at(scene)
    if what := re.fullmatch(r"what is (.+)", question):
        return places[SAID[what[1]]]
    if where := re.fullmatch(r"where (?:is|are) the (.+)", question):
        return next(place for place, name in places.items() if name == where[1])
    place = next(said for said in sorted(SAID, key=len, reverse=True) if question.endswith(said))
    name = named(re.sub(r"^(is|are) ", "", question.removesuffix(place).strip()))
    return "yes" if places.get(SAID[place]) == name else "no"


@pytest.mark.parametrize("split", SPLITS["scene-vqa"])
@pytest.mark.parametrize("things", ["two", "four"])
def test_questions_are_answered_as_a_viewer_of_the_boxes_would(request, things, split):
    examples = TaskExamples(request.getfixturevalue(things), "scene-vqa", split, 7, "both")
    kinds = Counter()
    for index in range(600):
        one = examples.asked(index)
        assert set(one.voices) <= set(examples.answers) and len(one.voices) == 10
        if one.kind != "anything":
            assert answer(one.text, one.scene) == one.answer, one
            assert one.shares == {one.answer: 1.0}
        kinds[one.kind] += 1
    expected = set(questions.VQA_KINDS) - ({"how_many"} if split == "compositions" else set())
    assert set(kinds) == expected and min(kinds.values()) > 60


@pytest.mark.parametrize("things", ["two", "four"])
def test_what_is_in_the_picture_has_every_thing_for_an_answer(request, things):
    examples = TaskExamples(request.getfixturevalue(things), "scene-vqa", "train", 7, "both")
    asked = [one for one in map(examples.asked, range(600)) if one.kind == "anything"]
    assert len(asked) > 60 and len({len(one.shares) for one in asked}) == (
        1 if things == "two" else 3
    )
    for one in asked:
        area = {thing.name: thing.box[2] * thing.box[3] for thing in one.scene.things}
        whole = sum(area.values())
        assert sum(one.shares.values()) == pytest.approx(1)
        for name, share in one.shares.items():
            # To the next viewer, up or down.
            assert abs(10 * area[name] / whole - 10 * share) < 1
        assert list(one.shares.values()) == sorted(one.shares.values(), reverse=True)
        assert one.answer == one.voices[0]
        index = examples.answers.index(one.answer)
        assert one.shares[one.answer] == max(one.shares.values()), index


def test_viewers_go_by_the_area_of_the_boxes():
    def picture(*boxes):
        things = [
            Thing(name, name, "noto", "left", "large", None, (0, 0, *box))
            for name, box in zip(("dog", "cat", "key"), boxes, strict=False)
        ]
        return Scene(0, 0, 40, "p", "sea", (0, 0, 1, False), None, tuple(things))

    assert questions.viewers(picture((3, 5))) == ("dog",) * 10
    assert questions.viewers(picture((3, 5), (5, 3))) == ("dog",) * 5 + ("cat",) * 5
    assert questions.viewers(picture((1, 3), (1, 7))) == ("cat",) * 7 + ("dog",) * 3
    # 3.33 viewers each: the one that is left over goes to the first.
    assert Counter(questions.viewers(picture((2, 2), (1, 4), (4, 1)))) == {
        "dog": 4,
        "cat": 3,
        "key": 3,
    }
    # 9.09 and 0.45 and 0.45: nobody for one of the small ones.
    assert Counter(questions.viewers(picture((1, 20), (1, 1), (1, 1)))) == {"dog": 9, "cat": 1}


@pytest.mark.parametrize("things", ["two", "four"])
def test_claims_about_pictures_are_judged_by_what_is_not_painted_over(request, things):
    source = request.getfixturevalue(things)
    examples = TaskExamples(source, "scene-ve", "train", 3, "both")
    for index in range(600):
        one = examples.asked(index)
        said = next(s for s in sorted(SAID, key=len, reverse=True) if one.text.endswith(s))
        name, place = named(one.text.removesuffix(said).strip()), SAID[said]
        size = one.scene.image_size
        hidden = painted_over(np.full((size, size, 3), 255, np.uint8), one.covered)[..., 0] == 127
        masks = source.scenes.renderer.masks(one.scene)
        visible = {n for n, thing in enumerate(one.scene.things) if not hidden[masks[n]].any()}
        assert len(visible) == len(masks) - 1
        assert sum(hidden[mask].all() for mask in masks) == 1
        (covered,) = set(range(len(masks))) - visible
        told = seen_at(one.scene)
        names = [thing.name for thing in one.scene.things]
        if told[place] == names[covered]:
            expected = "neutral"
            assert name not in {names[n] for n in visible}  # else each thing's being one decides
        else:
            expected = "entailment" if told[place] == name else "contradiction"
        assert one.answer == expected, one


def test_claims_about_sentences_are_judged_by_the_first_one(asked):
    sceneries = tuple(sorted(SCENERY.values(), key=len, reverse=True))
    for one in asked["scene-sentences"]:
        listed = re.sub("^there (is|are) ", "", one.premise)
        scenery = next((s for s in sceneries if listed.endswith(s)), "")
        facts = listed.removesuffix(scenery).strip().split(" and ")
        names = [
            f.removesuffix(next((s for s in SAID if f.endswith(s)), "")).strip() for f in facts
        ]
        if (one.kind == "scenery") != bool(scenery):
            assert one.answer == "neutral"
            # A name that the first sentence lacks would make the claim false.
            assert any(one.text.startswith(f"{name} ") for name in names), one
            continue
        facts = [f"{name} {scenery}" for name in names] if scenery else facts
        assert one.answer == ("entailment" if one.text in facts else "contradiction"), one
    assert {one.answer for one in asked["scene-sentences"]} == set(VERDICTS)


def test_only_scenes_with_a_place_and_a_name_for_each_thing_are_asked_about():
    def two_things(first, second, names=("dog", "cat")):
        things = [
            Thing(name, name, "noto", "left", "large", None, box)
            for name, box in zip(names, (first, second), strict=True)
        ]
        return Scene(0, 0, 40, "p", "sea", (0, 0, 1, False), None, tuple(things))

    assert is_clear(two_things((0, 5, 20, 20), (20, 0, 20, 20)))  # beside each other
    assert is_clear(two_things((5, 0, 20, 20), (0, 20, 20, 20)))  # above each other
    assert not is_clear(two_things((0, 0, 20, 20), (20, 20, 20, 20)))  # corner to corner
    assert not is_clear(two_things((20, 0, 20, 20), (0, 20, 20, 20)))
    assert is_clear(two_things((0, 0, 20, 20), (20, 0, 20, 20)))  # both at the top
    assert not is_clear(two_things((0, 5, 20, 20), (20, 0, 20, 20), ("dog", "dog")))


def even(counts, classes, least=60):
    """Whether no class is more frequent than chance allows (4.5 deviations)."""
    n = sum(counts.values())
    bound = 4.5 * math.sqrt((classes - 1) / classes**2 / n)
    return n < least or all(abs(v / n - 1 / classes) < bound for v in counts.values())


def test_no_word_and_no_place_foretells_the_answer(asked):
    for task, classes, kinds in (
        ("scene-vqa", 2, ("exists", "place", "relation")),
        ("scene-vqa", 4, ("where",)),
        ("scene-ve", 3, ("claim",)),
        ("scene-sentences", 3, questions.SENTENCE_KINDS),
    ):
        given: dict = {}
        for one in asked[task]:
            if one.kind not in kinds:
                continue
            # Either side alone: words with the kind of question, and what they are asked of.
            keys = [(one.kind, word) for word in (*one.text.split(), one.text[-9:])]
            for key in (*keys, one.covered, one.premise[:6]):
                given.setdefault(key, Counter())[one.answer] += 1
        uneven = {key: counts for key, counts in given.items() if not even(counts, classes)}
        assert not uneven
        assert len(given) > 40


@pytest.mark.parametrize("task", TASKS)
def test_a_reader_of_the_text_alone_learns_nothing_but_the_kind_of_question(asked, task):
    # A logistic regression on words and pairs of words: what text-only baselines find first.
    named = ("what", "anything", "how_many", "where")
    chosen = [one for one in asked[task] if one.kind not in named]
    grams = [
        {*one.text.split(), *zip(one.text.split(), one.text.split()[1:], strict=False)}
        for one in chosen
    ]
    known = {gram: i for i, gram in enumerate(sorted(set().union(*grams), key=str))}
    x = torch.zeros(len(chosen), len(known))
    for row, present in enumerate(grams):
        x[row, [known[gram] for gram in present]] = 1
    answers = sorted({one.answer for one in chosen})
    y = torch.tensor([answers.index(one.answer) for one in chosen])
    half = len(chosen) // 2
    right = linear_probe(x[:half], y[:half], x[half:], len(answers)).argmax(1) == y[half:]
    chance = 1 / len(answers)
    deviation = math.sqrt(chance * (1 - chance) / len(right))
    assert right.double().mean().item() < chance + 3.5 * deviation


@pytest.mark.parametrize("task", TASKS)
def test_every_word_is_known_and_nothing_is_cut_off(two, four, task):
    for source in (two, four):
        longest = max(len(row) for row in source.train)
        assert source.data.max_length >= longest
        for split in ("train", *SPLITS[task]):
            examples = TaskExamples(source, task, split, 1, "both")
            for index in range(150):
                one, ids = examples.asked(index), examples[index]["input_ids"]
                assert source.text.unk_id not in ids
                whole = " ".join(filter(None, (one.premise, one.text)))
                assert source.text.decode(ids) == whole.lower()


def test_words_are_added_to_a_vocabulary_only_where_it_lacks_them(pack, monkeypatch):
    data = TextData(topics=("noun.food", "noun.person", "noun.artifact"))
    scenes = SceneData(image_size=32)
    knows = TextSource(pack, data, scenes).text.vocab
    small = TextSource(pack, SMALL, scenes).text.vocab
    monkeypatch.setattr(questions, "words", lambda: ())
    assert TextSource(pack, data, scenes).text.vocab == knows  # so that old runs can be read
    added = set(small) - set(TextSource(pack, SMALL, scenes).text.vocab)
    said = "what where how many things is in both only one picture pictures more left as same"
    assert (
        {"what", "how", "many", "both"}
        <= added
        <= {*said.split(), "different", "places", "place", "two"}
    )


@pytest.mark.parametrize("task", TASKS)
def test_an_example_follows_from_seed_and_index(two, task):
    first, again, other = (TaskExamples(two, task, "train", seed, "both") for seed in (5, 5, 6))
    order = [9, 2, 7]
    one = first.collate([first[index] for index in order])
    for index in (3, 7, 2, 9):
        again[index]
    two_ = again.collate([again[index] for index in order])
    assert set(one) == set(two_)
    assert all(torch.equal(one[key], two_[key]) for key in one)
    assert any(first.asked(i).text != other.asked(i).text for i in range(4))
    assert first.endless
    with pytest.raises(TypeError, match="endless"):
        len(first)


def test_a_batch_has_the_shapes_that_models_read(two):
    examples = TaskExamples(two, "scene-vqa", "train", 0, "both")
    batch = examples.collate([examples[index] for index in range(6)])
    b, t = batch["input_ids"].shape
    assert batch["image"].shape == (6, 3, 32, 32) and batch["image"].dtype == torch.float32
    assert batch["image"].abs().max() <= 1
    assert batch["attention_mask"].shape == batch["token_type_ids"].shape == (b, t)
    assert batch["attention_mask"].dtype == torch.bool
    assert batch["labels"].tolist() == [
        examples.answers.index(examples.asked(index).answer) for index in range(6)
    ]
    shares = batch["answer_shares"]
    assert shares.shape == (6, len(examples.answers)) and shares.dtype == torch.float32
    for index, row in enumerate(shares):
        told = {examples.answers[n]: round(row[n].item(), 6) for n in row.nonzero().flatten()}
        assert told == examples.asked(index).shares
    assert "image" not in (e := TaskExamples(two, "scene-sentences", "train", 0, "both")).collate(
        [e[0]]
    )


@pytest.mark.parametrize("task", ["scene-vqa", "scene-ve"])
def test_baselines_see_one_side_and_are_asked_the_same(two, task):
    make = partial(TaskExamples, two, task, "validation", 11)
    both, text, image = (
        [make(inputs)[i] for i in range(20)] for inputs in ("both", "text", "image")
    )
    for b, t, i in zip(both, text, image, strict=True):
        assert (b["shares"] == t["shares"]).all() and (b["shares"] == i["shares"]).all()
        assert b["input_ids"] == t["input_ids"] and np.array_equal(b["image"], i["image"])
        assert (t["image"] == 127).all() and b["image"].std() > 5
        assert i["input_ids"] == (two.text.cls_id, two.text.sep_id)


def test_of_two_sentences_the_baseline_reads_the_second(two):
    make = partial(TaskExamples, two, "scene-sentences", "validation", 11)
    for index in range(20):
        both, alone, one = make("both")[index], make("text")[index], make("both").asked(index)
        assert two.text.decode(alone["input_ids"]) == one.text.lower()
        assert set(alone["segments"]) == {0}
        start = both["segments"].index(1)
        assert two.text.decode(both["input_ids"][:start]) == one.premise.lower()
        assert both["input_ids"][start - 1] == both["input_ids"][-1] == two.text.sep_id


def test_a_pair_of_sentences_is_joined_as_bert_does(two):
    words = two.text
    a, b = (words.encode(text)[1:-1] for text in ("a dog on the left", "a cat"))
    cls, sep = words.cls_id, words.sep_id
    ids, segments = encode_pair(words, "a dog on the left", "a cat", 32)
    assert list(ids) == [cls, *a, sep, *b, sep]
    assert list(segments) == [0] * (len(a) + 2) + [1] * (len(b) + 1)
    ids, segments = encode_pair(words, "a dog on the left", "a cat", 7)
    assert list(ids) == [cls, *a[:2], sep, *b, sep] and len(segments) == 7
    assert encode_pair(words, "", "a cat", 32) == ((cls, *b, sep), (0,) * (len(b) + 2))


def test_two_pictures_are_shown_and_a_baseline_sees_fewer(two):
    make = partial(TaskExamples, two, "scene-nlvr", "validation", 11)
    render = two.scenes.renderer.image
    for index in range(6):
        one = make("both").asked(index)
        left, right = render(one.scene), render(one.second)
        grey = np.full_like(left, 127)
        for inputs, expected in (
            ("both", (left, right)),
            ("image", (left, right)),
            ("left", (left, grey)),
            ("text", (grey, grey)),
        ):
            example = make(inputs)[index]
            assert np.array_equal(example["image"], np.stack(expected))
            assert (example["shares"] == make("both")[index]["shares"]).all()
            said = two.text.decode(example["input_ids"])
            assert said == ("" if inputs == "image" else one.text.lower())
    examples = make("both")
    batch = examples.collate([examples[index] for index in range(5)])
    assert batch["images"].shape == (5, 2, 3, 32, 32) and "image" not in batch
    first = torch.from_numpy(examples[3]["image"]).permute(0, 3, 1, 2) / 127.5 - 1
    torch.testing.assert_close(batch["images"][3], first)


def test_answers_are_told_from_beginning_to_end(two, four, pack):
    whole = WordPiece.load(pack)
    cls, sep = whole.cls_id, whole.sep_id
    words = ["dog", "ice cream", "Top left", "unicycling"]
    rows = encode_answers(whole, words)
    assert rows == [(cls, *whole.encode(word)[1:-1], sep) for word in words]
    # ALBEF's own tokenizer puts no [SEP] behind a text.
    official = type("Official", (WordPiece,), {"encode": lambda s, t: WordPiece.encode(s, t)[:-1]})
    assert encode_answers(official(whole.vocab), words) == rows


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([], "the list of answers is empty"),
        (["dog", " "], "the answer ' ' is empty"),
        (["dog", "[SEP] cat"], r"'\[SEP\] cat' has \[SEP\] inside"),
        (["dog", "yes [SEP] no"], r"'yes \[SEP\] no' has \[SEP\] inside"),
        (["dog", "cat", "dog"], "'dog' stands twice in the list"),
        (["dog", "Dog"], r"'Dog' stands twice in the list \(also as 'dog'\)"),
        (["a dog", "a  dog"], "stands twice"),
        (["dog", "☃"], "the answer '☃' has a word that the model does not know"),
    ],
)
def test_a_list_of_answers_that_cannot_be_ranked_is_refused(pack, answers, message):
    with pytest.raises(UserError, match=message):
        encode_answers(WordPiece.load(pack), answers)


def test_an_answer_longer_than_a_decoder_reads_is_named(pack):
    words = WordPiece.load(pack)
    said = ["dog", "a dog on the left"]
    assert [len(row) for row in encode_answers(words, said, 6)] == [3, 7]
    with pytest.raises(UserError, match="'a dog on the left' has 6 word pieces .* reads 5"):
        encode_answers(words, said, 5)


def test_all_splits_have_the_same_answers_in_one_order(two, four):
    answers = answers_of(two, "scene-vqa")
    assert answers[:8] == ("yes", "no", "left", "right", "top", "bottom", "one", "two")
    assert len(answers) == len(set(answers)) == 8 + 48 and "dog" in answers
    assert len(answers_of(four, "scene-vqa")) == 48 + 2 + 8 + 4
    assert answers_of(two, "scene-ve") == answers_of(two, "scene-sentences") == VERDICTS
    assert answers_of(four, "scene-nlvr") == TRUTHS == ("false", "true")


def test_paint_covers_the_region_and_nothing_else():
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    painted = painted_over(image, (0.5, 1.0, 0.0, 0.5))
    assert (painted[:2, 3:] == 127).all()
    assert np.array_equal(painted[2:], image[2:]) and np.array_equal(painted[:, :3], image[:, :3])
    assert image[0, 3, 0] == 9  # the picture itself is left as it was

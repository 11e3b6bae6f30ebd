"""Examples: index in, picture and caption out; batches; pools of distinct captions."""

import numpy as np
import pytest
import torch

from minivl.data.captions import KINDS, captions
from minivl.data.examples import (
    SPLITS,
    SceneData,
    SceneSource,
    collate,
    distinct_scenes,
    every_text,
    to_tensor,
)
from minivl.data.scenes import scene


@pytest.fixture(scope="module")
def course(pack):
    return SceneSource(pack, SceneData())


def test_an_example_is_its_index(course):
    one, two = course.examples("train", 5), course.examples("train", 5)
    assert (one[17]["image"] == two[17]["image"]).all()
    assert one[17]["input_ids"] == two[17]["input_ids"]
    assert (one[17]["image"] != course.examples("train", 6)[17]["image"]).any()


def test_the_caption_is_what_the_ids_say(course):
    examples = course.examples("train", 0)
    for index in range(20):
        assert course.text.decode(examples[index]["input_ids"]) == examples.caption(index)


def test_endless_examples_have_no_length(course):
    with pytest.raises(TypeError, match="endless"):
        len(course.examples("train", 0))


def test_collate_by_hand():
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 1] = (255, 0, 51)
    batch = collate(
        [{"image": image, "input_ids": (2, 9, 3)}, {"image": image, "input_ids": (2, 3)}]
    )
    assert batch["image"].shape == (2, 3, 2, 2)
    assert batch["image"][0, :, 0, 1].tolist() == pytest.approx([1.0, -1.0, -0.6])
    assert batch["input_ids"].tolist() == [[2, 9, 3], [2, 3, 0]]
    assert batch["attention_mask"].tolist() == [[True, True, True], [True, True, False]]
    assert batch["image"].dtype == torch.float32


def test_to_tensor_keeps_the_array():
    image = np.full((1, 2, 2, 3), 200, np.uint8)
    to_tensor(image)
    assert (image == 200).all()


def test_the_cut_vocabulary_knows_every_caption(course):
    assert len(course.text) < 400
    for split in SPLITS:
        world = course.world(split)
        for index in range(150):
            for sentence in captions(scene(world, 9, index)):
                assert "[UNK]" not in course.text.tokens(sentence), sentence


def test_every_text_covers_all_kinds(source):
    known = {word for text in every_text(source.world("train")) for word in text.split()}
    for index in range(300):
        for kind, sentence in zip(
            KINDS, captions(scene(source.world("train"), 2, index)), strict=True
        ):
            missing = set(sentence.replace(",", " ,").split()) - known
            assert not missing, (kind, sentence, missing)


def test_pools_hold_distinct_captions(course):
    scenes = distinct_scenes(course.world("validation"), 1, 256)
    assert len({captions(s)[0] for s in scenes}) == 256
    small = course.world("validation", (1, 1))
    with pytest.raises(ValueError, match="distinct captions"):
        distinct_scenes(small, 1, 48 * 5 + 1)

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from minivl.data.captions import caption
from minivl.data.examples import SceneData, SceneSource, to_tensor
from minivl.evaluation import pools
from minivl.evaluation.contrastive import PROMPT_PLACES, Judge, evaluate_contrastive, prompts

CPU = torch.device("cpu")
COUNTS = {"pool_size": 24, "pools": 2, "mirrored_pairs": 12, "named": 30}


@pytest.fixture(scope="module")
def source():
    return SceneSource.load(SceneData(image_size=24))


class Constant(nn.Module):
    """Knows nothing."""

    def encode_image(self, image):
        return torch.ones(len(image), 8)

    def encode_text(self, input_ids, attention_mask):
        return torch.ones(len(input_ids), 8)


class Oracle(nn.Module):
    """Has read the answers: recognises a picture by its pixels, a text by the words it holds."""

    def __init__(self, source):
        super().__init__()
        self.text = source.text
        self.captions = {}
        for split in ("validation", "twemoji", "compositions"):
            asked = [pools.retrieval_pool(source, split, 24, number) for number in range(2)]
            asked.append(pools.mirrored_pool(source, split, 12))
            asked.append(pools.single_pool(source, split, 30)[0])
            for pool in asked:
                for drawn, image in zip(pool.scenes, pool.images, strict=True):
                    pixels = to_tensor(np.array(image)[None])[0]
                    self.captions[pixels.numpy().tobytes()] = caption(drawn, "places")

    def embed(self, sentence):
        vector = torch.zeros(4096)
        for words in sentence.split(" and "):
            seed = int.from_bytes(words.encode(), "little") % (2**61 - 1)
            vector += torch.randn(4096, generator=torch.Generator().manual_seed(seed))
            name = words.split(" on ")[0].split(" at ")[0].split(" in ")[0]
            seed = int.from_bytes(name.encode(), "little") % (2**61 - 1)
            vector += torch.randn(4096, generator=torch.Generator().manual_seed(seed))
        return vector

    def encode_image(self, image):
        return torch.stack([self.embed(self.captions[i.numpy().tobytes()]) for i in image])

    def encode_text(self, input_ids, attention_mask):
        rows = zip(input_ids, attention_mask, strict=True)
        return torch.stack([self.embed(self.text.decode(ids[mask])) for ids, mask in rows])


def expected_keys():
    for split in ("validation", "twemoji", "compositions"):
        for way in ("image_to_text", "text_to_image"):
            yield from (f"{split}/retrieval/{way}_r{k}" for k in (1, 5, 10))
        yield from (f"{split}/order/left_right_{what}" for what in ("pairs", "pictures"))
        if split != "compositions":
            yield f"{split}/zeroshot/accuracy"


def test_a_model_that_knows_nothing_gets_exactly_chance(source):
    metrics = evaluate_contrastive(Constant(), source, CPU, **COUNTS)
    assert set(metrics) == set(expected_keys())
    for key, metric in metrics.items():
        assert metric.value == pytest.approx(metric.chance, abs=1e-12), key
    assert metrics["twemoji/retrieval/image_to_text_r5"].n == 48
    assert metrics["twemoji/retrieval/image_to_text_r5"].chance == pytest.approx(5 / 24)
    assert metrics["twemoji/order/left_right_pairs"].n == 12
    assert metrics["twemoji/zeroshot/accuracy"].chance == pytest.approx(1 / 48)


def test_a_model_that_has_read_the_answers_gets_everything(source):
    metrics = evaluate_contrastive(Oracle(source), source, CPU, **COUNTS)
    assert {key: metric.value for key, metric in metrics.items() if metric.value < 1} == {}


def test_a_task_that_is_not_asked_is_left_out(source):
    counts = COUNTS | {"pools": 0, "named": 0}
    metrics = evaluate_contrastive(Constant(), source, CPU, **counts)
    assert {key.split("/")[1] for key in metrics} == {"order"}


def test_pools_differ_and_texts_fit_the_model(source, monkeypatch):
    seen, lengths = [], []

    class Noting(Constant):
        def encode_image(self, image):
            seen.append(image)
            return super().encode_image(image)

        def encode_text(self, input_ids, attention_mask):
            lengths.append(input_ids.shape[1])
            return super().encode_text(input_ids, attention_mask)

    monkeypatch.setattr(source, "data", replace(source.data, max_length=6))
    Judge(Noting(), source, CPU).retrieval("validation", 8, 2)
    assert len(seen) == 2 and not torch.equal(*seen)
    assert max(lengths) == 6


def test_a_small_world_has_a_pool_of_all_it_can_say(source, monkeypatch):
    judge = Judge(Constant(), source, CPU)
    assert judge.sayable("validation", 20) == 20
    few = [pools.retrieval_pool(source, "validation", 5).scenes[index % 5] for index in range(5)]
    monkeypatch.setattr(
        "minivl.evaluation.contrastive.scene", lambda world, seed, index: few[index % 5]
    )
    assert judge.sayable("validation", 20) == 5


def test_prompts_are_captions_of_single_things(source):
    world = source.world("validation", (1, 1))
    said = {sentence for drawings in world.sprites for sentence in prompts(drawings[0].name)}
    pool, labels, names = pools.single_pool(source, "validation", 30)
    assert {caption(drawn, "places") for drawn in pool.scenes} <= said
    assert len(list(prompts("dog"))) == len(PROMPT_PLACES)
    assert next(prompts("octopus")) == "an octopus on the left"

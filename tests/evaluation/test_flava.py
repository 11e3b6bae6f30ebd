from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from minivl.data.examples import SceneData, to_tensor
from minivl.data.holes import HoledPictures, MaskData
from minivl.data.pack import Pack
from minivl.data.pairs import PairData, PairExamples
from minivl.data.texts import MaskedTexts, TextData, TextSource
from minivl.evaluation.flava import SPLITS, alone, evaluate_flava, filling_in, matching
from minivl.evaluation.masked import EVALUATION_SEED
from minivl.evaluation.pools import mirrored_pool, retrieval_pool
from minivl.models.flava import OBJECTIVES
from minivl.recipes.flava import FlavaRecipe

CPU = torch.device("cpu")
GRID, MASKS = (4, 4), MaskData(share=0.4, min_block=2)
COUNTS = {
    "pool_size": 8,
    "pools": 1,
    "mirrored_pairs": 6,
    "named": 8,
    "matched": 20,
    "masked": 24,
}
CODES = 7


@pytest.fixture(scope="module")
def source():
    data = TextData(topics=("noun.food",), vocabulary_size=600)
    return TextSource(Pack.load(), data, SceneData(image_size=32))


def of_picture(image):
    return image.numpy().tobytes()


class Fake(nn.Module):
    """What `evaluate_flava` asks of a model; states are scores, and the heads pass them on.

    Of a picture's codes each is the sum of its sentence's word pieces modulo CODES: who reads the
    sentence knows them.
    """

    objectives = frozenset(OBJECTIVES) - {"mim", "mlm"}  # those read the encoders themselves

    def __init__(self, source):
        super().__init__()
        self.text, self.size = source.text, len(source.text)
        self.itm_head, self.mmm_text_head = (lambda fused: fused[:, 0, :2]), nn.Identity()
        self.mmm_image_head = lambda rows: rows[:, :CODES]
        self.asked = []

    def encode_image(self, image):
        return torch.ones(len(image), 4)

    def encode_text(self, input_ids, attention_mask):
        return torch.ones(len(input_ids), 4)

    def visual_tokens(self, batch):
        return torch.zeros(len(batch["image"]), *GRID, dtype=torch.int64)

    def answers(self, batch, name):
        if name == "mmm_text":
            return batch["mlm_labels"] != -100, batch["mlm_labels"]
        code = batch["input_ids"].sum(dim=1, keepdim=True) % CODES
        return batch["patches_masked"].flatten(1), code.expand(-1, 16)

    def encode_pair(self, image, input_ids, attention_mask, patches_masked=None):
        self.asked.append((input_ids, attention_mask, patches_masked))
        fused = torch.zeros(len(image), 2 + 16 + input_ids.shape[1], self.size)
        for i in range(len(image)):
            self.see(fused[i], of_picture(image[i]), input_ids[i][attention_mask[i]], 
                     patches_masked is not None and bool(patches_masked[i].all()))  # fmt: skip
        return fused

    def see(self, states, picture, ids, no_picture):
        """Fill the states (2+n+t, size) of one pair; this one sees and reads nothing."""
        states[0, 1] = 1.0  # believes every pair
        states[2:, 5] = 1.0


class Knowing(Fake):
    """Knows the sentence of each picture by heart, but only where it may look."""

    def __init__(self, source, splits=SPLITS):
        super().__init__(source)
        self.sentences = {}
        pairs = PairData(mismatched=0.0)
        for split in splits:
            asked = [mirrored_pool(source.scenes, split, COUNTS["mirrored_pairs"])]
            asked.append(retrieval_pool(source.scenes, split, COUNTS["matched"] // 2))
            for pool in asked:
                for image, caption in zip(pool.images, pool.captions, strict=True):
                    pixels = to_tensor(np.array(image)[None])[0]
                    ids = source.text.encode(caption, source.data.max_length)
                    self.sentences[of_picture(pixels)] = tuple(ids)
            given = PairExamples(source, split, GRID, MASKS, pairs, EVALUATION_SEED)
            batch = given.collate([given[index] for index in range(COUNTS["masked"])])
            for image, ids, seen in zip(
                batch["image"], batch["input_ids"], batch["attention_mask"], strict=True
            ):
                self.sentences[of_picture(image)] = tuple(ids[seen].tolist())

    def see(self, states, picture, ids, no_picture):
        said = self.sentences[picture]
        belongs = self.belongs(said, tuple(ids.tolist()))
        states[0] = 0
        states[0, int(belongs)] = 1.0
        states[2:, 0] = 1e-3  # the only guess of who may not look
        if not no_picture:
            for place, word in enumerate(said):
                states[18 + place, word] = 1.0
        if not (ids == self.text.mask_id).any():
            states[2:18, int(ids.sum()) % CODES] = 1.0

    def belongs(self, said, read):
        return said == read


class Unordered(Knowing):
    """Counts words."""

    def belongs(self, said, read):
        return sorted(said) == sorted(read)


@pytest.mark.parametrize("split", SPLITS)
def test_who_knows_each_pictures_sentence_matches_and_fills_in_everything(source, split):
    model = Knowing(source, [split])
    found = matching(source, model, CPU, split, COUNTS["matched"], COUNTS["mirrored_pairs"])
    assert {name: metric.value for name, metric in found.items()} == {
        "itm/random": 1.0,
        "itm/mirrored": 1.0,
    }
    found = filling_in(source, model, CPU, split, GRID, MASKS, COUNTS["masked"])
    assert found["mmm_text/accuracy"].value == found["mmm_image/accuracy"].value == 1.0
    # Without the other side the same heads know a constant answer, which is no word at all.
    assert found["mmm_text/without_picture"].value == 0.0
    guessed = found["mmm_image/without_text"]
    assert guessed.value <= guessed.chance < 0.7


def test_who_believes_everything_is_right_half_the_time(source):
    found = matching(source, Fake(source), CPU, "validation", 20, 6)
    for name, size in (("itm/random", 10), ("itm/mirrored", 12)):
        metric = found[name]
        assert (metric.value, metric.chance, metric.n) == (0.5, 0.5, 2 * size)
    # Both answers about one picture hang together: the interval is that of as many pictures.
    assert found["itm/random"].high > 0.75


def test_a_tie_counts_as_doubt(source):
    class Torn(Fake):
        def see(self, states, *rest):
            states[0, :2] = 1.0

    found = matching(source, Torn(source), CPU, "validation", 20, 6)
    assert {metric.value for metric in found.values()} == {0.5}


def test_of_mirrored_twins_only_the_order_of_words_is_told_apart(source):
    model = Unordered(source, ["validation"])
    found = matching(source, model, CPU, "validation", 20, 6)
    assert found["itm/random"].value == 1.0
    assert found["itm/mirrored"].value == 0.5


def test_who_sees_nothing_fills_in_the_same_with_and_without(source):
    found = filling_in(source, Fake(source), CPU, "validation", GRID, MASKS, 24)
    assert found["mmm_text/accuracy"] == found["mmm_text/without_picture"]
    assert found["mmm_image/accuracy"] == found["mmm_image/without_text"]
    assert found["mmm_image/accuracy"].n == 24 * round(0.4 * 16)
    for metric in found.values():
        assert metric.value <= metric.chance


def test_without_means_that_all_of_the_other_side_is_hidden(source):
    model, text = Fake(source), source.text
    pairs = PairExamples(
        source, "validation", GRID, MASKS, PairData(0.0, 0.15), EVALUATION_SEED, all_hidden=True
    )
    batch = pairs.collate([pairs[index] for index in range(24)])
    filling_in(source, model, CPU, "validation", GRID, MASKS, 24)
    whole, no_picture, holed, no_text = model.asked
    for ids, _, _ in (whole, no_picture):
        assert torch.equal(ids, batch["mlm_input_ids"])
    assert not whole[2].any() and no_picture[2].all()
    for _, _, holes in (holed, no_text):
        assert torch.equal(holes, batch["patches_masked"])
    assert torch.equal(holed[0], batch["input_ids"])
    kept = torch.tensor([text.pad_id, text.cls_id, text.sep_id])
    words = ~torch.isin(batch["input_ids"], kept)
    assert (no_text[0][words] == text.mask_id).all()
    assert torch.equal(no_text[0][~words], batch["input_ids"][~words])


def test_all_splits_are_asked_what_the_objectives_teach(source):
    arguments = (CPU, GRID, MASKS)
    metrics = evaluate_flava(source, Fake(source), *arguments, **COUNTS)
    tasks = {"itm/random", "itm/mirrored", "mmm_text/accuracy", "mmm_text/without_picture",
             "mmm_image/accuracy", "mmm_image/without_text",
             "retrieval/image_to_text_r1", "order/left_right_pairs"}  # fmt: skip
    for split in SPLITS:
        assert {f"{split}/{task}" for task in tasks} <= set(metrics)
    assert "twemoji/zeroshot/accuracy" in metrics
    for objective, asked in {
        "contrastive": {"retrieval", "order", "zeroshot"},
        "itm": {"itm"},
        "mmm_text": {"mmm_text"},
        "mmm_image": {"mmm_image"},
    }.items():
        model = Fake(source)
        model.objectives = frozenset([objective])
        metrics = evaluate_flava(source, model, *arguments, **COUNTS)
        assert {key.split("/")[1] for key in metrics} == asked


def test_pictures_and_texts_alone_are_named_by_their_own_heads():
    recipe = FlavaRecipe.at_size("test")
    source = TextSource.load(recipe.texts, recipe.data)
    torch.manual_seed(0)
    model = recipe.build_model(source).eval()
    found = alone(source, model, CPU, recipe.grid, recipe.masks, 64)
    blocks = replace(recipe.masks, photo_share=0.0)
    pictures = HoledPictures(source.scenes, "validation", recipe.grid, blocks, EVALUATION_SEED)
    data = replace(source.data, probability=0.15)
    glosses = source.glosses("held out")
    texts = MaskedTexts(glosses, source.text, data, EVALUATION_SEED, all_hidden=True)
    for key, examples in (("validation/mim_head", pictures), ("glosses/mlm_head", texts)):
        batch = examples.collate([examples[index] for index in range(64)])
        with torch.no_grad():
            model.losses(batch)
        # Training's own count of the same batch.
        (name,) = (one for one in model.monitors if one.startswith(key[-8:-5]))
        told = float(model.monitors[name])
        assert found[f"{key}/accuracy"].value == pytest.approx(told, abs=0.02)
    few = replace(recipe, objectives=("contrastive",)).build_model(source)
    assert alone(source, few, CPU, recipe.grid, recipe.masks, 8) == {}

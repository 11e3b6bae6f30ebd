"""Ways to look, of a model of a few numbers."""

import numpy as np
import pytest
import torch

from minivl.data.examples import SceneData, SceneSource, to_tensor
from minivl.evaluation.grounding_albef import phrase
from minivl.models.albef import Albef
from minivl.nn.bert import Bert
from minivl.nn.fusion import FusionEncoder
from minivl.nn.vit import ViT
from minivl.recipes.grounding_figures import Maps, grounding
from minivl.visualize.gradcam import look, mean_map, on_grid, word_maps

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def source():
    return SceneSource.load(SceneData(image_size=32))


@pytest.fixture
def model(source, drawn):
    return drawn(
        Albef(
            ViT(image_size=32, patch_size=8, width=8, depth=1, heads=2),
            Bert(vocab_size=len(source.text), width=8, depth=1, heads=2, max_length=32),
            FusionEncoder(8, 3, 2, context_width=8),
            embed_dim=6,
            queue_size=4,
        )
    ).float()


@pytest.fixture
def asked(source):
    world = source.world("validation", (2, 2))
    return [phrase(world, 1, index) for index in range(5)]


@pytest.fixture
def images(source, asked):
    return np.stack([source.renderer.image(one.scene) for one in asked])


def test_every_way_is_the_map_that_it_says(source, model, asked, images):
    maps = Maps(model, source.text, CPU, 32)(images, asked)
    assert list(maps) == ["", "attention", "absent", "empty", "word",
                          "block_1", "block_2", "block_3"]  # fmt: skip
    assert all(heat.shape == (5, 4, 4) for heat in maps.values())
    for row, one in enumerate(asked):
        pixels = to_tensor(images[row : row + 1])

        def cams(said, pixels=pixels, **options):
            text = source.text.batch([said])
            ids, seen = text["input_ids"], text["attention_mask"]
            return word_maps(model, pixels, ids, seen, **options), seen, ids

        def close(way, expected, row=row):
            torch.testing.assert_close(maps[way][row], expected, rtol=1e-4, atol=1e-9)

        for way, said in (("", one.words), ("absent", one.absent), ("empty", "")):
            words, seen, _ = cams(said)
            close(way, mean_map(words, seen)[0])
        words, seen, ids = cams(one.words, layer=0)
        close("block_1", mean_map(words, seen)[0])
        words, seen, ids = cams(one.words, layer=2)
        close("block_3", mean_map(words, seen)[0])
        attention = look(model, pixels, ids, seen).attention[1].mean(dim=1)
        close("attention", on_grid(attention, (4, 4))[0].mean(dim=0))
        words, _, ids = cams(one.sentence)
        name = source.text.tokens(one.name)
        pieces = [source.text.vocab[i] for i in ids[0].tolist()]
        first = next(i for i in range(len(pieces)) if pieces[i : i + len(name)] == name)
        close("word", words[0, first : first + len(name)].mean(dim=0))


def test_a_caption_cut_before_the_name_points_nowhere(source, model, asked, images):
    maps = Maps(model, source.text, CPU, 4)(images, asked)
    second = [row for row, one in enumerate(asked) if one.target == 1]
    assert second and all((maps["word"][row] == 0).all() for row in second)


def test_all_splits_are_measured(source, model):
    found = grounding(source, model, CPU, 6)
    ways = ("attention", "absent", "empty", "word", "block_1", "block_2", "block_3", "centre",
            "uniform")  # fmt: skip
    assert set(found) == {
        f"{split}/scene-grounding/{name}{ending}"
        for split in ("validation", "twemoji", "compositions")
        for name in ("box", "pointing")
        for ending in ("", *(f"_{way}" for way in ways))
    }
    assert all(metric.n == 6 for metric in found.values())
    split = "validation/scene-grounding"
    assert found[f"{split}/box"] == found[f"{split}/box_block_2"]

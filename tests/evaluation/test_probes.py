import numpy as np
import pytest
import torch
from torch import nn

from minivl.data.examples import SceneData, SceneSource, to_tensor
from minivl.data.scenes import scene
from minivl.evaluation.pools import EVALUATION_SEED
from minivl.evaluation.probes import Features, OneThing, probe

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def source():
    return SceneSource.load(SceneData(image_size=16))


class Tokens(nn.Module):
    """Rows of pixels as tokens, behind a class token of zeros."""

    def __init__(self, noise=0.0):
        super().__init__()
        self.noise = noise

    def forward(self, image):
        rows = image.transpose(1, 2).flatten(2)
        generator = torch.Generator().manual_seed(int(image.abs().sum().item() * 100) % 2**31)
        rows = rows + self.noise * torch.randn(rows.shape, generator=generator)
        return torch.cat([torch.zeros_like(rows[:, :1]), rows], dim=1)


def flat(tokens):
    """All tokens but the class token, one behind the other."""
    return tokens[:, 1:].flatten(1)


def test_an_exit_is_pooled_as_its_model_does(source):
    image = torch.rand(2, 3, 4, 4)
    found = Features(Tokens(), lambda tokens: tokens[:, 1:].mean(1)).encode_image(image)
    torch.testing.assert_close(found, image.transpose(1, 2).flatten(2).mean(1))


def test_pictures_show_one_thing_in_plain_light_and_say_which(source):
    things = OneThing(source)
    images, labels, masks = things.pictures("train", EVALUATION_SEED, 20)
    world = source.world("train", (1, 1))
    assert things.names == [drawings[0].name for drawings in world.sprites]
    assert images.shape == (20, 16, 16, 3) and masks.shape == (20, 16, 16)
    plain = SceneSource.load(SceneData(image_size=16, twin_share=0.0, light=0.0))
    for index in range(20):
        drawn = scene(plain.world("train", (1, 1)), EVALUATION_SEED, index)
        (thing,) = drawn.things
        assert things.names[labels[index]] == thing.name
        assert np.array_equal(images[index], plain.renderer.image(drawn))
        assert masks[index].any()
    with_twins = SceneSource.load(SceneData(image_size=16, twin_share=1.0))
    assert np.array_equal(OneThing(with_twins).pictures("train", EVALUATION_SEED, 6)[0], images[:6])


def test_numbers_stand_beside_an_untrained_encoder_and_the_pixels(source):
    found = probe(source, Features(Tokens(), flat), Features(Tokens(50.0), flat), CPU, 24)
    expected = {
        f"{split}/{task}/accuracy{which}"
        for split in ("validation", "twemoji")
        for task in ("image_knn", "image_linear")
        for which in ("", "_untrained", "_raw_pixels")
        if (task, which) != ("image_linear", "_raw_pixels")
    }
    assert set(found) == expected
    assert all(m.n == 24 and m.chance == 1 / 48 for m in found.values())
    for split in ("validation", "twemoji"):
        # Its features are the pixels, in another order.
        own, raw = (found[f"{split}/image_knn/accuracy{which}"] for which in ("", "_raw_pixels"))
        assert own.value == pytest.approx(raw.value)


def test_features_that_name_the_thing_are_found_by_both_probes(source):
    class Oracle(nn.Module):
        def __init__(self):
            super().__init__()
            self.known = {}
            for split in ("train", "validation", "twemoji"):
                number = ("train", "validation", "twemoji").index(split)
                images, labels, _ = OneThing(source).pictures(split, EVALUATION_SEED + number, 192)
                for image, label in zip(to_tensor(images), labels, strict=True):
                    self.known[image.numpy().tobytes()] = int(label)

        def forward(self, image):
            labels = [self.known[one.contiguous().numpy().tobytes()] for one in image.cpu()]
            return nn.functional.one_hot(torch.tensor(labels), 48).float().unsqueeze(1)

    oracle = Features(Oracle(), lambda tokens: tokens[:, 0])
    found = probe(source, oracle, Features(Tokens(50.0), flat), CPU, 96)
    _, gallery, _ = OneThing(source).pictures("train", EVALUATION_SEED, 192)
    for number, split in enumerate(("validation", "twemoji"), start=1):
        _, asked, _ = OneThing(source).pictures(split, EVALUATION_SEED + number, 96)
        shown = np.isin(asked, gallery).mean()  # a concept that the gallery lacks has no neighbour
        assert found[f"{split}/image_knn/accuracy"].value == pytest.approx(shown, abs=0.03)
        assert found[f"{split}/image_linear/accuracy"].value == pytest.approx(shown, abs=0.03)
        assert found[f"{split}/image_knn/accuracy_untrained"].value < 0.2

import math

import numpy as np
import pytest
import torch
from torch import nn

from minivl.data.examples import SceneData, SceneSource, to_tensor
from minivl.evaluation.metric import Metric
from minivl.evaluation.tokenizer import codebook, errors, evaluate_tokenizer, measure, psnr, unseen
from minivl.models.dvae import DVAE
from minivl.nn.dvae import Decoder, Encoder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def source():
    return SceneSource.load(SceneData(image_size=16))


@pytest.fixture
def model():
    torch.manual_seed(0)
    numbers = {"vocab_size": 9, "width": 8, "groups": 2, "blocks": 1}
    return DVAE(Encoder(**numbers), Decoder(**numbers, code_width=4))


class Grey(nn.Module):
    """Names the brightness of each pixel, and draws a grey of it."""

    vocab_size = 256

    def tokenize(self, image):
        return ((image.mean(1) + 1) * 127.5).round().long()

    def decode(self, tokens):
        return (tokens.unsqueeze(1).expand(-1, 3, -1, -1) / 127.5 - 1).float()


def test_psnr_of_known_errors():
    expected = {0.01: 20.0, 1.0: 0.0, 0.0: 20 * math.log10(510)}
    got = psnr(torch.tensor(list(expected)))
    torch.testing.assert_close(got, torch.tensor(list(expected.values())))


def test_errors_are_of_colours_from_0_to_1():
    image = torch.zeros(2, 3, 2, 2)
    drawn = image.clone()
    drawn[1, 0, 0, 0] = 1.2  # 0.6 of the range, in one of 12 numbers
    got = errors(drawn, image)
    torch.testing.assert_close(got[:, 0], torch.zeros(2).double())
    torch.testing.assert_close(got[:, 1], torch.tensor([0.05, 0.03]).double())


def test_measured_by_slow_loops(source):
    images = next(unseen(source, 5))[1]
    found = measure(Grey(), images, CPU)
    names, db, l1, flat_db, flat_l1 = [], [], [], [], []
    for image in images / 255.0:
        grey = (image.mean(-1) * 255).round()
        names += grey.flatten().tolist()
        for drawn, decibels, absolute in (
            (np.repeat(grey[..., None], 3, -1) / 255, db, l1),
            (np.broadcast_to(image.mean((0, 1)), image.shape), flat_db, flat_l1),
        ):
            decibels.append(-10 * math.log10(((drawn - image) ** 2).mean()))
            absolute.append(abs(drawn - image).mean())
    signal, error = found["reconstruction/psnr"], found["reconstruction/l1"]
    assert signal["value"] == pytest.approx(np.mean(db), abs=1e-3) and signal["n"] == 5
    assert signal["chance"] == pytest.approx(np.mean(flat_db), abs=1e-3)
    assert error.value == pytest.approx(np.mean(l1), abs=1e-5)
    assert error.chance == pytest.approx(np.mean(flat_l1), abs=1e-5)
    half = 1.96 * np.std(l1, ddof=1) / math.sqrt(5)
    assert error.high - error.value == pytest.approx(half, rel=1e-3)
    counts = np.unique(names, return_counts=True)[1] / len(names)
    assert found["codebook/used"]["value"] == pytest.approx(len(counts) / 256)
    perplexity = math.exp(-(counts * np.log(counts)).sum())
    assert found["codebook/perplexity"]["value"] == pytest.approx(perplexity, rel=1e-5)


def test_few_tokens_cannot_show_many_codes():
    """4,096 even draws from 8,192 codes look like about 3,000 codes."""
    tokens = torch.zeros(4, 32, 32, dtype=torch.int64)
    found = codebook(tokens, 8192)
    assert found["codebook/perplexity"]["value"] == pytest.approx(1)
    assert found["codebook/perplexity"]["ceiling"] == pytest.approx(2998, rel=0.02)
    assert found["codebook/used"]["value"] == 1 / 8192 == found["codebook/used"]["chance"]


def test_unseen_pictures_lie_on_photographs_kept_from_training(source):
    kinds = dict(unseen(source, 6))
    assert list(kinds) == ["validation", "twemoji", "photographs"]
    assert all(images.shape == (6, 16, 16, 3) and images.dtype == np.uint8
               for images in kinds.values())  # fmt: skip
    again = dict(unseen(source, 3))
    for kind, images in kinds.items():
        assert (again[kind] == images[:3]).all()
        assert len({image.tobytes() for image in images}) == 6
    kept = {*source.splits.validation_photos, *source.splits.test_photos}
    assert not kept & set(source.splits.train_photos)
    for split in ("validation", "twemoji"):
        assert {name for name, _ in source.world(split).photos} <= kept


def test_every_kind_is_measured_and_the_model_left_as_it_was(model, source):
    model.train()
    before = {name: p.clone() for name, p in model.named_parameters()}
    metrics = evaluate_tokenizer(model, source, CPU, pictures=3)
    assert len(metrics) == 3 * 4
    assert list(metrics)[:4] == [
        "validation/reconstruction/psnr",
        "validation/reconstruction/l1",
        "validation/codebook/perplexity",
        "validation/codebook/used",
    ]
    for key, metric in metrics.items():
        value = metric.value if isinstance(metric, Metric) else metric["value"]
        assert math.isfinite(value), key
    assert model.training
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_a_perfect_tokenizer_is_as_good_as_eight_bits():
    class Perfect(Grey):
        def decode(self, tokens):
            return self.image

        def tokenize(self, image):
            self.image = image
            return super().tokenize(image)

    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    found = measure(Perfect(), images, CPU)
    assert found["reconstruction/psnr"]["value"] == pytest.approx(54.15, abs=0.01)
    assert found["reconstruction/l1"].value == 0
    assert to_tensor(images).shape == (2, 3, 4, 4)

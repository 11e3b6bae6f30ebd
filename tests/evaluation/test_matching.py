import numpy as np
import pytest
import torch
from torch import nn

from minivl.data.examples import SceneData, SceneSource, to_tensor
from minivl.evaluation.matching import Matcher
from minivl.evaluation.pools import mirrored_pool, retrieval_pool

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def source():
    return SceneSource.load(SceneData(image_size=32))


def asking(source, believes):
    """A matcher whose model believes what `believes(picture, ids)` says, and what it was asked."""
    model, asked = nn.Linear(1, 1), []

    def scores(image, input_ids, attention_mask):
        assert not model.training and not torch.is_grad_enabled()
        assert image.dtype == torch.float32 and image.abs().max() <= 1
        for picture, ids, seen in zip(image, input_ids, attention_mask, strict=True):
            asked.append((picture.numpy().tobytes(), tuple(ids[seen].tolist())))
        return torch.tensor([float(believes(*one)) for one in asked[-len(image) :]])

    return Matcher(model.train(), scores, source, CPU), asked


def key(image):
    return to_tensor(np.array(image)[None])[0].numpy().tobytes()


def test_each_picture_is_asked_with_its_own_and_with_a_wrong_sentence(source):
    pool, twins = retrieval_pool(source, "validation", 10), mirrored_pool(source, "validation", 6)
    own = {
        key(image): source.encode(said)
        for some in (pool, twins)
        for image, said in zip(some.images, some.captions, strict=True)
    }
    for believes, values in (
        (lambda picture, ids: 1 if own[picture] == ids else -1, (1.0, 1.0)),
        (lambda picture, ids: 1 if sorted(own[picture]) == sorted(ids) else -1, (1.0, 0.5)),
        (lambda picture, ids: 1, (0.5, 0.5)),
        (lambda picture, ids: 0, (0.5, 0.5)),  # a tie is doubt
    ):
        matcher, asked = asking(source, believes)
        found = matcher.matching("validation", 20, 6)
        assert matcher.model.training
        assert [found[f"itm/{name}"].value for name in ("random", "mirrored")] == list(values)
        assert [found[f"itm/{name}"].n for name in ("random", "mirrored")] == [20, 24]
        assert len(asked) == 44
        wrong = [(picture, ids) for picture, ids in asked if own[picture] != ids]
        assert len(wrong) == 22


def test_what_is_not_to_be_asked_is_left_out(source):
    matcher, asked = asking(source, lambda *_: 1)
    assert set(matcher.matching("validation", 8, 0)) == {"itm/random"}
    assert set(matcher.matching("validation", 0, 2)) == {"itm/mirrored"}
    assert matcher.matching("validation", 0, 0) == {}


def test_many_pairs_are_scored_in_batches_and_in_order(source, monkeypatch):
    from minivl.evaluation import matching

    monkeypatch.setattr(matching, "BATCH", 3)
    pool = retrieval_pool(source, "twemoji", 8)
    place = {source.encode(said): number for number, said in enumerate(pool.captions)}
    matcher, asked = asking(source, lambda _, ids: place[ids])
    assert matcher.of(pool.images, pool.captions).tolist() == list(range(8))
    assert [picture for picture, _ in asked] == [key(image) for image in pool.images]

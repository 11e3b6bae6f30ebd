"""Retrieval on pairs of a file, against the official loops written out, and by hand."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from minivl.data.examples import to_tensor
from minivl.data.official_text import OfficialWordPiece
from minivl.data.pair_files import read
from minivl.data.text import SPECIAL_TOKENS
from minivl.errors import DataError
from minivl.evaluation import pair_files
from minivl.evaluation.pair_files import evaluate_pairs, unknown
from minivl.models.albef import Albef
from minivl.models.clip import Clip
from minivl.nn.bert import Bert
from minivl.nn.fusion import FusionEncoder
from minivl.nn.vit import ViT

CPU = torch.device("cpu")
NAMES = ["dog", "cat", "red", "blue", "runs", "sits", "small", "large"]
TEXT = OfficialWordPiece([*SPECIAL_TOKENS, *NAMES])
COUNT = 12


def encoders(norm="post"):
    words = {"vocab_size": len(TEXT), "width": 8, "depth": 1, "heads": 2, "max_length": 16}
    return ViT(image_size=8, patch_size=4, width=8, depth=1, heads=2), Bert(norm=norm, **words)


@pytest.fixture
def albef(drawn):
    model = Albef(*encoders(), FusionEncoder(8, 2, 2, context_width=8), embed_dim=6, queue_size=4)
    return drawn(model, 1).float()


@pytest.fixture
def pairs(tmp_path):
    """Twelve pictures with three captions, the fourth with five and the last with one."""
    noise = np.random.default_rng(2)
    entries = []
    for number in range(COUNT):
        pixels = noise.integers(0, 256, (9, 11, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        captions = [
            ", ".join(noise.permutation(NAMES)[: noise.integers(2, 7)]).upper() + "."
            for _ in range({3: 5, 11: 1}.get(number, 3))
        ]
        entries.append({"image": f"{number}.png", "caption": captions})
    (tmp_path / "pairs.json").write_text(json.dumps(entries))
    return read(tmp_path / "pairs.json", tmp_path)


def official_ranks(model, pairs, k):
    """The loops of the official evaluation: rank of the first right caption of each picture, of
    the picture of each caption; by similarity and among k ranked anew. One pair at a time."""
    said = [caption for own in pairs.captions for caption in own]
    owner = [number for number, own in enumerate(pairs.captions) for _ in own]
    (images,) = pairs.pictures(8, 99)
    images = to_tensor(np.stack(images))
    rows = [TEXT.batch([one], 30) for one in said]
    with torch.no_grad():
        texts = torch.cat([model.encode_text(*row.values()) for row in rows])
        cosines = F.normalize(model.encode_image(images), dim=-1) @ F.normalize(texts, dim=-1).T
        match = torch.empty_like(cosines)
        for i in range(len(images)):
            for j, row in enumerate(rows):
                fused = model.encode_pair(images[i : i + 1], *row.values())
                match[i, j] = model.itm_head(fused[:, 0])[0, 1]
    found = {}
    for stage in ("retrieval", "reranked"):
        to_text, to_image = cosines.clone(), cosines.T.clone()
        if stage == "reranked":
            for scores, anew in ((to_text, match), (to_image, match.T)):
                for row, judged in zip(scores, anew, strict=True):
                    chosen = row.topk(k).indices
                    row[:] = -100
                    row[chosen] = judged[chosen]
        orders = to_text.argsort(dim=1, descending=True)
        found[f"{stage}/image_to_text"] = [
            min(place for place, j in enumerate(order.tolist()) if owner[j] == i)
            for i, order in enumerate(orders)
        ]
        orders = to_image.argsort(dim=1, descending=True)
        found[f"{stage}/text_to_image"] = [
            order.tolist().index(owner[j]) for j, order in enumerate(orders)
        ]
    return found


def test_both_stages_are_the_official_loops(albef, pairs, monkeypatch):
    """In small batches: a padded text and a picture of a batch count as they do alone."""
    monkeypatch.setattr(pair_files, "PICTURES", 5)
    monkeypatch.setattr(pair_files, "TEXTS", 7)
    told = []
    k = 11  # R@10 asks for no more than was ranked anew
    metrics, left_out = evaluate_pairs(
        albef, TEXT, pairs, CPU, side=8, longest=30, reranked=k,
        progress=lambda *news: told.append(news),
    )  # fmt: skip
    assert left_out == []
    ranks = official_ranks(albef, pairs, k)
    assert metrics.keys() == {f"{way}_r{k}" for way in ranks for k in (1, 5, 10)}
    for way, places in ranks.items():
        for best in (1, 5, 10):
            wanted = np.mean(np.array(places) < best)
            assert metrics[f"{way}_r{best}"].value == pytest.approx(wanted, abs=1e-9), (way, best)
    assert len({metric.value for metric in metrics.values()}) > 6
    counts = {name: metrics[f"{name}_r1"].n for name in ranks}
    assert counts["retrieval/image_to_text"] == COUNT and counts["reranked/text_to_image"] == 36
    for what, total in {
        "pictures read": 12, "captions read": 36, "pictures ranked": 12, "captions ranked": 36,
    }.items():  # fmt: skip
        done = [done for name, done, of in told if name == what and of == total]
        assert done == sorted(done) and done[-1] == total, what


def test_broken_pictures_are_left_out_with_their_captions(albef, pairs):
    fine, _ = evaluate_pairs(albef, TEXT, pairs, CPU, side=8, longest=30, reranked=3)
    broken = pairs.folder / "3.png"
    broken.write_bytes(broken.read_bytes()[:60])
    metrics, left_out = evaluate_pairs(albef, TEXT, pairs, CPU, side=8, longest=30, reranked=3)
    assert len(left_out) == 1 and left_out[0].startswith(f"{broken} is a broken or truncated")
    assert metrics["retrieval/image_to_text_r1"].n == COUNT - 1
    assert metrics["reranked/text_to_image_r1"].n == 31
    whole = [number for number in range(COUNT) if number != 3]
    rest = type(pairs)(
        pairs.name,
        pairs.folder,
        *(tuple(x[n] for n in whole) for x in (pairs.images, pairs.captions)),
    )
    assert evaluate_pairs(albef, TEXT, rest, CPU, side=8, longest=30, reranked=3)[0] == metrics
    assert metrics != fine
    for path in pairs.folder.glob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"no picture of pairs.json can be read.*is empty"):
        evaluate_pairs(albef, TEXT, pairs, CPU, side=8, longest=30)


def test_an_equal_caption_of_another_picture_is_wrong_and_shares_its_place(albef, pairs):
    """Two pictures with one caption in common: whose it is, is a coin's toss at best."""
    alone = type(pairs)("two", pairs.folder, pairs.images[:2], (("red dog",), ("red dog",)))
    metrics, _ = evaluate_pairs(albef, TEXT, alone, CPU, side=8, longest=30)
    assert metrics["retrieval/image_to_text_r1"].value == 0.5
    assert metrics["retrieval/text_to_image_r1"].value == 0.5


def test_two_towers_are_measured_by_similarity_alone(drawn, pairs):
    model = drawn(Clip(*encoders("pre"), embed_dim=6, image_pool="mean"), 4).float()
    metrics, _ = evaluate_pairs(model, TEXT, pairs, CPU, side=8, longest=16)
    assert {name.split("/")[0] for name in metrics} == {"retrieval"}
    said = [caption for own in pairs.captions for caption in own]
    (images,) = pairs.pictures(8, 99)
    batch = TEXT.batch(said, 16)
    with torch.no_grad():
        cosines = F.normalize(model.encode_image(to_tensor(np.stack(images))), dim=-1)
        cosines = cosines @ F.normalize(model.encode_text(*batch.values()), dim=-1).T
    owner = torch.tensor([n for n, own in enumerate(pairs.captions) for _ in own])
    right = (owner[cosines.argmax(dim=1)] == torch.arange(COUNT)).double().mean().item()
    assert metrics["retrieval/image_to_text_r1"].value == pytest.approx(right)


def test_words_that_a_run_does_not_know(pairs):
    few = OfficialWordPiece([*SPECIAL_TOKENS, *NAMES[:4]])
    assert unknown(TEXT, pairs) == 0 < unknown(few, pairs) < 1
    odd = type(pairs)("odd", pairs.folder, pairs.images[:1], (("dog sits, cat",),))
    assert unknown(few, odd) == pytest.approx(1 / 3)

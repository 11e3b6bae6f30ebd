"""What lesson 06 trains: frozen states, three fusions called alike, and how they are judged."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from minivl.course.frozen import States, encode, exchanged, fits, renamed
from minivl.course.matchers import (
    BLOCKS,
    CO,
    CROSS,
    FUSIONS,
    MERGED,
    Fusion,
    Matcher,
    all_beliefs,
    belief,
    yes_or_no,
)
from minivl.data.scenes import Scene, Thing
from minivl.models.flava import Flava, MultimodalEncoder
from minivl.nn.bert import Bert
from minivl.nn.vit import ViT

WIDTH, N, T = 8, 5, 3


def flava(**options):
    torch.manual_seed(0)
    return Flava(
        ViT(image_size=8, patch_size=4, width=8, depth=1, heads=2),
        Bert(vocab_size=11, width=8, depth=1, heads=2, max_length=6, norm="pre"),
        MultimodalEncoder(8, 1, 2),
        embed_dim=6,
        vocab_size=5,
        **options,
    ).eval()


def batch(rows):
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(4, 11, (rows, 4), generator=draw)
    seen = torch.arange(4) < torch.randint(2, 5, (rows, 1), generator=draw)
    image = torch.randn(rows, 3, 8, 8, generator=draw)
    return {"image": image, "input_ids": ids, "attention_mask": seen}


def states(rows):
    draw = torch.Generator().manual_seed(2)
    image, text = torch.randn(rows, N, 6, generator=draw), torch.randn(rows, T, 7, generator=draw)
    seen, ids = torch.ones(rows, T, dtype=torch.bool), torch.zeros(rows, T, dtype=torch.int64)
    return States(image, text, seen, ids, image[:, 0], text[:, 0])


@pytest.mark.parametrize("options", [{}, {"image_pool": "mean", "text_pool": "mean"}])
def test_states_are_what_the_model_compares_and_fuses(options, monkeypatch):
    monkeypatch.setattr("minivl.course.frozen.PART", 3)
    model, given = flava(**options), batch(7)
    found = encode(model, given)
    with torch.no_grad():
        v = model.encode_image(given["image"])
        w = model.encode_text(given["input_ids"], given["attention_mask"])
        fused = model.encode_pair(**given)
        again = model.fuse(found.image, found.text, found.seen)
    assert len(found) == 7
    torch.testing.assert_close(found.v, v / v.norm(dim=1, keepdim=True))
    torch.testing.assert_close(found.w, w / w.norm(dim=1, keepdim=True))
    torch.testing.assert_close(again, fused)
    assert torch.equal(found.ids, given["input_ids"])


def test_a_model_of_other_words_or_without_a_head_does_not_fit():
    assert fits(flava(), range(11)) and not fits(flava(), range(12))
    for missing in ("itm", "contrastive"):
        rest = [name for name in ("itm", "contrastive", "mim") if name != missing]
        assert not fits(flava(objectives=rest), range(11))


def a_scene(*names):
    places = ("left", "right")
    things = tuple(
        Thing(name, name, "someone", place, "large", None, (0, 0, 4, 4))
        for name, place in zip(names, places, strict=False)
    )
    return Scene(0, 0, 48, "photo", "sea", (0.0, 0.0, 1.0, False), None, things)


def test_one_thing_is_exchanged_for_one_that_is_not_there():
    scenes = [a_scene("dog", "cat"), a_scene("cat", "dog"), a_scene("cow"), a_scene("dog", "cow")]
    assert exchanged(scenes) == [
        "a cow on the left and a cat on the right",
        "a cow on the left and a dog on the right",
        "a dog on the left",
        "a cat on the left and a cow on the right",
    ]
    with pytest.raises(ValueError, match="no scene begins with another thing than cat, dog"):
        renamed(scenes[0], [scenes[1], scenes[3]])


@pytest.mark.parametrize("kind", FUSIONS)
def test_parameters_are_as_the_table_says(kind):
    counts = []
    for depth in (1, 3):
        parts = Fusion(kind, 64, depth).modules()
        counts.append(sum(p.weight.numel() for p in parts if isinstance(p, nn.Linear)))
    assert counts[0] == BLOCKS[kind] * 64**2 and counts[1] == 3 * counts[0]


@pytest.mark.parametrize("kind", FUSIONS)
def test_all_are_called_alike_and_do_not_hear_padding(kind):
    torch.manual_seed(0)
    fusion = Fusion(kind, WIDTH, 2).eval()
    image, text = torch.randn(2, N, WIDTH), torch.randn(2, T, WIDTH)
    seen = torch.tensor([[True, True, False], [True, True, True]])
    other = text.clone()
    other[0, 2] = 5.0
    out = fusion(image, text, seen)
    assert out.shape == (2, N + T + (kind == MERGED), WIDTH)
    a, b = fusion.summary(image, text, seen), fusion.summary(image, other, seen)
    torch.testing.assert_close(a, b)
    assert not torch.allclose(fusion.summary(image, other), b)
    torch.testing.assert_close(fusion(image, text), fusion(image, text, torch.ones(2, T) > 0))


def test_the_summary_is_the_class_token_of_each_paper():
    image, text = torch.randn(2, N, WIDTH), torch.randn(2, T, WIDTH)
    found = {}
    for kind in FUSIONS:
        fusion = Fusion(kind, WIDTH, 1).eval()
        found[kind] = fusion(image, text), fusion.summary(image, text)
    torch.testing.assert_close(found[MERGED][1], found[MERGED][0][:, 0])
    torch.testing.assert_close(found[CO][1], found[CO][0][:, 0] * found[CO][0][:, N])
    torch.testing.assert_close(found[CROSS][1], found[CROSS][0][:, N])
    torch.testing.assert_close(found[CROSS][0][:, :N], image)


def test_other_kinds_are_refused():
    with pytest.raises(ValueError, match="choose among"):
        Fusion("early", WIDTH, 1)


class Sum(nn.Module):
    """Believes in a pair as far as its first numbers say."""

    def forward(self, image, text, seen):
        yes = image[:, 0, 0] * text[:, 0, 0]
        return torch.stack([torch.zeros_like(yes), yes], dim=1)


def signed():
    """Pictures +, -, + with sentences 1, -1, -1: the last own sentence is wrongly doubted."""
    found = states(3)
    image, text = torch.zeros_like(found.image), torch.zeros_like(found.text)
    image[:, 0, 0], text[:, 0, 0] = torch.tensor([1.0, -1, 1]), torch.tensor([1.0, -1, -1])
    return replace(found, image=image, text=text)


def test_answers_by_hand():
    asked, wrong = signed(), torch.tensor([1, 0, 0])
    pictures, texts = torch.tensor([0, 2, 2]), torch.tensor([0, 0, 1])
    assert belief(Sum(), asked, pictures, texts).tolist() == [1, 1, -1]
    assert yes_or_no(Sum(), asked, wrong) == pytest.approx(4 / 6)
    expected = np.outer([1, -1, 1], [1, -1, -1])
    assert all_beliefs(Sum(), asked).tolist() == expected.tolist()


def test_a_matcher_reads_states_of_two_widths():
    asked = states(4)
    matcher = Matcher(CROSS, (6, 7), WIDTH, 1)
    scores = matcher(asked.image, asked.text, asked.seen)
    assert scores.shape == (4, 2) and scores.requires_grad
    assert all_beliefs(matcher.eval(), asked).shape == (4, 4)

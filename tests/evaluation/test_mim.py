import pytest
import torch

from minivl.data.examples import SceneData, SceneSource
from minivl.data.holes import MaskData
from minivl.data.pack import Pack
from minivl.evaluation.mim import by_nearest, copied, evaluate_mim
from minivl.models.dvae import DVAE
from minivl.models.mim import Mim
from minivl.nn.dvae import Decoder, Encoder
from minivl.nn.vit import ViT


def slow_copy(codes, hidden):
    out = codes.clone()
    gh, gw = codes.shape
    seen = [(y, x) for y in range(gh) for x in range(gw) if not hidden[y, x]]
    for y in range(gh):
        for x in range(gw):
            if hidden[y, x]:
                near = min(seen, key=lambda c: ((c[0] - y) ** 2 + (c[1] - x) ** 2, c), default=None)
                out[y, x] = -1 if near is None else codes[near]
    return out


@pytest.mark.parametrize("share", [0.0, 0.4, 0.9, 1.0])
def test_copies_come_from_the_nearest_seen_cell(share):
    generator = torch.Generator().manual_seed(3)
    codes = torch.randint(50, (20, 3, 5), generator=generator)
    hidden = torch.rand(20, 3, 5, generator=generator) < share
    got = copied(codes, hidden)
    for i in range(20):
        expected = slow_copy(codes[i], hidden[i])
        if hidden[i].all():
            assert (got[i] == -1).all()
        else:
            assert torch.equal(got[i], expected)


def test_copying_is_counted_where_patches_are_hidden():
    codes = torch.tensor([[[1, 1, 2]], [[3, 3, 3]]])
    hidden = torch.tensor([[[False, True, True]], [[True, True, True]]])
    metric = by_nearest([{"visual_tokens": codes, "patches_masked": hidden}], 0.2, 2)
    assert (metric.value, metric.n, metric.chance) == (0.2, 5, 0.2)


def test_hidden_patches_of_three_kinds_of_pictures_are_judged():
    source = SceneSource(Pack.load(), SceneData(image_size=32, twin_share=0.0))
    torch.manual_seed(0)
    parts = {"vocab_size": 6, "width": 8, "groups": 3, "blocks": 1}
    tokenizer = DVAE(Encoder(**parts), Decoder(**parts, code_width=8))
    vit = ViT(image_size=32, patch_size=8, width=16, depth=1, heads=2)
    model = Mim(vit, tokenizer).eval()
    arguments = (source, model, torch.device("cpu"), MaskData(min_block=2), (4, 4), 12)
    with torch.no_grad():
        found, again = evaluate_mim(*arguments), evaluate_mim(*arguments)
    assert found == again
    kinds = ("validation", "twemoji", "photographs")
    names = ("accuracy", "top5", "by_nearest")
    assert set(found) == {f"{kind}/mim/{name}" for kind in kinds for name in names}
    assert all(metric.n == 12 * round(0.4 * 16) for metric in found.values())
    assert all(0 < metric.chance <= 1 for metric in found.values())

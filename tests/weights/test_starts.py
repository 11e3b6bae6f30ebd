"""What a training starts from is what the official scripts make of the same files."""

import pytest
import torch
from torch import nn

from minivl.errors import UserError
from minivl.weights.albef import from_official, our_layout
from minivl.weights.pixels import CLIP
from minivl.weights.starts import (
    FRESH_FROM_BERT,
    for_classification,
    for_two_pictures,
    for_vqa,
    from_bert,
    from_deit,
    load,
    resize_positions,
    with_twins,
)

TEXT = 1  # layers before the first that looks at pictures: 6 in the official code


def common(found, wanted):
    """All of `found` is in `wanted`, and equal."""
    assert found and found.keys() <= wanted.keys(), found.keys() - wanted.keys()
    for name, value in found.items():
        assert torch.equal(value, wanted[name]), name


def surgery(theirs, rename):
    """A script's loop over the file: rename(module, layer or None, rest) -> new names."""
    renamed = {}
    for name, value in theirs.items():
        module, _, rest = name.partition(".")
        if module not in ("text_encoder", "text_encoder_m"):
            renamed[name] = value
            continue
        rest = rest.removeprefix("bert.")
        layer = None
        if rest.startswith("encoder.layer."):
            layer, rest = rest.removeprefix("encoder.layer.").split(".", 1)
        for new in rename(module, None if layer is None else int(layer), rest):
            renamed[new] = value
    return renamed


def test_vqa(official):
    """VQA.py: the decoder is the whole BERT again, without the layers before the fusion."""
    theirs = official("pretrain")

    def rename(module, layer, rest):
        decoder = module.replace("encoder", "decoder")
        if layer is None:
            head = rest.startswith("cls.")
            yield f"{decoder}.{rest}" if head else f"{decoder}.bert.{rest}"
            if not head:
                yield f"{module}.{rest}"
            return
        yield f"{module}.encoder.layer.{layer}.{rest}"
        if layer >= TEXT:
            yield f"{decoder}.bert.encoder.layer.{layer - TEXT}.{rest}"

    file = surgery(theirs, rename)
    parts = ("visual_encoder", "text_encoder", "text_decoder")
    expected = from_official({n: v for n, v in file.items() if n.startswith(parts)})
    read_alike(for_vqa(from_official(theirs)), expected)


def read_alike(found, expected):
    """All that is read is there and as expected; the rest is what our encoders keep unread."""
    common(expected, found)
    rest = found.keys() - expected.keys()
    assert all(name.startswith(our_layout(expected).unread) for name in rest), rest


def test_two_pictures(official):
    """Pretrain_nlvr.py: layer 6+i becomes 6+2i and 7+2i."""
    theirs = official("pretrain")

    def rename(module, layer, rest):
        if layer is None:
            if not rest.startswith("cls."):
                yield f"{module}.{rest}"
        elif layer < TEXT:
            yield f"{module}.encoder.layer.{layer}.{rest}"
        else:
            for second in (0, 1):
                yield f"{module}.encoder.layer.{TEXT + 2 * (layer - TEXT) + second}.{rest}"

    file = surgery(theirs, rename)
    head = {"ta_head.weight": torch.zeros(3, 8), "ta_head.bias": torch.zeros(3)}
    parts = ("visual_encoder.", "text_encoder.", "vision_proj.", "text_proj.", "temp")
    expected = from_official({n: v for n, v in file.items() if n.startswith(parts)} | head)
    found = for_two_pictures(from_official(theirs))
    drawn = {name: expected[name] for name in ("head.weight", "head.bias")}
    student = {n: v for n, v in found.items() if not n.startswith("twin.")}
    read_alike(student | drawn, expected)
    twin = {n.removeprefix("twin."): v for n, v in found.items() if n.startswith("twin.")}
    assert twin.keys() == student.keys()
    whole = from_official(theirs)
    alone = {n: v for n, v in whole.items() if not n.startswith("momentum_encoder.")}
    read_alike(for_two_pictures(alone) | drawn, expected)


def test_classification(official):
    """VE.py takes the encoders and their twins; its head stays as drawn."""
    theirs = official("pretrain")
    file = surgery(
        theirs,
        lambda module, layer, rest: (
            []
            if rest.startswith("cls.")
            else [f"{module}.{rest}" if layer is None else f"{module}.encoder.layer.{layer}.{rest}"]
        ),
    )
    head = {n: v for n, v in official("ve").items() if n.startswith("cls_head")}
    parts = ("visual_encoder", "text_encoder")
    expected = from_official({n: v for n, v in file.items() if n.startswith(parts)} | head)
    drawn = {name for name in expected if "head.layers" in name}
    assert len(drawn) == 8
    found = for_classification(from_official(theirs))
    read_alike(found | {name: expected[name] for name in drawn}, expected)


def test_deit(official):
    file = {
        name.removeprefix("visual_encoder."): value
        for name, value in official("pretrain").items()
        if name.startswith("visual_encoder.")
    }
    classes = {"head.weight": torch.zeros(10, 8), "head.bias": torch.zeros(10)}
    found = from_deit(file | classes, CLIP)
    common(found, from_official(official("pretrain")))
    assert len(found) == 2 + 2 + 2 + 2 * 16
    distilled = {"dist_token": torch.zeros(1, 1, 8)}
    with pytest.raises(UserError, match="file of DeiT should not have dist_token"):
        from_deit(file | classes | distilled)
    with pytest.raises(UserError, match="file of DeiT lacks cls_token"):
        from_deit({"fc.weight": torch.zeros(3)})


@pytest.fixture
def bert():
    """A BERT before it knows pictures, as transformers would save it."""
    from transformers.models.bert.configuration_bert import BertConfig
    from transformers.models.bert.modeling_bert import BertForPreTraining

    torch.manual_seed(0)
    model = BertForPreTraining(
        BertConfig(
            vocab_size=11,
            hidden_size=8,
            num_hidden_layers=4,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=7,
        )
    )
    return model.state_dict()


@pytest.mark.parametrize("old", [False, True], ids=["weight and bias", "gamma and beta"])
def test_bert(official, bert, old):
    file = bert
    if old:
        kinds = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        file = {}
        for name, value in bert.items():
            for new, was in kinds.items():
                name = name.replace(new, was)
            file[name] = value
    found = from_bert(file, fusion_depth=3)
    assert torch.equal(
        found["fusion_encoder.blocks.2.norm3.weight"],
        bert["bert.encoder.layer.3.output.LayerNorm.weight"],
    )
    assert torch.equal(
        found["text_encoder.transformer.blocks.0.attention.q_proj.bias"],
        bert["bert.encoder.layer.0.attention.self.query.bias"],
    )
    whole = from_official(official("pretrain", twins=False)).keys()
    text = {n for n in whole if n.startswith(("text_encoder.", "fusion_encoder.", "mlm_head."))}
    fresh = {n for n in text if "cross_attention" in n or ".norm2." in n and "fusion" in n}
    assert found.keys() == text - fresh and len(fresh) == 3 * 10
    with pytest.raises(UserError, match="file of BERT lacks bert.embeddings"):
        from_bert({"weight": torch.zeros(1)})
    with pytest.raises(UserError, match="should not have classifier.weight"):
        from_bert(file | {"classifier.weight": torch.zeros(2, 8)}, fusion_depth=3)


def test_positions_of_both_twins_become_the_official_ones(official):
    """Bicubic without aligned corners, as models/vit.py does it; the class token's stays."""
    ours = from_official(official("pretrain"))
    found = resize_positions(ours, (5, 5))
    changed = {name for name in ours if not found[name].shape == ours[name].shape}
    assert changed == {"image_encoder.pos_embed", "momentum_encoder.image_encoder.pos_embed"}
    for name in changed:
        old = ours[name]
        square = old[:, 1:].reshape(1, 3, 3, 8).permute(0, 3, 1, 2)
        wider = nn.functional.interpolate(square, (5, 5), mode="bicubic", align_corners=False)
        rows = [old[:, :1], wider.permute(0, 2, 3, 1).reshape(1, 25, 8)]
        assert torch.equal(found[name], torch.cat(rows, dim=1))
    assert (
        resize_positions(ours, (3, 3))["image_encoder.pos_embed"] is ours["image_encoder.pos_embed"]
    )


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.image_proj = nn.Linear(2, 3)
        self.itm_head = nn.Linear(2, 2)


def test_load():
    model = Small()
    drawn = model.itm_head.weight.clone()
    given = {"image_proj.weight": torch.ones(3, 2), "image_proj.bias": torch.ones(3)}
    assert load(model, given, FRESH_FROM_BERT[2:]) == ["itm_head.weight", "itm_head.bias"]
    assert model.image_proj.weight.eq(1).all() and torch.equal(model.itm_head.weight, drawn)
    with pytest.raises(UserError, match="lacks itm_head.bias, itm_head.weight"):
        load(model, given)
    with pytest.raises(UserError, match="should not have temp"):
        load(model, given | {"temp": torch.zeros(())}, ["itm_head"])
    wrong = given | {"image_proj.bias": torch.ones(4)}
    with pytest.raises(UserError, match=r"image_proj.bias is \(4,\) in the weights, \(3,\)"):
        load(model, wrong, ["itm_head"])
    assert model.image_proj.bias.eq(1).all()


def test_what_is_fresh_is_kept_although_the_file_has_it():
    model = Small()
    file = {name: value + 1 for name, value in model.state_dict().items()}
    before = model.itm_head.bias.clone()
    load(model, file, ["itm_head"])
    assert torch.equal(model.itm_head.bias, before)


def test_twins_are_copies(official):
    whole = from_official(official("pretrain"))
    encoders = {n: v for n, v in whole.items() if n.startswith("image_encoder.")}
    found = with_twins(encoders)
    assert len(found) == 2 * len(encoders)
    for name, value in encoders.items():
        assert torch.equal(found[f"momentum_encoder.{name}"], value)

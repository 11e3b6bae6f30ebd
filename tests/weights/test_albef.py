"""Every official layout comes in whole and goes out as it came."""

import pytest
import torch

from minivl.errors import UserError
from minivl.weights.albef import (
    Layout,
    from_official,
    names_of,
    official_layout,
    our_layout,
    to_official,
)

TASKS = ["pretrain", "retrieval", "vqa", "ve", "nlvr", "assignment"]


def same(found, wanted):
    """Equal; projections of patches, which the scale of colours goes through, but for rounding."""
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype, name
        if "patch_embed" in name:
            assert torch.allclose(found[name], value, rtol=0, atol=1e-13), name
        else:
            assert torch.equal(found[name], value), name


@pytest.mark.parametrize("twins", [True, False])
@pytest.mark.parametrize("task", TASKS)
def test_in_and_out_again(official, task, twins):
    theirs = official(task, twins)
    ours = from_official(theirs)
    same(to_official(ours), theirs)
    same(from_official(to_official(ours)), ours)
    assert official_layout(theirs) == our_layout(ours)


@pytest.mark.parametrize("task", TASKS)
def test_every_number_comes_in_once(official, task):
    """All drawn numbers differ: they are there, each once, but for what a file says twice.

    With the official scale of colours no number changes."""
    theirs = official(task)
    once = [
        value
        for name, value in theirs.items()
        if "predictions.decoder" not in name and not name.endswith("position_ids")
        if not (task == "assignment" and name == "temp")
    ]
    found, wanted = (
        torch.cat([one.flatten().double() for one in tensors]).sort().values
        for tensors in (from_official(theirs, None).values(), once)
    )
    assert torch.equal(found, wanted)


def test_where_some_tensors_end_up(official):
    theirs = official("pretrain")
    ours = from_official(theirs, None)
    qkv = theirs["visual_encoder.blocks.1.attn.qkv.weight"]
    for place, letter in enumerate("qkv"):
        part = ours[f"image_encoder.transformer.blocks.1.attention.{letter}_proj.weight"]
        assert torch.equal(part, qkv[8 * place : 8 * place + 8])
    kernel = theirs["visual_encoder.patch_embed.proj.weight"]
    vector = ours["image_encoder.patch_embed.projection.weight"][5]
    assert vector[1 * 4 + 1 * 2 + 0] == kernel[5, 1, 1, 0]  # channel, row, column
    for official_name, own in {
        "text_encoder.bert.encoder.layer.0.output.LayerNorm.bias": (
            "text_encoder.transformer.blocks.0.norm2.bias"
        ),
        # The first layer that looks at pictures is the second of BERT here.
        "text_encoder.bert.encoder.layer.1.attention.self.key.weight": (
            "fusion_encoder.blocks.0.self_attention.k_proj.weight"
        ),
        "text_encoder.bert.encoder.layer.3.crossattention.output.LayerNorm.weight": (
            "fusion_encoder.blocks.2.norm2.weight"
        ),
        "text_encoder_m.bert.encoder.layer.3.output.LayerNorm.weight": (
            "momentum_encoder.fusion_encoder.blocks.2.norm3.weight"
        ),
        "text_encoder_m.cls.predictions.bias": "momentum_encoder.mlm_head.bias",
        "vision_proj_m.weight": "momentum_encoder.image_proj.weight",
        "temp": "temperature",
    }.items():
        assert torch.equal(ours[own], theirs[official_name]), own
    assert ours["queue_pointer"].shape == () and ours["queue_pointer"] == 4
    assert not any("decoder" in name or "position_ids" in name for name in ours)


def test_layouts(official):
    assert official_layout(official("pretrain")) == Layout("pretrain", 2, 1, 3)
    assert official_layout(official("vqa", twins=False)) == Layout("vqa", 2, 1, 3, 2, twins=False)
    assert official_layout(official("ve")) == Layout("classification", 2, 1, 3)
    assert official_layout(official("nlvr")) == Layout("classification", 2, 1, 6, paired=True)
    assert official_layout(official("assignment")) == Layout(
        "assignment", 2, 1, 6, paired=True, twins=False
    )


def test_the_published_size_has_844_names():
    """Counted in the official sources: image 150, text 258, head 7, projections 4, each twice; then
    temperature, matching head, two queues and where they stand."""
    said_twice = 2 * len(("position_ids", "decoder.weight", "decoder.bias"))
    names = names_of(Layout("pretrain", 12, 6, 6))
    assert len(names) + said_twice == 2 * (150 + 258 + 7 + 4) + 1 + 2 + 2 + 1 == 844


def test_blocks_for_two_pictures_take_turns(official):
    theirs = official("nlvr")
    ours = from_official(theirs)
    for n, block in enumerate(
        f"{stack}.blocks.{n}"
        for n in range(3)
        for stack in ("exit.model.fusion_encoder", "exit.second")
    ):
        layer = f"text_encoder.encoder.layer.{1 + n}"
        for name, own in {"self.query": "q_proj", "self.key": "k_proj"}.items():
            wanted = theirs[f"{layer}.crossattention.{name}.weight"]
            assert torch.equal(ours[f"{block}.cross_attention.{own}.weight"], wanted)
    shared = "cross_attention.v_proj.bias"
    for n in range(3):
        left = ours[f"twin.exit.model.fusion_encoder.blocks.{n}.{shared}"]
        assert torch.equal(left, ours[f"twin.exit.second.blocks.{n}.{shared}"])


def test_what_a_task_does_not_read_is_not_exported(official):
    """Ours keeps it in fine-tuning; the official file comes in without it."""
    for task, own, twin in (
        ("retrieval", "mlm_head.bias", "momentum_encoder.mlm_head.bias"),
        ("vqa", "exit.model.mlm_head.bias", "twin.exit.model.image_proj.bias"),
        ("ve", "exit.model.text_proj.bias", "twin.exit.model.mlm_head.bias"),
    ):
        theirs = official(task)
        ours = from_official(theirs)
        assert not {own, twin} & ours.keys()
        same(to_official(ours | {own: torch.zeros(11), twin: torch.zeros(11)}), theirs)
        assert {own, twin} == {n for n in (own, twin) if n.startswith(our_layout(ours).unread)}


@pytest.mark.parametrize("task", TASKS)
def test_a_tensor_too_few_or_too_many_is_named(official, task):
    theirs = official(task)
    lost = "visual_encoder.blocks.0.mlp.fc2.bias"
    with pytest.raises(UserError, match=f"lacks {lost}"):
        from_official({name: value for name, value in theirs.items() if name != lost})
    with pytest.raises(UserError, match="should not have text_encoder.pooler.dense.bias"):
        from_official(theirs | {"text_encoder.pooler.dense.bias": torch.zeros(8)})
    ours = from_official(theirs)
    own = "" if task in ("pretrain", "retrieval") else "exit.model."
    lost = f"{own}fusion_encoder.blocks.1.cross_attention.k_proj.bias"
    with pytest.raises(UserError, match=f"lacks {lost}"):
        to_official({name: value for name, value in ours.items() if name != lost})
    with pytest.raises(UserError, match=f"should not have {own}text_encoder.norm.weight"):
        to_official(ours | {f"{own}text_encoder.norm.weight": torch.zeros(8)})


def test_a_whole_layer_too_few_is_named(official):
    theirs = official("retrieval")
    cut = {name: value for name, value in theirs.items() if "layer.0." not in name}
    with pytest.raises(UserError, match="lacks text_encoder.encoder.layer.0.") as error:
        from_official(cut)
    assert "more" in str(error.value)


def test_ties_that_came_undone_are_no_file_of_albef(official):
    theirs = official("pretrain")
    for name, source in {
        "text_encoder.cls.predictions.decoder.weight": "the word embeddings",
        "text_encoder_m.cls.predictions.decoder.bias": "predictions.bias",
        "text_encoder.bert.embeddings.position_ids": "0, 1, 2",
    }.items():
        with pytest.raises(UserError, match=f"{name} differs from {source}"):
            from_official(theirs | {name: theirs[name] + 1})
        without = {other: value for other, value in theirs.items() if other != name}
        same(from_official(without), from_official(theirs))  # transformers leave them out today


def test_other_models_are_told_apart(official):
    with pytest.raises(UserError, match="no file of ALBEF: it begins with encoder.weight"):
        from_official({"encoder.weight": torch.zeros(1)})
    with pytest.raises(UserError, match="no weights of ALBEF"):
        to_official({"image_encoder.norm.bias": torch.zeros(1)})
    with pytest.raises(UserError, match="no file of ALBEF"):
        from_official({})

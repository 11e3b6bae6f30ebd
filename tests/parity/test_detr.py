"""A Unit that detects, and does nothing else, is transformers' DETR: outputs, set loss, gradients.

In float64, on padded pictures, one of them empty. UniT's own additions are switched off: the task
token, and the second way around the image encoder.

With `auxiliary_loss` transformers 5 passes each block what the last norm made of the one before,
which DETR's own code only shows to the heads. We do as DETR: their model runs without it, and their
loss is given what the heads say of each block.
"""

import copy

import pytest
import torch
from torch import nn
from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

from minivl.models.unit import Unit, UnitTask
from minivl.models.unit_encoders import UnitImageEncoder

WIDTH, HEADS, HIDDEN, QUERIES, CLASSES = 32, 4, 48, 6, 5
TASK = UnitTask("detection", "boxes", classes=CLASSES, queries=QUERIES)
WEIGHTS = {"class": 1, "l1": 5, "giou": 2}
NAMES = {
    r"^image_encoder\.backbone\.borrowed\.": "model.backbone.",
    r"^image_encoder\.input_proj": "model.input_projection",
    r"^image_encoder\.transformer\.blocks": "model.encoder.layers",
    r"^decoders\.0\.blocks": "model.decoder.layers",
    r"^decoders\.0\.norm": "model.decoder.layernorm",
    r"(encoder\.layers\.\d+)\.attention\.": r"\1.self_attn.",
    r"\.self_attention\.": ".self_attn.",
    r"\.cross_attention\.": ".encoder_attn.",
    r"out_proj": "o_proj",
    r"(encoder\.layers\.\d+)\.norm1": r"\1.self_attn_layer_norm",
    r"(encoder\.layers\.\d+)\.norm2": r"\1.final_layer_norm",
    r"(decoder\.layers\.\d+)\.norm1": r"\1.self_attn_layer_norm",
    r"(decoder\.layers\.\d+)\.norm2": r"\1.encoder_attn_layer_norm",
    r"(decoder\.layers\.\d+)\.norm3": r"\1.final_layer_norm",
    r"^query_embed\.6": "model.query_position_embeddings.weight",
    r"^heads\.detection\.class_embed": "class_labels_classifier",
    r"^heads\.detection\.bbox_embed\.0": "bbox_predictor.layers.0",
    r"^heads\.detection\.bbox_embed\.2": "bbox_predictor.layers.1",
    r"^heads\.detection\.bbox_embed\.4": "bbox_predictor.layers.2",
}


class Borrowed(nn.Module):
    """Their convolutions, as our backbone: our own are compared with torchvision's elsewhere."""

    def __init__(self, theirs, channels):
        super().__init__()
        self.borrowed, self.channels = copy.deepcopy(theirs), channels

    def forward(self, image):
        everything = torch.ones(len(image), *image.shape[2:], dtype=torch.bool)
        return self.borrowed(image, everything)[-1][0]


@pytest.fixture(scope="module")
def models(drawn, twins):
    backbone = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage4"],
    )  # fmt: skip
    config = DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone_config=backbone,
        num_labels=CLASSES, num_queries=QUERIES, d_model=WIDTH, encoder_layers=2, decoder_layers=2,
        encoder_ffn_dim=HIDDEN, decoder_ffn_dim=HIDDEN, encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS, dropout=0.0,
    )  # fmt: skip
    theirs = DetrForObjectDetection(config).requires_grad_(True)
    numbers = {"width": WIDTH, "depth": 2, "heads": HEADS, "mlp_ratio": HIDDEN / WIDTH}
    image_encoder = UnitImageEncoder(
        Borrowed(theirs.model.backbone, 16), tasks=1, task_token=False, residual=False, **numbers
    )
    ours = drawn(Unit(image_encoder, None, [TASK], **numbers))
    with (
        torch.no_grad()
    ):  # else each cell looks at one other alone, and hardly any gradient is left
        cells = ours.image_encoder.backbone(batch_of(0)["image"])
        ours.image_encoder.input_proj.weight /= cells.std()
    return ours, theirs, twins(ours, theirs, NAMES)


@pytest.fixture(autouse=True)
def in_float64():
    """Their loss makes the classes' weights in the default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def batch_of(seed):
    generator = torch.Generator().manual_seed(seed)
    pixel_mask = torch.zeros(3, 96, 128, dtype=torch.bool)
    for row, (height, width) in enumerate(((96, 128), (64, 96), (96, 70))):
        pixel_mask[row, :height, :width] = True
    box_labels = torch.randint(CLASSES, (3, 4), generator=generator)
    box_labels[1] = -100
    box_labels[2, 2:] = -100
    centres = torch.rand(3, 4, 2, generator=generator, dtype=torch.float64)
    sides = 0.05 + 0.4 * torch.rand(3, 4, 2, generator=generator, dtype=torch.float64)
    return {
        "task": "detection",
        "image": torch.randn(3, 3, 96, 128, generator=generator, dtype=torch.float64),
        "pixel_mask": pixel_mask,
        "box_labels": box_labels,
        "boxes": torch.cat([centres, sides], dim=2),
    }


@pytest.mark.parametrize("seed", range(3))
def test_outputs_set_loss_and_gradients_are_detr_s(models, close, seed):
    ours, theirs, compare = models
    batch = batch_of(seed)
    labels = [
        {"class_labels": own[own >= 0], "boxes": boxes[own >= 0]}
        for own, boxes in zip(batch["box_labels"], batch["boxes"], strict=True)
    ]
    blocks = []
    hooks = [
        layer.register_forward_hook(lambda layer, inputs, output: blocks.append(output))
        for layer in theirs.model.decoder.layers
    ]
    found = theirs(
        pixel_values=batch["image"],
        pixel_mask=batch["pixel_mask"].long(),
    )
    for hook in hooks:
        hook.remove()
    logits, boxes = ours.heads["detection"](ours.decode(batch))
    close(logits[-1], found.logits, "logits")
    close(boxes[-1], found.pred_boxes, "boxes")
    after_each = theirs.model.decoder.layernorm(torch.stack(blocks))
    told = theirs.class_labels_classifier(after_each), theirs.bbox_predictor(after_each).sigmoid()
    close(logits, told[0], "logits of each block")
    close(boxes, told[1], "boxes of each block")
    with_blocks = copy.copy(theirs.config)
    with_blocks.auxiliary_loss = True
    expected, *_ = theirs.loss_function(
        found.logits, labels, "cpu", found.pred_boxes, with_blocks, *told
    )
    losses = ours(batch)
    loss = sum(weight * losses[f"detection/{name}"] for name, weight in WEIGHTS.items())
    close(loss, expected, "loss")
    compare(loss, expected)


def test_attention_shown_is_the_attention_paid(models, close):
    ours, theirs, _ = models
    batch = batch_of(0)
    theirs.set_attn_implementation("eager")
    expected = theirs(
        pixel_values=batch["image"],
        pixel_mask=batch["pixel_mask"].long(),
        output_attentions=True,
    )
    states, maps = ours.decode(batch, return_attention=True)
    close(states[-1], expected.last_hidden_state, "states")
    for own, other in zip(maps, expected.cross_attentions, strict=True):
        close(own, other, "attention")

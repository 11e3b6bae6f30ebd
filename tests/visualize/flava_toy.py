"""A FLAVA of a few numbers and one batch of each kind."""

import torch

from minivl.models.flava import OBJECTIVES, Flava, MultimodalEncoder
from minivl.nn.bert import Bert
from minivl.nn.vit import ViT


def small(objectives=OBJECTIVES):
    torch.manual_seed(0)
    return Flava(
        ViT(image_size=8, patch_size=4, width=8, depth=1, heads=2),
        Bert(vocab_size=11, width=8, depth=1, heads=2, max_length=6, norm="pre"),
        MultimodalEncoder(8, 2, 2),
        embed_dim=6,
        vocab_size=5,
        objectives=objectives,
    ).eval()


def batches(rows=4):
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(4, 11, (rows, 5), generator=draw)
    hidden = torch.zeros(rows, 5, dtype=torch.bool)
    hidden[:, 1:3] = True
    pictures = {
        "image": torch.randn(rows, 3, 8, 8, generator=draw),
        "patches_masked": torch.tensor([[[True, False], [False, True]]] * rows),
        "visual_tokens": torch.randint(5, (rows, 2, 2), generator=draw),
    }
    texts = {
        "attention_mask": torch.ones(rows, 5, dtype=torch.bool),
        "mlm_input_ids": ids.masked_fill(hidden, 3),
        "mlm_labels": ids.masked_fill(~hidden, -100),
    }
    pairs = pictures | texts | {"input_ids": ids, "itm_labels": torch.tensor([1, 0] * (rows // 2))}
    return {"pairs": pairs, "pictures": pictures, "texts": texts}

"""State dicts as the official code writes them, small, each tensor drawn."""

import re

import pytest

WIDTH, PATCH, VOCAB, PLACES, SHARED, QUEUE = 8, 2, 11, 7, 4, 6
IMAGE, TEXT, FUSION, DECODER = 2, 1, 3, 2
"""Blocks: all numbers differ, so that none is taken for another."""


def dense(name, rows=WIDTH, columns=WIDTH):
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def norm(name):
    return {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}


def image_shapes(name, grid=3):
    """models/vit.py, with timm's PatchEmbed."""
    found = {
        f"{name}cls_token": (1, 1, WIDTH),
        f"{name}pos_embed": (1, 1 + grid * grid, WIDTH),
        f"{name}patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH),
        f"{name}patch_embed.proj.bias": (WIDTH,),
        **norm(f"{name}norm"),
    }
    for n in range(IMAGE):
        found |= norm(f"{name}blocks.{n}.norm1") | norm(f"{name}blocks.{n}.norm2")
        found |= dense(f"{name}blocks.{n}.attn.qkv", 3 * WIDTH)
        found |= dense(f"{name}blocks.{n}.attn.proj")
        found |= dense(f"{name}blocks.{n}.mlp.fc1", 4 * WIDTH)
        found |= dense(f"{name}blocks.{n}.mlp.fc2", WIDTH, 4 * WIDTH)
    return found


def bert_shapes(name, layers, crossing):
    """models/xbert.py, BertModel without its pooler; `crossing` layers attend to the picture."""
    found = {
        f"{name}embeddings.position_ids": (1, PLACES),
        f"{name}embeddings.word_embeddings.weight": (VOCAB, WIDTH),
        f"{name}embeddings.position_embeddings.weight": (PLACES, WIDTH),
        f"{name}embeddings.token_type_embeddings.weight": (2, WIDTH),
        **norm(f"{name}embeddings.LayerNorm"),
    }
    for n in range(layers):
        layer = f"{name}encoder.layer.{n}"
        for kind in ("attention", "crossattention") if n in crossing else ("attention",):
            for part in ("self.query", "self.key", "self.value", "output.dense"):
                found |= dense(f"{layer}.{kind}.{part}")
            found |= norm(f"{layer}.{kind}.output.LayerNorm")
        found |= dense(f"{layer}.intermediate.dense", 4 * WIDTH)
        found |= dense(f"{layer}.output.dense", WIDTH, 4 * WIDTH)
        found |= norm(f"{layer}.output.LayerNorm")
    return found


def head_shapes(name):
    """models/xbert.py, BertOnlyMLMHead: its decoder is tied, weight and bias."""
    return {
        f"{name}predictions.bias": (VOCAB,),
        **dense(f"{name}predictions.transform.dense"),
        **norm(f"{name}predictions.transform.LayerNorm"),
        f"{name}predictions.decoder.weight": (VOCAB, WIDTH),
        f"{name}predictions.decoder.bias": (VOCAB,),
    }


def official_shapes(task, twins=True, grid=3):
    """Names and shapes in each of the repository's model files."""
    bert = "bert." if task == "pretrain" else ""
    layers = TEXT + (2 * FUSION if task in ("nlvr", "assignment") else FUSION)
    shared = {
        **image_shapes("visual_encoder.", grid),
        **bert_shapes(f"text_encoder.{bert}", layers, range(TEXT, layers)),
    }
    if task == "pretrain":
        shared |= head_shapes("text_encoder.cls.")
    if task == "vqa":
        shared |= bert_shapes("text_decoder.bert.", DECODER, range(DECODER))
        shared |= head_shapes("text_decoder.cls.")
    if task in ("ve", "nlvr"):
        shared |= dense("cls_head.0") | dense("cls_head.2", 3 if task == "ve" else 2)
    if task in ("pretrain", "retrieval", "assignment"):
        shared |= dense("vision_proj", SHARED) | dense("text_proj", SHARED)
    found = dict(shared)
    if twins and task != "assignment":
        for name, shape in shared.items():
            module, rest = name.split(".", 1)
            found[f"{module}_m.{rest}"] = shape
    if task in ("pretrain", "retrieval"):
        found |= {"temp": (), "queue_ptr": (1,), **dense("itm_head", 2)}
        found |= {"image_queue": (SHARED, QUEUE), "text_queue": (SHARED, QUEUE)}
    if task == "retrieval":
        found["idx_queue"] = (1, QUEUE)
    if task == "assignment":
        found |= {"temp": (), **dense("ta_head", 3)}
    return found


@pytest.fixture(scope="session")
def official():
    """official(task, twins, grid): a file's tensors, in float64, what is shared alike."""
    import torch

    def build(task, twins=True, grid=3, seed=0):
        generator = torch.Generator().manual_seed(seed)
        found = {
            name: torch.randn(shape, generator=generator, dtype=torch.float64)
            for name, shape in official_shapes(task, twins, grid).items()
        }
        for name in found:
            if name.endswith("position_ids"):
                found[name] = torch.arange(PLACES)[None]
            shared = re.search(r"layer\.(\d+)\.crossattention\.self\.(key|value)", name)
            if shared and task in ("nlvr", "assignment") and (int(shared[1]) - TEXT) % 2:
                first = f"layer.{int(shared[1]) - 1}.crossattention"
                found[name] = found[re.sub(r"layer\.\d+\.crossattention", first, name)]
            if name.endswith("predictions.decoder.bias"):
                found[name] = found[name.replace("decoder.bias", "bias")]
            if name.endswith("predictions.decoder.weight"):
                module = name.split(".")[0]
                found[name] = found[f"{module}.bert.embeddings.word_embeddings.weight"]
        if task == "assignment":
            found["temp"] = torch.tensor(0.07)  # never trained
        for name, value in {"queue_ptr": [4], "idx_queue": [[5, 2, 7, -100, -100, -100]]}.items():
            if name in found:
                found[name] = torch.tensor(value)
        return found

    return build

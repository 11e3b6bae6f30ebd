import math
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from minivl.errors import UserError
from minivl.models import flava
from minivl.models.flava import OBJECTIVES, Flava, MultimodalEncoder, merge_tokens, mmm_loss
from minivl.models.mim import blanked
from minivl.nn.bert import Bert
from minivl.nn.vit import ViT
from minivl.objectives import contrastive

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
WIDTH, WORDS, CODES, MASK, PAD = 12, 23, 7, 4, 0
OF_PAIRS = ("contrastive", "itm", "mmm_image", "mmm_text")


class Brightness(nn.Module):
    """A tokenizer: how bright a cell of 2 x 2 pixels is, in CODES steps."""

    vocab_size, stride = CODES, 2

    def __init__(self):
        super().__init__()
        self.step = nn.Parameter(torch.tensor(2 / CODES))
        self.norm = nn.BatchNorm1d(1)

    def tokenize(self, image):
        cells = F.avg_pool2d(image.mean(1, keepdim=True), 2)[:, 0]
        return ((cells + 1) / self.step).long().clamp(0, CODES - 1)


def build(stem="patch", words=WORDS, codes=CODES, **options):
    vit = ViT(image_size=12, patch_size=4, width=WIDTH, depth=2, heads=2, stem=stem, eps=1e-12)
    bert = Bert(vocab_size=words, width=WIDTH, depth=2, heads=2, max_length=16, norm="pre")
    if "tokenizer" not in options:
        options["vocab_size"] = codes
    return Flava(vit, bert, MultimodalEncoder(WIDTH, 2, 3), embed_dim=8, **options)


@pytest.fixture
def make(drawn):
    """make(...): a model whose every weight was drawn, in float64."""

    def drawn_model(seed=0, **options):
        model = drawn(build(**options), seed)
        with torch.no_grad():
            model.logit_scale.fill_(1.5)
        return model

    return drawn_model


@pytest.fixture
def pairs(normal):
    """Five pairs, the second and the last one wrong, of three lengths."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, WORDS, (5, 6), generator=generator)
    lengths = torch.tensor([6, 4, 3, 6, 5])
    seen = torch.arange(6) < lengths.unsqueeze(1)
    ids = ids.masked_fill(~seen, PAD)
    asked = (torch.rand(5, 6, generator=generator) < 0.5) & seen
    asked[:, 1] = True
    return {
        "image": normal(0, 5, 3, 12, 12).clamp(-1, 1),
        "patches_masked": torch.rand(5, 3, 3, generator=generator) < 0.4,
        "visual_tokens": torch.randint(CODES, (5, 3, 3), generator=generator),
        "input_ids": ids,
        "attention_mask": seen,
        "mlm_input_ids": ids.masked_fill(asked, MASK),
        "mlm_labels": ids.masked_fill(~asked, -100),
        "itm_labels": torch.tensor([1, 0, 1, 1, 0]),
    }


def pictures(pairs):
    return {key: pairs[key] for key in ("image", "patches_masked", "visual_tokens")}


def texts(pairs):
    keys = ("input_ids", "attention_mask", "mlm_input_ids", "mlm_labels")
    return {key: pairs[key] for key in keys}


def chosen(batch, rows):
    return {key: value[rows] for key, value in batch.items()}


def padded(batch, more):
    """The same texts with more padding behind them."""
    fill = {"input_ids": PAD, "attention_mask": False, "mlm_input_ids": PAD, "mlm_labels": -100}
    return batch | {key: F.pad(batch[key], (0, more), value=value) for key, value in fill.items()}


# What goes into the multimodal encoder, and what is asked of it.


def test_a_class_token_the_picture_and_the_text_become_one_sequence(normal):
    cls, image, text = normal(0, 1, 1, 4), normal(1, 2, 3, 4), normal(2, 2, 2, 4)
    words = torch.tensor([[True, True], [True, False]])
    given = [cls.clone(), image.clone(), text.clone(), words.clone()]
    tokens, seen = merge_tokens(cls, image, text, words)
    assert tokens.shape == (2, 6, 4)
    for i in range(2):
        rows = [cls[0, 0], *image[i], *text[i]]
        assert torch.equal(tokens[i], torch.stack(rows))
    assert seen.tolist() == [[True] * 6, [True] * 5 + [False]] and seen.dtype == torch.bool
    as_numbers = merge_tokens(cls, image, text, words.long())[1]
    assert torch.equal(as_numbers, seen)
    assert all(torch.equal(a, b) for a, b in zip(given, (cls, image, text, words), strict=True))


def test_hidden_places_of_true_pairs_are_scored_and_no_others(normal):
    states = normal(0, 3, 2, 4).requires_grad_()
    targets = torch.tensor([[0, 3], [1, 2], [2, 0]])
    masked = torch.tensor([[True, False], [True, True], [True, True]])
    is_pair = torch.tensor([True, False, True])
    loss = mmm_loss(states, targets, masked, is_pair, lambda rows: 2 * rows)
    places = [(0, 0), (2, 0), (2, 1)]
    by_hand = [-(2 * states[p]).log_softmax(0)[targets[p]] for p in places]
    torch.testing.assert_close(loss, sum(by_hand) / 3, **CLOSE)
    loss.backward()
    assert not states.grad[1].any() and not states.grad[0, 1].any()
    assert states.grad[0, 0].any() and states.grad[2].any(dim=1).all()


@pytest.mark.parametrize("masked, is_pair", [(False, True), (True, False)])
def test_nothing_to_score_is_0_with_a_graph(normal, masked, is_pair):
    states, head = normal(0, 2, 3, 4).requires_grad_(), nn.Linear(4, 5).double()
    everywhere = torch.ones(2, 3, dtype=torch.bool)
    loss = mmm_loss(
        states,
        torch.zeros(2, 3, dtype=torch.int64),
        everywhere & masked,
        everywhere[:, 0] & is_pair,
        head,
    )
    assert loss.item() == 0 and loss.requires_grad
    loss.backward()
    for gradient in (states.grad, head.weight.grad, head.bias.grad):
        assert gradient is not None and not gradient.any()


def test_a_head_sees_only_the_rows_that_are_scored(normal):
    seen = []

    def head(rows):
        seen.append(len(rows))
        return rows

    masked = torch.tensor([[True, True, False], [True, False, False]])
    targets = torch.zeros(2, 3, dtype=torch.int64)
    mmm_loss(normal(0, 2, 3, 4), targets, masked, torch.tensor([True, False]), head)
    assert seen == [2]


# Which passes run.


def calls_of(model, batch):
    """Batch sizes that went through the first block of each encoder, and the losses."""
    calls, handles = {"image": [], "text": [], "multimodal": []}, []
    for name, found in calls.items():
        block = getattr(model, f"{name}_encoder").transformer.blocks[0]
        handles.append(
            block.norm1.register_forward_hook(lambda m, given, out, f=found: f.append(len(out)))
        )
    losses = model(batch)
    for handle in handles:
        handle.remove()
    return {name: sizes for name, sizes in calls.items() if sizes}, losses


def test_pictures_alone_take_one_pass_of_one_encoder(make, pairs):
    calls, losses = calls_of(make(), pictures(pairs))
    assert calls == {"image": [5]} and list(losses) == ["mim"]


def test_texts_alone_take_one_pass_of_one_encoder(make, pairs):
    calls, losses = calls_of(make(), texts(pairs))
    assert calls == {"text": [5]} and list(losses) == ["mlm"]


@pytest.mark.parametrize("objectives, calls", {
    OBJECTIVES: {"image": [10], "text": [10], "multimodal": [5]},
    ("contrastive",): {"image": [5], "text": [5]},
    ("contrastive", "mim", "mlm"): {"image": [5], "text": [5]},
    ("itm",): {"image": [5], "text": [5], "multimodal": [5]},
    ("mmm_image",): {"image": [5], "text": [5], "multimodal": [5]},
    ("mmm_text",): {"image": [5], "text": [5], "multimodal": [5]},
    ("contrastive", "mmm_text"): {"image": [10], "text": [10], "multimodal": [5]},
    ("contrastive", "itm"): {"image": [10], "text": [10], "multimodal": [5]},
}.items(), ids=lambda value: "+".join(value))  # fmt: skip
def test_pairs_take_the_passes_that_a_loss_reads(make, pairs, objectives, calls):
    found, losses = calls_of(make(objectives=objectives), pairs)
    assert found == calls
    assert set(losses) == set(objectives) & set(OF_PAIRS)


def test_the_contrastive_loss_alone_reads_nothing_hidden(make, pairs):
    model = make(objectives=("contrastive",))
    bare = {key: pairs[key] for key in ("image", "input_ids", "attention_mask", "itm_labels")}
    assert torch.equal(model(bare)["contrastive"], model(pairs)["contrastive"])


def test_only_the_heads_of_the_objectives_are_made():
    for objective in OBJECTIVES:
        model = build(objectives=(objective,))
        heads = {name for name, part in model.named_children() if name.endswith("_head")}
        assert heads == ({f"{objective}_head"} if objective != "contrastive" else set())
    names = {name for name, _ in build(poolers=True).named_children()}
    assert {"image_pooler", "text_pooler", "multimodal_pooler"} <= names


def test_the_last_blocks_work_for_what_some_loss_reads(make, pairs):
    """Class tokens of what is whole, all of what goes on to be fused, and there hidden places of
    true pairs, and [CLS_M] of all; each row as long as the batch's longest."""
    model, worked = make(), Counter()
    for name in ("image", "text", "multimodal"):
        mlp = getattr(model, f"{name}_encoder").transformer.blocks[-1].mlp
        mlp.register_forward_hook(
            lambda m, given, out, n=name: worked.update({n: out.flatten(0, -2).shape[0]})
        )
    model(pairs)
    patches, words = pairs["patches_masked"], pairs["mlm_labels"] != -100
    true = pairs["itm_labels"] == 1
    asked = patches[true].flatten(1).sum(dim=1) + words[true].sum(dim=1)
    assert worked == {"image": 5 + 5 * 10, "text": 5 + 5 * 6, "multimodal": 5 * (1 + asked.max())}
    worked.clear()
    model(pictures(pairs)), model(texts(pairs))
    most = patches.flatten(1).sum(dim=1).max(), words.sum(dim=1).max()
    assert worked == {"image": 5 * most[0], "text": 5 * most[1]}


# What the losses are.


def reference(model, batch):
    """All losses of pairs from separate passes, row by row."""
    image, ids, seen = batch["image"], batch["input_ids"], batch["attention_mask"]
    pair = batch["itm_labels"].bool()
    u = F.normalize(model.encode_image(image), dim=1)
    v = F.normalize(model.encode_text(ids, seen), dim=1)
    logits = model.logit_scale.exp() * u @ v.T
    rows = [-logits[i].log_softmax(0)[i] for i in range(len(u)) if pair[i]]
    columns = [-logits[:, i].log_softmax(0)[i] for i in range(len(u)) if pair[i]]
    hidden = batch["patches_masked"]
    fused = model.encode_pair(image, batch["mlm_input_ids"], seen, patches_masked=hidden)
    mmm_image, mmm_text = [], []
    for i in range(len(u)):
        if not pair[i]:
            continue
        for place, code in enumerate(batch["visual_tokens"][i].flatten()):
            if hidden[i].flatten()[place]:
                scores = model.mmm_image_head(fused[i, 2 + place])
                mmm_image.append(-scores.log_softmax(0)[code])
        for place, word in enumerate(batch["mlm_labels"][i]):
            if word != -100:
                scores = model.mmm_text_head(fused[i, 2 + hidden[i].numel() + place])
                mmm_text.append(-scores.log_softmax(0)[word])
    return {
        "contrastive": (sum(rows) + sum(columns)) / 2 / len(rows),
        "itm": F.cross_entropy(model.itm_head(fused), batch["itm_labels"]),
        "mmm_image": sum(mmm_image) / len(mmm_image),
        "mmm_text": sum(mmm_text) / len(mmm_text),
    }


@pytest.mark.parametrize("stem", ["patch", "conv"])
@pytest.mark.parametrize("pools", [("cls", "cls"), ("mean", "cls"), ("mean", "mean")])
@pytest.mark.parametrize("mask_pads", [True, False])
def test_losses_of_pairs_are_those_of_separate_passes(make, pairs, stem, pools, mask_pads):
    model = make(stem=stem, image_pool=pools[0], text_pool=pools[1], mask_pads=mask_pads)
    losses, expected = model(pairs), reference(model, pairs)
    assert set(losses) == set(expected)
    for name, loss in losses.items():
        torch.testing.assert_close(loss, expected[name], **CLOSE, msg=name)
    total, other = sum(losses.values()), sum(expected.values())
    trained = [p for p in model.parameters() if p.requires_grad]
    ours, theirs = (torch.autograd.grad(x, trained, allow_unused=True) for x in (total, other))
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, **CLOSE)


@pytest.mark.parametrize("objectives", [("contrastive",), ("itm",), ("mmm_image", "mmm_text")])
def test_a_loss_is_the_same_whatever_stands_beside_it(make, pairs, objectives):
    alone, all_of_them = make(objectives=objectives), make()
    alone.load_state_dict(all_of_them.state_dict(), strict=False)
    losses, expected = alone(pairs), all_of_them(pairs)
    for name, loss in losses.items():
        torch.testing.assert_close(loss, expected[name], **CLOSE)


def test_pictures_alone_are_scored_by_the_normed_states_of_hidden_patches(make, pairs):
    model, hidden = make(stem="conv"), pairs["patches_masked"]
    encoder = model.image_encoder
    patches = encoder.patch_embed(blanked(pairs["image"], hidden))
    patches = torch.where(hidden.flatten(1).unsqueeze(-1), model.mask_token, patches)
    x = torch.cat([encoder.cls_token.expand(5, -1, -1), patches], dim=1) + encoder.pos_embed
    states = encoder.norm(encoder.transformer(x))[:, 1:]
    expected = F.cross_entropy(
        model.mim_head(states[hidden.flatten(1)]), pairs["visual_tokens"][hidden]
    )
    torch.testing.assert_close(model(pictures(pairs))["mim"], expected, **CLOSE)


def test_texts_alone_are_scored_by_the_states_of_hidden_words(make, pairs):
    model = make()
    states = model.text_encoder(pairs["mlm_input_ids"], pairs["attention_mask"])
    logits = model.mlm_head(states)
    expected = F.cross_entropy(logits.flatten(0, 1), pairs["mlm_labels"].flatten())
    loss = model(texts(pairs))["mlm"]
    torch.testing.assert_close(loss, expected, **CLOSE)
    asked = pairs["mlm_labels"] != -100
    right = (logits.argmax(-1) == pairs["mlm_labels"])[asked].double().mean()
    assert model.monitors["mlm_accuracy"].item() == pytest.approx(right.item())


def test_wrong_pairs_teach_the_heads_of_hidden_things_nothing(make, pairs):
    """Their pictures move neither head nor loss; the matching head alone looks at them."""
    model = make(objectives=("mmm_image", "mmm_text"))
    image = pairs["image"].clone().requires_grad_()
    sum(model(pairs | {"image": image}).values()).backward()
    wrong = pairs["itm_labels"] == 0
    assert not image.grad[wrong].any() and image.grad[~wrong].flatten(1).any(dim=1).all()


def test_wrong_pairs_stay_among_what_the_others_must_not_find(make, pairs):
    model = make(objectives=("contrastive",))
    true = pairs["itm_labels"] == 1
    with_them = model(pairs)["contrastive"]
    without = model(chosen(pairs, true))["contrastive"]
    assert with_them > without + 1e-3
    image = pairs["image"].clone().requires_grad_()
    model(pairs | {"image": image})["contrastive"].backward()
    assert image.grad[~true].flatten(1).any(dim=1).all()


@pytest.mark.parametrize("labels", [[0, 0, 0, 0, 0], [0, 1, 0, 0, 0]])
def test_a_batch_without_a_true_pair_teaches_nothing_or_all(make, pairs, labels):
    wrong = pairs | {"itm_labels": torch.tensor(labels)}
    nothing, everything = (make(without_pairs=way) for way in ("nothing", "all"))
    losses, others = nothing(wrong), everything(wrong)
    torch.testing.assert_close(losses["itm"], others["itm"], **CLOSE)
    if any(labels):
        for name in OF_PAIRS:
            torch.testing.assert_close(losses[name], others[name], **CLOSE)
        return
    as_true = everything(pairs | {"itm_labels": torch.ones(5, dtype=torch.int64)})
    for name in ("contrastive", "mmm_image", "mmm_text"):
        assert losses[name].item() == 0 and losses[name].requires_grad
        torch.testing.assert_close(others[name], as_true[name], **CLOSE)
    sum(losses[name] for name in ("contrastive", "mmm_image", "mmm_text")).backward()
    for name, parameter in nothing.named_parameters():
        assert parameter.grad is None or not parameter.grad.any(), name
    assert nothing.monitors["mmm_text_accuracy"] == 0


def test_labels_of_matching_may_be_a_column_and_may_be_missing(make, pairs):
    model = make()
    column = model(pairs | {"itm_labels": pairs["itm_labels"].unsqueeze(1)})
    for name, loss in model(pairs).items():
        torch.testing.assert_close(column[name], loss, **CLOSE)
    unsaid = {key: value for key, value in pairs.items() if key != "itm_labels"}
    losses = model(unsaid)
    assert set(losses) == set(OF_PAIRS) - {"itm"}
    as_true = model(pairs | {"itm_labels": torch.ones(5, dtype=torch.int64)})
    for name, loss in losses.items():
        torch.testing.assert_close(loss, as_true[name], **CLOSE)


def test_the_mean_word_leaves_padding_out(make, pairs):
    model, seen = make(text_pool="mean"), pairs["attention_mask"]
    states = model.text_encoder(pairs["input_ids"], seen)
    for i in range(5):
        mean = states[i, seen[i]].mean(dim=0)
        torch.testing.assert_close(model.pool_text(states, seen)[i], mean, **CLOSE)
    whole = model.text_encoder(pairs["input_ids"])
    expected = model.text_proj(whole.mean(dim=1))
    torch.testing.assert_close(model.encode_text(pairs["input_ids"]), expected, **CLOSE)


def test_each_picture_may_also_be_judged_with_its_neighbours_sentence(make, pairs):
    """Rows 0 and 1, 2 and 3 exchange; 2 and 3 say the same, which is no wrong pair. All match."""
    model = make(objectives=("itm",), itm_negatives="neighbours")
    batch = chosen(pairs, slice(0, 4)) | {"itm_labels": torch.ones(4, dtype=torch.int64)}
    for key in ("input_ids", "attention_mask", "mlm_input_ids"):
        batch[key] = batch[key].clone()
        batch[key][3] = batch[key][2]
    other = torch.tensor([1, 0, 3, 2])
    exchanged = batch | {key: batch[key][other] for key in ("mlm_input_ids", "attention_mask")}
    scores = torch.cat([
        model.itm_head(model.encode_pair(
            one["image"], one["mlm_input_ids"], one["attention_mask"],
            patches_masked=one["patches_masked"],
        ))
        for one in (batch, exchanged)
    ])  # fmt: skip
    expected = F.cross_entropy(scores, torch.tensor([1, 1, 1, 1, 0, 0, 1, 1]))
    calls, losses = calls_of(model, batch)
    torch.testing.assert_close(losses["itm"], expected, **CLOSE)
    assert calls == {"image": [4], "text": [4], "multimodal": [4, 4]}


def test_part_of_the_pairs_may_contrast_only(make, pairs):
    """Of five the first two are fused, an even number; the contrastive loss reads all five."""
    part, whole = make(fused_share=0.5), make()
    calls, losses = calls_of(part, pairs)
    assert calls == {"image": [5 + 2], "text": [5 + 2], "multimodal": [2]}
    expected = whole(chosen(pairs, slice(0, 2))) | {"contrastive": whole(pairs)["contrastive"]}
    for name, loss in losses.items():
        torch.testing.assert_close(loss, expected[name], **CLOSE)


# What must not matter.


@pytest.mark.parametrize("kind", [pictures, texts, dict])
def test_inputs_are_never_changed(make, pairs, kind):
    batch = kind(pairs)
    given = {key: value.clone() for key, value in batch.items()}
    sum(make()(batch).values()).backward()
    assert list(batch) == list(given)
    assert all(torch.equal(batch[key], given[key]) for key in given)


@pytest.mark.parametrize("kind", [pictures, texts, dict])
def test_the_order_of_a_batch_does_not_count(make, pairs, kind):
    model, order = make(), torch.tensor([3, 0, 4, 2, 1])
    losses, others = model(kind(pairs)), model(kind(chosen(pairs, order)))
    for name, loss in losses.items():
        torch.testing.assert_close(others[name], loss, **CLOSE)


def test_what_comes_out_stands_in_the_order_of_what_went_in(make, pairs):
    model, order = make(), torch.tensor([3, 0, 4, 2, 1])
    for exit, keys in {
        model.encode_image: ("image",),
        model.encode_text: ("input_ids", "attention_mask"),
        model.encode_pair: ("image", "input_ids", "attention_mask"),
    }.items():
        out, again = exit(*(pairs[k] for k in keys)), exit(*(pairs[k][order] for k in keys))
        torch.testing.assert_close(again, out[order], **CLOSE)
    assert model.encode_image(pairs["image"]).shape == (5, 8)
    assert model.encode_text(pairs["input_ids"]).shape == (5, 8)
    assert model.encode_pair(pairs["image"], pairs["input_ids"]).shape == (5, 2 + 9 + 6, WIDTH)


@pytest.mark.parametrize("kind", [texts, dict])
def test_padding_counts_only_where_it_is_left_to_be_seen(make, pairs, kind):
    masking, seeing = (make(mask_pads=value) for value in (True, False))
    batch = kind(pairs)
    losses, others = masking(batch), masking(padded(batch, 3))
    for name, loss in losses.items():
        torch.testing.assert_close(others[name], loss, **CLOSE)
    if kind is texts:
        return
    losses, others = seeing(batch), seeing(padded(batch, 3))
    torch.testing.assert_close(others["contrastive"], losses["contrastive"], **CLOSE)
    for name in ("itm", "mmm_image", "mmm_text"):
        assert (others[name] - losses[name]).abs() > 1e-5, name


def test_without_padding_both_ways_of_masking_it_are_one(make, pairs):
    whole = pairs | {"attention_mask": torch.ones(5, 6, dtype=torch.bool)}
    losses, others = (make(mask_pads=value)(whole) for value in (True, False))
    for name, loss in losses.items():
        torch.testing.assert_close(others[name], loss, **CLOSE)
    unmasked = {key: value for key, value in whole.items() if key != "attention_mask"}
    for name, loss in make()(unmasked).items():
        torch.testing.assert_close(loss, losses[name], **CLOSE)


def test_hidden_patches_are_seen_by_no_stem(make, pairs):
    hidden = pairs["patches_masked"]
    other = torch.where(blanked(torch.ones_like(pairs["image"]), hidden) == 0, 0.77, pairs["image"])
    for stem in ("patch", "conv"):
        model = make(stem=stem, objectives=("itm", "mmm_text", "mim"))
        for kind in (pictures, dict):
            losses, others = model(kind(pairs)), model(kind(pairs) | {"image": other})
            for name, loss in losses.items():
                torch.testing.assert_close(others[name], loss, **CLOSE)


def test_weights_of_attention_come_only_when_asked_for(make, pairs):
    model = make()
    image, ids, seen = pairs["image"], pairs["input_ids"], pairs["attention_mask"]
    out, maps = model.encode_pair(image, ids, seen, return_attention=True)
    torch.testing.assert_close(out, model.encode_pair(image, ids, seen), **CLOSE)
    assert [tuple(weights.shape) for weights in maps] == [(5, 3, 17, 17)] * 2
    assert not maps[0][2, :, :, 2 + 9 + 3 :].any(), "nobody looks at padding"
    torch.testing.assert_close(maps[0].sum(-1), torch.ones(5, 3, 17).double(), **CLOSE)
    out, maps = model.encode_image(image, return_attention=True)
    torch.testing.assert_close(out, model.encode_image(image), **CLOSE)
    assert [tuple(weights.shape) for weights in maps] == [(5, 2, 10, 10)] * 2


# Training.


def test_every_weight_learns_from_one_of_the_three_kinds(make, pairs):
    model = make(stem="conv", tokenizer=Brightness(), poolers=True).train()
    assert not model.tokenizer.training and not model.tokenizer.norm.training
    for kind in (pictures, texts, dict):
        sum(model(kind(pairs)).values()).backward()
    still = {
        name
        for name, p in model.named_parameters()
        if p.requires_grad and (p.grad is None or p.grad.abs().max() < 1e-12)
    }
    # A key's bias moves all scores of a query alike; the published poolers feed no loss.
    assert {name for name in still if "k_proj.bias" not in name and "_pooler." not in name} == set()
    assert {name.split(".")[0] for name in still if "_pooler." in name} == {
        "image_pooler", "text_pooler", "multimodal_pooler"
    }  # fmt: skip
    assert not any(name.startswith("itm_head.pooler") for name in still)
    assert all(p.grad is None and not p.requires_grad for p in model.tokenizer.parameters())
    assert "tokenizer.step" in model.state_dict()


def test_the_tokenizer_names_what_the_batch_does_not(make, pairs):
    model = make(tokenizer=Brightness())
    bare = {key: value for key, value in pairs.items() if key != "visual_tokens"}
    small = F.interpolate(
        pairs["image"], size=(6, 6), mode="bicubic", antialias=True, align_corners=False
    )
    codes = model.tokenizer.tokenize(small.clamp(-1, 1))
    for kind in (dict, lambda batch: {key: batch[key] for key in ("image", "patches_masked")}):
        losses = model(kind(bare))
        expected = model(kind(bare) | {"visual_tokens": codes})
        for name, loss in losses.items():
            torch.testing.assert_close(loss, expected[name], **CLOSE)


def test_first_losses_are_those_of_who_knows_nothing(normal):
    """Of k answers that are alike one pays ln k."""
    torch.manual_seed(0)
    model = build(words=600, codes=500)
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(5, 600, (64, 8), generator=generator)
    batch = {
        "image": normal(0, 64, 3, 12, 12).float().clamp(-1, 1),
        "patches_masked": torch.rand(64, 3, 3, generator=generator) < 0.4,
        "visual_tokens": torch.randint(500, (64, 3, 3), generator=generator),
        "input_ids": ids,
        "attention_mask": torch.ones(64, 8, dtype=torch.bool),
        "mlm_input_ids": ids.masked_fill(ids % 3 == 0, MASK),
        "mlm_labels": ids.masked_fill(ids % 3 != 0, -100),
        "itm_labels": (torch.arange(64) % 4 > 0).long(),
    }
    model.logit_scale.data.zero_()  # eight random numbers differ much: not to be made louder
    losses = {}
    for kind in (pictures, texts, dict):
        losses |= {name: loss.item() for name, loss in model(kind(batch)).items()}
    choices = {"contrastive": 64, "itm": 2, "mmm_image": 500, "mmm_text": 600, "mim": 500,
               "mlm": 600}  # fmt: skip
    assert set(losses) == set(choices)
    for name, count in choices.items():
        assert losses[name] == pytest.approx(math.log(count), abs=0.35), name


def test_a_batch_is_watched_for_what_it_asks_alone(make, pairs):
    model = make()
    for kind, watched in {
        dict: {"itm", "mmm_image", "mmm_text"}, texts: {"mlm"}, pictures: {"mim"},
    }.items():  # fmt: skip
        model(kind(pairs))
        assert set(model.monitors) == {f"{name}_accuracy" for name in watched}


def test_the_temperature_is_clamped_after_the_step_only(make, pairs):
    model = make(objectives=("contrastive",))
    with torch.no_grad():
        model.logit_scale.fill_(9.0)
    model(pairs)
    assert model.logit_scale.item() == 9.0
    model.after_step()
    assert model.logit_scale.item() == pytest.approx(math.log(100))


def test_the_objectives_are_looked_up_when_called(make, pairs, monkeypatch):
    """A reader's own functions, put in place of the package's, train this model."""
    model = make()
    monkeypatch.setattr(contrastive, "paired_info_nce", lambda image, *rest: image.sum() * 0 + 3)
    monkeypatch.setattr(flava, "mmm_loss", lambda states, *rest: states.sum() * 0 + 4)
    losses = model(pairs)
    assert losses["contrastive"].item() == 3
    assert losses["mmm_image"].item() == losses["mmm_text"].item() == 4
    monkeypatch.setattr(flava, "merge_tokens", lambda *rest: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model(pairs)


# What cannot be computed is named.


def test_pairs_without_captions_or_pictures_are_refused(make, pairs):
    model = make()
    with pytest.raises(UserError, match="no captions"):
        model(pictures(pairs) | {"itm_labels": pairs["itm_labels"]})
    with pytest.raises(UserError, match="no pictures"):
        model(texts(pairs) | {"itm_labels": pairs["itm_labels"]})


def test_a_codebook_of_another_size_is_refused():
    with pytest.raises(UserError, match=f"with {CODES} codes, the heads are to know 9"):
        build(tokenizer=Brightness(), vocab_size=9)
    assert build(tokenizer=Brightness(), vocab_size=CODES).mim_head.bias.shape == (CODES,)


def test_visual_tokens_of_another_grid_are_refused(make, pairs):
    other = pairs | {"visual_tokens": torch.zeros(5, 2, 2, dtype=torch.int64)}
    for kind in (pictures, dict):
        with pytest.raises(ValueError, match="one code a patch"):
            make()(kind(other))


def test_codes_from_nowhere_are_refused(make, pairs):
    bare = {key: value for key, value in pairs.items() if key != "visual_tokens"}
    with pytest.raises(ValueError, match="no visual_tokens .* no tokenizer"):
        make()(bare)
    with pytest.raises(ValueError, match="vocab_size"):
        build(codes=None)
    assert set(make(codes=None, objectives=("contrastive", "itm"))(bare)) == {"contrastive", "itm"}


@pytest.mark.parametrize("objectives", [(), ("contrastive", "global")])
def test_unknown_objectives_and_none_are_refused(objectives):
    with pytest.raises(ValueError, match="choose among"):
        build(objectives=objectives)

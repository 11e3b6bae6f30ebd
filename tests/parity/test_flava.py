"""Our Flava is transformers' FlavaForPreTraining: outputs, six losses, every gradient, in float64.

Where that model, torchmultimodal or the paper decide otherwise than we do, the other choice is an
option, and both are compared.
"""

import copy
import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minivl.models.dvae import DVAE
from minivl.models.flava import OBJECTIVES, Flava, MultimodalEncoder
from minivl.nn.bert import Bert
from minivl.nn.dvae import Decoder, Encoder, map_pixels
from minivl.nn.vit import ViT
from minivl.objectives.contrastive import LOGIT_SCALE_RANGE, similarity_logits

GRID, PATCH = 4, 8
WIDTH, SHARED = 48, 32  # as FLAVA's paper has it, but not its code, pictures meet texts elsewhere
VOCAB, CODES, LONGEST, EPS = 100, 64, 9, 1e-12
NAMES = {
    r"^image_encoder\.(cls_token)": r"flava.image_model.embeddings.\1",
    r"^image_encoder\.pos_embed": "flava.image_model.embeddings.position_embeddings",
    r"^image_encoder\.patch_embed": "flava.image_model.embeddings.patch_embeddings",
    r"^mask_token": "flava.image_model.embeddings.mask_token",
    r"^text_encoder\.(word|token_type)_embed\.": r"flava.text_model.embeddings.\1_embeddings.",
    r"^text_encoder\.pos_embed\.": "flava.text_model.embeddings.position_embeddings.",
    r"^text_encoder\.embed_norm": "flava.text_model.embeddings.LayerNorm",
    r"^(image|text|multimodal)_encoder\.transformer\.blocks": r"flava.\1_model.encoder.layer",
    r"^(image|text|multimodal)_encoder\.norm\.": r"flava.\1_model.layernorm.",
    r"^multimodal_encoder\.": "flava.multimodal_model.",
    r"^(image|text|multimodal)_pooler": r"flava.\1_model.pooler",
    r"^(image|text)_to_mm": r"flava.\1_to_mm_projection",
    r"^(image|text)_proj\.": r"flava.\1_projection.",
    r"^logit_scale": "flava.logit_scale",
    r"\.attention\.q_proj": ".attention.attention.query",
    r"\.attention\.k_proj": ".attention.attention.key",
    r"\.attention\.v_proj": ".attention.attention.value",
    r"\.attention\.out_proj": ".attention.output.dense",
    r"\.norm1\.": ".layernorm_before.",
    r"\.norm2\.": ".layernorm_after.",
    r"\.mlp\.fc1\.": ".intermediate.dense.",
    r"\.mlp\.fc2\.": ".output.dense.",
    r"_head\.dense": "_head.transform.dense",
    r"_head\.norm": "_head.transform.LayerNorm",
    r"_head\.decoder": "_head.decoder.weight",
}
POOLERS = {f"flava.{name}_model.pooler.dense" for name in ("image", "text", "multimodal")}
CALLED = {"global_contrastive": "contrastive"}
"""Their losses' names where ours differ."""


def build(**options) -> Flava:
    return Flava(
        ViT(image_size=GRID * PATCH, patch_size=PATCH, width=WIDTH, depth=2, heads=4, eps=EPS),
        Bert(
            vocab_size=VOCAB, width=WIDTH, depth=2, heads=4, max_length=LONGEST, norm="pre", eps=EPS
        ),
        MultimodalEncoder(WIDTH, 2, 4, eps=EPS),
        **{"embed_dim": SHARED, "vocab_size": CODES, "poolers": True, "eps": EPS} | options,
    )


@pytest.fixture(scope="module")
def pair_of(drawn, twins):
    """pair_of(options): our model, theirs with its weights, and the comparison of gradients."""
    from transformers.models.flava.configuration_flava import FlavaConfig
    from transformers.models.flava.modeling_flava import FlavaForPreTraining

    def pair(**options):
        numbers = {
            "hidden_size": WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 4 * WIDTH,
        }
        image = {"image_size": GRID * PATCH, "patch_size": PATCH, "vocab_size": CODES}
        # Else their padding's embedding gets no gradient even where it is looked at.
        text = {"vocab_size": VOCAB, "max_position_embeddings": LONGEST, "pad_token_id": None}
        config = FlavaConfig(
            image_config=numbers | image,
            text_config=numbers | text,
            multimodal_config=numbers,
            hidden_size=WIDTH,
            projection_dim=SHARED,
            init_codebook=False,
        )
        ours = drawn(build(**options))
        theirs = FlavaForPreTraining(config)
        return ours, theirs, twins(ours, theirs, NAMES)

    return pair


@pytest.fixture(scope="module")
def models(pair_of):
    return pair_of()


@pytest.fixture(autouse=True)
def as_built(request):
    """What a test sets of the models that all share is set back before the next."""
    if "models" in request.fixturenames:
        ours, theirs, _ = request.getfixturevalue("models")
        choose(ours, theirs)
    yield


def choose(ours, theirs, scale=2.0, **options):
    """Temperature of both models; options of ours."""
    with torch.no_grad():
        ours.logit_scale.fill_(scale)
        theirs.flava.logit_scale.fill_(scale)
    usual = {
        "without_pairs": "nothing",
        "mask_pads": True,
        "image_pool": "cls",
        "text_pool": "cls",
        "itm_negatives": "given",
        "objectives": frozenset(OBJECTIVES),
    }
    for name, value in (usual | options).items():
        setattr(ours, name, value)


def pictures(normal, seed, b, sure=0):
    """Pictures with hidden patches and codes; picture `sure` hides one at least."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.rand(b, GRID, GRID, generator=generator) < torch.rand(
        b, 1, 1, generator=generator
    )
    hidden[sure, 1, 2] = True  # theirs is NaN where nothing is asked
    codes = torch.randint(CODES, (b, GRID, GRID), generator=generator)
    image = normal(seed, b, 3, GRID * PATCH, GRID * PATCH)
    return {"image": image, "patches_masked": hidden, "visual_tokens": codes}


def texts(seed, b, length, padded, sure=0):
    """Texts, whole and with hidden words, and with padding or none; text `sure` hides one."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, VOCAB, (b, length), generator=generator)
    seen = torch.ones(b, length, dtype=torch.bool)
    if padded:
        seen = torch.arange(length) < torch.randint(1, length + 1, (b, 1), generator=generator)
    hidden = (torch.rand(b, length, generator=generator) < 0.4) & seen
    hidden[sure, 0] = True
    ids = ids.masked_fill(~seen, 0)
    batch = {
        "input_ids": ids,
        "mlm_input_ids": ids.masked_fill(hidden, 3),
        "mlm_labels": ids.masked_fill(~hidden, -100),
    }
    return batch | ({"attention_mask": seen} if padded else {})


def pairs(normal, seed, length, padded, labels):
    """As many pairs as labels; or that many without a label. One that is scored hides something."""
    b = labels if isinstance(labels, int) else len(labels)
    told = {} if isinstance(labels, int) else {"itm_labels": torch.tensor(labels).long()}
    sure = labels.index(True) if told and any(labels) else 0
    batch = pictures(normal, seed, b, sure) | texts(seed + 1, b, length, padded, sure)
    return batch | told


def called_theirs(batch):
    """A batch under their names: labels are copies, for theirs writes into them."""
    names = {
        "image": "pixel_values",
        "patches_masked": "bool_masked_pos",
        "visual_tokens": "mim_labels",
        "input_ids": "input_ids",
        "mlm_input_ids": "input_ids_masked",
    }
    batch = {names.get(name, name): value.clone() for name, value in batch.items()}
    if "attention_mask" in batch:
        batch["attention_mask"] = batch["attention_mask"].long()
    return batch


def their_losses(theirs, batch, **more):
    """Those that are there, under our names; `more` inputs under theirs."""
    found = theirs(**called_theirs(batch) | more).loss_info
    return {CALLED.get(name, name): loss for name, loss in found.items() if loss is not None}


def alike(models, close, batch, expected, **more):
    """Both models' losses are `expected` and equal, and so are gradients of their sum.

    -> names of the parameters that learn; "input" if pictures would.
    """
    ours, theirs, compare = models
    inputs = []
    if "image" in batch:
        more["pixel_values"] = batch["image"].detach().clone().requires_grad_()
        inputs = [(batch["image"].requires_grad_(), more["pixel_values"])]
    a, other = ours(batch), their_losses(theirs, batch, **more)
    assert set(a) == set(other) == set(expected)
    for name, loss in other.items():
        assert loss.isfinite(), name
        close(a[name], loss, name)
    return compare(sum(a.values()), sum(other.values()), inputs, partial=True)


OF_PAIRS = ("contrastive", "itm", "mmm_image", "mmm_text")
TEXTS = {
    "seed": st.integers(0, 10**6),
    "length": st.integers(1, LONGEST),
    "padded": st.booleans(),
}


@given(**TEXTS, b=st.integers(1, 3), holes=st.booleans())
@settings(max_examples=12, deadline=None)
def test_every_output(models, normal, close, seed, length, padded, b, holes):
    """States before and after the last norms, poolers, projections of FlavaModel."""
    ours, theirs, compare = models
    batch = pictures(normal, seed, b) | texts(seed + 1, b, length, padded)
    image, ids, seen = batch["image"], batch["input_ids"], batch.get("attention_mask")
    hidden = batch["patches_masked"] if holes else None
    found = theirs.flava(
        input_ids=ids,
        pixel_values=image,
        attention_mask=None if seen is None else seen.long(),
        bool_masked_pos=hidden,
    )
    states = ours.image_states(image, hidden), ours.text_encoder.states(ids, seen)
    pictured, read = ours.image_encoder.norm(states[0]), ours.text_encoder(ids, seen)
    fused = ours.encode_pair(image, ids, seen, patches_masked=hidden)
    assert fused.shape == (b, 1 + 1 + GRID**2 + length, WIDTH)
    outputs = {
        "image before the norm": (states[0], found.image_output.hidden_states[-1]),
        "text before the norm": (states[1], found.text_output.hidden_states[-1]),
        "image": (pictured, found.image_embeddings),
        "text": (read, found.text_embeddings),
        "multimodal": (fused, found.multimodal_embeddings),
        "image pooler": (ours.image_pooler(pictured), found.image_output.pooler_output),
        "text pooler": (ours.text_pooler(read), found.text_output.pooler_output),
        "multimodal pooler": (ours.multimodal_pooler(fused), found.multimodal_output.pooler_output),
        # Theirs are projections of all tokens.
        "image projection": (
            ours.image_proj(pictured[:, 0]),
            theirs.flava.get_image_features(image, hidden).pooler_output[:, 0],
        ),
        "text projection": (
            ours.encode_text(ids, seen),
            theirs.flava.get_text_features(ids, seen).pooler_output[:, 0],
        ),
    }
    sums = [0.0, 0.0]
    for place, (name, both) in enumerate(outputs.items()):
        close(*both, name)
        weights = normal(seed + place, *both[0].shape)
        sums = [total + (one * weights).sum() for total, one in zip(sums, both, strict=True)]
    if not holes:
        close(ours.encode_image(image), outputs["image projection"][1])
    moved = compare(*sums, partial=True)
    assert not any("_head" in name for name in moved) and "flava.logit_scale" not in moved
    assert {f"{pooler}.weight" for pooler in POOLERS} <= moved


@given(seed=st.integers(0, 10**6), grid=st.tuples(*[st.integers(1, 6)] * 2))
@settings(max_examples=6, deadline=None)
def test_pictures_of_another_size(models, normal, close, seed, grid):
    """Positions are stretched to a size, theirs when asked to."""
    ours, theirs, compare = models
    image = normal(seed, 2, 3, grid[0] * PATCH, grid[1] * PATCH)
    other = theirs.flava.get_image_features(image, interpolate_pos_encoding=True).pooler_output
    a = ours.encode_image(image)
    close(a, other[:, 0])
    weights = normal(seed + 1, *a.shape)
    compare((a * weights).sum(), (other[:, 0] * weights).sum(), partial=True)


def test_every_score(models, normal, close):
    """What the heads say of whole texts and pictures, and how alike picture and text are."""
    ours, theirs, _ = models
    batch = pairs(normal, 1, 7, True, 3)
    image, seen, holed = batch["image"], batch["attention_mask"], batch["mlm_input_ids"]
    found = theirs(
        input_ids=batch["input_ids"], input_ids_masked=holed, pixel_values=image,
        attention_mask=seen.long(), bool_masked_pos=batch["patches_masked"], return_loss=False,
    )  # fmt: skip
    assert found.loss is None
    fused = ours.encode_pair(image, holed, seen, patches_masked=batch["patches_masked"])
    close(fused, found.multimodal_masked_embeddings)
    close(ours.itm_head(fused), found.itm_logits)
    close(ours.mmm_image_head(fused[:, 2:-7]), found.mmm_image_logits)
    close(ours.mmm_text_head(fused[:, -7:]), found.mmm_text_logits)
    features = ours.encode_image(image), ours.encode_text(batch["input_ids"], seen)
    close(similarity_logits(*features, ours.logit_scale), found.contrastive_logits_per_image)
    close(similarity_logits(*features[::-1], ours.logit_scale), found.contrastive_logits_per_text)
    alone = theirs(pixel_values=image, return_loss=False).mim_logits
    close(ours.mim_head(ours.image_encoder(image)), alone)
    alone = theirs(input_ids_masked=holed, attention_mask=seen.long(), return_loss=False).mlm_logits
    close(ours.mlm_head(ours.text_encoder(holed, seen)), alone)


def test_attention(models, normal, close):
    """The weights that viewers show, in all three encoders."""
    ours, theirs, _ = models
    batch = pairs(normal, 2, 6, True, 2)
    image, ids, seen = (batch[name] for name in ("image", "input_ids", "attention_mask"))
    whole = theirs.flava(ids, image, seen.long(), output_attentions=True)
    projected = torch.cat(
        [
            theirs.flava.image_to_mm_projection(whole.image_output.hidden_states[-1]),
            theirs.flava.text_to_mm_projection(whole.text_output.hidden_states[-1]),
        ],
        dim=1,
    )
    everything = torch.cat([torch.ones(2, 2 + GRID**2), seen], dim=1).long()
    fused = theirs.flava.multimodal_model(projected, everything, output_attentions=True)
    close(fused.last_hidden_state, whole.multimodal_embeddings)  # so the mask is theirs
    for maps, others in (
        (ours.encode_image(image, return_attention=True)[1], whole.image_output.attentions),
        (ours.text_encoder(ids, seen, return_attention=True)[1], whole.text_output.attentions),
        (ours.encode_pair(image, ids, seen, return_attention=True)[1], fused.attentions),
    ):
        for a, b in zip(maps, others, strict=True):
            close(a, b)


# The six losses.


@given(seed=st.integers(0, 10**6), b=st.integers(1, 4))
@settings(max_examples=10, deadline=None)
def test_pictures_alone(models, normal, close, seed, b):
    moved = alike(models, close, pictures(normal, seed, b), ["mim"])
    assert {"flava.image_model.embeddings.mask_token", "mim_head.bias"} <= moved
    assert not any("text" in name or "multimodal" in name or "mm_" in name for name in moved)


@given(**TEXTS, b=st.integers(1, 4))
@settings(max_examples=10, deadline=None)
def test_texts_alone(models, close, seed, length, padded, b):
    batch = texts(seed, b, length, padded)
    del batch["input_ids"]  # nothing reads them
    moved = alike(models, close, batch, ["mlm"])
    assert "mlm_head.bias" in moved
    assert not any("image" in name or "multimodal" in name or "mm_" in name for name in moved)


@given(
    **TEXTS,
    labels=st.one_of(st.integers(1, 4), st.lists(st.booleans(), min_size=1, max_size=4)),
    scale=st.floats(0.0, 4.6),
    anyway=st.booleans(),
)
@example(seed=0, length=LONGEST, padded=True, labels=3, scale=2.0, anyway=False)
@example(seed=1, length=LONGEST, padded=True, labels=[True] * 3, scale=2.0, anyway=False)
@example(seed=2, length=5, padded=True, labels=[False, True, False, True], scale=2.0, anyway=False)
@example(seed=3, length=5, padded=True, labels=[False, True, False, True], scale=2.0, anyway=True)
@settings(max_examples=20, deadline=None)
def test_pairs(models, normal, close, seed, length, padded, labels, scale, anyway):
    """Pairs with true, false or no labels; `anyway`: our option for none that is true."""
    ours, theirs, _ = models
    told = not isinstance(labels, int)
    none_true = told and not any(labels)
    choose(ours, theirs, scale, without_pairs="all" if anyway or none_true else "nothing")
    batch = pairs(normal, seed, length, padded, labels)
    expected = [name for name in OF_PAIRS if told or name != "itm"]
    moved = alike(models, close, batch, expected)
    assert {"mmm_image_head.bias", "mmm_text_head.bias"} <= moved
    assert ("itm_head.pooler.dense.bias" in moved) == told
    assert not {name for name in moved if name.startswith(("mim_head", "mlm_head", *POOLERS))}
    # One among one is found without trying.
    if len(batch["image"]) > 1 and scale < 2:
        assert {"flava.logit_scale", "flava.text_projection.bias", "input"} <= moved


def test_a_single_pair_contrasts_with_nothing(models, normal, close):
    ours, theirs, compare = models
    batch = pairs(normal, 4, 5, False, 1)
    a, other = ours(batch)["contrastive"], their_losses(theirs, batch)["contrastive"]
    assert a == other == 0
    assert not compare(a, other, partial=True)


@pytest.mark.parametrize("name", OF_PAIRS)
def test_each_alone(models, normal, close, name):
    """A loss is what it is beside the others where only its own passes are run."""
    ours, theirs, compare = models
    batch = pairs(normal, 4, 5, True, [True, False, True])
    other = their_losses(theirs, batch)[name]
    choose(ours, theirs, objectives=frozenset([name]))
    a = ours(batch)
    assert set(a) == {name}
    assert other > 0.1
    close(a[name], other)
    compare(a[name], other, partial=True)


def test_four_steps(pair_of, normal, close):
    """Pictures, texts and pairs in turn, in training mode: losses and weights stay equal."""
    ours, theirs, _ = pair_of()
    theirs.requires_grad_()
    optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-3) for model in (ours, theirs)]
    batches = [
        pairs(normal, 10, 6, True, [True, False, True]),
        pictures(normal, 11, 3),
        texts(12, 3, 8, True),
        pairs(normal, 13, 9, True, [True, True, True, False]),
    ]
    before = copy.deepcopy(ours)
    del batches[2]["input_ids"]
    for batch in batches:
        a, other = ours.train()(batch), their_losses(theirs.train(), batch)
        for name, loss in other.items():
            close(a[name], loss, name)
        for losses, optimizer in zip((a, other), optimizers, strict=True):
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()
        ours.after_step()
    batch = pairs(normal, 14, 9, True, [True, True, True, False])
    last, start = ours(batch), before(batch)
    for name, loss in their_losses(theirs, batch).items():
        torch.testing.assert_close(last[name], loss, rtol=1e-7, atol=1e-7)
        assert (last[name] - start[name]).abs() > 1e-3, name


# Where sources differ: one of ours is theirs.


def test_nothing_is_scored_where_all_pairs_are_wrong(models, normal, close):
    """As in both codes all of it, if asked; else only matching, which wrong pairs do teach."""
    ours, theirs, compare = models
    batch = pairs(normal, 5, 6, True, [False] * 3)
    other = their_losses(theirs, batch)
    assert all(loss > 0.1 for loss in other.values())
    a = ours(batch)
    close(a["itm"], other["itm"])
    for name in ("contrastive", "mmm_image", "mmm_text"):
        assert a[name] == 0 and a[name].requires_grad
    compare(sum(a.values()), other["itm"], partial=True)
    choose(ours, theirs, without_pairs="all")
    alike(models, close, batch, OF_PAIRS)


def test_padding_that_is_seen(models, normal, close):
    """torchmultimodal gives its multimodal encoder no mask; transformers does, but need not."""
    ours, theirs, _ = models
    batch = pairs(normal, 6, 9, True, [True, False, True])
    assert not batch["attention_mask"].all()
    hidden = ours(batch)
    blind = theirs.flava.multimodal_model.register_forward_pre_hook(
        lambda module, args, kwargs: (args, kwargs | {"attention_mask": None}), with_kwargs=True
    )
    choose(ours, theirs, mask_pads=False)
    try:
        moved = alike(models, close, batch, OF_PAIRS)
    finally:
        blind.remove()
    assert {"flava.text_model.embeddings.word_embeddings.weight", "input"} <= moved
    seen = ours(batch)
    for name in ("itm", "mmm_image", "mmm_text"):
        assert (seen[name] - hidden[name]).abs() > 1e-3, name
    close(seen["contrastive"], hidden["contrastive"])


def test_without_padding_it_does_not_matter(models, normal, close):
    ours, theirs, _ = models
    choose(ours, theirs, mask_pads=False)
    batch = pairs(normal, 7, 8, False, [True, False, True])
    alike(models, close, batch, OF_PAIRS)
    whole = batch | {"attention_mask": torch.ones(3, 8, dtype=torch.bool)}
    alike(models, close, whole, OF_PAIRS)


def test_padding_behind_changes_nothing(models, normal, close):
    ours, _, _ = models
    batch = pairs(normal, 8, 5, False, [True, False, True])
    longer = dict(batch, attention_mask=torch.ones(3, 5, dtype=torch.bool))
    for name, filler in (
        ("input_ids", 0), ("mlm_input_ids", 0), ("mlm_labels", -100), ("attention_mask", False)
    ):  # fmt: skip
        longer[name] = torch.nn.functional.pad(longer[name], (0, LONGEST - 5), value=filler)
    a, b = ours(batch), ours(longer)
    for name in OF_PAIRS:
        close(a[name], b[name], name)


def test_the_epsilon_of_the_heads(pair_of, normal, close):
    """torchmultimodal's heads norm with 1e-5, transformers' with 1e-12."""
    ours, theirs, compare = pair_of(eps=1e-5)
    for head in (theirs.mim_head, theirs.mlm_head, theirs.mmm_image_head, theirs.mmm_text_head):
        head.transform.LayerNorm.eps = 1e-5
    usual, _, _ = pair_of()
    batch = pairs(normal, 9, 6, True, [True, False, True])
    alike((ours, theirs, compare), close, batch, OF_PAIRS)
    alike((ours, theirs, compare), close, pictures(normal, 9, 2), ["mim"])
    difference = ours(batch)["mmm_text"] - usual(batch)["mmm_text"]
    assert 1e-8 < difference.abs() < 1e-3


def test_when_the_temperature_is_clamped(models, normal, close):
    """Theirs in the forward pass of training, ours after the step; none of them in evaluation."""
    ours, theirs, _ = models
    batch = pairs(normal, 3, 6, True, 3)
    choose(ours, theirs, 6.0)
    alike(models, close, batch, ("contrastive", "mmm_image", "mmm_text"))
    sharp = ours.train()(batch)["contrastive"]
    clamped = their_losses(theirs.train(), batch)["contrastive"]
    ours.eval(), theirs.eval()
    assert ours.logit_scale == 6.0
    assert theirs.flava.logit_scale.item() == pytest.approx(4.6052, abs=1e-6)
    assert (sharp - clamped).abs() > 1e-3
    ours.after_step()
    assert ours.logit_scale.item() == pytest.approx(math.log(100)) == LOGIT_SCALE_RANGE[1]
    torch.testing.assert_close(ours(batch)["contrastive"], clamped, rtol=1e-3, atol=1e-3)


def test_labels_of_matching_may_have_a_second_dimension(models, normal, close):
    """Their documentation asks for it, their code raises."""
    ours, theirs, _ = models
    batch = pairs(normal, 2, 6, True, [True, False, True])
    column = batch | {"itm_labels": batch["itm_labels"].unsqueeze(1)}
    with pytest.raises((RuntimeError, ValueError, IndexError)):
        theirs(**called_theirs(column))
    a, b = ours(batch), ours(column)
    for name in OF_PAIRS:
        close(a[name], b[name], name)


def test_nothing_hidden_costs_nothing(models, normal):
    """Theirs is NaN."""
    ours, theirs, _ = models
    batch = pairs(normal, 2, 6, True, [True, False, True])
    batch["patches_masked"][:] = False
    batch["mlm_labels"][:] = -100
    image = {name: batch[name] for name in ("image", "patches_masked", "visual_tokens")}
    text = {name: batch[name] for name in ("mlm_input_ids", "mlm_labels", "attention_mask")}
    for part, names in ((batch, ("mmm_image", "mmm_text")), (image, ("mim",)), (text, ("mlm",))):
        a, other = ours(part), their_losses(theirs, part)
        for name in names:
            assert other[name].isnan()
            assert a[name] == 0
        zero = sum(a[name] for name in names)
        gradients = torch.autograd.grad(zero, ours.parameters(), materialize_grads=True)
        assert not any(gradient.any() for gradient in gradients)


def test_batches_stay_as_they_are(models, normal):
    """Theirs overwrites the caller's labels of patches."""
    ours, theirs, _ = models
    kept = pictures(normal, 2, 3) | texts(3, 3, 6, True)
    batch = {name: value.clone() for name, value in kept.items()}
    ours(batch)
    assert all(torch.equal(batch[name], value) for name, value in kept.items())
    renamed = called_theirs(kept)
    theirs(**renamed)
    assert not torch.equal(renamed["mim_labels"], kept["visual_tokens"])


# What only ours has, made of theirs.


def test_matching_with_neighbours(models, normal, close):
    """Theirs on a batch that has each picture twice, the second time with its neighbour's text."""
    ours, theirs, compare = models
    choose(ours, theirs, itm_negatives="neighbours")
    batch = pairs(normal, 6, 7, True, 5)
    for name in ("input_ids", "mlm_input_ids", "mlm_labels", "attention_mask"):
        batch[name][3] = batch[name][2]  # these two say the same
    other = torch.tensor([1, 0, 3, 2, 4])  # the fifth has no neighbour
    told = {"itm_labels": torch.tensor([1, 1, 1, 1, 1, 0, 0, 1, 1, 1])}
    twice = {
        name: torch.cat([value, value if value.ndim > 2 else value[other]])
        for name, value in batch.items()
    }
    a, b = ours(batch), their_losses(theirs, twice | told)
    assert b["itm"] > 0.1
    close(a["itm"], b["itm"])
    compare(a["itm"], b["itm"], partial=True)


def test_the_mean_patch_and_the_mean_word(models, normal, close):
    ours, theirs, compare = models
    choose(ours, theirs, image_pool="mean", text_pool="mean")
    for padded in (True, False):
        batch = pairs(normal, 6, 7, padded, 3)
        seen = batch.get("attention_mask", torch.ones(3, 7)).long()
        words = seen.sum(1)
        found = theirs.flava(batch["input_ids"], batch["image"], seen)
        means = [
            theirs.flava.image_projection(found.image_embeddings[:, 1:].mean(1)),
            theirs.flava.text_projection(
                torch.stack(
                    [row[:n].mean(0) for row, n in zip(found.text_embeddings, words, strict=True)]
                )
            ),
        ]
        close(ours.encode_image(batch["image"]), means[0])
        close(ours.encode_text(batch["input_ids"], batch.get("attention_mask")), means[1])
        one, two = (torch.nn.functional.normalize(mean, dim=-1) for mean in means)
        scores, transposed, target = theirs.global_contrastive_head(
            one, two, theirs.flava.logit_scale
        )
        loss = sum(torch.nn.functional.cross_entropy(x, target) for x in (scores, transposed)) / 2
        a = ours(batch)["contrastive"]
        close(a, loss)
        compare(a, loss, partial=True)


# The codebook.


def test_their_codebook_and_our_tokenizer(
    models, drawn, twins, codebook_names, normal, close, monkeypatch
):
    """Codes of the pictures themselves: what theirs finds in mapped pixels, ours in the picture."""
    from transformers.models.flava.configuration_flava import FlavaImageCodebookConfig
    from transformers.models.flava.modeling_flava import FlavaImageCodebook

    ours, theirs, _ = models
    numbers = {"vocab_size": CODES, "width": 8, "blocks": 1}
    tokenizer = DVAE(Encoder(**numbers), Decoder(**numbers, code_width=4)).double().eval()
    encoder = drawn(tokenizer.encoder)
    with torch.no_grad():  # no code is everybody's favourite
        encoder.output.bias.sub_(encoder(torch.rand(8, 3, 32, 32).double()).mean(dim=(0, 2, 3)))
    config = FlavaImageCodebookConfig(num_blocks_per_group=1, hidden_size=8, vocab_size=CODES)
    codebook = FlavaImageCodebook(config)
    twins(encoder, codebook, codebook_names)
    monkeypatch.setattr(ours, "tokenizer", tokenizer.requires_grad_(False))
    monkeypatch.setattr(theirs, "image_codebook", codebook)
    whole = pairs(normal, 3, 6, True, [True, False, True])
    alone = pictures(normal, 4, 3)
    for batch, expected in ((whole, OF_PAIRS), (alone, ["mim"])):
        del batch["visual_tokens"]
        batch["image"] = batch["image"].tanh()
        mapped = {"codebook_pixel_values": map_pixels((batch["image"] + 1) / 2)}
        codes = ours.visual_tokens(batch)
        assert len(codes.unique()) > 5
        moved = alike(models, close, batch, expected, **mapped)
        assert not any("codebook" in name for name in moved)

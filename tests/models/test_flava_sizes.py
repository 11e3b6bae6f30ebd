"""Base-size FLAVA is the published model, part by part, without a weight in memory."""

from types import SimpleNamespace

import pytest
import torch

from minivl.recipes.flava import FlavaRecipe

HEAD, WORDS = 6_891_776, 24_063_546
PARTS = {
    "image encoder": 86_390_016,
    "text encoder": 109_483_776,
    "multimodal encoder": 43_120_128,
    "image_to_mm": 590_592,
    "text_to_mm": 590_592,
    "image_proj": 590_592,
    "text_proj": 590_592,
    "logit_scale": 1,
    "itm_head": 592_130,
    "mim_head": HEAD,
    "mmm_image_head": HEAD,
    "mlm_head": WORDS,
    "mmm_text_head": WORDS,
}
CODEBOOK, CODEBOOK_DECODER = 53_786_240, 43_829_766
OF_FLAVA_MODEL = 241_356_289
ALL = 357_645_303


def numbers_in(*modules) -> int:
    """Parameters of modules, or of a parameter alone."""
    return sum(
        one.numel()
        for module in modules
        for one in (module.parameters() if isinstance(module, torch.nn.Module) else [module])
    )


@pytest.fixture(scope="module")
def base():
    """The base recipe's own model on the meta device; a vocabulary is as long as BERT's."""
    with pytest.MonkeyPatch.context() as patch:
        # Drawing from a normal on the meta device would load torch's compiler, for seconds.
        patch.setattr(torch.nn.init, "normal_", lambda tensor, **_: tensor)
        with torch.device("meta"):
            return FlavaRecipe.at_size("base").build_model(SimpleNamespace(text=range(30_522)))


def sizes_of(model) -> dict[str, int]:
    return {
        part: numbers_in(*(getattr(model, name) for name in names))
        for part, names in model.parts.items()
    }


def test_each_part_is_as_large_as_published(base):
    assert sizes_of(base) == PARTS | {"tokenizer": CODEBOOK + CODEBOOK_DECODER}
    assert numbers_in(base.tokenizer.encoder) == CODEBOOK
    assert numbers_in(base.text_encoder) - numbers_in(
        base.text_encoder.transformer, base.text_encoder.norm
    ) == 23_837_184  # fmt: skip


def test_so_are_the_sums(base):
    """FlavaModel is without heads; the whole has the codebook's encoder, and ours its decoder."""
    heads = sum(size for name, size in PARTS.items() if name.endswith("_head"))
    assert sum(PARTS.values()) - heads == OF_FLAVA_MODEL
    assert sum(PARTS.values()) + CODEBOOK == ALL
    assert numbers_in(base) == ALL + CODEBOOK_DECODER


def test_nothing_of_it_is_in_no_part_or_in_two(base):
    assert sum(sizes_of(base).values()) == numbers_in(base)


def test_the_base_model_is_built_as_published(base):
    heads = [
        encoder.transformer.blocks[0].attention.heads
        for encoder in (base.image_encoder, base.text_encoder, base.multimodal_encoder)
    ]
    assert heads == [12, 12, 12]
    epsilons = {module.eps for module in base.modules() if isinstance(module, torch.nn.LayerNorm)}
    assert epsilons == {1e-12}
    assert base.image_encoder.pos_embed.shape == (1, 197, 768)
    assert base.text_encoder.pos_embed.weight.shape == (512, 768)
    assert all(block.norm == "pre" for block in base.text_encoder.transformer.blocks)
    assert base.image_pool == "cls" and base.mask_pads and base.without_pairs == "nothing"
    assert not any(parameter.requires_grad for parameter in base.tokenizer.parameters())


def test_transformers_agrees(base):
    """Its model of that name, at the size it has by default."""
    from transformers.models.flava.configuration_flava import FlavaConfig
    from transformers.models.flava.modeling_flava import FlavaForPreTraining

    with torch.device("meta"):
        theirs = FlavaForPreTraining(FlavaConfig())
    flava = theirs.flava
    found = {
        "image encoder": flava.image_model,
        "text encoder": flava.text_model,
        "multimodal encoder": flava.multimodal_model,
        "image_to_mm": flava.image_to_mm_projection,
        "text_to_mm": flava.text_to_mm_projection,
        "image_proj": flava.image_projection,
        "text_proj": flava.text_projection,
        "logit_scale": flava.logit_scale,
    } | {name: getattr(theirs, name) for name in PARTS if name.endswith("_head")}
    assert {name: numbers_in(part) for name, part in found.items()} == PARTS
    assert numbers_in(theirs.image_codebook) == CODEBOOK
    assert (numbers_in(flava), numbers_in(theirs)) == (OF_FLAVA_MODEL, ALL)
    shapes = sorted(tuple(parameter.shape) for parameter in theirs.flava.text_model.parameters())
    ours = (base.text_encoder, base.text_pooler)
    assert shapes == sorted(tuple(one.shape) for part in ours for one in part.parameters())

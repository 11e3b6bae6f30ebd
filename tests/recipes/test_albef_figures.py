"""The pictures of an ALBEF run: only what was trained, and the twin's beliefs, not the model's."""

from dataclasses import replace

import pytest
import torch

from minivl.data.captioned import CaptionedExamples, CaptionSource, HiddenWords
from minivl.data.examples import to_tensor
from minivl.data.noise import NoiseData
from minivl.evaluation.albef import rearranged, retrieval_by_fusion
from minivl.evaluation.contrastive import Judge
from minivl.evaluation.pools import rearranged_pool
from minivl.recipes import albef_figures as figures
from minivl.recipes.albef import AlbefRecipe

CPU = torch.device("cpu")
RECIPE = AlbefRecipe.at_size("test")
CLEAN = NoiseData()


@pytest.fixture(scope="module")
def source():
    return CaptionSource.load(RECIPE.data)


@pytest.fixture(scope="module")
def crowded():
    return CaptionSource.load(replace(RECIPE.data, objects=(3, 4)))


@pytest.fixture(autouse=True)
def few(monkeypatch):
    for name, number in (("POOL", 12), ("PAIRS", 10), ("TWINS", 3)):
        monkeypatch.setattr(figures, name, number)


def model_of(source, *objectives):
    torch.manual_seed(0)
    recipe = replace(RECIPE, objectives=objectives or ("itc", "itm", "mlm"), negatives="random")
    return recipe.build_model(source.text).eval()


CONTRASTIVE = {"similarity", "retrieved_pictures", "retrieved_captions", "attention"}
DRAWN = {
    ("itc",): CONTRASTIVE | {"twin_captions"},
    ("itm",): {"pair_matching"},
    ("mlm",): {"twin_words"},
    ("itc", "itm", "mlm"): CONTRASTIVE
    | {"twin_captions", "twin_words", "pair_matching", "reranked"},
}


@pytest.mark.parametrize("objectives", DRAWN, ids="-".join)
def test_only_what_the_objectives_have_taught_is_drawn(source, objectives):
    model = model_of(source, *objectives)
    noise = NoiseData(wrong=0.4, extra=0.3)
    with torch.no_grad():
        drawn = figures.albef_figures(model, source, CPU, noise, 4)
    assert set(drawn) == DRAWN[objectives]
    for picture in drawn.values():
        assert picture.caption.title and picture.caption.alt and picture.caption.text
    titles = [picture.caption.title for picture in drawn.values()]
    assert len(set(titles)) == len(titles)


def test_captions_of_attributes_have_no_mirrored_sentence(source):
    data = replace(RECIPE.data, objects=(3, 4), captions=("attributes",))
    crowded = CaptionSource.load(data)
    drawn = figures.albef_figures(model_of(crowded, "itm", "mlm"), crowded, CPU, CLEAN, 4)
    assert set(drawn) == {"twin_words"}


def test_arrangements_are_judged_as_the_evaluation_judges(crowded):
    """Each sentence with the pictures of its own group; both stages on the pools of evaluation."""
    model, scenes = model_of(crowded), crowded.scenes
    alt = figures.arranged_otherwise(model, crowded, CPU, 4).caption.alt
    judge, asked = Judge(model, scenes, CPU), (model, scenes, CPU, "validation", 12)
    found = judge.retrieval("validation", 12, 2) | retrieval_by_fusion(*asked, 2, 4)
    found |= rearranged(*asked, 4)
    for task in ("retrieval", "reranked", "rearranged", "rearranged_by_fusion"):
        assert f"{100 * found[f'{task}/text_to_image_r1'].value:.1f} % [" in alt
    pool = rearranged_pool(scenes, "validation", 3, 4)
    similarity = judge.similarity(pool)
    own = next(i for i, said in enumerate(pool.captions) if said in alt)
    first, said = own - own % 4, pool.captions[own]
    group = [own, *(i for i in range(first, first + 4) if i != own)]
    sure = [model_belief(model, crowded, pool.images[i], said) for i in group]
    told = ", ".join(f"{similarity[i, own]:.2f}" for i in group)
    assert f"“{said}”: similarity {told}" in alt
    assert "fusion " + ", ".join(f"{100 * one:.0f} %" for one in sure) in alt


def model_belief(model, source, image, said):
    text = source.text.batch([said], source.data.max_length)
    with torch.no_grad():
        image = to_tensor(image[None])
        scores = model.matching_scores(image, text["input_ids"], text["attention_mask"])
    return scores.sigmoid().item()


@pytest.mark.parametrize(
    ("data", "asked"),
    [
        ({"objects": (3, 4)}, True),
        ({"objects": (1, 4)}, True),
        ({"objects": (1, 2)}, False),
        ({"objects": (3, 4), "captions": ("attributes", "places")}, False),
        ({"objects": (3, 4), "captions": ("existence",)}, False),
    ],
)
@pytest.mark.parametrize("objectives", [("itc", "itm"), ("itc", "mlm"), ("itm",)], ids="-".join)
def test_arrangements_are_asked_for_where_many_things_have_told_places(
    source, data, asked, objectives, monkeypatch
):
    for name in ("arranged_otherwise", "ranked_anew", "matched_pairs", "captions_of_the_twin",
                 "words_of_the_twin"):  # fmt: skip
        monkeypatch.setattr(figures, name, lambda *given: None)
    monkeypatch.setattr(figures, "contrastive_figures", lambda *given: {})
    there = CaptionSource(source.scenes.pack, replace(RECIPE.data, **data), source.text)
    model = model_of(source, *objectives)
    drawn = figures.albef_figures(model, there, CPU, CLEAN, 4)
    assert ("arrangements" in drawn) == (asked and objectives == ("itc", "itm"))


def test_a_logit_scale_stands_for_the_temperature(source):
    model = model_of(source)
    seen = figures.TwoEncoders(model)
    assert seen.logit_scale.exp().item() == pytest.approx(1 / model.temperature.item())
    assert seen.image_encoder is model.image_encoder and seen.image_pool == "mean"


def test_the_twin_is_asked_and_not_the_student(source):
    """A student of zeros changes nothing; a twin of zeros believes all captions alike."""
    pairs = CaptionedExamples(source, "twemoji", HiddenWords(), CLEAN, 0)
    model = model_of(source)

    def told():
        asked = (model, source, CPU, pairs)
        return (
            figures.captions_of_the_twin(*asked).caption.alt,
            figures.words_of_the_twin(*asked).caption.alt,
        )

    before = told()
    for encoders, same in ((model, True), (model.momentum_encoder, False)):
        for name in ("text_proj", "mlm_head"):
            for parameter in getattr(encoders, name).parameters():
                parameter.data.zero_()
        assert (told() == before) == same


def test_spoilt_captions_are_shown_beside_what_is_true(source):
    pairs = CaptionedExamples(source, "twemoji", HiddenWords(), NoiseData(wrong=1.0), 0)
    picture = figures.captions_of_the_twin(model_of(source), source, CPU, pairs)
    assert "spoilt for 10 of 10 pictures" in picture.caption.alt
    for index in range(2):
        one = pairs.captions.told(index)
        assert one.said != one.clean
        assert f"“{one.said}” (true: “{one.clean}”)" in picture.caption.alt

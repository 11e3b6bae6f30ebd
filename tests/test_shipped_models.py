"""The models in data/checkpoints: intact, small, and as good as their cards say."""

import pytest
import torch

from minivl.commands import shipped
from minivl.data import pack

FOLDER = pack.find() / shipped.FOLDER
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.mark.parametrize("name", NAMES)
def test_each_loads_and_says_how_to_remake_it(name):
    model, card = shipped.load(name)
    assert card.command.startswith("minivl train ") and card.steps > 0 and card.evaluation
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_all_together_stay_small():
    """Five models of one to two million numbers, ALBEF's twin and UniT's eight tasks among them."""
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 13e6


def test_the_dino_names_drawings_and_looks_at_them():
    """Fewer pictures than its card, so within a wide interval of it."""
    from minivl.evaluation.dino import heads_of
    from minivl.evaluation.embed import embed_images
    from minivl.evaluation.grounding import cell_shares, mass_inside
    from minivl.evaluation.probe import knn_scores

    model, card = shipped.load("dino")
    source = shipped.stage_of(card.config, "dino").build_streams()[0].examples.source
    known, labels, _ = source.pictures("train", 11, 512)
    asked, truth, masks = source.pictures("validation", 12, 128)
    cpu = torch.device("cpu")
    scores = knn_scores(
        embed_images(model, known, cpu),
        torch.from_numpy(labels),
        embed_images(model, asked, cpu),
        len(source.names),
    )
    right = (scores.argmax(dim=1) == torch.from_numpy(truth)).float().mean().item()
    assert right > 0.85
    maps = heads_of(model, asked, cpu)
    inside = cell_shares(torch.from_numpy(masks), tuple(maps.shape[-2:]))
    on_it = mass_inside(maps, inside.unsqueeze(1)).mean(dim=0).max().item()
    assert on_it > inside.mean().item() + 0.3


def test_the_dvae_draws_and_speaks_as_its_card_says():
    from minivl.data.examples import SceneSource
    from minivl.evaluation.tokenizer import measure, unseen

    model, card = shipped.load("dvae")
    recipe = shipped.recipe_of(card.config)
    pictures = dict(unseen(SceneSource.load(recipe.data), 64))["validation"]
    found = measure(model, pictures, torch.device("cpu"))
    told = card.evaluation["validation/reconstruction/psnr"]["value"]
    assert found["reconstruction/psnr"]["value"] == pytest.approx(told, abs=1)
    assert found["codebook/perplexity"]["value"] > 0.3 * model.vocab_size


def test_the_flava_finds_matches_and_fills_in():
    """Fewer pairs than its card, so within a wide interval of it."""
    from minivl.data.texts import TextSource
    from minivl.evaluation.flava import evaluate_flava

    model, card = shipped.load("flava")
    recipe = shipped.recipe_of(card.config)
    source = TextSource.load(recipe.texts, recipe.data)
    asked = {"pool_size": 64, "pools": 1, "mirrored_pairs": 32, "named": 48, "matched": 64}
    asked |= {"masked": 128}
    found = evaluate_flava(source, model, torch.device("cpu"), recipe.grid, recipe.masks, **asked)
    assert found["validation/retrieval/image_to_text_r1"].value > 0.85
    assert found["validation/itm/random"].value > 0.8
    assert found["validation/itm/mirrored"].value > 0.75
    seen, blind = (
        found[f"validation/mmm_text/{name}"].value for name in ("accuracy", "without_picture")
    )
    assert seen > blind + 0.03


def test_the_unit_finds_and_answers():
    """Fewer pictures and questions than its card, so within a wide distance of it."""
    from minivl.data.unit_tasks import task_examples
    from minivl.evaluation.pools import EVALUATION_SEED
    from minivl.evaluation.unit import evaluate_task

    model, card = shipped.load("unit")
    source = shipped.recipe_of(card.config).load_source()
    device = torch.device("cpu")
    for task, name in (("scene-detection", "ap50"), ("scene-ve", "accuracy")):
        examples = task_examples(source, task, "validation", EVALUATION_SEED)
        found = evaluate_task(model.for_task(task), examples, "validation", device, 96, 256)
        said = card.evaluation[f"validation/{task}/{name}"]["value"]
        assert found[name].value == pytest.approx(said, abs=0.12)

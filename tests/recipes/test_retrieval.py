"""The retrieval recipe: from a run of ALBEF to pictures with several captions; bad input."""

import json
import shutil
from dataclasses import replace
from functools import cache

import pytest
import torch
from safetensors.torch import load_file

from minivl import cli
from minivl.commands.runs import check_fields
from minivl.data.captioned import CaptionSource
from minivl.data.captions import KINDS
from minivl.data.stream import fetch
from minivl.errors import UserError
from minivl.models.albef import NOBODY
from minivl.recipes.retrieval import COCO, RetrievalRecipe

SHORT = ["--size", "test", "--training.threads", "1", "--training.steps", "6"]
SHORT += ["--training.checkpoint-every", "2"]
FEW = ["--evaluation.pool-size", "4", "--evaluation.matched", "4"]
FEW += ["--evaluation.mirrored-pairs", "2"]
RETRIEVAL = ["train", "retrieval", *SHORT, *FEW, "--evaluation.grounded", "4"]


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """Captions are tokenized in a second or two: once for all trainings of equal settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CaptionSource, "load", cache(CaptionSource.load))
        yield


@pytest.fixture(scope="module")
def albef(tmp_path_factory):
    """A run of ALBEF."""
    folder = tmp_path_factory.mktemp("albef") / "run"
    few = [*FEW, "--evaluation.named", "4", "--evaluation.masked", "4"]
    assert cli.main(["train", "albef", *SHORT, *few, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def tuned(albef, tmp_path_factory):
    """A run of retrieval."""
    folder = tmp_path_factory.mktemp("retrieval") / "run"
    assert cli.main([*RETRIEVAL, "--run", str(albef), "--out", str(folder)]) == 0
    return folder


def weights(folder, stage="retrieval", step=6):
    return load_file(folder / "checkpoints" / stage / f"step-{step}" / "model.safetensors")


def losses(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"].hex()) for line in lines]


def recipe_of(albef, **fields):
    return replace(RetrievalRecipe.at_size("test"), run=albef, **fields)


def test_it_goes_on_from_weights_twin_and_queue(albef, tuned):
    before, after = weights(albef, "pretrain"), weights(tuned)
    assert after.keys() - before.keys() == {"id_queue"} and before.keys() <= after.keys()
    for name in ("text_encoder.word_embed.weight", "fusion_encoder.blocks.0.mlp.fc1.weight",
                 "momentum_encoder.image_proj.weight"):  # fmt: skip
        moved = (after[name] - before[name]).abs().mean()
        assert 0 < moved < 0.5 * before[name].abs().mean()
    # Hidden words are not asked for.
    assert torch.equal(after["mlm_head.dense.weight"], before["mlm_head.dense.weight"])
    # 6 + 6 batches of 16 in a ring of 40: what is left of the first run would be overwritten.
    assert (int(before["queue_pointer"]), int(after["queue_pointer"])) == (96 % 40, 192 % 40)
    assert after["id_queue"].min() >= 0 and after["id_queue"].max() < 32


def test_pictures_of_the_first_run_are_nobodys(albef):
    (stage,) = recipe_of(albef).stages(0)
    model = stage.build_model()
    assert (model.id_queue == NOBODY).all() and model.image_queue.shape == (32, 40)
    assert model.objectives == {"itc", "itm"} and model.distill == {"itc"}
    assert model.temperature_range is None and model.exclude == "same"
    (bare,) = recipe_of(albef, distill=False, momentum=0.9).stages(0)
    assert not bare.build_model().distill and bare.build_model().momentum == 0.9


def test_what_the_papers_code_does_otherwise_can_be_asked_for(albef):
    official = {
        "exclude": "diagonal",
        "sampler": "multinomial",
        "momentum_dropout": True,
        "clamp_temperature": True,
    }
    (stage,) = recipe_of(albef, **official).stages(0)
    model, own = stage.build_model(), recipe_of(albef).stages(0)[0].build_model()
    for name, value in {
        "exclude": ("diagonal", "same"),
        "sampler": ("multinomial", "uniform"),
        "momentum_dropout": (True, False),
        "temperature_range": ((0.001, 0.5), None),
        "negatives": ("hard", "hard"),
    }.items():
        found = [getattr(one, name) for one in (model, own)]
        assert [tuple(v) if isinstance(v, list) else v for v in found] == list(value), name
    batch = fetch(stage.build_streams()[0], range(16), seed=0).batch
    with torch.no_grad():
        model.temperature.fill_(3.0)
    losses = model.train()(batch)
    assert model.temperature == 0.5 and all(loss.isfinite() for loss in losses.values())
    assert torch.equal(model.right_partners(batch), torch.eye(16, dtype=torch.bool))


def test_all_captions_of_a_picture_are_right_for_it(albef):
    (stage,) = recipe_of(albef, distill=False, pictures=4).stages(0)
    model, (stream,) = stage.build_model(), stage.build_streams()
    batch = fetch(stream, range(16), seed=0).batch
    same = batch["picture_ids"][:, None] == batch["picture_ids"]
    assert 16 < same.sum() < 16 * 16
    captured = {}
    targets = model.targets
    model.targets = lambda *args: captured.setdefault("rows", targets(*args))
    assert set(model.losses(batch)) == {"itc", "itm"}
    rows = captured["rows"][0]
    assert torch.equal(rows[:, :16] > 0, same) and (rows[:, 16:] == 0).all()
    torch.testing.assert_close(rows.sum(dim=1), torch.ones(16))
    # After a training step the queue knows these pictures again.
    model.losses(batch)
    first = model.id_queue[0, :16].tolist()
    assert first == batch["picture_ids"].tolist()
    captured.clear()
    model.losses(batch)
    again = captured["rows"][0][:, 16:32] > 0
    assert torch.equal(again, same)


def test_the_twins_share_rises_over_the_first_epoch(albef):
    recipe = recipe_of(albef, pictures=32, alpha=0.3)
    assert recipe.epoch == 32 * 5 // 16
    (stage,) = recipe.stages(0)
    alpha = stage.schedules["alpha"]
    assert alpha(0) == 0 and alpha(5) == pytest.approx(0.15) and alpha(10) == alpha(99) == 0.3
    assert recipe_of(albef, distill=False).stages(0)[0].schedules == {}


def test_both_stages_matching_and_grounding_are_measured(tuned, capsys):
    found = json.loads((tuned / "eval.json").read_text())
    for split in ("validation", "twemoji", "compositions"):
        for key in ("retrieval/text_to_image_r1", "reranked/text_to_image_r1", "itm/mirrored",
                    "scene-grounding/box", "scene-grounding/pointing_absent"):  # fmt: skip
            entry = found[f"{split}/{key}"]
            assert {"value", "chance", "n", "low", "high"} <= set(entry)
        assert found[f"{split}/retrieval/text_to_image_r1"]["n"] == 4 * len(KINDS)
    assert (tuned / "figures" / "words_on_picture_1.png").is_file()
    assert cli.main(["eval", str(tuned), "--task", "scene-grounding"]) == 0
    capsys.readouterr()
    again = json.loads((tuned / "eval.json").read_text())
    assert again == found


def test_captions_without_places_ask_for_no_twins(albef, tmp_path):
    out = tmp_path / "out"
    flags = ["--captions", "existence", "attributes", "--no-distill", "--training.steps", "2"]
    assert cli.main([*RETRIEVAL, *flags, "--run", str(albef), "--out", str(out)]) == 0
    found = json.loads((out / "eval.json").read_text())
    assert "validation/itm/random" in found and "validation/itm/mirrored" not in found
    assert found["twemoji/retrieval/text_to_image_r1"]["n"] == 8


def test_larger_pictures_stretch_the_positions(albef, tmp_path):
    out = tmp_path / "out"
    flags = ["--image-size", "48", "--training.steps", "2", "--run", str(albef)]
    assert cli.main([*RETRIEVAL, *flags, "--out", str(out)]) == 0
    positions = weights(out, step=2)["image_encoder.pos_embed"]
    assert positions.shape == weights(albef, "pretrain")["image_encoder.pos_embed"].shape
    (stage,) = recipe_of(albef, image_size=48).stages(0)
    batch = fetch(stage.build_streams()[0], range(4), seed=0).batch
    assert batch["image"].shape == (4, 3, 48, 48)


def test_a_killed_run_resumes_bit_for_bit(albef, tuned, killed_and_resumed):
    broken = killed_and_resumed([*RETRIEVAL, "--run", albef], [("retrieval", 3)])
    ours, theirs = weights(broken), weights(tuned)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert losses(broken) == losses(tuned)


def refused(capsys, out, *flags):
    assert cli.main([*RETRIEVAL, "--out", str(out), *map(str, flags)]) == 2
    assert not out.exists()
    return capsys.readouterr().err


def test_a_run_of_albef_is_needed(albef, tuned, tmp_path, capsys):
    out = tmp_path / "out"
    assert "which run" in (said := refused(capsys, out)) and "--run" in said
    assert "is not a run" in refused(capsys, out, "--run", tmp_path)
    assert "is a run of retrieval" in refused(capsys, out, "--run", tuned)
    shutil.copytree(albef, short := tmp_path / "short")
    shutil.rmtree(short / "checkpoints" / "pretrain")
    assert "holds no checkpoint of pretrain" in refused(capsys, out, "--run", short)
    shutil.copytree(albef, other := tmp_path / "other")
    config = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(config.replace("embed_dim: 32", "embed_dim: 16"))
    assert "a checkpoint of another size" in refused(capsys, out, "--run", other)


def test_a_run_of_flava_has_no_fusion_encoder(albef, tmp_path, capsys):
    shutil.copytree(albef, other := tmp_path / "other")
    (other / "config.yaml").write_text("recipe: flava\nseed: 0\nsize: test\n")
    assert "no fusion encoder" in refused(capsys, tmp_path / "out", "--run", other)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--pictures", "5"], "pictures is 5"),
        (["--pictures", "0"], "pictures is 0"),
        (["--image-size", "20"], "image_size is 20"),
        (["--image-size", "8"], "image_size is 8"),
        (["--alpha", "1.5"], "alpha is 1.5"),
        (["--momentum", "-1"], "momentum is -1"),
        (["--batch-size", "64"], "does not fit the run's queue of 40"),
        (["--evaluation.grounded", "0"], "grounded is 0"),
        (["--evaluation.matched", "2"], "matched is 2"),
    ],
    ids=str,
)
def test_wrong_fields_are_named_before_the_run(albef, tmp_path, capsys, flags, message):
    assert message in refused(capsys, tmp_path / "out", "--run", albef, *flags)


def test_a_batch_may_be_shared_by_accumulation_where_the_queue_is_short(albef):
    training = replace(RetrievalRecipe.at_size("test").training, batch_size=64, accumulate=2)
    check_fields(recipe_of(albef, training=training))


def test_help_needs_no_run(capsys):
    assert cli.main(["train", "retrieval", "--help"]) == 0
    said = capsys.readouterr().out
    assert "--no-distill" in said and "--pictures" in said


@pytest.mark.parametrize("size", ["test", "tiny", "small", "base"])
def test_every_size_is_complete(size, albef):
    recipe = RetrievalRecipe.at_size(size)
    assert recipe.size == size
    recipe.training.check()
    recipe.evaluation.check()
    with pytest.raises(UserError, match="which run"):
        check_fields(recipe)


def test_base_is_the_papers_recipe_for_coco():
    recipe = RetrievalRecipe.at_size("base")
    training = recipe.training
    assert recipe.epoch == training.steps / 5 == 5 * COCO // 256
    assert (training.lr, training.final_lr_fraction, training.warmup_steps) == (1e-5, 0.1, 0)
    assert (training.betas, training.eps, training.weight_decay) == ((0.9, 0.999), 1e-8, 0.02)
    assert (recipe.image_size, recipe.alpha, recipe.momentum) == (384, 0.4, 0.995)
    assert training.decayed == "all_but_vectors"
    assert recipe.evaluation.reranked == 256 and training.clip_norm == 0


def test_a_run_is_shown_as_one_of_albef(tuned, capsys):
    assert cli.main(["show", str(tuned), "scene:1", "a dog in a city"]) == 0
    said = capsys.readouterr().out
    assert "a dog in a city  <- yours" in said and "sure that they do" in said
    assert (tuned / "show" / "scene_1.png").is_file()

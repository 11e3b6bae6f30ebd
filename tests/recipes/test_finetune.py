"""The finetune recipe: from a run's joint stage to a task; killed and resumed; bad input."""

import json
import shutil
from dataclasses import replace
from functools import cache

import pytest
import torch
from safetensors.torch import load_file

from minivl import cli
from minivl.commands.runs import check_fields
from minivl.data.tasks import SPLITS
from minivl.data.texts import TextSource
from minivl.errors import UserError
from minivl.recipes.finetune import Evaluation, FinetuneRecipe, Head, flava_of
from minivl.recipes.flava import FlavaRecipe

SHORT = ["--size", "test", "--training.threads", "1", "--training.steps", "6"]
SHORT += ["--training.checkpoint-every", "2"]
FINETUNE = ["train", "finetune", *SHORT, "--evaluation.questions", "24"]


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """Texts are read and tokenized in a second or two: once for all trainings of equal settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TextSource, "load", cache(TextSource.load))
        yield


@pytest.fixture(scope="module")
def flava(tmp_path_factory):
    """A run of the joint stage alone, by pairs."""
    folder = tmp_path_factory.mktemp("flava") / "run"
    arguments = ["train", "flava", *SHORT, "--pretraining", "--objectives", "contrastive", "itm"]
    arguments += ["--evaluation.pool-size", "8", "--evaluation.named", "8"]
    assert cli.main([*arguments, "--evaluation.probed", "8", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def finetuned(flava, tmp_path_factory):
    """A run of questions about pictures."""
    folder = tmp_path_factory.mktemp("finetune") / "vqa"
    assert cli.main([*FINETUNE, "--run", str(flava), "--out", str(folder)]) == 0
    return folder


def weights(folder, stage="finetune"):
    return load_file(folder / "checkpoints" / stage / "step-6" / "model.safetensors")


def losses(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"].hex()) for line in lines]


def test_a_task_starts_from_the_joint_stage(flava, finetuned):
    before, after = weights(flava, "joint"), weights(finetuned)
    # What the exit does not read is as it was; what it reads has learned.
    assert torch.equal(after["exit.flava.image_proj.weight"], before["image_proj.weight"])
    name = "text_encoder.word_embed.weight"
    moved = (after[f"exit.flava.{name}"] - before[name]).abs().mean()
    assert 0 < moved < 0.2 * before[name].abs().mean()
    assert not any("itm_head" in name or "tokenizer" in name for name in after)


def test_without_pretraining_it_starts_from_noise(flava, tmp_path):
    out = tmp_path / "noise"
    assert cli.main([*FINETUNE, "--run", str(flava), "--no-pretrained", "--out", str(out)]) == 0
    before, after = weights(flava, "joint"), weights(out)
    assert not torch.equal(after["exit.flava.image_proj.weight"], before["image_proj.weight"])
    assert "pretrained: false" in (out / "config.yaml").read_text()


def test_every_kind_of_question_is_measured_on_every_split(finetuned, capsys):
    found = json.loads((finetuned / "eval.json").read_text())
    for split in SPLITS["vqa"]:
        entry = found[f"{split}/vqa/accuracy"]
        assert {"value", "chance", "n", "low", "high"} <= set(entry) and entry["n"] == 24
        assert 0 < entry["chance"] < 1
    assert {"validation/vqa/what", "twemoji/vqa/how_many"} <= set(found)
    assert "compositions/vqa/how_many" not in found
    assert cli.main(["eval", str(finetuned)]) == 0
    assert "questions" in capsys.readouterr().out
    assert json.loads((finetuned / "eval.json").read_text()) == found


@pytest.mark.parametrize(
    ("task", "inputs"),
    [("vqa", "text"), ("vqa", "image"), ("entailment", "both"), ("sentences", "both"),
     ("sentences", "text")],
)  # fmt: skip
def test_every_task_and_baseline_runs(flava, tmp_path, task, inputs):
    out = tmp_path / "out"
    flags = ["--run", str(flava), "--task", task, "--inputs", inputs, "--out", str(out)]
    assert cli.main([*FINETUNE, *flags]) == 0
    found = json.loads((out / "eval.json").read_text())
    assert {key for key in found if key.endswith("accuracy")} == {
        f"{split}/{task}/accuracy" for split in SPLITS[task]
    }
    if inputs == "text" and task == "vqa":
        # The same questions without pictures: the same answers, whoever drew them.
        same = [found[f"{split}/vqa/exists"]["value"] for split in ("validation", "twemoji")]
        assert same[0] == pytest.approx(same[1], abs=1e-9)


def test_a_killed_run_resumes_bit_for_bit(flava, finetuned, killed_and_resumed):
    broken = killed_and_resumed([*FINETUNE, "--run", flava], [("finetune", 3)])
    ours, theirs = weights(broken), weights(finetuned)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert losses(broken) == losses(finetuned)


def refused(capsys, out, *flags):
    assert cli.main([*FINETUNE, "--out", str(out), *map(str, flags)]) == 2
    assert not out.exists()
    return capsys.readouterr().err


def test_a_run_is_needed_that_flava_has_trained(flava, finetuned, tmp_path, capsys):
    out = tmp_path / "out"
    assert "which run is to be fine-tuned?" in (said := refused(capsys, out))
    assert "--run" in said and "minivl train flava" in said
    assert "is not a run" in refused(capsys, out, "--run", tmp_path)
    assert "is a run of finetune, not of flava" in refused(capsys, out, "--run", finetuned)
    shutil.copytree(flava, short := tmp_path / "short")
    shutil.rmtree(short / "checkpoints" / "joint")
    assert "holds no checkpoint of joint" in refused(capsys, out, "--run", short)
    # From noise, only the run's settings are needed.
    dry = [*FINETUNE, "--run", str(short), "--no-pretrained", "--dry-run", "--out", str(out)]
    assert cli.main(dry) == 0
    assert not out.exists()


def test_sentences_have_no_pictures_to_be_read_alone(flava, tmp_path, capsys):
    flags = ["--run", flava, "--task", "sentences", "--inputs", "image"]
    assert "sentences has no pictures" in refused(capsys, tmp_path / "out", *flags)


def test_a_checkpoint_of_another_size_is_refused(flava, tmp_path, capsys):
    shutil.copytree(flava, other := tmp_path / "other")
    config = other / "config.yaml"
    text = config.read_text()
    start = text.index("\nmultimodal:")
    config.write_text(text[:start] + text[start:].replace("width: 32", "width: 48", 1))
    out = tmp_path / "out"
    assert cli.main([*FINETUNE, "--run", str(other), "--out", str(out)]) == 2
    assert "a checkpoint of another size" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (["--head.hidden", "0"], "hidden is 0"),
        (["--head.dropout", "1"], "dropout is 1"),
        (["--evaluation.questions", "0"], "questions is 0"),
    ],
    ids=str,
)
def test_wrong_fields_are_named_before_the_run(flava, tmp_path, capsys, field, message):
    assert message in refused(capsys, tmp_path / "out", "--run", flava, *field)


def test_help_needs_no_run(capsys):
    assert cli.main(["train", "finetune", "--help"]) == 0
    said = capsys.readouterr().out
    assert "--no-pretrained" in said and "runs/flava_tiny" in said


@pytest.mark.parametrize("size", ["test", "tiny", "small", "base"])
def test_every_size_is_complete(size):
    recipe = FinetuneRecipe.at_size(size)
    assert recipe.size == size
    for part in (recipe.head, recipe.training, recipe.evaluation):
        part.check()
    with pytest.raises(UserError, match="which run"):
        check_fields(recipe)


def test_base_is_the_papers_recipe_for_vqa():
    recipe = FinetuneRecipe.at_size("base")
    training = recipe.training
    assert (training.steps, training.batch_size, training.lr) == (44_000, 256, 1e-4)
    assert (training.warmup_steps, training.weight_decay) == (2000, 1e-2)
    assert recipe.head.hidden == 1536 and training.optimizer == "adamw"


def test_the_model_is_the_runs_own_without_its_heads(flava):
    own = flava_of(flava)
    assert isinstance(own, FlavaRecipe) and own.objectives == ("contrastive", "itm")
    recipe = replace(FinetuneRecipe.at_size("test"), run=flava, head=Head(hidden=5))
    (stage,) = recipe.stages(0)
    model = stage.build_model()
    assert model.head[0].weight.shape == (5, own.multimodal.width)
    assert model.head[-1].weight.shape == (56, 5)
    assert model.exit.flava.tokenizer is None and model.exit.flava.itm_head is None
    assert Evaluation().questions > 1000

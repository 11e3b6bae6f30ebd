"""The finetune recipe: from a run of FLAVA or ALBEF to a task; killed and resumed; bad input."""

import json
import shutil
from dataclasses import replace
from functools import cache

import pytest
import torch
from safetensors.torch import load_file

from minivl import cli
from minivl.commands.fields import parse
from minivl.commands.runs import check_fields
from minivl.data.captioned import CaptionSource
from minivl.data.questions import vqa_answers
from minivl.data.tasks import SPLITS
from minivl.data.texts import TextSource
from minivl.errors import UserError
from minivl.recipes.albef import AlbefRecipe
from minivl.recipes.finetune import Choice, Distillation, Evaluation, FinetuneRecipe, Ranking
from minivl.recipes.flava import FlavaRecipe
from minivl.recipes.pretrained import begin

SHORT = ["--size", "test", "--training.threads", "1", "--training.steps", "6"]
SHORT += ["--training.checkpoint-every", "2"]
FINETUNE = ["train", "finetune", *SHORT, "--evaluation.questions", "24"]


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """Texts are read and tokenized in a second or two: once for all trainings of equal settings."""
    with pytest.MonkeyPatch.context() as patch:
        for source in (TextSource, CaptionSource):
            patch.setattr(source, "load", cache(source.load))
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
def albef(tmp_path_factory):
    """A run of ALBEF."""
    folder = tmp_path_factory.mktemp("albef") / "run"
    few = ("pool-size", "named", "matched", "masked", "mirrored-pairs")
    flags = [word for name in few for word in (f"--evaluation.{name}", "8")]
    assert cli.main(["train", "albef", *SHORT, *flags, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def finetuned(flava, tmp_path_factory):
    """A run of questions about pictures."""
    folder = tmp_path_factory.mktemp("finetune") / "scene-vqa"
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
    assert torch.equal(after["exit.model.image_proj.weight"], before["image_proj.weight"])
    name = "text_encoder.word_embed.weight"
    moved = (after[f"exit.model.{name}"] - before[name]).abs().mean()
    assert 0 < moved < 0.2 * before[name].abs().mean()
    assert not any("itm_head" in name or "tokenizer" in name for name in after)


def test_without_pretraining_it_starts_from_noise(flava, tmp_path):
    out = tmp_path / "noise"
    assert cli.main([*FINETUNE, "--run", str(flava), "--no-pretrained", "--out", str(out)]) == 0
    before, after = weights(flava, "joint"), weights(out)
    assert not torch.equal(after["exit.model.image_proj.weight"], before["image_proj.weight"])
    assert "pretrained: false" in (out / "config.yaml").read_text()


def test_every_kind_of_question_is_measured_on_every_split(finetuned, capsys):
    found = json.loads((finetuned / "eval.json").read_text())
    for split in SPLITS["scene-vqa"]:
        entry = found[f"{split}/scene-vqa/accuracy"]
        assert {"value", "chance", "n", "low", "high"} <= set(entry) and entry["n"] == 24
        assert 0 < entry["chance"] < 1
    assert {"validation/scene-vqa/what", "twemoji/scene-vqa/how_many"} <= set(found)
    assert "compositions/scene-vqa/how_many" not in found
    assert cli.main(["eval", str(finetuned)]) == 0
    assert "n 24" in capsys.readouterr().out
    assert json.loads((finetuned / "eval.json").read_text()) == found


ALBEF_RUNS = {
    "scene-vqa": [],
    "scene-ve": ["--distill"],
    "scene-nlvr": ["--distill", "--text-assignment-steps", "4"],
    "scene-sentences": [],
}


@pytest.mark.parametrize(
    ("kind", "task", "flags"),
    [("flava", "scene-vqa", ["--inputs", "text"]), ("flava", "scene-vqa", ["--inputs", "image"]),
     ("flava", "scene-ve", []), ("flava", "scene-ve", ["--distill"]),
     ("flava", "scene-sentences", []), ("flava", "scene-sentences", ["--inputs", "text"]),
     *(("albef", task, flags) for task, flags in ALBEF_RUNS.items()),
     ("albef", "scene-vqa", ["--answers", "generate", "--official-ranking"]),
     ("albef", "scene-nlvr", ["--inputs", "left"]), ("albef", "scene-nlvr", ["--inputs", "text"])],
    ids=str,
)  # fmt: skip
def test_every_task_and_baseline_runs(request, tmp_path, kind, task, flags):
    out = tmp_path / "out"
    run = ["--run", str(request.getfixturevalue(kind)), "--task", task, "--out", str(out)]
    assert cli.main([*FINETUNE, *run, *flags]) == 0
    found = json.loads((out / "eval.json").read_text())
    assert {key for key in found if key.endswith("accuracy")} == {
        f"{split}/{task}/accuracy" for split in SPLITS[task]
    }
    if "text" in flags and task == "scene-vqa":
        # The same questions without pictures: the same answers, whoever drew them.
        same = [found[f"{split}/scene-vqa/exists"]["value"] for split in ("validation", "twemoji")]
        assert same[0] == pytest.approx(same[1], abs=1e-9)


# What starts from where.


def started(run, **fields):
    """The recipe of a task, and its last stage's model once it has started from the run's parts."""
    from minivl.training import checkpoint, state
    from minivl.training.session import starts_of

    recipe = replace(FinetuneRecipe.at_size("test"), run=run, **fields)
    (stage,) = recipe.stages(0)
    torch.manual_seed(0)
    model = stage.build_model()
    for part, source, of in starts_of(stage):
        told = state.start_from(model, checkpoint.read_weights(source), source, part=part, of=of)
        assert "fresh: none" in told
    return recipe, model


def same(ours, theirs):
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def inside(tensors, prefix):
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def test_the_twin_of_albef_starts_from_its_momentum_encoder_and_its_head_from_the_heads(albef):
    before = weights(albef, "pretrain")
    _, model = started(albef, task="scene-ve", distill=True)
    after = model.state_dict()
    twin = inside(before, "momentum_encoder.")
    assert same(inside(after, "twin.exit.model."), twin)
    assert same(inside(after, "exit.model."), {name: before[name] for name in twin})
    assert same(inside(after, "twin.head."), inside(after, "head."))
    fusion = inside(after, "exit.model.fusion_encoder.")
    assert not same(fusion, inside(after, "twin.exit.model.fusion_encoder."))


def test_the_twin_of_flava_starts_as_a_copy(flava):
    _, model = started(flava, task="scene-ve", distill=True)
    after = model.state_dict()
    own = {name: value for name, value in after.items() if not name.startswith("twin.")}
    assert same(inside(after, "twin."), own)
    assert torch.equal(
        after["exit.model.image_proj.weight"], weights(flava, "joint")["image_proj.weight"]
    )


def test_the_answer_decoder_starts_from_the_fusion_blocks(albef):
    before = weights(albef, "pretrain")
    recipe, model = started(albef, answers="generate", distill=True, ranking=Ranking(3, True))
    after = model.state_dict()
    for twin, of in (("", ""), ("twin.", "momentum_encoder.")):
        for part, source in (
            ("head.fusion.", "fusion_encoder."),
            ("exit.model.fusion_encoder.", "fusion_encoder."),
            ("head.predict.", "mlm_head."),
        ):
            assert same(inside(after, twin + part), inside(before, of + source))
        words = inside(after, f"{twin}head.words.")
        theirs = inside(before, f"{of}text_encoder.")
        assert same(words, {name: theirs[name] for name in words}) and "pos_embed.weight" in words
    head = model.head
    assert (head.candidates, head.official_ranking) == (3, True)
    source = begin(albef).load_source()
    answers = vqa_answers(source.scenes.world("train"))
    told = [source.text.decode(ids) for ids in head.answer_ids]
    assert told == list(answers) and "yes" in answers
    assert all(source.text.sep_id in ids for ids in head.answer_ids)


def test_two_pictures_start_from_the_same_fusion_blocks(albef):
    before = weights(albef, "pretrain")
    _, model = started(albef, task="scene-nlvr", distill=True)
    after = model.state_dict()
    for twin, of in (("", ""), ("twin.", "momentum_encoder.")):
        for part in ("exit.model.fusion_encoder.", "exit.second."):
            assert same(inside(after, twin + part), inside(before, f"{of}fusion_encoder."))


def test_text_assignment_comes_before_two_pictures(albef, tmp_path):
    out = tmp_path / "out"
    flags = ["--task", "scene-nlvr", "--text-assignment-steps", "6", "--distill"]
    assert cli.main([*FINETUNE, "--run", str(albef), *flags, "--out", str(out)]) == 0
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines] == ["assignment"] * 6 + ["finetune"] * 6
    assert {"assignment", "assignment_accuracy"} <= set(lines[0])
    assert "classification" in lines[-1] and "alpha" not in lines[0]
    taught, after = weights(out, "assignment"), weights(out)
    name = "exit.second.blocks.0.cross_attention.q_proj.weight"
    assert not torch.equal(
        taught[name], weights(albef, "pretrain")[name.replace("exit.second", "fusion_encoder")]
    )
    moved = (after[name] - taught[name]).abs().mean()
    assert 0 < moved < 0.2 * taught[name].abs().mean()


def test_text_assignment_has_a_batch_a_rate_and_pictures_of_its_own(albef):
    recipe = replace(
        FinetuneRecipe.at_size("test"),
        run=albef,
        task="scene-nlvr",
        image_size=48,
        text_assignment_steps=8,
        text_assignment_batch_size=4,
        text_assignment_lr=(2e-5, 1e-5),
    )
    check_fields(recipe)
    assignment, task = recipe.stages(0)
    training = assignment.training
    assert (training.steps, training.batch_size, training.warmup_steps) == (8, 4, 5)
    assert (training.lr, training.final_lr_fraction) == (2e-5, 0.5)
    assert task.training == recipe.training
    ((captions,), (asked,)) = assignment.build_streams(), task.build_streams()
    assert captions.batch_size == 4 and asked.batch_size == 16
    size = begin(albef).recipe.data.image_size
    assert captions.examples[0]["image"].shape == (size, size, 3)
    assert asked.examples[0]["image"].shape == (2, 48, 48, 3)
    alike = replace(recipe, text_assignment_batch_size=0, text_assignment_lr=None)
    same = replace(recipe.training, steps=8)
    assert alike.stages(0)[0].training == same


@pytest.mark.parametrize("kind", ["flava", "albef"])
def test_larger_pictures_stretch_the_positions(request, tmp_path, kind):
    out, run = tmp_path / "out", request.getfixturevalue(kind)
    flags = ["--image-size", "48", "--task", "scene-ve", "--training.steps", "2"]
    assert cli.main([*FINETUNE, *flags, "--run", str(run), "--out", str(out)]) == 0
    after = load_file(out / "checkpoints" / "finetune" / "step-2" / "model.safetensors")
    before = weights(run, {"flava": "joint", "albef": "pretrain"}[kind])
    name = "image_encoder.pos_embed"
    assert after[f"exit.model.{name}"].shape == before[name].shape
    (stage,) = replace(
        FinetuneRecipe.at_size("test"), run=run, task="scene-ve", image_size=48
    ).stages(0)
    assert stage.build_streams()[0].examples[0]["image"].shape == (48, 48, 3)


# Spec of the paper's code, a row a task: epochs, examples, batch, warm-up steps.
ALBEF_TASKS = {
    "scene-vqa": (8, 658_111, 256, 400),
    "scene-ve": (5, 529_527, 256, 100),
    "scene-nlvr": (10, 86_373, 128, 100),
}


@pytest.mark.parametrize("task", ALBEF_TASKS)
def test_base_of_a_run_of_albef_is_albefs_for_the_task(albef, task):
    epochs, examples, batch, warmup = ALBEF_TASKS[task]
    recipe = replace(FinetuneRecipe.at_size("base"), run=albef, task=task).usual()
    training = recipe.training
    assert (recipe.run, recipe.task, recipe.size) == (albef, task, "base")
    assert training.steps == epochs * (examples // batch) and training.batch_size == batch
    assert (training.lr, training.warmup_lr, training.warmup_steps) == (2e-5, 1e-5, warmup)
    assert training.lr * training.final_lr_fraction == pytest.approx(1e-6)
    assert (training.betas, training.eps, training.clip_norm) == ((0.9, 0.999), 1e-8, 0)
    assert (training.weight_decay, training.decayed) == (0.02, "all_but_vectors")
    assert (training.optimizer, training.schedule) == ("adamw", "cosine")
    assert (recipe.head.hidden, recipe.head.dropout, recipe.image_size) == (768, 0, 384)
    twin = recipe.distillation
    assert recipe.distill and (twin.alpha, twin.momentum) == (0.4, 0.995)
    assert recipe.ranking.candidates == 128 and not recipe.ranking.official_ranking
    assert recipe.answers == ("generate" if task == "scene-vqa" else "classify")
    rises = {"scene-vqa": 658_111 // 256, "scene-nlvr": 86_373 // 128}
    assert (recipe.schedules == {}) == (task == "scene-ve")
    if task in rises:
        alpha = recipe.schedules["alpha"]
        assert alpha(rises[task] // 2) < alpha(rises[task]) == 0.4
    assignment, *_ = recipe.stages(0)
    assert "FLAVA" not in "".join(recipe.stages(0)[-1].notes)
    if task == "scene-nlvr":
        training = assignment.training
        assert (training.steps, training.batch_size) == (4_000_000 // 512, 512)
        assert training.lr == 2e-5 and training.lr * training.final_lr_fraction == 1e-5
        assert (training.warmup_lr, training.warmup_steps) == (1e-5, 100)
    else:
        assert len(recipe.stages(0)) == 1


def test_flags_change_what_base_has_for_the_run_and_the_task(albef, capsys):
    flags = ["--size", "base", "--run", str(albef), "--task", "scene-nlvr"]
    usual = replace(FinetuneRecipe.at_size("base"), run=albef, task="scene-nlvr").usual()
    assert parse("finetune", flags)[1] == usual
    changed = ["--lr", "1e-4", "--head.hidden", "1536", "--no-distill", "--steps", "674"]
    recipe = parse("finetune", [*flags, *changed])[1]
    training = replace(usual.training, lr=1e-4, steps=674, warmup_steps=10)
    head = replace(usual.head, hidden=1536)
    assert recipe == replace(usual, training=training, head=head, distill=False)
    with pytest.raises(SystemExit):
        parse("finetune", [*flags, "--help"])
    assert "6740" in capsys.readouterr().out
    assert parse("finetune", ["--size", "base"])[1] == FinetuneRecipe.at_size("base")


def test_a_dry_run_at_base_says_whose_numbers_they_are(albef, tmp_path, capsys):
    flags = ["--size", "base", "--run", str(albef), "--task", "scene-ve", "--dry-run"]
    assert cli.main(["train", "finetune", *flags, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "10,340 steps" in said and "the paper's epochs" in said


def test_base_of_a_run_of_flava_is_flavas_for_the_task(flava, albef):
    base = FinetuneRecipe.at_size("base")
    of = {task: replace(base, run=flava, task=task).usual() for task in SPLITS}
    assert of["scene-vqa"] == replace(base, run=flava)
    entails, sentences = of["scene-ve"].training, of["scene-sentences"].training
    assert entails == replace(base.training, lr=1e-5, steps=24_000)
    assert (sentences.lr, sentences.steps, sentences.batch_size) == (1e-5, 33_112, 32)
    assert (sentences.warmup_steps, sentences.weight_decay) == (1986, 0.1)
    assert (sentences.betas, sentences.eps) == ((0.9, 0.98), 1e-6)
    # ALBEF has no task of sentences alone.
    alone = replace(base, run=albef, task="scene-sentences").usual()
    assert replace(alone, run=flava) == of["scene-sentences"]


def test_other_sizes_are_the_same_for_every_run_and_task(albef):
    for size in ("test", "tiny", "small"):
        recipe = replace(FinetuneRecipe.at_size(size), run=albef, task="scene-nlvr")
        assert replace(recipe, distill=True).usual() == recipe
    assert FinetuneRecipe.at_size("base").usual() == FinetuneRecipe.at_size("base")


def test_the_twins_share_rises_in_the_papers_first_epoch():
    recipe = replace(FinetuneRecipe.at_size("tiny"), distill=True)
    for task, steps in (("scene-vqa", 125), ("scene-nlvr", 100)):
        rise = replace(recipe, task=task).schedules["alpha"]
        assert [rise(step) for step in (0, steps // 2, steps, 1000)] == pytest.approx(
            [0, 0.4 * (steps // 2) / steps, 0.4, 0.4]
        )
    assert replace(recipe, task="scene-ve").schedules == {}
    assert replace(recipe, distill=False).schedules == {}
    chosen = Distillation(alpha=0.2, ramp_steps=10)
    rise = replace(recipe, task="scene-ve", distillation=chosen).schedules["alpha"]
    assert rise(5) == pytest.approx(0.1) and rise(20) == pytest.approx(0.2)
    constant = replace(recipe, distillation=Distillation(ramp_steps=0))
    assert constant.schedules == {}


def test_the_schedule_reaches_the_loss(albef, tmp_path):
    out = tmp_path / "out"
    flags = ["--run", str(albef), "--distill", "--ramp-steps", "4"]
    assert cli.main([*FINETUNE, *flags, "--out", str(out)]) == 0
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["alpha"] for line in lines] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.4])


# Killed, and bad input.


def test_a_killed_run_resumes_bit_for_bit(flava, finetuned, killed_and_resumed):
    broken = killed_and_resumed([*FINETUNE, "--run", flava], [("finetune", 3)])
    ours, theirs = weights(broken), weights(finetuned)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert losses(broken) == losses(finetuned)


def test_a_killed_run_with_two_stages_and_a_twin_resumes_bit_for_bit(
    albef, tmp_path, killed_and_resumed
):
    flags = ["--run", albef, "--task", "scene-nlvr", "--text-assignment-steps", "4", "--distill"]
    whole = tmp_path / "whole"
    assert cli.main([*FINETUNE, *map(str, flags), "--out", str(whole)]) == 0
    broken = killed_and_resumed([*FINETUNE, *flags], [("assignment", 3), ("finetune", 3)])
    ours, theirs = weights(broken), weights(whole)
    assert same(ours, theirs) and any(name.startswith("twin.") for name in ours)
    assert losses(broken) == losses(whole)


def refused(capsys, out, *flags):
    assert cli.main([*FINETUNE, "--out", str(out), *map(str, flags)]) == 2
    assert not out.exists()
    return capsys.readouterr().err


def test_a_run_is_needed_that_flava_has_trained(flava, finetuned, tmp_path, capsys):
    out = tmp_path / "out"
    assert "which run is to be fine-tuned?" in (said := refused(capsys, out))
    assert "--run" in said and "minivl train flava" in said
    assert "is not a run" in refused(capsys, out, "--run", tmp_path)
    assert "is a run of finetune, not of flava or albef" in refused(capsys, out, "--run", finetuned)
    shutil.copytree(flava, short := tmp_path / "short")
    shutil.rmtree(short / "checkpoints" / "joint")
    assert "holds no checkpoint of joint" in refused(capsys, out, "--run", short)
    # From noise, only the run's settings are needed.
    dry = [*FINETUNE, "--run", str(short), "--no-pretrained", "--dry-run", "--out", str(out)]
    assert cli.main(dry) == 0
    assert not out.exists()


@pytest.mark.parametrize(
    ("kind", "flags", "message"),
    [
        ("flava", ["--task", "scene-sentences", "--inputs", "image"], "has no pictures"),
        ("flava", ["--task", "scene-nlvr"], "--task scene-nlvr needs ALBEF's fusion encoder"),
        ("flava", ["--answers", "generate"], "--answers generate needs ALBEF's fusion encoder"),
        ("albef", ["--task", "scene-ve", "--answers", "generate"], "to scene-ve are no words"),
        ("albef", ["--inputs", "left"], "--inputs left is about two pictures"),
        ("albef", ["--text-assignment-steps", "2"], "steps is about two pictures"),
        ("albef", ["--text-assignment-steps", "-1"], "text_assignment_steps is -1"),
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(request, tmp_path, capsys, kind, flags, message):
    run = request.getfixturevalue(kind)
    assert message in refused(capsys, tmp_path / "out", "--run", run, *flags)


def test_pictures_and_words_of_unequal_widths_make_no_decoder(albef, tmp_path, capsys):
    shutil.copytree(albef, other := tmp_path / "other")
    config = other / "config.yaml"
    text = config.read_text()
    start = text.index("\nimage:")
    config.write_text(text[:start] + text[start:].replace("width: 32", "width: 48", 1))
    flags = ["--run", other, "--answers", "generate"]
    assert "pictures of width 48 and words of width 32" in refused(capsys, tmp_path / "out", *flags)


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
        (["--labels", "-1"], "labels is -1"),
        (["--evaluation.questions", "0"], "questions is 0"),
        (["--candidates", "0"], "candidates is 0"),
        (["--distillation.alpha", "2"], "alpha is 2"),
        (["--distillation.momentum", "-1"], "momentum is -1"),
        (["--ramp-steps", "-1"], "ramp_steps is -1"),
        (["--image-size", "20"], "image_size is 20"),
        (["--text-assignment-batch-size", "-1"], "text_assignment_batch_size is -1"),
        (["--text-assignment-lr", "1e-5", "2e-5"], "text_assignment_lr is"),
    ],
    ids=str,
)
def test_wrong_fields_are_named_before_the_run(flava, tmp_path, capsys, field, message):
    assert message in refused(capsys, tmp_path / "out", "--run", flava, *field)


@pytest.mark.parametrize(
    "flags",
    [["--answers", "generate"], ["--task", "scene-nlvr", "--text-assignment-steps", "3"]],
    ids=str,
)
def test_a_dry_run_tells_the_work_of_every_stage(albef, tmp_path, capsys, flags):
    out = tmp_path / "out"
    asked = ["--run", str(albef), *flags, "--distill", "--dry-run", "--out", str(out)]
    assert cli.main([*FINETUNE, *asked]) == 0
    said = capsys.readouterr().out
    stages = ("assignment", "finetune") if "scene-nlvr" in flags else ("finetune",)
    assert said.count("FLOP and") == len(stages) and all(f"stage {s}" in said for s in stages)
    assert "twin" in said and not out.exists()


def test_a_few_labels_are_read_again_and_again(flava):
    few = replace(FinetuneRecipe.at_size("test"), run=flava, labels=3)
    source = begin(few.run).load_source()
    examples = few.build_stream(source, 0).examples
    assert not examples.endless and len(examples) == 3
    assert replace(few, labels=0).build_stream(source, 0).examples.endless


def test_help_needs_no_run(capsys):
    assert cli.main(["train", "finetune", "--help"]) == 0
    said = capsys.readouterr().out
    assert "--no-pretrained" in said and "runs/albef_tiny" in said


@pytest.mark.parametrize("size", ["test", "tiny", "small", "base"])
def test_every_size_is_complete(size):
    recipe = FinetuneRecipe.at_size(size)
    assert recipe.size == size
    for part in vars(recipe).values():
        if not hasattr(part, "check"):
            continue
        part.check()
    with pytest.raises(UserError, match="which run"):
        check_fields(recipe)


def test_base_is_the_papers_recipe_for_vqa():
    recipe = FinetuneRecipe.at_size("base")
    training = recipe.training
    assert (training.steps, training.batch_size, training.lr) == (44_000, 256, 1e-4)
    assert (training.warmup_steps, training.weight_decay) == (2000, 1e-2)
    assert recipe.head.hidden == 1536 and training.optimizer == "adamw"


def test_the_model_is_the_runs_own_without_its_heads(flava, albef):
    own = begin(flava)
    assert isinstance(own.recipe, FlavaRecipe) and not own.is_albef
    assert own.recipe.objectives == ("contrastive", "itm")
    recipe = replace(FinetuneRecipe.at_size("test"), run=flava, head=Choice(hidden=5))
    (stage,) = recipe.stages(0)
    model = stage.build_model()
    drops = replace(recipe, distill=True, distillation=Distillation(momentum_dropout=True))
    assert drops.stages(0)[0].build_model().momentum_dropout and not model.momentum_dropout
    first, *_, last = model.head.layers
    assert first.weight.shape == (5, own.recipe.multimodal.width)
    assert last.weight.shape == (56, 5)
    assert model.exit.model.tokenizer is None and model.exit.model.itm_head is None
    assert model.twin is None and Evaluation().questions > 1000

    own = begin(albef)
    assert isinstance(own.recipe, AlbefRecipe) and own.is_albef
    (stage,) = replace(recipe, run=albef).stages(0)
    names = set(stage.build_model().state_dict())
    assert not any("momentum" in name or "queue" in name or "itm" in name for name in names)
    assert any(name.startswith("exit.model.fusion_encoder.blocks.0.") for name in names)

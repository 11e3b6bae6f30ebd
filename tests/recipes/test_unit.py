"""The unit recipe: eight tasks in turn, each alone, killed and resumed, sizes, bad input."""

import json
import math
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from minivl import cli
from minivl.commands.fields import parse
from minivl.commands.runs import check_fields
from minivl.data.pack import Pack
from minivl.data.texts import TextSource
from minivl.data.unit_tasks import BOXES, PICTURES, TASKS, splits_of
from minivl.errors import UserError
from minivl.nn.resnet import ResNet
from minivl.recipes.unit import UnitRecipe
from minivl.training import engine
from minivl.training.run import Run

pytestmark = pytest.mark.timeout(600)

TRAIN = ["train", "unit", "--size", "test", "--training.threads", "1"]
FEW = ["--evaluation.pictures", "8", "--evaluation.questions", "8"]


def recipe_of(*flags):
    """The recipe that flags ask for, at size test."""
    return parse("unit", ["--size", "test", "--training.threads", "1", *flags])[1]


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """Drawings and texts are decoded in seconds: once for all trainings of equal settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pack, "load", cache(Pack.load))
        patch.setattr(TextSource, "load", cache(TextSource.load))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("unit") / "whole"
    assert cli.main([*TRAIN, *FEW, "--out", str(folder)]) == 0
    return folder


def lines_of(folder, name="metrics.jsonl"):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def weights(folder, step=24):
    return load_file(folder / "checkpoints" / "unit" / f"step-{step}" / "model.safetensors")


def outcome(folder):
    """What two runs of the same numbers have in common, bit for bit."""
    timings = {"samples_per_second", "data_wait_share", "seconds", "time"}
    told = [{k: v for k, v in line.items() if k not in timings} for line in lines_of(folder)]
    tensors = {name: value.tolist() for name, value in weights(folder).items()}
    watched = lines_of(folder, "watched.jsonl")
    return told, tensors, watched, json.loads((folder / "eval.json").read_text())


# One run.


def test_each_task_has_its_turn_its_losses_and_its_numbers(whole):
    lines = lines_of(whole)
    assert [line["step"] for line in lines] == list(range(1, 25))
    drawn = {line["stream"] for line in lines}
    assert len(drawn) >= 5 and drawn <= set(TASKS)
    factors = {"class": 1, "l1": 5, "giou": 2, "attributes": 1, "answer": 1}
    for line in lines:
        own = {name: value for name, value in line.items() if name.startswith(line["stream"] + "/")}
        learned = {n: v for n, v in own.items() if n.split("/")[1] in factors}
        assert len(learned) == {"scene-detection": 3, "scene-attributes": 4}.get(line["stream"], 1)
        total = sum(factors[name.split("/")[1]] * value for name, value in learned.items())
        assert line["loss"] == pytest.approx(total, rel=1e-4)
        assert math.isfinite(line["loss"])
    measured = json.loads((whole / "eval.json").read_text())
    for task in TASKS:
        name = "ap50" if task in BOXES else "accuracy"
        for split in splits_of(task):
            number = measured[f"{split}/{task}/{name}"]
            assert number["low"] <= number["value"] <= number["high"]
            assert 0 <= number["chance"] < 1


def test_a_killed_run_resumes_bit_for_bit_with_its_mixture(whole, killed_and_resumed):
    places = [("unit", 5), ("unit", 17), ("unit", "ends")]
    broken = killed_and_resumed([*TRAIN, *FEW], places, pictures=False)
    assert outcome(broken) == outcome(whole)


def test_evaluating_again_gives_the_same_numbers(whole):
    before = json.loads((whole / "eval.json").read_text())
    assert cli.main(["eval", str(whole)]) == 0
    assert json.loads((whole / "eval.json").read_text()) == before


# Tasks.


@pytest.mark.parametrize("task", TASKS)
def test_each_task_trains_alone(task, tmp_path):
    recipe = recipe_of("--tasks", task)
    training = replace(recipe.training, steps=2, warmup_steps=0, checkpoint_every=2)
    (stage,) = replace(recipe, training=training).stages(0)
    stage = replace(stage, evaluate=None, figures=None, watch=None)
    run = engine.train(stage, Run(tmp_path / "run", {"seed": 0}))
    assert {line["stream"] for line in lines_of(run.folder)} == {task}
    parts = weights(run.folder, 2)
    assert any(name.startswith("text_encoder.") for name in parts) == (task not in BOXES)
    assert any(name.startswith(f"heads.{task}.") for name in parts)


def test_tasks_are_drawn_by_their_shares_read_by_their_batches_weighed_by_their_weights():
    recipe = recipe_of(
        "--tasks", "scene-detection", "scene-ve",
        "--scene-detection.share", "3", "--scene-detection.batch-size", "4",
        "--scene-ve.batch-size", "6", "--scene-ve.weight", "0.5", "--scene-detection.weight", "2",
    )  # fmt: skip
    (stage,) = recipe.stages(0)
    streams = stage.build_streams()
    assert [(s.name, s.weight, s.batch_size) for s in streams] == [
        ("scene-detection", 3, 4),
        ("scene-ve", 1, 6),
    ]
    assert stage.loss_weights == {
        "scene-detection/class": 2,
        "scene-detection/l1": 10,
        "scene-detection/giou": 4,
        "scene-detection/attributes": 2,
        "scene-ve/answer": 0.5,
    }


def test_a_few_labels_of_each_task_are_read_again_and_again():
    recipe = recipe_of("--tasks", "scene-detection", "scene-vqa", "--labels", "3")
    source = recipe.load_source()
    for task in recipe.tasks:
        few = recipe.build_stream(source, task, 0).examples
        assert not few.endless and len(few) == 3
        batch = few.collate([few[0], few[2]])
        assert batch["task"] == task
        endless = recipe_of().build_stream(source, task, 0).examples
        assert endless.endless
        assert torch.equal(batch["image"][1], endless.collate([endless[2]])["image"][0])


def test_batches_say_of_which_task_they_are():
    source = recipe_of().load_source()
    for task in TASKS:
        examples = recipe_of().build_stream(source, task, 0).examples
        batch = examples.collate([examples[0], examples[1]])
        assert batch["task"] == task
        assert ("image" in batch) == (task in PICTURES)
        assert ("boxes" in batch) == (task in BOXES)
        assert ("input_ids" in batch) == (task not in BOXES)


# Files as published.


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """COCO, Visual Genome and GLUE in miniature, with a fault each."""
    folder = tmp_path_factory.mktemp("files")
    draw = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 4)):
        coco, genome = folder / "coco" / f"{split}2017", folder / "genome" / "images"
        (folder / "coco" / "annotations").mkdir(parents=True, exist_ok=True)
        coco.mkdir()
        genome.mkdir(parents=True, exist_ok=True)
        images, boxes = [], []
        for number in range(count):
            pixels = draw.integers(0, 255, (40, 60, 3), dtype=np.uint8)
            for place in (coco, genome):
                Image.fromarray(pixels).save(place / f"{split}{number}.png")
            images.append({"id": number, "file_name": f"{split}{number}.png", "height": 40,
                           "width": 60})  # fmt: skip
            boxes.append({"id": number, "image_id": number, "category_id": 7 + 2 * (number % 2),
                          "bbox": [5, 5, 20, 30], "area": 600, "iscrowd": 0,
                          "attribute_ids": [1, 2]})  # fmt: skip
        boxes.append(boxes[0] | {"id": 99, "bbox": [5, 5, 0, 30]})
        document = {
            "images": images,
            "annotations": boxes,
            "categories": [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}],
            "attributes": [{"id": 1, "name": "wet"}, {"id": 2, "name": "red"}],
        }
        told = json.dumps(document)
        (folder / "coco" / "annotations" / f"instances_{split}2017.json").write_text(told)
        (folder / "genome" / f"{split}.json").write_text(told)
    sst = folder / "glue" / "SST-2"
    sst.mkdir(parents=True)
    rows = "sentence\tlabel\na fine film\t1\na dull one\t0\n"
    (sst / "train.tsv").write_text(rows + "no label\n")
    (sst / "dev.tsv").write_text(rows)
    return folder


REAL = ["coco", "visual-genome", "sst-2"]
SMALL = [
    "--files.pictures.short-sides", "32", "--files.pictures.longest", "64",
    "--files.pictures.before-crop", "40", "--files.pictures.crop", "24", "40",
    "--files.pictures.evaluation-side", "32",
]  # fmt: skip


def test_published_files_train_and_are_measured_under_their_own_names(files, tmp_path, capsys):
    where = ["--files.coco", str(files / "coco"), "--files.visual-genome", str(files / "genome"),
             "--files.glue", str(files / "glue")]  # fmt: skip
    flags = ["--tasks", *REAL, *where, *SMALL, "--steps", "6", "--checkpoint-every", "6"]
    few = ["--coco.batch-size", "2", "--visual-genome.batch-size", "2", "--sst-2.batch-size", "2"]
    run = tmp_path / "run"
    assert cli.main([*TRAIN, *FEW, *flags, *few, "--out", str(run)]) == 0
    told = capsys.readouterr().out
    assert "instances_train2017.json: 6 boxes in 6 pictures" in told and "99" in told
    assert "train.tsv" in told
    assert {line["stream"] for line in lines_of(run)} <= set(REAL)
    measured = json.loads((run / "eval.json").read_text())
    assert measured["validation/coco/ap50"]["n"] == measured["validation/visual-genome/ap50"]["n"]
    assert measured["validation/sst-2/accuracy"]["n"] == 2
    parts = weights(run, 6)
    assert parts["heads.coco.class_embed.weight"].shape[0] == 3  # cat, dog, nothing
    assert parts["attribute_heads.visual-genome.layers.2.weight"].shape[0] == 2


@pytest.mark.parametrize("task", REAL)
def test_a_task_without_its_files_is_refused(task, tmp_path):
    flag = {"coco": "coco", "visual-genome": "visual-genome", "sst-2": "glue"}[task]
    with pytest.raises(UserError, match=f"needs its files\n  -> give --files.{flag} FOLDER"):
        check_fields(recipe_of("--tasks", task))
    with pytest.raises(UserError, match="there is no folder"):
        check_fields(recipe_of("--tasks", task, f"--files.{flag}", str(tmp_path / "nowhere")))


# Options.


def widest_of_mlp(model):
    """The largest weight behind 32 inputs: up to 1 / sqrt(32) in torch's own start, and more in
    Xavier's."""
    return model.decoders[0].blocks[0].mlp.fc1.weight.abs().max()


def dropped(model):
    """What is dropped of pictures, words, what queries know, and before an answer."""
    layers = (
        model.image_encoder.transformer.blocks[0],
        model.text_encoder.bert,
        model.decoders[0].blocks[0],
        model.heads["scene-ve"],
    )
    return [layer.dropout.p for layer in layers]


@pytest.mark.parametrize(
    ("flags", "holds"),
    [
        (["--decoder.no-shared"], lambda m: len(m.decoders) == 8),
        (["--image.no-task-token"], lambda m: m.image_encoder.task_embed is None),
        (["--text.no-task-token"], lambda m: m.text_encoder.task_embed is None),
        (["--image.no-residual"], lambda m: not m.image_encoder.residual),
        (["--attribute-relu", "last"],
         lambda m: isinstance(m.attribute_heads["scene-attributes"].layers[-1], torch.nn.ReLU)),
        (["--text.no-first-word-only"], lambda m: not m.tasks["scene-ve"].first_word_only),
        ([], lambda m: m.tasks["scene-ve"].first_word_only
         and not m.tasks["scene-vqa"].first_word_only),
        (["--all-blocks-answer"], lambda m: m.all_blocks_answer),
        (["--no-object", "0.3"], lambda m: m.no_object == 0.3),
        (["--decoder.no-shared"], lambda m: widest_of_mlp(m) > 1 / math.sqrt(32)),
        (["--decoder.no-shared", "--decoder.init", "official"],
         lambda m: 0.95 / math.sqrt(32) < widest_of_mlp(m) <= 1 / math.sqrt(32)),
        (["--backbone.lr-scale", "0.2"],
         lambda m: m.lr_scales == {"image_encoder.backbone": 0.2}),
        ([], lambda m: dropped(m) == [0, 0, 0, 0]),
        (["--dropout", "0.3"], lambda m: dropped(m) == [0.3, 0.3, 0.3, 0.3]),
    ],
)  # fmt: skip
def test_the_published_code_s_choices_are_flags(flags, holds):
    recipe = recipe_of(*flags)
    assert holds(recipe.build_model(recipe.load_source()))


def test_a_backbone_starts_from_the_file_that_is_named(tmp_path):
    file = tmp_path / "resnet50.safetensors"
    torch.manual_seed(0)
    given = ResNet().state_dict()
    save_file(given | {"fc.bias": torch.zeros(1000)}, file)
    flags = ["--backbone.kind", "resnet50", "--backbone.weights", str(file)]
    network = with_backbone(*flags)
    filled = network.state_dict()
    assert all(torch.equal(filled[name], value) for name, value in given.items())
    assert network.normalise, "torchvision's weights know ImageNet's mean and deviation"
    assert not recipe_of(*flags, "--files.pictures.imagenet").build_backbone().normalise
    detr = {f"backbone.0.body.{name}": 2 * value for name, value in given.items()}
    save_file(detr | {"query_embed.weight": torch.zeros(2, 2)}, file)
    filled = with_backbone(*flags).state_dict()
    assert all(torch.equal(filled[name], 2 * value) for name, value in given.items())
    save_file({"conv1.weight": given["conv1.weight"]}, file)
    with pytest.raises(UserError, match="holds no resnet50 of torchvision"):
        with_backbone(*flags)


def with_backbone(*flags):
    recipe = recipe_of(*flags)
    network = recipe.build_backbone()
    model = SimpleNamespace(image_encoder=SimpleNamespace(backbone=network), text_encoder=None)
    assert recipe.fill(model) == f"{recipe.backbone.weights} (backbone)"
    return network


def test_a_flag_has_idle_weights_decay_and_base_skips_them():
    assert recipe_of("--idle", "decayed").training.idle == "decayed"
    assert UnitRecipe.at_size("base").training.idle == "skipped"


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--tasks"], "--tasks"),
        (["--labels", "-1"], "labels is -1"),
        (["--tasks", "scene-ve", "scene-ve"], "each task once"),
        (["--decoder.box-queries", "3"], "at least the 4 things"),
        (["--texts.max-length", "40"], "text.positions 32"),
        (["--scene-vqa.share", "0"], "leave it out of --tasks"),
        (["--backbone.stride", "12"], "a power of two"),
        (["--backbone.weights", "there.pth"], "resnet50"),
        (["--image.width", "30"], "a multiple of four"),
        (["--text.weights", "bert.bin"], "--norm post"),
    ],
)
def test_bad_flags_are_refused_by_name(flags, told):
    with pytest.raises(UserError, match=told):
        check_fields(recipe_of(*flags))


def bert_of_transformers(source):
    from transformers import BertConfig, BertForPreTraining

    small = BertConfig(
        vocab_size=len(source.text), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=128, max_position_embeddings=32,
    )  # fmt: skip
    return BertForPreTraining(small).eval()


def test_bert_starts_from_a_file_of_transformers(tmp_path):
    source = recipe_of().load_source()
    theirs = bert_of_transformers(source)
    file = tmp_path / "bert.bin"
    torch.save(theirs.state_dict(), file)
    recipe = recipe_of("--text.weights", str(file), "--norm", "post")
    check_fields(recipe)
    model = recipe.build_model(source).eval()
    assert recipe.fill(model) == f"{file} (text encoder)"
    bert = model.text_encoder.bert
    ids = torch.arange(12).view(2, 6)
    with torch.no_grad():
        expected = theirs.bert(input_ids=ids).last_hidden_state
        torch.testing.assert_close(bert(ids, torch.ones_like(ids)), expected, atol=1e-5, rtol=1e-4)
    wider = replace(recipe, text=replace(recipe.text, width=64))
    with pytest.raises(UserError, match="in the weights"):
        wider.fill(wider.build_model(source))


def test_published_weights_are_needed_at_the_start_only(tmp_path, capsys):
    recipe = recipe_of("--tasks", "gloss-kinds", "--norm", "post")
    source = recipe.load_source()
    file, run = tmp_path / "bert.bin", tmp_path / "run"
    torch.save(bert_of_transformers(source).state_dict(), file)
    flags = ["--tasks", "gloss-kinds", "--norm", "post", "--text.weights", str(file)]
    assert cli.main([*TRAIN, *flags, "--steps", "2", "--warmup-steps", "1", "--out", str(run)]) == 0
    assert f"unit starts from {file} (text encoder)" in capsys.readouterr().out
    file.unlink()
    assert cli.main(["eval", str(run)]) == 0


# Published sizes.


def test_base_trains_as_published():
    """Hu and Singh 2021, section 4.1, and the published configuration of the shared decoder."""
    base = UnitRecipe.at_size("base")
    training = base.training
    assert (training.steps, training.batch_size, training.lr) == (500_000, 64, 5e-5)
    assert (training.warmup_steps, training.weight_decay, training.clip_norm) == (2000, 1e-4, 0.1)
    shares = {"coco": 0.20, "visual-genome": 0.07, "scene-ve": 0.12, "scene-vqa": 0.26,
              "qnli": 0.10, "mnli-mismatched": 0.10, "qqp": 0.10, "sst-2": 0.05}  # fmt: skip
    assert {task: base.settings(task).share for task in shares} == shares
    assert sum(shares.values()) == pytest.approx(1)
    own = ("scene-detection", "scene-attributes", "caption-answers", "scene-sentences",
           "caption-pairs", "gloss-kinds")  # fmt: skip
    real = ("coco", "visual-genome", "qnli", "mnli-mismatched", "qqp", "sst-2")
    assert [base.settings(a) for a in own] == [base.settings(b) for b in real]
    rooms = base.settings("coco").classes, base.settings("visual-genome").attributes
    assert rooms == (91, 401) and base.settings("scene-vqa").classes == 3129


def test_base_has_the_published_parts(count_weights):
    """201 M parameters with a shared decoder (Hu and Singh 2021, table 3), part by part."""
    recipe = UnitRecipe.at_size("base")
    source = replace(recipe, data=replace(recipe.data, image_size=32)).load_source()
    decoder = 6 * (8 * (768 * 768 + 768) + 2 * 768 * 2048 + 2048 + 768 + 3 * 2 * 768) + 2 * 768
    found = {}

    def build():
        model = recipe.build_model(source)
        for part, of in {
            "backbone": model.image_encoder.backbone,
            "encoder": model.image_encoder.transformer,
            "bert": model.text_encoder.bert,
            "decoder": model.decoders,
            "queries": model.query_embed,
        }.items():
            found[part] = sum(p.numel() for p in of.parameters())
        return model

    assert count_weights(build) == 201_147_057
    assert found["backbone"] == 25_557_032 - 2_049_000 - 53_120  # no classifier, norms frozen
    assert found["encoder"] == 6 * (4 * (256 * 256 + 256) + 2 * 256 * 2048 + 2048 + 256 + 4 * 256)
    assert found["bert"] == 108_891_648  # without the pooler
    assert found["decoder"] == decoder
    assert found["queries"] == 2 * 100 * 768 + 6 * 25 * 768
    separate = replace(recipe, decoder=replace(recipe.decoder, shared=False))
    assert count_weights(lambda: separate.build_model(source)) == 201_147_057 + 7 * decoder


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_real_step_at_base(tmp_path):
    recipe = UnitRecipe.at_size("base")
    few = {name: replace(recipe.settings(name.replace("_", "-")), batch_size=1) for name in
           ("scene_detection", "scene_vqa")}  # fmt: skip
    training = replace(recipe.training, steps=2, warmup_steps=1, batch_size=1, device="cpu")
    recipe = replace(recipe, tasks=("scene-detection", "scene-vqa"), training=training, **few)
    (stage,) = recipe.stages(0)
    stage = replace(stage, evaluate=None, figures=None, watch=None)
    run = engine.train(stage, Run(tmp_path / "run", {"seed": 0}))
    assert all(math.isfinite(line["loss"]) for line in lines_of(run.folder))

"""The flava recipe: five stages in a row, killed and resumed anywhere, ablations, bad input."""

import hashlib
import json
import math
import shutil
from dataclasses import replace
from functools import cache

import pytest
import torch
from safetensors.torch import load_file

from minivl import cli
from minivl.commands.fields import parse
from minivl.commands.runs import check_fields
from minivl.data.holes import HoledPictures
from minivl.data.pack import Pack
from minivl.data.pairs import PairExamples
from minivl.data.stream import Stream
from minivl.data.texts import TextSource
from minivl.errors import UserError
from minivl.recipes.flava import OF_PAIRS, Evaluation, FlavaRecipe, part_of
from minivl.training import engine
from minivl.training.run import Run

pytestmark = pytest.mark.timeout(600)  # five stages in a row, some of them many times

STAGES = ["dvae", "dino", "mim", "mlm", "joint"]
SHORT = ["--size", "test"]
for prefix in ("dvae.", "dino.", "mim.", "mlm.", ""):
    SHORT += [f"--{prefix}training.checkpoint-every", "2", f"--{prefix}training.threads", "1"]
    SHORT += [f"--{prefix}training.steps", "4"] if prefix else []
# Six joint steps that read all three streams: texts, pictures and pairs, two of each.
SHORT += ["--training.steps", "6", "--shares.pairs", "0.35", "--shares.pictures", "0.2"]
SHORT += [
    "--shares.texts",
    "0.45",
    "--dino.evaluation.looked-at",
    "0",
    "--dino.evaluation.gallery",
    "48",
]
SHORT += ["--evaluation.pool-size", "8", "--evaluation.named", "8"]
TRAIN = ["train", "flava", *SHORT]


def recipe_of(*flags):
    """The recipe that flags ask for, in a few steps a stage."""
    return parse("flava", [*SHORT, *flags])[1]


def weights(folder, stage):
    """What a stage's last checkpoint holds."""
    step = 6 if stage == "joint" else 4
    return load_file(folder / "checkpoints" / stage / f"step-{step}" / "model.safetensors")


def inside(tensors, part):
    """A part's tensors by their names in it."""
    start = f"{part}." if part else ""
    return {
        name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)
    }


def equal(ours, theirs):
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """Drawings and texts are decoded in seconds: once for all trainings of equal settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pack, "load", cache(Pack.load))
        patch.setattr(TextSource, "load", cache(TextSource.load))
        yield


@pytest.fixture
def started(monkeypatch):
    """What each stage's model holds before its first step, by the stage's name."""
    found, begin = {}, engine.begin

    def watched(stage, *rest):
        session = begin(stage, *rest)
        tensors = session.model.state_dict()
        found[stage.name] = {name: value.clone() for name, value in tensors.items()}
        return session

    monkeypatch.setattr(engine, "begin", watched)
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of all five stages, and what their models held before the first step."""
    folder = tmp_path_factory.mktemp("flava") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        beginnings = started.__wrapped__(patch)
        assert cli.main([*TRAIN, "--out", str(folder)]) == 0
    return folder, beginnings


# One stage after the other.


def test_stages_follow_in_order_and_leave_numbers_and_pictures(whole):
    folder, beginnings = whole
    assert list(beginnings) == STAGES
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["step"]) for line in lines] == [
        (stage, step + 1) for stage in STAGES for step in range(6 if stage == "joint" else 4)
    ]
    losses = {
        "pairs": {"contrastive", "itm", "mmm_image", "mmm_text"},
        "pictures": {"mim"},
        "texts": {"mlm"},
    }
    assert {line["stream"] for line in lines[-6:]} == set(losses)
    for line in lines[-6:]:
        assert losses[line["stream"]] == losses[line["stream"]] & line.keys()
        assert line["loss"] == pytest.approx(sum(line[name] for name in losses[line["stream"]]))
    evaluated = json.loads((folder / "eval.json").read_text())
    assert {
        "twemoji/retrieval/image_to_text_r1", "validation/itm/mirrored",
        "compositions/mmm_image/without_text", "photographs/mim/accuracy", "glosses/mlm/accuracy",
    } <= set(evaluated)  # fmt: skip
    assert (folder / "report.html").exists() and any((folder / "figures").glob("*.png"))


@pytest.mark.parametrize(
    ("stage", "part", "before", "of"),
    [
        ("mim", "tokenizer", "dvae", ""),
        ("mim", "image_encoder", "dino", "teacher.backbone"),
        ("joint", "tokenizer", "dvae", ""),
        ("joint", "image_encoder", "mim", "image_encoder"),
        ("joint", "mask_token", "mim", "mask_token"),
        ("joint", "mim_head", "mim", "head"),
        ("joint", "text_encoder", "mlm", "text_encoder"),
        ("joint", "mlm_head", "mlm", "head"),
    ],
)
def test_each_stage_starts_from_the_one_before(whole, stage, part, before, of):
    folder, beginnings = whole
    if part == "mask_token":
        first, last = (
            {"": tensors[part]} for tensors in (beginnings[stage], weights(folder, before))
        )
    else:
        first, last = inside(beginnings[stage], part), inside(weights(folder, before), of)
    assert first and equal(first, last)
    if part != "tokenizer":
        beginning = inside(beginnings[before], of) if part != "mask_token" else {}
        assert not beginning or not equal(first, beginning), "the stage before has learned"
        assert not equal(first, inside(weights(folder, stage), part)), "and this one goes on"


def test_the_tokenizer_stays_as_it_was_trained(whole):
    folder, _ = whole
    trained = weights(folder, "dvae")
    assert equal(inside(weights(folder, "mim"), "tokenizer"), trained)
    assert equal(inside(weights(folder, "joint"), "tokenizer"), trained)


def outcome(folder):
    """Every checkpoint's weights and moments, every loss, every evaluation."""
    files = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.glob("checkpoints/*/step-*/*.safetensors")
    }
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    timings = {"samples_per_second", "data_wait_share"}
    told = [{name: value for name, value in line.items() if name not in timings} for line in lines]
    return files, told, json.loads((folder / "eval.json").read_text())


def test_a_run_killed_in_every_stage_and_at_every_boundary_resumes_bit_for_bit(
    whole, killed_and_resumed
):
    """One run that dies ten times: as each stage begins, in its midst, and after the last step.

    What it writes in the end is what the run that never died has written.
    """
    places = [(stage, when) for stage in STAGES for when in ("begins", 3)]
    places = [*places[1:], (STAGES[-1], "ends")]
    broken = killed_and_resumed(TRAIN, places, pictures=False)
    files, told, evaluated = outcome(broken)
    expected = outcome(whole[0])
    assert len(files) == 2 * 2 * len(STAGES)
    for name, digest in files.items():
        assert digest == expected[0][name], name
    assert files.keys() == expected[0].keys()
    assert told == expected[1]
    assert evaluated == expected[2]


# The paper's ablation.

ABLATION = {
    "MIM": (["--objectives", "mim", "--pretraining", "dino", "mim"], ["dvae", "dino", "mim"],
            ["pictures"], ["mim"], {"tokenizer", "image_encoder", "mask_token", "mim_head"}),
    "MLM": (["--objectives", "mlm", "--pretraining", "mlm"], ["mlm"], ["texts"], ["mlm"],
            {"text_encoder", "mlm_head"}),
    "FLAVA_C": (["--objectives", "contrastive", "--pretraining"], [], ["pairs"], [], set()),
    "FLAVA_MM": (["--objectives", *OF_PAIRS, "--pretraining"], ["dvae"], ["pairs"],
                 ["mmm_image", "mmm_text", "itm"], {"tokenizer"}),
    "w/o init": (["--pretraining"], ["dvae"], ["pairs", "pictures", "texts"],
                 ["mim", "mlm", "mmm_image", "mmm_text", "itm"], {"tokenizer"}),
    "dino alone": (["--pretraining", "dino", "mlm"], ["dvae", "dino", "mlm"],
                   ["pairs", "pictures", "texts"],
                   ["mim", "mlm", "mmm_image", "mmm_text", "itm"],
                   {"tokenizer", "image_encoder", "text_encoder", "mlm_head"}),
}  # fmt: skip


@pytest.mark.parametrize("row", ABLATION)
def test_a_row_of_the_ablation_is_flags(tmp_path, row, started):
    flags, before, streams, heads, brought = ABLATION[row]
    recipe = recipe_of(*flags)
    check_fields(recipe)
    stages = recipe.stages(0)
    assert [stage.name for stage in stages] == [*before, "joint"]
    assert [stream.name for stream in stages[-1].build_streams()] == streams
    assert set(stages[-1].start_from or {}) == brought
    # Evaluations and figures of the stages before are their own recipes' affair.
    quick = [replace(stage, evaluate=None, figures=None) for stage in stages[:-1]]
    run = Run(tmp_path / "run", {"seed": 0})
    engine.train([*quick, stages[-1]], run)
    trained = weights(run.folder, "joint")
    found = {name.split(".")[0] for name in trained if "_head." in name}
    assert found == {f"{name}_head" for name in heads}
    assert ("tokenizer" in {name.split(".")[0] for name in trained}) == ("dvae" in before)
    first = started["joint"]
    moved = {name.split(".")[0] for name in trained if not torch.equal(trained[name], first[name])}
    assert {f"{name}_head" for name in heads} <= moved
    asked = {line["stream"] for line in run.metrics() if line["stage"] == "joint"}
    assert asked <= set(streams)
    tasks = {key.split("/")[1] for key in run.evaluation()}
    assert ("retrieval" in tasks) == ("contrastive" in recipe.objectives)
    assert ("itm" in tasks) == ("itm" in heads)


def test_round_robin_takes_streams_in_turn(tmp_path):
    recipe = recipe_of("--pretraining", "--objectives", "contrastive", "mlm", "--turns",
                       "round_robin", "--shares.pairs", "0.98")  # fmt: skip
    *_, stage = recipe.stages(0)
    run = Run(tmp_path / "run", {"seed": 0})
    engine.train(replace(stage, evaluate=None, figures=None), run)
    assert [line["stream"] for line in run.metrics()] == ["pairs", "texts"] * 3


def test_the_joint_loss_weighs_as_told():
    recipe = recipe_of("--loss-weights.itm", "0.5")
    *_, stage = recipe.stages(0)
    assert stage.loss_weights["itm"] == 0.5 and stage.loss_weights["mlm"] == 1.0


# Parts that other runs have trained.


def given(folder, *kinds):
    return [word for kind in kinds for word in (f"--{kind}", str(folder))]


@pytest.mark.parametrize(
    ("kinds", "left"),
    [
        (["tokenizer"], ["dino", "mim", "mlm", "joint"]),
        (["image-encoder"], ["dvae", "mlm", "joint"]),
        (["text-encoder"], ["dvae", "dino", "mim", "joint"]),
        (["tokenizer", "image-encoder"], ["mlm", "joint"]),
        (["tokenizer", "image-encoder", "text-encoder"], ["joint"]),
    ],
    ids="+".join,
)
def test_what_a_run_brings_needs_no_stage(whole, kinds, left):
    recipe = recipe_of(*given(whole[0], *kinds))
    check_fields(recipe)
    assert [stage.name for stage in recipe.stages(0)] == left


@pytest.fixture(scope="module")
def second(whole, tmp_path_factory):
    """A run of the joint stage alone: all its parts are another run's."""
    folder = tmp_path_factory.mktemp("flava") / "second"
    parts = given(whole[0], "tokenizer", "image-encoder", "text-encoder")
    with pytest.MonkeyPatch.context() as patch:
        beginnings = started.__wrapped__(patch)
        # Its tokenizer is built as the other run's was, whatever this one's fields say.
        arguments = [*TRAIN, *parts, "--dvae.tokenizer.vocab-size", "99", "--out", str(folder)]
        assert cli.main(arguments) == 0
    return folder, beginnings


def test_a_run_of_other_runs_parts_starts_where_they_ended(whole, second):
    first = weights(whole[0], "joint")
    assert list(second[1]) == ["joint"]
    for part in ("tokenizer", "image_encoder", "text_encoder"):
        assert equal(inside(second[1]["joint"], part), inside(first, part))
    for part in ("multimodal_encoder", "mim_head"):
        assert not equal(inside(second[1]["joint"], part), inside(first, part))
    assert cli.main(["eval", str(second[0])]) == 0


def test_parts_may_come_from_a_run_that_had_them_from_another(whole, second, tmp_path, started):
    """The second run has no stage of a tokenizer: its own tokenizer's run has."""
    recipe = recipe_of(*given(second[0], "tokenizer", "image-encoder", "text-encoder"))
    (stage,) = recipe.stages(0)
    engine.train(replace(stage, evaluate=None, figures=None), Run(tmp_path / "third", {"seed": 0}))
    before = weights(second[0], "joint")
    assert equal(inside(started["joint"], "tokenizer"), weights(whole[0], "dvae"))
    for part in ("image_encoder", "text_encoder"):
        assert equal(inside(started["joint"], part), inside(before, part))


@pytest.mark.parametrize(("stage", "of"), [("mim", "image_encoder"), ("dino", "teacher.backbone")])
def test_an_image_encoder_may_be_one_that_saw_no_text(whole, tmp_path, started, stage, of):
    other = tmp_path / "other"
    shutil.copytree(whole[0] / "checkpoints" / stage, other / "checkpoints" / stage)
    recipe = recipe_of(
        "--objectives", "contrastive", "--pretraining", *given(other, "image-encoder")
    )
    (joint,) = recipe.stages(0)
    engine.train(replace(joint, evaluate=None, figures=None), Run(tmp_path / "run", {"seed": 0}))
    first = inside(started["joint"], "image_encoder")
    assert first and equal(first, inside(weights(whole[0], stage), of))


def test_the_last_stage_that_trained_a_part_is_taken(tmp_path):
    known = {"joint": "image_encoder", "dino": "teacher.backbone"}
    (tmp_path / "checkpoints" / "dino").mkdir(parents=True)
    assert part_of(tmp_path, known)[1] == "teacher.backbone"
    (tmp_path / "checkpoints" / "joint").mkdir()
    assert part_of(tmp_path, known) == (str(tmp_path / "checkpoints" / "joint"), "image_encoder")


# Bad input.


def refused(capsys, out, *flags):
    """What a command that is refused says, after the first word."""
    assert cli.main([*TRAIN, *flags, "--out", str(out)]) == 2
    return capsys.readouterr().err


def a_run(folder, recipe, *stages):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"recipe: {recipe}\nseed: 0\n")
    for stage in stages:
        (folder / "checkpoints" / stage).mkdir(parents=True)
    return folder


def test_a_run_that_never_trained_the_part_is_refused(tmp_path, capsys):
    out, other = tmp_path / "out", a_run(tmp_path / "other", "dvae", "mlm")
    said = refused(capsys, out, *given(other, "tokenizer"))
    assert f"{other} holds no checkpoint of dvae" in said and "has trained this stage" in said
    said = refused(capsys, out, *given(other, "image-encoder"))
    assert f"{other} holds no checkpoint of joint or mim or dino or supervised" in said
    other = a_run(tmp_path / "third", "dvae", "dvae")
    said = refused(capsys, out, *given(other, "text-encoder"))
    assert f"{other} holds no checkpoint of joint or mlm" in said
    assert not out.exists()


def test_a_run_that_holds_no_tokenizer_is_refused(tmp_path, capsys):
    other = a_run(tmp_path / "clip", "clip", "clip")
    said = refused(capsys, tmp_path / "out", *given(other, "tokenizer"))
    assert "is a run of clip, and holds no tokenizer" in said and "dvae, mim or flava" in said
    said = refused(capsys, tmp_path / "out", *given(tmp_path, "tokenizer"))
    assert "is not a run" in said


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--image.width", "48"], "image_encoder.cls_token is (1, 1, 32) in"),
        (["--texts.max-length", "40"], "text_encoder.pos_embed.weight is (32, 32) in"),
    ],
)
def test_a_checkpoint_of_another_size_is_refused(whole, tmp_path, capsys, flags, says):
    parts = given(whole[0], "tokenizer", "image-encoder", "text-encoder")
    said = refused(capsys, tmp_path / "out", *parts, *flags)
    assert says in said and "a checkpoint of another size" in said
    assert "same widths, depths, picture size and vocabulary" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("part", "flags"),
    [
        ("image-encoder", ["--image.width", "48"]),
        ("text-encoder", ["--text.depth", "2", "--text.width", "48"]),
    ],
)
def test_one_part_of_another_size_is_refused_before_a_stage_trains(
    whole, tmp_path, capsys, part, flags
):
    said = refused(capsys, tmp_path / "out", *given(whole[0], part), *flags)
    assert "a checkpoint of another size" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--shares.pairs", "0", "--shares.pictures", "0", "--shares.texts", "0"],
         "no stream is left to train on"),
        (["--objectives", "mlm", "--shares.texts", "0"], "--shares.pairs"),
        (["--shares.pairs", "-1"], "pairs is -1"),
        (["--data.image-size", "64"], "global_size is 32"),
        (["--dino.data.crops.global-size", "40"], "image_size, 32"),
        (["--pairs.mismatched", "2"], "mismatched is 2"),
        (["--image.patch-size", "5"], "a multiple of the patches' side, 5"),
        (["--multimodal.heads", "3"], "heads is 3"),
        (["--multimodal.depth", "0"], "depth is 0"),
        (["--image.depth", "0"], "depth is 0"),
        (["--text.depth", "0"], "depth is 0"),
        (["--masks.share", "0.01"], "share is 0.01"),
        (["--texts.max-length", "16"], "texts.max_length 16"),
        (["--evaluation.matched", "3"], "matched is 3"),
        (["--objectives"], "at least one objective"),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_fields_are_named_before_the_run(tmp_path, capsys, flags, says):
    assert says in refused(capsys, tmp_path / "out", *flags)
    assert not (tmp_path / "out").exists()


def test_other_crops_are_fine_where_their_stage_is_left_out():
    check_fields(recipe_of("--data.image-size", "64", "--pretraining", "mim", "mlm"))


@pytest.mark.parametrize("lacking", ["input_ids", "everything"])
def test_a_stream_of_pairs_without_captions_is_refused(tmp_path, lacking):
    """Told by the labels of matching, or else by the losses that its batches cannot feed."""
    recipe = recipe_of("--pretraining", "--objectives", "contrastive", "mim")
    recipe = replace(recipe, tokenizer=None)
    *_, stage = recipe.stages(0)
    source = TextSource.load(recipe.texts, recipe.data)

    class Wordless(PairExamples):
        def collate(self, examples):
            batch = super().collate(examples)
            return {key: batch[key] for key in ("image", "patches_masked", "itm_labels")}

    if lacking == "everything":
        examples = HoledPictures(source.scenes, "train", recipe.grid, recipe.masks, 0)
    else:
        examples = Wordless(source, "train", recipe.grid, recipe.masks, recipe.pairs, 0)
    streams = [Stream("pairs", examples, 16, losses=("contrastive",))]
    stage = replace(stage, build_streams=lambda: streams, start_from=None)
    says = {"input_ids": "no captions", "everything": "stream pairs feeds the losses contrastive"}
    with pytest.raises(UserError, match=says[lacking]):
        engine.train(stage, Run(tmp_path / "run", {"seed": 0}))


@pytest.mark.parametrize("name", vars(Evaluation()))
def test_an_evaluation_of_nothing_is_refused(name):
    recipe = replace(FlavaRecipe.at_size("test"), evaluation=Evaluation(**{name: 0}))
    with pytest.raises(UserError, match=name):
        check_fields(recipe)


# The sizes.


@pytest.mark.parametrize("size", ["test", "tiny", "small", "base"])
def test_every_size_is_complete(size):
    recipe = FlavaRecipe.at_size(size)
    assert recipe.size == size == recipe.dvae.size
    check_fields(recipe)
    names = [stage.name for stage in recipe.stages(0)]
    assert names == ([s for s in STAGES if s != "mim"] if size == "base" else STAGES)
    assert recipe.stream_shares == {"pairs": 0.70, "pictures": 0.15, "texts": 0.15}
    assert recipe.data.max_length <= recipe.texts.max_length


def test_base_is_trained_as_published():
    recipe = FlavaRecipe.at_size("base")
    pairs = recipe.training.steps * recipe.shares.pairs
    assert round(pairs) == 150_000 and recipe.training.batch_size == 8192
    assert recipe.grid == (14, 14) and round(recipe.masks.share * 196) == 75
    assert recipe.pairs.mismatched == 0.1 and set(recipe.loss_weights.__dict__.values()) == {1.0}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_dry_run_at_base_lists_the_published_parts(capsys, tmp_path):
    assert cli.main(["train", "flava", "--size", "base", "--dry-run", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    joint = told[told.index("stage joint") :]
    # The published 357,645,303 and the tokenizer's decoder.
    assert f"{357_645_303 + 43_829_766:,} parameters" in joint
    for part in ("image encoder 86.4 M", "text encoder 109 M", "multimodal encoder 43.1 M",
                 "image_to_mm 591 k", "text_to_mm 591 k", "image_proj 591 k", "text_proj 591 k",
                 "logit_scale 1", "itm_head 592 k", "mmm_image_head 6.89 M",
                 "mmm_text_head 24.1 M", "mim_head 6.89 M", "mlm_head 24.1 M"):  # fmt: skip
        assert part in joint, part
    assert "(own)" not in joint
    assert [line for line in told.splitlines() if line.startswith("stage ")] == [
        "stage dvae", "stage dino", "stage mlm", "stage joint"
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_base_takes_a_real_step_of_each_kind():
    """Two samples of 224 pixels and 77 words, through 357 million parameters."""
    from minivl.training.optim import make_optimizer, set_learning_rate

    recipe = FlavaRecipe.at_size("base")
    *_, stage = recipe.stages(0)
    torch.manual_seed(0)
    model = stage.build_model().train()
    optimizer = make_optimizer(model, recipe.training)
    set_learning_rate(optimizer, 1e-5)
    expected = {
        "pairs": {"contrastive": (math.log(2), 1.5), "itm": (math.log(2), 0.7),
                  "mmm_image": (math.log(8192), 0.6), "mmm_text": (math.log(30_522), 0.6)},
        "pictures": {"mim": (math.log(8192), 0.6)},
        "texts": {"mlm": (math.log(30_522), 0.6)},
    }  # fmt: skip
    moving = {"pairs": "multimodal_encoder.transformer.blocks.5.mlp.fc2.weight",
              "pictures": "mim_head.decoder", "texts": "mlm_head.decoder"}  # fmt: skip
    for stream in stage.build_streams():
        examples = stream.examples
        first = next(i for i in range(0, 100, 2) if stream.name != "pairs" or examples.matches(i))
        batch = examples.collate([examples[first], examples[first + 1]])
        if "image" in batch:
            assert batch["image"].shape == (2, 3, 224, 224)
            assert batch["patches_masked"].sum(dim=(1, 2)).tolist() == [75, 75]
        optimizer.zero_grad(set_to_none=True)
        losses = model(batch)
        assert losses.keys() == expected[stream.name].keys()
        for name, (value, allowed) in expected[stream.name].items():
            assert losses[name].item() == pytest.approx(value, abs=allowed), name
        sum(losses.values()).backward()
        weight = model.get_parameter(moving[stream.name])
        before = weight.detach().clone()
        optimizer.step()
        model.after_step()
        assert not torch.equal(before, weight)
        del losses, before

"""The albef recipe: killed and resumed, the paper's ablation, encoders of other runs, bad input."""

import hashlib
import inspect
import json
import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from safetensors.torch import load_file

from minivl import cli
from minivl.commands.fields import parse
from minivl.commands.runs import check_fields
from minivl.data.captioned import CaptionedExamples, CaptionSource
from minivl.data.pack import Pack
from minivl.errors import UserError
from minivl.recipes.albef import EPOCH, AlbefRecipe, Evaluation, words_of
from minivl.training import engine
from minivl.training.run import Run

pytestmark = pytest.mark.timeout(600)

TRAIN = ["train", "albef", "--size", "test", "--training.threads", "1"]
FEW = ["--evaluation.pool-size", "8", "--evaluation.named", "8", "--evaluation.matched", "8"]


def recipe_of(*flags):
    """The recipe that flags ask for, at size test."""
    return parse("albef", ["--size", "test", "--training.threads", "1", *flags])[1]


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """Drawings and texts are decoded in seconds: once for all trainings of equal settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pack, "load", cache(Pack.load))
        patch.setattr(CaptionSource, "load", cache(CaptionSource.load))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("albef") / "whole"
    assert cli.main([*TRAIN, *FEW, "--noise.wrong", "0.3", "--out", str(folder)]) == 0
    return folder


def weights(folder, step=20):
    return load_file(folder / "checkpoints" / "pretrain" / f"step-{step}" / "model.safetensors")


def trained(recipe, folder, steps=4):
    """The model of a recipe before and after a few steps, without evaluation; and its run."""
    training = replace(recipe.training, steps=steps, warmup_steps=0, checkpoint_every=steps)
    (stage,) = replace(recipe, training=training).stages(0)
    found, begin = {}, engine.begin

    def watched(stage, *rest):
        session = begin(stage, *rest)
        found["first"] = {n: v.clone() for n, v in session.model.state_dict().items()}
        return session

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "begin", watched)
        run = engine.train(replace(stage, evaluate=None, figures=None), Run(folder, {"seed": 0}))
    return found["first"], weights(folder, steps), run


# One run.


def test_a_run_leaves_losses_numbers_and_pictures(whole):
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 21))
    for line in lines:
        assert line["loss"] == pytest.approx(line["itc"] + line["itm"] + line["mlm"], rel=1e-5)
        assert all(math.isfinite(line[name]) for name in ("itc", "itm", "mlm", "temperature"))
    # The twin's share grows over the first five steps.
    shares = [line["alpha"] for line in lines]
    assert shares == pytest.approx([0.08 * step for step in range(5)] + [0.4] * 15)
    evaluated = json.loads((whole / "eval.json").read_text())
    assert {
        "twemoji/retrieval/image_to_text_r1", "twemoji/reranked/text_to_image_r10",
        "validation/order/left_right_pairs", "validation/zeroshot/accuracy",
        "validation/itm/random", "compositions/itm/mirrored",
        "validation/masked_thing/without_picture",
    } <= set(evaluated)  # fmt: skip
    for metric in evaluated.values():
        assert {"value", "chance", "n", "low", "high"} <= set(metric)
    drawn = {path.stem for path in (whole / "figures").glob("*.png")}
    assert {"similarity", "reranked", "pair_matching", "twin_captions", "twin_words"} <= drawn
    assert "What the twin reads there" in (whole / "report.html").read_text()


def outcome(folder):
    """Every checkpoint's weights, queues and moments, every loss, every evaluation."""
    files = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.glob("checkpoints/*/step-*/*.safetensors")
    }
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    timings = {"samples_per_second", "data_wait_share"}
    told = [{name: value for name, value in line.items() if name not in timings} for line in lines]
    return files, told, json.loads((folder / "eval.json").read_text())


def test_a_killed_run_resumes_bit_for_bit_queues_and_all(whole, killed_and_resumed):
    """Queues of 40 and batches of 16: the run dies while the queue wraps round."""
    arguments = [*TRAIN, *FEW, "--noise.wrong", "0.3"]
    places = [("pretrain", 7), ("pretrain", 13), ("pretrain", "ends")]
    broken = killed_and_resumed(arguments, places, pictures=False)
    assert outcome(broken) == outcome(whole)
    ours = weights(broken)
    assert {"image_queue", "text_queue", "queue_pointer"} <= set(ours)
    assert ours["queue_pointer"] == 20 * 16 % 40
    norms = ours["image_queue"].norm(dim=0)
    assert torch.allclose(norms, torch.ones_like(norms), atol=1e-5)


def test_evaluating_again_gives_the_same_numbers(whole):
    before = json.loads((whole / "eval.json").read_text())
    assert cli.main(["eval", str(whole)]) == 0
    assert json.loads((whole / "eval.json").read_text()) == before


# The paper's ablation.

TWIN = "momentum_encoder."
ABLATION = {
    "MLM + ITM": (["--objectives", "itm", "mlm", "--negatives", "random", "--distill"],
                  {"itm", "mlm"}, "random", ()),
    "+ ITC": (["--negatives", "random", "--distill"], {"itc", "itm", "mlm"}, "random", ()),
    "+ hard negatives": (["--distill"], {"itc", "itm", "mlm"}, "hard", ()),
    "+ distilled ITC": (["--distill", "itc"], {"itc", "itm", "mlm"}, "hard", ("itc",)),
    "+ distilled MLM": ([], {"itc", "itm", "mlm"}, "hard", ("itc", "mlm")),
}  # fmt: skip


@pytest.mark.parametrize("row", ABLATION)
def test_each_row_of_the_papers_ablation_is_flags(tmp_path, row):
    flags, losses, negatives, distill = ABLATION[row]
    recipe = recipe_of(*flags)
    check_fields(recipe)
    model = recipe.build_model(recipe.load_source().text)
    assert model.objectives == losses and model.negatives == negatives
    assert model.distill == set(distill)
    first, last, run = trained(recipe, tmp_path / "run", steps=3)
    lines = list(run.metrics())
    assert all(losses == {"itc", "itm", "mlm"} & line.keys() for line in lines)
    assert all(("alpha" in line) == bool(distill) for line in lines)
    moved = {name.split(".")[0] for name in last if not torch.equal(first[name], last[name])}
    heads = {
        "itc": {"image_proj", "text_proj", "temperature", "image_queue"},
        "itm": {"itm_head", "fusion_encoder"},
        "mlm": {"mlm_head", "fusion_encoder"},
    }
    for objective, parts in heads.items():
        assert (parts <= moved) == (objective in losses), objective


def test_the_two_ways_to_compute_a_step_agree(tmp_path):
    """They spend the same random numbers: three steps of training end at the same losses."""
    told = []
    for step in ("fused", "reference"):
        recipe = recipe_of("--step", step, "--precision", "float32")
        _, _, run = trained(recipe, tmp_path / step, steps=3)
        told.append([[line[name] for name in ("itc", "itm", "mlm")] for line in run.metrics()])
    for one, other in zip(*told, strict=True):
        assert one == pytest.approx(other, abs=2e-4)


OPTIONS = {
    "--exclude diagonal": {"exclude": "diagonal"},
    "--sampler multinomial": {"sampler": "multinomial"},
    "--momentum 0.5": {"momentum": 0.5},
    "--momentum-dropout": {"momentum_dropout": True},
    "--temperature 0.1 --temperature-range 0.05 0.2": {"temperature_range": (0.05, 0.2)},
    "--image-pool cls --text-pool mean": {"image_pool": "cls", "text_pool": "mean"},
    "--step reference": {"step": "reference"},
    "--alpha 0.8": {},
    "--queue-size 0": {},
}


@pytest.mark.parametrize("flags", OPTIONS)
def test_every_option_of_the_model_is_a_flag(flags):
    recipe = recipe_of(*flags.split())
    check_fields(recipe)
    model = recipe.build_model(recipe.load_source().text)
    for name, value in OPTIONS[flags].items():
        assert getattr(model, name) == value
    assert model.alpha == pytest.approx(recipe.alpha)
    assert model.image_queue.shape == (32, recipe.queue_size)
    assert model.temperature.item() == pytest.approx(recipe.temperature)


def test_noise_reaches_training_and_no_evaluation():
    recipe = recipe_of("--noise.wrong", "1.0")
    source = recipe.load_source()
    examples = recipe.build_stream(source, seed=0).examples
    told = [examples.captions.told(index) for index in range(32)]
    assert all(one.kind == "wrong" or one.said == one.clean for one in told)
    assert sum(one.kind == "wrong" for one in told) > 24


# Encoders that other runs have trained.


def test_encoders_and_their_twins_start_from_another_run(whole, tmp_path):
    recipe = recipe_of("--image-encoder", str(whole), "--text-encoder", str(whole))
    check_fields(recipe)
    first, _, _ = trained(recipe, tmp_path / "run", steps=1)
    for part in ("image_encoder.", "text_encoder."):
        brought = {n: v for n, v in weights(whole).items() if n.startswith(part)}
        assert brought
        for name, value in brought.items():
            assert torch.equal(first[name], value)
            assert torch.equal(first[TWIN + name], value)
    assert not torch.equal(first["mlm_head.dense.weight"], weights(whole)["mlm_head.dense.weight"])


def test_words_come_from_the_run_that_brings_the_text_encoder(whole, tmp_path):
    clip = tmp_path / "clip"
    arguments = ["train", "clip", "--size", "test", "--steps", "1", "--evaluation.pools", "0"]
    arguments += ["--evaluation.mirrored-pairs", "0", "--evaluation.named", "48"]
    assert cli.main([*arguments, "--out", str(clip)]) == 0
    recipe = recipe_of("--image-encoder", str(clip), "--text-encoder", str(clip))
    assert recipe.load_source().text.vocab == words_of(clip).vocab
    assert words_of(clip).vocab != words_of(whole).vocab == recipe_of().load_source().text.vocab
    first, _, _ = trained(recipe, tmp_path / "run", steps=1)
    theirs = load_file(clip / "checkpoints" / "clip" / "step-1" / "model.safetensors")
    for name in ("image_encoder.pos_embed", "text_encoder.word_embed.weight"):
        assert torch.equal(first[name], theirs[name]) and torch.equal(
            first[TWIN + name], theirs[name]
        )


def test_runs_that_bring_no_encoder_are_refused(tmp_path, capsys):
    (tmp_path / "checkpoints" / "dino").mkdir(parents=True)
    out = tmp_path / "out"
    assert cli.main([*TRAIN, "--text-encoder", str(tmp_path), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "holds no checkpoint of pretrain or joint or mlm or clip" in said
    assert not out.exists()


def test_an_encoder_of_another_size_is_refused_before_a_step(whole, tmp_path, capsys):
    arguments = [*TRAIN, "--image-encoder", str(whole), "--image.width", "48"]
    assert cli.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert "a checkpoint of another size" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# Bad input.


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--objectives"], "at least one objective"),
        (["--objectives", "itm", "mlm"], "negatives is hard"),
        (["--queue-size", "15"], "queue_size is 15"),
        (["--queue-size", "-1"], "queue_size is -1"),
        (["--alpha", "1.5"], "alpha is 1.5"),
        (["--momentum", "-0.1"], "momentum is -0.1"),
        (["--ramp-steps", "0"], "ramp_steps is 0"),
        (["--temperature-range", "0", "0.5"], "temperature_range is (0.0, 0.5)"),
        (["--temperature", "0.6"], "temperature is 0.6"),
        (["--data.max-length", "40"], "text.positions 32"),
        (["--text.heads", "3"], "heads is 3"),
        (["--text.dropout", "1"], "dropout is 1"),
        (["--fusion.depth", "0"], "depth is 0"),
        (["--hidden.probability", "0"], "probability is 0"),
        (["--noise.wrong", "0.7", "--noise.missing", "0.5"], "wrong is 0.7"),
        (["--evaluation.matched", "3"], "matched is 3"),
        (["--image.patch-size", "5"], "patch"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_wrong_fields_are_named_before_the_run(tmp_path, capsys, flags, says):
    assert cli.main([*TRAIN, *flags, "--out", str(tmp_path / "out")]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", vars(Evaluation()))
def test_an_evaluation_of_nothing_is_refused(name):
    recipe = replace(AlbefRecipe.at_size("test"), evaluation=Evaluation(**{name: 0}))
    with pytest.raises(UserError, match=name):
        check_fields(recipe)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_batches_of_one_and_of_odd_numbers_train(tmp_path, batch):
    """A pair alone has no wrong partner: it is judged as a right pair only."""
    recipe = recipe_of("--batch-size", str(batch), "--hidden.probability", "1.0")
    _, last, run = trained(recipe, tmp_path / "run", steps=3)
    lines = list(run.metrics())
    assert len(lines) == 3
    assert all(math.isfinite(line[name]) for line in lines for name in ("itc", "itm", "mlm"))
    assert last["queue_pointer"] == 3 * batch


def test_empty_captions_are_pairs_without_a_word_to_guess(tmp_path, monkeypatch):
    monkeypatch.setattr(CaptionedExamples, "caption", lambda self, index: "")
    _, _, run = trained(recipe_of(), tmp_path / "run", steps=2)
    for line in run.metrics():
        assert line["mlm"] == 0 and math.isfinite(line["itc"]) and math.isfinite(line["itm"])


def test_captions_longer_than_they_may_be_are_cut(tmp_path):
    recipe = recipe_of("--data.max-length", "5", "--data.objects", "3", "4", "--noise.extra", "1")
    source = recipe.load_source()
    examples = recipe.build_stream(source, 0).examples
    assert examples.collate([examples[0], examples[1]])["input_ids"].shape == (2, 5)
    trained(recipe, tmp_path / "run", steps=1)


def test_a_text_beyond_the_positions_says_so():
    recipe = recipe_of("--text.positions", "8", "--data.max-length", "8")
    model = recipe.build_model(recipe.load_source().text).eval()
    with pytest.raises(ValueError, match="9 word pieces, but this model has 8 positions"):
        model.encode_text(torch.zeros(1, 9, dtype=torch.int64))


# The sizes.


@pytest.mark.parametrize("size", ["test", "tiny", "small", "base"])
def test_every_size_is_complete(size):
    recipe = AlbefRecipe.at_size(size)
    assert recipe.size == size
    check_fields(recipe)
    (stage,) = recipe.stages(0)
    assert stage.name == "pretrain" and set(stage.schedules) == {"alpha"}
    ramp = stage.schedules["alpha"]
    assert ramp(0) == 0 and ramp(recipe.ramp_steps) == ramp(10**6) == recipe.alpha == 0.4
    assert recipe.queue_size >= recipe.training.batch_size


def test_base_is_trained_as_published():
    recipe, training = AlbefRecipe.at_size("base"), AlbefRecipe.at_size("base").training
    assert EPOCH == recipe.ramp_steps == 7812
    assert training.steps == 30 * EPOCH and training.batch_size == 512
    assert (training.lr, training.weight_decay, training.warmup_steps) == (1e-4, 0.02, 2000)
    assert training.lr * training.final_lr_fraction == pytest.approx(1e-5)
    assert (training.betas, training.eps, training.clip_norm) == ((0.9, 0.999), 1e-8, 0)
    assert (training.warmup_lr, training.decayed) == (1e-5, "all_but_vectors")
    assert recipe.queue_size == 65_536 and recipe.momentum == 0.995
    assert recipe.hidden.probability == 0.15 and not recipe.text.separator
    assert recipe.data.image_size == 256 and recipe.data.max_length == 25


def test_a_model_may_be_built_otherwise(monkeypatch):
    """Each field reaches the model by its name, and gives way to what is asked for."""
    from minivl.models import albef

    told, original = [], albef.Albef
    monkeypatch.setattr(albef, "Albef", lambda *parts, **options: told.append((parts, options)))
    recipe = AlbefRecipe.at_size("test")
    recipe.build_model(range(30))
    recipe.build_model(range(30), queue_size=0, id_targets=True)
    (parts, own), (_, other) = told
    assert len(parts) == 3 and all(value == getattr(recipe, name) for name, value in own.items())
    assert own["queue_size"] == 40 and other == own | {"queue_size": 0, "id_targets": True}
    known = inspect.signature(original.__init__).parameters
    left = {n for n, p in known.items() if p.kind is p.KEYWORD_ONLY} - set(own)
    assert left == {"eps", "id_targets"}


def test_base_has_the_published_parameters(count_weights):
    """BERT with cross-attention 123.7 M, ViT-B/16 85.8 M (section 3.5), each twice."""
    recipe = AlbefRecipe.at_size("base")
    source = replace(recipe, data=replace(recipe.data, image_size=32)).load_source()
    twice = 123_697_722 + 85_844_736 + 2 * (768 * 256 + 256)
    found = count_weights(lambda: recipe.build_model(source.text))
    assert found == 2 * twice + (768 * 2 + 2) + 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_dry_run_at_base_lists_its_parts(capsys, tmp_path):
    assert cli.main(["train", "albef", "--size", "base", "--dry-run", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "419,873,911 parameters" in told
    for part in ("image encoder 85.8 M", "momentum twin 210 M", "itm_head 1.54 k",
                 "image_proj 197 k", "temperature 1"):  # fmt: skip
        assert part in told, part

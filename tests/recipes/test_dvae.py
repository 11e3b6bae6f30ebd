"""The dvae recipe: killed and resumed bit for bit; schedules; published sizes; pictures."""

import hashlib
import json
import math
from dataclasses import replace

import pytest
import torch

from minivl import cli
from minivl.commands.runs import check_fields
from minivl.data.examples import SceneSource
from minivl.errors import UserError
from minivl.recipes.dvae import SIZES, DvaeRecipe, Relaxation, Tokenizer
from minivl.recipes.dvae_figures import Snapshots, code_tiles, named_pieces, tokenizer_figures
from minivl.training import optim

CPU = torch.device("cpu")


def outcome(folder):
    weights = next((folder / "checkpoints" / "dvae").glob("step-20/model.safetensors"))
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    timings = {"samples_per_second", "data_wait_share"}
    told = [
        {name: value for name, value in line.items() if name not in timings}
        for line in map(json.loads, lines)
    ]
    return hashlib.sha256(weights.read_bytes()).hexdigest(), told


def test_a_killed_run_resumes_bit_for_bit(tmp_path, killed_and_resumed):
    """Weights, losses, temperature, KL weight and monitors: all are functions of the step."""
    arguments = ["train", "dvae", "--size", "test", "--training.threads", "1"]
    whole = tmp_path / "whole"
    assert cli.main([*arguments, "--out", str(whole)]) == 0
    broken = killed_and_resumed(arguments, [("dvae", 13)])
    weights, lines = outcome(whole)
    assert outcome(broken) == (weights, lines) and len(lines) == 20
    assert {"temperature", "beta", "perplexity", "codes_used", "soft_hard_gap"} <= set(lines[0])
    assert lines[0]["temperature"] == 1 and lines[-1]["temperature"] == 1 / 16
    evaluated = json.loads((whole / "eval.json").read_text())
    for kind in ("validation", "twemoji", "photographs"):
        assert evaluated[f"{kind}/reconstruction/psnr"]["chance"] > 5
        assert evaluated[f"{kind}/codebook/perplexity"]["size"] == 16
    shown = {path.stem for path in (whole / "figures").iterdir()}
    assert shown == {"reconstructions", "temperatures", "codebook", "codes", "words"}


def test_temperature_falls_and_the_kl_weight_rises_along_cosines():
    relaxation = Relaxation((1.0, 1 / 16), anneal_share=0.5, kl_weight=6.6, kl_share=0.1)
    schedules = relaxation.schedules(1000)
    temperature, beta = schedules["temperature"], schedules["beta"]
    assert [temperature(s) for s in (0, 500, 999)] == pytest.approx([1, 1 / 16, 1 / 16])
    assert temperature(250) == pytest.approx((1 + 1 / 16) / 2)
    assert temperature(125) == pytest.approx(1 / 16 + 15 / 32 * (1 + math.sqrt(0.5)))
    assert [beta(s) for s in (0, 50, 100, 999)] == pytest.approx([0, 3.3, 6.6, 6.6])
    constant = Relaxation((0.5, 0.5), anneal_share=0, kl_weight=0.1, kl_share=0).schedules(10)
    assert [constant["temperature"](s) for s in (0, 9)] == [0.5, 0.5]
    assert constant["beta"](1) == pytest.approx(0.1)


def test_base_is_as_published(count_weights):
    base = SIZES["base"]
    assert count_weights(base.build_model) == 53_786_240 + 43_829_766
    model_fields = base.tokenizer
    assert (model_fields.vocab_size, model_fields.groups, model_fields.blocks) == (8192, 4, 2)
    schedules = base.relaxation.schedules(base.training.steps)
    assert schedules["temperature"](150_000) == pytest.approx(1 / 16)
    assert schedules["temperature"](75_000) == pytest.approx((1 + 1 / 16) / 2)
    # The paper's 6.6 weighs sums over 1,024 codes against sums over 256 x 256 x 3 colour values.
    assert schedules["beta"](5000) == pytest.approx(6.6 * 1024 / (256 * 256 * 3))
    training = base.training
    first = optim.learning_rate(training.warmup_steps, training)
    last = optim.learning_rate(training.steps, training)
    assert (first, last) == (pytest.approx(1e-4), pytest.approx(1.25e-6))


@pytest.mark.slow
def test_a_real_step_at_base():
    recipe = SIZES["base"]
    torch.manual_seed(0)
    model = recipe.build_model()
    optimizer = optim.make_optimizer(model, recipe.training)
    losses = model({"image": torch.rand(1, 3, 64, 64) * 2 - 1})
    sum(losses.values()).backward()
    optimizer.step()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert model.tokenize(torch.zeros(1, 3, 56, 112)).shape == (1, 7, 14)


@pytest.mark.parametrize("size", SIZES)
def test_sizes_are_possible(size):
    check_fields(DvaeRecipe.at_size(size))


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"tokenizer": Tokenizer(groups=5)}, "image_size"),
        ({"tokenizer": Tokenizer(width=10)}, "width"),
        ({"tokenizer": Tokenizer(vocab_size=1)}, "vocab_size"),
        ({"relaxation": Relaxation(temperature=(1.0, 0.0))}, "temperature"),
        ({"relaxation": Relaxation(anneal_share=1.5)}, "anneal_share"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_impossible_fields_are_named(changed, match):
    recipe = SIZES["tiny"]
    recipe = replace(recipe, data=replace(recipe.data, image_size=40), **changed)
    with pytest.raises(UserError, match=match):
        check_fields(recipe)


# --- pictures


@pytest.fixture(scope="module")
def world():
    recipe = DvaeRecipe.at_size("test")
    torch.manual_seed(0)
    return SceneSource.load(recipe.data), recipe.build_model().eval()


def test_figures_without_a_training(world):
    source, model = world
    with torch.no_grad():
        figures = tokenizer_figures(model, source, CPU, shown=3, snapshots=Snapshots())
    assert set(figures) == {"temperatures", "codebook", "codes", "words"}
    assert all(figure.caption.alt for figure in figures.values())


def test_snapshots_remember_when(world):
    source, model = world
    images = source.renderer.image(source.examples("train", 0).scene(0))[None]
    snapshots = Snapshots()
    for step, temperature in ((99, 0.98), (1499, 1 / 16)):
        model.before_step(step)
        model.temperature = temperature
        snapshots.add(model, images, CPU)
    assert [label for label, _ in snapshots.drawn] == [
        "step 100\nτ = 0.98",
        "step 1,500\nτ = 0.062",
    ]
    assert all(drawn.shape == images.shape for _, drawn in snapshots.drawn)


def test_a_tile_is_the_middle_of_a_field_of_one_code(world):
    _, model = world
    with torch.no_grad():
        tiles = code_tiles(model, CPU)
        field = model.decode(torch.full((1, 3, 3), 5))
    side = model.stride
    middle = ((field[0, :, side : 2 * side, side : 2 * side] + 1) * 127.5).round()
    assert tiles.shape == (16, side, side, 3)
    assert torch.equal(torch.from_numpy(tiles[5]).permute(2, 0, 1).float(), middle)


def test_pieces_belong_to_their_codes(normal):
    images = (normal(0, 4, 8, 8, 3).sigmoid() * 255).byte().numpy()
    tokens = torch.arange(16).reshape(4, 2, 2).numpy() % 5
    shares = torch.from_numpy(tokens.flatten()).bincount(minlength=7).numpy() / 16
    codes, pieces = named_pieces(images, tokens, shares, 4)
    assert sorted(codes) == [0, 1, 2, 3, 4]
    for code, found in zip(codes, pieces, strict=True):
        expected = [
            images[i, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4].tobytes()
            for i in range(4) for y in range(2) for x in range(2) if tokens[i, y, x] == code
        ]  # fmt: skip
        assert [piece.tobytes() for piece in found] == expected

"""FLAVA's joint step beside that of transformers' FlavaForPreTraining, in turns.

Both models have the same encoders, heads, losses, batches and optimiser. Transformers knows patch
projections and class tokens only: ours is built that way here, whatever the recipe's fields say.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minivl.commands import measure
from minivl.data.stream import Stream
from minivl.data.texts import TextSource
from minivl.errors import UserError
from minivl.models.flava import OBJECTIVES, Flava
from minivl.models.mim import resized
from minivl.nn.dvae import map_pixels
from minivl.objectives.masking import IGNORE
from minivl.recipes.flava import FlavaRecipe
from minivl.training.optim import clip_gradient, gradient_norm, make_optimizer
from minivl.training.recipe import Training

THEIR_STRIDE = 8
"""Side of what a code stands for: transformers' tokenizer has four groups, whatever it is told."""

ABOUT = (
    "ours with patch projections and class tokens, as transformers has them; float32 and AdamW for "
    "both; processor time on a CPU, else wall time",
    "ours is given cached codes, theirs computes them in each step with its tokenizer of the same "
    "width and codes, whose cells are 8 pixels, unless codes are given to both",
    "as prepared: ours pads texts to the longest of the batch, theirs to the longest allowed, as "
    "its processor does, and is given texts alone whole and holed; else the same batches, padded "
    "to the longest, and texts alone only holed",
)

PREPARED = ", each as prepared"


@dataclass
class Contender:
    """A model with its optimiser, and what a batch becomes before it is trained on."""

    name: str
    model: nn.Module
    training: Training
    loss: Callable[[dict[str, Tensor]], Tensor]
    """Of a batch in the model's own words."""

    def __post_init__(self) -> None:
        self.optimizer = make_optimizer(self.model, self.training)

    def step(self, batch: dict[str, Tensor]) -> None:
        """One optimiser step, as the engine takes it."""
        self.optimizer.zero_grad(set_to_none=True)
        self.loss(batch).backward()
        clip_gradient(self.model, self.training, gradient_norm(self.model))
        self.optimizer.step()


@dataclass
class Timed:
    """One kind of step of one contender, and how long it took."""

    contender: Contender
    batch: dict[str, Tensor]
    seconds: list[float] = field(default_factory=list)

    def take(self, steps: int, device: torch.device) -> None:
        """Time `steps` steps after one that is not counted."""
        clock = time.process_time if device.type == "cpu" else time.perf_counter
        for number in range(steps + 1):
            started = clock()
            self.contender.step(self.batch)
            measure.synchronise(device)
            if number:
                self.seconds.append(clock() - started)


def compare(recipe: FlavaRecipe, device: torch.device, steps: int, rounds: int) -> dict[str, Any]:
    """Steps of both implementations in turns: on pairs, pictures and texts, and mixed by share."""
    recipe = as_theirs(recipe)
    source = TextSource.load(recipe.texts, recipe.data)
    torch.manual_seed(0)
    ours, theirs = contenders(recipe, source, device)
    timed = {}
    for stream in recipe.build_streams(source, 0):
        plain, with_codes = batches(stream, ours.model, device)
        timed[stream.name] = [Timed(ours, with_codes), Timed(theirs, in_their_words(plain))]
        longest = recipe.data.max_length if stream.name == "pairs" else recipe.texts.max_length
        prepared = in_their_words(plain, longest)
        timed[stream.name + PREPARED] = [Timed(ours, with_codes), Timed(theirs, prepared)]
        if stream.name != "texts":
            both = [Timed(ours, with_codes), Timed(theirs, in_their_words(with_codes))]
            timed[f"{stream.name}, codes given to both"] = both
    for number in range(rounds):
        for name, turns in timed.items():
            measure.tell(f"round {number + 1} of {rounds}: {name}, beside transformers")
            for one in turns:
                one.take(steps, device)
    measure.tell("")
    seconds = {name: [median(one.seconds) for one in turns] for name, turns in timed.items()}
    return {
        "ours": ours.name,
        "theirs": theirs.name,
        "parameters": [trained(ours.model), trained(theirs.model)],
        "about": list(ABOUT),
        "rows": rows(seconds, recipe.stream_shares),
    }


def as_theirs(recipe: FlavaRecipe) -> FlavaRecipe:
    """The recipe with what transformers' FLAVA has a setting for, and AdamW."""
    widths = {recipe.image.width, recipe.text.width, recipe.multimodal.width}
    if len(widths) > 1:
        raise UserError(
            f"encoders of widths {', '.join(map(str, sorted(widths)))}: transformers' heads are "
            "made for one width",
            "leave out the comparison (--alone)",
        )
    return replace(
        recipe,
        objectives=OBJECTIVES,
        image=replace(recipe.image, stem="patch", positions="normal"),
        text=replace(recipe.text, norm="pre", dropout=0.0, tied=False),
        image_pool="cls",
        text_pool="cls",
        itm_negatives="given",
        fused_share=1.0,
        without_pairs="all",
        mask_pads=True,
        poolers=False,
        training=replace(recipe.training, optimizer="adamw"),
    )


def contenders(
    recipe: FlavaRecipe, source: TextSource, device: torch.device
) -> tuple[Contender, Contender]:
    """Our model and theirs, of equal size."""
    import transformers

    ours = recipe.build_model(source).to(device).train()
    theirs = their_model(recipe, len(source.text)).to(device).train()
    return (
        Contender("minivl", ours, recipe.training, lambda batch: sum(ours(batch).values())),
        Contender(
            f"transformers {transformers.__version__}",
            theirs,
            recipe.training,
            lambda batch: theirs(**batch).loss,
        ),
    )


def their_model(recipe: FlavaRecipe, words: int) -> nn.Module:
    """FlavaForPreTraining of the recipe's size, with a tokenizer of our width, blocks and codes."""
    from transformers.models.flava.configuration_flava import FlavaConfig
    from transformers.models.flava.modeling_flava import FlavaForPreTraining

    network = recipe.tokenizer_recipe.tokenizer
    config = FlavaConfig(
        image_config=_encoder(recipe.image)
        | {
            "image_size": recipe.data.image_size,
            "patch_size": recipe.image.patch_size,
            "vocab_size": network.vocab_size,
        },
        text_config=_encoder(recipe.text)
        | {"vocab_size": words, "max_position_embeddings": recipe.texts.max_length},
        multimodal_config=_encoder(recipe.multimodal),
        image_codebook_config={
            "hidden_size": network.width,
            "num_blocks_per_group": network.blocks,
            "vocab_size": network.vocab_size,
        },
        hidden_size=recipe.multimodal.width,
        projection_dim=recipe.embed_dim,
    )
    return FlavaForPreTraining(config)


def _encoder(encoder: Any) -> dict[str, int]:
    """Our encoder's numbers by their names."""
    return {
        "hidden_size": encoder.width,
        "num_hidden_layers": encoder.depth,
        "num_attention_heads": encoder.heads,
        "intermediate_size": 4 * encoder.width,
    }


def batches(
    stream: Stream, model: Flava, device: torch.device
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The stream's first batch, with the pixels that a tokenizer reads, and with codes instead."""
    batch = stream.examples.collate([stream.examples[index] for index in range(stream.batch_size)])
    batch = {key: value.to(device) for key, value in batch.items()}
    if "image" not in batch:
        return batch, batch
    size = [side * THEIR_STRIDE for side in batch["patches_masked"].shape[1:]]
    pixels = map_pixels((resized(batch["image"], size) + 1) / 2)
    return batch | {"pixels": pixels}, batch | {"visual_tokens": model.visual_tokens(batch)}


def in_their_words(batch: dict[str, Tensor], longest: int | None = None) -> dict[str, Tensor]:
    """A batch as FlavaForPreTraining wants it.

    With `longest` as its processor prepares it: texts padded to that length, and texts alone both
    whole and holed, of which its losses read the holed.
    """
    names = {
        "image": "pixel_values",
        "patches_masked": "bool_masked_pos",
        "pixels": "codebook_pixel_values",
        "visual_tokens": "mim_labels",
        "input_ids": "input_ids",
        "mlm_input_ids": "input_ids_masked",
        "attention_mask": "attention_mask",
        "mlm_labels": "mlm_labels",
        "itm_labels": "itm_labels",
    }
    theirs = {names[key]: value for key, value in batch.items()}
    if longest is not None:
        theirs |= {name: padded(theirs[name], longest, pad) for name, pad in PADS.items()
                   if name in theirs}  # fmt: skip
    elif "pixel_values" not in theirs:
        del theirs["input_ids"]  # else it reads texts alone twice, and uses one reading
    if "mim_labels" in theirs:
        theirs["mim_labels"] = theirs["mim_labels"].clone()  # it writes into them
    return theirs


PADS = {"input_ids": 0, "input_ids_masked": 0, "attention_mask": False, "mlm_labels": IGNORE}
"""What stands in the padding of a text."""


def padded(tokens: Tensor, longest: int, pad: int | bool) -> Tensor:
    """tokens (b, t) -> (b, longest)."""
    return F.pad(tokens, (0, longest - tokens.shape[1]), value=pad)


def trained(model: nn.Module) -> int:
    """Parameters that the optimiser moves."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def rows(seconds: dict[str, list[float]], shares: dict[str, float]) -> list[dict[str, Any]]:
    """The mixture's mean step, then each kind's median step: ours, theirs, and their ratio."""
    whole = sum(shares.values())
    parts = ":".join(f"{100 * share / whole:.0f}" for share in shares.values())
    mixed = {
        f"mixture {parts}{kind}": [
            sum(share * seconds[name + kind][side] for name, share in shares.items()) / whole
            for side in (0, 1)
        ]
        for kind in ("", PREPARED)
        if all(name + kind in seconds for name in shares)
    }
    named = mixed | seconds
    return [
        {"name": name, "ours": ours, "theirs": theirs, "ratio": theirs / ours}
        for name, (ours, theirs) in named.items()
    ]


def print_comparison(found: dict[str, Any]) -> None:
    """The numbers for people."""
    from minivl.commands.data import print_table

    print(f"\nbeside {found['theirs']}, FlavaForPreTraining")
    header = ("step", "ours, ms", "theirs, ms", "ratio")
    print_table(
        [header]
        + [
            (
                row["name"],
                f"{1000 * row['ours']:.1f}",
                f"{1000 * row['theirs']:.1f}",
                f"{row['ratio']:.2f}",
            )
            for row in found["rows"]
        ]
    )
    for line in found["about"]:
        print(line)

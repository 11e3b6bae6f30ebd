"""ALBEF's step as it trains beside the same step as the paper's code computes it, in turns.

One model, two ways to the same losses and gradients: `step="reference"` does one thing after the
other, `step="fused"` does none of them twice (see `models/albef_steps`).
"""

from dataclasses import replace
from statistics import median
from typing import Any

import torch

from minivl.commands import measure
from minivl.commands.bench_flava import Contender, Timed, trained
from minivl.recipes.albef import AlbefRecipe

STEPS = ("fused", "reference")

ABOUT = (
    "the same model, batch and optimiser; processor time on a CPU, else wall time",
    "reference: whole and holed texts apart, three passes through the fusion encoder, pictures "
    "projected to keys and values in each, scores of all words at every place",
    "the reference is spared what that code also does: attention without a kernel of its own, "
    "wrong partners drawn one by one, queues copied, the twin moved tensor by tensor",
    "fused: one pass of each encoder, each text heard and each picture projected once, no padding "
    "within fusion's MLPs, and only what a loss reads",
)


def compare(recipe: AlbefRecipe, device: torch.device, steps: int, rounds: int) -> dict[str, Any]:
    """Steps of both kinds in turns on one batch: with the recipe's words, and with all of BERT's.

    The vocabulary decides how much a score of each word at every place costs.
    """
    recipe = replace(recipe, training=replace(recipe.training, optimizer="adamw"))
    whole = replace(recipe, data=replace(recipe.data, vocabulary="full"))
    rows = [one_row(each, device, steps, rounds)
            for each in (recipe, whole)[: 1 + (recipe != whole)]]  # fmt: skip
    return {"rows": rows, "about": list(ABOUT)}


def one_row(recipe: AlbefRecipe, device: torch.device, steps: int, rounds: int) -> dict[str, Any]:
    """The median step of both kinds, and their ratio."""
    stage = recipe.stages(0)[-1]
    stream = stage.build_streams()[0]
    batch = stream.examples.collate([stream.examples[index] for index in range(stream.batch_size)])
    batch = {key: value.to(device) for key, value in batch.items()}
    turns = [Timed(contender(stage, step, device), batch) for step in STEPS]
    words = turns[0].contender.model.text_encoder.word_embed.num_embeddings
    for number in range(rounds):
        for one in turns:
            measure.tell(f"round {number + 1} of {rounds}: {one.contender.name}, {words:,} words")
            one.take(steps, device)
    measure.tell("")
    fused, reference = (median(one.seconds) for one in turns)
    return {
        "words": words,
        "parameters": trained(turns[0].contender.model),
        "fused": fused,
        "reference": reference,
        "ratio": reference / fused,
    }


def contender(stage: Any, step: str, device: torch.device) -> Contender:
    """The stage's model, always of the same weights, that computes its step so."""
    torch.manual_seed(0)
    model = stage.build_model().to(device).train()
    model.step = step
    return Contender(step, model, stage.training, lambda batch: sum(model(batch).values()))


def print_comparison(found: dict[str, Any]) -> None:
    """The numbers for people."""
    from minivl.commands.data import print_table

    print("\nbeside the step as the paper's code computes it")
    print_table(
        [("vocabulary", "parameters", "fused, ms", "reference, ms", "ratio")]
        + [
            (
                f"{row['words']:,}",
                f"{row['parameters']:,}",
                f"{1000 * row['fused']:.1f}",
                f"{1000 * row['reference']:.1f}",
                f"{row['ratio']:.2f}",
            )
            for row in found["rows"]
        ]
    )
    for line in found["about"]:
        print(line)

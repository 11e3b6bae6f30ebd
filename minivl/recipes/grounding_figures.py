"""scene-grounding of a trained ALBEF: Grad-CAM's maps, and those they are compared with."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from minivl.data.examples import SceneSource, to_tensor
from minivl.data.text import WordPiece
from minivl.evaluation.grounding_albef import (
    Phrase,
    evaluate_grounding,
    phrase,
    places_of_name,
)
from minivl.evaluation.pools import EVALUATION_SEED
from minivl.nn.vit import patch_grid
from minivl.visualize.gradcam import look, mean_map, on_grid, usual_block
from minivl.visualize.style import Picture
from minivl.visualize.words_on_picture import words_figure, words_on_picture

if TYPE_CHECKING:
    from minivl.evaluation.metric import Metric
    from minivl.models.albef import Albef


def grounding(
    source: SceneSource, model: "Albef", device: torch.device, count: int
) -> dict[str, "Metric"]:
    """Metrics by key, "<split>/scene-grounding/<measure>", of `count` phrases a split; see `Maps`
    for the ways to look that end the measures' names."""
    maps = Maps(model, source.text, device, source.data.max_length)
    return evaluate_grounding(source, maps, count)


def words_pictures(source: SceneSource, model: "Albef", count: int = 2) -> dict[str, Picture]:
    """Figures by file name: captions of an artist never seen, and where their words are."""
    world = source.world("twemoji", (2, 2))
    figures = {}
    for number in range(1, count + 1):
        asked = phrase(world, EVALUATION_SEED, number)
        image = source.renderer.image(asked.scene)
        longest = source.data.max_length
        found = words_on_picture(model, source.text, image, asked.sentence, max_length=longest)
        figures[f"words_on_picture_{number}"] = words_figure(found)
    return figures


class Maps:
    """Where a model sees what a phrase names, in several ways.

    ""           Grad-CAM of the phrase, "a dog", the mean of its words, at the usual fusion block
    "attention"  what the same words look at there, whether it counts or not
    "absent"     Grad-CAM of a phrase about something that the picture does not show
    "empty"      Grad-CAM of no words at all
    "word"       Grad-CAM of the name inside the picture's whole caption, and of it alone
    "block_1"    as "" at the first fusion block, and so on
    """

    def __init__(
        self, model: "Albef", text: WordPiece, device: torch.device, max_length: int | None
    ):
        self.model, self.text, self.device, self.max_length = model, text, device, max_length

    def __call__(self, images: np.ndarray, asked: Sequence[Phrase]) -> Mapping[str, Tensor]:
        """Pictures uint8 (n, h, w, 3) and what is looked for -> maps (n, gh, gw) by way."""
        pixels = to_tensor(images).to(self.device)
        ids, seen = self.encoded([one.words for one in asked])
        looked = look(self.model, pixels, ids, seen)
        blocks = range(len(looked.attention))
        usual = usual_block(len(blocks))
        cams = [self.mean(looked.grad_cam(block), pixels, seen) for block in blocks]
        maps = {
            "": cams[usual],
            "attention": self.mean(looked.attention[usual].mean(dim=1), pixels, seen),
            "absent": self.sentence(pixels, [one.absent for one in asked], usual),
            "empty": self.sentence(pixels, [""] * len(asked), usual),
            "word": self.name_in_caption(pixels, asked, usual),
        }
        return maps | {f"block_{number}": cam for number, cam in enumerate(cams, start=1)}

    def sentence(self, pixels: Tensor, said: Sequence[str], block: int) -> Tensor:
        """Grad-CAM (n, gh, gw) of whole sentences."""
        ids, seen = self.encoded(said)
        return self.mean(look(self.model, pixels, ids, seen).grad_cam(block), pixels, seen)

    def name_in_caption(self, pixels: Tensor, asked: Sequence[Phrase], block: int) -> Tensor:
        """Grad-CAM (n, gh, gw) of the word pieces of the name, where the whole caption is read."""
        ids, seen = self.encoded([one.sentence for one in asked])
        chosen = torch.zeros_like(seen)
        for row, (own, one) in enumerate(zip(ids.tolist(), asked, strict=True)):
            pieces = [self.text.vocab[index] for index in own]
            chosen[row, places_of_name(pieces, self.text.tokens(one.name))] = True
        return self.mean(look(self.model, pixels, ids, seen).grad_cam(block), pixels, chosen)

    def mean(self, tokens: Tensor, pixels: Tensor, chosen: Tensor) -> Tensor:
        """What the chosen words (n, t) have of the tokens (n, t, 1 + gh*gw): (n, gh, gw)."""
        grid = patch_grid(pixels, self.model.image_encoder.patch_size)
        return mean_map(on_grid(tokens, grid), chosen)

    def encoded(self, said: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids and attention mask, (n, t) each."""
        batch = self.text.batch(list(said), self.max_length)
        return batch["input_ids"].to(self.device), batch["attention_mask"].to(self.device)

"""What a DINO run remembers and shows: numbers as training goes on, and where the heads look."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from minivl.data.objects import ObjectSource
from minivl.evaluation.dino import Judge, heads_of
from minivl.evaluation.grounding import cell_shares, iou, mass_mask
from minivl.evaluation.metric import Metric
from minivl.evaluation.pools import EVALUATION_SEED
from minivl.visualize.heads import heads_figure, heads_over_training
from minivl.visualize.lines import line_chart
from minivl.visualize.style import Picture

if TYPE_CHECKING:
    from minivl.recipes.dino import Evaluation

SHOWN = 5
FINER = 2
"""Pictures are shown at twice the size that training saw: maps of four times as many cells."""

CURVES = {
    "validation/knn/accuracy": "neighbours, known artists",
    "twemoji/knn/accuracy": "neighbours, unseen artist",
    "validation/attention/mass_inside": "attention on the thing",
}


class Diary:
    """Evaluates a model at moments of its training, keeps what it saw, and draws it at the end.

    After a resume it begins anew: the curves then show what this process saw.
    """

    def __init__(
        self,
        source: ObjectSource,
        build_untrained: Callable[[], nn.Module],
        numbers: "Evaluation",
    ):
        self.source = source
        self.build_untrained = build_untrained
        self.numbers = numbers
        self.judge: Judge | None = None
        self.metrics: dict[int, dict[str, Metric]] = {}
        self.heads: dict[int, Tensor] = {}
        """Step -> what the heads look at in the first of the shown pictures."""

    def evaluate(self, model: nn.Module, device: torch.device) -> dict[str, Metric]:
        """All metrics, beside those of an untrained encoder and of raw pixels."""
        untrained = self.build_untrained().to(device)
        if self.judge is None:
            self.judge = Judge(self.source, untrained, device, **vars(self.numbers))
        step = int(getattr(model, "steps_taken", 0))
        if not self.heads:
            self.heads[0] = self._maps(untrained, device)[0]
        self.metrics[step] = self.judge.measure(model)
        self.heads[step] = self._maps(model, device)[0]
        return self.metrics[step]

    def figures(self, model: nn.Module, device: torch.device) -> dict[str, Picture]:
        """Figures by file name, on drawings of the artist that training never saw."""
        images, labels, masks = self._shown()
        maps = heads_of(model, images, device)
        kept = mass_mask(maps)
        inside = cell_shares(torch.from_numpy(masks), tuple(maps.shape[-2:]))
        figures = {
            "heads": heads_figure(
                images, maps, kept,
                names=[self.source.names[label] for label in labels],
                overlaps=iou(kept, inside.unsqueeze(1)),
            )
        }  # fmt: skip
        if len(self.heads) > 1:
            outlines = {step: mass_mask(found) for step, found in self.heads.items()}
            figures["heads_over_training"] = heads_over_training(images[0], self.heads, outlines)
        if len(self.metrics) > 1:
            figures["learning"] = self._learning()
        return figures

    def _learning(self) -> Picture:
        """Accuracy and attention over the steps, from the untrained encoder on."""
        first = next(iter(self.metrics.values()))
        series: dict[str, list[float]] = {}
        for key, name in CURVES.items():
            if f"{key}_untrained" in first:
                values = [100 * found[key].value for found in self.metrics.values()]
                series[name] = [100 * first[f"{key}_untrained"].value, *values]
        raw = 100 * first["validation/knn/accuracy_raw_pixels"].value
        return line_chart(
            [0, *self.metrics],
            series,
            title="What it learns without labels",
            xlabel="step",
            ylabel="per cent",
            level=(raw, "neighbours by raw pixels, known artists"),
        )

    def _shown(self) -> tuple[Any, Any, Any]:
        size = FINER * self.source.data.crops.global_size
        return self.source.pictures("twemoji", EVALUATION_SEED + 9, SHOWN, size)

    def _maps(self, model: nn.Module, device: torch.device) -> Tensor:
        """(shown pictures, heads, gh, gw)."""
        return heads_of(model, self._shown()[0], device)

"""ALBEF (Li et al. 2021, arXiv 2107.07651): align pictures and sentences before fusing them.

An image encoder and a text encoder meet in a contrastive space, then a fusion encoder lets the
words look at the picture. A slower copy of all of it, the momentum twin, gives keys to find and
answers to doubt with. How the losses of a batch come about: `models/albef_steps`.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minivl.models import albef_steps
from minivl.models.albef_encoders import Encoders, Pool, twin_of
from minivl.models.albef_steps import Neighbours, Summaries
from minivl.models.twin import follow
from minivl.models.weighed import weighed
from minivl.nn.bert import Bert
from minivl.nn.fusion import FusionEncoder
from minivl.nn.precision import wide
from minivl.nn.transformer import first_only, linear
from minivl.nn.vit import ViT
from minivl.objectives import contrastive, dino, masked, matching, momentum

Objective = Literal["itc", "itm", "mlm"]
OBJECTIVES: tuple[Objective, ...] = ("itc", "itm", "mlm")
"""Image-text contrast, image-text matching, masked language modeling (section 3.2)."""
NOBODY = -100
"""The picture whose id stands in the queue before there was any."""


class Albef(Encoders):
    """The encoders, the head that judges pairs, the momentum twin, and queues of its features.

    Wrong partners and keys of the present batch are those of this process, as in the paper's code;
    the queues get the features of all processes, in order of rank, and are alike everywhere. Means
    over judged pairs and over hidden words are those of all processes together.
    The engine's schedules set `alpha`, the twin's share of what is to be found, and `momentum`.
    """

    parts = {
        "image encoder": ("image_encoder",),
        "text encoder": ("text_encoder",),
        "fusion encoder": ("fusion_encoder",),
        "image_proj": ("image_proj",),
        "text_proj": ("text_proj",),
        "temperature": ("temperature",),
        "itm_head": ("itm_head",),
        "mlm_head": ("mlm_head",),
        "momentum twin": ("momentum_encoder",),
    }
    """What an overview of the parameters lists."""

    def __init__(  # noqa: PLR0913  (a model is made of its parts)
        self,
        image_encoder: ViT,
        text_encoder: Bert,
        fusion_encoder: FusionEncoder,
        *,
        embed_dim: int = 256,
        image_pool: Pool = "cls",
        text_pool: Pool = "cls",
        eps: float = 1e-12,
        objectives: Sequence[Objective] = OBJECTIVES,
        distill: Sequence[Literal["itc", "mlm"]] = ("itc", "mlm"),
        queue_size: int = 65_536,
        momentum: float = 0.995,
        alpha: float = 0.4,
        temperature: float = 0.07,
        temperature_range: tuple[float, float] | None = (0.001, 0.5),
        negatives: Literal["hard", "random"] = "hard",
        exclude: Literal["same", "picture", "diagonal"] = "same",
        sampler: Literal["uniform", "multinomial"] = "uniform",
        id_targets: bool = False,
        momentum_dropout: bool = False,
        step: Literal["fused", "reference"] = "fused",
    ):
        """What is not the paper's, or not its code's, has a name.

        `objectives`: the losses that are computed; what none of them trains is frozen. `distill`:
        those that also follow the twin. `queue_size` 0: only this batch's keys.
        `temperature_range`: where the temperature is put back to before each training step; None
        lets it go, as the fine-tuning of the paper's code does.
        `negatives`: wrong partners are drawn as likely as they look right, or all alike. `exclude`:
        what is no wrong partner. "diagonal", as in the paper's pretraining, draws equal captions
        and other captions of a picture; its fine-tuning for retrieval excludes equal pictures.
        `sampler` "multinomial": the random numbers are spent as in the paper's code.
        `id_targets`: all captions of a picture are right for it, in the queue too: the paper's
        fine-tuning for retrieval. Batches must bring `picture_ids`.
        `momentum_dropout`: the twin's dropout is on in training, as it is in the paper's code.
        `step`: "reference" computes a batch as the paper tells it, "fused" does nothing twice.
        """
        super().__init__(
            image_encoder,
            text_encoder,
            fusion_encoder,
            embed_dim=embed_dim,
            image_pool=image_pool,
            text_pool=text_pool,
            eps=eps,
        )
        self.objectives, self.distill = frozenset(objectives), frozenset(distill)
        if not self.objectives or not self.objectives <= set(OBJECTIVES):
            raise ValueError(f"objectives {tuple(objectives)}: choose among {OBJECTIVES}")
        if not self.distill <= {"itc", "mlm"}:
            raise ValueError(f"distill {tuple(distill)}: choose among itc and mlm")
        self.momentum, self.temperature_range = momentum, temperature_range
        self.negatives, self.exclude, self.sampler = negatives, exclude, sampler
        self.momentum_dropout, self.step = momentum_dropout, step
        self.momentum_encoder = twin_of(self)
        self.temperature = nn.Parameter(torch.tensor(temperature))
        self.itm_head = linear(fusion_encoder.width, 2)
        queues = F.normalize(torch.randn(2, embed_dim, queue_size), dim=1)
        for name, queue in zip(("image_queue", "text_queue"), queues, strict=True):
            self.register_buffer(name, queue.clone())
        ids = torch.full((1, queue_size), NOBODY) if id_targets else None
        self.register_buffer("id_queue", ids)
        self.register_buffer("queue_pointer", torch.tensor(0))
        # A tensor: a compiled forward pass would be compiled anew for every other float.
        self.register_buffer("_alpha", torch.tensor(alpha), persistent=False)
        self.gather: Any = None
        self.monitors: dict[str, Tensor] = {}
        self._freeze_what_nothing_trains()

    def _freeze_what_nothing_trains(self) -> None:
        of = {
            "itc": (self.image_proj, self.text_proj),
            "itm": (self.itm_head, self.fusion_encoder),
            "mlm": (self.mlm_head, self.fusion_encoder),
        }
        trained = [part for name in self.objectives for part in of[name]]
        for part in chain.from_iterable(of.values()):
            part.requires_grad_(part in trained)
        self.temperature.requires_grad_("itc" in self.objectives)

    @property
    def alpha(self) -> float:
        """The twin's share of the soft targets, alpha in equations 6 and 7."""
        return self._alpha.item()

    @alpha.setter
    def alpha(self, value: float) -> None:
        self._alpha.fill_(value)

    def train(self, mode: bool = True) -> "Albef":
        """As for any module, but the twin stays in evaluation mode, its dropout as chosen."""
        super().train(mode)
        self.momentum_encoder.eval()
        for module in self.momentum_encoder.modules():
            if isinstance(module, nn.Dropout):
                module.train(mode and self.momentum_dropout)
        return self

    @property
    def learning(self) -> bool:
        """Whether this forward pass is a training step: only then twin and queues move."""
        return self.training and torch.is_grad_enabled()

    @property
    def contrasts(self) -> bool:
        """Whether some loss compares the summaries of pictures and texts, the twin's included."""
        return "itc" in self.objectives or ("itm" in self.objectives and self.negatives == "hard")

    @property
    def asks_twin(self) -> bool:
        """Whether some loss reads what the twin makes of a picture."""
        return self.contrasts or self.distills("mlm")

    def distills(self, name: Objective) -> bool:
        """Whether a loss also follows the twin."""
        return name in self.objectives and name in self.distill

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Each objective's scalar for a batch of image (b, 3, h, w), input_ids, attention_mask and,
        for "mlm", mlm_input_ids and mlm_labels (b, t); perhaps picture_ids (b).

        While training, each call also moves the temperature into its range, the twin towards the
        student, and the queue on: so that micro-batches do, as in the paper's code.
        """
        self.monitors = {}
        if self.learning and self.temperature_range is not None:
            with torch.no_grad():
                self.temperature.clamp_(*self.temperature_range)
        steps = {"fused": albef_steps.fused_step, "reference": albef_steps.reference_step}
        losses = steps[self.step](self, batch)
        self.monitors["temperature"] = self.temperature.detach().clone()
        return losses

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses, so that DDP and torch.compile wrap what training computes."""
        return self.losses(batch)

    def matching_scores(
        self, image: Tensor, input_ids: Tensor, attention_mask: Tensor | None = None
    ) -> Tensor:
        """image (b, 3, h, w), input_ids, attention_mask (b, t) -> how much more each pair looks
        like a match than not: the difference of the two logits (b)."""
        states = self.text_states(input_ids, attention_mask)
        logits = self.match_logits(self.image_tokens(image), states, attention_mask)
        return logits[:, 1] - logits[:, 0]

    def match_logits(
        self,
        image_tokens: Tensor,
        text_states: Tensor,
        attention_mask: Tensor | None = None,
        *,
        image_index: Tensor | None = None,
    ) -> Tensor:
        """Two logits a pair, (b, 2), the second for a match; arguments as in `fuse`.

        For many pairs of few pictures and texts, whose tokens and states are then computed once.
        """
        read = first_only(*text_states.shape[:2], text_states.device)
        fused = self.fuse(
            image_tokens, text_states, attention_mask, image_index=image_index, read=read
        )
        return self.judge(fused)

    def judge(self, fused: Tensor) -> Tensor:
        """Fused states (b, t, width) -> two logits (b, 2) from [CLS]: no match, match."""
        return wide(self.itm_head(fused[:, 0]))

    # What both steps are made of.

    def follow(self) -> None:
        """Move the twin towards the student: before it is asked for features, as in the paper's
        code, so that it has heard of the last optimiser step."""
        if self.learning:
            follow(self.momentum_encoder, self, self.momentum)

    def contrast(self, found: Summaries, near: Neighbours, batch: dict[str, Tensor]) -> Tensor:
        """ITC (section 3.2, equation 2): each side finds the twin's other side, in this batch or
        the queue; with soft targets where the twin is followed (equation 6)."""
        self.monitors["itc_accuracy"] = near.found_right()
        # Temperatures and softmax in float32 or better: bf16 has 8 bits.
        with torch.autocast(found.image.device.type, enabled=False):
            return contrastive.itc_with_queue(
                *found,
                self.image_queue,
                self.text_queue,
                self.temperature,
                self.targets(found, batch),
            )

    def targets(self, found: Summaries, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        """What each picture, and each text, is to find, (b, b+Q) each; None: its own partner."""
        soft, by_id = self.distills("itc"), self.id_queue is not None
        if not (soft or by_id):
            return None
        rows = len(found.image)
        if by_id:
            ids = pictures_of(batch)
            hard = (ids.unsqueeze(1) == torch.cat([ids, self.id_queue[0]])).to(found.image.dtype)
            hard = hard / hard.sum(dim=1, keepdim=True)
        else:
            columns = rows + self.image_queue.shape[1]
            hard = torch.eye(rows, columns, dtype=found.image.dtype, device=found.image.device)
        if not soft:
            return hard, hard
        sides = ((found.image_m, found.text_m, self.text_queue),
                 (found.text_m, found.image_m, self.image_queue))  # fmt: skip
        targets = tuple(
            momentum.soft_targets(
                torch.cat([queries @ keys.T, queries @ queue], dim=1) / self.temperature.detach(),
                hard,
                self._alpha,
            )
            for queries, keys, queue in sides
        )
        self.monitors["target_entropy"] = sum(dino.entropy(side).mean() for side in targets) / 2
        return targets

    def remember(self, found: Summaries, batch: dict[str, Tensor]) -> None:
        """Write the twin's features, of all processes, over the oldest in the queues: after the
        logits, so that no batch meets itself."""
        if not self.learning or not self.image_queue.shape[1]:
            return
        news = {"image_queue": found.image_m, "text_queue": found.text_m}
        if self.id_queue is not None:
            news["id_queue"] = pictures_of(batch).unsqueeze(1)
        enqueue = enqueue_in_place if self.step == "fused" else momentum.enqueue
        for name, keys in news.items():
            keys, queue = keys if self.gather is None else self.gather(keys), getattr(self, name)
            newest, pointer = enqueue(queue, keys, self.queue_pointer)
            if newest is not queue:
                queue.copy_(newest)
        self.queue_pointer.fill_(pointer)

    def look_around(self, found: Summaries | None, batch: dict[str, Tensor]) -> Neighbours | None:
        """How similar the student finds the twin's side; None where nothing compares or matches."""
        if not self.objectives & {"itc", "itm"}:
            return None
        right = self.right_partners(batch)
        if found is None:
            return Neighbours(None, None, right)
        with torch.no_grad(), torch.autocast(found.image.device.type, enabled=False):
            of_text = found.text @ found.image_m.T / self.temperature
            return Neighbours(of_text, found.image @ found.text_m.T / self.temperature, right)

    def wrong_partners(self, near: Neighbours) -> tuple[Tensor, Tensor]:
        """A wrong picture for each text, then a wrong text for each picture: rows of this batch,
        (b) each, -1 where there is none.

        Hard ones are drawn as likely as they are similar (section 3.2).
        """
        similar = near[:2]
        if self.negatives == "random":
            similar = 2 * [torch.zeros_like(near.right, dtype=torch.float32)]
        weights = [matching.hard_negative_weights(one, near.right) for one in similar]
        return tuple(map(self.draw, weights))

    def right_partners(self, batch: dict[str, Tensor]) -> Tensor:
        """Who may not be drawn as a wrong partner: (b, b) bool, the diagonal included."""
        ids = batch["input_ids"]
        if self.exclude == "same":
            return matching.same_pairs(ids, batch.get("picture_ids"))
        if self.exclude == "picture":
            return pictures_of(batch).unsqueeze(1) == pictures_of(batch)
        return torch.eye(len(ids), dtype=torch.bool, device=ids.device)

    def draw(self, weights: Tensor) -> Tensor:
        """One column a row of weights (b, c), by torch's current generator: (b), -1 for none."""
        if self.sampler == "uniform":
            u = torch.rand(len(weights), dtype=weights.dtype, device=weights.device)
            return matching.draw_partners(weights, u)
        nothing = weights.sum(dim=1) == 0
        drawn = torch.multinomial(weights + nothing.unsqueeze(1), 1).squeeze(1)
        return drawn.masked_fill(nothing, -1)

    def match(self, logits: Tensor, labels: Tensor) -> Tensor:
        """ITM (section 3.2, equation 4): cross-entropy of logits (rows, 2) to labels (rows)."""
        right, asked = masked.scored(logits.detach(), labels)
        self.monitors["itm_accuracy"] = right / asked
        return self.weighed(masked.masked_cross_entropy(logits, labels), asked)

    def name_words(self, student: Tensor, teacher: Tensor | None, labels: Tensor) -> Tensor:
        """MLM (section 3.2, equation 3) of logits (b, n, words) at labels (b, n), -100 = not asked;
        with the twin's logits as soft targets (equation 7) if given."""
        right, asked = masked.scored(student.detach(), labels)
        self.monitors["mlm_accuracy"] = right / asked.clamp(min=1)
        if teacher is None:
            return self.weighed(masked.masked_cross_entropy(student, labels), asked)
        loss = momentum.distilled_mlm(student, teacher, labels, self._alpha)
        return self.weighed(loss, asked)

    def weighed(self, loss: Tensor, count: Tensor) -> Tensor:
        """While training, the mean over all processes' rows; else this one's."""
        return weighed(loss, count, self.gather if self.learning else None)


def enqueue_in_place(
    queue: Tensor, keys: Tensor, pointer: int | Tensor
) -> tuple[Tensor, int | Tensor]:
    """`momentum.enqueue` that writes into the queue itself: of 65,536 places only a batch's move.

    queue (d, Q), keys (b, d) -> the same queue, and the pointer behind what was written.
    """
    rows, length = len(keys), queue.shape[1]
    if rows > length:
        raise ValueError(f"{rows} keys, but the queue holds {length}")
    places = (pointer + torch.arange(rows, device=queue.device)) % length
    with torch.no_grad():
        queue.index_copy_(1, places, keys.T.to(queue.dtype))
    return queue, (pointer + rows) % length


def pictures_of(batch: dict[str, Tensor]) -> Tensor:
    """Which picture each row shows: picture_ids (b). ValueError where the batch does not say."""
    if "picture_ids" not in batch:
        raise ValueError("the batch has no picture_ids, which tell what is right for a picture")
    return batch["picture_ids"]

"""FLAVA (Singh et al. 2022, arXiv 2112.04482): one model that sees, reads, and does both at once.

An image encoder and a text encoder work alone or feed a multimodal encoder. Pictures alone, texts
alone and pairs take turns; each batch runs what one of its losses reads, and nothing else.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minivl.errors import UserError
from minivl.models import mim
from minivl.models.weighed import weighed
from minivl.nn.bert import Bert
from minivl.nn.head import PredictionHead
from minivl.nn.precision import wide
from minivl.nn.transformer import Transformer, first_only, init_transformer, linear
from minivl.nn.vit import PatchEmbed, ViT, patch_grid
from minivl.objectives import contrastive
from minivl.objectives.masked import scored, selected_rows
from minivl.objectives.masking import IGNORE, replace_masked
from minivl.objectives.names import OBJECTIVES, Objective

FUSED = frozenset(("itm", "mmm_image", "mmm_text"))
"""The losses that read the multimodal encoder."""


def merge_tokens(
    cls_token: Tensor, image: Tensor, text: Tensor, attention_mask: Tensor
) -> tuple[Tensor, Tensor]:
    """[CLS_M; h_I; h_T]: one sequence of a picture's and a text's tokens, and what of it is real.

    cls_token (1, 1, d), image (b, n, d), text (b, t, d), attention_mask (b, t) True = a word
    -> tokens (b, 1+n+t, d), mask (b, 1+n+t) bool. Section 3.1, "Multimodal encoder".
    """
    batch, patches = image.shape[:2]
    tokens = torch.cat([cls_token.expand(batch, -1, -1).to(image.dtype), image, text], dim=1)
    seen = attention_mask.new_ones(batch, 1 + patches, dtype=torch.bool)
    return tokens, torch.cat([seen, attention_mask.to(torch.bool)], dim=1)


def mmm_loss(
    states: Tensor,
    targets: Tensor,
    masked: Tensor,
    is_pair: Tensor,
    head: Callable[[Tensor], Tensor],
) -> Tensor:
    """Masked multimodal modeling: name what is hidden, where picture and text belong together.

    states (b, n, d), targets (b, n) int64, masked (b, n) bool, is_pair (b) bool, head (rows, d) ->
    (rows, k) -> scalar: the mean cross-entropy over all hidden places of true pairs; 0, with a
    graph, if there is none. Section 3.2, "Masked multimodal modeling".
    """
    rows = selected_rows(masked & is_pair.unsqueeze(1))
    logits, answers = head(states.flatten(0, 1)[rows]), targets.flatten()[rows]
    return F.cross_entropy(logits, answers, reduction="sum") / max(len(rows), 1)


class MultimodalEncoder(nn.Module):
    """A transformer over both sequences, with a class token of its own: [CLS_M].

    It has no positions: the tokens bring theirs from the encoders that made them.
    """

    def __init__(self, width: int, depth: int, heads: int, *, eps: float = 1e-12):
        super().__init__()
        self.width = width
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.transformer = Transformer(width, depth, heads, eps=eps)
        self.norm = nn.LayerNorm(width, eps=eps)
        init_transformer(self, width)

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        attention_mask: Tensor,
        return_attention: bool = False,
        *,
        mask_pads: bool = True,
        read: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """image (b, n, width), text (b, t, width), attention_mask (b, t) -> (b, 1+n+t, width).

        With return_attention also each block's weights. `mask_pads=False` lets padding be seen, as
        the code did that trained the published weights. `read` (b, 1+n+t): as in `Transformer`.
        """
        tokens, seen = merge_tokens(self.cls_token, image, text, attention_mask)
        visible = seen if mask_pads else None
        x = self.transformer(tokens, visible, return_attention, read=read)
        if return_attention:
            return self.norm(x[0]), x[1]
        return self.norm(x)


class Pooler(nn.Module):
    """The first token through a dense layer and tanh, as in BERT."""

    def __init__(self, width: int):
        super().__init__()
        self.dense = nn.Linear(width, width)
        init_transformer(self, width)

    def forward(self, states: Tensor) -> Tensor:
        """States (b, t, width) -> (b, width)."""
        return self.dense(states[:, 0]).tanh()


class ItmHead(nn.Module):
    """Do picture and text belong together? Two scores: no, yes."""

    def __init__(self, width: int):
        super().__init__()
        self.pooler = Pooler(width)
        self.seq_relationship = nn.Linear(width, 2)
        init_transformer(self.seq_relationship, width)

    def forward(self, states: Tensor) -> Tensor:
        """States (b, t, width) of the multimodal encoder -> (b, 2)."""
        return wide(self.seq_relationship(self.pooler(states)))


class Flava(nn.Module):
    """Three encoders, two projections, five heads, and the tokenizer that names patches.

    `encode_image`, `encode_text` and `encode_pair` are the three exits that a task may choose.
    """

    parts = {
        "image encoder": ("image_encoder", "mask_token", "image_pooler"),
        "text encoder": ("text_encoder", "text_pooler"),
        "multimodal encoder": ("multimodal_encoder", "multimodal_pooler"),
        "image_to_mm": ("image_to_mm",),
        "text_to_mm": ("text_to_mm",),
        "image_proj": ("image_proj",),
        "text_proj": ("text_proj",),
        "logit_scale": ("logit_scale",),
        **{name: (name,) for name in (*(f"{o}_head" for o in OBJECTIVES[1:]), "tokenizer")},
    }
    """What an overview of the parameters lists."""

    def __init__(  # noqa: PLR0913  (a model is made of its parts)
        self,
        image_encoder: ViT,
        text_encoder: Bert,
        multimodal_encoder: MultimodalEncoder,
        *,
        embed_dim: int,
        tokenizer: nn.Module | None = None,
        vocab_size: int | None = None,
        objectives: Sequence[Objective] = OBJECTIVES,
        image_pool: Literal["cls", "mean"] = "cls",
        text_pool: Literal["cls", "mean"] = "cls",
        itm_negatives: Literal["given", "neighbours"] = "given",
        fused_share: float = 1.0,
        mask_pads: bool = True,
        without_pairs: Literal["nothing", "all"] = "nothing",
        poolers: bool = False,
        eps: float = 1e-12,
    ):
        """What is not the paper's, or not its code's, has a name.

        `tokenizer`: None where batches bring their `visual_tokens`; `vocab_size` is their number.
        `objectives`: the losses that are computed, and that a head is made for.
        `image_pool`, `text_pool`: what of a picture meets what of a sentence; the mean patch and
        the mean word learn far sooner than class tokens.
        `itm_negatives`: wrong pairs are those that the batch brings (`itm_labels` 0), or each pair
        is also judged with its neighbour's sentence: as many wrong as right, and none lost to the
        other losses.
        `fused_share`: which share of a batch of pairs goes through the multimodal encoder, too;
        where fusion is the dearer part, pairs for the contrastive loss alone are cheap.
        `mask_pads`: whether padding is hidden from the multimodal encoder.
        `without_pairs`: what is scored in a batch of wrong pairs only. The reference codes score
        all of it, which teaches that what does not belong together does.
        `poolers`: the published model's three poolers, which none of its losses trains.
        """
        super().__init__()
        self.objectives = frozenset(objectives)
        if not self.objectives <= set(OBJECTIVES) or not self.objectives:
            raise ValueError(f"objectives {tuple(objectives)}: choose among {OBJECTIVES}")
        codes = self._codes(tokenizer, vocab_size)
        self.image_pool, self.text_pool = image_pool, text_pool
        self.itm_negatives, self.fused_share = itm_negatives, fused_share
        self.mask_pads, self.without_pairs = mask_pads, without_pairs
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.multimodal_encoder = multimodal_encoder
        self.mask_token = nn.Parameter(torch.zeros(image_encoder.width))
        widths = image_encoder.width, text_encoder.width, multimodal_encoder.width
        self.image_to_mm = linear(widths[0], widths[2])
        self.text_to_mm = linear(widths[1], widths[2])
        self.image_proj = linear(widths[0], embed_dim)
        self.text_proj = linear(widths[1], embed_dim)
        self.logit_scale = nn.Parameter(torch.tensor(contrastive.LOGIT_SCALE_START))
        words = text_encoder.word_embed.num_embeddings
        heads: dict[str, Callable[[], nn.Module]] = {
            "mim": lambda: PredictionHead(widths[0], codes, eps=eps),
            "mlm": lambda: PredictionHead(widths[1], words, eps=eps),
            "mmm_image": lambda: PredictionHead(widths[2], codes, eps=eps),
            "mmm_text": lambda: PredictionHead(widths[2], words, eps=eps),
            "itm": lambda: ItmHead(widths[2]),
        }
        for name, make in heads.items():
            self.add_module(f"{name}_head", make() if name in self.objectives else None)
        names = ("image_pooler", "text_pooler", "multimodal_pooler")
        for name, width in zip(names, widths, strict=True):
            self.add_module(name, Pooler(width) if poolers else None)
        self.tokenizer = tokenizer
        if tokenizer is not None:
            tokenizer.requires_grad_(False).eval()
        self.gather: Any = None
        self.monitors: dict[str, Tensor] = {}

    def _codes(self, tokenizer: nn.Module | None, vocab_size: int | None) -> int:
        """How many visual tokens the heads name. UserError if two numbers contradict."""
        if tokenizer is None:
            if vocab_size is None and self.objectives & {"mim", "mmm_image"}:
                raise ValueError("without a tokenizer the model must know vocab_size of its codes")
            return vocab_size or 0
        if vocab_size not in (None, tokenizer.vocab_size):
            raise UserError(
                f"the tokenizer names patches with {tokenizer.vocab_size} codes, the heads are to "
                f"know {vocab_size}",
                "give the heads the tokenizer's number of codes, or another tokenizer",
            )
        return tokenizer.vocab_size

    def train(self, mode: bool = True) -> "Flava":
        """As every module's, but the tokenizer stays as it was trained."""
        super().train(mode)
        if self.tokenizer is not None:
            self.tokenizer.eval()
        return self

    # The three exits.

    def encode_image(
        self, image: Tensor, return_attention: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """image (b, 3, h, w) -> (b, embed_dim), not normalised: where pictures meet sentences.

        With return_attention also each block's weights (b, heads, 1+n, 1+n).
        """
        if return_attention:
            tokens, maps = self.image_encoder(image, return_attention=True)
            return self.image_proj(self.pool(tokens)), maps
        return self.image_proj(self.pool(self.image_encoder(image)))

    def pool(self, tokens: Tensor) -> Tensor:
        """tokens (b, 1+n, width), the class token first -> the picture's vector (b, width)."""
        return tokens[:, 0] if self.image_pool == "cls" else tokens[:, 1:].mean(dim=1)

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """input_ids, attention_mask (b, t) -> (b, embed_dim), not normalised."""
        states = self.text_encoder(input_ids, attention_mask)
        return self.text_proj(self.pool_text(states, attention_mask))

    def pool_text(self, states: Tensor, attention_mask: Tensor | None) -> Tensor:
        """States (b, t, width), [CLS] first -> the text's vector (b, width), padding left out."""
        if self.text_pool == "cls":
            return states[:, 0]
        if attention_mask is None:
            return states.mean(dim=1)
        seen = attention_mask.to(states.dtype).unsqueeze(2)
        return (states * seen).sum(dim=1) / seen.sum(dim=1)

    def encode_pair(
        self,
        image: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        return_attention: bool = False,
        *,
        patches_masked: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """States of [CLS_M], [CLS_I], the patches and the words: (b, 1+1+n+t, width).

        image (b, 3, h, w), input_ids and attention_mask (b, t), patches_masked (b, gh, gw).
        """
        states = self.image_states(image, patches_masked)
        words = self.text_encoder.states(input_ids, attention_mask)
        return self.fuse(states, words, attention_mask, return_attention)

    # What they are made of.

    def image_states(
        self,
        image: Tensor,
        patches_masked: Tensor | None = None,
        *,
        read: Tensor | Sequence[Tensor] | None = None,
    ) -> Tensor:
        """image (b, 3, h, w) -> (b, 1+n, width) before the last norm; hidden patches unseen.

        patches_masked (b, gh, gw) or (b, n) bool. Pixels of hidden patches are blanked before: a
        convolutional stem would carry them to the neighbours. `read` (b, 1+n): as in `Transformer`.
        """
        if patches_masked is None:
            return self.image_encoder.states(image, read=read)
        hidden = patches_masked.flatten(1)
        return self.image_encoder.states(
            mim.blanked(image, patches_masked) if patches_masked.ndim == 3 else image,
            edit=lambda patches: replace_masked(patches, self.mask_token, hidden),
            read=read,
        )

    def fuse(
        self,
        image_states: Tensor,
        text_states: Tensor,
        attention_mask: Tensor | None = None,
        return_attention: bool = False,
        *,
        read: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """States before the encoders' last norms -> the multimodal encoder's, normed.

        `read` (b, 1+1+n+t): as in `Transformer`.
        """
        if attention_mask is None:
            attention_mask = torch.ones(
                text_states.shape[:2], dtype=torch.bool, device=text_states.device
            )
        return self.multimodal_encoder(
            self.image_to_mm(image_states),
            self.text_to_mm(text_states),
            attention_mask,
            return_attention,
            mask_pads=self.mask_pads,
            read=read,
        )

    def visual_tokens(self, batch: dict[str, Tensor]) -> Tensor:
        """The batch's codes (b, gh, gw): its own, or what the tokenizer names its pictures."""
        return mim.visual_tokens(self.tokenizer, batch)

    # One step of training.

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses, so that DDP and torch.compile wrap what training computes."""
        return self.losses(batch)

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses of a batch of pictures, of texts, or of pairs, by their objectives' names.

        Pictures bring image (b, 3, h, w) and patches_masked (b, gh, gw); texts mlm_input_ids,
        attention_mask and mlm_labels (b, t); pairs both, input_ids (b, t), and perhaps itm_labels
        (b), 1 where they belong together.
        """
        self.monitors = {}  # what another stream's batch has said is no news of this one
        sees, reads = "image" in batch, "mlm_labels" in batch or "input_ids" in batch
        if "itm_labels" in batch and not (sees and reads):
            lacking = "captions (input_ids)" if sees else "pictures (image)"
            raise UserError(f"a batch of pairs has no {lacking}", "give each pair a picture and a "
                            "caption, or train on pictures and texts alone")  # fmt: skip
        fuses = sees and reads and self.objectives & FUSED
        lacking = [name for name in ("patches_masked", "mlm_input_ids") if name not in batch]
        if fuses and lacking:
            raise ValueError(f"a batch of pairs lacks {' and '.join(lacking)}: its holed versions")
        if sees and reads:
            return self.pair_losses(batch)
        return self.image_losses(batch) if sees else self.text_losses(batch)

    def image_losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Pictures alone: masked image modeling. One pass, of pictures with holes."""
        hidden = batch["patches_masked"]
        states = self.image_states(
            batch["image"], hidden, read=F.pad(hidden.flatten(1), (1, 0), value=False)
        )
        return {"mim": self.named(self.mim_head, self.image_encoder.norm(states), batch, "mim")}

    def text_losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Texts alone: masked language modeling. One pass, of texts with holes."""
        states = self.text_encoder.states(
            batch["mlm_input_ids"],
            batch.get("attention_mask"),
            read=batch["mlm_labels"] != IGNORE,
        )
        return {"mlm": self.named(self.mlm_head, self.text_encoder.norm(states), batch, "mlm")}

    def pair_losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Pairs: contrastive on what is whole, all else on what has holes.

        The whole and the holed pictures go through the image encoder as one batch, and so do the
        texts: two calls where the passes are four.
        """
        wanted: dict[str, dict[str, Tensor]] = {}
        if "contrastive" in self.objectives:
            wanted["whole"] = batch
        if self.objectives & FUSED:
            wanted["holed"] = first_rows(batch, self.fused_share)
        image, text = self.pair_states(wanted)
        losses = {}
        if "whole" in wanted:
            seen = batch.get("attention_mask")
            losses["contrastive"] = self.contrast(image["whole"], text["whole"], seen, batch)
        if "holed" in wanted:
            losses |= self.fused_losses(image["holed"], text["holed"], wanted["holed"])
        return losses

    def pair_states(
        self, wanted: dict[str, dict[str, Tensor]]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """States of pictures and texts before the last norms, by version: one call an encoder.

        wanted: "whole", "holed" or both -> the batch to encode so.
        """
        sizes = {version: len(batch["image"]) for version, batch in wanted.items()}
        one = next(iter(wanted.values()))
        ids = {"whole": "input_ids", "holed": "mlm_input_ids"}
        words = torch.cat([batch[ids[version]] for version, batch in wanted.items()])
        seen = None
        if all("attention_mask" in batch for batch in wanted.values()):
            seen = torch.cat([batch["attention_mask"] for batch in wanted.values()])
        patches = math.prod(patch_grid(one["image"], self.image_encoder.patch_size))
        read = [
            read_of(sizes, tokens, pool, words.device)
            for tokens, pool in ((1 + patches, self.image_pool), (words.shape[1], self.text_pool))
        ]
        both = (
            self.picture_versions(wanted, read[0]),
            self.text_encoder.states(words, seen, read=read[1]),
        )
        split = (states.split(list(sizes.values())) for states in both)
        return tuple(dict(zip(wanted, states, strict=True)) for states in split)

    def picture_versions(
        self, wanted: dict[str, dict[str, Tensor]], read: Sequence[Tensor] | None
    ) -> Tensor:
        """States of pictures whole and holed, one after the other: (rows, 1+n, width)."""
        if "holed" not in wanted:
            return self.image_states(wanted["whole"]["image"], read=read)
        holed = wanted["holed"]
        if "whole" not in wanted:
            return self.image_states(holed["image"], holed["patches_masked"], read=read)
        whole, hidden = wanted["whole"]["image"], holed["patches_masked"]
        if isinstance(self.image_encoder.patch_embed, PatchEmbed):
            # A patch's projection knows nothing of its neighbours: both versions share it.
            def both(patches: Tensor) -> Tensor:
                some = patches[: len(hidden)]
                return torch.cat(
                    [patches, replace_masked(some, self.mask_token, hidden.flatten(1))]
                )

            return self.image_encoder.states(whole, edit=both, read=read)
        holes = torch.cat([hidden.new_zeros(len(whole), *hidden.shape[1:]), hidden])
        return self.image_states(torch.cat([whole, holed["image"]]), holes, read=read)

    def fused_losses(
        self, image_states: Tensor, text_states: Tensor, batch: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """What reads the multimodal encoder: matching, and naming what is hidden on both sides."""
        is_pair = self.is_pair(batch)
        read = self.read_of_fused(batch, is_pair)
        fused = self.fuse(image_states, text_states, batch.get("attention_mask"), read=read)
        words, losses = text_states.shape[1], {}
        if "itm" in self.objectives and self.itm_negatives == "neighbours":
            losses["itm"] = self.match_neighbours(image_states, text_states, fused, batch)
        elif "itm" in self.objectives and "itm_labels" in batch:
            losses["itm"] = self.match(fused, batch["itm_labels"])
        found = {"mmm_image": fused[:, 2:-words], "mmm_text": fused[:, -words:]}
        for name, states in found.items():
            if name in self.objectives:
                head = getattr(self, f"{name}_head")
                losses[name] = self.named(head, states, batch, name, is_pair)
        return losses

    def read_of_fused(self, batch: dict[str, Tensor], is_pair: Tensor) -> Tensor:
        """Which states of the multimodal encoder some loss reads: (b, 1+1+n+t) bool."""
        hidden = batch["patches_masked"].flatten(1), batch["mlm_labels"] != IGNORE
        rows = is_pair.unsqueeze(1)
        sides = [
            places & rows & (name in self.objectives)
            for name, places in zip(("mmm_image", "mmm_text"), hidden, strict=True)
        ]
        matched = torch.ones_like(rows)
        return torch.cat([matched, torch.zeros_like(rows), *sides], dim=1)

    def is_pair(self, batch: dict[str, Tensor]) -> Tensor:
        """Which rows of a batch of pairs belong together: (b,) bool; all, where nothing is said."""
        labels = batch.get("itm_labels")
        if labels is None:
            return torch.ones(len(batch["image"]), dtype=torch.bool, device=batch["image"].device)
        is_pair = labels.flatten().to(torch.bool)
        if self.without_pairs == "nothing":
            return is_pair
        # The batch is that of all processes: one of them may well have no pair.
        anywhere = is_pair.any().float().unsqueeze(0)
        return is_pair | ~(anywhere if self.gather is None else self.gather(anywhere)).any()

    def contrast(
        self,
        image_states: Tensor,
        text_states: Tensor,
        attention_mask: Tensor | None,
        batch: dict[str, Tensor],
    ) -> Tensor:
        """The global contrastive loss of true pairs; wrong pairs are what others must not find."""
        is_pair = self.is_pair(batch)
        image = wide(self.image_proj(self.pool(self.image_encoder.norm(image_states))))
        words = self.text_encoder.norm(text_states)
        text = wide(self.text_proj(self.pool_text(words, attention_mask)))
        # Temperature and softmax in float32 or better: bf16 has 8 bits for a scale of 100.
        with torch.autocast(image.device.type, enabled=False):
            everyone = (image, text) if self.gather is None else map(self.gather, (image, text))
            rank = 0 if self.gather is None else self.gather.rank
            loss = contrastive.paired_info_nce(
                image, text, *everyone, rank, self.logit_scale, is_pair
            )
        return weighed(loss, is_pair.sum(), self.gather)

    def match_neighbours(
        self, image_states: Tensor, text_states: Tensor, fused: Tensor, batch: dict[str, Tensor]
    ) -> Tensor:
        """Image-text matching of each pair, and of each picture with its neighbour's sentence.

        Neighbours 2k and 2k+1 exchange theirs: a mirrored twin's, where there is one, holds the
        same words in another order. Where both say the same, the exchange is a true pair.
        """
        ids, count = batch["input_ids"], len(fused)
        other = (torch.arange(count, device=ids.device) ^ 1).clamp(max=count - 1)
        seen = batch.get("attention_mask")
        seen = seen if seen is None else seen[other]
        read = first_only(count, 1 + image_states.shape[1] + ids.shape[1], ids.device)
        exchanged = self.fuse(image_states, text_states[other], seen, read=read)
        labels = torch.cat([self.is_pair(batch), (ids[other] == ids).all(dim=1)])
        # [CLS_M] alone is judged: the states of the other tokens need not be joined.
        return self.match(torch.cat([fused[:, :1], exchanged[:, :1]]), labels)

    def match(self, fused: Tensor, labels: Tensor) -> Tensor:
        """Image-text matching: cross-entropy of two scores, over all rows."""
        labels = labels.flatten().long()
        logits = self.itm_head(fused)
        self.monitors["itm_accuracy"] = (logits.argmax(dim=1) == labels).float().mean()
        return F.cross_entropy(logits, labels)

    def named(
        self,
        head: nn.Module,
        states: Tensor,
        batch: dict[str, Tensor],
        name: Objective,
        is_pair: Tensor | None = None,
    ) -> Tensor:
        """A masked modeling loss: the head names what is hidden of the patches or the words."""
        hidden, answers = self.answers(batch, name)
        asked = hidden if is_pair is None else hidden & is_pair.unsqueeze(1)
        states = states[:, -hidden.shape[1] :]  # the class token before the patches names nothing

        def watched(rows: Tensor) -> Tensor:
            logits = head(rows)
            right, count = scored(logits.detach(), answers.flatten()[selected_rows(asked)])
            self.monitors[f"{name}_accuracy"] = right / count.clamp(min=1)
            return logits

        everyone = hidden.new_ones(len(hidden))
        loss = mmm_loss(states, answers, hidden, everyone if is_pair is None else is_pair, watched)
        return weighed(loss, asked.sum(), self.gather)

    def answers(self, batch: dict[str, Tensor], name: Objective) -> tuple[Tensor, Tensor]:
        """Where something is hidden (b, n) bool, and what it is (b, n): patches, or words."""
        if name in ("mlm", "mmm_text"):
            return batch["mlm_labels"] != IGNORE, batch["mlm_labels"]
        hidden, codes = mim.holes_and_codes(batch, self.visual_tokens(batch))
        return hidden.flatten(1), codes.flatten(1)

    def after_step(self) -> None:
        """Clamp the temperature; the engine calls this after each optimiser step."""
        contrastive.clamp_logit_scale(self.logit_scale)


def first_rows(batch: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """The first rows of every tensor of a batch, an even number: neighbours stay together."""
    if share == 1.0:
        return batch
    count = max(2, 2 * round(share * len(batch["image"]) / 2))
    return {name: value[:count] for name, value in batch.items()}


def read_of(
    versions: dict[str, int], tokens: int, pool: Literal["cls", "mean"], device: torch.device
) -> list[Tensor] | None:
    """Which states are read, (rows, tokens) bool for each version: of what is whole its `pool`.

    versions: "whole" or "holed" -> rows; of what has holes all is read. None where every state is.
    """
    if pool == "mean" or "whole" not in versions:
        return None
    return [
        first_only(rows, tokens, device)
        if version == "whole"
        else torch.ones(rows, tokens, dtype=torch.bool, device=device)
        for version, rows in versions.items()
    ]

"""CLIP (Radford et al. 2021, arXiv 2103.00020): two towers, one space, one loss."""

from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from minivl.nn.precision import wide
from minivl.nn.transformer import Activation, Transformer, init_transformer
from minivl.objectives import contrastive


class Gather(Protocol):
    """What the engine gives a model that is to contrast with the rows of all processes."""

    rank: int

    def __call__(self, x: Tensor) -> Tensor:
        """x (n, d) -> (world*n, d) in order of rank, with gradient."""


class TextTower(nn.Module):
    """CLIP's text transformer (section 2.4): reads left to right; its last token knows it all."""

    def __init__(
        self,
        *,
        vocab_size: int,
        width: int,
        depth: int,
        heads: int,
        max_length: int,
        eot_id: int,
        eps: float = 1e-5,
        activation: Activation = "gelu",
    ):
        """`eot_id` is the token that ends each text; its state stands for the text."""
        super().__init__()
        self.width = width
        self.eot_id = eot_id
        self.word_embed = nn.Embedding(vocab_size, width)
        self.pos_embed = nn.Parameter(torch.empty(max_length, width))
        self.transformer = Transformer(width, depth, heads, eps=eps, activation=activation)
        self.norm = nn.LayerNorm(width, eps=eps)
        init_transformer(self, width)
        nn.init.normal_(self.pos_embed, std=0.01)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """input_ids (b, t) -> states (b, t, width), each token seeing itself and those before.

        Padding stands behind the end token, so that causality hides it: attention_mask is unused.
        """
        length = input_ids.shape[1]
        if length > len(self.pos_embed):
            raise ValueError(
                f"{length} tokens, but this model has {len(self.pos_embed)} positions: "
                "truncate the text or raise max_length"
            )
        causal = torch.ones(length, length, dtype=torch.bool, device=input_ids.device).tril()
        x = self.word_embed(input_ids) + self.pos_embed[:length]
        return self.norm(self.transformer(x, causal[None, None]))

    def pool(self, states: Tensor, input_ids: Tensor) -> Tensor:
        """states (b, t, width) -> the state at the first end token (b, width)."""
        end = (input_ids == self.eot_id).int().argmax(dim=1)
        return states[torch.arange(len(states), device=states.device), end]


class Clip(nn.Module):
    """An image encoder and a text encoder, projected into one space and pulled together there."""

    def __init__(
        self,
        image_encoder: nn.Module,
        text_encoder: nn.Module,
        *,
        embed_dim: int,
        image_pool: Literal["cls", "mean"] = "cls",
    ):
        """`image_pool`: the class token as in the paper, or the mean patch: learns far sooner."""
        super().__init__()
        self.image_pool = image_pool
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.image_proj = nn.Linear(image_encoder.width, embed_dim, bias=False)
        self.text_proj = nn.Linear(text_encoder.width, embed_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(contrastive.LOGIT_SCALE_START))
        self.gather: Gather | None = None
        for projection in (self.image_proj, self.text_proj):
            nn.init.normal_(projection.weight, std=projection.in_features**-0.5)

    def encode_image(
        self, image: Tensor, return_attention: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """image (b, 3, h, w) -> (b, embed_dim), not normalised.

        With return_attention also each block's weights (b, heads, 1+n, 1+n).
        """
        if return_attention:
            tokens, maps = self.image_encoder(image, return_attention=True)
            return self.image_proj(self.pool(tokens)), maps
        return self.image_proj(self.pool(self.image_encoder(image)))

    def pool(self, tokens: Tensor) -> Tensor:
        """tokens (b, 1+n, width), the class token first -> the picture's vector (b, width)."""
        return tokens[:, 0] if self.image_pool == "cls" else tokens[:, 1:].mean(dim=1)

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids, attention_mask (b, t) -> (b, embed_dim), not normalised."""
        states = self.text_encoder(input_ids, attention_mask)
        if isinstance(self.text_encoder, TextTower):
            return self.text_proj(self.text_encoder.pool(states, input_ids))
        return self.text_proj(states[:, 0])

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """{"contrastive": scalar} for a batch of image, input_ids and attention_mask."""
        image = wide(self.encode_image(batch["image"]))
        text = wide(self.encode_text(batch["input_ids"], batch["attention_mask"]))
        # Temperature and softmax in float32 or better: bf16 has 8 bits for a scale of 100.
        with torch.autocast(image.device.type, enabled=False):
            return {"contrastive": self.contrast(image, text)}

    def contrast(self, image: Tensor, text: Tensor) -> Tensor:
        """image, text (b, embed_dim) -> the loss; over the rows of all processes if there are."""
        if self.gather is None:
            logits = contrastive.similarity_logits(image, text, self.logit_scale)
            return contrastive.info_nce(logits)
        return contrastive.global_info_nce(
            image, text, self.gather(image), self.gather(text), self.gather.rank, self.logit_scale
        )

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses, so that DDP and torch.compile wrap what training computes."""
        return self.losses(batch)

    def after_step(self) -> None:
        """Clamp the temperature; the engine calls this after each optimiser step."""
        contrastive.clamp_logit_scale(self.logit_scale)

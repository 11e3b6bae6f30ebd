"""UniT's two encoders (Hu and Singh 2021, arXiv 2102.10772, sections 3.1 and 3.2).

Both are told which task they work for by a learned token that stands before the others and is taken
away again. Letters: b batch, n tokens of a picture, t word pieces, width the encoder's.
"""

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minivl.nn import resnet
from minivl.nn.bert import Bert
from minivl.nn.transformer import Activation, Norm, Transformer


class Encoded(NamedTuple):
    """What an encoder tells the decoder."""

    states: Tensor
    """(b, n, width)."""
    places: Tensor
    """Where each token stands, (b, n, width)."""
    visible: Tensor
    """(b, n) bool, False at padding."""


class Backbone(Protocol):
    """A convolutional network: `resnet.ResNet`, or the small one. It is a module."""

    channels: int
    """Of what comes out."""

    def __call__(self, image: Tensor) -> Tensor:
        """image (b, 3, h, w) -> (b, channels, h / stride, w / stride)."""


class UnitImageEncoder(nn.Module):
    """Convolutions, then DETR's transformer encoder on their cells, places added to its looks."""

    def __init__(  # noqa: PLR0913  (a model is made of its numbers)
        self,
        backbone: Backbone,
        *,
        width: int,
        depth: int,
        heads: int,
        tasks: int,
        task_token: bool = True,
        residual: bool = True,
        mlp_ratio: float = 4.0,
        norm: Norm = "post",
        activation: Activation = "relu",
        dropout: float = 0.0,
        eps: float = 1e-5,
    ):
        """`residual`: what enters the encoder is added to what comes out, as in UniT's code, not in
        DETR; `task_token`: one of `tasks` learned tokens stands before the cells."""
        super().__init__()
        self.width, self.residual = width, residual
        self.backbone = backbone
        self.input_proj = nn.Conv2d(backbone.channels, width, kernel_size=1)
        self.transformer = Transformer(
            width, depth, heads, mlp_ratio=mlp_ratio, norm=norm, activation=activation,
            dropout=dropout, attention_dropout=dropout, mlp_dropout=dropout, eps=eps,
        )  # fmt: skip
        self.norm = nn.LayerNorm(width, eps=eps) if norm == "pre" else nn.Identity()
        self.task_embed = nn.Embedding(tasks, width) if task_token else None

    def forward(self, image: Tensor, task: int = 0, pixel_mask: Tensor | None = None) -> Encoded:
        """image (b, 3, h, w), pixel_mask (b, h, w) True = picture -> its cells, row by row."""
        cells = self.input_proj(self.backbone(image))
        visible, places = self.where(cells, pixel_mask)
        x = cells.flatten(2).mT
        states = self.attend(x, places, visible if pixel_mask is not None else None, task)
        return Encoded(states + x if self.residual else states, places, visible)

    def where(self, cells: Tensor, pixel_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """cells (b, width, gh, gw) -> which are picture (b, n), and their places (b, n, width)."""
        batch, width, *grid = cells.shape
        if pixel_mask is None:
            places = resnet.sine_positions_2d(*grid, width).to(cells)
            places = places.flatten(0, 1).expand(batch, -1, -1)
            return places.new_ones(places.shape[:2], dtype=torch.bool), places
        # The nearest pixel tells whether a cell is picture.
        visible = F.interpolate(pixel_mask[:, None].float(), size=grid)[:, 0].to(torch.bool)
        dtype = torch.promote_types(cells.dtype, torch.float32)
        places = resnet.masked_sine_positions(visible, width, dtype).to(cells)
        return visible.flatten(1), places.flatten(1, 2)

    def attend(self, x: Tensor, places: Tensor, visible: Tensor | None, task: int) -> Tensor:
        """x, places (b, n, width), visible (b, n) or None -> (b, n, width)."""
        if self.task_embed is None:
            return self.norm(self.transformer(x, visible, places=places))
        token = self.task_embed.weight[task].expand(len(x), 1, -1).to(x.dtype)
        # It stands nowhere: its place is zero.
        nowhere = torch.zeros_like(token)
        x, places = torch.cat([token, x], dim=1), torch.cat([nowhere, places], dim=1)
        if visible is not None:
            visible = F.pad(visible, (1, 0), value=True)
        return self.norm(self.transformer(x, visible, places=places))[:, 1:]


class UnitTextEncoder(nn.Module):
    """BERT, with a task token before its words, behind the embedding layer."""

    def __init__(self, bert: Bert, *, tasks: int, task_token: bool = True):
        super().__init__()
        self.width = bert.width
        self.bert = bert
        self.task_embed = nn.Embedding(tasks, bert.width) if task_token else None

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        task: int = 0,
        token_type_ids: Tensor | None = None,
    ) -> Encoded:
        """input_ids, attention_mask, token_type_ids (b, t) -> the words' states and positions."""
        x = self.bert.embed(input_ids, token_type_ids)
        visible = attention_mask.to(torch.bool)
        places = self.bert.pos_embed.weight[: x.shape[1]].expand(len(x), -1, -1)
        if self.task_embed is None:
            return Encoded(self.bert.norm(self.bert.transformer(x, visible)), places, visible)
        token = self.task_embed.weight[task].expand(len(x), 1, -1).to(x.dtype)
        states = self.bert.transformer(
            torch.cat([token, x], dim=1), F.pad(visible, (1, 0), value=True)
        )
        return Encoded(self.bert.norm(states)[:, 1:], places, visible)

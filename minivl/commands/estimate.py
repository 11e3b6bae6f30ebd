"""What a training step costs, counted without doing it: parameters, operations, memory.

The pass runs on torch's fake tensors: shapes and types without numbers.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from minivl.nn.transformer import Transformer

BYTES_PER_PARAMETER = 16  # float32: weight, gradient, and AdamW's two averages
PROCESS_BYTES = 900_000_000  # Python, torch and decoded drawings, measured on a CPU
BACKWARD = 2  # the backward pass holds about as much again as the forward pass kept


@dataclass(frozen=True)
class Work:
    """One step's cost for each sample."""

    flops: float
    """Floating-point operations of forward and backward, two a multiply-add."""
    activation_bytes: float
    """What the forward pass keeps for the backward pass, in float32."""
    tokens: float
    """Tokens that the encoders process, padding included."""


def parameters_by_part(model: nn.Module) -> dict[str, int]:
    """Number of parameters of each part of the model; what belongs to none under "(own)".

    Parts are the direct ones, or those that the model names in `parts`: ("student.head", ...), or
    {"image encoder": ("image_encoder", "mask_token"), ...}.
    """
    names = getattr(model, "parts", [name for name, _ in model.named_children()])
    parts = names if isinstance(names, dict) else {name: (name,) for name in names}
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    counts = {
        part: sum(
            n for name, n in sizes.items() if f"{name}.".startswith(tuple(f"{p}." for p in of))
        )
        for part, of in parts.items()
    }
    own = sum(p.numel() for p in model.parameters()) - sum(counts.values())
    return {name: count for name, count in counts.items() if count} | (
        {"(own)": own} if own else {}
    )


def work_of(model: nn.Module, batch: dict[str, Any]) -> Work:
    """Cost a sample of a forward and backward pass. The model's numbers are lost thereby."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    samples = len(next(v for v in batch.values() if torch.is_tensor(v)))
    selected = Selected(batch)
    if hasattr(model, "matcher"):
        model.matcher = in_order
    with FakeTensorMode() as fake, selected, token_counter(model) as tokens:
        model._apply(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype))
        batch = {k: fake.from_tensor(v) if torch.is_tensor(v) else v for k, v in batch.items()}
        kept = Kept(model)
        with FlopCounterMode(display=False) as counter, kept:
            sum(model(batch).values()).backward()
    return Work(
        flops=counter.get_total_flops() / samples,
        activation_bytes=kept.bytes / samples,
        tokens=tokens.count / samples,
    )


def in_order(
    logits: torch.Tensor, boxes: torch.Tensor, box_labels: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """In place of `objectives.detection.match`, which needs numbers: (b, t), the first queries."""
    return torch.arange(box_labels.shape[1], device=boxes.device).expand_as(box_labels)


class Kept(torch.autograd.graph.saved_tensors_hooks):
    """While open, adds up what is kept for the backward pass, but for the weights themselves."""

    def __init__(self, model: nn.Module):
        super().__init__(self._keep, lambda tensor: tensor)
        self.bytes = 0
        # Storages are held, so that no later one can get the same address.
        self._seen = {p.untyped_storage()._cdata: p.untyped_storage() for p in model.parameters()}

    def _keep(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._seen:
            self._seen[storage._cdata] = storage
            self.bytes += storage.nbytes()
        return tensor


class Selected(TorchDispatchMode):
    """While open, tells how many places of a mask are True: a fake tensor has no numbers.

    The batch's own masks and labels say it, by their size, and by their length how many there are
    in the fullest row; of any other mask, half are.
    """

    def __init__(self, batch: dict[str, Any]):
        super().__init__()
        self.counts: dict[int, int] = {}
        for value in batch.values():
            if torch.is_tensor(value) and value.dtype == torch.bool:
                self._learn(value)
        for name, value in batch.items():
            if torch.is_tensor(value) and name.endswith("labels"):
                self._learn(value != -100)
            elif name == "answer_shares":
                self._learn(value > 0)

    def _learn(self, mask: torch.Tensor) -> None:
        self.counts[mask.numel()] = int(mask.sum())
        if mask.ndim > 1:
            rows = mask.flatten(1)
            self.counts[rows.shape[1]] = int(rows.sum(dim=1).max())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Every operation as it is, but for the one whose result's shape depends on numbers."""
        if func is not torch.ops.aten.nonzero.default:
            return func(*args, **(kwargs or {}))
        mask = args[0]
        count = self.counts.get(mask.numel(), mask.numel() // 2)
        return torch.empty(count, mask.ndim, dtype=torch.int64, device=mask.device)


class token_counter:  # noqa: N801 - reads as a function where it is used
    """Counts tokens while open: what transformers read, as (batch, tokens, width)."""

    def __init__(self, model: nn.Module):
        self.count = 0
        self._handles: list[Any] = []
        # A norm: DINO computes its last block for the class token only, past the block's forward.
        transformers = [part for part in model.modules() if isinstance(part, Transformer)]
        self._parts = [part.blocks[0].norm1 for part in transformers]

    def __enter__(self) -> "token_counter":
        """Start to count."""
        self._handles = [part.register_forward_hook(self._add) for part in self._parts]
        return self

    def __exit__(self, *error: object) -> None:
        """Stop."""
        for handle in self._handles:
            handle.remove()

    def _add(self, part: nn.Module, inputs: Any, output: Any) -> None:
        if torch.is_tensor(output) and output.ndim == 3:
            self.count += output.shape[0] * output.shape[1]


def memory_bytes(parameters: int, work: Work, samples: int) -> float:
    """About what training takes at its peak, for `samples` at a time."""
    activations = BACKWARD * work.activation_bytes * samples
    return PROCESS_BYTES + BYTES_PER_PARAMETER * parameters + activations


def checkpoint_bytes(parameters: int) -> int:
    """Size of one checkpoint: weights and AdamW's two averages, float32."""
    return 12 * parameters


def human(number: float, unit: str = "") -> str:
    """1234567 -> "1.23 M": three digits and a prefix."""
    for prefix, size in (
        ("Z", 1e21),
        ("E", 1e18),
        ("P", 1e15),
        ("T", 1e12),
        ("G", 1e9),
        ("M", 1e6),
        ("k", 1e3),
    ):
        if abs(number) >= size:
            return f"{number / size:.3g} {prefix}{unit}"
    return f"{number:.3g} {unit}".strip()

"""A twin that follows its student: DINO's teacher, ALBEF's momentum encoder."""

from itertools import chain

from torch import nn

from minivl.objectives import momentum


def follow(twin: nn.Module, student: nn.Module, share: float) -> None:
    """twin <- share * twin + (1 - share) * student, part by part; the student may have more parts.

    Running means of batch norms follow like weights; what they count is copied.
    """
    its, ours = [], []
    for name, part in twin.named_children():
        other = getattr(student, name)
        its += chain(part.parameters(), part.buffers())
        ours += chain(other.parameters(), other.buffers())
    pairs = list(zip(its, ours, strict=True))
    averaged = [pair for pair in pairs if pair[0].is_floating_point()]
    momentum.ema_update([t for t, _ in averaged], [s for _, s in averaged], share)
    for count, current in pairs:
        if not count.is_floating_point():
            count.copy_(current)

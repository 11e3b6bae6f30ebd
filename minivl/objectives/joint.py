"""Several losses as one number: what the optimiser follows."""

from collections.abc import Mapping

from torch import Tensor


def joint_loss(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The weighted sum of the losses that this batch has; a loss without a weight counts once.

    losses: name -> scalar, weights: name -> factor -> scalar. FLAVA (Singh et al. 2022, section
    3.2) weighs all by 1. ValueError where there is no loss.
    """
    if not losses:
        raise ValueError("no loss to add up: the stream feeds none")
    return sum(weights.get(name, 1.0) * loss for name, loss in losses.items())

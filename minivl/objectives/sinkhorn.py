"""Sinkhorn-Knopp: share out the outputs evenly over a batch, in place of centring (DINOv2).

SwAV (Caron et al. 2020, arXiv 2006.09882, section 3.1) clustered so; DINOv2's large recipe and
DINOv3 prepare the teacher's logits so. Letters: n answers, k outputs.
"""

import torch
from torch import Tensor


def sinkhorn(logits: Tensor, temperature: float, iterations: int = 3) -> Tensor:
    """Probabilities (n, k), a constant, in which all answers together use every output alike.

    logits (n, k). In turns each output is scaled to add to 1 over the batch, and each answer to
    add to 1; the answers come last, so that they always do. With 0 iterations a plain softmax.
    """
    with torch.no_grad():
        # Weights of exp(1 / 0.04) fit into float32, their products with n do not into float16.
        log_p = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
        for _ in range(iterations):
            log_p = log_p - log_p.logsumexp(dim=0, keepdim=True)
            log_p = log_p - log_p.logsumexp(dim=1, keepdim=True)
        return log_p.softmax(dim=1)

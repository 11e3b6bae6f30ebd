"""Numbers and weights drawn from a named seed. Torch is imported only where a test asks."""

import pytest


@pytest.fixture(scope="session")
def normal():
    """normal(seed, *shape): standard normal numbers in float64."""
    import torch

    def draw(seed, *shape):
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return draw


@pytest.fixture(scope="session")
def drawn():
    """drawn(module, seed): the module in float64 and eval, each weight drawn, none left at 0 or 1.

    Weights are large enough that attention is far from uniform and every eps and bias counts.
    """
    import torch
    from torch import nn

    def fill(module, seed=0):
        generator = torch.Generator().manual_seed(seed)
        module = module.double().eval()
        norms = {m.weight for m in module.modules() if isinstance(m, nn.LayerNorm | nn.BatchNorm2d)}
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.normal_(std=0.3, generator=generator)
                if parameter in norms:
                    parameter += 1
        return module

    return fill


@pytest.fixture
def count_weights(monkeypatch):
    """count_weights(build): numbers in the weights of build()'s model, none of them in memory."""
    import torch

    # Drawing from a normal on the meta device would load torch's compiler, for seconds.
    monkeypatch.setattr(torch.nn.init, "normal_", lambda tensor, **_: tensor)

    def count(build):
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in build().parameters())

    return count

"""Our weights in a model of transformers, and the comparison of both models' gradients."""

import pytest


@pytest.fixture(scope="session")
def close():
    """close(a, b): equal to 1e-9."""
    import torch

    def check(ours, theirs, message=""):
        torch.testing.assert_close(
            ours.reshape(theirs.shape), theirs, rtol=1e-9, atol=1e-9,
            msg=lambda why: f"{message}: {why}",
        )  # fmt: skip

    return check


@pytest.fixture(scope="session")
def codebook_names():
    """Names of our tokenizer's encoder -> those of FlavaImageCodebook."""
    return {
        r"^(input|output)\.": r"blocks.\1.",
        r"^blocks\.output\.": "blocks.output.conv.",
        # They count from one.
        **{rf"^groups\.{g}\.{b}\.": f"blocks.group_{g + 1}.group.block_{b + 1}."
           for g in range(4) for b in range(3)},
        r"\.skip\.": ".id_path.",
        **{rf"\.convs\.{c}\.": f".res_path.path.conv_{c + 1}." for c in range(4)},
    }  # fmt: skip


@pytest.fixture(scope="session")
def twins(close):
    """twins(ours, theirs, names): theirs gets our weights -> a function comparing gradients.

    `names` turns parts of our parameters' names, in this order, into theirs; all parameters of
    both models must then be paired. Only shapes may differ: a patch's vector is a kernel there.
    """
    import re

    import torch

    def pair(ours, theirs, names):
        theirs.double().eval()
        left = dict(theirs.named_parameters())
        pairs = []
        for name, weight in ours.named_parameters():
            for pattern, replacement in names.items():
                name = re.sub(pattern, replacement, name)
            twin = left.pop(name)
            with torch.no_grad():
                twin.copy_(weight.reshape(twin.shape))
            pairs.append((name, weight, twin))
        assert not left, f"without a twin: {sorted(left)}"

        def compare(our_loss, their_loss, inputs=(), partial=False):
            """Gradients of two losses: all parameters, and pairs of inputs.

            With `partial` a loss need not reach them all. -> names of those that it moves.
            """
            everything = [*pairs, *(("input", a, b) for a, b in inputs)]
            ours, theirs = (
                torch.autograd.grad(
                    loss,
                    [one[side] for one in everything],
                    allow_unused=partial,
                    materialize_grads=partial,
                )
                for loss, side in ((our_loss, 1), (their_loss, 2))
            )
            for (name, *_), a, b in zip(everything, ours, theirs, strict=True):
                close(a, b, name)
                # Of small gradients, too: only those that are 0 but for rounding are let go.
                error = (a.reshape(b.shape) - b).norm()
                assert error <= 1e-8 * b.norm() + 1e-11, f"{name}: {error} of {b.norm()}"
            return {name for (name, *_), b in zip(everything, theirs, strict=True) if b.any()}

        return compare

    return pair

"""How large a lesson trains."""

import os

from minivl.errors import UserError

SIZES = ("test", "tiny", "base")


def size() -> str:
    """ "base" where there is a GPU, else "tiny"; the variable MINIVL_SIZE overrules both.

    Raises UserError if the variable holds anything else.
    """
    chosen = os.environ.get("MINIVL_SIZE", "")
    if not chosen:
        import torch

        return "base" if torch.cuda.is_available() else "tiny"
    if chosen not in SIZES:
        raise UserError(f"MINIVL_SIZE is {chosen!r}", f"set it to one of {', '.join(SIZES)}")
    return chosen

"""What can go wrong, and what to do about it: every error a user meets has a cause and a remedy.

The exit codes are part of the command line's contract (see `minivl --help`).
"""

from typing import Any


class MinivlError(Exception):
    """An error with one line that says what happened and one line that says what to do."""

    exit_code = 1

    def __init__(self, what: str, remedy: str = ""):
        super().__init__(what)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}\n  -> {self.remedy}" if self.remedy else self.what


class UserError(MinivlError):
    """A wrong argument, name, type or folder: the caller can mend it at once."""

    exit_code = 2


class ResourceError(MinivlError):
    """Out of memory or out of disk."""

    exit_code = 3


class DataError(MinivlError):
    """A data pack, picture, text or checkpoint that is missing, truncated or altered."""

    exit_code = 4


class DivergedError(MinivlError):
    """A loss or a gradient that is no longer a finite number."""

    exit_code = 5


def require_field(settings: Any, name: str, holds: bool, expected: str) -> None:
    """Raise UserError, naming the field, its value and its flag, unless it holds."""
    if not holds:
        flag = name.replace("_", "-")
        raise UserError(
            f"{name} is {getattr(settings, name)}", f"give --{flag} (or {name}) {expected}"
        )


def require_counts(settings: Any, **least: int) -> None:
    """`require_field` for settings that are all numbers of things: 1 or more, or the `least`."""
    for name, number in vars(settings).items():
        lowest = least.get(name, 1)
        require_field(settings, name, number >= lowest, f"{lowest} or more")

"""Arguments of a command: argparse, with our errors (what was given, what is near it)."""

import argparse
import difflib
import re
from collections.abc import Iterable
from typing import NoReturn

from minivl.errors import UserError


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word most like this one; empty if none is like it."""
    return next(iter(difflib.get_close_matches(word, list(known), 1, 0.5)), "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A remedy for an unknown word: the nearest known one, or all of them."""
    known = list(known)
    near = nearest(word, known)
    return f"did you mean {near!r}?" if near else f"choose one of: {', '.join(known)}"


class Parser(argparse.ArgumentParser):
    """argparse that raises UserError instead of printing its usage and leaving."""

    def __init__(self, command: str, description: str, epilog: str = ""):
        """`command` is what stands after `minivl`."""
        super().__init__(
            prog=f"minivl {command}",
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def flags(self) -> list[str]:
        """Every flag that the parser knows."""
        return [flag for action in self._actions for flag in action.option_strings]

    def parse_args(self, args: list[str] | None = None, namespace=None) -> argparse.Namespace:  # noqa: ANN001
        """As argparse's; an argument too many is named, with the flag most like it."""
        parsed, rest = self.parse_known_args(args, namespace)
        if rest:
            flag = rest[0].split("=")[0]
            known = self.flags() if flag.startswith("-") else []
            hint = did_you_mean(flag, known) if known else f"see `{self.prog} --help`"
            raise UserError(f"{self.prog} does not take {rest[0]!r}", hint)
        return parsed

    def error(self, message: str) -> NoReturn:
        """What argparse finds wrong, as a UserError."""
        if match := re.search(
            r"argument (.+): invalid choice: '(.*)' \(choose from (.+)\)", message
        ):
            name, given, choices = match.groups()
            known = re.findall(r"[\w.-]+", choices)
            raise UserError(f"{self.prog}: {name} cannot be {given!r}", did_you_mean(given, known))
        raise UserError(f"{self.prog}: {message}", f"see `{self.prog} --help`")

"""Names in code: which it uses, which it makes, whether they exist, where they come from."""

import ast
import builtins
import importlib
import inspect
import symtable
from typing import Any

GIVEN = {*dir(builtins), "display", "get_ipython"}
"""Names that every notebook has."""


def exist(name: str) -> bool:
    """Whether a dotted name leads to a module or to something in one."""
    parts = name.split(".")
    for split in range(len(parts), 0, -1):
        module = ".".join(parts[:split])
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if not f"{module}.".startswith(f"{error.name}."):
                raise  # the module is there, but something it needs is not
            continue
        for part in parts[split:]:
            found = getattr(found, part, None)
        if found is not None:
            return True
    return False


def of_code(source: str) -> tuple[set[str], set[str]]:
    """(names that a cell's code takes from outside of its functions, names that it makes)."""
    table = symtable.symtable(source, "cell", "exec")
    used = {one.get_name() for one in table.get_symbols() if one.is_referenced()}
    made = {one.get_name() for one in table.get_symbols() if one.is_assigned() or one.is_imported()}
    inner = list(table.get_children())
    while inner:
        scope = inner.pop()
        inner += scope.get_children()
        for one in scope.get_symbols():
            if one.is_global() and one.is_referenced():
                used.add(one.get_name())
            if one.is_declared_global() and one.is_assigned():
                made.add(one.get_name())
    return used, made


def imported_by(node: ast.stmt) -> set[str]:
    """The names that an import statement brings, but for the course's own."""
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return set()
    if isinstance(node, ast.ImportFrom) and node.module == "minivl.course":
        return set()
    return {alias.asname or alias.name.partition(".")[0] for alias in node.names}


def import_line(name: str, module: str) -> str:
    """How to import what a module knows by this name; empty if it knows nothing by it."""
    value = getattr(importlib.import_module(module), name, None)
    if value is None:
        return ""
    if inspect.ismodule(value):
        return f"import {value.__name__} as {name}"
    return f"from {getattr(value, '__module__', module)} import {name}"

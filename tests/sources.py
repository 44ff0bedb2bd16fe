"""The library's source, parsed: for the tests that guard its architecture and its style."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1] / "mpitasks"

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Import(NamedTuple):
    """One arrow: the module that imports, and what."""

    source: str
    target: str
    """Inside the library without its name, such as "core.calls"; outside the top-level package, such as "mpi4py"."""
    inside: bool
    """The target is a module of the library."""
    lazy: bool
    """Within a function."""
    typing: bool
    """For type checkers alone."""


@cache
def modules() -> dict[str, ast.Module]:
    """All modules by name, such as "core.calls"; a package by its name, and the library itself as "mpitasks"."""
    return {_name(path): ast.parse(path.read_text(), path) for path in sorted(ROOT.rglob("*.py"))}


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "mpitasks"


@cache
def imports() -> list[Import]:
    """All arrows, to the outside too."""
    return [found for source, tree in modules().items() for found in _imports(tree, source, lazy=False, typing=False)]


def _imports(node: ast.AST, source: str, *, lazy: bool, typing: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(source, alias.name.partition(".")[0], inside=False, lazy=lazy, typing=typing)
        elif isinstance(child, ast.ImportFrom):
            for target, inside in _targets(child, source):
                yield Import(source, target, inside=inside, lazy=lazy, typing=typing)
        else:
            for_types = typing or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test))
            yield from _imports(child, source, lazy=lazy or isinstance(child, Function), typing=for_types)


def _targets(node: ast.ImportFrom, source: str) -> Iterator[tuple[str, bool]]:
    """What a `from ... import ...` imports: the modules, not the names in them."""
    if not node.level:
        package = str(node.module).partition(".")[0]
        yield (package, False) if package != "mpitasks" else (str(node.module).partition(".")[2] or "mpitasks", True)
        return
    is_package = source == "mpitasks" or (ROOT / source.replace(".", "/")).is_dir()
    within = [] if source == "mpitasks" else source.split(".")
    within = within[: len(within) - node.level + is_package]
    for alias in node.names:
        path = [*within, *(node.module.split(".") if node.module else []), alias.name]
        name = ".".join(path)
        yield name if name in modules() else ".".join(path[:-1]) or "mpitasks", True


def functions(tree: ast.AST, within: str = "") -> Iterator[tuple[str, Function]]:
    """All functions with their qualified names, nested ones too."""
    for child in ast.iter_child_nodes(tree):
        name = within
        if isinstance(child, Function | ast.ClassDef):
            name = f"{within}.{child.name}" if within else child.name
        if isinstance(child, Function):
            yield name, child
        yield from functions(child, name)

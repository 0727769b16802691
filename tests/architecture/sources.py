"""The source files of Pomona, parsed, for the tests of this folder."""

import ast
import functools
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "pomona"

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A module: its path from the root of the repository, its lines and its tree."""

    path: str
    lines: int
    tree: ast.Module


def modules() -> list[Source]:
    """Every module of the package, in the order of their paths."""
    return [parse(path) for path in sorted(PACKAGE.rglob("*.py"))]


@functools.cache
def parse(path: Path) -> Source:
    """Read one module, undisturbed: before 3.11.5, Python code that the garbage collector runs in the midst breaks it (gh-106905)."""
    text = path.read_text(encoding="utf-8")
    gc.disable()
    try:
        tree = ast.parse(text)
    finally:
        gc.enable()
    return Source(path=path.relative_to(ROOT).as_posix(), lines=text.count("\n"), tree=tree)


def packages() -> list[Path]:
    """Every folder of the package that holds modules."""
    return sorted({path.parent for path in PACKAGE.rglob("*.py")})


def functions(tree: ast.Module) -> Iterator[FunctionNode]:
    """Every function and method, nested ones too."""
    for node in ast.walk(tree):
        if isinstance(node, FunctionNode):
            yield node


def length(function: FunctionNode) -> int:
    """Lines from `def` to the end, without the docstring: what has to be read to know what it does."""
    last = function.end_lineno or function.lineno
    total = last - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None and isinstance(first, ast.Expr):
        total -= (first.end_lineno or first.lineno) - first.lineno + 1
    return total

"""Small functions, small files, small packages."""

import ast
import fnmatch

import pytest

from tests.architecture.sources import PACKAGE, ROOT, Source, functions, length, modules, packages

LONGEST_FUNCTION = 60
USUAL_FUNCTION = 30  # nine in ten are shorter
LONGEST_FILE = 400
MOST_MODULES = 12
MOST_PROTOCOL_METHODS = 3

# Lists rather than logic: they are long because the format, the schema or the network they write down is.
LONG_BY_NATURE = ("*/wire.py", "*/schema.py", "*/models/architectures/*.py")
# Files that are too long today. Shorten one and take it off; never add one.
TOO_LONG: frozenset[str] = frozenset()


@pytest.mark.parametrize("source", modules(), ids=lambda source: source.path)
def test_no_function_is_long(source: Source) -> None:
    long = {function.name: length(function) for function in functions(source.tree) if length(function) > LONGEST_FUNCTION}
    assert long == {}, f"{source.path}: split these functions (lines without docstring)"


def test_nine_functions_in_ten_are_short() -> None:
    lengths = sorted(length(function) for source in modules() for function in functions(source.tree))
    assert lengths[len(lengths) * 9 // 10] <= USUAL_FUNCTION


def test_no_file_is_long() -> None:
    long = {source.path for source in modules() if source.lines > LONGEST_FILE and not by_nature(source.path)}
    assert long == TOO_LONG, "split what is new here; take off the list what is no longer too long"


@pytest.mark.parametrize("package", packages(), ids=lambda package: package.relative_to(ROOT).as_posix())
def test_no_package_is_crowded(package: object) -> None:
    names = sorted(path.name for path in PACKAGE.rglob("*.py") if path.parent == package and not path.name.startswith("__"))
    assert len(names) <= MOST_MODULES, f"group these modules into packages: {names}"


@pytest.mark.parametrize("source", modules(), ids=lambda source: source.path)
def test_protocols_are_narrow(source: Source) -> None:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef) and "Protocol" in {ast.unparse(base).split("[")[0] for base in node.bases}:
            methods = [item.name for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]
            assert len(methods) <= MOST_PROTOCOL_METHODS, f"{source.path}: protocol {node.name} asks for {methods}"


def by_nature(path: str) -> bool:
    return any(fnmatch.fnmatch(path, pattern) for pattern in LONG_BY_NATURE)

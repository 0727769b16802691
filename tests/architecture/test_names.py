"""Names and docstrings that let a newcomer find the way."""

import ast
from pathlib import Path

import pytest

from tests.architecture.sources import PACKAGE, ROOT, modules, packages, parse

# They say nothing about what is inside, so everything ends up inside.
BANNED = {"util", "utils", "helper", "helpers", "manager", "managers", "base", "common", "misc", "tools_misc", "shared", "stuff"}


@pytest.mark.parametrize("path", [source.path for source in modules()])
def test_a_module_is_named_for_what_is_in_it(path: str) -> None:
    for part in Path(path).with_suffix("").parts:
        assert not BANNED & set(part.split("_")), f"{path}: {part!r} names nothing"


def test_no_class_is_a_manager_or_a_helper() -> None:
    named = [
        f"{source.path}: {node.name}"
        for source in modules()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Manager", "Helper", "Utils", "Base"))
    ]
    assert named == []


@pytest.mark.parametrize("package", [package for package in packages() if package != PACKAGE], ids=lambda path: str(path.relative_to(ROOT)))
def test_a_package_says_what_it_owns(package: Path) -> None:
    text = ast.get_docstring(parse(package / "__init__.py").tree) or ""
    docstring = " ".join(text.split())
    assert "Owns" in docstring, f"{package}: say what the package owns"
    assert "oes not own" in docstring, f"{package}: say what the package does not own, and who does"
    assert "Start reading at" in docstring, f"{package}: say where to start reading"
    assert len([line for line in text.split("\n") if line]) <= 6, f"{package}: be brief (a summary, owns / does not own, start reading at)"


def test_every_folder_with_modules_is_a_package() -> None:
    assert [package for package in packages() if not (package / "__init__.py").is_file()] == []

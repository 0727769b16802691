"""Frameworks that programs are built with: each one stream, one tool call and one structured answer."""

import sys
from pathlib import Path
from typing import Any, cast

import pytest

from tests.clients.conftest import node, run_program
from tests.e2e.servers import MODEL, Server

PROGRAMS = Path(__file__).with_name("programs")


def check(told: dict[str, Any]) -> None:
    """What every program tells: pieces of a stream, the city that a tool was called with, an answer of the wanted form."""
    assert len(told["stream"]) > 1
    assert told["called"] == ["Paris"]
    assert set(told["structured"]) == {"name", "people"}
    assert isinstance(told["structured"]["people"], int)


@pytest.mark.parametrize("name", ["pydantic_ai", "dspy"])
def test_a_framework_with_one_wire(name: str, frameworks: Path, server: Server, tmp_path: Path) -> None:
    check(run_program(str(frameworks), str(PROGRAMS / f"{name}_program.py"), server.url, MODEL, folder=tmp_path))


@pytest.mark.parametrize(("name", "wires"), [("langchain", {"chat", "responses", "messages"}), ("litellm", {"chat", "messages"})])
def test_a_framework_with_several_wires(name: str, wires: set[str], frameworks: Path, server: Server, tmp_path: Path) -> None:
    told = run_program(str(frameworks), str(PROGRAMS / f"{name}_program.py"), server.url, MODEL, folder=tmp_path)

    assert set(told) == wires
    for each in told.values():
        check(cast("dict[str, Any]", each))


def test_dspy_needs_no_http(frameworks: Path, tmp_path: Path) -> None:
    [packages] = (frameworks.parents[1] / "lib").glob("python*/site-packages")

    told = run_program(sys.executable, str(PROGRAMS / "dspy_in_process_program.py"), str(packages), folder=tmp_path)

    check(told)
    assert "context is 4,096 tokens" in str(told["refused"])


def test_instructor(frameworks: Path, server: Server, tmp_path: Path) -> None:
    told = run_program(str(frameworks), str(PROGRAMS / "instructor_program.py"), server.url, MODEL, folder=tmp_path)

    city = cast("dict[str, Any]", told["structured"])
    assert set(city) == set(cast("dict[str, Any]", told["called"])) == {"name", "people"}
    assert len(cast("list[object]", told["stream"])) > 1


def test_vercel_ai_sdk(node_modules: Path, server: Server, tmp_path: Path) -> None:
    program = node_modules.parent / "vercel.mjs"  # beside the packages: that is where Node looks for them
    program.write_bytes((PROGRAMS / "vercel.mjs").read_bytes())

    told = run_program(node(), str(program), server.url, MODEL, folder=tmp_path)

    assert set(told) == {"chat", "messages"}
    for each in told.values():
        check(cast("dict[str, Any]", each))

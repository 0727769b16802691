"""Who may import whom (pyproject.toml, [tool.importlinter]), and what starts quickly."""

import subprocess
import sys

import pytest

from tests.architecture.sources import ROOT

HEAVY = ("mlx", "mlx_lm", "transformers", "fastapi", "uvicorn", "pydantic", "numpy", "huggingface_hub", "rich", "prompt_toolkit")

RUN_QUIETLY = """
import contextlib, io, pomona.cli
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    pomona.cli.main()
"""


def test_the_contracts_on_imports_are_kept() -> None:
    result = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Contracts: 5 kept, 0 broken" in result.stdout


@pytest.mark.parametrize("module", ["pomona", "pomona.cli"])
def test_the_command_line_starts_without_heavy_packages(module: str) -> None:
    assert loaded_by(f"import {module}") == set()


def test_help_starts_without_heavy_packages() -> None:
    assert loaded_by(RUN_QUIETLY, "--help") == set()


def test_the_gateway_does_not_import_mlx() -> None:
    code = "import pomona.engine.protocol, pomona.fleet, pomona.text, pomona.server"
    assert loaded_by(code) & {"mlx", "mlx_lm"} == set()


def loaded_by(code: str, *arguments: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter holds after running `code`."""
    report = f"\nimport sys; print('loaded:', *(name for name in {HEAVY!r} if name in sys.modules))"
    result = subprocess.run([sys.executable, "-c", code + report, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.rpartition("loaded:")[2].split())

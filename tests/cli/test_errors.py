"""Every failure is one clear line and an exit code; nothing ends in a traceback."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from pomona.cli.errors import EXIT_CODES, ErrorBorder, exit_code
from pomona.core import errors
from tests.cli.conftest import Pomona

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.PomonaError)]


@dataclass(slots=True)
class Shown:
    """A presentation without colour."""

    color: bool | None = False
    verbosity: int = 0


def fall(error: BaseException, folder: Path, *, verbosity: int = 0) -> int:
    """The exit code after `error` met the border."""
    with ErrorBorder(Shown(verbosity=verbosity), lambda: folder) as border:
        raise error
    return border.code


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_an_exit_code_and_one_line(
    kind: type[errors.PomonaError], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = fall(kind("The port 'x' is no number."), tmp_path)

    assert code == exit_code(kind("")) != 0
    assert capsys.readouterr().err == "error: The port 'x' is no number.\n"


def test_a_subclass_has_the_code_of_its_nearest_ancestor() -> None:
    assert exit_code(errors.ContextOverflow("")) == EXIT_CODES[errors.InvalidRequest]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (SystemExit(3), 3),
        (SystemExit(None), 0),
        (SystemExit("text"), 1),
        (click.UsageError("wrong"), 2),
        (PermissionError(13, "Permission denied", "/x"), 74),
    ],
)
def test_other_ends_have_codes(error: BaseException, code: int, tmp_path: Path) -> None:
    assert fall(error, tmp_path) == code


def test_the_unexpected_is_told_briefly_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = fall(ZeroDivisionError("oh"), tmp_path / "crashes")

    told = capsys.readouterr().err
    (kept,) = (tmp_path / "crashes").iterdir()
    assert code == 70
    assert told.startswith("error: unexpected ZeroDivisionError: oh\n")
    assert str(kept) in told
    assert "Traceback" not in told
    assert "Traceback" in kept.read_text(encoding="utf-8")


def test_verbose_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fall(ZeroDivisionError("oh"), tmp_path, verbosity=1)

    assert "Traceback" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_hides_no_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()

    assert fall(ZeroDivisionError("oh"), tmp_path / "file" / "crashes") == 70
    assert "oh" in capsys.readouterr().err


def test_a_closed_pipe_is_quiet(home: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody_reads:
        command = [sys.executable, "-m", "pomona", "config:show"]
        result = subprocess.run(command, stdout=nobody_reads, stderr=subprocess.PIPE, check=False, cwd=home, timeout=60)

    assert (result.returncode, result.stderr) == (141, b"")


@pytest.mark.parametrize("arguments", [["--no-color", "xyzzy"], ["xyzzy"]])
def test_no_colour_where_no_terminal_is(pomona: Pomona, arguments: list[str]) -> None:
    assert "\x1b" not in pomona(*arguments).stderr


@pytest.mark.parametrize("arguments", [["--no-color", "config:show", "zzz"], ["config:show", "zzz", "--no-color"]])
def test_no_color_before_or_after_the_command(arguments: list[str], home: Path) -> None:
    del home
    from click.testing import CliRunner

    from pomona.cli import root

    assert "\x1b" in CliRunner().invoke(root, ["config:show", "zzz"], color=True).stderr
    assert "\x1b" not in CliRunner().invoke(root, arguments, color=True).stderr


def test_the_no_color_variable_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del home
    from click.testing import CliRunner

    from pomona.cli import root

    monkeypatch.setenv("NO_COLOR", "anything")

    assert "\x1b" not in CliRunner().invoke(root, ["xyzzy"], color=True).stderr

"""The border of the command line: every failure becomes one clear line on standard error and an exit code.

Exit codes follow sysexits.h where it has a word for the failure, 128 + signal for signals.
"""

import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol

import click

from pomona.core import errors

INTERRUPTED, BROKEN_PIPE, UNEXPECTED = 130, 141, 70
EXIT_CODES: Mapping[type[errors.PomonaError], int] = {
    errors.PomonaError: 1,
    errors.InvalidRequest: 65,
    errors.ModelNotFound: 66,
    errors.ModelUnusable: 65,
    errors.ConfigurationError: 78,
    errors.DoesNotFit: 71,
    errors.HubFailed: 69,
    errors.Unauthenticated: 77,
    errors.Forbidden: 77,
    errors.Overloaded: 75,
    errors.NotReady: 75,
    errors.EngineFailed: 69,
    errors.Quarantined: 69,
    errors.HubFailed: 69,
    errors.DoesNotFit: 71,
    errors.NotFound: 66,
    errors.Forbidden: 77,
    errors.Unauthenticated: 77,
    errors.Cancelled: INTERRUPTED,
}


class Presentation(Protocol):
    """How much is shown, and whether in colour (None: where the stream is a terminal)."""

    color: bool | None
    verbosity: int


def exit_code(error: errors.PomonaError) -> int:
    """The exit code of the nearest class in the table."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


class ErrorBorder:
    """A context that lets no exception out: it tells the person, and keeps the exit code in `code`.

    An exception that nobody foresaw is written with its traceback to a file in the folder that `crash_folder` names.
    """

    def __init__(self, presentation: Presentation, crash_folder: Callable[[], Path]) -> None:
        self.code = 0
        self._presentation = presentation
        self._crash_folder = crash_folder

    def __enter__(self) -> "ErrorBorder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if error is None:
            return True
        if isinstance(error, GeneratorExit):
            return False
        self.code = self._settle(error)
        return True

    def _settle(self, error: BaseException) -> int:
        match error:
            case SystemExit():
                return error.code if isinstance(error.code, int) else int(error.code is not None)
            case click.exceptions.Abort() | KeyboardInterrupt():
                return INTERRUPTED
            case BrokenPipeError():
                return mute_stdout()
            case _:
                return self._tell_failure(error)

    def _tell_failure(self, error: BaseException) -> int:
        match error:
            case click.ClickException():
                return self._tell(error.format_message(), _advice(error), error.exit_code)
            case errors.PomonaError():
                return self._tell(error.message, "", exit_code(error))
            case OSError() if error.filename is not None:
                return self._tell(f"{error.strerror}: {error.filename!r}", "", 74)
            case _:
                return self._report_crash(error)

    def _tell(self, message: str, advice: str, code: int) -> int:
        first, _, rest = message.partition("\n")
        color = self._presentation.color
        click.secho(f"error: {first}", fg="red", err=True, color=color)
        for text in (rest, advice):
            if text:
                click.echo(text, err=True, color=color)
        return code

    def _report_crash(self, error: BaseException) -> int:
        story = "".join(traceback.format_exception(error))
        if self._presentation.verbosity > 0:
            click.echo(story, err=True, nl=False)
            advice = ""
        else:
            where = _keep(story, self._crash_folder())
            advice = f"This is a fault in Pomona, not in what you typed. {where}`--verbose` shows it here."
        return self._tell(f"unexpected {type(error).__name__}: {error}", advice, UNEXPECTED)


def _advice(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"Try '{context.command_path} --help'." if context else ""


def _keep(story: str, folder: Path) -> str:
    """Write `story` to a file; says where, or nothing when the folder cannot be written."""
    path = folder / f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(story, encoding="utf-8")
    except OSError:
        return ""
    return f"The traceback is in {path}; "


def mute_stdout() -> int:
    """Nobody reads any more: let the interpreter's last flush go nowhere rather than fail. Returns the exit code."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, sys.stdout.fileno())
    except (OSError, ValueError):  # a stream without a descriptor, as in tests
        pass
    finally:
        os.close(null)
    return BROKEN_PIPE

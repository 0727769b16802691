"""Running a client in this terminal until it ends."""

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from pomona.core.errors import ConfigurationError
from pomona.ops.launch.plan import OWN_SHELL, Client, Plan

Environment = Callable[[Mapping[str, str | None]], dict[str, str]]
"""This process's environment with changes: `pomona.app.environment_with`."""


def find_program(client: Client) -> str:
    """The path of the client's program. Raises ConfigurationError with the command that installs it."""
    if client.program == OWN_SHELL:
        return pwd.getpwuid(os.getuid()).pw_shell or "/bin/sh"
    found = shutil.which(client.program)
    if found is None:
        raise ConfigurationError(f"{client.title} is not installed: there is no program {client.program!r}. Install it: {client.install}")
    return found


async def run_client(program: str, plan: Plan, arguments: Sequence[str], environment: Environment) -> int:
    """The exit code of the client. Ctrl-C is the client's to handle."""
    with tempfile.TemporaryDirectory(prefix="pomona-launch-") as folder:
        placed = plan.placed(folder)
        _write(placed.files, Path(folder))
        with _interrupts_ignored():
            process = await asyncio.create_subprocess_exec(
                program, *placed.arguments, *arguments, env=environment(placed.environment), restore_signals=True
            )
            return await process.wait()


def _write(files: Mapping[str, str], folder: Path) -> None:
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")


@contextlib.contextmanager
def _interrupts_ignored() -> Generator[None]:
    """The terminal sends Ctrl-C to both of us; a handler, unlike SIG_IGN, is not inherited by the client."""
    before = signal.signal(signal.SIGINT, _leave_to_the_client)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _leave_to_the_client(_signal: int, _frame: FrameType | None) -> None:
    """Do nothing."""

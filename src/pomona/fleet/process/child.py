"""A child process: started, waited for, ended."""

import asyncio
import contextlib
import signal
import subprocess
import threading
from collections.abc import Sequence


class Child:
    """Made on a running loop. Its standard input stays open as long as this process lives, and tells it so."""

    lost = False
    """A process can always be ended."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start `command`. Its standard error is ours. Ctrl-C in a terminal is not for it, nor is it while it still starts."""
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, process_group=0)
        self._loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int] = self._loop.create_future()
        """The exit code, or minus the number of the signal that ended it."""
        threading.Thread(target=self._wait, name="child-watch", daemon=True).start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def kill(self) -> None:
        """End it now, in whatever state it is."""
        self._process.kill()

    async def stop(self, patience_seconds: float) -> None:
        """See it end: by itself, or by force when `patience_seconds` are over. Leaves no zombie."""
        done, _ = await asyncio.wait([self.exited], timeout=patience_seconds)
        if not done:
            self.kill()
            await asyncio.wait([self.exited])

    def tell(self, line: bytes) -> None:
        """Write a line to its standard input."""
        stdin = self._process.stdin
        if stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it has ended already: `exited` says how
                stdin.write(line + b"\n")
                stdin.flush()

    def _wait(self) -> None:
        code = self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is gone, and with it everybody who would like to know
            self._loop.call_soon_threadsafe(self._note_exit, code)

    def _note_exit(self, code: int) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        if not self.exited.done():
            self.exited.set_result(code)


def describe_exit(code: int) -> str:
    """`code` in words: "exited with code 3", "was ended by SIGKILL (…)"."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = {"SIGKILL": " (somebody killed it, or the system ran out of memory)", "SIGABRT": " (the device or a library gave up)"}
    return f"was ended by {name}{hint.get(name, '')}"

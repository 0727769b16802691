"""A child process: started, waited for, ended."""

import asyncio
import contextlib
import os
import subprocess
import threading
from collections import deque
from collections.abc import Sequence

LINES_KEPT = 20
"""Of what it wrote last to its standard error."""
READ_BYTES = 65536
STANDARD_ERROR = 2
LAST_LINES_SECONDS = 0.5
"""For what is still in the pipe when it has ended. A compiler that runs below it may hold that open for longer."""


class Child:
    """Made on a running loop. Its standard input stays open as long as this process lives, and tells it so."""

    lost = False
    """A process can always be ended."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start `command`. It writes to our standard error. Ctrl-C in a terminal is not for it, nor is it while it still starts."""
        words, its_end = os.pipe()
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=its_end, process_group=0)
        except OSError:
            os.close(words)
            raise
        finally:
            os.close(its_end)
        self._loop = asyncio.get_running_loop()
        self._lines: deque[bytes] = deque(maxlen=LINES_KEPT)
        self.exited: asyncio.Future[int] = self._loop.create_future()
        """The exit code, or minus the number of the signal that ended it."""
        self._reading = threading.Thread(target=self._pass_on, args=(words,), name="child-words", daemon=True)
        self._reading.start()
        threading.Thread(target=self._wait, name="child-watch", daemon=True).start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def written(self) -> str:
        """The last lines that it wrote."""
        return b"\n".join(self._lines).decode(errors="replace")

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

    def _pass_on(self, words: int) -> None:
        """Whole lines, so that they do not mix with ours."""
        begun = b""
        while data := os.read(words, READ_BYTES):
            *lines, begun = (begun + data).split(b"\n")
            self._say(lines)
        os.close(words)
        self._say([begun] if begun else [])

    def _say(self, lines: list[bytes]) -> None:
        self._lines += lines
        with contextlib.suppress(OSError):  # nobody reads ours any more
            os.write(STANDARD_ERROR, b"".join(line + b"\n" for line in lines))

    def _wait(self) -> None:
        code = self._process.wait()
        self._reading.join(LAST_LINES_SECONDS)
        with contextlib.suppress(RuntimeError):  # the loop is gone, and with it everybody who would like to know
            self._loop.call_soon_threadsafe(self._note_exit, code)

    def _note_exit(self, code: int) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        if not self.exited.done():
            self.exited.set_result(code)

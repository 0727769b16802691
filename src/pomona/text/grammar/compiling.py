"""Asking llguidance whether a grammar is one, in a process that may die of it."""

import atexit
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

_PROGRAM = Path(__file__).with_name("judging.py")
_STOPPED = (-signal.SIGPROF, -signal.SIGKILL)
_LONGEST_WAIT_SECONDS = 60.0
"""For a process that neither answers nor computes, such as on a machine that swaps."""
TOO_MUCH = "compiling it takes more than a second of computing; make it smaller"
TOO_DEEP = "the compiler ran out of its stack or memory: chains of references may be some 300 long"
DEADLY = (TOO_MUCH, TOO_DEEP)
"""Answers after which there is no use in asking about parts."""


def problem_of(source: str) -> str | None:
    """Why llguidance cannot use `source`, a grammar; None where it can. Blocks for as long as compiling takes; from any thread.

    TOO_MUCH where it took too long, TOO_DEEP where the process died of it.
    """
    answer = _JUDGE.ask(source)
    return answer if answer is None or answer in DEADLY else _reason(answer)


class _Judge:
    """One process, begun when it is first needed and again after it died. It ends when this process does, as its input ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, source: str) -> str | None:
        with self._lock:
            process = self._running()
            alarm = threading.Timer(_LONGEST_WAIT_SECONDS, process.kill)
            alarm.daemon = True
            alarm.start()
            try:
                answer = _exchange(process, json.dumps(source).encode() + b"\n")
            finally:
                alarm.cancel()
            if not answer.endswith(b"\n"):
                return TOO_MUCH if process.wait() in _STOPPED else TOO_DEEP
            return json.loads(answer)

    def end(self) -> None:
        """Stop the process, if there is one, whatever it does."""
        if (process := self._process) is not None:
            process.kill()
        with self._lock:
            self._end()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._end()
            command = [sys.executable, "-P", str(_PROGRAM)]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _exchange(process: subprocess.Popen[bytes], line: bytes) -> bytes:
    """The answer to `line`; what there is of it where the process died."""
    if process.stdin is None or process.stdout is None:
        return b""
    try:
        process.stdin.write(line)
        process.stdin.flush()
    except BrokenPipeError:
        return b""
    return process.stdout.readline()


def _reason(message: str) -> str:
    """What went wrong in one line, without the source and the state of the parser that follow."""
    text = message.strip().partition("\n   1 | ")[0].partition("<state>")[0]
    text = " ".join(text.split(": failed to compile JSON schema: ")[-1].split())
    return text if len(text) <= 400 else text[:200] + " ... " + text[-195:]


_JUDGE = _Judge()
atexit.register(_JUDGE.end)

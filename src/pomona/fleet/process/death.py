"""What a process died of, as far as that can be told from here, and what to say of it."""

import re
import signal
from dataclasses import dataclass
from pathlib import Path

_COUNTERS = (Path("/proc/vmstat"), Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))
_SHORT_OF_MEMORY = re.compile(
    r"out ?of ?memory|insufficient memory|unable to allocate|cannot allocate|bad_alloc|MemoryError|ErrorMemoryAllocation"
    r"|greater than the maximum allowed buffer size",
    re.IGNORECASE,
)
_LAST_WORDS = re.compile(r"^(terminate called|libc\+\+abi:|\s*what\(\):|\w*Error: ).*", re.MULTILINE)
"""What the C++ runtimes and Python write before they end a process: it need not be a record of the log."""
_BY_HAND = (-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, -signal.SIGQUIT)
_HINTS = {signal.SIGKILL: " (somebody killed it, or the system ran out of memory)", signal.SIGABRT: " (the device or a library gave up)"}
LONGEST_QUOTE = 300
"""Letters of what a process said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """`by_hand`: somebody killed or stopped it, so no request is to blame. `of_memory`: there was too little. `doubtful`: one of both, and
    nobody can say which. `sudden`: of a signal, so that it said nothing of its own. `what` says how it ended, without a full stop."""

    what: str = ""
    by_hand: bool = False
    of_memory: bool = False
    doubtful: bool = False
    sudden: bool = False

    @property
    def hint(self) -> str:
        """What the client might change; empty where nothing is known."""
        if not self.of_memory:
            return ""
        return "There was too little memory: ask for less at a time, such as a shorter prompt, or give the engine less with --kv-cache."

    @property
    def advice(self) -> str:
        """What the client can do now."""
        return self.hint or "Send the request again."


def judge_exit(code: int, words: str, *, oom_kills: int | None, pressed: bool) -> Death:
    """Of a process that ended by itself with `code` (minus the number of a signal), and said `words`. `oom_kills` is how many processes
    the system has killed for want of memory since this one started, None where it does not count.

    The system's own killer uses SIGKILL, as people do. Where it does not count, memory that is short (`pressed`) speaks for it, and
    otherwise the death is doubtful. Metal aborts when memory is short, so an abort while this machine is `pressed` counts as that.
    """
    if code == -signal.SIGKILL:
        of_memory = pressed if oom_kills is None else oom_kills > 0
        return Death(by_hand=oom_kills == 0, of_memory=of_memory, doubtful=oom_kills is None and not pressed, sudden=True)
    of_memory = bool(_SHORT_OF_MEMORY.search(words)) or (code == -signal.SIGABRT and pressed)
    return Death(by_hand=code in _BY_HAND, of_memory=of_memory, sudden=code < 0)


def describe_exit(code: int) -> str:
    """`code` in words: "exited with code 3", "was ended by SIGKILL (…)"."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        number = signal.Signals(-code)
    except ValueError:
        return f"was ended by signal {-code}"
    return f"was ended by {number.name}{_HINTS.get(number, '')}"


def last_words(written: str) -> str:
    """What says why it ended, of the last that a process has `written` to its standard error; in one line."""
    return " ".join(found.group().strip() for found in _LAST_WORDS.finditer(written))[-LONGEST_QUOTE:].rstrip(".")


class OomCount:
    """Kills for want of memory, from when this was made."""

    def __init__(self, files: tuple[Path, ...] = _COUNTERS) -> None:
        self._files = files
        self._before = self._read()

    @property
    def kills(self) -> int | None:
        """So many processes were killed by the system; None where it does not count."""
        now = self._read()
        return None if now is None or self._before is None else now - self._before

    def _read(self) -> int | None:
        counts = [count for path in self._files if (count := _read_count(path)) is not None]
        return sum(counts) if counts else None


def _read_count(path: Path) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)

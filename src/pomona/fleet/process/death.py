"""What a process died of, as far as that can be told from here."""

import re
import signal
from dataclasses import dataclass
from pathlib import Path

_COUNTERS = (Path("/proc/vmstat"), Path("/sys/fs/cgroup/memory.events"))
_SHORT_OF_MEMORY = re.compile(r"out ?of ?memory|unable to allocate|cannot allocate|bad_alloc|cudaErrorMemoryAllocation", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """`by_hand`: somebody killed or stopped it, so no request is to blame. `of_memory`: there was too little. `sudden`: of a
    signal, so that it said nothing of its own."""

    by_hand: bool = False
    sudden: bool = False
    of_memory: bool = False


def judge_exit(code: int, words: str, *, oom_kills_before: int | None, pressed: bool) -> Death:
    """Of a process that ended by itself with `code` (minus the number of a signal), and said `words`.

    The system's own killer uses SIGKILL, too, but counts what it does. Where that cannot be read, SIGKILL may have been either. Metal
    aborts when memory is short, so an abort while this machine is `pressed` counts as that.
    """
    if code == -signal.SIGKILL:
        now = count_oom_kills()
        known = now is not None and oom_kills_before is not None
        return Death(by_hand=known and now == oom_kills_before, of_memory=known and now != oom_kills_before, sudden=True)
    by_hand = code in (-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, -signal.SIGQUIT)
    of_memory = bool(_SHORT_OF_MEMORY.search(words)) or (code == -signal.SIGABRT and pressed)
    return Death(by_hand=by_hand, of_memory=of_memory, sudden=code < 0)


def count_oom_kills() -> int | None:
    """Processes that the system has killed for want of memory since it started; None where it does not say."""
    counts = [count for path in _COUNTERS if (count := _read_count(path)) is not None]
    return sum(counts) if counts else None


def _read_count(path: Path) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)

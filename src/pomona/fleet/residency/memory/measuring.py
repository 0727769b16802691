"""What models really took, kept from one run to the next: plans are corrected by it."""

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import cast

import psutil

from pomona.core.status import EngineReport
from pomona.core.telemetry import get_logger
from pomona.fleet.residency.memory.planning import Measured

KEPT = 256
"""Models that are remembered."""
Measure = Callable[[EngineReport], int | None]
"""Bytes that an engine takes now, device memory at its largest included; None where that cannot be said."""

log = get_logger(__name__)


def measure_engine(report: EngineReport) -> int | None:
    """Memory that is the engine process's own. On a GPU its peak of device memory is added; elsewhere that is main memory anyway."""
    if report.pid is None or report.facts is None:
        return None
    try:
        info = psutil.Process(report.pid).memory_info()
    except psutil.Error:
        return None
    own = info.rss - int(getattr(info, "shared", 0)) if sys.platform == "linux" else info.rss
    return own + (0 if report.facts.device.startswith("cpu") else report.counters.device_peak_bytes)


class MeasureBook:
    """A small JSON file. One that cannot be read or written is done without."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries = _read(path)

    def get(self, key: str) -> Measured | None:
        """What is known of a model."""
        return self._entries.get(key)

    def put(self, key: str, measured: Measured) -> None:
        """Remember; written at once, in one step."""
        if self._entries.get(key) == measured:
            return
        self._entries.pop(key, None)
        self._entries[key] = measured
        while len(self._entries) > KEPT:
            del self._entries[next(iter(self._entries))]
        self._write()

    def _write(self) -> None:
        half = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            half.write_text(json.dumps({key: asdict(each) for key, each in self._entries.items()}, indent=1) + "\n", encoding="utf-8")
            half.replace(self._path)
        except OSError as error:
            with suppress(OSError):
                half.unlink(missing_ok=True)
            log.warning("measurements_not_kept", path=str(self._path), problem=str(error))


def _read(path: Path) -> dict[str, Measured]:
    try:
        content: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    found: dict[str, Measured] = {}
    for key, value in cast("dict[str, object]", content).items() if isinstance(content, dict) else ():
        numbers = cast("dict[str, object]", value) if isinstance(value, dict) else dict[str, object]()
        resting, working = numbers.get("resting"), numbers.get("working")
        if isinstance(resting, int) and isinstance(working, int) and resting > 0 and working >= 0:
            found[key] = Measured(resting=resting, working=working)
    return found

"""Python's start-up hook of a server under test: its wall clock stands as far from the real one as a file says, now."""

import mmap
import os
import struct
import time
from pathlib import Path

_wall, _wall_ns = time.time, time.time_ns
_path = os.environ.get("CHAOS_CLOCK")
if _path:
    with Path(_path).open("rb") as _file:
        _distance = mmap.mmap(_file.fileno(), 8, access=mmap.ACCESS_READ)

    def _seconds() -> float:
        return struct.unpack("d", _distance[:8])[0]

    time.time = lambda: _wall() + _seconds()
    time.time_ns = lambda: _wall_ns() + int(_seconds() * 1e9)

"""Turns between processes, as Hugging Face's library takes them: a lock on an open file."""

import asyncio
import errno
import fcntl
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

LOOK_SECONDS = 0.2


@asynccontextmanager
async def locked(path: Path, on_wait: Callable[[], None] = lambda: None) -> AsyncGenerator[None]:
    """Hold the lock `path`. `on_wait` is called now and then while another has it. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while (descriptor := _try_lock(path)) is None:
        on_wait()
        await asyncio.sleep(LOOK_SECONDS)
    try:
        yield
    finally:
        os.close(descriptor)


def _try_lock(path: Path) -> int | None:
    """An open, locked descriptor, or None while another has it. A lock file that was removed meanwhile is no lock."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in {errno.EAGAIN, errno.EACCES}:
            return None
        raise
    if os.fstat(descriptor).st_nlink:
        return descriptor
    os.close(descriptor)
    return None

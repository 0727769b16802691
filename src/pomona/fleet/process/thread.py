"""An engine in a thread of this process, in place of a child: for programs that want one model and no second process."""

import asyncio
import contextlib
import gc
import os
import threading

from pomona.core.telemetry import get_logger
from pomona.engine.process.host import serve_engine
from pomona.engine.process.model import load_engine
from pomona.engine.protocol import Launch

log = get_logger(__name__)


class ThreadChild:
    """As `fleet.process.child.Child`, but it cannot be killed: an engine that hangs keeps its thread until the program ends."""

    def __init__(self, launch: Launch) -> None:
        """Start the engine of `launch`."""
        self._loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int] = self._loop.create_future()
        """The exit code that a process would have."""
        self.written = ""
        """What it writes is ours, and not kept."""
        self.lost = False
        """It hangs: nothing can end it but the end of the program."""
        self._thread = threading.Thread(target=self._serve, args=(launch,), name=f"engine {launch.model}", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """Process id: our own."""
        return os.getpid()

    def kill(self) -> None:
        """Nothing can be done; it is said."""
        self.lost = True
        log.error("engine_thread_hangs", thread=self._thread.name)

    async def stop(self, patience_seconds: float) -> None:
        """See it end, which it does after its step, or once its model is loaded: however long that takes, unless it was given up."""
        del patience_seconds
        if self.lost:
            return
        await asyncio.wait([self.exited])
        self._thread.join()

    def _serve(self, launch: Launch) -> None:
        code = 1
        try:
            code = serve_engine(load_engine, launch, lambda: None)
        finally:
            gc.collect()  # the weights go with the last cycle that holds them
            with contextlib.suppress(RuntimeError):  # the loop is gone
                self._loop.call_soon_threadsafe(self._note_exit, code)

    def _note_exit(self, code: int) -> None:
        if not self.exited.done():
            self.exited.set_result(code)

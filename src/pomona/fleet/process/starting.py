"""Where engine processes come from: started when they are needed, or before that, so that a load does not wait for imports."""

from collections.abc import Callable, Sequence

from pomona.core.telemetry import get_logger
from pomona.engine.protocol import Launch, Prepare
from pomona.fleet.process.child import Child
from pomona.fleet.process.thread import ThreadChild

Start = Callable[[Launch], Child | ThreadChild]
"""Raises OSError."""
log = get_logger(__name__)


class Starter:
    """Starts engines by `command`, or without one as threads. With `spares` it can keep one process that holds no model yet."""

    def __init__(self, command: Sequence[str] | None, order: Prepare, *, spares: bool = False) -> None:
        self._command = command
        self._order = order
        self._spares = spares
        self._spare: Child | None = None
        self._going: Child | None = None

    def start(self, launch: Launch) -> Child | ThreadChild:
        """The engine of `launch`: in the spare process if there is one, in a new one, or in a thread. Raises OSError."""
        if self._command is None:
            return ThreadChild(launch)
        child = self._spare if self.has_spare else None
        self._spare = None
        child = child or self._prepared(self._command)
        child.tell(launch.model_dump_json().encode())
        return child

    @property
    def has_spare(self) -> bool:
        """A process waits for its launch."""
        return self._spare is not None and not self._spare.exited.done()

    def keep_spare(self) -> None:
        """Have a process in spare from now on, until it is used or dropped. Nothing happens where that is not wanted or not possible."""
        if self._command is None or not self._spares or self.has_spare:
            return
        try:
            self._spare = self._prepared(self._command)
        except OSError as error:
            log.warning("no_spare_process", problem=str(error))

    def drop_spare(self) -> None:
        """End the spare process, if there is one."""
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.kill()
            self._going = spare

    async def close(self) -> None:
        """See the spare process end."""
        self.drop_spare()
        if self._going is not None:
            await self._going.stop(0)

    def _prepared(self, command: Sequence[str]) -> Child:
        child = Child(command)
        child.tell(self._order.model_dump_json().encode())
        return child

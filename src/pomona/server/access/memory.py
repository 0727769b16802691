"""How the machine's memory is, told in the headers of every answer, so that clients can slow down before they are refused."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pomona.core.ports import ResidencyStatus

STATUS_HEADER, AVAILABLE_HEADER = "x-memory-status", "x-available-memory-gb"
_GB = 2**30


class MemoryHeaders:
    """ASGI middleware: adds the guard's level and the free memory, in GB of 2**30, to every response."""

    def __init__(self, app: ASGIApp, residents: ResidencyStatus) -> None:
        self._app = app
        self._residents = residents

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, and tell of memory."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_memory(message: Message) -> None:
            if message["type"] == "http.response.start":
                report = self._residents.memory()
                headers = MutableHeaders(scope=message)
                headers[STATUS_HEADER], headers[AVAILABLE_HEADER] = report.guard, f"{report.free / _GB:.2f}"
            await send(message)

        await self._app(scope, receive, send_with_memory)

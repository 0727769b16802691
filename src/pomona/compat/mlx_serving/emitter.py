"""Listeners by the names of events."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, Self, get_args

from pomona.compat.mlx_serving.errors import EngineClientError
from pomona.core.events import EventName

NAMES: tuple[str, ...] = get_args(EventName)
Listener = Callable[[dict[str, Any]], Any]


class Emitter:
    """Calls listeners with payloads, each at the loop's next turn, in order. What a listener raises goes to the loop's handler."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[tuple[Listener, bool]]] = {}
        self._tasks: set[asyncio.Future[Any]] = set()

    def on(self, name: str, listener: Listener) -> Self:
        """Call `listener`, a function or a coroutine function, with each event of that name."""
        return self._add(name, listener, once=False)

    def once(self, name: str, listener: Listener) -> Self:
        """Call `listener` with the next event of that name only."""
        return self._add(name, listener, once=True)

    def off(self, name: str, listener: Listener) -> Self:
        """Call `listener` no longer."""
        self._listeners[name] = [each for each in self._listeners.get(name, []) if each[0] != listener]
        return self

    def hears(self, name: str) -> bool:
        """Somebody listens."""
        return bool(self._listeners.get(name))

    def emit(self, name: str, payload: dict[str, Any]) -> None:
        """Tell all listeners."""
        listeners = self._listeners.get(name, [])
        self._listeners[name] = [each for each in listeners if not each[1]]
        for listener, _ in listeners:
            asyncio.get_running_loop().call_soon(self._call, listener, payload)

    def _add(self, name: str, listener: Listener, *, once: bool) -> Self:
        if name not in NAMES:
            raise EngineClientError("InvalidParams", f"There is no event {name!r}. There are: {', '.join(NAMES)}.")
        self._listeners.setdefault(name, []).append((listener, once))
        return self

    def _call(self, listener: Listener, payload: dict[str, Any]) -> None:
        result = listener(payload)
        if inspect.iscoroutine(result):
            task = asyncio.ensure_future(result)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

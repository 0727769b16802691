"""What an engine made for one stream and its reader has not taken yet."""

import asyncio
from collections.abc import Callable

from pomona.core.errors import PomonaError, error_of
from pomona.core.generation import TokenStep
from pomona.engine.protocol import Row


class Mailbox:
    """Belongs to one event loop. `pause` is called when more than `high_water` tokens are unread, `resume` once they are taken.
    `moved` is called with everything that is worth reading, and told whether it was the last.
    """

    def __init__(
        self, high_water: int, pause: Callable[[], None], resume: Callable[[], None], moved: Callable[[bool], None] = lambda _: None
    ) -> None:
        self._high_water = high_water
        self._pause = pause
        self._resume = resume
        self._moved = moved
        self._rows: list[Row] = []
        self._unread = 0
        self._paused = False
        self._error: PomonaError | None = None
        self._reader: asyncio.Future[None] | None = None
        self.finished = False
        """The last row has come: nothing is left to cancel."""

    def put(self, row: Row) -> None:
        """Deliver one step's row."""
        self._rows.append(row)
        self._unread += len(row.token_ids)
        self.finished = row.finish_reason is not None
        if row.token_ids or self.finished:
            self._moved(self.finished)
        if self._unread > self._high_water and not self._paused and not self.finished:
            self._paused = True
            self._pause()
        self._wake()

    def fail(self, error: PomonaError) -> None:
        """The reader gets `error` once it has read what came before. After the last row this is of no interest."""
        if not self.finished:
            self._error = error
            self.finished = True
            self._wake()

    async def take(self) -> TokenStep:
        """Everything unread as one step; waits while there is nothing. Raises what `fail` was given."""
        while not self._rows:
            if self._error is not None:
                raise error_of(self._error.code, self._error.message)  # each reader raises one of its own
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        rows, self._rows, self._unread = self._rows, [], 0
        if self._paused:
            self._paused = False
            if not self.finished:
                self._resume()
        return _merge(rows)

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


def _merge(rows: list[Row]) -> TokenStep:
    if len(rows) == 1:
        row = rows[0]
        token_ids, logprobs = tuple(row.token_ids), row.token_logprobs() if row.logprobs else ()
    else:
        token_ids = tuple(token_id for row in rows for token_id in row.token_ids)
        logprobs = tuple(each for row in rows for each in row.token_logprobs())
    return TokenStep(
        token_ids=token_ids,
        logprobs=logprobs,
        finish_reason=rows[-1].finish_reason,
        cached_tokens=max(row.cached_tokens for row in rows),
        prompt_logprobs=tuple(each for row in rows if row.prompt_logprobs for each in row.prompt_token_logprobs()),
        drafted_tokens=sum(row.drafted_tokens for row in rows),
        accepted_tokens=sum(row.accepted_tokens for row in rows),
        times=next((row.times for row in reversed(rows) if row.times), None),
    )

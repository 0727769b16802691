"""One answer while it streams: its text, its times, and Ctrl-C that stops it."""

import asyncio
import signal
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass

from pomona.core.generation import (
    Finished,
    FinishReason,
    GenerateEvent,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
    Usage,
)

Show = Callable[[str], None]
SHORTEST_SECONDS = 0.01


@dataclass(slots=True, kw_only=True)
class Answer:
    """What came, and when: seconds from the request to the first text and to the end."""

    text: str = ""
    reason: FinishReason = "cancelled"
    stop_sequence: str | None = None
    usage: Usage | None = None
    first_seconds: float | None = None
    total_seconds: float = 0.0

    @property
    def tokens_per_second(self) -> float | None:
        """Speed of decoding, without the time to the first text; None where the rest came too quickly to tell."""
        if self.usage is None or self.first_seconds is None or self.total_seconds - self.first_seconds < SHORTEST_SECONDS:
            return None
        return (self.usage.completion_tokens - 1) / (self.total_seconds - self.first_seconds)


async def follow(events: AsyncGenerator[GenerateEvent], show: Show, answer: Answer, aside: Show | None = None) -> None:
    """Read `events` to the end into `answer`; `show` gets each piece of text, `aside` of thoughts and calls. Raises what `events` raise."""
    start = time.perf_counter()
    beginning_of_line = True
    async with aclosing(events):
        async for event in events:
            match event:
                case TextDelta() if event.text:
                    if aside is not None and not beginning_of_line:
                        aside("\n\n")
                        beginning_of_line = True
                    answer.text += event.text
                    show(event.text)
                case Finished():
                    answer.reason, answer.stop_sequence, answer.usage = event.reason, event.stop_sequence, event.usage
                case _:
                    if aside is not None and (words := beside(event)):
                        aside(words)
                        beginning_of_line = words.endswith("\n")
            answer.total_seconds = time.perf_counter() - start
            if answer.first_seconds is None and (answer.text or beside(event)):
                answer.first_seconds = answer.total_seconds


def beside(event: GenerateEvent) -> str:
    """What is to be seen of thoughts and calls."""
    match event:
        case ReasoningDelta():
            return event.text
        case ToolCallStarted():
            return f"\n{event.name}("
        case ToolCallDelta():
            return event.arguments
        case ToolCallFinished():
            return ")\n"
        case _:
            return ""


async def follow_until_interrupt(events: AsyncGenerator[GenerateEvent], show: Show, aside: Show | None = None) -> Answer:
    """As `follow`; Ctrl-C ends the answer, which then keeps the reason "cancelled", and not the program."""
    answer = Answer()
    task = asyncio.ensure_future(follow(events, show, answer, aside))
    with _interrupting(task):
        await asyncio.wait([task])
    if not task.cancelled():
        task.result()
    return answer


@contextmanager
def _interrupting(task: "asyncio.Future[None]") -> Generator[None]:
    loop, before = asyncio.get_running_loop(), signal.getsignal(signal.SIGINT)
    loop.add_signal_handler(signal.SIGINT, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)  # asyncio would put Python's own handler there, not the one of `asyncio.run`

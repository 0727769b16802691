"""What only a terminal has: an editor with keys, and Ctrl-C."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from pomona.cli.chat.reading import TerminalReader
from pomona.cli.streaming import Answer, follow, follow_until_interrupt
from pomona.core.errors import EngineFailed
from pomona.core.generation import GenerateRequest
from tests.doubles import ScriptedGenerator, answer

REQUEST = GenerateRequest(id="r", model="m", text="Hi")
ALT_ENTER, CTRL_C, CTRL_D = "\x1b\r", "\x03", "\x04"


async def typed(keys: str, history: Path, *, messages: int = 1) -> list[str | None]:
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        reader = TerminalReader(history, ["/help", "/exit"], color=True)
        pipe.send_text(keys)
        return [await reader.read() for _ in range(messages)]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("Hello\r", "Hello"),
        (f"one{ALT_ENTER}two\r", "one\ntwo"),
        ("one\\\rtwo\r", "one\ntwo"),
        (CTRL_D, None),
    ],
)
async def test_keys_make_a_message(keys: str, message: str | None, tmp_path: Path) -> None:
    assert await typed(keys, tmp_path / "history") == [message]


async def test_ctrl_c_at_the_prompt_is_told_to_the_caller(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        await typed(f"half{CTRL_C}", tmp_path / "history")


async def test_history_outlives_the_chat(tmp_path: Path) -> None:
    up = "\x1b[A"

    assert await typed("remember me\r", tmp_path / "folder" / "history") == ["remember me"]
    assert await typed(f"{up}\r", tmp_path / "folder" / "history") == ["remember me"]


async def test_a_history_that_cannot_be_kept_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert await typed("Hello\r", tmp_path / "file" / "history") == ["Hello"]


async def test_ctrl_c_stops_the_answer_and_not_the_program() -> None:
    generator = ScriptedGenerator(script=[*answer("one", " two")[:2], asyncio.Event()])

    stopped = await follow_until_interrupt(generator.generate(REQUEST), lambda text: os.kill(os.getpid(), signal.SIGINT))

    assert (stopped.text, stopped.reason, stopped.usage) == ("one", "cancelled", None)
    assert generator.closed_early == ["r"]


async def test_ctrl_c_afterwards_is_ours_again() -> None:
    before = signal.getsignal(signal.SIGINT)

    await follow_until_interrupt(ScriptedGenerator(script=answer("one")).generate(REQUEST), lambda text: None)

    assert signal.getsignal(signal.SIGINT) is before


async def test_an_answer_is_timed_and_counted() -> None:
    shown: list[str] = []
    whole = Answer()

    await follow(ScriptedGenerator(script=answer("one", " two", reason="length")).generate(REQUEST), shown.append, whole)

    assert (whole.text, shown, whole.reason) == ("one two", ["one", " two"], "length")
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 2
    assert whole.first_seconds is not None
    assert 0 <= whole.first_seconds <= whole.total_seconds


async def test_a_failure_is_raised_after_the_text() -> None:
    whole, script = Answer(), [*answer("one")[:2], EngineFailed("gone")]

    with pytest.raises(EngineFailed):
        await follow(ScriptedGenerator(script=script).generate(REQUEST), lambda text: None, whole)

    assert (whole.text, whole.reason) == ("one", "cancelled")


def test_speed_needs_time_to_tell() -> None:
    from pomona.core.generation import Usage

    usage = Usage(prompt_tokens=1, completion_tokens=11)

    assert Answer(usage=usage, first_seconds=1.0, total_seconds=1.001).tokens_per_second is None
    assert Answer(usage=usage, first_seconds=1.0, total_seconds=3.0).tokens_per_second == pytest.approx(5.0)

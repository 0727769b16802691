"""A server that is told to end while it answers many at once: nobody's connection is simply cut."""

import asyncio
import signal
from collections import Counter

import pytest

from tests.chaos.house import PATIENCE_SECONDS, housed
from tests.chaos.plan import MAIN, WIRES, Question
from tests.chaos.sockets import Client, Exchange
from tests.chaos.wires import PATHS, Answer, body_of, read_answer

ASKERS, TOKENS = 24, 100
QUESTIONS = tuple(Question(wire=wire, model=MAIN, prompt=1, max_tokens=TOKENS, seed=seed) for wire in WIRES for seed in (None, 7))


@pytest.mark.parametrize(("grace_seconds", "allowed"), [(PATIENCE_SECONDS, {"exact", "refused"}), (0, {"exact", "refused", "told"})])
async def test_everybody_gets_all_or_is_told_why_not(grace_seconds: float, allowed: set[str]) -> None:
    with housed({"server.shutdown_grace_seconds": grace_seconds, "residency.spare_process": "false"}) as house:
        client, outcomes = Client(house.url), Counter[str]()
        answers = {
            question: read_answer(question.wire, bytes((await _ask(client, question, streamed=False)).body), streamed=False)
            for question in QUESTIONS
        }
        begun = asyncio.Event()

        async def ask(number: int) -> None:
            await asyncio.sleep(number * 0.01)
            question = QUESTIONS[number % len(QUESTIONS)]
            exchange = await _ask(client, question, streamed=number % 3 > 0)
            begun.set()
            outcomes[_outcome(question, exchange, answers[question], streamed=number % 3 > 0)] += 1

        async with asyncio.TaskGroup() as group:
            for number in range(ASKERS):
                group.create_task(ask(number))
            await begun.wait()
            group.create_task(asyncio.to_thread(house.process.send_signal, signal.SIGTERM))
        assert set(outcomes) <= allowed, outcomes
        assert await asyncio.to_thread(house.process.wait, PATIENCE_SECONDS) == 0
        assert house.complaints() == []


async def _ask(client: Client, question: Question, *, streamed: bool) -> Exchange:
    return await client.post(PATHS[question.wire], body_of(question, streamed=streamed))


def _outcome(question: Question, exchange: Exchange, expected: Answer, *, streamed: bool) -> str:
    if exchange.status == 0:
        return "refused"  # the listening socket is closed: it came after the end
    if exchange.ended != "complete":
        return f"cut: {exchange}"
    text = exchange.body.decode()
    if exchange.status in {503, 529}:
        assert exchange.headers["connection"] == "close"
        return "refused" if "takes no new requests" in text else "told" if "shutting down" in text else text
    answer = read_answer(question.wire, bytes(exchange.body), streamed=streamed)
    if answer.error is not None:
        return "told" if "shutting down" in answer.error and expected.text.startswith(answer.text) else answer.error
    return "exact" if answer.same(expected) and answer.complete else f"{answer} instead of {expected}"

"""Many clients at one server with the bundled model."""

import asyncio
from collections.abc import Generator

import pytest
from openai import AsyncOpenAI

from tests.e2e.servers import MODEL, Server, serving, wait_until

QUESTIONS = (
    "Hello!",
    "What is the capital of France?",
    "Write a short poem about apples.",
    "Tell me a story about a dog that could fly. " * 12,
    "Count from one to twenty.",
    "Why is the sky blue? Answer in one sentence.",
    "List three fruits.\n\n" + "Apples, pears and plums grow on trees. " * 20,
    "¿Qué hora es? 今何時ですか？",
)
LENGTHS = (1, 2, 3, 5, 8, 13, 21, 34)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    with serving(tmp_path_factory.mktemp("server")) as each:
        yield each


async def stream(client: AsyncOpenAI, question: str, max_tokens: int) -> tuple[str, int, str | None]:
    """Text, tokens and reason of the end."""
    text, tokens, reason = "", 0, None
    chunks = await client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": question}],
        max_tokens=max_tokens,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    async for chunk in chunks:
        tokens = chunk.usage.completion_tokens if chunk.usage else tokens
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
    return text, tokens, reason


async def test_64_streams_of_mixed_lengths_equal_their_runs_alone(server: Server) -> None:
    async with server.client() as client:
        alone = {question: await stream(client, question, LENGTHS[-1]) for question in QUESTIONS}
        pairs = [(question, length) for length in LENGTHS for question in QUESTIONS]
        together = await asyncio.gather(*(stream(client, *pair) for pair in pairs))
    for (question, length), (text, tokens, reason) in zip(pairs, together, strict=True):
        whole, whole_tokens, whole_reason = alone[question]
        if length >= whole_tokens:
            assert (text, tokens, reason) == (whole, whole_tokens, whole_reason if length == LENGTHS[-1] else reason)
        else:  # greedy: a shorter answer is the beginning of a longer one
            assert whole.startswith(text.rstrip("\ufffd"))  # half a character at the end
            assert (tokens, reason) == (length, "length")
    wait_until(lambda: server.metric("pomona_engine_kv_pages_used") == 0)


async def test_a_stream_says_what_the_whole_answer_says(server: Server) -> None:
    async with server.client() as client:
        for question in QUESTIONS[:3]:
            text, tokens, reason = await stream(client, question, 24)
            whole = await client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": question}], max_tokens=24, temperature=0
            )
            assert whole.usage is not None
            assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == (text, reason)
            assert whole.usage.completion_tokens == tokens


async def test_abandoned_streams_free_their_pages(server: Server) -> None:
    async def abandon(client: AsyncOpenAI, number: int) -> None:
        chunks = await client.completions.create(model=MODEL, prompt=f"Once, {number} times, ", max_tokens=3000, stream=True)
        await anext(chunks)
        held.append(server.metric("pomona_engine_kv_pages_used"))
        await chunks.close()

    held: list[float] = []
    async with server.client() as client:
        await asyncio.gather(*(abandon(client, number) for number in range(8)))
    assert max(held) > 0
    wait_until(lambda: server.metric("pomona_engine_kv_pages_used") == 0)
    assert (server.metric("pomona_engine_running_rows"), server.metric("pomona_engine_waiting_requests")) == (0, 0)

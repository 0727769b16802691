"""What is said about a prompt that the cache did not hold, against what its session sent before."""

from array import array
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomona.core.generation import CacheReport, GenerateRequest
from pomona.core.messages import Message, Role, TextPart, ToolDefinition
from pomona.fleet.diagnosis import PROMPTS_PER_SESSION, PromptMemory, common_prefix

LONG = 1000
IDS = tuple(range(LONG))


def message(role: Role, text: str) -> Message:
    return Message(role=role, content=(TextPart(text=text),))


FIRST = GenerateRequest(
    id="a",
    model="m",
    session="s",
    tools=(ToolDefinition(name="look"),),
    messages=(message("system", "Be brief."), message("user", "Hello")),
)
LONGER = replace(FIRST, messages=(*(FIRST.messages or ()), message("assistant", "Hi"), message("user", "More")))


def report(memory: PromptMemory, request: GenerateRequest, ids: tuple[int, ...], cached: int) -> CacheReport | None:
    comparison = memory.compare(request, ids)
    return None if comparison is None else comparison.report(cached)


@pytest.fixture
def memory() -> PromptMemory:
    """A memory that knows the first request."""
    memory = PromptMemory()
    memory.compare(FIRST, IDS)
    return memory


def test_requests_without_a_session_are_not_remembered() -> None:
    memory = PromptMemory()

    assert memory.compare(replace(FIRST, session=""), IDS) is None
    assert report(memory, FIRST, IDS, 0) == CacheReport(reason="first_request")


def test_a_conversation_that_goes_on_and_is_found_is_no_miss(memory: PromptMemory) -> None:
    assert report(memory, LONGER, (*IDS, 1, 2, 3), LONG - 8) == CacheReport(reason="none", shared_tokens=LONG)


def test_a_conversation_that_goes_on_and_is_not_found_was_evicted(memory: PromptMemory) -> None:
    assert report(memory, LONGER, (*IDS, 1), 320) == CacheReport(reason="evicted", shared_tokens=LONG, missed_tokens=LONG - 320)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (replace(LONGER, model="other"), "model_changed"),
        (replace(LONGER, tools=()), "tools_changed"),
        (replace(LONGER, messages=(message("system", "Be long."), message("user", "Hello"))), "system_changed"),
        (replace(LONGER, messages=(message("system", "Be brief."), message("user", "Good day"))), "messages_changed"),
    ],
)
def test_what_changed_is_named_with_what_it_cost(memory: PromptMemory, changed: GenerateRequest, reason: str) -> None:
    ids = (*IDS[:100], *(-1 for _ in range(LONG)))

    found = report(memory, changed, ids, 96)

    assert found is not None
    assert (found.reason, found.shared_tokens, found.missed_tokens) == (reason, 100, LONG - 96)


def test_a_side_request_does_not_hide_the_conversation(memory: PromptMemory) -> None:
    side = replace(FIRST, tools=(), messages=(message("user", "Write a title."),))
    memory.compare(side, (7, 7, 7))

    assert report(memory, LONGER, (*IDS, 1), LONG - 8) == CacheReport(reason="none", shared_tokens=LONG)


def test_another_caller_has_a_memory_of_its_own(memory: PromptMemory) -> None:
    assert report(memory, replace(LONGER, caller="key-2"), IDS, 0) == CacheReport(reason="first_request")


def test_old_prompts_and_old_sessions_are_forgotten() -> None:
    memory = PromptMemory(memory_bytes=3 * LONG * 4)
    memory.compare(replace(FIRST, session="old"), IDS)
    for number in range(PROMPTS_PER_SESSION + 1):
        memory.compare(FIRST, (number, *IDS))

    assert report(memory, replace(FIRST, session="old"), IDS, 0) == CacheReport(reason="first_request")


@given(st.lists(st.integers(0, 2), max_size=3000), st.lists(st.integers(0, 2), max_size=3000), st.integers(0, 3000))
def test_common_prefix_is_what_a_plain_loop_finds(left: list[int], tail: list[int], cut: int) -> None:
    right = [*left[:cut], *tail]
    expected = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))

    assert common_prefix(array("i", left), array("i", right)) == expected

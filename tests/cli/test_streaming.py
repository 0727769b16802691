"""What a terminal shows of an answer: its text, and beside it thoughts and calls."""

from pomona.cli.streaming import Answer, follow
from pomona.core.generation import (
    Finished,
    GenerateRequest,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
    Usage,
)
from tests.doubles import Script, ScriptedGenerator

REQUEST = GenerateRequest(id="r", model="m", text="x")
SCRIPT: Script = [
    Started(prompt_tokens=1),
    ReasoningDelta(text="Hm,"),
    ReasoningDelta(text=" well."),
    TextDelta(text="Let me"),
    TextDelta(text=" look."),
    ToolCallStarted(index=0, id="1", name="look"),
    ToolCallDelta(index=0, arguments='{"a":'),
    ToolCallDelta(index=0, arguments="1}"),
    ToolCallFinished(index=0),
    Finished(reason="tool_calls", usage=Usage(prompt_tokens=1, completion_tokens=9)),
]


async def test_thoughts_and_calls_are_shown_beside_the_text() -> None:
    shown: list[tuple[str, str]] = []
    found = Answer()
    await follow(
        ScriptedGenerator(script=SCRIPT).generate(REQUEST),
        lambda text: shown.append(("text", text)),
        found,
        lambda text: shown.append(("aside", text)),
    )
    assert shown == [
        ("aside", "Hm,"),
        ("aside", " well."),
        ("aside", "\n\n"),
        ("text", "Let me"),
        ("text", " look."),
        ("aside", "\nlook("),
        ("aside", '{"a":'),
        ("aside", "1}"),
        ("aside", ")\n"),
    ]
    assert (found.text, found.reason) == ("Let me look.", "tool_calls")
    assert found.first_seconds is not None


async def test_without_a_place_for_them_thoughts_and_calls_are_left_out() -> None:
    shown: list[str] = []
    found = Answer()
    await follow(ScriptedGenerator(script=SCRIPT).generate(REQUEST), shown.append, found)
    assert shown == ["Let me", " look."]

"""What becomes of messages and blocks on their way to the model."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from pomona.core.messages import Message, ToolCall
from tests.api.anthropic.clients import http_of, refusal, said, turns_of, understood
from tests.api.gateway import MODEL, Gateway

PNG = {"type": "base64", "media_type": "image/png", "data": "A" * 4096}


def user(*blocks: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def use(call_id: str, name: str = "Read", **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def result(call_id: str, content: Any = "done", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, "content": content, **more}


HI = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    ("system", "shown"),
    [
        ("Be brief.", "Be brief."),
        (
            [text("Be brief."), text("Be kind.\n"), {**text("Be."), "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
            "Be brief.\nBe kind.\nBe.",
        ),
        ([], None),
        ("", None),
        (None, None),
    ],
)
def test_the_system_prompt_comes_first(gateway: Gateway, system: Any, shown: str | None) -> None:
    expected = [("user", "Hi")] if shown is None else [("system", shown), ("user", "Hi")]
    assert said(gateway, [HI], system=system) == expected


def test_system_messages_stay_where_they_are(gateway: Gateway) -> None:
    turns = [
        HI,
        {"role": "system", "content": "Plan only."},
        {"role": "assistant", "content": "Yes."},
        HI,
        {"role": "system", "content": [text("Now act.")]},
    ]
    assert said(gateway, turns, system="Be brief.") == [
        ("system", "Be brief."),
        ("user", "Hi"),
        ("system", "Plan only."),
        ("assistant", "Yes."),
        ("user", "Hi"),
        ("system", "Now act."),
    ]


def test_system_messages_for_one_turn_leave_with_it(gateway: Gateway) -> None:
    note = {"role": "system", "content": "Today only.", "clear_at": "next_user_message"}
    assert ("system", "Today only.") in said(gateway, [HI, note])
    assert ("system", "Today only.") not in said(gateway, [HI, note, {"role": "assistant", "content": "Yes."}, HI])


def test_turns_of_one_role_become_one(gateway: Gateway) -> None:
    turns = [HI, user(text("and"), text(" more")), {"role": "assistant", "content": "A"}, assistant(text("B"), text("C")), HI]
    assert said(gateway, turns) == [("user", "Hi\nand more"), ("assistant", "ABC"), ("user", "Hi")]


def test_a_last_assistant_message_is_gone_on_with(gateway: Gateway) -> None:
    request = understood(gateway, messages=[HI, {"role": "assistant", "content": "The answer is ("}])
    assert request.continue_last_message
    assert not understood(gateway, messages=[HI]).continue_last_message
    assert not understood(gateway, messages=[HI, {"role": "assistant", "content": ""}]).continue_last_message


def test_calls_results_and_thoughts(gateway: Gateway) -> None:
    turns = [
        HI,
        assistant({"type": "thinking", "thinking": "Hm.", "signature": "EqoBCkgI"}, text("I look."), use("a", path="x"), use("b", "Stop")),
        user(result("a", [text("one"), text("two")]), result("b", "it broke", is_error=True), text("Go on.")),
    ]
    messages = turns_of(understood(gateway, messages=turns))
    assert messages[1].reasoning == "Hm."
    assert messages[1].text == "I look."
    assert messages[1].tool_calls == (
        ToolCall(id="a", name="Read", arguments='{"path":"x"}'),
        ToolCall(id="b", name="Stop", arguments="{}"),
    )
    assert [tell(each) for each in messages[2:]] == [
        ("tool", "a", "Read", "one\ntwo"),
        ("tool", "b", "Stop", "Error: it broke"),
        ("user", None, None, "Go on."),
    ]


def tell(message: Message) -> tuple[str, str | None, str | None, str]:
    return message.role, message.tool_call_id, message.name, message.text


def test_results_come_before_what_is_said_with_them(gateway: Gateway) -> None:
    turns = [HI, assistant(use("a")), user(text("Look:"), result("a"))]
    assert said(gateway, turns)[2:] == [("tool", "done"), ("user", "Look:")]


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (None, ""),
        ([], ""),
        ([{"type": "image", "source": PNG}], "[image/png picture of 3 KiB: this model cannot see pictures]"),
        ([{"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}], "[picture: this model cannot see pictures]"),
        ([{"type": "document", "source": {"type": "text", "data": "Words."}, "title": "A", "context": "B"}], "A\nB\nWords."),
        ([{"type": "search_result", "title": "A", "source": "s", "content": [text("Words.")]}], "A\ns\nWords."),
        ([{"type": "tool_reference", "tool_name": "Fly"}], "The tool Fly can be used now."),
        ([{"type": "browser_state", "tabs": [{"tab_id": "1", "title": "A", "url": "u", "active": True}]}], "1\nA\nu\ntrue"),
        ([{"type": "from_the_future", "text": "Words."}, {"type": "other", "data": [1]}], "Words."),
    ],
)
def test_what_a_tool_may_return(gateway: Gateway, content: Any, shown: str) -> None:
    assert said(gateway, [HI, assistant(use("a")), user(result("a", content))])[-1] == ("tool", shown)


def test_a_pdf_that_a_tool_returned_is_mentioned(gateway: Gateway) -> None:
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}
    assert (
        said(gateway, [HI, assistant(use("a")), user(result("a", [pdf]))])[-1][1]
        == "[PDF document of 1 KiB: this model cannot see pictures]"
    )


def test_a_result_without_its_call_is_still_told(gateway: Gateway) -> None:
    assert said(gateway, [user(result("gone", "42"))]) == [("user", "The result of an earlier call:\n42")]


@pytest.mark.parametrize(
    ("block", "shown"),
    [
        ({"type": "document", "source": {"type": "text", "data": "Words.", "media_type": "text/plain"}}, "Words."),
        ({"type": "document", "source": {"type": "content", "content": "Words."}, "title": None}, "Words."),
        ({"type": "document", "source": {"type": "content", "content": [text("One."), text("Two.")]}}, "One.\nTwo."),
        (
            {"type": "search_result", "title": "A", "source": "s", "content": [text("Words.")], "citations": {"enabled": True}},
            "A\ns\nWords.",
        ),
        ({"type": "compaction", "content": "We spoke.", "signature": "x"}, "We spoke."),
        ({"type": "container_upload", "file_id": "file_1"}, ""),
        ({"type": "mcp_tool_listing", "mcp_server_name": "m", "tools": []}, ""),
        ({"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}}, ""),
        ({"type": "from_the_future", "deep": {"er": [None]}}, ""),
    ],
)
def test_other_blocks_are_read_or_left_out(gateway: Gateway, block: Mapping[str, Any], shown: str) -> None:
    expected = f"{shown}\nHi" if shown else "Hi"
    assert said(gateway, [user(block, text("Hi"))]) == [("user", expected)]


def test_blocks_of_earlier_answers_that_say_nothing_here(gateway: Gateway) -> None:
    blocks = (
        {"type": "redacted_thinking", "data": "x"},
        {"type": "thinking", "thinking": "", "signature": "pomona2.damaged"},
        text("Yes."),
    )
    messages = turns_of(understood(gateway, messages=[HI, assistant(*blocks), HI]))
    assert (messages[1].text, messages[1].reasoning) == ("Yes.", "")


HOSTED: Sequence[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
        {
            "type": "web_search_tool_result",
            "tool_use_id": "s",
            "content": [{"type": "web_search_result", "title": "A", "url": "u", "encrypted_content": "zzz", "page_age": None}],
        },
        "A\nu",
    ),
    (
        {"type": "server_tool_use", "id": "s", "name": "web_fetch", "input": {"url": "u"}},
        {
            "type": "web_fetch_tool_result",
            "tool_use_id": "s",
            "content": {
                "type": "web_fetch_result",
                "url": "u",
                "content": {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Words."}},
            },
        },
        "u\ntext/plain\nWords.",
    ),
    (
        {"type": "server_tool_use", "id": "s", "name": "bash_code_execution", "input": {"command": "ls"}},
        {
            "type": "bash_code_execution_tool_result",
            "tool_use_id": "s",
            "content": {"type": "bash_code_execution_result", "stdout": "a b", "stderr": "", "return_code": 0, "content": []},
        },
        "a b\n0",
    ),
    (
        {"type": "mcp_tool_use", "id": "s", "name": "echo", "server_name": "m", "input": {}},
        {"type": "mcp_tool_result", "tool_use_id": "s", "is_error": True, "content": [text("no")]},
        "Error: no",
    ),
]


@pytest.mark.parametrize(("call", "outcome", "shown"), HOSTED)
def test_calls_that_the_cloud_answered_are_calls_and_results(gateway: Gateway, call: Any, outcome: Any, shown: str) -> None:
    turns = [HI, assistant(text("I look."), call, outcome, text("So it is.")), HI]
    request = understood(gateway, messages=turns)
    assert [(each.role, each.text) for each in turns_of(request)] == [
        ("user", "Hi"),
        ("assistant", "I look."),
        ("tool", shown),
        ("assistant", "So it is."),
        ("user", "Hi"),
    ]
    assert turns_of(request)[1].tool_calls[0].name == call["name"]


def test_a_cloud_call_without_its_result_is_left_out(gateway: Gateway) -> None:
    call: dict[str, Any] = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    assert said(gateway, [HI, assistant(text("I look."), call), HI]) == [("user", "Hi"), ("assistant", "I look."), ("user", "Hi")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([{"type": "image", "source": PNG}], "messages[0].content[0].source holds an image/png picture of 3 KiB"),
        ([text("a"), {"type": "image", "source": {"type": "file", "file_id": "f"}}], "messages[0].content[1].source holds a stored file"),
        ([{"type": "document", "source": {"type": "base64", "data": "JVBERi0="}}], "holds a PDF document of 1 KiB"),
        ([{"type": "document", "source": {"type": "url", "url": "https://example.com"}}], "takes no pictures"),
        ([{"type": "document", "source": {"type": "file", "file_id": "f"}}], "keeps no files"),
        (
            [{"type": "document", "source": {"type": "content", "content": [{"type": "image", "source": PNG}]}}],
            "content[0].source.content[0]",
        ),
        ([{"type": "text"}], "messages[0].content[0].text is missing"),
        ([{"no": "type"}], "should be an object with a type"),
        (["text"], "should be an object with a type"),
        (7, "messages[0].content = 7 should be a string or a list of content blocks"),
    ],
)
def test_what_a_person_may_not_send(gateway: Gateway, content: Any, words: str) -> None:
    assert words in refusal(gateway, messages=[{"role": "user", "content": content}])


def test_a_call_needs_its_result(gateway: Gateway) -> None:
    assert "tool_result for 'a'" in refusal(gateway, messages=[HI, assistant(use("a"))])


@pytest.mark.parametrize("messages", [[], [{"role": "user", "content": ""}], [{"role": "user", "content": []}], [{"role": "user"}]])
def test_something_must_be_said(gateway: Gateway, messages: Any) -> None:
    assert "messages" in refusal(gateway, messages=messages)


def test_numbers_of_any_size_stay_as_they_are(gateway: Gateway) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 2**70}}}
    turns = [HI, assistant(use("a", n=2**70, x=float("1e300"))), user(result("a"))]
    tools = [{"name": "Read", "input_schema": schema, "input_examples": [{"n": 2**69}]}]
    fields = {"messages": turns, "tools": tools, "output_config": {"format": {"type": "json_schema", "schema": schema}}}
    request = understood(gateway, **fields)
    assert turns_of(request)[1].tool_calls[0].arguments == '{"n":1180591620717411303424,"x":1e+300}'
    assert json.loads(request.output_format.source if request.output_format else "") == schema


def test_what_json_cannot_say_becomes_null(gateway: Gateway) -> None:
    body = json.dumps({"model": MODEL, "max_tokens": 1, "messages": [HI, assistant(use("a", n=7)), user(result("a"))]})
    raw = body.replace('"n": 7', '"n": 1e999')
    response = http_of(gateway).post("/v1/messages", content=raw, headers={"content-type": "application/json"})
    assert response.status_code == 200, response.text
    assert turns_of(gateway.generator.seen[-1])[1].tool_calls[0].arguments == '{"n":null}'

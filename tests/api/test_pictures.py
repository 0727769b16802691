"""Pictures over every API, with the official clients: what the model is given, and what a model that reads text is not."""

import base64
from collections.abc import Generator
from dataclasses import replace
from typing import Any, cast

import anthropic
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from pomona.core.generation import GenerateRequest, Usage
from pomona.core.messages import Message, PicturePart, TextPart
from tests.api.gateway import MODEL, Gateway
from tests.doubles import answer

DATA = base64.b64encode(b"a picture").decode()
URL = f"data:image/png;base64,{DATA}"
PDF = f"data:application/pdf;base64,{DATA}"
WEB = "https://example.com/a.png"
BLIND = "alias"


@pytest.fixture(autouse=True)
def sight(gateway: Gateway) -> Generator[None]:
    """The first model sees, the second does not."""
    first, second = gateway.directory.cards
    gateway.directory.cards = [replace(first, vision=True), second]
    yield
    gateway.directory.cards = [first, second]


def shown(gateway: Gateway) -> list[tuple[str, list[str]]]:
    """Roles and parts of what the generator got last, pictures by address, detail and field."""
    request: GenerateRequest = gateway.generator.seen[-1]
    return [(message.role, [_named(part) for part in message.content]) for message in request.messages or ()]


def _named(part: object) -> str:
    if isinstance(part, TextPart):
        return part.text
    assert isinstance(part, PicturePart)
    return f"{part.url} {part.detail} {part.param}"


def chat(gateway: Gateway, *content: Any, model: str = MODEL, role: str = "user") -> None:
    messages = cast("list[ChatCompletionMessageParam]", [{"role": role, "content": list(content)}])
    gateway.openai().chat.completions.create(model=model, messages=messages)


def claude(gateway: Gateway) -> anthropic.Anthropic:
    client = anthropic.Anthropic(base_url=gateway.urls.public, api_key="any", max_retries=0, timeout=60)
    return gateway.clients.enter_context(client)


def test_chat_takes_pictures_among_text_and_pdfs(gateway: Gateway) -> None:
    chat(
        gateway,
        {"type": "text", "text": "one"},
        {"type": "image_url", "image_url": {"url": URL, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": WEB, "detail": "high"}},
        {"type": "text", "text": "two"},
        {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
    )
    field = "messages[0].content"
    pictures = [f"{URL} low {field}[1].image_url", f"{WEB} high {field}[2].image_url"]
    assert shown(gateway) == [("user", ["one", *pictures, "two", f"{PDF} auto {field}[4].file.file_data"])]


@pytest.mark.parametrize(
    ("part", "param", "words"),
    [
        ({"type": "image_url"}, "messages[0].content[0]", "must have a field 'image_url'"),
        ({"type": "image_url", "image_url": {}}, "messages[0].content[0].image_url.url", "missing"),
        ({"type": "image_url", "image_url": {"url": URL, "detail": "tiny"}}, "messages[0].content[0].image_url.detail", "'low'"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "messages[0].content[0].file", "keeps none"),
        ({"type": "file", "file": {}}, "messages[0].content[0].file", "holds no file"),
        ({"type": "input_audio", "input_audio": {}}, "messages[0].content[0]", "takes no sound"),
    ],
)
def test_what_is_wrong_with_a_part_is_named(gateway: Gateway, part: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        chat(gateway, part)
    assert caught.value.param == param
    assert words in caught.value.message


def test_responses_takes_pictures_in_messages_and_outputs(gateway: Gateway) -> None:
    items: list[Any] = [
        {"role": "user", "content": [{"type": "input_text", "text": "Look"}, {"type": "input_image", "image_url": URL, "detail": "auto"}]},
        {"type": "function_call", "call_id": "a", "name": "shot", "arguments": "{}"},
        {
            "type": "function_call_output",
            "call_id": "a",
            "output": [
                {"type": "input_image", "image_url": WEB},
                {"type": "input_text", "text": "done"},
                {"type": "input_file", "file_id": "f"},
            ],
        },
        {"role": "user", "content": [{"type": "input_file", "file_data": PDF}, {"type": "input_file", "file_url": WEB}]},
    ]
    gateway.openai().responses.create(model=MODEL, input=items)
    assert shown(gateway) == [
        ("user", ["Look", f"{URL} auto input[0].content[1].image_url"]),
        ("assistant", []),
        ("tool", ["done\n[stored file left out: this server keeps none]", f"{WEB} auto input[2].output[0].image_url"]),
        ("user", [f"{PDF} auto input[3].content[0].file_data", f"{WEB} auto input[3].content[1].file_url"]),
    ]


def test_messages_takes_pictures_documents_and_those_of_tools(gateway: Gateway) -> None:
    picture: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}
    by_address: Any = {"type": "image", "source": {"type": "url", "url": WEB}}
    document: Any = {"type": "document", "title": "T", "source": {"type": "base64", "media_type": "application/pdf", "data": DATA}}
    result: Any = {"type": "tool_result", "tool_use_id": "a", "is_error": True, "content": [{"type": "text", "text": "saw"}, picture]}
    claude(gateway).messages.create(
        model=MODEL,
        max_tokens=8,
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "one"}, picture, {"type": "text", "text": "two"}, document]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "shot", "input": {}}]},
            {"role": "user", "content": [result, by_address]},
        ],
    )
    first = f"{URL} auto messages[0].content[1].source"
    assert shown(gateway) == [
        ("user", ["one", first, "two\nT", f"{PDF} auto messages[0].content[3].source"]),
        ("assistant", []),
        ("tool", ["Error: saw", f"{URL} auto messages[2].content[0].content[1].source"]),
        ("user", [f"{WEB} auto messages[2].content[1].source"]),
    ]


def test_turns_of_one_role_become_one_with_all_their_pictures(gateway: Gateway) -> None:
    picture: Any = {"type": "image", "source": {"type": "url", "url": WEB}}
    turns: Any = [{"role": "user", "content": [picture]}, {"role": "user", "content": "and"}, {"role": "user", "content": [picture]}]
    claude(gateway).messages.create(model=MODEL, max_tokens=8, messages=turns)
    assert shown(gateway) == [("user", [f"{WEB} auto messages[0].content[0].source", "and", f"{WEB} auto messages[2].content[0].source"])]


def test_a_model_that_reads_text_refuses_a_persons_picture_and_names_those_that_see(gateway: Gateway) -> None:
    image = {"type": "image_url", "image_url": {"url": URL}}
    with pytest.raises(openai.BadRequestError, match=rf"the model '{BLIND}' takes no pictures\. Models here that do: '{MODEL}'"):
        chat(gateway, image, model=BLIND)
    for path, body in (
        ("/tokenize", {"messages": [{"role": "user", "content": [image]}]}),
        ("/v1/responses/input_tokens", {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": URL}]}]}),
    ):
        refused = gateway.http().post(path, json={"model": BLIND, **body})
        assert refused.status_code == 400
        assert "takes no pictures" in refused.json()["error"]["message"]
    assert gateway.generator.seen == []


def test_pictures_of_tools_are_named_to_a_model_that_reads_text(gateway: Gateway) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "shot", "arguments": "{}"}}
    parts = [{"type": "text", "text": "Here:"}, {"type": "image_url", "image_url": {"url": URL}}]
    messages: Any = [
        {"role": "user", "content": "Look"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": parts},
    ]
    gateway.openai().chat.completions.create(model=BLIND, messages=messages)
    assert shown(gateway)[-1] == ("tool", ["Here:\n[image/png picture of 1 KiB: this model cannot see pictures]"])


def test_usage_tells_the_tokens_of_pictures(gateway: Gateway) -> None:
    *begin, end = answer("Hi", prompt_tokens=90)
    gateway.generator.reset([*begin, replace(cast("Any", end), usage=Usage(prompt_tokens=90, completion_tokens=1, picture_tokens=64))])
    told = gateway.openai().chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi"}]).usage
    details = cast("Any", told).prompt_tokens_details
    assert (details.image_tokens, details.text_tokens) == (64, 26)


def test_lists_of_models_say_which_see(gateway: Gateway) -> None:
    listed = gateway.http().get("/v1/models").json()
    assert [(each["id"], each["vision"]) for each in listed["data"]] == [(MODEL, True), (BLIND, False)]
    assert [each["input_modalities"] for each in listed["models"]] == [["text", "image"], ["text"]]
    seeing, blind = claude(gateway).models.list().data
    assert [cast("Any", each).capabilities.image_input.supported for each in (seeing, blind)] == [True, False]


def test_a_message_knows_its_pictures() -> None:
    part = PicturePart(url=URL)
    assert Message(role="user", content=(TextPart(text="a"), part)).pictures == (part,)

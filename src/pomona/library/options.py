"""From what a program writes to a request, checked as the HTTP API checks it, since it is the same code that reads it."""

import difflib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from pomona.core.errors import InvalidRequest
from pomona.core.generation import GenerateRequest, Priority
from pomona.core.status import ModelCard
from pomona.library.pictures import Picture, with_pictures
from pomona.server.bodies import WireBody, path_of
from pomona.server.openai.call import Call, new_id
from pomona.server.openai.chat.decode import decode_chat
from pomona.server.openai.completions.decode import decode_completion
from pomona.server.openai.wire import ChatCompletionRequest, CompletionRequest

Messages = str | Sequence[Mapping[str, Any]]
"""Turns in OpenAI's form, or the text of one turn of the user."""
Text = str | Sequence[int]
"""A text, or the ids of one."""
OURS = frozenset({"id", "priority", "schema", "keep_alive", "timeout_seconds", "images"})
"""Options beside the fields of OpenAI's bodies."""
NOT_HERE = frozenset({"model", "messages", "prompt", "stream", "stream_options", "n", "best_of", "echo", "store"})
"""Fields that have no meaning for one answer to a program."""
Body = TypeVar("Body", bound=WireBody)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One thing that is wrong: where (`messages[0].role`), what, and a code for programs."""

    path: str
    message: str
    code: str


class ValidationFailed(InvalidRequest):
    """The arguments of a call are wrong; `issues` lists everything that is."""

    def __init__(self, issues: Sequence[Issue]) -> None:
        super().__init__("\n".join(f"{issue.path}: {issue.message}" for issue in issues), param=issues[0].path)
        self.issues = tuple(issues)


def chat_call(messages: Messages, card: ModelCard, options: Mapping[str, Any]) -> Call:
    """The call for a conversation. Raises ValidationFailed."""
    turns: list[dict[str, Any]] = (
        [{"role": "user", "content": messages}] if isinstance(messages, str) else [dict(message) for message in messages]
    )
    pictures = cast("Sequence[Picture]", options.get("images") or ())
    if pictures:
        turns = with_pictures(turns, pictures)
    body = read(ChatCompletionRequest, {"model": card.id, "messages": turns}, options)
    return _finish(_decoded(lambda: decode_chat(body, _id(options, "chat"), card)), options)


def text_call(prompt: Text, card: ModelCard, options: Mapping[str, Any]) -> Call:
    """The call for a plain text. Raises ValidationFailed."""
    if options.get("images"):
        raise ValidationFailed([Issue(path="images", message="A plain prompt has no place for pictures: use chat.", code="invalid")])
    given = prompt if isinstance(prompt, str) else list(prompt)
    body = read(CompletionRequest, {"model": card.id, "prompt": given}, {"max_tokens": 512, **options})
    return _finish(_decoded(lambda: decode_completion(body, _id(options, "text"), card)), options)


def read(kind: type[Body], fields: Mapping[str, Any], options: Mapping[str, Any]) -> Body:
    """A wire body of `fields` and `options`. Raises ValidationFailed, naming every problem."""
    known = set(kind.model_fields) - NOT_HERE
    unknown = [_unknown(name, known | OURS) for name in options if name not in known | OURS]
    if unknown:
        raise ValidationFailed(unknown)
    body = {**fields, **{name: value for name, value in options.items() if name in known and value is not None}}
    if options.get("schema") is not None:
        body["response_format"] = _format_of(options["schema"])
    try:
        return kind.model_validate_json(json.dumps(body, default=_plain))
    except ValidationError as error:
        raise ValidationFailed([issue_of(problem) for problem in error.errors(include_url=False)]) from None
    except TypeError as error:
        raise ValidationFailed([Issue(path="options", message=f"{error}. Give plain values.", code="invalid_type")]) from None


def _decoded(decode: Any) -> Call:
    try:
        return cast("Call", decode())
    except ValidationFailed:
        raise
    except InvalidRequest as error:
        raise ValidationFailed([Issue(path=error.param or "", message=error.message, code=error.code)]) from None


def _finish(call: Call, options: Mapping[str, Any]) -> Call:
    """What only programs can say."""
    changes: dict[str, Any] = {}
    if options.get("priority") is not None:
        changes["priority"] = _priority(options["priority"])
    if options.get("keep_alive") is not None:
        changes["keep_alive_seconds"] = float(options["keep_alive"])
    return replace(call, requests=tuple(replace(request, **changes) for request in call.requests)) if changes else call


def _priority(value: object) -> Priority:
    if value not in {"low", "normal", "high"}:
        raise ValidationFailed([Issue(path="priority", message=f"is {value!r}; low, normal and high are allowed.", code="literal_error")])
    return cast("Priority", value)


def _format_of(schema: object) -> dict[str, Any]:
    """A JSON schema, or a pydantic model or other type that has one, as OpenAI's response_format."""
    document: Any = schema
    if inspect.isclass(schema) and issubclass(schema, BaseModel):
        document = schema.model_json_schema()
    if not isinstance(document, Mapping):
        raise ValidationFailed(
            [Issue(path="schema", message=f"is {schema!r}; a JSON schema (a dict) or a pydantic model is wanted.", code="invalid_type")]
        )
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": dict(cast("Mapping[str, Any]", document)), "strict": True}}


def _id(options: Mapping[str, Any], prefix: str) -> str:
    return str(options["id"]) if options.get("id") else new_id(prefix)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, object]", value))
    if isinstance(value, set | frozenset):
        return list(cast("set[object]", value))
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{value!r} is no value of JSON")


def _unknown(name: str, known: set[str] | frozenset[str]) -> Issue:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return Issue(path=name, message=f"There is no option of that name.{hint}", code="unknown_option")


def issue_of(problem: Any) -> Issue:
    """One of pydantic's errors as an issue."""
    message = str(problem["msg"]).replace("Input should", "should")
    shown = "" if problem["type"] == "missing" else f"is {_clip(problem['input'])} and "
    return Issue(path=path_of(problem["loc"]), message=f"{shown}{message}.", code=str(problem["type"]))


def _clip(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:80]}…"


def single(call: Call) -> GenerateRequest:
    """The one request of a call for one answer."""
    return call.requests[0]


def texts_of(name: str, texts: Sequence[str]) -> tuple[str, ...]:
    """The texts of an argument. Raises ValidationFailed for none at all and for what is no text."""
    issues = [
        Issue(path=f"{name}[{index}]", message=f"is {_clip(text)} and should be a text.", code="string_type")
        for index, text in enumerate(cast("Sequence[object]", texts))
        if not isinstance(text, str)
    ]
    if not texts:
        issues = [Issue(path=name, message=f"is {texts!r} and should be one text or more.", code="too_short")]
    if issues:
        raise ValidationFailed(issues)
    return tuple(texts)

"""From the bytes of a request to a checked pydantic model, with errors that name field, value and what is allowed.

`rules` and what goes into it tell, in the OpenAPI document, what decoders refuse beyond types.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from pomona.core.errors import InvalidRequest
from pomona.server.errors import ClientLeft, UnsupportedMediaType, error_response, shape_of

_SUBJECT = re.compile(r"^(Input|String|List|Dictionary) (?=should)")
_SHOWN_PROBLEMS = 5
_SHOWN_CHARACTERS = 80
LONGEST_SECONDS = 1e9
"""Some thirty years; more is the same."""
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER, _UNIT = r"\d{1,18}(\.\d{1,18})?", "(ms|s|m|h|d)"
SECONDS_PATTERN = rf"^-?({_NUMBER}|({_NUMBER}{_UNIT})+)$"
"""What text may look like, for schemas."""
KeepAlive = Annotated[
    Annotated[float, Field(allow_inf_nan=False)] | Annotated[str, Field(json_schema_extra={"pattern": SECONDS_PATTERN})] | None,
    Field(description="Extension: how long the model stays loaded after this, in seconds or as `5m`; 0: not at all, -1: for ever."),
]
Schema = dict[str, Any]
REFUSED: Schema = {"type": "null"}
"""What is published of a field that is known but can only be null here."""
_IS_SET: Schema = {"not": {"type": "null"}}


class WireBody(BaseModel):
    """A JSON object from a client: types are strict, unknown names are ignored.

    Tags of unions are named `<like this>`, so that they can be told from fields and left out of messages.
    """

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)


Body = TypeVar("Body", bound=WireBody)


def rules(*each: Schema) -> Schema:
    """The `json_schema_extra` of a model for which each of these holds."""
    return {"allOf": list(each)}


def needs(field: str, schema: Schema | None = None) -> Schema:
    """The field is there, and as in `schema`, or at least not null."""
    return {"required": [field], "properties": {field: schema or _IS_SET}}


def where(field: str, values: Sequence[object], then: Schema) -> Schema:
    """If `field` is one of `values`, `then` holds."""
    return {"if": needs(field, {"enum": list(values)}), "then": then}


def unless(field: str, values: Sequence[object], then: Schema) -> Schema:
    """If `field` is none of `values`, `then` holds."""
    return {"if": needs(field, {"enum": list(values)}), "else": then}


def given(field: str, then: Schema, schema: Schema | None = None) -> Schema:
    """If `field` is there and as in `schema`, or at least not null, `then` holds."""
    return {"if": needs(field, schema), "then": then}


async def read_body(request: Request, kind: type[Body]) -> Body:
    """The JSON body of `request` as a `kind`. Raises InvalidRequest, or ClientLeft if the client went away while sending.

    Only application/json is read: a web page can make a browser send other types to a local server without asking first.
    """
    declared = request.headers.get("content-type", "")
    if declared.partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType(f"The body's Content-Type is {declared!r}. Send JSON with 'Content-Type: application/json'.")
    try:
        raw = await request.body()
    except ClientDisconnect:
        raise ClientLeft from None
    return parse_body(raw, kind)


async def read_optional_body(request: Request, kind: type[Body]) -> Body:
    """As `read_body`; a request without a body means one without fields."""
    try:
        raw = await request.body()
    except ClientDisconnect:
        raise ClientLeft from None
    return await read_body(request, kind) if raw else parse_body(b"{}", kind)


def parse_body(raw: bytes, kind: type[Body]) -> Body:
    """JSON bytes as a `kind`; 3.0 is a whole number, as in JSON Schema. Raises InvalidRequest."""
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        problems = error.errors(include_url=False)
    if not any(problem["type"] == "int_type" and _is_whole(problem["input"]) for problem in problems):
        raise _explain(problems)
    try:
        return kind.model_validate_json(json.dumps(json.loads(raw, parse_float=_number)))
    except ValidationError as error:
        raise _explain(error.errors(include_url=False)) from None


async def answer_bad_query(request: Request, error: Exception) -> Response:
    """The handler of queries and paths that FastAPI refuses."""
    problems = error.errors() if isinstance(error, RequestValidationError) else ()
    inside = [{**problem, "loc": problem["loc"][1:]} for problem in problems]  # the first part is "query" or "path"
    return error_response(_explain(inside), shape_of(request.scope))


def read_seconds(value: float | str, param: str) -> float:
    """A number of seconds, or text with units as Go and Ollama write it; negative ones too. Raises InvalidRequest naming `param`."""
    seconds = _seconds_of(value, param) if isinstance(value, str) else float(value)
    return min(max(seconds, -LONGEST_SECONDS), LONGEST_SECONDS)


def keep_alive_seconds(keep_alive: float | str | None) -> float | None:
    """A body's field `keep_alive` as a request has it. Raises InvalidRequest."""
    return None if keep_alive is None else read_seconds(keep_alive, "keep_alive")


def _seconds_of(text: str, param: str) -> float:
    stripped = text.strip().lower()
    if re.fullmatch(SECONDS_PATTERN, stripped) is None:
        advice = "Write seconds, or units such as '90s', '5m' or '1h30m'."
        raise InvalidRequest(f"{param} = {text!r} is no time. {advice}", param=param)
    amount = stripped.removeprefix("-")
    parts: list[tuple[str, str, str]] = re.findall(f"({_NUMBER}){_UNIT}", amount)
    seconds = sum(float(number) * _SECONDS[unit] for number, _, unit in parts) if parts else float(amount)
    return -seconds if stripped.startswith("-") else seconds


def path_of(location: Sequence[int | str]) -> str:
    """A field's place as a person writes it: `messages[0].content[1].text`."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.startswith(("<", "[")):
            path += f".{part}" if path else part
    return path


def _is_whole(value: object) -> bool:
    return isinstance(value, float) and value.is_integer()


def _number(text: str) -> float:
    value = float(text)
    return int(value) if value.is_integer() else value


def _explain(problems: Sequence[Mapping[str, Any]]) -> InvalidRequest:
    lines = [_sentence(problem) for problem in problems[:_SHOWN_PROBLEMS]]
    if len(problems) > _SHOWN_PROBLEMS:
        lines.append(f"And {len(problems) - _SHOWN_PROBLEMS} more problems.")
    return InvalidRequest(" ".join(lines), param=path_of(problems[0]["loc"]) or None)


def _sentence(problem: Mapping[str, Any]) -> str:
    path, kind, message = path_of(problem["loc"]), problem["type"], problem["msg"]
    if kind == "json_invalid":
        return f"The body is not JSON that can be read: {message.removeprefix('Invalid JSON: ')}."
    if not path:
        return f"The body must be a JSON object with fields; it is {_clip(problem['input'])}."
    if kind == "missing":
        return f"The field {path} is missing."
    if kind == "extra_forbidden":
        return f"There is no field {path!r} here."
    return f"{path} = {_clip(problem['input'])} {_SUBJECT.sub('', message).replace(' after validation', '')}."


def _clip(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}… (a {type(value).__name__})"

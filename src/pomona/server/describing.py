"""What a route says of itself in the OpenAPI document, in one line: `openapi_extra=described(body=..., answer=...)`.

The application reads bodies itself (`read_body`) and encodes answers by hand, so FastAPI sees neither. A description carries its
schemas under a key of its own, from where `document_of` moves them to the components.
"""

import copy
from collections.abc import Mapping, Sequence, Set
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from pomona.server.errors import Shape

_SCHEMAS = "x-pomona-schemas"
_REF = "#/components/schemas/{model}"
_SECURITY_SCHEMES: Mapping[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of this server, as OpenAI's clients send it."},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same key, as Anthropic's clients send it."},
}
_SECURITY = tuple({name: list[str]()} for name in _SECURITY_SCHEMES)
_FASTAPIS_OWN = ("HTTPValidationError", "ValidationError")
_NULL_OR_TEXT = {"anyOf": [{"type": "string"}, {"type": "null"}]}
_EVENT: Mapping[str, Any] = {
    "type": "object",
    "description": "A server-sent event; there are several, where `stream` is true. `data` is JSON, or the last word `[DONE]`.",
    "required": ["data"],
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
}
_ERRORS: Mapping[int, str] = {
    400: "The request is wrong: the message names the field, the value and what is allowed.",
    401: "No API key was given, or it is not known.",
    403: "The API key may not do this.",
    404: "There is nothing of that name: the message lists what there is.",
    409: "The state that something is in does not allow this.",
    413: "The body is larger than this server reads.",
    415: "The body is not declared as application/json.",
    422: "This very request killed its model's engine twice in a row; equal ones are refused for a while.",
    429: "This caller has used up what it may ask for; Retry-After says when to come again.",
    500: "The server failed; its log says more under the request id.",
    502: "The model hub, or the way to it, failed; Retry-After says when to come again.",
    503: "The server cannot answer now; Retry-After says when to come again.",
    507: "The model needs more memory or disk than this machine can give.",
    529: "The server is full; Retry-After says when to come again.",
}
_FASTAPIS_ERROR = "Validation Error"
"""Its own shape of errors in queries; here they are 400s like all others."""
_ALWAYS = (400, 401, 403, 404, 429, 500, 503)
_WITH_BODY = (413, 415)
_SHAPES: Mapping[Shape, tuple[str, Mapping[str, Any]]] = {
    "openai": (
        "Error",
        {
            "type": "object",
            "description": "An error in OpenAI's words.",
            "required": ["error"],
            "properties": {
                "error": {
                    "type": "object",
                    "required": ["message", "type", "param", "code"],
                    "properties": {
                        "message": {"type": "string"},
                        "type": {"type": "string"},
                        "param": _NULL_OR_TEXT,
                        "code": _NULL_OR_TEXT,
                    },
                }
            },
        },
    ),
    "anthropic": (
        "AnthropicError",
        {
            "type": "object",
            "description": "An error in Anthropic's words.",
            "required": ["type", "error", "request_id"],
            "properties": {
                "type": {"const": "error"},
                "error": {
                    "type": "object",
                    "required": ["type", "message"],
                    "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
                },
                "request_id": {"type": "string"},
            },
        },
    ),
}


def described(
    *,
    body: type[BaseModel] | None = None,
    answer: type[BaseModel] | None = None,
    streams: bool = False,
    errors: Sequence[int] = (),
    shapes: Sequence[Shape] = ("openai",),
    example: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The `openapi_extra` of a route.

    `body` is what it reads, `answer` what it says (any JSON object where none is given),
    `streams` that it can also say it as server-sent events; `errors` are the statuses it has beyond those that every route has,
    `shapes` the words in which its errors may be told, `example` is a body that works once `document_of` has put in the
    name of a model whose task is what its `model` says; empty: one that writes text.
    """
    schemas: dict[str, Any] = {}
    schema = {"type": "object"} if answer is None else _reference(answer, schemas, "serialization")
    said: dict[str, Any] = {"application/json": {"schema": schema}}
    if streams:
        said["text/event-stream"] = {"schema": _EVENT}
    statuses = sorted({*_ALWAYS, *errors, *(_WITH_BODY if body else ()), *((529,) if "anthropic" in shapes else ())})
    operation: dict[str, Any] = {
        "responses": {"200": {"description": "The answer.", "content": said}}
        | {str(status): _error_response(status, shapes, schemas) for status in statuses},
        _SCHEMAS: schemas,
    }
    if body is not None:
        content: dict[str, Any] = {"schema": _reference(body, schemas, "validation")}
        if example is not None:
            content["example"] = dict(example)
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    return operation


def without_need(operation: dict[str, Any]) -> dict[str, Any]:
    """`operation`, whose body may be left out."""
    operation["requestBody"]["required"] = False
    return operation


def answering_with(status: int, operation: dict[str, Any]) -> dict[str, Any]:
    """`operation`, whose answer has this status. The route's own `status_code` must be the same."""
    responses: dict[str, Any] = operation["responses"]
    responses[str(status)] = responses.pop("200")
    return operation


def answering_later(operation: dict[str, Any]) -> dict[str, Any]:
    """`operation`, which may also begin the work, say so with 202 and the same answer, and go on without the client."""
    responses: dict[str, Any] = operation["responses"]
    responses["202"] = {**responses["200"], "description": "The work has begun."}
    return operation


def only_events(operation: dict[str, Any]) -> dict[str, Any]:
    """`operation`, which answers with server-sent events and nothing else."""
    del operation["responses"]["200"]["content"]["application/json"]
    return operation


def document_of(app: FastAPI, *, models: Mapping[str, str], locked: bool, open_paths: Set[str]) -> dict[str, Any]:
    """The OpenAPI document of `app`, with the schemas of its descriptions in their place.

    Examples name one of `models`, by task. A `locked` server wants an API key except for `open_paths`; else keys do nothing.
    """
    document = copy.deepcopy(get_openapi(title=app.title, version=app.version, routes=app.routes))
    components: dict[str, Any] = document.setdefault("components", {})
    schemas: dict[str, Any] = components.setdefault("schemas", {})
    components["securitySchemes"] = _SECURITY_SCHEMES
    for path, operations in document.get("paths", {}).items():
        for operation in operations.values():
            schemas.update(operation.pop(_SCHEMAS, {}))
            if operation["responses"].get("422", {}).get("description") == _FASTAPIS_ERROR:
                del operation["responses"]["422"]
            operation["security"] = [] if path in open_paths else [*([] if locked else [{}]), *_SECURITY]
            _name_model(operation, models)
    for name in _FASTAPIS_OWN:
        schemas.pop(name, None)
    return document


def _name_model(operation: Mapping[str, Any], models: Mapping[str, str]) -> None:
    for content in operation.get("requestBody", {}).get("content", {}).values():
        if "model" in content.get("example", {}):
            task = content["example"]["model"] or "generate"
            content["example"] = {**content["example"], "model": models.get(task, "model")}


def _reference(kind: type[BaseModel], schemas: dict[str, Any], mode: Literal["validation", "serialization"]) -> dict[str, str]:
    """Each API has names of its own: two of them may have a body of the same name."""
    prefix = "".join(part.title() for part in kind.__module__.split(".")[2:-1] if part != "openai")
    ref = f"#/components/schemas/{prefix}{{model}}"
    schema = kind.model_json_schema(ref_template=ref, mode=mode)
    schemas.update({prefix + name: inner for name, inner in schema.pop("$defs", {}).items()})
    schemas[prefix + kind.__name__] = schema
    return {"$ref": ref.format(model=kind.__name__)}


def _error_response(status: int, shapes: Sequence[Shape], schemas: dict[str, Any]) -> dict[str, Any]:
    references: list[dict[str, str]] = []
    for shape in shapes:
        name, schema = _SHAPES[shape]
        schemas[name] = schema
        references.append({"$ref": _REF.format(model=name)})
    schema = references[0] if len(references) == 1 else {"anyOf": references}
    response: dict[str, Any] = {"description": _ERRORS[status], "content": {"application/json": {"schema": schema}}}
    if status in {429, 502, 503, 529}:
        response["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "string"}}}
    return response

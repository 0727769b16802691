"""DSPy programs on a model in this process or its fleet, without HTTP (`pip install 'pomona[dspy]'`).

    import dspy
    from pomona import Engine
    from pomona.dspy import language_model

    with Engine("pomona-tiny") as engine:
        dspy.configure(lm=language_model(engine))

DSPy's own parts (caching, retries, history, adapters) work as with any other model: this is an engine in the sense of
`dspy.clients.engines.base`, which takes one `dspy.lm15.Request` and gives one `Response`.
"""

import asyncio
import importlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from pomona.core.errors import (
    ContextOverflow,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    PomonaError,
    RateLimited,
    TimedOut,
    UnsupportedField,
)
from pomona.core.generation import Finished, ReasoningDelta, Started, TextDelta, ToolCallDelta, ToolCallStarted, Usage
from pomona.library import Answer, Engine

FINISH = {"stop": "stop", "length": "length", "tool_calls": "tool_call"}
ERRORS: tuple[tuple[type[PomonaError], str], ...] = (
    (ContextOverflow, "ContextLengthError"),
    (UnsupportedField, "UnsupportedFeatureError"),
    (InvalidRequest, "InvalidRequestError"),
    (ModelNotFound, "UnsupportedModelError"),
    (RateLimited, "RateLimitError"),
    (TimedOut, "TimeoutError"),
    (Overloaded, "ServerError"),
    (PomonaError, "ServerError"),
)
"""What DSPy is told; the first that fits counts. It tries again after rate limits, timeouts and errors of the server."""
PLAIN_OPTIONS = ("temperature", "top_p", "top_k", "seed", "frequency_penalty", "presence_penalty")


def language_model(engine: Engine, model: str | None = None, **options: Any) -> Any:
    """A `dspy.LM` that answers with `model` of a running engine, or with its default model. `options` are those of `dspy.LM`."""
    dspy = importlib.import_module("dspy")
    name = model or engine.model
    return dspy.LM(f"pomona/{name}", engine=PomonaEngine(engine, name), async_engine=AsyncPomonaEngine(engine, name), **options)


class PomonaEngine:
    """DSPy's contract for synchronous engines. The model behind it is the program's to close.

    Forms and calls are enforced while the answer is made, so DSPy may ask for them.
    """

    supports_response_schema = True
    supports_function_calling = True
    supported_params = frozenset({*PLAIN_OPTIONS, "max_tokens", "stop", "response_format", "tools", "tool_choice", "logprobs"})

    def __init__(self, engine: Engine, model: str) -> None:
        self._engine = engine
        self._model = model
        self._types = importlib.import_module("dspy.lm15")

    def complete(self, request: Any) -> Any:
        """Answer a `dspy.lm15.Request` with a `Response`. Raises the errors of `dspy.lm15`."""
        try:
            return self._response(self._engine.chat(messages_of(request), model=self._model, **options_of(request)))
        except PomonaError as error:
            raise self._translated(error) from error

    def stream(self, request: Any) -> Iterator[Any]:
        """The answer as the events of `dspy.lm15`, as it is made."""
        types, parts = self._types, _Parts()
        try:
            for event in self._engine.stream_chat(messages_of(request), model=self._model, **options_of(request)):
                match event:
                    case Started():
                        yield types.StreamStartEvent(model=self._model)
                    case ReasoningDelta(text=text):
                        yield types.StreamDeltaEvent(types.ThinkingDelta(text, part_index=parts.place("thinking")))
                    case TextDelta(text=text) if text:
                        yield types.StreamDeltaEvent(types.TextDelta(text, part_index=parts.place("text")))
                    case ToolCallStarted(id=call, name=name):
                        yield types.StreamDeltaEvent(types.ToolCallDelta("", part_index=parts.place(call), id=call, name=name))
                    case ToolCallDelta(arguments=arguments):
                        yield types.StreamDeltaEvent(types.ToolCallDelta(arguments, part_index=parts.last))
                    case Finished(reason=reason, usage=usage):
                        yield types.StreamEndEvent(finish_reason=FINISH.get(reason, "stop"), usage=self._usage(usage))
                    case _:
                        pass
        except PomonaError as error:
            raise self._translated(error) from error

    def close(self) -> None:
        """Nothing: the engine lives on."""

    def _response(self, answer: Answer) -> Any:
        types, parts = self._types, list[Any]()
        if answer.reasoning:
            parts.append(types.ThinkingPart(answer.reasoning))
        if answer.text or not answer.calls:
            parts.append(types.TextPart(answer.text))
        parts += [types.ToolCallPart(id=call.id, name=call.name, input=call.values) for call in answer.calls]
        scores = tuple(types.TokenLogprob(token=token.text, logprob=token.logprob, token_id=token.token_id) for token in answer.tokens)
        return types.Response(
            id=answer.id,
            model=answer.model,
            message=types.Message.assistant(parts),
            finish_reason=FINISH.get(answer.finish_reason, "stop"),
            usage=self._usage(answer.usage),
            logprobs=scores or None,
        )

    def _usage(self, usage: Usage) -> Any:
        return self._types.Usage(
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.completion_tokens,
            cache_read_tokens=usage.cached_tokens,
            reasoning_tokens=usage.reasoning_tokens,
        )

    def _translated(self, error: PomonaError) -> Exception:
        name = next(name for kind, name in ERRORS if isinstance(error, kind))
        made: Exception = getattr(self._types, name)(error.message)
        return made


class AsyncPomonaEngine:
    """DSPy's contract for asynchronous engines, over the same engine: it has an event loop of its own."""

    supports_response_schema = True
    supports_function_calling = True
    supported_params = PomonaEngine.supported_params

    def __init__(self, engine: Engine, model: str) -> None:
        self._engine = PomonaEngine(engine, model)

    async def complete(self, request: Any) -> Any:
        """As `PomonaEngine.complete`."""
        return await asyncio.to_thread(self._engine.complete, request)

    async def stream(self, request: Any) -> AsyncIterator[Any]:
        """As `PomonaEngine.stream`."""
        events = self._engine.stream(request)
        while (event := await asyncio.to_thread(next, events, None)) is not None:
            yield event

    async def aclose(self) -> None:
        """Nothing: the engine lives on."""


class _Parts:
    """Numbers the parts of an answer: a new one begins where the kind changes, and with each call."""

    def __init__(self) -> None:
        self.last = -1
        self._kind = ""

    def place(self, kind: str) -> int:
        if kind != self._kind:
            self._kind = kind
            self.last += 1
        return self.last


def messages_of(request: Any) -> list[dict[str, Any]]:
    """The turns of a `dspy.lm15.Request` in OpenAI's form. Raises UnsupportedField for audio, video and files."""
    system = request.system
    turns: list[dict[str, Any]] = []
    if system:
        turns.append({"role": "system", "content": system if isinstance(system, str) else "".join(part.text for part in system)})
    for message in request.messages:
        if message.role == "tool":
            turns += [{"role": "tool", "tool_call_id": part.id, "content": _text(part.content)} for part in message.parts]
        else:
            turns.append(_turn(message))
    return turns


def options_of(request: Any) -> dict[str, Any]:
    """The options of a `dspy.lm15.Request` as those of `Engine.chat`."""
    config = request.config
    options: dict[str, Any] = {name: getattr(config, name) for name in PLAIN_OPTIONS if getattr(config, name) is not None}
    if config.max_tokens is not None:
        options["max_tokens"] = config.max_tokens
    if config.stop:
        options["stop"] = list(config.stop)
    if config.logprobs is not None:
        options |= {"logprobs": True, "top_logprobs": config.logprobs}
    if config.reasoning is not None:
        options["reasoning"] = {"effort": "none" if config.reasoning.effort == "off" else config.reasoning.effort}
    if config.response_format is not None:
        options["response_format"] = _format(config.response_format)
    if request.tools:
        options["tools"] = [_tool(tool) for tool in request.tools]
        options |= _choice(config.tool_choice)
    return options | dict(config.extensions or {})


def _turn(message: Any) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role}
    content: list[dict[str, Any]] = []
    for part in message.parts:
        if part.type == "tool_call":
            function = {"name": part.name, "arguments": json.dumps(part.input)}
            turn.setdefault("tool_calls", []).append({"id": part.id, "type": "function", "function": function})
        elif part.type == "thinking":
            turn["reasoning_content"] = turn.get("reasoning_content", "") + part.text
        else:
            content.append(_part(part))
    plain = all(part["type"] == "text" for part in content)
    return {**turn, "content": "".join(part["text"] for part in content) if plain else content}


def _part(part: Any) -> dict[str, Any]:
    if part.type in {"text", "refusal"}:
        return {"type": "text", "text": part.text}
    if part.type in {"image", "document"} and (part.url or part.data):
        return {"type": "image_url", "image_url": {"url": part.url or f"data:{part.media_type};base64,{part.data}"}}
    raise UnsupportedField(f"A message has a part of type {part.type!r}; models here take texts and pictures.", param="messages")


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content if part.type == "text")


def _format(given: Mapping[str, Any]) -> dict[str, Any]:
    if given["type"] != "json_schema":
        return dict(given)
    held = {"name": given.get("name", "answer"), "schema": given["schema"], "strict": given.get("strict", True)}
    return {"type": "json_schema", "json_schema": held}


def _tool(tool: Any) -> dict[str, Any]:
    if tool.type != "function":
        raise UnsupportedField(f"The tool {tool.name!r} is of type {tool.type!r}, which only its vendor can run.", param="tools")
    return {"type": "function", "function": {"name": tool.name, "description": tool.description or "", "parameters": tool.parameters}}


def _choice(choice: Any) -> dict[str, Any]:
    if choice is None:
        return {}
    found: dict[str, Any] = {} if choice.parallel is None else {"parallel_tool_calls": choice.parallel}
    if len(choice.allowed) == 1 and choice.mode == "required":
        return found | {"tool_choice": {"type": "function", "function": {"name": choice.allowed[0]}}}
    if choice.allowed:
        allowed = [{"type": "function", "function": {"name": name}} for name in choice.allowed]
        return found | {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": allowed}}}
    return found | {"tool_choice": choice.mode}

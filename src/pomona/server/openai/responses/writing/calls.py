"""The items of calls: what a model called by name, as the item that the client expects."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from pomona.server.openai.custom_tools import InputReader
from pomona.server.openai.responses.ids import fresh_id
from pomona.server.openai.responses.reading.toolbox import Offered
from pomona.server.openai.responses.writing.events import PLAIN_TAIL, EventWriter, delta_front

Fields = dict[str, object]
_MOST_DIGITS = 18
_OPERATIONS = ("create_file", "update_file", "delete_file")


class CallItem(Protocol):
    """A call while it is made. Each method gives the events that are due."""

    def begin(self) -> list[bytes]:
        """The call has begun."""
        ...

    def push(self, arguments: str) -> list[bytes]:
        """More of its arguments, as JSON."""
        ...

    def end(self, *, complete: bool) -> tuple[list[bytes], Fields | None]:
        """No more comes. The item is None where what there is makes no item."""
        ...


def call_item(writer: EventWriter, index: int, offered: Offered, call_id: str) -> CallItem:
    """The item of a call of `offered`, at `index` of the output."""
    match offered.kind:
        case "function":
            return _FunctionCall(writer, index, offered, call_id)
        case "custom":
            return _CustomCall(writer, index, offered, call_id)
        case kind:
            return _ActionCall(writer, index, kind, call_id)


class _FunctionCall:
    """`function_call`, its arguments streamed as they are."""

    def __init__(self, writer: EventWriter, index: int, offered: Offered, call_id: str) -> None:
        self._writer = writer
        self._place: Fields = {"output_index": index}
        self._item: Fields = {"id": fresh_id("fc"), "type": "function_call", "call_id": call_id, "name": offered.name}
        if offered.namespace is not None:
            self._item["namespace"] = offered.namespace
        self._arguments: list[str] = []
        self._where = {"item_id": self._item["id"], **self._place}
        self._front = delta_front("response.function_call_arguments.delta", self._where)

    def begin(self) -> list[bytes]:
        item = {**self._item, "arguments": "", "status": "in_progress"}
        return [self._writer.write("response.output_item.added", {**self._place, "item": item})]

    def push(self, arguments: str) -> list[bytes]:
        self._arguments.append(arguments)
        return [self._writer.delta(self._front, arguments, PLAIN_TAIL)]

    def end(self, *, complete: bool) -> tuple[list[bytes], Fields | None]:
        arguments = "".join(self._arguments)
        item = {**self._item, "arguments": arguments, "status": "completed" if complete else "incomplete"}
        done = {**self._where, "arguments": arguments, "name": self._item["name"]}
        return [
            self._writer.write("response.function_call_arguments.done", done),
            self._writer.write("response.output_item.done", {**self._place, "item": item}),
        ], item


class _CustomCall:
    """`custom_tool_call`: the one string of its arguments, decoded as it comes."""

    def __init__(self, writer: EventWriter, index: int, offered: Offered, call_id: str) -> None:
        self._writer = writer
        self._place: Fields = {"output_index": index}
        self._item: Fields = {"id": fresh_id("ctc"), "type": "custom_tool_call", "call_id": call_id, "name": offered.name}
        if offered.namespace is not None:
            self._item["namespace"] = offered.namespace
        self._input = InputReader()
        self._texts: list[str] = []
        self._where = {"item_id": self._item["id"], **self._place}
        self._front = delta_front("response.custom_tool_call_input.delta", self._where)

    def begin(self) -> list[bytes]:
        item = {**self._item, "input": "", "status": "in_progress"}
        return [self._writer.write("response.output_item.added", {**self._place, "item": item})]

    def push(self, arguments: str) -> list[bytes]:
        return self._give(self._input.push(arguments))

    def end(self, *, complete: bool) -> tuple[list[bytes], Fields | None]:
        rest = self._give(_clean(self._input.finish()))
        text = "".join(self._texts)
        item = {**self._item, "input": text, "status": "completed" if complete else "incomplete"}
        return [
            *rest,
            self._writer.write("response.custom_tool_call_input.done", {**self._where, "input": text}),
            self._writer.write("response.output_item.done", {**self._place, "item": item}),
        ], item

    def _give(self, text: str) -> list[bytes]:
        self._texts.append(text)
        return [self._writer.delta(self._front, text, PLAIN_TAIL)] if text else []


class _ActionCall:
    """The calls whose items hold an object: they are shown when it is complete, and not at all where it was cut."""

    def __init__(self, writer: EventWriter, index: int, kind: str, call_id: str) -> None:
        self._writer = writer
        self._place: Fields = {"output_index": index}
        self._kind = kind
        prefix, _ = _ACTIONS[kind]
        self._item: Fields = {"id": fresh_id(prefix), "type": f"{kind}_call", "call_id": call_id}
        self._arguments: list[str] = []

    def begin(self) -> list[bytes]:
        return []

    def push(self, arguments: str) -> list[bytes]:
        self._arguments.append(arguments)
        return []

    def end(self, *, complete: bool) -> tuple[list[bytes], Fields | None]:
        if not complete:
            return [], None
        _, shape = _ACTIONS[self._kind]
        item = {**self._item, **shape(_object("".join(self._arguments))), "status": "completed"}
        return [
            self._writer.write("response.output_item.added", {**self._place, "item": {**item, "status": "in_progress"}}),
            *(self._commands(item["action"]) if self._kind == "shell" else ()),
            self._writer.write("response.output_item.done", {**self._place, "item": item}),
        ], item

    def _commands(self, action: object) -> list[bytes]:
        events: list[bytes] = []
        for index, command in enumerate(cast("Mapping[str, list[str]]", action)["commands"]):
            where = {**self._place, "command_index": index}
            for step, said in (("added", {"command": ""}), ("delta", {"delta": command}), ("done", {"command": command})):
                events.append(self._writer.write(f"response.shell_call_command.{step}", where | said))
        return events


def _object(arguments: str) -> Mapping[str, Any]:
    try:
        parsed = json.loads(arguments, parse_int=_number)
    except (ValueError, RecursionError):
        return {}
    return cast("Mapping[str, Any]", parsed if isinstance(parsed, dict) else {})


def _number(digits: str) -> int | float:
    """Integers of any length as numbers that every JSON encoder can write."""
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _shell(arguments: Mapping[str, Any]) -> Fields:
    limits = {name: _whole(arguments.get(name)) for name in ("timeout_ms", "max_output_length")}
    return {
        "action": {"commands": _strings(arguments.get("commands", arguments.get("command"))), **limits},
        "environment": {"type": "local"},
    }


def _local_shell(arguments: Mapping[str, Any]) -> Fields:
    command = arguments.get("command", arguments.get("commands"))
    words = ["bash", "-lc", _clean(command)] if isinstance(command, str) else _strings(command)
    folder = arguments.get("working_directory")
    action: Fields = {"type": "exec", "command": words, "env": {}, "timeout_ms": _whole(arguments.get("timeout_ms"))}
    return {"action": {**action, "user": None, "working_directory": _clean(folder) if isinstance(folder, str) else None}}


def _apply_patch(arguments: Mapping[str, Any]) -> Fields:
    inner = arguments.get("operation")
    given = cast("Mapping[str, Any]", inner if isinstance(inner, dict) else arguments)
    kind = given.get("type") if given.get("type") in _OPERATIONS else "update_file"
    operation: Fields = {"type": kind, "path": _text(given.get("path"))}
    return {"operation": operation if kind == "delete_file" else {**operation, "diff": _text(given.get("diff"))}}


def _tool_search(arguments: Mapping[str, Any]) -> Fields:
    return {"arguments": json.loads(_clean(json.dumps(arguments, ensure_ascii=False)), parse_int=_number), "execution": "client"}


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [_clean(value)]
    return [_text(each) for each in cast("list[object]", value)] if isinstance(value, list) else []


def _text(value: object) -> str:
    return _clean(value) if isinstance(value, str) else "" if value is None else json.dumps(value)


def _clean(text: str) -> str:
    """`text` without halves of surrogate pairs, which JSON can say and UTF-8 cannot."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53 else None


_ACTIONS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], Fields]]] = {
    "shell": ("sh", _shell),
    "local_shell": ("lsh", _local_shell),
    "apply_patch": ("apc", _apply_patch),
    "tool_search": ("tsc", _tool_search),
}

"""Tools that a client runs but describes by a dated type only: the schemas that Anthropic's models were taught, written out for others.

Sources: `anthropic.types.beta.beta_memory_tool_20250818_*`, `anthropic.types.{browser,computer}_*_input`, and the tools' documentation.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pomona.core.messages import ToolDefinition
from pomona.server.anthropic.wire import ToolBody

Schema = dict[str, Any]
_STRING: Schema = {"type": "string"}
_INTEGER: Schema = {"type": "integer"}
_NUMBER: Schema = {"type": "number"}
_POINT: Schema = {"type": "array", "items": _INTEGER, "minItems": 2, "maxItems": 2, "description": "[x, y] in pixels."}
_REGION: Schema = {"type": "array", "items": _INTEGER, "minItems": 4, "maxItems": 4, "description": "[x0, y0, x1, y1] in pixels."}
_LINES: Schema = {"type": "array", "items": _INTEGER, "description": "First and last line, from 1; -1 is the end of the file."}
_DIRECTION: Schema = {"type": "string", "enum": ["up", "down", "left", "right"]}
_KINDS = {"bash": "bash_", "text_editor": "text_editor_", "memory": "memory_", "computer": "computer_20"}
TOOLSETS = ("browser", "computer")


def inner_name(name: str, toolset: str | None) -> str:
    """What the model calls a member of a toolset; other tools keep their names."""
    return f"{toolset}_{name}" if toolset else name


def dated_tool(tool: ToolBody) -> ToolDefinition | None:
    """The definition of a tool that its type names; None where the type is not one of a client's tools."""
    kind = next((kind for kind, prefix in _KINDS.items() if (tool.type or "").startswith(prefix)), None)
    if kind is None:
        return None
    name, description, schema = _MAKERS[kind](tool)
    return ToolDefinition(name=tool.name or name, description=description, parameters=schema, strict=bool(tool.strict))


def toolset_of(tool: ToolBody) -> str | None:
    """`browser` or `computer` where the tool is a whole set of them."""
    return next((name for name in TOOLSETS if (tool.type or "").startswith(f"{name}_toolset_")), None)


def toolset_members(tool: ToolBody, toolset: str) -> list[tuple[str, ToolDefinition]]:
    """The tools of a set that its configuration leaves on, each behind the name that the client knows."""
    off = {name for name, config in (tool.configs or {}).items() if _is_off(config)}
    return [
        (name, ToolDefinition(name=inner_name(name, toolset), description=description, parameters=schema))
        for name, (description, schema) in (_BROWSER if toolset == "browser" else _COMPUTER).items()
        if name not in off
    ]


def _is_off(config: object) -> bool:
    match config:
        case {"enabled": False} | {"defer_loading": True}:
            return True
        case _:
            return False


def _object(properties: Mapping[str, Schema], required: Sequence[str] = ()) -> Schema:
    return {"type": "object", "properties": dict(properties), "required": list(required)}


def _bash(tool: ToolBody) -> tuple[str, str, Schema]:
    del tool
    properties = {
        "command": {**_STRING, "description": "The command to run. Needed unless the shell is restarted."},
        "restart": {"type": "boolean", "description": "True restarts the shell."},
    }
    return "bash", "Run commands in a bash shell that keeps its state between calls.", _object(properties)


def _text_editor(tool: ToolBody) -> tuple[str, str, Schema]:
    """The tool of 2025-04-29 and later cannot undo; that of 2025-07-28 names the inserted text `insert_text`."""
    date = (tool.type or "").rpartition("_")[2]
    commands = ["view", "create", "str_replace", "insert", *(["undo_edit"] if date < "20250429" else [])]
    properties = {
        "command": {**_STRING, "enum": commands},
        "path": {**_STRING, "description": "Absolute path of a file or a folder."},
        "file_text": {**_STRING, "description": "For create: the whole text of the file."},
        "old_str": {**_STRING, "description": "For str_replace: the text to replace; it must occur exactly once."},
        "new_str": {**_STRING, "description": "For str_replace: the text to put in its place."},
        "insert_line": {**_INTEGER, "description": "For insert: the line after which to insert; 0 is the beginning."},
        "view_range": {**_LINES, "description": f"For view of a file. {_LINES['description']}"},
    }
    if date >= "20250728":
        properties["insert_text"] = {**_STRING, "description": "For insert: the text."}
    name = "str_replace_editor" if date < "20250429" else "str_replace_based_edit_tool"
    return name, "View, create and edit text files.", _object(properties, ("command", "path"))


def _memory(tool: ToolBody) -> tuple[str, str, Schema]:
    del tool
    properties = {
        "command": {**_STRING, "enum": ["view", "create", "str_replace", "insert", "delete", "rename"]},
        "path": {**_STRING, "description": "Path under /memories; for all commands but rename."},
        "view_range": {**_LINES, "description": f"For view of a file. {_LINES['description']}"},
        "file_text": {**_STRING, "description": "For create: the whole text of the file."},
        "old_str": {**_STRING, "description": "For str_replace: the text to replace; it must occur exactly once."},
        "new_str": {**_STRING, "description": "For str_replace: the text to put in its place."},
        "insert_line": {**_INTEGER, "description": "For insert: the line after which to insert; 0 is the beginning."},
        "insert_text": {**_STRING, "description": "For insert: the text."},
        "old_path": {**_STRING, "description": "For rename: the path as it is."},
        "new_path": {**_STRING, "description": "For rename: the path as it shall be."},
    }
    description = "Keep notes in files under /memories, across conversations. View /memories before you begin a task."
    return "memory", description, _object(properties, ("command",))


def _computer(tool: ToolBody) -> tuple[str, str, Schema]:
    """The tools of 2025 scroll, wait, hold keys and press buttons; that of 2025-11-24 zooms where that is enabled."""
    date = (tool.type or "").rpartition("_")[2]
    actions = ["key", "type", "mouse_move", "left_click", "left_click_drag", "right_click", "middle_click", "double_click"]
    actions += ["screenshot", "cursor_position"]
    properties = {
        "coordinate": _POINT,
        "text": {**_STRING, "description": "For type: the text. For key and hold_key: keys as xdotool names them, such as ctrl+s."},
    }
    if date >= "20250124":
        actions += ["left_mouse_down", "left_mouse_up", "triple_click", "scroll", "wait", "hold_key"]
        properties |= {"start_coordinate": _POINT, "scroll_direction": _DIRECTION, "scroll_amount": _INTEGER}
        properties["duration"] = {**_NUMBER, "description": "For wait and hold_key: seconds."}
    if tool.enable_zoom:
        actions.append("zoom")
        properties["region"] = _REGION
    size = f" The screen is {tool.display_width_px} by {tool.display_height_px} pixels." if tool.display_width_px else ""
    schema = _object({"action": {**_STRING, "enum": actions}, **properties}, ("action",))
    return "computer", f"Use mouse and keyboard of a computer.{size}", schema


_MAKERS: Mapping[str, Callable[[ToolBody], tuple[str, str, Schema]]] = {
    "bash": _bash,
    "text_editor": _text_editor,
    "memory": _memory,
    "computer": _computer,
}


def _table(
    rows: Mapping[str, tuple[str, Mapping[str, Schema], Sequence[str]]], more: Mapping[str, Schema]
) -> dict[str, tuple[str, Schema]]:
    return {name: (text, _object({**properties, **more}, required)) for name, (text, properties, required) in rows.items()}


_HELD: Schema = {**_STRING, "description": "Keys to hold meanwhile, such as ctrl+shift."}
_AT_POINT: Mapping[str, Schema] = {"coordinate": _POINT, "text": _HELD}
_COMPUTER = _table(
    {
        "key": ("Press keys, such as ctrl+s.", {"text": _STRING, "repeat": _INTEGER}, ("text",)),
        "hold_key": ("Hold a key for some seconds.", {"text": _STRING, "duration": _INTEGER}, ("text", "duration")),
        "type": ("Type text.", {"text": _STRING}, ("text",)),
        "cursor_position": ("Ask where the cursor is.", {}, ()),
        "mouse_move": ("Move the mouse.", {"coordinate": _POINT}, ("coordinate",)),
        "left_mouse_down": ("Press the left button.", {}, ()),
        "left_mouse_up": ("Release the left button.", {}, ()),
        "left_click": ("Click with the left button.", _AT_POINT, ()),
        "left_click_drag": (
            "Drag with the left button.",
            {"start_coordinate": _POINT, "coordinate": _POINT, "text": _HELD},
            ("coordinate", "start_coordinate"),
        ),
        "right_click": ("Click with the right button.", _AT_POINT, ()),
        "middle_click": ("Click with the middle button.", _AT_POINT, ()),
        "double_click": ("Click twice.", _AT_POINT, ()),
        "triple_click": ("Click three times.", _AT_POINT, ()),
        "scroll": (
            "Scroll.",
            {"scroll_direction": _DIRECTION, "scroll_amount": _INTEGER, **_AT_POINT},
            ("scroll_amount", "scroll_direction"),
        ),
        "wait": ("Wait some seconds.", {"duration": _INTEGER}, ("duration",)),
        "screenshot": ("Take a picture of the screen.", {}, ()),
        "zoom": ("Take a picture of a part of the screen.", {"region": _REGION}, ("region",)),
    },
    {},
)
_TAB: Schema = {**_STRING, "description": "The tab; the active one if left out."}
_REF = _object({"type": {"const": "ref"}, "ref": {**_STRING, "description": "A reference that read_page or find gave."}}, ("type", "ref"))
_PLACE = _object({"type": {"const": "coordinate"}, "x": _INTEGER, "y": _INTEGER}, ("type", "x", "y"))
_CLICK: Mapping[str, Schema] = {"target": {"anyOf": [_REF, _PLACE]}, "modifiers": _HELD}
_VALUE: Schema = {"type": ["string", "number", "boolean"]}
_LIST: Schema = {"type": "array", "items": _STRING}
_BROWSER = _table(
    {
        "navigate": ("Open an address.", {"url": _STRING}, ("url",)),
        "read_page": (
            "Read the page as a tree of elements with references.",
            {"depth": _INTEGER, "filter": {**_STRING, "enum": ["all", "interactive"]}, "ref": _STRING},
            (),
        ),
        "get_page_text": ("Read the text of the page.", {}, ()),
        "read_console": ("Read the console of the page.", {}, ()),
        "read_network": ("Read the network requests of the page.", {}, ()),
        "find": ("Find elements by a description.", {"query": _STRING}, ("query",)),
        "form_input": ("Set the value of a form field.", {"target": _REF, "value": _VALUE}, ("target", "value")),
        "file_upload": ("Choose files in a file field.", {"target": _REF, "paths": _LIST, "document_ids": _LIST}, ("target",)),
        "scroll_to": ("Scroll to an element.", {"target": _REF}, ("target",)),
        "screenshot": ("Take a picture of the page.", {}, ()),
        "zoom": ("Take a picture of a part of the page.", {"region": _REGION}, ("region",)),
        "left_click": ("Click with the left button.", _CLICK, ("target",)),
        "right_click": ("Click with the right button.", _CLICK, ("target",)),
        "middle_click": ("Click with the middle button.", _CLICK, ("target",)),
        "double_click": ("Click twice.", _CLICK, ("target",)),
        "triple_click": ("Click three times.", _CLICK, ("target",)),
        "hover": ("Hold the mouse over something.", {"target": _CLICK["target"]}, ("target",)),
        "left_click_drag": ("Drag with the left button.", {"from": _PLACE, "target": _PLACE}, ("from", "target")),
        "left_mouse_down": ("Press the left button.", {"target": _PLACE}, ("target",)),
        "left_mouse_up": ("Release the left button.", {"target": _PLACE}, ("target",)),
        "mouse_move": ("Move the mouse.", {"target": _PLACE}, ("target",)),
        "scroll": (
            "Scroll.",
            {"scroll_direction": _DIRECTION, "scroll_amount": _INTEGER, "target": _PLACE},
            ("scroll_direction", "target"),
        ),
        "type": ("Type text.", {"text": _STRING}, ("text",)),
        "key": ("Press keys, such as ctrl+a.", {"text": _STRING, "repeat": _INTEGER}, ("text",)),
        "hold_key": ("Hold a key for some seconds.", {"text": _STRING, "duration": _NUMBER}, ("text", "duration")),
        "wait": ("Wait some seconds.", {"duration": _NUMBER}, ("duration",)),
        "javascript_exec": ("Run JavaScript in the page.", {"text": _STRING}, ("text",)),
    },
    {"tab_id": _TAB},
) | _table(
    {
        "list_tabs": ("List the tabs.", {}, ()),
        "new_tab": ("Open a tab.", {}, ()),
        "switch_tab": ("Go to a tab.", {"tab_id": _STRING}, ("tab_id",)),
        "close_tab": ("Close a tab.", {"tab_id": _STRING}, ("tab_id",)),
    },
    {},
)

"""Claude Code, Codex and opencode, started by `pomona launch`: a headless prompt, and a tool loop whose second turn hits the cache.

The bundled model is too small for code. It does call a tool that knows the weather, which Claude Code and opencode get by the Model
Context Protocol, and it takes a question for a command, which Codex runs.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import Terminal

WEATHER = str(Path(__file__).with_name("weather.py"))
QUESTION = "What is the weather in Paris?"
RESULT = "It is sunny in Paris, 21 degrees."
SHORT = "You are a helpful assistant."


def json_lines(printed: str) -> list[dict[str, Any]]:
    """The JSON objects among the lines."""
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


def test_claude_code_answers(terminal: Terminal) -> None:
    printed = terminal.launch("claude", "-p", "Hello!", "--output-format", "json", "--no-session-persistence")

    [result] = json_lines(printed)
    assert result["is_error"] is False
    assert result["result"].strip()


def test_claude_code_calls_a_tool_and_finds_its_first_turn_in_the_cache(terminal: Terminal) -> None:
    tools = terminal.write("mcp.json", {"mcpServers": {"weather": {"command": sys.executable, "args": [WEATHER]}}})

    printed = terminal.launch(
        *("claude", "-p", QUESTION, "--tools", "", "--mcp-config", str(tools), "--strict-mcp-config"),
        *("--allowedTools", "mcp__weather__get_weather", "--system-prompt", SHORT, "--no-session-persistence"),
        *("--output-format", "stream-json", "--verbose"),
    )

    lines = json_lines(printed)
    blocks = [block for line in lines if line["type"] in {"assistant", "user"} for block in line["message"]["content"]]
    [call] = [block for block in blocks if block["type"] == "tool_use"]
    assert (call["name"], call["input"]["city"]) == ("mcp__weather__get_weather", "Paris")
    assert RESULT in json.dumps([block for block in blocks if block["type"] == "tool_result"])
    result = lines[-1]
    assert (result["is_error"], result["num_turns"]) == (False, 2)
    assert result["usage"]["cache_read_input_tokens"] > 0


def test_codex_answers(terminal: Terminal) -> None:
    lines = json_lines(terminal.launch("codex", "exec", "--json", "--skip-git-repo-check", "Hello!"))

    assert [line["item"]["text"] for line in lines if line.get("item", {}).get("type") == "agent_message"]
    assert lines[-1]["type"] == "turn.completed"


def test_codex_runs_a_command_and_finds_its_first_turn_in_the_cache(terminal: Terminal) -> None:
    lines = json_lines(terminal.launch("codex", "exec", "--json", "--skip-git-repo-check", QUESTION))

    done = [line["item"] for line in lines if line["type"] == "item.completed"]
    [command] = [item for item in done if item["type"] == "command_execution"]
    assert command["exit_code"] == 127  # no machine has what the bundled model takes for a command
    assert "metadata" not in json.dumps(done)  # Codex complains of models that it is told nothing of
    assert lines[-1]["type"] == "turn.completed"
    assert lines[-1]["usage"]["cached_input_tokens"] > 0


@pytest.mark.parametrize("with_tool", [False, True])
def test_opencode_answers_and_calls_a_tool(terminal: Terminal, with_tool: bool) -> None:
    terminal.write(
        "opencode.json",
        {
            "agent": {"build": {"prompt": SHORT}, "title": {"disable": True}},
            "mcp": {"weather": {"type": "local", "command": [sys.executable, WEATHER], "enabled": with_tool}},
            "tools": {"*": False, "weather_get_weather": with_tool},
        },
    )

    lines = json_lines(terminal.launch("--full", "opencode", "run", "--format", "json", QUESTION if with_tool else "Hello!"))

    assert "".join(line["part"]["text"] for line in lines if line["type"] == "text").strip()
    calls = [line["part"] for line in lines if line["type"] == "tool_use"]
    assert {call["tool"] for call in calls} == ({"weather_get_weather"} if with_tool else set())
    if with_tool:
        assert {call["state"]["output"] for call in calls} == {RESULT}
        finished = [line["part"]["tokens"] for line in lines if line["type"] == "step_finish"]
        assert finished[-1]["cache"]["read"] > 0

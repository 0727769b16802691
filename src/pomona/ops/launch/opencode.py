"""opencode: its whole configuration fits into one variable, which is merged over the person's own files."""

import json
from collections.abc import Sequence

from pomona.ops.launch.plan import SHORT_INSTRUCTIONS, Client, Plan, Target

LONGEST_ANSWER = 32_000
SHORT_TOOLS = ("read", "edit", "write")
ROOM_FOR_BASH = 8192
"""Context from which on the description of its bash tool, some 1,500 tokens, is affordable."""


def _plan(target: Target, _arguments: Sequence[str]) -> Plan:
    model: dict[str, object] = {"name": target.model}
    if target.max_context is not None:
        model["limit"] = {"context": target.max_context, "output": min(LONGEST_ANSWER, target.max_context // 4)}
    if target.vision:
        model |= {"attachment": True, "modalities": {"input": ["text", "image", "pdf"], "output": ["text"]}}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "Pomona",
        "options": {"baseURL": f"{target.url}/v1", "apiKey": target.api_key},
        "models": {target.model: model},
    }
    name = f"pomona/{target.model}"
    configuration: dict[str, object] = {"provider": {"pomona": provider}, "model": name, "small_model": name, "autoupdate": False}
    if target.compact:
        configuration["agent"] = {"build": {"prompt": SHORT_INSTRUCTIONS}, "title": {"disable": True}}
        bash = target.max_context is None or target.max_context >= ROOM_FOR_BASH
        configuration["tools"] = {"*": False, "bash": bash} | dict.fromkeys(SHORT_TOOLS, True)
    return Plan(environment={"OPENCODE_CONFIG_CONTENT": json.dumps(configuration)})


OPENCODE = Client(
    name="opencode", title="opencode", program="opencode", install="npm install -g opencode-ai", own_tokens=10_000, plan=_plan
)

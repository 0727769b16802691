"""Codex: overrides on its command line, so that its own configuration file stays as it is."""

import json
from collections.abc import Sequence

from pomona.ops.launch.plan import SHORT_INSTRUCTIONS, Client, Plan, Target

KEY_VARIABLE = "POMONA_API_KEY"
IDLE_MILLISECONDS = 600_000
LEFT_OUT = ("multi_agent", "goals", "collaboration_modes", "apps", "view_image")
"""Features whose tools and instructions are long."""


def _plan(target: Target, _arguments: Sequence[str]) -> Plan:
    settings: dict[str, object] = {
        "model": target.model,
        "model_provider": "pomona",
        "model_providers.pomona.name": "Pomona",
        "model_providers.pomona.base_url": f"{target.url}/v1",
        "model_providers.pomona.env_key": KEY_VARIABLE,
        "model_providers.pomona.wire_api": "responses",
        "model_providers.pomona.stream_idle_timeout_ms": IDLE_MILLISECONDS,
    }
    if target.max_context is not None:
        settings["model_context_window"] = target.max_context
    files: dict[str, str] = {}
    if target.codex_entry is not None:
        files["models.json"] = json.dumps({"models": [target.codex_entry]})
        settings["model_catalog_json"] = "{folder}/models.json"
    if target.compact:
        files["instructions.md"] = SHORT_INSTRUCTIONS + "\n"
        settings |= {
            "model_instructions_file": "{folder}/instructions.md",
            "web_search": "disabled",
            "include_permissions_instructions": False,
            "include_apps_instructions": False,
            "include_environment_context": False,
            "skills.include_instructions": False,
            **{f"features.{feature}": False for feature in LEFT_OUT},
        }
    # A JSON string, number or truth value is written the same in TOML.
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={json.dumps(value)}")]
    return Plan(arguments=tuple(words), environment={KEY_VARIABLE: target.api_key}, files=files)


CODEX = Client(name="codex", title="Codex", program="codex", install="npm install -g @openai/codex", own_tokens=13_000, plan=_plan)

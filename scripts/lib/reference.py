"""Write the pages of docs/reference from the code; with --check, fail if they are not what the code says."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from pomona.cli import root
from pomona.core.metrics import Metrics
from pomona.core.settings import PROFILES, Settings

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference"
WIDTH = 100
Schema = Mapping[str, Any]


def main(arguments: list[str]) -> int:
    """Write or check every page; the exit code."""
    stale: list[str] = []
    for name, page in PAGES.items():
        path = FOLDER / name
        text = "\n".join(page()) + "\n"
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    if stale:
        print(f"docs/reference is not what the code says: {', '.join(stale)}. Run: scripts/docs reference", file=sys.stderr)
    return 1 if stale else 0


def settings_page() -> Iterator[str]:
    """A table per section, then the profiles."""
    yield "# Settings\n"
    yield "Made from `src/pomona/core/settings/`. How to set one: [change settings](../howto/change-settings.md)."
    schema: Schema = Settings.model_json_schema()
    for section, reference in schema["properties"].items():
        model: Schema = schema["$defs"][reference["$ref"].rpartition("/")[2]]
        yield f"\n## {section}\n\n{model['description']}\n"
        yield "| setting | values | default | |\n|---|---|---|---|"
        for name, setting in model["properties"].items():
            yield row(f"`{section}.{name}`", values(setting), default(setting), setting["description"])
    yield "\n## Profiles\n\n`--profile NAME` or `POMONA_PROFILE=NAME` changes several defaults together.\n"
    yield "| profile | setting | value |\n|---|---|---|"
    for profile, sections in PROFILES.items():
        for section, fields in sections.items():
            for name, value in fields.items():
                yield row(f"`{profile}`", f"`{section}.{name}`", f"`{json.dumps(value)}`")


def values(setting: Schema) -> str:
    """What a setting may be: type and bounds, or the words to choose from."""
    return " or ".join(one_of_values(kind) for kind in setting.get("anyOf", [setting]))


def one_of_values(kind: Schema) -> str:
    """One alternative of a type."""
    if "enum" in kind:
        return ", ".join(f"`{choice}`" for choice in kind["enum"])
    if kind["type"] == "null":
        return "unset"
    limits = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"))
    bounds = ", ".join(f"{sign} {kind[key]}" for key, sign in limits if key in kind)
    return f"{kind['type']} {bounds}".strip()


def default(setting: Schema) -> str:
    """As one would write it in a file."""
    if "default" not in setting:
        return "none"
    return "unset" if setting["default"] is None else f"`{json.dumps(setting['default'])}`"


def metrics_page() -> Iterator[str]:
    """One table."""
    yield "# Metrics\n"
    yield "Made from `src/pomona/core/metrics.py`. Where to read them: [watch a server](../howto/watch-a-server.md).\n"
    yield "| metric | kind | labels | |\n|---|---|---|---|"
    for metric in Metrics().declarations:
        yield row(f"`{metric.name}`", metric.kind, ", ".join(f"`{label}`" for label in metric.labels), metric.help)


def commands_page() -> Iterator[str]:
    """The help of every command."""
    yield "# Commands\n"
    yield "Made from the commands themselves. In a clone, write `scripts/pomona` for `pomona`.\n"
    parent = click.Context(root, info_name="pomona", terminal_width=WIDTH, max_content_width=WIDTH, help_option_names=["-h", "--help"])
    yield from fenced(root.get_help(parent))
    for name in root.list_commands(parent):
        command = root.get_command(parent, name)
        if command is not None:
            yield f"\n## pomona {name}\n"
            yield from fenced(command.get_help(click.Context(command, parent=parent, info_name=name)))


def fenced(text: str) -> Iterator[str]:
    """A block of plain text, without colours."""
    yield "```text"
    yield click.unstyle("\n".join(line.rstrip() for line in text.split("\n")))
    yield "```"


def row(*cells: str) -> str:
    """A row of a table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


PAGES: Mapping[str, Callable[[], Iterator[str]]] = {
    "settings.md": settings_page,
    "metrics.md": metrics_page,
    "commands.md": commands_page,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

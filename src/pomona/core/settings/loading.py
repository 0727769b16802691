"""From many sources to one tree of settings, and where each value came from.

Order, strongest first: command line > environment (`POMONA_SECTION__FIELD`) > project file (`pomona.toml`, `pomona.yaml`)
> user file (`~/.config/pomona/config.toml`) > profile > defaults. Read once, in `pomona.app`; nothing else reads the environment.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import yaml
from pydantic import ValidationError

from pomona.core.errors import ConfigurationError
from pomona.core.settings.sections import Settings

PROJECT_FILES = ("pomona.toml", "pomona.yaml", "pomona.yml")
ENVIRONMENT_PREFIX = "POMONA_"
Tree = dict[str, object]
PROFILES: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "development": {"logging": {"level": "debug"}},
    "production": {"logging": {"format": "json"}, "server": {"shutdown_grace_seconds": 30.0}},
    "test": {
        "server": {"port": 0, "admin_port": 0},
        "logging": {"level": "warning"},
        "residency": {"spare_process": False},
        "engine": {"disk_cache_bytes": 0},
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSettings:
    """The settings and, per dotted name, where each value that is not a default came from."""

    settings: Settings
    origins: Mapping[str, str]

    def origin(self, name: str) -> str:
        """Where the value of `section.field` came from."""
        return self.origins.get(name, "default")


def load_settings(
    *,
    command_line: Mapping[str, object],
    environment: Mapping[str, str],
    project_folder: Path,
    user_file: Path,
    profile: str | None = None,
) -> LoadedSettings:
    """Merge all sources. `command_line` maps dotted names to values. Raises ConfigurationError naming value and origin."""
    merged: Tree = {}
    origins: dict[str, str] = {}
    for origin, tree in _sources(command_line, environment, project_folder, user_file, profile):
        _merge(merged, tree, origins, origin)
    try:
        return LoadedSettings(settings=Settings.model_validate(merged), origins=origins)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, origins)) from None


def _sources(
    command_line: Mapping[str, object],
    environment: Mapping[str, str],
    project_folder: Path,
    user_file: Path,
    profile: str | None,
) -> list[tuple[str, Tree]]:
    """(origin, tree) pairs, weakest first."""
    sources: list[tuple[str, Tree]] = []
    profile = profile or environment.get("POMONA_PROFILE")
    if profile:
        if profile not in PROFILES:
            raise ConfigurationError(f"There is no profile {profile!r}. Choose one of {', '.join(PROFILES)}.")
        sources.append((f"profile {profile}", cast("Tree", PROFILES[profile])))
    project_files = [project_folder / name for name in PROJECT_FILES]
    for path in (user_file, *project_files):
        if path.is_file():
            sources.append((str(path), _read_file(path)))
    sources += [(f"environment {name}", tree) for name, tree in _read_environment(environment)]
    sources.append(("command line", _nest(command_line)))
    return sources


def _read_file(path: Path) -> Tree:
    try:
        text = path.read_text(encoding="utf-8")
        tree = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text) or {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"The settings file {str(path)!r} cannot be read: {error}. Mend or remove it.") from None
    if not isinstance(tree, dict):
        raise ConfigurationError(f"The settings file {str(path)!r} must hold sections, such as [server]; it holds a {type(tree).__name__}.")
    return cast("Tree", tree)


def _read_environment(environment: Mapping[str, str]) -> list[tuple[str, Tree]]:
    """Variables named POMONA_SECTION__FIELD, each as a tree of one value."""
    found: list[tuple[str, Tree]] = []
    for name, text in sorted(environment.items()):
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name:
            dotted = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
            found.append((name, _nest({dotted: parse_value(text)})))
    return found


def parse_value(text: str) -> object:
    """JSON where it is JSON (lists, objects, null), else the text itself; pydantic turns text into numbers."""
    if text[:1] in "[{" or text == "null":
        try:
            return cast("object", json.loads(text))
        except ValueError:
            return text
    return text


def _nest(dotted: Mapping[str, object]) -> Tree:
    tree: Tree = {}
    for name, value in dotted.items():
        *parents, leaf = name.split(".")
        here = tree
        for parent in parents:
            here = cast("Tree", here.setdefault(parent, {}))
        here[leaf] = value
    return tree


def _merge(into: Tree, tree: Mapping[str, object], origins: dict[str, str], origin: str, path: str = "") -> None:
    for key, value in tree.items():
        name = f"{path}{key}"
        if isinstance(value, dict) and isinstance(into.setdefault(key, {}), dict):
            _merge(cast("Tree", into[key]), cast("Tree", value), origins, origin, f"{name}.")
        else:
            into[key] = value
            origins[name] = origin


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    lines: list[str] = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        origin = origins.get(name) or next((origin for leaf, origin in origins.items() if leaf.startswith(f"{name}.")), "defaults")
        if problem["type"] == "extra_forbidden":
            lines.append(f"There is no setting {name!r} (from {origin}). `pomona config:show` lists all settings.")
        else:
            lines.append(f"Setting {name} = {problem['input']!r} (from {origin}): {problem['msg']}.")
    return "\n".join(lines)

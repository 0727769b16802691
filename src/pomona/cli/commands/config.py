"""`pomona config:show`: every setting, its value and where it came from."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import click

from pomona.cli.options import PomonaCommand, invocation_of, json_option

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pomona.core.settings import LoadedSettings

MASK = "********"
SECRET_WORDS = ("key", "token", "secret", "password")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSetting:
    """A row of the table. A secret's value is masked."""

    name: str
    value: object
    origin: str
    description: str


@click.command(cls=PomonaCommand)
@click.argument("prefix", default="", metavar="[PREFIX]")
@json_option
@click.pass_context
def show_config(context: click.Context, prefix: str, as_json: bool) -> None:
    """Show every setting, its value and where it came from.

    PREFIX is a section, such as "engine", or the beginning of a name, such as "server.ad".
    """
    from pomona.cli.output import print_json, print_table

    rows = shown_settings(invocation_of(context).settings())
    chosen = [row for row in rows if row.name.startswith(prefix)]
    if not chosen:
        raise click.UsageError(_no_such(prefix, [row.name for row in rows]), context)
    if as_json:
        print_json({row.name: {"value": row.value, "origin": row.origin, "description": row.description} for row in chosen})
        return
    cells = [(row.name, _text(row.value), (row.origin, "dim" if row.origin == "default" else "green")) for row in chosen]
    print_table(("setting", "value", "from"), cells, color=context.color)
    if not prefix:
        click.secho("\nChange one with --set section.field=value, POMONA_SECTION__FIELD=value, or a file pomona.toml.", dim=True)


def shown_settings(loaded: "LoadedSettings") -> list[ShownSetting]:
    """All settings in the order of their declaration."""
    return [
        ShownSetting(name=name, value=_masked(name, value), origin=_origin(loaded, name), description=description)
        for name, value, description in _leaves(loaded.settings)
    ]


def _leaves(section: "BaseModel", path: str = "") -> Iterator[tuple[str, object, str]]:
    from pydantic import BaseModel

    plain = cast("dict[str, object]", section.model_dump(mode="json"))
    for name, field in type(section).model_fields.items():
        value: object = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", plain[name], field.description or ""


def _origin(loaded: "LoadedSettings", name: str) -> str:
    """A table, such as `models.aliases`, may have been set entry by entry: then the origins of all entries."""
    inside = {origin: None for leaf, origin in loaded.origins.items() if leaf.startswith(f"{name}.")}
    return ", ".join(inside) or loaded.origin(name)


def _masked(name: str, value: object) -> object:
    """Secrets never reach the screen; counts of tokens are none."""
    words = name.rpartition(".")[2].split("_")
    return MASK if value is not None and not isinstance(value, (int, float)) and any(word in SECRET_WORDS for word in words) else value


def _text(value: object) -> str:
    import json

    return value if isinstance(value, str) else "unset" if value is None else json.dumps(value, ensure_ascii=False)


def _no_such(prefix: str, names: list[str]) -> str:
    close = difflib.get_close_matches(prefix, [*names, *sorted({name.partition(".")[0] for name in names})], n=2, cutoff=0.5)
    ending = f"Did you mean {' or '.join(repr(name) for name in close)}?" if close else "`pomona config:show` lists all."
    return f"No setting begins with {prefix!r}. {ending}"

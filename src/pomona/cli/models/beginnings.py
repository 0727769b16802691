"""`pomona cache:show` and `pomona cache:clear`: beginnings of prompts that engines keep on disk."""

import sys
import time
from typing import TYPE_CHECKING

import click

from pomona.cli.options import PomonaCommand, invocation_of, json_option
from pomona.core.errors import NotFound, PomonaError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from click.shell_completion import CompletionItem

    from pomona.core.settings import Settings
    from pomona.engine.cache.disk.folders import Kept

UNKNOWN = "(unknown)"
"""Stands for models whose folder does not say whose it is."""


def complete_kept(context: click.Context, _parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Models that something is kept of and that begin with `incomplete`. Whatever goes wrong, there are no suggestions."""
    from click.shell_completion import CompletionItem

    from pomona.cli.output import human_bytes

    del context
    try:
        kept = _look()
    except (PomonaError, OSError):
        return []
    return [CompletionItem(each.model, help=human_bytes(each.nbytes)) for each in kept if each.model and each.model.startswith(incomplete)]


@click.command(cls=PomonaCommand)
@json_option
@click.pass_context
def show_cache(context: click.Context, as_json: bool) -> None:
    """Show what engines keep on disk of the beginnings of prompts: files, bytes and last use by model, and the limit of all together.

    It needs no server. With --json times are Unix seconds.
    """
    from pomona.app import cache_folder
    from pomona.cli.output import human_bytes, print_json, print_table
    from pomona.engine.cache.disk.folders import ENGINES, bound_bytes

    settings = invocation_of(context).settings(log_level="warning").settings
    kept, limit = _look(), settings.engine.disk_cache_bytes
    held = sum(each.nbytes for each in kept)
    bound, folder = int(bound_bytes(cache_folder(), limit, held)), str(cache_folder() / ENGINES)
    if as_json:
        totals = {"files": sum(each.files for each in kept), "bytes": held, "limit_bytes": limit, "bound_bytes": bound}
        print_json({"folder": folder, **totals, "models": [document(each) for each in kept]})
        return
    if kept:
        columns = ("model", "files", "size", "used last", "oldest use")
        print_table(columns, [_row(each) for each in kept], color=context.color, numeric=("files", "size"))
    of_limit = "engine.disk_cache_bytes is 0: nothing is written" if not limit else f"of {human_bytes(bound)}"
    why = f", a quarter of the free disk (engine.disk_cache_bytes allows {human_bytes(limit)})" if bound < limit else ""
    click.echo(f"{human_bytes(held)} {of_limit}{why}, in {folder}")


@click.command(cls=PomonaCommand)
@click.argument("model", required=False, shell_complete=complete_kept)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_context
def clear_cache(context: click.Context, model: str | None, yes: bool, as_json: bool) -> None:
    """Delete what engines keep on disk of the beginnings of prompts: that of MODEL, a name from `pomona cache:show`, or all.

    It needs no server, and servers that run go on: they compute such beginnings anew, or have them in memory still
    (`POST /admin/cache/prompts/clear` empties that).

    \b
      pomona cache:clear pomona-tiny
      pomona cache:clear --yes
    """
    from pomona.cli.output import human_bytes, print_json
    from pomona.engine.cache.disk.folders import delete_folders

    kept = _look()
    if model is not None:
        kept = _find(kept, model, invocation_of(context).settings(log_level="warning").settings)
    files, freed = sum(each.files for each in kept), sum(each.nbytes for each in kept)
    if kept:
        whose = "of all models" if model is None else f"of {' and '.join(repr(each.model or UNKNOWN) for each in kept)}"
        _ask(context, f"Delete {files} files {whose} ({human_bytes(freed)})?", yes=yes)
        delete_folders(folder for each in kept for folder in each.folders)
    if as_json:
        print_json({"models": [each.model for each in kept], "files": files, "freed_bytes": freed})
    else:
        click.echo(f"Freed {human_bytes(freed)} in {files} files.")


def document(kept: "Kept") -> dict[str, object]:
    """As plain data; times in Unix seconds."""
    return {
        "model": kept.model,
        "files": kept.files,
        "bytes": kept.nbytes,
        "versions": len(kept.folders),
        "oldest_use": kept.oldest,
        "last_use": kept.newest,
    }


def _look() -> "list[Kept]":
    from pomona.app import cache_folder
    from pomona.engine.cache.disk.folders import kept_models

    return kept_models(cache_folder())


def _find(kept: "Sequence[Kept]", name: str, settings: "Settings") -> "list[Kept]":
    """What is kept of the model of that name. A model may be known by several: engines write down the one by which it was loaded."""
    folder = _folder(name, settings)
    known = {each.model or UNKNOWN: each for each in kept}
    found = [each for shown, each in known.items() if shown == name or (folder is not None and _folder(shown, settings) == folder)]
    if not found:
        raise NotFound(f"Nothing of {name!r} is on disk. There is something of: {', '.join(known) or 'no model'}.")
    return found


def _folder(name: str, settings: "Settings") -> "Path | None":
    from pomona.app import model_names
    from pomona.models.references import resolve

    try:
        return resolve(name, settings.models, names=model_names(settings)).path.resolve()
    except PomonaError:  # the model may be gone, and what was kept of it still be there
        return None


def _ask(context: click.Context, question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Say so with --yes: there is no terminal to ask on.", context)
    click.confirm(question, abort=True, err=True)


def _row(kept: "Kept") -> list[str]:
    from pomona.cli.output import human_bytes

    return [kept.model or UNKNOWN, str(kept.files), human_bytes(kept.nbytes), _ago(kept.newest), _ago(kept.oldest)]


def _ago(used_at: float | None) -> str:
    if used_at is None:
        return "never"
    seconds = max(0.0, time.time() - used_at)
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"

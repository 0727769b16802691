"""`pomona remove`: delete the files of a model."""

import sys
from typing import TYPE_CHECKING

import click

from pomona.cli.options import PomonaCommand, complete_model, invocation_of, json_option

if TYPE_CHECKING:
    from pomona.hub.assembly import HubParts


@click.command(cls=PomonaCommand)
@click.argument("name", shell_complete=complete_model)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would go; delete nothing.")
@json_option
@click.pass_context
def remove(context: click.Context, name: str, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Delete the files of the model NAME: a repository in the Hugging Face cache, with @REVISION or without, or a converted model.

    Other tools that use the same cache lose the repository, too. Of a model that was registered where it is, only the entry goes.
    """
    from pomona.app import hub_parts
    from pomona.cli.output import human_bytes, print_json

    parts = hub_parts(invocation_of(context).settings(log_level="warning").settings)
    if _is_registered(parts, name):
        _forget(context, parts, name, yes=yes or dry_run, dry_run=dry_run)
        freed, path = 0, None
    else:
        removal = parts.hub.remover.find(name)
        freed, path = removal.freed_bytes, str(removal.path)
        if not dry_run:
            _ask(context, f"Delete {name!r} ({human_bytes(freed)} in {path})?", yes=yes)
            parts.hub.remover.remove(removal)
    if as_json:
        print_json({"model": name, "path": path, "freed_bytes": freed, "removed": not dry_run})
    else:
        click.echo(f"{'Would free' if dry_run else 'Freed'} {human_bytes(freed)}{f' in {path}' if path else ''}.")


def _is_registered(parts: "HubParts", name: str) -> bool:
    return any(entry.name == name for entry in parts.registry.entries())


def _forget(context: click.Context, parts: "HubParts", name: str, *, yes: bool, dry_run: bool) -> None:
    _ask(context, f"Forget the registered model {name!r}? Its files stay.", yes=yes)
    if not dry_run:
        parts.registry.forget(name)


def _ask(context: click.Context, question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Say so with --yes: there is no terminal to ask on.", context)
    click.confirm(question, abort=True, err=True)

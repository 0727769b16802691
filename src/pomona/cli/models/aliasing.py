"""`pomona alias`: names of your own for models."""

from typing import TYPE_CHECKING

import click

from pomona.cli.options import PomonaCommand, complete_model, invocation_of, json_option
from pomona.core.errors import PomonaError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def complete_alias(context: click.Context, _parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Aliases that begin with `incomplete`. Whatever goes wrong, there are no suggestions."""
    from click.shell_completion import CompletionItem

    from pomona.app import model_registry

    try:
        aliases = model_registry(invocation_of(context).settings().settings).aliases()
    except (PomonaError, OSError):
        return []
    return [CompletionItem(name, help=target) for name, target in aliases.items() if name.startswith(incomplete)]


@click.command(cls=PomonaCommand)
@click.argument("name", required=False, shell_complete=complete_alias)
@click.argument("reference", required=False, metavar="[MODEL]", shell_complete=complete_model)
@click.option("--remove", is_flag=True, help="Take the alias NAME back.")
@json_option
@click.pass_context
def alias(context: click.Context, name: str | None, reference: str | None, remove: bool, as_json: bool) -> None:
    """Let NAME stand for MODEL. Without MODEL, show what NAME stands for; without NAME, show all aliases.

    Servers that run take it up with the next request. Aliases of the settings (models.aliases) are listed, but changed there.

    \b
      pomona alias small mlx-community/Qwen3-0.6B-4bit
      pomona alias --remove small
    """
    from pomona.app import model_registry
    from pomona.cli.output import print_json, print_table
    from pomona.core.errors import NotFound

    registry = model_registry(invocation_of(context).settings(log_level="warning").settings)
    if remove:
        if name is None or reference is not None:
            raise click.UsageError("Name the alias to take back, and nothing else: pomona alias --remove NAME.", context)
        registry.remove_alias(name)
    elif name is not None and reference is not None:
        registry.set_alias(name, reference)
    aliases = registry.aliases()
    if name is not None and not remove and name not in aliases:
        raise NotFound(f"There is no alias {name!r}. `pomona alias NAME MODEL` makes one.")
    shown = {name: aliases[name]} if name is not None and not remove else aliases
    if as_json:
        print_json(shown)
    elif name is None or not remove:
        print_table(("alias", "model"), [[each, target] for each, target in shown.items()], color=context.color)

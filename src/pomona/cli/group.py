"""Finds commands: entry points of the group `pomona.commands`, whether ours or another package's, loaded on use.

`pomona --help` must stay instant, so the summaries of built-in commands stand here and importing them is not needed.
"""

import difflib
import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import click

from pomona import __version__
from pomona.cli.errors import ErrorBorder, mute_stdout
from pomona.cli.options import GLOBAL_OPTIONS, Invocation, write_options
from pomona.core.plugins import COMMANDS, plugins

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

OTHERS = "More commands"


@dataclass(frozen=True, slots=True)
class Listing:
    """A line of `pomona --help`."""

    section: str
    summary: str


TALK, MODELS, MEMORY, KEYS = "Serve and talk", "Models", "Models of a running server", "API keys"
CARE, MEASURE = "Settings and health", "Measure"
BUILT_IN: Mapping[str, Listing] = {
    "serve": Listing(TALK, "Serve a model to OpenAI's and Anthropic's clients."),
    "chat": Listing(TALK, "Talk with a model in the terminal."),
    "generate": Listing(TALK, "Answer one prompt and exit."),
    "embed": Listing(TALK, "Turn texts into vectors."),
    "rerank": Listing(TALK, "Order documents by their relevance to a query."),
    "launch": Listing(TALK, "Start a coding agent on the model of this machine."),
    "pull": Listing(MODELS, "Get a model from the hub."),
    "list": Listing(MODELS, "List the models on this machine."),
    "show": Listing(MODELS, "Show what is known of one model, here or on the hub."),
    "search": Listing(MODELS, "Look for models on the hub, and whether they fit."),
    "alias": Listing(MODELS, "Give a model a name of your own."),
    "drafts": Listing(MODELS, "Say whether one model can guess ahead for another."),
    "remove": Listing(MODELS, "Delete the files of a model."),
    "cache:show": Listing(MODELS, "Show what is kept on disk of the beginnings of prompts."),
    "cache:clear": Listing(MODELS, "Delete that, of one model or of all."),
    "ps": Listing(MEMORY, "Show the models in memory."),
    "load": Listing(MEMORY, "Load a model."),
    "unload": Listing(MEMORY, "Unload a model, or all."),
    "pin": Listing(MEMORY, "Keep a model in memory, or let go of it."),
    "trace": Listing(MEMORY, "Say where the time of a request went."),
    "events": Listing(MEMORY, "Follow what happens: loads, answers, errors."),
    "keys:create": Listing(KEYS, "Make an API key and show it once."),
    "keys:list": Listing(KEYS, "List the API keys, their limits and their use."),
    "keys:revoke": Listing(KEYS, "Take an API key back."),
    "config:show": Listing(CARE, "Show every setting, its value and where it came from."),
    "doctor": Listing(CARE, "Check this machine and say what to mend."),
    "completion:show": Listing(CARE, "Print the completion script of a shell."),
    "bench:serve": Listing(MEASURE, "Put load on a server and measure latency and throughput."),
    "bench:engine": Listing(MEASURE, "Measure the engine alone: prefill and decode speed."),
}


@functools.cache
def _points() -> Mapping[str, EntryPoint]:
    """Looked up once: reading the metadata of all installed packages takes some 10 ms."""
    return plugins(COMMANDS)


class LazyGroup(click.Group):
    """The command `pomona`: loads a command when it is called, lets no exception out."""

    def invoke(self, ctx: click.Context) -> object:
        """As click does, but a reader who left early ends the program quietly with the code of SIGPIPE."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise click.exceptions.Exit(mute_stdout()) from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Built-in commands in the order of the help, then others by name."""
        found = _points()
        return [name for name in BUILT_IN if name in found] + sorted(name for name in found if name not in BUILT_IN)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now. Raises UsageError when its package is broken."""
        point = _points().get(cmd_name)
        return _load(point) if point else None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with our words for unknown names."""
        name = args[0]
        if not name.startswith("-") and name not in _points() and not ctx.resilient_parsing:
            raise click.UsageError(_unknown(args, self.list_commands(ctx)), ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """Command names with summaries, without importing any."""
        from click.shell_completion import CompletionItem

        found = [(name, _summary(point)) for name, point in _points().items() if name.startswith(incomplete)]
        items = [CompletionItem(name, help=listing.summary) for name, listing in found]
        return items + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Commands by section."""
        points = _points()
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            listing = _summary(points[name])
            sections.setdefault(listing.section, []).append((name, listing.summary))
        width = max((len(name) for name in points), default=0)
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), summary) for name, summary in rows])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Commands first: they are what a newcomer looks for."""
        self.format_commands(ctx, formatter)
        write_options(ctx, formatter, "Options", [option for option in self.get_params(ctx) if isinstance(option, click.Option)])

    def main(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        **extra: object,
    ) -> NoReturn:
        """Run and exit; every failure goes through the `ErrorBorder`."""
        invocation = Invocation()
        extra["obj"] = invocation
        extra["standalone_mode"] = False
        result: int | None = None
        with ErrorBorder(invocation, _crash_folder) as border:
            result = super().main(args, prog_name or "pomona", **cast("dict[str, Any]", extra))
            sys.stdout.flush()
        sys.exit(border.code or result or 0)


def _crash_folder() -> Path:
    from pomona.app import cache_folder

    return cache_folder() / "crashes"


def _load(point: EntryPoint) -> click.Command:
    try:
        loaded: object = point.load()
    except (ImportError, AttributeError) as error:
        raise click.UsageError(f"The command {point.name!r} ({point.value}) cannot be loaded: {error}. Reinstall its package.") from error
    if not isinstance(loaded, click.Command):
        raise click.UsageError(f"The command {point.name!r} ({point.value}) is a {type(loaded).__name__}, not a click command.")
    return loaded


def _summary(point: EntryPoint) -> Listing:
    """Ours from the table; another package's from its command, which has to be imported for that."""
    if point.value.startswith("pomona.cli.") and point.name in BUILT_IN:
        return BUILT_IN[point.name]
    try:
        return Listing(OTHERS, _load(point).get_short_help_str(limit=100))
    except click.UsageError as error:
        return Listing(OTHERS, f"({error.message})")


def _unknown(words: Sequence[str], names: Sequence[str]) -> str:
    name = words[0]
    spaced = f"{name}:{words[1]}" if len(words) > 1 else name
    if spaced in names:
        return f"There is no command {name!r}. Write it with a colon: 'pomona {spaced}'."
    close = [other for other in names if other.startswith(f"{name}:")]
    close = close or difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(repr(other) for other in close)}?" if close else "`pomona --help` lists all commands."
    return f"There is no command {name!r}. {hint}"


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    params=list(GLOBAL_OPTIONS),
    epilog="`pomona COMMAND --help` explains one command. Try: pomona chat",
)
@click.version_option(__version__, "--version", message="pomona %(version)s")
@click.pass_context
def root(context: click.Context) -> None:
    """Run, tune, shrink, ground and watch open models on your own machines."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())

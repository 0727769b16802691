"""`pomona chat`: talk with a model in the terminal."""

import asyncio
import sys

import click

from pomona.cli.options import Invocation, PomonaCommand, device_option, invocation_of, model_option

DEFAULT_TEMPERATURE = 0.7


@click.command(cls=PomonaCommand)
@model_option
@device_option
@click.option("-s", "--system", metavar="TEXT", help="System message.")
@click.option(
    "-t", "--temperature", type=click.FloatRange(0, 10), metavar="X", default=DEFAULT_TEMPERATURE, show_default=True, help="0 is greedy."
)
@click.option(
    "-n", "--max-tokens", type=click.IntRange(1), metavar="N", help="Longest answer in tokens; unset: as far as the context goes."
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), metavar="N", help="Same seed, same answers.")
@click.option("--url", metavar="URL", help="Ask the server there. Unset: the local server if it runs, else load the model.")
@click.option("--alone", is_flag=True, help="Load the model here even if a local server runs.")
@click.pass_context
def chat(context: click.Context, /, system: str | None, url: str | None, alone: bool, **dials: float | None) -> None:
    """Talk with a model in the terminal. /help inside shows what else there is.

    Where standard input is no terminal, each of its lines is a message.
    """
    chosen = {name: value for name, value in dials.items() if value is not None}
    try:
        asyncio.run(_chat(invocation_of(context), system=system, url=url, alone=alone, dials=chosen))
    except KeyboardInterrupt:
        click.echo(err=True)
        raise


async def _chat(invocation: Invocation, *, system: str | None, url: str | None, alone: bool, dials: dict[str, float]) -> None:
    from pomona.app import cache_folder
    from pomona.cli.answering import open_source
    from pomona.cli.chat.conversation import Conversation
    from pomona.cli.chat.loop import chat_loop, note
    from pomona.cli.chat.reading import open_reader
    from pomona.cli.chat.slash import COMMANDS

    async with open_source(invocation, url=url, alone=alone) as source:
        conversation = Conversation(model=source.model, system=system, dials=dict(dials))
        reader = open_reader(cache_folder() / "chat-history", [f"/{name}" for name in COMMANDS], color=invocation.color is not False)
        if sys.stdin.isatty():
            note(f"{source.model} {source.place}. /help shows commands, Ctrl-D leaves.")
        await chat_loop(source, conversation, reader)

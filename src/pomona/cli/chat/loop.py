"""The loop of a chat: read, react or answer, show."""

import sys
from collections.abc import Callable

import click

from pomona.cli.answering import Source
from pomona.cli.chat.conversation import Conversation, said
from pomona.cli.chat.reading import Reader
from pomona.cli.chat.slash import react, waiting_pictures
from pomona.cli.output import human_seconds, printable
from pomona.cli.pictures import dropped_pictures
from pomona.cli.streaming import Answer, follow_until_interrupt
from pomona.core.errors import PomonaError


async def chat_loop(source: Source, conversation: Conversation, reader: Reader) -> None:
    """Talk until the person leaves. Errors of an answer are told, and the talk goes on."""
    while True:
        try:
            line = await reader.read()
        except KeyboardInterrupt:
            note("Ctrl-D or /exit leaves.")
            continue
        if line is None:
            return
        line = _take_dropped(conversation, line)
        if line.startswith("/"):
            reaction = react(conversation, line)
            if reaction.text:
                note(reaction.text)
            if reaction.then == "leave":
                return
            if reaction.then == "read":
                continue
        elif line.strip():
            conversation.say(line)
        else:
            continue
        await _answer(source, conversation)


def _take_dropped(conversation: Conversation, line: str) -> str:
    """What was said beside the files that were dropped; they go with it, or with what is said next."""
    try:
        line, pictures = dropped_pictures(line)
    except PomonaError as error:
        note(error.message)
        return ""
    conversation.pictures += pictures
    if pictures:
        note(waiting_pictures(conversation))
    return line


async def _answer(source: Source, conversation: Conversation) -> None:
    """Answer the last turn. After a failure the question is taken back, so that the next request is well formed."""
    try:
        answer = await follow_until_interrupt(source.generator.generate(conversation.request()), _shower(), _whisperer())
    except PomonaError as error:
        conversation.turns.pop()
        click.secho(f"error: {error.message}", fg="red", err=True)
        return
    if answer.text:
        conversation.turns.append(said("assistant", answer.text))
        if not answer.text.endswith("\n"):
            click.echo()
    elif answer.reason == "cancelled":
        conversation.turns.pop()
    note(_speed(answer))


def note(text: str) -> None:
    """A line that is not the model's: dim, and on standard error, so that answers can be redirected."""
    click.secho(text, dim=True, err=True)


def _shower() -> Callable[[str], None]:
    on_terminal = sys.stdout.isatty()

    def show(text: str) -> None:
        click.echo(printable(text) if on_terminal else text, nl=False)

    return show


def _whisperer() -> Callable[[str], None]:
    """Thoughts and calls, dim and on standard error, so that an answer that is redirected holds none of them."""
    on_terminal = sys.stderr.isatty()

    def show(text: str) -> None:
        click.secho(printable(text) if on_terminal else text, dim=True, nl=False, err=True)

    return show


def _speed(answer: Answer) -> str:
    if answer.reason == "cancelled" or answer.usage is None:
        return "(stopped)"
    parts = [f"{answer.usage.completion_tokens} tokens"]
    if answer.tokens_per_second:
        parts.append(f"{answer.tokens_per_second:.0f} tokens/s")
    parts.append(f"first after {human_seconds(answer.first_seconds)}" if answer.first_seconds is not None else "no text")
    if answer.usage.cached_tokens:
        parts.append(f"{answer.usage.cached_tokens} of {answer.usage.prompt_tokens} prompt tokens from the cache")
    return " · ".join([*parts, *(["cut at its longest"] if answer.reason == "length" else [])])

"""`pomona generate`: answer one prompt and exit."""

import asyncio
import sys
import uuid
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import click

from pomona.cli.options import Invocation, PomonaCommand, device_option, invocation_of, json_option, model_option

if TYPE_CHECKING:
    from pomona.cli.streaming import Answer
    from pomona.core.generation import GenerateRequest

DEFAULT_TEMPERATURE = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the options ask for."""

    prompt: str
    system: str | None
    raw: bool
    max_tokens: int | None
    temperature: float
    top_p: float
    seed: int | None
    stop: tuple[str, ...]
    images: tuple[str, ...]

    def request(self, model: str) -> "GenerateRequest":
        """The request in words. Raises InvalidRequest for a picture that cannot be read."""
        from pomona.cli.chat.conversation import said
        from pomona.cli.pictures import picture_from, user_turn
        from pomona.core.generation import GenerateRequest, SamplingParams

        system = (said("system", self.system),) if self.system else ()
        return GenerateRequest(
            id=f"generate-{uuid.uuid4().hex}",
            model=model,
            text=self.prompt if self.raw else None,
            messages=None if self.raw else (*system, user_turn(self.prompt, [picture_from(each) for each in self.images])),
            sampling=SamplingParams(temperature=self.temperature, top_p=self.top_p, seed=self.seed),
            max_tokens=self.max_tokens,
            stop=self.stop,
        )


@click.command(cls=PomonaCommand)
@click.argument("prompt", required=False)
@model_option
@device_option
@click.option("-s", "--system", metavar="TEXT", help="System message.")
@click.option(
    "-n", "--max-tokens", type=click.IntRange(1), metavar="N", help="Longest answer in tokens; unset: as far as the context goes."
)
@click.option(
    "-t", "--temperature", type=click.FloatRange(0, 10), metavar="X", default=DEFAULT_TEMPERATURE, show_default=True, help="0 is greedy."
)
@click.option(
    "--top-p",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="X",
    default=1.0,
    help="Keep the most likely tokens up to this probability.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), metavar="N", help="Same seed, same answer.")
@click.option("--stop", multiple=True, metavar="TEXT", help="End the answer before this text; may be repeated.")
@click.option("--image", "images", multiple=True, metavar="PATH|URL", help="Show the model a picture or PDF; may be repeated.")
@click.option("--raw", is_flag=True, help="Continue the prompt as it is, without a chat template.")
@click.option("--url", metavar="URL", help="Ask the server there. Unset: the local server if it runs, else load the model.")
@click.option("--alone", is_flag=True, help="Load the model here even if a local server runs.")
@json_option
@click.pass_context
def generate(context: click.Context, /, prompt: str | None, url: str | None, alone: bool, as_json: bool, **options: object) -> None:
    """Answer PROMPT and exit. Without PROMPT, or with "-", the prompt is read from standard input.

    \b
      pomona generate "Name three apples."
      git diff | pomona generate -s "Write a commit message."
    """
    wish = Wish(prompt=_read_prompt(context, prompt), **cast("dict[str, Any]", options))
    if wish.raw and wish.system:
        raise click.UsageError("--system needs the chat template, which --raw leaves out. Drop one of them.", context)
    if wish.raw and wish.images:
        raise click.UsageError("--image needs the chat template, which --raw leaves out. Drop one of them.", context)
    answer, model = asyncio.run(_answer(invocation_of(context), wish, url=url, alone=alone, as_json=as_json))
    if as_json:
        _print_whole(answer, model)
    elif not answer.text.endswith("\n"):
        click.echo()


async def _answer(invocation: Invocation, wish: Wish, *, url: str | None, alone: bool, as_json: bool) -> "tuple[Answer, str]":
    from pomona.cli.answering import open_source
    from pomona.cli.streaming import Answer, follow

    answer = Answer()
    async with open_source(invocation, url=url, alone=alone) as source:
        await follow(source.generator.generate(wish.request(source.model)), _nothing if as_json else _show, answer)
    return answer, source.model


def _read_prompt(context: click.Context, prompt: str | None) -> str:
    if prompt not in {None, "-"}:
        return prompt or _no_prompt(context)
    if prompt is None and sys.stdin.isatty():
        return _no_prompt(context)
    return sys.stdin.read() or _no_prompt(context)


def _no_prompt(context: click.Context) -> str:
    raise click.UsageError('There is no prompt. Write one: pomona generate "Name three apples."', context)


def _show(text: str) -> None:
    from pomona.cli.output import printable

    click.echo(printable(text) if sys.stdout.isatty() else text, nl=False)


def _nothing(_text: str) -> None:
    """The whole answer is printed at the end."""


def _print_whole(answer: "Answer", model: str) -> None:
    from pomona.cli.output import print_json

    usage = {**asdict(answer.usage), "total_tokens": answer.usage.total_tokens} if answer.usage else None
    timings = {
        "first_token_seconds": answer.first_seconds,
        "total_seconds": answer.total_seconds,
        "tokens_per_second": answer.tokens_per_second,
    }
    print_json(
        {"model": model, "text": answer.text, "finish_reason": answer.reason, "stop_sequence": answer.stop_sequence, "usage": usage}
        | {"timings": timings}
    )

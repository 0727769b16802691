"""`pomona bench:engine`: prefill and decode speed of the engine alone."""

from contextlib import closing
from typing import TYPE_CHECKING

import click

from pomona.cli.options import PomonaCommand, device_option, invocation_of, json_option, model_option

if TYPE_CHECKING:
    from pomona.ops.engine_bench import BatchResult

MOST_ROWS = 1024


class Batches(click.ParamType[tuple[int, ...]]):
    """Batch sizes with commas between: 1,8,32."""

    name = "sizes"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Text to sizes."""
        sizes = tuple(int(part) if part.strip().isdecimal() else 0 for part in str(value).split(","))
        if not all(1 <= size <= MOST_ROWS for size in sizes):
            self.fail(f"{value!r} holds something else than numbers from 1 to {MOST_ROWS}. Write them with commas: 1,8,32.", param, ctx)
        return sizes


@click.command(cls=PomonaCommand)
@model_option
@device_option
@click.option("-b", "--batch", "batches", type=Batches(), default="1,8,32", show_default=True, metavar="N,N,…", help="Rows at once.")
@click.option("--prompt-tokens", type=click.IntRange(1), default=128, show_default=True, metavar="N", help="Tokens of each prompt.")
@click.option("--output-tokens", type=click.IntRange(2), default=64, show_default=True, metavar="N", help="Tokens of each answer.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, metavar="N", help="Same seed, same prompts.")
@json_option
@click.pass_context
def bench_engine(
    context: click.Context, batches: tuple[int, ...], prompt_tokens: int, output_tokens: int, seed: int, as_json: bool
) -> None:
    """Measure the engine alone, without sockets and HTTP: prefill and decode speed at several batch sizes.

    Prompts are random, the prefix cache is off, answers are greedy and have their full length.
    """
    from dataclasses import asdict

    from pomona.cli.output import print_json, waiting
    from pomona.ops import engine_bench

    invocation = invocation_of(context)
    settings = invocation.settings(log_level="warning").settings
    order = engine_bench.order_for(settings, batches=batches, prompt_tokens=prompt_tokens, output_tokens=output_tokens, seed=seed)
    with (
        waiting(f"Measuring {order.launch.model} at {', '.join(map(str, batches))}", quiet=invocation.verbosity < 0),
        closing(engine_bench.bench_engine(order)) as results,
    ):
        done = list(results)
    if as_json:
        shape = {"model": order.launch.model, "prompt_tokens": prompt_tokens, "output_tokens": output_tokens, "seed": seed}
        print_json({**shape, "results": [asdict(result) for result in done]})
    else:
        _show(context, order.launch.model, done)


def _show(context: click.Context, model: str, results: "list[BatchResult]") -> None:
    from pomona.cli.output import human_bytes, human_seconds, print_table

    click.secho(f"{model} on {results[0].device}; tokens per second over all rows", dim=True)
    columns = ("rows", "first token", "prefill", "decode", "whole", "memory")
    rows = [
        (
            str(result.batch),
            human_seconds(result.first_token_seconds),
            f"{result.prefill_tokens_per_second:.0f}",
            "-" if result.decode_tokens_per_second is None else f"{result.decode_tokens_per_second:.1f}",
            f"{result.total_tokens_per_second:.1f}",
            human_bytes(result.peak_bytes),
        )
        for result in results
    ]
    print_table(columns, rows, color=context.color, numeric=columns)

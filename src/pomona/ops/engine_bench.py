"""How fast the engine itself is: prefill and decode at several batch sizes, in a child process that drives it without sockets or HTTP.

The child reads one line of JSON (`Order`) and writes one line per batch size (`BatchResult`, or `{"code", "message"}` of an error).
"""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from pomona.app import cache_folder
from pomona.core import errors
from pomona.core.generation import Prompt, SamplingParams, TokenStep
from pomona.core.settings import Section, Settings
from pomona.engine.process.loop import SteppedEngine
from pomona.engine.process.model import load_engine
from pomona.engine.protocol import Launch
from pomona.models.references import resolve
from pomona.models.tasks import task_of
from pomona.models.validation import read_config

COMMAND = (sys.executable, "-P", "-m", "pomona.ops.engine_bench")
WARM_UP_TOKENS = 8


class Order(Section):
    """What the child is to measure."""

    launch: Launch
    batches: tuple[int, ...]
    prompt_tokens: int
    output_tokens: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """One batch size. Speeds in tokens per second over all rows, memory in bytes."""

    batch: int
    device: str
    first_token_seconds: float
    """Until the first row has its first token."""
    prefill_tokens_per_second: float
    """Prompt tokens of all rows, over the time until the last row has its first token."""
    decode_tokens_per_second: float | None
    """While all rows decode; None where some were done before others began (make the outputs longer)."""
    total_tokens_per_second: float
    """Output tokens of all rows over the whole time."""
    seconds: float
    kv_bytes: int
    peak_bytes: int


def order_for(settings: Settings, *, batches: tuple[int, ...], prompt_tokens: int, output_tokens: int, seed: int) -> Order:
    """The order for the default model. Room is made for the largest batch. Raises what `resolve` raises, and UnsupportedField for a model
    that does not write text.
    """
    found = resolve(settings.models.default, settings.models)
    task = task_of(found.path, read_config(found.path))
    if task != "generate":
        raise errors.UnsupportedField(f"{found.id!r} is a model for {task}; this measures models that write text.", param="model")
    engine = settings.engine.model_copy(update={"max_rows": max(settings.engine.max_rows, *batches), "prefix_cache": False})
    launch = Launch(
        address="",
        model=found.id,
        folder=found.path,
        cache_folder=cache_folder(),
        heartbeat_seconds=settings.fleet.heartbeat_seconds,
        engine=engine,
        models=settings.models,
        logging=settings.logging,
    )
    return Order(launch=launch, batches=batches, prompt_tokens=prompt_tokens, output_tokens=output_tokens, seed=seed)


def bench_engine(order: Order) -> Generator[BatchResult]:
    """Results as they come. Closing the iterator ends the child. Raises the PomonaError that the child met, or EngineFailed."""
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            cast("Any", child.stdin).write(order.model_dump_json() + "\n")
            cast("Any", child.stdin).close()
            for line in child.stdout or ():
                yield _read_result(line)
        finally:
            child.terminate()
    if child.returncode:
        raise errors.EngineFailed(
            f"The benchmark's process ended with code {child.returncode} before it was done; its reason stands above."
        )


def measure(engine: SteppedEngine, prompts: list[Prompt], device: str, clock: Callable[[], float] = time.perf_counter) -> BatchResult:
    """Run `prompts` together to their ends and time them."""
    start = clock()
    for prompt in prompts:
        engine.add(prompt)
    times = _Times(rows=len(prompts))
    while engine.has_work:
        steps = engine.step()
        times.note(steps, clock() - start)
    seconds, stats = clock() - start, engine.stats()
    return BatchResult(
        batch=len(prompts),
        device=device,
        first_token_seconds=min(times.firsts.values()),
        prefill_tokens_per_second=sum(len(prompt.token_ids) for prompt in prompts) / max(times.firsts.values()),
        decode_tokens_per_second=times.decode_speed(),
        total_tokens_per_second=times.made / seconds,
        seconds=seconds,
        kv_bytes=stats.kv_bytes,
        peak_bytes=stats.device_peak_bytes,
    )


@dataclass(slots=True, kw_only=True)
class _Times:
    """What happened when. `full` and `thinning` are (seconds, tokens made by then): all rows had begun, the first row ended."""

    rows: int
    made: int = 0
    firsts: dict[str, float] = field(default_factory=dict[str, float])
    full: tuple[float, int] | None = None
    thinning: tuple[float, int] | None = None

    def note(self, steps: Sequence[tuple[str, TokenStep]], now: float) -> None:
        self.made += sum(len(step.token_ids) for _, step in steps)
        for row, step in steps:
            if step.token_ids:
                self.firsts.setdefault(row, now)
        if self.full is None and len(self.firsts) == self.rows:
            self.full = (now, self.made)
        if self.thinning is None and any(step.finish_reason for _, step in steps):
            self.thinning = (now, self.made)

    def decode_speed(self) -> float | None:
        if self.full is None or self.thinning is None or self.thinning[0] <= self.full[0]:
            return None
        return (self.thinning[1] - self.full[1]) / (self.thinning[0] - self.full[0])


def random_prompts(count: int, *, tokens: int, output_tokens: int, vocabulary: int, seed: int) -> list[Prompt]:
    """Prompts of random ids, different ones for each seed. Greedy, and never ended by a stop token."""
    dice = random.Random(seed)
    return [
        Prompt(
            id=f"bench-{seed}-{index}",
            token_ids=tuple(dice.randrange(vocabulary) for _ in range(tokens)),
            sampling=SamplingParams(temperature=0.0),
            max_tokens=output_tokens,
        )
        for index in range(count)
    ]


def _run_child() -> None:
    order = Order.model_validate_json(sys.stdin.readline())
    try:
        loaded = load_engine(order.launch)
        engine = cast("SteppedEngine", loaded.engine)  # `order_for` takes no other
        vocabulary = loaded.ready.vocabulary
        for number, batch in enumerate(order.batches):
            warm_up = random_prompts(batch, tokens=WARM_UP_TOKENS, output_tokens=4, vocabulary=vocabulary, seed=-1 - number)
            measure(engine, warm_up, loaded.ready.device)
            prompts = random_prompts(
                batch, tokens=order.prompt_tokens, output_tokens=order.output_tokens, vocabulary=vocabulary, seed=order.seed + number
            )
            _say(asdict(measure(engine, prompts, loaded.ready.device)))
    except errors.PomonaError as error:
        _say({"code": error.code, "message": error.message})


def _say(document: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def _read_result(line: str) -> BatchResult:
    document = cast("dict[str, Any]", json.loads(line))
    if "code" in document:
        raise errors.error_of(document["code"], document["message"])
    return BatchResult(**document)


if __name__ == "__main__":
    _run_child()

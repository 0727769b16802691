"""What keeping beginnings on disk costs rows that decode: an engine with a disk tier and one without, in turn, in one process.

    scripts/bench disk_cost --rounds 20

Each round gives both engines the same new prompts and counts the processor time of the whole process, all threads, while they decode;
for the one with a disk until its writer has nothing left. One engine goes first in every other round. The figure is the median
of the rounds' ratios, and the ratio of two halves of the rounds without a disk says how much of it is noise. The disk has
more to take than it is allowed all the time: the prompts before are still to be copied.
"""

import argparse
import gc
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pomona.core.generation import Prompt, SamplingParams
from pomona.core.settings import EngineSettings
from pomona.engine.cache.disk.opening import DiskPlace
from pomona.engine.engine import Engine
from pomona.models.device import use_device
from pomona.models.loading import load
from pomona.models.references import BUNDLED, ResolvedModel, bundled_folder

WARM_ROUNDS = 1
LIMIT_BYTES = 2**32


@dataclass(frozen=True, slots=True)
class Spent:
    """By one round of one engine, in seconds."""

    processor: float
    wall: float


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--verbose", action="store_true", help="Each round, as it ends.")
    parser.add_argument("--rows", type=int, nargs="*", default=[1])
    parser.add_argument("--prompt", type=int, default=256, help="Tokens of each row's prompt.")
    parser.add_argument("--tokens", type=int, default=48, help="Tokens of each row's answer.")
    arguments = parser.parse_args()
    print("| rows | processor time, with / without | tokens/s, with / without | noise | written |")
    print("|---:|---:|---:|---:|---:|")
    for rows in arguments.rows:
        with tempfile.TemporaryDirectory() as cache:
            print(compare(Path(cache), rows, arguments), flush=True)


def compare(cache: Path, rows: int, arguments: argparse.Namespace) -> str:
    """A line of the table."""
    make = engines()
    off, on = make(None), make(cache)
    spent: dict[Engine, list[Spent]] = {off: [], on: []}
    for number in range(WARM_ROUNDS + arguments.rounds):
        prompts = [prompt_of(arguments.prompt, arguments.tokens, 1000 * number + row) for row in range(rows)]
        for engine in (off, on) if number % 2 else (on, off):
            spent[engine].append(decode(engine, prompts))
        if arguments.verbose:
            print(f"{number}: {spent[on][-1].processor / spent[off][-1].processor:.4f}", file=sys.stderr, flush=True)
    pairs = list(zip(spent[on][WARM_ROUNDS:], spent[off][WARM_ROUNDS:], strict=True))
    processor = statistics.median(one.processor / other.processor for one, other in pairs)
    speed = statistics.median(other.wall / one.wall for one, other in pairs)
    plain = [other.processor for _, other in pairs]
    noise = statistics.median(abs(one / other - 1) for one, other in zip(plain[::2], plain[1::2], strict=False))
    written = on.stats().disk_bytes_written
    for engine in (off, on):
        engine.close()
    return f"| {rows} | {processor:.3f} | {speed:.3f} | {noise:.3f} | {written / 2**20:.0f} MiB |"


def engines() -> Callable[[Path | None], Engine]:
    """Engines of the bundled model, each with a cache of its own."""
    found = ResolvedModel(id=BUNDLED, path=bundled_folder(), kind="bundled", reference=BUNDLED)
    loaded = load(found, use_device("cpu"))

    def make(cache: Path | None) -> Engine:
        settings = EngineSettings.model_validate({"kv_cache_bytes": 2**28, "speculation": "off"})
        engine = Engine(loaded.module, settings, vocabulary=loaded.vocabulary, max_context=loaded.max_context)
        if cache is not None:
            engine.keep_on_disk(DiskPlace(cache_folder=cache, limit_bytes=LIMIT_BYTES, model={"weights": "bench"}, title=BUNDLED))
        return engine

    return make


def prompt_of(tokens: int, answer: int, seed: int) -> Prompt:
    """Ids of nothing in particular."""
    chosen = random.Random(seed)
    ids = tuple(chosen.randrange(1000, 8000) for _ in range(tokens))
    return Prompt(id=str(seed), token_ids=ids, sampling=SamplingParams(temperature=0.0), max_tokens=answer)


def decode(engine: Engine, prompts: list[Prompt]) -> Spent:
    """Read the prompts, then count what their answers take, without the last steps of any."""
    for prompt in prompts:
        engine.add(prompt)
    made = dict.fromkeys((prompt.id for prompt in prompts), 0)
    while not all(made.values()):
        step(engine, made)
    gc.collect()
    before, processor, began = sum(made.values()), time.process_time(), time.perf_counter()
    while engine.stats().running == len(prompts):
        step(engine, made)
    wall, count = time.perf_counter() - began, sum(made.values()) - before
    written = -1
    while written != (written := engine.stats().disk_bytes_written):  # what is being written falls to this round, not to the next
        time.sleep(0.05)
    spent = Spent((time.process_time() - processor) / count, wall / count)
    for prompt in prompts:
        engine.cancel(prompt.id)
    return spent


def step(engine: Engine, made: dict[str, int]) -> None:
    """One step of the engine."""
    for row, tokens in engine.step():
        made[row] += len(tokens.token_ids)


if __name__ == "__main__":
    main()

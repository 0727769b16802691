"""Pomona against stock mlx-lm on this machine's CPU: same model, same run, sides taking turns, medians.

    scripts/bench cpu [--model FOLDER] [--rounds 3] [--json]

Each measurement is a process of its own, since the BLAS under MLX is chosen once per process. A side is a function that makes a
`Runner` (prefill a batch, decode a step); everything else is shared.
"""

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, cast

PROMPT_TOKENS = 512
DECODE_TOKENS = 64
SHORT_PROMPT_TOKENS = 32
BATCHES = (1, 8)
SECONDS_PER_FIGURE = 10.0
"""A side that needs longer than this for a figure is measured on fewer tokens."""
PREFILL_TARGET, DECODE_TARGET = 20.0, 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Tokens per second, all rows together; `decode` by batch size."""

    prefill: float
    decode: dict[int, float]


class Runner(Protocol):
    """One way to run the model. Rows are equally long."""

    def prefill(self, rows: list[list[int]]) -> None:
        """Forget all rows, take these prompts in, and return once the first tokens are computed."""
        ...

    def decode(self, steps: int) -> None:
        """Make `steps` more tokens for every row, and return once they are computed."""
        ...


class PlainLoop:
    """A bare greedy loop over mlx-lm's own forward and cache: what both sides' kernels and weights are good for."""

    def __init__(self, model: Any) -> None:
        import mlx.core as mx

        self._mx, self._model = mx, model
        self._cache: Any = None
        self._tokens: Any = None

    def prefill(self, rows: list[list[int]]) -> None:
        """As `Runner`."""
        cache = cast("Any", importlib.import_module("mlx_lm.models.cache"))
        self._cache = cache.make_prompt_cache(self._model)
        self._forward(self._mx.array(rows))

    def decode(self, steps: int) -> None:
        """As `Runner`."""
        for _ in range(steps):
            self._forward(self._tokens)

    def _forward(self, ids: Any) -> None:
        self._tokens = self._model(ids, cache=self._cache)[:, -1].argmax(-1)[:, None]
        self._mx.eval(self._tokens)


class EngineLoop:
    """Pomona's engine in this process, as its own process would step it."""

    def __init__(self, loaded: Any) -> None:
        from pomona.core.settings import EngineSettings
        from pomona.engine.process.building import build_engine

        settings = EngineSettings(max_rows=max(BATCHES), prefix_cache=False, kv_cache_bytes=2**28)
        self._engine = build_engine(loaded, settings)
        self._ids: list[str] = []
        self._made: dict[str, int] = {}

    def prefill(self, rows: list[list[int]]) -> None:
        """As `Runner`."""
        from pomona.core.generation import Prompt, SamplingParams

        for id in self._ids:
            self._engine.cancel(id)
        self._ids = [f"row-{index}" for index in range(len(rows))]
        self._made = dict.fromkeys(self._ids, 0)
        for id, row in zip(self._ids, rows, strict=True):
            greedy = SamplingParams(temperature=0.0)
            self._engine.add(Prompt(id=id, token_ids=tuple(row), sampling=greedy, max_tokens=10 * DECODE_TOKENS))
        self._step_until(1)

    def decode(self, steps: int) -> None:
        """As `Runner`."""
        self._step_until(min(self._made.values()) + steps)

    def _step_until(self, tokens: int) -> None:
        while min(self._made.values()) < tokens:
            for id, step in self._engine.step():
                self._made[id] += len(step.token_ids)


def stock(folder: Path) -> Runner:
    """mlx-lm as its users run it: the weights as stored, the BLAS that comes with MLX."""
    return PlainLoop(_load_with_mlx_lm(folder))


def stock_bfloat16(folder: Path) -> Runner:
    """mlx-lm with the weights expanded to bfloat16 first: its faster type on a Linux CPU."""
    model = cast("Any", importlib.import_module("mlx_lm.utils")).dequantize_model(_load_with_mlx_lm(folder))
    return PlainLoop(model)


def pomona_plain(folder: Path) -> Runner:
    """Pomona's BLAS and weights under the same bare loop."""
    return PlainLoop(_load_with_pomona(folder).module)


def pomona_engine(folder: Path) -> Runner:
    """Pomona's engine."""
    return EngineLoop(_load_with_pomona(folder))


SIDES: dict[str, Callable[[Path], Runner]] = {
    "mlx-lm": stock,
    "mlx-lm, bfloat16": stock_bfloat16,
    "Pomona, bare loop": pomona_plain,
    "Pomona, engine": pomona_engine,
}


def _load_with_mlx_lm(folder: Path) -> Any:
    import mlx.core as mx

    mx.set_default_device(mx.cpu)
    return cast("Any", importlib.import_module("mlx_lm.utils")).load_model(folder)[0]


def _load_with_pomona(folder: Path) -> Any:
    from pomona.core.settings import ModelsSettings
    from pomona.models.cpu.blas import prepare_blas

    report = prepare_blas("auto", Path.home() / ".cache" / "pomona" / "blas")
    if report.warning:
        sys.stderr.write(f"{report.warning}\n")
    from pomona.models.device import use_device
    from pomona.models.loading import load
    from pomona.models.references import resolve

    return load(resolve(str(folder), ModelsSettings()), use_device("cpu"))


def measure(runner: Runner) -> Rates:
    """One figure for prefill, one per batch for decode."""
    runner.prefill([list(range(3, 3 + SHORT_PROMPT_TOKENS))])
    runner.decode(1)
    prefill = _prefill_rate(runner, SHORT_PROMPT_TOKENS)
    if PROMPT_TOKENS / prefill < SECONDS_PER_FIGURE:
        prefill = _prefill_rate(runner, PROMPT_TOKENS)
    return Rates(prefill=prefill, decode={batch: _decode_rate(runner, batch) for batch in BATCHES})


def _prefill_rate(runner: Runner, tokens: int) -> float:
    started = time.perf_counter()
    runner.prefill([[3 + index % 200 for index in range(tokens)]])
    return tokens / (time.perf_counter() - started)


def _decode_rate(runner: Runner, batch: int) -> float:
    runner.prefill([[3 + row + index for index in range(SHORT_PROMPT_TOKENS)] for row in range(batch)])
    runner.decode(1)
    started, steps = time.perf_counter(), 0
    while steps < DECODE_TOKENS and time.perf_counter() - started < SECONDS_PER_FIGURE:
        runner.decode(1)
        steps += 1
    return batch * steps / (time.perf_counter() - started)


def measure_in_turns(folder: Path, rounds: int) -> Iterator[tuple[str, Rates]]:
    """Every side once per round, each in a process of its own."""
    for _ in range(rounds):
        for side in SIDES:
            command = [sys.executable, "-m", "benchmarks.cpu", "--model", str(folder), "--side", side]
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found = json.loads(answer.splitlines()[-1])
            yield side, Rates(prefill=found["prefill"], decode={int(batch): rate for batch, rate in found["decode"].items()})


def medians(found: list[tuple[str, Rates]]) -> dict[str, Rates]:
    """The median of every figure by side."""
    sides = {side: [rates for name, rates in found if name == side] for side in SIDES}
    return {
        side: Rates(
            prefill=statistics.median(r.prefill for r in rates),
            decode={batch: statistics.median(r.decode[batch] for r in rates) for batch in BATCHES},
        )
        for side, rates in sides.items()
    }


def table(result: dict[str, Rates]) -> str:
    """Markdown: tokens per second and, in brackets, how many times stock mlx-lm that is."""
    base = result["mlx-lm"]
    lines = [f"| tokens/s (times mlx-lm) | prefill {PROMPT_TOKENS} | {' | '.join(f'decode B={b}' for b in BATCHES)} |", "|---|---|---|---|"]
    for side, rates in result.items():
        pairs = [(rates.prefill, base.prefill), *((rates.decode[b], base.decode[b]) for b in BATCHES)]
        lines.append(f"| {side} | {' | '.join(f'{rate:,.1f} ({rate / stock_rate:.1f}x)' for rate, stock_rate in pairs)} |")
    return "\n".join(lines)


def verdict(result: dict[str, Rates]) -> str:
    """Whether the targets hold for the engine."""
    ours, base = result["Pomona, engine"], result["mlx-lm"]
    prefill, decode = ours.prefill / base.prefill, min(ours.decode[b] / base.decode[b] for b in BATCHES)
    held = "held" if prefill >= PREFILL_TARGET and decode >= DECODE_TARGET else "MISSED"
    return f"Targets {held}: prefill {prefill:.1f}x (>= {PREFILL_TARGET:g}x), decode {decode:.1f}x (>= {DECODE_TARGET:g}x)"


def main() -> None:
    """Parse the command line; with `--side`, be one measurement."""
    from pomona.models.references import bundled_folder

    parser = argparse.ArgumentParser(prog="scripts/bench cpu", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, default=bundled_folder(), help="model folder; the bundled model if not given")
    parser.add_argument("--rounds", type=int, default=3, help="times that every side is measured")
    parser.add_argument("--json", action="store_true", help="print the medians as JSON")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        sys.stdout.write(json.dumps(asdict(measure(SIDES[options.side](options.model)))) + "\n")
        return
    result = medians(list(measure_in_turns(options.model, options.rounds)))
    if options.json:
        sys.stdout.write(json.dumps({side: asdict(rates) for side, rates in result.items()}) + "\n")
    else:
        sys.stdout.write(f"{table(result)}\n\n{verdict(result)}\n")


if __name__ == "__main__":
    main()

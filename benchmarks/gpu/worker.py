"""The cells of one part and one model shape, in a process of their own: a fault of the device ends no more than that.

python -m benchmarks.gpu.worker decode --shape 8b --folder results --seconds 3 --deadline 300
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx

from benchmarks.gpu.cells import Cell, Deadline, Store
from benchmarks.gpu.decoders import BatchGenerator, OurRows, Start, contenders, greedy_prompts
from benchmarks.gpu.features import FEATURES, feature_prompts
from benchmarks.gpu.floor import cache_bytes, copy_bytes_per_second, weight_bytes
from benchmarks.gpu.grammar import made_up_lexicon
from benchmarks.gpu.measure import decode, gaps_beside, make_prompts, read_prompt, run_for, until_all_have, whole
from benchmarks.gpu.model_shapes import SHAPES, Shape, build
from benchmarks.gpu.passes import KEYS, WIDTHS, chunk_attention, read_by_pass
from benchmarks.gpu.products import kinds, product_times, quantise
from pomona.core.generation import Prompt, SamplingParams
from pomona.core.settings import EngineSettings
from pomona.engine.engine import Engine
from pomona.engine.grammar.compiler import GrammarCompiler

MOST_CACHE_BYTES = 90 * 2**30
"""Of keys and values in one cell."""
TOTAL = 128
"""Prompt and new tokens of the cells `total`, which mlx-lm was measured with first."""
CONTENDERS = ("pomona", "plain", "batch_generator", "left_padded", "generate_step")
Work = Callable[[], Mapping[str, float]]


@dataclass(slots=True, kw_only=True)
class Bench:
    """A model, and what is asked of it."""

    shape: Shape
    model: Any
    options: argparse.Namespace
    dtype: mx.Dtype

    def engine(self, rows: int, *, changes: Mapping[str, object] | None = None) -> Engine:
        """Ours, for so many rows."""
        told = dict(change.split("=", 1) for change in self.options.set)
        settings = {
            "max_rows": max(rows, 64),
            "prefix_cache": False,
            "kv_cache_share": 0.8,
            "speculation": "off",
            **(changes or {}),
            **told,
        }
        lexicon = made_up_lexicon(self.shape.vocabulary) if self.options.part == "features" else None
        grammars = GrammarCompiler(lambda: lexicon, self.shape.vocabulary) if lexicon else None
        engine = Engine(
            self.model,
            EngineSettings.model_validate(settings),
            vocabulary=self.shape.vocabulary,
            max_context=self.shape.max_context,
            grammars=grammars,
        )
        for warning in engine.warnings:
            print(f"warning: {warning}", file=sys.stderr, flush=True)
        return engine

    def prompts(self, rows: int, tokens: int, name: str) -> list[list[int]]:
        """Random ones."""
        return make_prompts(self.shape.vocabulary, rows, tokens, f"{self.shape.name} {rows} {tokens} {name}")

    def cell(self, contender: str, rows: int = 1, context: int = 0) -> Cell:
        """Of this part."""
        bits = f"-{self.options.bits}bit-{self.options.products}" if self.options.bits else ""
        return Cell(part=self.options.part, shape=f"{self.shape.name}{bits}", contender=contender, rows=rows, context=context)


def main() -> int:
    """Measure until all is done or the deadline has passed."""
    options = _options()
    deadline, store = Deadline(options.deadline), Store(options.folder)
    dtype = mx.float32 if options.float32 else mx.bfloat16
    model = build(SHAPES[options.shape], dtype)
    if options.bits:
        quantise(model, options.bits, "packed" if options.part == "products" else options.products)
    bench = Bench(shape=SHAPES[options.shape], model=model, options=options, dtype=dtype)
    print(f"{options.part} {options.shape}: weights are there, {deadline.left:.0f} s left", file=sys.stderr, flush=True)
    for cell, work in PARTS[options.part](bench):
        if deadline.left < options.seconds:
            print(f"no time is left for {cell.key}", file=sys.stderr, flush=True)
            return 0
        if store.begin(cell):
            _run(store, cell, work)
            mx.clear_cache()
    return 0


def _run(store: Store, cell: Cell, work: Work) -> None:
    """A contender that cannot do a cell says why, and the next one has its turn."""
    started = time.perf_counter()
    mx.reset_peak_memory()
    try:
        values = work()
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError, StopIteration, MemoryError) as error:
        store.end(cell, {}, f"{type(error).__name__}: {error}"[:300])
        print(f"{cell.key}: {type(error).__name__}: {error}"[:300], file=sys.stderr, flush=True)
        return
    store.end(cell, {**values, "peak_bytes": float(mx.get_peak_memory())})
    told = ", ".join(f"{name} {value:,.2f}" for name, value in values.items())
    print(f"{cell.key}: {told} ({time.perf_counter() - started:.1f} s)", file=sys.stderr, flush=True)


def _decode_cells(bench: Bench) -> Iterator[tuple[Cell, Work]]:
    """Rows that all decode, by context and number."""
    for context in bench.options.contexts:
        for rows in bench.options.batches:
            if cache_bytes(bench.shape, rows * context, bench.dtype.size) > MOST_CACHE_BYTES:
                continue
            for name in _fitting(bench, rows):
                yield bench.cell(name, rows, context), lambda name=name, rows=rows, context=context: _decode(bench, name, rows, context)


def _decode(bench: Bench, name: str, rows: int, context: int) -> Mapping[str, float]:
    with_engine = _Engines(bench, rows)
    return decode(with_engine.start(name), bench.prompts(rows, context, name), bench.options.seconds)


def _total_cells(bench: Bench) -> Iterator[tuple[Cell, Work]]:
    """The whole of short rows, prompts included, the second time."""
    for rows in bench.options.batches:
        for name in _fitting(bench, rows):
            yield bench.cell(name, rows, TOTAL), lambda name=name, rows=rows: _total(bench, name, rows)


def _total(bench: Bench, name: str, rows: int) -> Mapping[str, float]:
    start = _Engines(bench, rows).start(name)
    tokens = min(TOTAL, bench.shape.max_context // 4)
    whole(start, bench.prompts(rows, tokens, f"{name} warm"), tokens)
    return whole(start, bench.prompts(rows, tokens, name), tokens)


def _prefill_cells(bench: Bench) -> Iterator[tuple[Cell, Work]]:
    for name in ("pomona", "generate_step", "plain"):
        yield bench.cell(name, 1, bench.options.prefill), lambda name=name: _prefill(bench, name)


def _prefill(bench: Bench, name: str) -> Mapping[str, float]:
    start = _Engines(bench, 1).start(name)
    prompts = [bench.prompts(1, bench.options.prefill, f"{name} {index}")[0] for index in range(12)]
    return read_prompt(start, prompts, bench.options.seconds)


def _mixed_cells(bench: Bench) -> Iterator[tuple[Cell, Work]]:
    """The long prompt is one of the first part's length, beside the streams that the issue names."""
    for name in ("pomona", "batch_generator"):
        yield bench.cell(name, bench.options.streams, bench.options.prefill), lambda name=name: _mixed(bench, name)


class _OurCrowd(OurRows):
    """Ours, which others may join."""

    def add(self, prompt: list[int], max_tokens: int) -> None:
        """See `measure.Crowd`."""
        number = len(self._names)
        self._names[f"{number}"] = number
        greedy = SamplingParams(temperature=0.0)
        self._engine.add(Prompt(id=f"{number}", token_ids=tuple(prompt), sampling=greedy, max_tokens=max_tokens))


def _mixed(bench: Bench, name: str) -> Mapping[str, float]:
    options = bench.options
    engine = bench.engine(options.streams + 1) if name == "pomona" else None

    def start(prompts: Any) -> Any:
        return BatchGenerator(bench.model, prompts) if engine is None else _OurCrowd(engine, greedy_prompts(prompts, engine.max_context))

    rows = bench.prompts(options.streams, min(options.contexts), "streams")
    joining = [bench.prompts(1, options.prefill, f"{index}")[0] for index in range(4)]
    return gaps_beside(start, rows, joining, 2 * options.seconds)


def _feature_cells(bench: Bench) -> Iterator[tuple[Cell, Work]]:
    """Each feature on for all rows, in turn with plain rows of the same engine."""
    for rows in [rows for rows in bench.options.batches if rows in {1, 8, 32}]:
        for name in FEATURES:
            yield bench.cell(name, rows, min(bench.options.contexts)), lambda name=name, rows=rows: _feature(bench, name, rows)


def _feature(bench: Bench, name: str, rows: int) -> Mapping[str, float]:
    """Plain, with, plain, with: medians would hide what a shared host does, so the best of each counts."""
    engine = bench.engine(rows)
    plain = greedy_prompts(bench.prompts(rows, min(bench.options.contexts), name), engine.max_context)
    speeds: dict[bool, float] = {False: 0.0, True: 0.0}
    try:
        for turn in range(4):
            prompts = feature_prompts(plain, name) if turn % 2 else plain
            decoder = OurRows(engine, [replace(prompt, id=f"{prompt.id}") for prompt in prompts])
            until_all_have(decoder, rows, 2)  # what the feature needs is compiled then
            run_for(decoder, 0.5 * bench.options.seconds)
            tokens, gaps = run_for(decoder, 0.5 * bench.options.seconds)
            decoder.close()
            speeds[bool(turn % 2)] = max(speeds[bool(turn % 2)], tokens / sum(gaps))
    finally:
        engine.close()
    return {"plain_tokens_per_second": speeds[False], "tokens_per_second": speeds[True], "ratio": speeds[True] / speeds[False]}


def _floor_cells(bench: Bench) -> Iterator[tuple[Cell, Work]]:
    """What the memory allows: bytes of a step over the speed of a large copy."""
    for context in bench.options.contexts:
        for rows in bench.options.batches:
            if cache_bytes(bench.shape, rows * context, bench.dtype.size) <= MOST_CACHE_BYTES:
                yield bench.cell("floor", rows, context), lambda rows=rows, context=context: _floor(bench, rows, context)


def _floor(bench: Bench, rows: int, context: int) -> Mapping[str, float]:
    size = weight_bytes(bench.model, bench.shape) + cache_bytes(bench.shape, rows * context, bench.dtype.size)
    speed = copy_bytes_per_second(bench.options.copy_bytes) if not bench.options.bandwidth else bench.options.bandwidth
    return {"tokens_per_second": rows * speed / size, "step_ms": 1000 * size / speed, "copy_bytes_per_second": speed}


def _pass_cells(bench: Bench) -> Iterator[tuple[Cell, Work]]:
    """Prompts of one engine, one after another: the first three pass by pass, the next as they run. Then attention alone."""
    length = bench.options.prefill
    engines = _Engines(bench, 1)
    for number, waits in enumerate((True, True, True, False, False, False)):
        name = f"{'waiting' if waits else 'ahead'} {number}"
        prompt = bench.prompts(1, length, f"passes {number}")[0]
        yield bench.cell(name, 1, length), lambda prompt=prompt, waits=waits: read_by_pass(engines.one, prompt, waits=waits)
    for keys in [keys for keys in KEYS if keys <= bench.shape.max_context]:
        for width in [width for width in WIDTHS if width <= min(keys, 4 * length)]:
            yield (
                bench.cell(f"attention {width}", 1, keys),
                lambda width=width, keys=keys: chunk_attention(bench.shape, width, keys, bench.dtype),
            )


def _product_cells(bench: Bench) -> Iterator[tuple[Cell, Work]]:
    """Each kind of layer of a quantised model."""
    if not bench.options.bits:
        raise SystemExit("the part products is for quantised weights: add --bits 4 or --bits 8")
    for name, layer in kinds(bench.model):
        yield bench.cell(name), lambda layer=layer: product_times(layer, bench.dtype)


class _Engines:
    """Makes the engine only where it is asked for: it takes most of the free memory."""

    def __init__(self, bench: Bench, rows: int) -> None:
        self._bench, self._rows = bench, rows
        self._one: Engine | None = None

    @property
    def one(self) -> Engine:
        """The same each time."""
        self._one = self._one or self._bench.engine(self._rows)
        return self._one

    def start(self, name: str) -> Start:
        """The contender of that name."""
        engine: Any = self._bench.engine(self._rows) if name == "pomona" else None
        return contenders(self._bench.model, engine)[name]


def _fitting(bench: Bench, rows: int) -> list[str]:
    return [name for name in CONTENDERS if name in bench.options.only and (name != "generate_step" or rows == 1)]


PARTS: Mapping[str, Callable[[Bench], Iterator[tuple[Cell, Work]]]] = {
    "decode": _decode_cells,
    "total": _total_cells,
    "prefill": _prefill_cells,
    "mixed": _mixed_cells,
    "features": _feature_cells,
    "floor": _floor_cells,
    "passes": _pass_cells,
    "products": _product_cells,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those that the whole suite and one worker have in common."""
    parser.add_argument("--folder", type=Path, default=Path("gpu-results"), help="where results go, a file for each cell")
    parser.add_argument("--seconds", type=float, default=3.0, help="measured in each cell (default: 3)")
    parser.add_argument("--batches", type=numbers, default=[1, 8, 32, 128], metavar="N,N", help="rows that run together")
    parser.add_argument("--contexts", type=numbers, default=[256, 2048, 16384], metavar="N,N", help="tokens that rows begin with")
    parser.add_argument("--prefill", type=int, default=8192, metavar="N", help="tokens of the long prompt (default: 8192)")
    parser.add_argument("--streams", type=int, default=32, metavar="N", help="rows beside the long prompt (default: 32)")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(CONTENDERS), help=f"of {', '.join(CONTENDERS)}")
    parser.add_argument("--float32", action="store_true", help="weights in float32, which a CPU needs")
    parser.add_argument("--copy-bytes", type=int, default=2**30, help="of the copy that the floor is measured by")
    parser.add_argument("--bandwidth", type=float, default=0.0, help="bytes per second that the floor takes instead of MLX's copy")
    parser.add_argument("--bits", type=int, choices=(4, 8), help="quantised weights")
    parser.add_argument("--products", choices=("auto", "packed", "expanded"), default="auto", help="as models.quantized_on_gpu")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="of EngineSettings: step_token_budget=2048")


def numbers(text: str) -> list[int]:
    """Of a command line."""
    return [int(part) for part in text.split(",")]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--shape", choices=list(SHAPES), required=True)
    parser.add_argument("--deadline", type=float, default=600.0, help="seconds from now behind which no cell begins")
    add_options(parser)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

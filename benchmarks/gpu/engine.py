"""Our engine against mlx-lm on model shapes with random bfloat16 weights: absolute tokens per second.

    PYTHONPATH=src python -m benchmarks.gpu.engine --shapes 8b,0.6b --batches 1,8,32,128 --json result.json

All contenders share one process and one copy of the weights, and take turns in every round. Beside mlx and mlx-lm it needs only what
the engine imports: pydantic, pyyaml, msgspec and psutil.
"""

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from benchmarks.gpu.model_shapes import SHAPES, Shape, build
from benchmarks.peers import Answer, Result, Task, batch_generator, generate_step, pomona_engine
from pomona.core.settings import EngineSettings
from pomona.engine.engine import Engine

CONTENDERS = ("pomona", "batch_generator", "generate_step")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One task answered by one contender. `total` counts from the start of the first prompt, `decode` from the slowest first token."""

    shape: str
    contender: str
    batch: int
    total: float
    decode: float
    first_worst: float
    peak_bytes: int


def main() -> int:
    """Measure what the command line asks for."""
    options = _options()
    samples: list[Sample] = []
    for name in options.shapes:
        samples += _measure(SHAPES[name], options)
        mx.clear_cache()
    print(_table(samples))
    if options.json:
        options.json.write_text(json.dumps({"device": str(mx.default_device()), "samples": [asdict(sample) for sample in samples]}))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", type=_names, default=["8b", "0.6b"], metavar="NAME,NAME", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--float32", action="store_true", help="weights in float32, which a CPU needs")
    parser.add_argument("--batches", type=_numbers, default=[1, 8, 32, 128], metavar="N,N", help="rows that run together")
    parser.add_argument("--only", type=_names, default=list(CONTENDERS), help=f"of {', '.join(CONTENDERS)}")
    parser.add_argument("--prompt-tokens", type=int, default=128, metavar="N")
    parser.add_argument("--new-tokens", type=int, default=128, metavar="N")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="rounds over all contenders")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="of EngineSettings: step_token_budget=2048")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples there")
    return parser.parse_args()


def _measure(shape: Shape, options: argparse.Namespace) -> Iterator[Sample]:
    started = time.perf_counter()
    module = build(shape, mx.float32 if options.float32 else mx.bfloat16)
    print(f"{shape.name}: weights made in {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)
    for batch in options.batches:
        contenders = _contenders(module, shape, batch, options)
        for repeat in range(-1, options.repeats):  # the first round compiles and allocates, and is not counted
            for name, answer in contenders.items():
                task = _task(shape, batch, options, repeat)
                mx.reset_peak_memory()
                sample = _sample(shape, name, task, answer(task))
                print(f"{shape.name} {name} {batch} rows, round {repeat}: {sample.total:,.0f} tokens/s", file=sys.stderr, flush=True)
                if repeat >= 0:
                    yield sample
        del contenders
        mx.clear_cache()


def _contenders(module: Any, shape: Shape, batch: int, options: argparse.Namespace) -> Mapping[str, Answer]:
    """Who answers `batch` rows: generate_step only knows one row."""
    changes = dict(change.split("=", 1) for change in options.set)
    contenders: dict[str, Answer] = {}
    if "pomona" in options.only:
        settings = EngineSettings.model_validate({"max_rows": max(batch, 64), **changes})
        contenders["pomona"] = pomona_engine(Engine(module, settings, vocabulary=shape.vocabulary, max_context=shape.max_context))
    if "batch_generator" in options.only:
        contenders["batch_generator"] = batch_generator(module, completion_batch_size=max(batch, 32))
    if "generate_step" in options.only and batch == 1:
        contenders["generate_step"] = generate_step(module)
    return contenders


def _task(shape: Shape, batch: int, options: argparse.Namespace, repeat: int) -> Task:
    """The same for all contenders of a round, and new in every round: no prefix cache can help."""
    source = random.Random(f"{shape.name} {batch} {repeat}")
    prompts = [[source.randrange(shape.vocabulary) for _ in range(options.prompt_tokens)] for _ in range(batch)]
    return Task(prompts=prompts, texts=(), new_tokens=options.new_tokens)


def _sample(shape: Shape, contender: str, task: Task, result: Result) -> Sample:
    batch = len(task.prompts)
    if result.tokens != batch * task.new_tokens:
        raise RuntimeError(f"{contender} made {result.tokens!r} tokens where {batch * task.new_tokens!r} were asked for.")
    worst = max(result.first)
    return Sample(
        shape=shape.name,
        contender=contender,
        batch=batch,
        total=result.tokens / result.seconds,
        decode=(result.tokens - batch) / max(result.seconds - worst, 1e-9),
        first_worst=worst,
        peak_bytes=mx.get_peak_memory(),
    )


def _table(samples: Sequence[Sample]) -> str:
    """Medians of the rounds."""
    lines = ["| shape | rows | | tokens/s | decode only | slowest first token | peak memory |", "|---|---:|---|---:|---:|---:|---:|"]
    for shape, batch, contender in dict.fromkeys((one.shape, one.batch, one.contender) for one in samples):
        own = [one for one in samples if (one.shape, one.batch, one.contender) == (shape, batch, contender)]
        total, decode = statistics.median(one.total for one in own), statistics.median(one.decode for one in own)
        first = statistics.median(one.first_worst for one in own)
        memory = max(one.peak_bytes for one in own) / 2**30
        lines.append(f"| {shape} | {batch} | {contender} | {total:,.0f} | {decode:,.0f} | {first * 1000:,.0f} ms | {memory:.1f} GiB |")
    return "\n".join(lines)


def _names(text: str) -> list[str]:
    return text.split(",")


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())

"""Pomona and mlx-lm side by side, in one run on one machine: served over HTTP and in process, at several batch sizes.

    scripts/bench engine                            the bundled model, 1, 8 and 32 rows
    scripts/bench engine --quick                    a smoke test of a minute or two
    scripts/bench engine --write docs/performance.md

Every contender runs in a process of its own, one after another, over and over; the medians of the repeats are reported. All get the same
prompts and generate greedily to the same length. "shipped" is a contender as its makers ship it, "same kernels" is mlx-lm with Pomona's
BLAS under it and weights expanded to float32 beforehand: the difference is what Pomona's loading gives, the rest is its engine.
"""

import argparse
import json
import platform
import random
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import distributions, version
from itertools import product
from pathlib import Path

import psutil

from benchmarks.contenders import Contender, Measured, prepare, run
from benchmarks.peers import Task
from benchmarks.prompts import make_prompts
from benchmarks.tables import Line, ratios, rows_table, write_between_marks

MODEL = Path(__file__).parents[1] / "src" / "pomona" / "models" / "bundled" / "pomona-tiny"
SHIPPED, SAME, Q8 = "shipped", "same kernels", "GGUF Q8_0"
CONTENDERS = (
    Contender(key="pomona-served", title="Pomona over HTTP", worker="pomona", variant=SHIPPED, served=True),
    Contender(key="pomona", title="Pomona, engine in process", worker="pomona", variant=SAME),
    Contender(key="mlx-server-same", title="mlx_lm.server over HTTP", worker="mlx_server", variant=SAME, served=True),
    Contender(key="batch-same", title="mlx-lm BatchGenerator", worker="batch_generator", variant=SAME),
    Contender(key="step-same", title="mlx-lm generate_step", worker="generate_step", variant=SAME),
    Contender(key="mlx-server", title="mlx_lm.server over HTTP", worker="mlx_server", variant=SHIPPED, served=True),
    Contender(key="batch", title="mlx-lm BatchGenerator", worker="batch_generator", variant=SHIPPED),
    Contender(key="step", title="mlx-lm generate_step", worker="generate_step", variant=SHIPPED),
)
KEYS = (*(one.key for one in CONTENDERS), "llama-cpp", "transformers", "transformers-bf16")
WARM_UP_TOKENS = 8
PROMPT_TOKENS = (64, 128)
"""Shortest and longest prompt: rows of one batch differ, as they do in use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured. `seed` makes the prompts, which are the same for all contenders and new in every repeat.

    On a CPU, mlx-lm as shipped reads 6 prompt tokens a second of the bundled model, so it gets `slow_batches` and one repeat only.
    """

    batches: Sequence[int]
    slow_batches: Sequence[int]
    new_tokens: int
    repeats: int
    prompt_tokens: Sequence[int] = PROMPT_TOKENS
    seed: int = 0

    def batches_of(self, contender: Contender, repeat: int) -> Sequence[int]:
        """The batch sizes that `contender` runs in this repeat."""
        if contender.variant != SHIPPED or contender.worker == "pomona":
            return self.batches
        return self.slow_batches if repeat == 0 else ()

    def task(self, tokenizer_file: Path, batch: int, repeat: int) -> Task:
        """The prompts of one batch in one repeat."""
        seed = hash((self.seed, batch, repeat))
        source = random.Random(seed)
        lengths = [source.randint(self.prompt_tokens[0], self.prompt_tokens[-1]) for _ in range(batch)]
        ids, texts = make_prompts(tokenizer_file, lengths, seed=seed)
        return Task(prompts=ids, texts=texts, new_tokens=self.new_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One task answered by one contender."""

    contender: str
    batch: int
    seconds: float
    first_median: float
    first_worst: float
    tokens: int
    processor_seconds: float
    peak_bytes: int


def main() -> int:
    """Measure what the command line asks for and print the report."""
    options = _options()
    plan = Plan(
        batches=options.batches,
        slow_batches=options.slow_batches,
        new_tokens=options.new_tokens,
        repeats=options.repeats,
        prompt_tokens=options.prompt_tokens,
    )
    chosen = [contender for contender in (*CONTENDERS, *_foreign(options)) if contender.key in options.only]
    with tempfile.TemporaryDirectory() as place:
        folders = Path(place)
        prepare(options.model, folders)
        samples = [sample for repeat in range(plan.repeats) for sample in _repeat(chosen, plan, folders, repeat)]
    if options.json:
        print(json.dumps({"machine": machine(), "plan": asdict(plan), "samples": [asdict(sample) for sample in samples]}))
        return 0
    report = _report(chosen, plan, samples)
    print(report)
    if options.write:
        write_between_marks(options.write, "engine", report)
    return 0


def _foreign(options: argparse.Namespace) -> list[Contender]:
    """Those that need an interpreter of their own, where one was named."""
    found: list[Contender] = []
    if options.llama_cpp:
        found.append(Contender(key="llama-cpp", title="llama.cpp, in process", worker="llama_cpp", variant=Q8, python=options.llama_cpp))
    if options.torch:
        for key, dtype in (("transformers", "float32"), ("transformers-bf16", "bfloat16")):
            title, worker = "transformers generate", f"transformers_{dtype}"
            found.append(Contender(key=key, title=title, worker=worker, variant=dtype, python=options.torch))
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL, help="model folder (default: the bundled model)")
    parser.add_argument("--batches", type=_numbers, default=(1, 8, 32), metavar="N,N", help="rows that run together (default: 1,8,32)")
    parser.add_argument("--slow-batches", type=_numbers, default=(1,), metavar="N,N", help="the same for mlx-lm as shipped (default: 1)")
    parser.add_argument("--new-tokens", type=int, default=128, metavar="N", help="tokens generated per row (default: 128)")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds over all contenders (default: 5)")
    parser.add_argument("--only", type=_keys, default=KEYS, metavar="KEY,KEY", help=f"some of {_known()}")
    parser.add_argument("--llama-cpp", metavar="PYTHON", help="llama.cpp too: an interpreter with llama-cpp-python, gguf, safetensors")
    parser.add_argument("--torch", metavar="PYTHON", help="transformers too: an interpreter with torch and transformers")
    parser.add_argument("--prompt-tokens", type=_numbers, default=PROMPT_TOKENS, metavar="N,N", help="shortest and longest prompt")
    parser.add_argument("--quick", action="store_true", help="1 and 8 rows, 32 tokens, one round, nothing as shipped")
    parser.add_argument("--json", action="store_true", help="print all samples as JSON instead of tables")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also put the tables into FILE, between its marks")
    options = parser.parse_args()
    if options.quick:
        options.batches, options.slow_batches, options.new_tokens, options.repeats = (1, 8), (), 32, 1
    return options


def _repeat(contenders: Iterable[Contender], plan: Plan, folders: Path, repeat: int) -> Iterable[Sample]:
    """One round: every contender once, at every batch size, smallest first so that its peak of memory belongs to the batch."""
    tokenizer_file = folders / "shipped" / "tokenizer.json"
    for contender in (one for one in contenders if plan.batches_of(one, repeat)):
        with run(contender, folders) as measured:
            measured.answer(replace(plan.task(tokenizer_file, 1, -1 - repeat), new_tokens=WARM_UP_TOKENS))
            measured.settle()
            for batch in plan.batches_of(contender, repeat):
                yield _sample(contender, measured, plan.task(tokenizer_file, batch, repeat))
                print(f"round {repeat + 1}/{plan.repeats}, {contender.title} ({contender.variant}), {batch} rows: done", file=sys.stderr)


def _sample(contender: Contender, measured: Measured, task: Task) -> Sample:
    before = measured.processor_seconds()
    result = measured.answer(task)
    used = measured.processor_seconds() - before
    expected = len(task.prompts) * task.new_tokens
    if result.tokens != expected:
        raise RuntimeError(f"{contender.title} made {result.tokens!r} tokens where {expected!r} were asked for.")
    return Sample(
        contender=contender.key,
        batch=len(task.prompts),
        seconds=result.seconds,
        first_median=statistics.median(result.first),
        first_worst=max(result.first),
        tokens=result.tokens,
        processor_seconds=used,
        peak_bytes=measured.peak_bytes,
    )


def _lines(contenders: Iterable[Contender], batches: Iterable[int], samples: Sequence[Sample]) -> list[Line]:
    """One line per batch and contender that was measured at it."""
    lines: list[Line] = []
    for batch, contender in product(batches, contenders):
        own = [sample for sample in samples if sample.batch == batch and sample.contender == contender.key]
        if own:
            lines.append(
                Line(
                    title=contender.title,
                    kernels="" if contender.worker == "pomona" else contender.variant,
                    batch=batch,
                    first_median=statistics.median(sample.first_median for sample in own),
                    first_worst=statistics.median(sample.first_worst for sample in own),
                    tokens_per_second=_speed(own),
                    processor_seconds=statistics.median(1000 * sample.processor_seconds / sample.tokens for sample in own),
                    peak_bytes=max(sample.peak_bytes for sample in own),
                )
            )
    return lines


def _speed(samples: Iterable[Sample]) -> float:
    return statistics.median(sample.tokens / sample.seconds for sample in samples)


def _speeds(samples: Sequence[Sample]) -> dict[tuple[str, int], float]:
    keys = {(sample.contender, sample.batch) for sample in samples}
    return {key: _speed(sample for sample in samples if (sample.contender, sample.batch) == key) for key in keys}


def _report(chosen: Sequence[Contender], plan: Plan, samples: Sequence[Sample]) -> str:
    numbers = ",".join(map(str, plan.batches))
    lead = (
        f"`scripts/bench engine --batches {numbers} --new-tokens {plan.new_tokens} --repeats {plan.repeats}` on {machine()}: prompts of "
        f"{plan.prompt_tokens[0]} to {plan.prompt_tokens[-1]} tokens, {plan.new_tokens} new tokens per row, medians of {plan.repeats}."
    )
    return "\n\n".join([lead, rows_table(_lines(chosen, plan.batches, samples)), ratios(_speeds(samples), plan.batches)])


def machine() -> str:
    """The machine and the versions, in words."""
    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GiB"
    cores = psutil.cpu_count()
    return (
        f"{platform.system()} {platform.machine()}, {cores} cores, {memory}, {_backend()}, mlx {version('mlx')}, mlx-lm {version('mlx-lm')}"
    )


def _backend() -> str:
    installed = {distribution.name.lower().replace("_", "-") for distribution in distributions()}
    cuda = any(name.startswith("mlx-cuda") for name in installed)
    return "CUDA" if cuda else "Metal" if sys.platform == "darwin" else "CPU"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(sorted(int(part) for part in text.split(",") if part))


def _keys(text: str) -> tuple[str, ...]:
    chosen = tuple(text.split(","))
    unknown = [key for key in chosen if key not in KEYS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no contender {unknown[0]!r}; there are {_known()}")
    return chosen


def _known() -> str:
    return ", ".join(KEYS)


if __name__ == "__main__":
    sys.exit(main())

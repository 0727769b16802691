"""What a grammar costs: tokens per second of rows that must be JSON of a schema, over those of free rows, in one run of one engine.

    scripts/bench grammar                     the bundled model, 1 and 32 rows
    scripts/bench grammar --temperature 1
    scripts/bench grammar --json

Rows of one batch have four schemas in turn, none of which can end before the row does. Free and constrained batches of the same prompts
take turns, and the ratio is the median over these pairs, since a shared machine is not equally fast all the time.
"""

import argparse
import json
import platform
import random
import statistics
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from llguidance import LLMatcher

from benchmarks.engine import MODEL, PROMPT_TOKENS
from benchmarks.prompts import make_prompts

if TYPE_CHECKING:
    from pomona.core.generation import Prompt
    from pomona.engine.engine import Engine

TARGET = 0.97
SCHEMAS: tuple[dict[str, object], ...] = (
    {"name": {"type": "string"}, "age": {"type": "integer"}, "member": {"type": "boolean"}},
    {"city": {"type": "string", "maxLength": 40}, "position": {"type": "array", "items": {"type": "number"}, "maxItems": 2}},
    {"kind": {"enum": ["question", "answer", "remark"]}, "text": {"type": "string"}},
    {"steps": {"type": "array", "items": {"type": "string"}, "minItems": 2}, "next": {"anyOf": [{"type": "null"}, {"type": "string"}]}},
)
"""Properties of the objects that each row lists without end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One batch run freely and constrained: tokens per second."""

    batch: int
    free: float
    constrained: float

    @property
    def ratio(self) -> float:
        """What is left of the speed."""
        return self.constrained / self.free


def main() -> int:
    """Measure, print a table, and fail where the target is missed."""
    options = _options()
    engine = _engine(options.model, max(options.batches))
    pairs = [pair for repeat in range(options.repeats) for pair in _repeat(engine, options, repeat)]
    if options.json:
        print(json.dumps([asdict(pair) for pair in pairs]))
    else:
        print(_report(pairs, options))
    engine.close()
    ratios = [statistics.median(pair.ratio for pair in pairs if pair.batch == batch) for batch in options.batches]
    return 0 if min(ratios) >= TARGET else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL, help="model folder (default: the bundled model)")
    parser.add_argument("--batches", type=_numbers, default=(1, 32), metavar="N,N", help="rows that run together (default: 1,32)")
    parser.add_argument("--new-tokens", type=int, default=128, metavar="N", help="tokens generated per row (default: 128)")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="pairs of each batch size (default: 5)")
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T", help="of all rows (default: 0, where sampling costs least)")
    parser.add_argument("--json", action="store_true", help="print all pairs as JSON instead of a table")
    return parser.parse_args()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _engine(folder: Path, rows: int) -> "Engine":
    """The BLAS comes first: MLX keeps the one that it finds when it is imported."""
    from pomona.app import cache_folder
    from pomona.models.cpu.blas import prepare_blas
    from pomona.models.device import needs_blas

    if needs_blas("auto"):
        prepare_blas("auto", cache_folder())
    from pomona.core.settings import EngineSettings
    from pomona.engine.process.building import build_engine
    from pomona.models.device import use_device
    from pomona.models.loading import load
    from pomona.models.references import ResolvedModel

    found = ResolvedModel(id=folder.name, path=folder, kind="folder", reference=str(folder))
    settings = EngineSettings(max_rows=rows, prefix_cache=False, kv_cache_bytes=2**28)
    return build_engine(load(found, use_device("auto")), settings)


def _repeat(engine: "Engine", options: argparse.Namespace, repeat: int) -> list[Pair]:
    """One pair of every batch size; which half goes first changes from repeat to repeat. The grammars are compiled beforehand."""
    run(engine, bound(_prompts(options, len(SCHEMAS), -1 - repeat, new_tokens=2)))
    pairs: list[Pair] = []
    for batch in options.batches:
        free = _prompts(options, batch, repeat, new_tokens=options.new_tokens)
        halves = [free, bound(free)]
        speeds = [run(engine, half) for half in (halves if repeat % 2 else reversed(halves))]
        first, second = speeds if repeat % 2 else reversed(speeds)
        pairs.append(Pair(batch=batch, free=first, constrained=second))
        print(f"round {repeat + 1}/{options.repeats}, {batch} rows: {pairs[-1].ratio:.3f}", file=sys.stderr)
    return pairs


def _prompts(options: argparse.Namespace, batch: int, repeat: int, *, new_tokens: int) -> "list[Prompt]":
    from pomona.core.generation import Prompt, SamplingParams

    source = random.Random(hash((batch, repeat)))
    lengths = [source.randint(*PROMPT_TOKENS) for _ in range(batch)]
    ids, _ = make_prompts(options.model / "tokenizer.json", lengths, seed=source.randrange(2**30))
    sampling = SamplingParams(temperature=options.temperature, seed=0)
    return [Prompt(id=f"{row}", token_ids=tuple(each), sampling=sampling, max_tokens=new_tokens) for row, each in enumerate(ids)]


def bound(prompts: "list[Prompt]") -> "list[Prompt]":
    """The same prompts, each with a grammar that has no end; neighbours have different ones."""
    from pomona.core.generation import Grammar

    return [replace(prompt, grammar=Grammar(source=_source(row % len(SCHEMAS)))) for row, prompt in enumerate(prompts)]


def _source(number: int) -> str:
    properties = SCHEMAS[number]
    item = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return LLMatcher.grammar_from_json_schema(json.dumps({"type": "array", "items": item, "minItems": 1000}))


def run(engine: "Engine", prompts: "list[Prompt]") -> float:
    """Tokens per second from the first command to the last token."""
    start, tokens = time.perf_counter(), 0
    for prompt in prompts:
        engine.add(prompt)
    while engine.has_work:
        tokens += sum(len(step.token_ids) for _, step in engine.step())
    wanted = sum(prompt.max_tokens for prompt in prompts)
    if tokens != wanted:
        raise RuntimeError(f"The engine made {tokens!r} tokens where {wanted!r} were asked for.")
    return tokens / (time.perf_counter() - start)


def _report(pairs: list[Pair], options: argparse.Namespace) -> str:
    machine = f"{platform.system()} {platform.machine()}, {psutil.cpu_count()} cores"
    lead = f"{machine}; {options.model.name}, {options.new_tokens} new tokens per row, temperature {options.temperature:g}"
    return f"{lead}, medians of {options.repeats}; the target is {TARGET}.\n\n{table(pairs)}"


def table(pairs: list[Pair]) -> str:
    """Medians over all repeats of each batch size."""
    lines = ["| rows | free, tokens/s | constrained, tokens/s | ratio | worst |", "|---:|---:|---:|---:|---:|"]
    for batch in dict.fromkeys(pair.batch for pair in pairs):
        own = [pair for pair in pairs if pair.batch == batch]
        free, constrained, ratio = (statistics.median(getattr(pair, name) for pair in own) for name in ("free", "constrained", "ratio"))
        worst = min(pair.ratio for pair in own)
        lines.append(f"| {batch} | {free:,.0f} | {constrained:,.0f} | {ratio:.3f} | {worst:.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

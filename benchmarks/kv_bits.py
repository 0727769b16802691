"""What keys and values in 8 and 4 bits cost in quality and speed, and what they save.

    scripts/bench kv_bits [--model FOLDER] [--texts 16] [--tokens 768] [--rows 8] [--write docs/performance.md]

The texts are the model's own, drawn at temperature 1. Each is scored by engines that differ in `engine.kv_bits` alone, many rows in one
batch. Perplexity is over all tokens; *same first choice* is how often the most likely token stays the same; the divergence is of the 20
most likely tokens of the full precision (Kullback-Leibler, in nats). The speed is that of decoding behind the texts, so at their length.
"""

import argparse
import math
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pomona
from benchmarks.prompts import make_prompts
from benchmarks.tables import write_between_marks

if TYPE_CHECKING:
    from pomona.core.generation import TokenLogprobs

BUNDLED = Path(pomona.__file__).parent / "models" / "bundled" / "pomona-tiny"
PROMPT_TOKENS, SPEED_TOKENS, TOP, ROUNDS = 32, 32, 20, 3
Bits = Literal[4, 8] | None
Texts = list[list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Of one setting. `scores` are those of all tokens of all texts, in order."""

    bits: Bits
    token_bytes: float
    scores: "list[TokenLogprobs]"
    speed: float


class Bench:
    """The model in memory."""

    def __init__(self, folder: Path) -> None:
        from pomona.core.settings import ModelsSettings
        from pomona.models.cpu.blas import prepare_blas

        prepare_blas("auto", Path.home() / ".cache" / "pomona" / "blas")
        from pomona.models.device import use_device
        from pomona.models.loading import load
        from pomona.models.references import resolve

        self._model = load(resolve(str(folder), ModelsSettings()), use_device("auto"))

    def engine(self, bits: Bits) -> Any:
        """A fresh engine that shares nothing between rows."""
        from pomona.core.settings import EngineSettings
        from pomona.engine.process.building import build_engine

        settings = {"kv_bits": bits, "prefix_cache": False, "speculation": "off", "kv_cache_bytes": 2**30}
        return build_engine(self._model, EngineSettings.model_validate(settings))

    def write(self, prompts: Texts, tokens: int) -> Texts:
        """Texts that begin with the prompts."""
        engine = self.engine(None)
        answers = _run(engine, prompts, tokens, temperature=1.0)
        engine.close()
        return [prompt + [token for step in steps for token in step.token_ids] for prompt, steps in zip(prompts, answers, strict=True)]

    def measure(self, texts: Texts, rows: int, bits: Bits) -> Outcome:
        """Score all texts, then go on with some of them."""
        engine = self.engine(bits)
        scored = _run(engine, texts, 0, temperature=0.0)
        scores = [score for steps in scored for step in steps for score in step.prompt_logprobs]
        speeds = [_speed(engine, texts[:rows]) for _ in range(ROUNDS)]
        token_bytes = engine.page_bytes / 32
        engine.close()
        return Outcome(bits=bits, token_bytes=token_bytes, scores=scores, speed=statistics.median(speeds))


def main() -> int:
    """Measure and print a table."""
    options = _options()
    bench = Bench(options.model)
    prompts, _ = make_prompts(options.model / "tokenizer.json", [PROMPT_TOKENS] * options.texts, seed=7)
    texts = bench.write(prompts, options.tokens - PROMPT_TOKENS)
    outcomes: list[Outcome] = []
    for bits in (None, 8, 4):
        print(f"scoring with kv_bits = {bits}", file=sys.stderr, flush=True)
        outcomes.append(bench.measure(texts, options.rows, bits))
    tokens = sum(map(len, texts))
    table = f"{options.model.name}: {len(texts)} texts, {tokens:,} tokens; speed with {options.rows} rows.\n\n{_table(outcomes)}"
    print(table)
    if options.write:
        write_between_marks(options.write, "kv_bits", table)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=BUNDLED, metavar="FOLDER")
    parser.add_argument("--texts", type=int, default=16, metavar="N")
    parser.add_argument("--tokens", type=int, default=768, metavar="N", help="of each text")
    parser.add_argument("--rows", type=int, default=8, metavar="N", help="that decode together where speed is measured")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between the marks in this file")
    return parser.parse_args()


def _run(engine: Any, prompts: Texts, tokens: int, *, temperature: float) -> list[list[Any]]:
    """All steps of each prompt. Without `tokens`, the prompts are scored."""
    from pomona.core.generation import Prompt, SamplingParams

    for index, ids in enumerate(prompts):
        sampling = SamplingParams(temperature=temperature, seed=index)
        scoring = None if tokens else TOP
        engine.add(Prompt(id=str(index), token_ids=tuple(ids), sampling=sampling, max_tokens=tokens, prompt_logprobs=scoring))
    steps: list[list[Any]] = [[] for _ in prompts]
    while engine.has_work:
        for id, step in engine.step():
            steps[int(id)].append(step)
    return steps


def _speed(engine: Any, texts: Texts) -> float:
    """Tokens a second from the moment that all rows have begun."""
    from pomona.core.generation import Prompt, SamplingParams

    for index, ids in enumerate(texts):
        sampling = SamplingParams(temperature=0.0)
        engine.add(Prompt(id=str(index), token_ids=tuple(ids), sampling=sampling, max_tokens=SPEED_TOKENS * 4))
    begun, made, started = set[str](), 0, 0.0
    while made < SPEED_TOKENS * len(texts):
        for id, step in engine.step():
            begun.add(id)
            made += len(step.token_ids) if started else 0
        if not started and len(begun) == len(texts):
            started = time.perf_counter()
    rate = made / (time.perf_counter() - started)
    for index in range(len(texts)):
        engine.cancel(str(index))
    return rate


def _table(outcomes: list[Outcome]) -> str:
    full = outcomes[0]
    lines = [
        "| kv_bits | bytes per token | perplexity | divergence | same first choice | tokens/s, ratio |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for one in outcomes:
        perplexity = math.exp(-statistics.fmean(score.logprob for score in one.scores))
        lines.append(
            f"| {one.bits or 'unset'} | {one.token_bytes:,.0f} | {perplexity:.4f} | {_divergence(full, one):.5f} | "
            f"{_agreement(full, one):.2%} | {one.speed / full.speed:.2f} |"
        )
    return "\n".join(lines)


def _divergence(full: Outcome, other: Outcome) -> float:
    total = 0.0
    for wanted, found in zip(full.scores, other.scores, strict=True):
        there = dict(found.top)
        total += sum(math.exp(p) * (p - there[token]) for token, p in wanted.top if token in there)
    return total / len(full.scores)


def _agreement(full: Outcome, other: Outcome) -> float:
    same = sum(wanted.top[0][0] == found.top[0][0] for wanted, found in zip(full.scores, other.scores, strict=True))
    return same / len(full.scores)


if __name__ == "__main__":
    sys.exit(main())

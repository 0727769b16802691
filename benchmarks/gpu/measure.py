"""One cell at a time: how fast rows decode, prompts are read, and how long streams wait while a long prompt is read."""

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from benchmarks.gpu.decoders import Decoder, Prompts, Start

WARM_TOKENS = 4
"""New tokens of every row before anything is measured: kernels are compiled, graphs are known."""
WARM_SHARE = 0.3
"""Of the seconds of a cell, before anything is measured."""

PATIENCE_SECONDS = 60.0
"""For the first token of a long prompt."""


def make_prompts(vocabulary: int, rows: int, tokens: int, seed: str) -> list[list[int]]:
    """New for every `seed`: no prefix cache can help."""
    source = random.Random(seed)
    return [[source.randrange(vocabulary) for _ in range(tokens)] for _ in range(rows)]


def decode(start: Start, prompts: Prompts, seconds: float) -> Mapping[str, float]:
    """Tokens per second of rows that all decode, and milliseconds between two steps."""
    begun = time.perf_counter()
    decoder = start(prompts)
    try:
        until_all_have(decoder, len(prompts), 1)
        first = time.perf_counter() - begun
        until_all_have(decoder, len(prompts), WARM_TOKENS)
        run_for(decoder, WARM_SHARE * seconds)
        tokens, gaps = run_for(decoder, seconds)
    finally:
        decoder.close()
    spent = sum(gaps)
    return {"tokens_per_second": tokens / spent, "step_ms": 1000 * statistics.median(gaps), "first_seconds": first}


def run_for(decoder: Decoder, seconds: float) -> tuple[int, list[float]]:
    """Tokens, and seconds of every step that made some."""
    tokens, gaps = 0, list[float]()
    begun = last = now = time.perf_counter()
    while now - begun < seconds:
        made = len(decoder.step())
        now = time.perf_counter()
        if made:
            tokens += made
            gaps.append(now - last)
            last = now
    if not gaps:
        raise RuntimeError("the rows ended before they could be measured: the context is too short for so many seconds")
    return tokens, gaps


def whole(start: Start, prompts: Prompts, new_tokens: int) -> Mapping[str, float]:
    """From the prompts to the last of `new_tokens` tokens of each row, when the rows have done that once before."""
    begun = time.perf_counter()
    decoder = start(prompts)
    counts, first = [0] * len(prompts), 0.0
    try:
        while min(counts) < new_tokens:
            for row in decoder.step():
                counts[row] += 1
            first = first or (time.perf_counter() - begun if min(counts) else 0.0)
        seconds = time.perf_counter() - begun
    finally:
        decoder.close()
    return {"tokens_per_second": len(prompts) * new_tokens / seconds, "first_seconds": first}


def read_prompt(start: Start, prompts: Sequence[Sequence[int]], seconds: float) -> Mapping[str, float]:
    """Tokens per second from a prompt to its first token, one prompt after another; the first one is not counted."""
    took: list[float] = []
    begun = time.perf_counter()
    for prompt in prompts:
        started = time.perf_counter()
        decoder = start([prompt])
        until_all_have(decoder, 1, 1)
        took.append(time.perf_counter() - started)
        decoder.close()
        if len(took) > 1 and time.perf_counter() - begun > seconds:
            break
    median = statistics.median(took[1:] or took)
    return {"tokens_per_second": len(prompts[0]) / median, "first_seconds": median}


class Crowd(Decoder, Protocol):
    """Rows that others may join."""

    def add(self, prompt: Sequence[int], max_tokens: int, /) -> None:
        """One more row, numbered behind the others."""
        ...


def gaps_beside(start: Callable[[Prompts], Crowd], rows: Prompts, joining: Prompts, seconds: float) -> Mapping[str, float]:
    """Milliseconds between two tokens of a stream, alone and while each of the prompts `joining` is read; the first is not counted."""
    crowd = start(rows)
    alone, beside, waits = list[float](), list[float](), list[float]()
    try:
        until_all_have(crowd, len(rows), WARM_TOKENS)
        last = [time.perf_counter()] * len(rows)
        _note(crowd, last, WARM_SHARE * seconds)
        for count, prompt in enumerate(joining):
            quiet = _note(crowd, last, seconds / len(joining))
            begun = time.perf_counter()
            crowd.add(prompt, 1)
            number = len(rows) + count
            loud = _note(crowd, last, PATIENCE_SECONDS, until=number)
            if count:
                alone, beside = alone + quiet, beside + loud
                waits.append(time.perf_counter() - begun)
    finally:
        crowd.close()
    return {**_percentiles("alone", alone), **_percentiles("beside", beside), "first_seconds": statistics.median(waits)}


def _note(crowd: Crowd, last: list[float], seconds: float, until: int | None = None) -> list[float]:
    """Seconds between two tokens of each stream; ends early when row `until` has its first token."""
    gaps: list[float] = []
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        made = crowd.step()
        now = time.perf_counter()
        for row in made:
            if row < len(last):
                gaps.append(now - last[row])
                last[row] = now
        if until in made:
            break
    return gaps


def _percentiles(name: str, gaps: list[float]) -> Mapping[str, float]:
    ordered = sorted(gaps)
    return {f"{name}_p50_ms": 1000 * ordered[len(ordered) // 2], f"{name}_p99_ms": 1000 * ordered[int(len(ordered) * 0.99)]}


def until_all_have(decoder: Decoder, rows: int, tokens: int) -> None:
    """Step until each of the first `rows` rows has got `tokens` tokens."""
    counts = [0] * rows
    while min(counts) < tokens:
        for row in decoder.step():
            if row < rows:
                counts[row] += 1

"""One engine, many callers: who gets how much of it, who waits how long, and what a long prompt does to streams.

    scripts/bench fairness [--model FOLDER] [--write docs/performance.md]

Each scene is played by the real engine with `engine.scheduling` adaptive and, as the baseline, first come, first served (`arrival`), one
after the other on the same machine; "alone" is the same caller with nobody else there.
"""

import argparse
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.prompts import make_prompts
from benchmarks.tables import write_between_marks

if TYPE_CHECKING:
    from pomona.core.generation import Priority
    from pomona.engine.engine import Engine

MODEL = Path(__file__).parents[1] / "src" / "pomona" / "models" / "bundled" / "pomona-tiny"
Mode = Literal["adaptive", "arrival"]
MODES: tuple[Mode, Mode] = ("adaptive", "arrival")
PLACES = 8
STREAMS = 4
LIGHT_REQUESTS = 8
GREEDY_REQUESTS = 64
SHARING_SECONDS = 12.0
DEMANDS = {"reader": (600, 10), "writer": (20, 200), "many": (60, 20)}
"""Callers that always have work waiting: tokens of prompt and of answer."""
TITLES = {"adaptive": "Pomona", "arrival": "first come, first served"}


@dataclass(slots=True)
class Watched:
    """What became of one request; times in seconds."""

    asked: float
    first: float | None = None
    last: float = 0.0
    gaps: list[float] = field(default_factory=list[float])


class Stage:
    """A fresh engine for one scene, which has answered a few requests before."""

    def __init__(self, loaded: Any, mode: Mode, prompts: "Prompts") -> None:
        from pomona.core.settings import EngineSettings
        from pomona.engine.process.building import build_engine

        changes = {"scheduling": mode, "max_rows": PLACES, "prefix_cache": False, "speculation": "off", "kv_cache_bytes": 2**29}
        self.engine: Engine = build_engine(loaded, EngineSettings.model_validate(changes))
        self._prompts = prompts
        self.watched: dict[str, Watched] = {}
        self.work: dict[str, float] = defaultdict(float)
        """By caller: tokens of answers, which count twice."""
        for rows in (1, 3, PLACES, PLACES):
            for _ in range(rows):
                self.ask("warm", 300, 8)
            self.until_idle()
        self.watched.clear()
        self.work.clear()

    def ask(self, caller: str, tokens: int, answer: int, priority: "Priority" = "normal") -> str:
        """Queue a request; its id."""
        from pomona.core.generation import Prompt, SamplingParams

        id = f"{caller}/{len(self.watched)}"
        ids = tuple(self._prompts.take(tokens))
        sampling = SamplingParams(temperature=0.0)
        self.engine.add(Prompt(id=id, token_ids=ids, sampling=sampling, max_tokens=answer, priority=priority, caller=caller))
        self.watched[id] = Watched(time.perf_counter())
        return id

    def step(self) -> set[str]:
        """One step; the requests that ended."""
        ended: set[str] = set()
        for id, made in self.engine.step():
            now, watched, caller = time.perf_counter(), self.watched[id], id.partition("/")[0]
            if made.token_ids:
                if watched.first is None:
                    watched.first = now - watched.asked
                else:
                    watched.gaps.append(now - watched.last)
                watched.last = now
                self.work[caller] += 2 * len(made.token_ids)
            if made.finish_reason:
                ended.add(id)
        return ended

    def until(self, *ids: str) -> None:
        """Step until these requests have ended."""
        left = set(ids)
        while left:
            left -= self.step()

    def until_idle(self) -> None:
        """Step until nothing is left."""
        while self.engine.has_work:
            self.step()


class Prompts:
    """Prompts of any length that begin differently each time."""

    def __init__(self, tokenizer_file: Path) -> None:
        self._ids = make_prompts(tokenizer_file, [4000], seed=7)[0][0]
        self._taken = 0

    def take(self, tokens: int) -> list[int]:
        """A piece of one long text, from another place each time."""
        self._taken = (self._taken + 37) % (len(self._ids) - 1)
        return (self._ids[self._taken :] + self._ids)[:tokens]


def light_beside_greedy(loaded: Any, mode: Mode, prompts: Prompts, *, greedy: bool = True) -> list[float]:
    """First tokens of a caller that asks for one short answer after the other, while another has queued many long ones."""
    stage = Stage(loaded, mode, prompts)
    for _ in range(GREEDY_REQUESTS if greedy else 0):
        stage.ask("greedy", 150, 100)
    for _ in range(20 if greedy else 0):
        stage.step()
    lights: list[str] = []
    for _ in range(LIGHT_REQUESTS):
        lights.append(stage.ask("light", 60, 16))
        stage.until(lights[-1])
    stage.engine.close()
    return [stage.watched[id].first or 0.0 for id in lights]


def shares(loaded: Any, mode: Mode, prompts: Prompts) -> float:
    """Jain's index of the work done for callers with unequal demand, all of whom always have requests waiting."""
    stage = Stage(loaded, mode, prompts)
    started, tokens = time.perf_counter(), dict[str, float](dict.fromkeys(DEMANDS, 0.0))
    open_requests: dict[str, set[str]] = {caller: set() for caller in DEMANDS}
    while time.perf_counter() - started < SHARING_SECONDS:
        for caller, (prompt, answer) in DEMANDS.items():
            while len(open_requests[caller]) < (60 if caller == "many" else PLACES):
                open_requests[caller].add(stage.ask(caller, prompt, answer))
        for id in stage.step():
            caller = id.partition("/")[0]
            open_requests[caller].remove(id)
            tokens[caller] += DEMANDS[caller][0]
    stage.engine.close()
    given = [tokens[caller] + stage.work[caller] for caller in DEMANDS]
    return sum(given) ** 2 / (len(given) * sum(work * work for work in given))


def gaps(loaded: Any, mode: Mode, prompts: Prompts, long_tokens: int) -> tuple[list[float], list[float], float]:
    """Gaps of streams alone and beside a long prompt, and the first token of that."""
    stage = Stage(loaded, mode, prompts)
    streams = [stage.ask("stream", 60, 1200) for _ in range(STREAMS)]
    while min(len(stage.watched[id].gaps) for id in streams) < 150:
        stage.step()
    alone = [gap for id in streams for gap in stage.watched[id].gaps[20:]]
    for id in streams:
        stage.watched[id].gaps.clear()
    long = stage.ask("long", long_tokens, 1)
    while stage.watched[long].first is None:
        stage.step()
    beside = [gap for id in streams for gap in stage.watched[id].gaps]
    stage.engine.close()
    return alone, beside, stage.watched[long].first or 0.0


def high_among_low(loaded: Any, mode: Mode, prompts: Prompts) -> list[float]:
    """First tokens of high requests while low ones with long answers hold all places."""
    stage = Stage(loaded, mode, prompts)
    for _ in range(2 * PLACES):
        stage.ask("low", 60, 800, "low")
    for _ in range(60):
        stage.step()
    highs: list[str] = []
    for _ in range(4):
        highs.append(stage.ask("high", 60, 16, "high"))
        stage.until(highs[-1])
    stage.engine.close()
    return [stage.watched[id].first or 0.0 for id in highs]


def report(loaded: Any, prompts: Prompts) -> str:
    """All scenes as one table."""
    long_tokens = min(3000, loaded.max_context - 200)
    alone = light_beside_greedy(loaded, "adaptive", prompts, greedy=False)
    lines = ["| | " + " | ".join(TITLES[mode] for mode in MODES) + " | alone |", "|---|---:|---:|---:|"]
    light = [_firsts(light_beside_greedy(loaded, mode, prompts)) for mode in MODES]
    lines.append(f"| light caller beside one with {GREEDY_REQUESTS} long answers, first token | {' | '.join(light)} | {_firsts(alone)} |")
    jain = [f"{shares(loaded, mode, prompts):.3f}" for mode in MODES]
    lines.append(f"| three callers with unequal demand, Jain index of work done | {' | '.join(jain)} | |")
    played = [gaps(loaded, mode, prompts, long_tokens) for mode in MODES]
    title = f"{STREAMS} streams beside a prompt of {long_tokens} tokens, gap"
    lines.append(f"| {title} | {' | '.join(_milliseconds(beside) for _, beside, _ in played)} | {_milliseconds(played[0][0])} |")
    lines.append(f"| that prompt's first token | {' | '.join(f'{first * 1000:,.0f} ms' for *_, first in played)} | |")
    high = [_firsts(high_among_low(loaded, mode, prompts)) for mode in MODES]
    lines.append(f"| high request while low ones hold all {PLACES} places, first token | {' | '.join(high)} | |")
    return "\n".join(lines)


def main() -> int:
    """Play all scenes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL, help="model folder (default: the bundled model)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also put the table into FILE, between its marks")
    options = parser.parse_args()
    from pomona.models.cpu.blas import prepare_blas

    prepare_blas("auto", Path.home() / ".cache" / "pomona" / "blas")
    from pomona.core.settings import ModelsSettings
    from pomona.models.device import use_device
    from pomona.models.loading import load
    from pomona.models.references import resolve

    loaded = load(resolve(str(options.model), ModelsSettings()), use_device("auto"))
    text = report(loaded, Prompts(options.model / "tokenizer.json"))
    print(text)
    if options.write:
        write_between_marks(options.write, "fairness", text)
    return 0


def _firsts(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds) * 1000:,.0f} ms, slowest {max(seconds) * 1000:,.0f}"


def _milliseconds(seconds: Iterable[float]) -> str:
    ordered = sorted(seconds)
    return f"{statistics.median(ordered) * 1000:.1f} ms, p99 {ordered[int(0.99 * len(ordered))] * 1000:.1f}"


if __name__ == "__main__":
    sys.exit(main())

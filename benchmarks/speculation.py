"""Tokens a second with guesses and without, in one run: by lookup and by a draft model, on text that repeats and on free text.

    scripts/bench speculation [--model FOLDER] [--draft FOLDER] [--rows 1,8,32] [--rounds 3]

Without --draft, the draft model is the model itself with its first layers only. The text of all sides is compared: it must be the same.
At one row, mlx-lm's own speculative loop runs beside it with the same weights and the same draft.
"""

import argparse
import importlib
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from benchmarks.prompts import make_prompts

DRAFT_LAYERS = 3
PROMPT_TOKENS, ANSWER_TOKENS = 120, 120
MODES = ("off", "auto", "lookup", "draft", "auto, draft")
Prompts = list[list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run: tokens a second, guesses and those that were right, and the text."""

    rate: float
    drafted: int
    accepted: int
    text: dict[str, list[int]]


class Bench:
    """Both models in memory."""

    def __init__(self, model: Path, draft: Path) -> None:
        from pomona.core.settings import ModelsSettings
        from pomona.models.cpu.blas import prepare_blas

        prepare_blas("auto", Path.home() / ".cache" / "pomona" / "blas")
        from pomona.models.device import use_device
        from pomona.models.loading import load
        from pomona.models.references import resolve

        device = use_device("auto")
        self.model, self.draft = (load(resolve(str(folder), ModelsSettings()), device) for folder in (model, draft))

    def run(self, mode: str, prompts: Prompts, temperature: float) -> Measured:
        """All prompts together in a fresh engine, after a short warm-up of all of them."""
        from pomona.core.settings import EngineSettings
        from pomona.engine.process.building import build_engine

        setting, _, drafted = mode.partition(", ")
        settings = EngineSettings.model_validate({"speculation": setting, "prefix_cache": False, "kv_cache_bytes": 2**29})
        engine = build_engine(self.model, settings, self.draft if drafted or setting == "draft" else None)
        answer(engine, prompts, 16, temperature)
        before = engine.stats()
        started = time.perf_counter()
        text = answer(engine, prompts, ANSWER_TOKENS, temperature)
        seconds, after = time.perf_counter() - started, engine.stats()
        engine.close()
        return Measured(
            rate=sum(map(len, text.values())) / seconds,
            drafted=after.drafted_tokens - before.drafted_tokens,
            accepted=after.accepted_tokens - before.accepted_tokens,
            text=text,
        )

    def run_mlx_lm(self, prompt: list[int], *, drafted: bool) -> float:
        """Tokens a second of mlx-lm's loop for one row, greedy, prompt included."""
        import mlx.core as mx

        loops = cast("Any", importlib.import_module("mlx_lm.generate"))
        started = time.perf_counter()
        ids = mx.array(prompt)
        if drafted:
            steps = loops.speculative_generate_step(ids, self.model.module, self.draft.module, num_draft_tokens=4, max_tokens=ANSWER_TOKENS)
        else:
            steps = loops.generate_step(ids, self.model.module, max_tokens=ANSWER_TOKENS)
        return sum(1 for _ in steps) / (time.perf_counter() - started)


def answer(engine: Any, prompts: Prompts, tokens: int, temperature: float) -> dict[str, list[int]]:
    """What each prompt got."""
    from pomona.core.generation import Prompt, SamplingParams

    for index, ids in enumerate(prompts):
        sampling = SamplingParams(temperature=temperature, seed=index)
        engine.add(Prompt(id=str(index), token_ids=tuple(ids), sampling=sampling, max_tokens=tokens))
    found: dict[str, list[int]] = {str(index): [] for index in range(len(prompts))}
    while engine.has_work:
        for id, step in engine.step():
            found[id] += step.token_ids
    return found


def first_layers(model: Path, place: Path, layers: int) -> Path:
    """A copy of the model folder without its last layers."""
    import mlx.core as mx

    target = place / f"{model.name}-{layers}-layers"
    shutil.copytree(model, target, ignore=shutil.ignore_patterns("*.safetensors*"))
    config = cast("dict[str, object]", json.loads((target / "config.json").read_text()))
    config["num_hidden_layers"] = layers
    (target / "config.json").write_text(json.dumps(config))
    kept: dict[str, mx.array] = {}
    for file in model.glob("*.safetensors"):
        for name, array in cast("dict[str, mx.array]", mx.load(str(file))).items():
            place_of_layer = name.partition("layers.")[2].partition(".")[0]
            if not place_of_layer or int(place_of_layer) < layers:
                kept[name] = array
    mx.save_safetensors(str(target / "model.safetensors"), kept, {"format": "mlx"})
    return target


def texts(model: Path, rows: int, seed: int) -> dict[str, tuple[Prompts, float]]:
    """Prompts and temperature by the kind of text."""
    free, _ = make_prompts(model / "tokenizer.json", [PROMPT_TOKENS] * rows, seed=seed)
    return {
        "free, greedy": (free, 0.0),
        "free, temperature 0.8": (free, 0.8),
        "repeating, greedy": ([ids[:30] * (PROMPT_TOKENS // 30) for ids in free], 0.0),
    }


def measure(bench: Bench, prompts: Prompts, temperature: float, rounds: int) -> dict[str, Measured]:
    """The round of median speed for each mode; the modes take turns."""
    found: dict[str, list[Measured]] = {mode: [] for mode in MODES}
    for _ in range(rounds):
        for mode in MODES:
            found[mode].append(bench.run(mode, prompts, temperature))
    same = all(each.text == found["off"][0].text for runs in found.values() for each in runs)
    if not same:
        sys.stderr.write("The text differs between modes: rounding in passes of other sizes has met a near tie, or there is a fault.\n")
    return {mode: sorted(runs, key=lambda each: each.rate)[len(runs) // 2] for mode, runs in found.items()}


def line(kind: str, rows: int, found: dict[str, Measured]) -> str:
    """One row of the table: tokens a second without guesses, then by mode how many times that is, and the share of right guesses."""
    base = found["off"].rate
    cells = [f"{each.rate / base:.2f} ({each.accepted}/{each.drafted})" for mode, each in found.items() if mode != "off"]
    return f"| {kind} | {rows} | {base:,.0f} | {' | '.join(cells)} |"


def compare(bench: Bench, prompts: Prompts, rounds: int) -> str:
    """mlx-lm's loop with the draft model, as times its own without, and times ours without."""
    sides: dict[str, Callable[[], float]] = {
        "plain": lambda: bench.run_mlx_lm(prompts[0], drafted=False),
        "drafted": lambda: bench.run_mlx_lm(prompts[0], drafted=True),
        "ours": lambda: bench.run("draft", prompts[:1], 0.0).rate,
    }
    rates = {name: statistics.median(run() for _ in range(rounds)) for name, run in sides.items()}
    return (
        f"mlx-lm, one row: {rates['plain']:,.0f} tokens/s, {rates['drafted']:,.0f} with the draft model "
        f"({rates['drafted'] / rates['plain']:.2f} times); Pomona with it: {rates['ours']:,.0f}"
    )


def main() -> None:
    """Parse the command line and print the table."""
    from pomona.models.references import bundled_folder

    parser = argparse.ArgumentParser(prog="scripts/bench speculation", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, default=bundled_folder(), help="model folder; the bundled model if not given")
    parser.add_argument("--draft", type=Path, help="draft model's folder; the first layers of the model if not given")
    parser.add_argument("--rows", default="1,8,32", help="batch sizes")
    parser.add_argument("--rounds", type=int, default=3, help="times that every mode is measured")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(options.model, options.draft or first_layers(options.model, Path(place), DRAFT_LAYERS))
        sys.stdout.write(f"| text | rows | off, tokens/s | {' | '.join(MODES[1:])} |\n|---|---|---|{'---|' * len(MODES[1:])}\n")
        for rows in map(int, options.rows.split(",")):
            for kind, (prompts, temperature) in texts(options.model, rows, seed=rows).items():
                sys.stdout.write(line(kind, rows, measure(bench, prompts, temperature, options.rounds)) + "\n")
                sys.stdout.flush()
        free, _ = texts(options.model, 1, seed=1)["free, greedy"]
        sys.stdout.write(f"\n{compare(bench, free, options.rounds)}\n")


if __name__ == "__main__":
    main()

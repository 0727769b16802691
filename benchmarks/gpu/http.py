"""Served over HTTP against the engine in one process, on a folder with random weights of a shape.

    python -m benchmarks.gpu.http --shape 0.6b --batches 1,32

Both get the same prompts of 128 tokens and make 128 new ones a row, greedily; the better of two rounds after one to warm up. The tokenizer
is the bundled model's, with made-up words up to the shape's vocabulary.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from benchmarks.contenders import Contender, Measured, run
from benchmarks.gpu.cells import Cell, Deadline, Store
from benchmarks.gpu.shapes import SHAPES, Shape
from benchmarks.peers import Task
from benchmarks.prompts import make_prompts

BUNDLED = Path(__file__).parents[2] / "src" / "pomona" / "models" / "bundled" / "pomona-tiny"
UNREACHABLE = "ÿ"
"""End of text: a byte that no text has."""
TOTAL = 128
ROUNDS = 3
CONTENDERS = (
    Contender(key="served", title="Pomona over HTTP", worker="pomona", variant="shipped", served=True),
    Contender(key="in process", title="Pomona, engine in process", worker="pomona", variant="shipped"),
)


def main() -> int:
    """Write the folder, then measure one contender after the other."""
    options = _options()
    deadline, store, shape = Deadline(options.deadline), Store(options.folder), SHAPES[options.shape]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "shipped")
        write_folder(shape, folder, float32=options.float32)
        print(f"http {shape.name}: the folder is there, {deadline.left:.0f} s left", file=sys.stderr, flush=True)
        for contender in CONTENDERS:
            cells = [Cell(part="http", shape=shape.name, contender=contender.key, rows=rows, context=TOTAL) for rows in options.batches]
            left = [cell for cell in cells if store.begin(cell)] if deadline.left else []
            if left:
                _measure(contender, Path(place), store, left)
    return 0


def _measure(contender: Contender, place: Path, store: Store, cells: list[Cell]) -> None:
    try:
        with ExitStack() as stack:
            measured = stack.enter_context(run(contender, place))
            for cell in cells:
                values = _speed(measured, place / "shipped" / "tokenizer.json", cell.rows)
                store.end(cell, values)
                print(f"{cell.key}: {values}", file=sys.stderr, flush=True)
    except (RuntimeError, OSError) as error:
        for cell in cells:
            store.end(cell, {}, f"{type(error).__name__}: {error}"[:600])
        print(f"{contender.title}: {error}", file=sys.stderr, flush=True)


def _speed(measured: Measured, tokenizer: Path, rows: int) -> Mapping[str, float]:
    speeds: list[float] = []
    firsts: list[float] = []
    for turn in range(ROUNDS):
        ids, texts = make_prompts(tokenizer, [TOTAL] * rows, seed=1000 * rows + turn)
        started = time.perf_counter()
        result = measured.answer(Task(prompts=ids, texts=texts, new_tokens=TOTAL))
        seconds = min(result.seconds, time.perf_counter() - started)
        if result.tokens != rows * TOTAL:
            raise RuntimeError(f"it made {result.tokens!r} tokens where {rows * TOTAL!r} were asked for")
        speeds.append(result.tokens / seconds)
        firsts.append(max(result.first))
    return {"tokens_per_second": max(speeds[1:]), "first_seconds": min(firsts[1:])}


def write_folder(shape: Shape, folder: Path, *, float32: bool = False) -> None:
    """A model folder as one would download it."""
    mx = cast("Any", import_module("mlx.core"))
    build, flatten = import_module("benchmarks.gpu.model_shapes").build, cast("Any", import_module("mlx.utils")).tree_flatten
    folder.mkdir(parents=True)
    tokenizer = json.loads((BUNDLED / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    known = max(*vocabulary.values(), *(token["id"] for token in tokenizer["added_tokens"])) + 1
    vocabulary.update({f"w{id}": id for id in range(known, shape.vocabulary)})
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    told = json.loads((BUNDLED / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps({**told, "eos_token": UNREACHABLE}), encoding="utf-8")
    shutil.copy(BUNDLED / "chat_template.jinja", folder)
    kind = "float32" if float32 else "bfloat16"
    config = {**shape.config, "eos_token_id": vocabulary[UNREACHABLE], "torch_dtype": kind}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    model = build(shape, mx.float32 if float32 else mx.bfloat16)
    mx.save_safetensors(str(folder / "model.safetensors"), dict(flatten(model.parameters())), metadata={"format": "mlx"})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), default="0.6b")
    parser.add_argument("--folder", type=Path, default=Path("gpu-results"), help="where results go, a file for each cell")
    parser.add_argument("--batches", type=lambda text: [int(part) for part in text.split(",")], default=[1, 32], metavar="N,N")
    parser.add_argument("--deadline", type=float, default=600.0, help="seconds, behind which no contender begins")
    parser.add_argument("--float32", action="store_true", help="weights in float32, which a CPU needs")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

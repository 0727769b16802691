"""Time to the first token of a new picture, of a picture that was seen before, and of a whole prompt that was.

    scripts/bench vision                        a random Qwen2.5-VL of about 20 million weights, a picture of 448 x 448
    scripts/bench vision --side 896 --rounds 9

Each round takes a new picture three ways, one after the other: new; in another prompt (features from the cache); in the same prompt
again (pages from the prefix cache). The ratios are to Pomona's own cold path of the same round, medians over the rounds. mlx-vlm, where
it can be imported, computes the new picture's features and reads the prompt in the same round, from the same weights.
"""

import argparse
import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pomona.core.generation import Prompt, PromptPicture, SamplingParams
from pomona.core.settings import EngineSettings

if TYPE_CHECKING:
    from benchmarks.vision_model import Peer
    from pomona.engine.engine import Engine

TEXT_TOKENS = 24
WAYS = {"new": "new picture", "seen": "picture seen before", "repeated": "prompt repeated", "mlx-vlm": "mlx-vlm, new picture"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Seconds to the first token of each way."""

    seconds: Mapping[str, float]


def main() -> None:
    """Measure and print a table."""
    options = _options()
    _prepare_blas()
    with tempfile.TemporaryDirectory() as place:
        rounds = measure(Path(place), side=options.side, rounds=options.rounds)
    if options.json:
        print(json.dumps([each.seconds for each in rounds]))
    else:
        print(table(rounds))


def table(rounds: list[Round]) -> str:
    """Markdown: medians of seconds, and of ratios to the new picture of the same round."""
    lines = ["| first token of | ms | / new picture |", "|---|---:|---:|"]
    for way in [way for way in WAYS if way in rounds[0].seconds]:
        own = statistics.median(each.seconds[way] for each in rounds)
        ratio = statistics.median(each.seconds[way] / each.seconds["new"] for each in rounds)
        lines.append(f"| {WAYS[way]} | {1000 * own:.1f} | {ratio:.3f} |")
    return "\n".join(lines)


def measure(folder: Path, *, side: int, rounds: int) -> list[Round]:
    """One round to warm up, which is left out, and `rounds` more."""
    from benchmarks.vision_model import Peer, write_model
    from pomona.engine.process.building import build_engine
    from pomona.models.device import use_device
    from pomona.models.loading import load
    from pomona.models.references import ResolvedModel

    write_model(folder)
    found = ResolvedModel(id="bench", path=folder, kind="folder", reference="bench")
    engine = build_engine(load(found, use_device("auto")), EngineSettings(kv_cache_bytes=2**28))
    peer = Peer(folder) if importlib.util.find_spec("mlx_vlm") else None
    made = [_round(engine, peer, side=side, seed=seed) for seed in range(rounds + 1)]
    engine.close()
    return made[1:]


def _round(engine: "Engine", peer: "Peer | None", *, side: int, seed: int) -> Round:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    first, second = _prompt(pixels, seed, "first"), _prompt(pixels, seed + 500, "second")
    seconds = {"new": _first_token(engine, first), "seen": _first_token(engine, second), "repeated": _first_token(engine, first)}
    if peer is not None:
        seconds["mlx-vlm"] = peer.first_token(first.token_ids, pixels)
    return Round(seconds=seconds)


def _prompt(pixels: np.ndarray, seed: int, name: str) -> Prompt:
    from benchmarks.vision_model import MERGE, PATCH, PICTURE

    side = pixels.shape[0]
    count = (side // (PATCH * MERGE)) ** 2
    text = np.random.default_rng(seed + 1).integers(3, 900, TEXT_TOKENS).tolist()
    half = TEXT_TOKENS // 2
    digest = blake2b(pixels.tobytes(), digest_size=16).digest()
    picture = PromptPicture(start=half, length=count, digest=digest, pixels=pixels.tobytes(), height=side, width=side)
    ids = (*text[:half], *(PICTURE,) * count, *text[half:])
    return Prompt(id=name, token_ids=ids, sampling=SamplingParams(temperature=0), max_tokens=1, pictures=(picture,))


def _first_token(engine: "Engine", prompt: Prompt) -> float:
    start = time.perf_counter()
    engine.add(prompt)
    while engine.has_work:
        engine.step()
    return time.perf_counter() - start


def _prepare_blas() -> None:
    """Before MLX is imported: it keeps the BLAS that it finds then."""
    from pomona.app import cache_folder
    from pomona.models.cpu.blas import prepare_blas
    from pomona.models.device import needs_blas

    if needs_blas("auto"):
        prepare_blas("auto", cache_folder())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=448, help="pixels of the picture's sides, a multiple of 28 (448)")
    parser.add_argument("--rounds", type=int, default=7, help="measured rounds (7)")
    parser.add_argument("--json", action="store_true", help="print each round's seconds")
    return parser.parse_args()


if __name__ == "__main__":
    main()

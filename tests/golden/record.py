"""Record the goldens: `python -m tests.golden.record [name ...]` from the repository root.

Needs torch and transformers beside mlx-lm, in an environment of its own (recorded with torch 2.13.0 and transformers 5.23.0):
    python -m venv /path/to/recorder && /path/to/recorder/bin/pip install torch==2.13.0 transformers==5.23.0 'mlx[cpu]' mlx-lm
"""

import importlib
import json
import random
import sys
import zlib
from collections.abc import Sequence
from contextlib import suppress

from tests.families import VOCABULARY
from tests.golden.cases import GOLDEN, GREEDY_TOKENS, NAMES, PROMPT_TOKENS, RANDOM, REPOSITORY, TOLERANCE, WEIGHTS
from tests.golden.reference import Reference, load_reference, random_reference

MOST_BYTES = 300_000
MOST_DRAWS = 20


def record(name: str) -> None:
    """Write `tests/data/golden/<name>`: prompts, logits, greedy ids and, for a random model, its weights."""
    folder = GOLDEN / name
    folder.mkdir(parents=True, exist_ok=True)
    reference, prompts, greedy = _reference(name)
    if name in RANDOM:
        reference.save(folder, RANDOM[name])
    facts = {"recorded_with": _versions(), "prompts": prompts, "greedy": [greedy]}
    (folder / "golden.json").write_text(json.dumps(facts) + "\n")
    _save_logits(name, reference, prompts)
    size = sum(file.stat().st_size for file in folder.iterdir())
    if size > MOST_BYTES:
        raise ValueError(f"{folder} has {size!r} bytes, more than the {MOST_BYTES!r} that a golden may have: shrink its configuration.")
    print(f"{name}: {size} bytes, greedy {greedy}")


def _reference(name: str) -> tuple[Reference, list[list[int]], list[int]]:
    """The model, its prompts and the greedy ids; random weights are drawn again until rounding cannot decide a comparison."""
    if name in WEIGHTS:
        reference = load_reference(REPOSITORY / WEIGHTS[name])
        prompts = _prompts(name, int(reference.model.config.vocab_size))
        return reference, prompts, reference.greedy(prompts[-1], GREEDY_TOKENS)
    prompts = _prompts(name, VOCABULARY)
    for attempt in range(MOST_DRAWS):
        reference = random_reference(RANDOM[name], seed=zlib.crc32(name.encode()) + attempt)
        if max(reference.noise(ids) for ids in prompts) < TOLERANCE / 3:
            with suppress(ValueError):
                return reference, prompts, reference.greedy(prompts[-1], GREEDY_TOKENS)
    raise ValueError(f"{name}: rounding decides in each of {MOST_DRAWS!r} draws of the weights: change the configuration.")


def _prompts(name: str, vocabulary: int) -> list[list[int]]:
    """Random ids, above the lowest three because many tokenizers keep those for special tokens."""
    source = random.Random(name)
    return [[source.randrange(3, vocabulary) for _ in range(count)] for count in PROMPT_TOKENS]


def _save_logits(name: str, reference: Reference, prompts: Sequence[Sequence[int]]) -> None:
    logits = [reference.logits(ids) for ids in prompts]
    kept = {f"prompt{index}": (whole if index == 0 else whole[-1:]).contiguous() for index, whole in enumerate(logits)}
    importlib.import_module("safetensors.torch").save_file(kept, GOLDEN / name / "logits.safetensors")


def _versions() -> str:
    return ", ".join(f"{name} {importlib.import_module(name).__version__}" for name in ("torch", "transformers"))


if __name__ == "__main__":
    for chosen in sys.argv[1:] or NAMES:
        record(chosen)

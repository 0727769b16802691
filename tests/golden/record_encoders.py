"""Record the goldens of encoders: `python -m tests.golden.record_encoders [name ...]` from the repository root.

Needs what `record.py` needs, and sentence-transformers (recorded with torch 2.13.0, transformers 5.23.0, sentence-transformers 6.2).
"""

import importlib
import random
import shutil
import sys
import zlib
from pathlib import Path
from typing import Any

from tests.golden.encoder_cases import CONFIGS, ENCODERS, NAMES, PROMPT_TOKENS, VOCABULARY
from tests.golden.encoder_reference import pooled, random_encoder

MOST_BYTES = 300_000


def record(name: str) -> None:
    """Write `tests/data/encoders/<name>`: the model, and hidden states, logits and vectors of its prompts."""
    folder = ENCODERS / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    reference = random_encoder(CONFIGS[name], seed=zlib.crc32(name.encode()))
    reference.save(folder, CONFIGS[name])
    kept = _outputs(name, reference)
    importlib.import_module("safetensors.torch").save_file(kept, folder / "golden.safetensors")
    size = sum(file.stat().st_size for file in folder.iterdir())
    if size > MOST_BYTES:
        raise ValueError(f"{folder} has {size!r} bytes, more than the {MOST_BYTES!r} that a golden may have: shrink its configuration.")
    print(f"{name}: {size} bytes, logits {kept.get('logits')}")


def _outputs(name: str, reference: Any) -> dict[str, Any]:
    torch = importlib.import_module("torch")
    source = random.Random(name)
    kept: dict[str, Any] = {}
    logits: list[Any] = []
    for index, count in enumerate(PROMPT_TOKENS):
        ids = [source.randrange(3, VOCABULARY) for _ in range(count)]
        hidden, logit = reference.outputs(ids)
        kept |= {f"prompt{index}": torch.tensor(ids), f"hidden{index}": hidden}
        logits += [] if logit is None else [logit]
    if logits:
        kept["logits"] = torch.stack(logits)
    else:
        kept |= {f"pooled.{mode}": value.clone().contiguous() for mode, value in pooled(kept["hidden1"]).items()}
    return kept


if __name__ == "__main__":
    Path(ENCODERS).mkdir(parents=True, exist_ok=True)
    for chosen in sys.argv[1:] or NAMES:
        record(chosen)

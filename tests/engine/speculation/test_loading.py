"""From a launch that names a draft model to an engine that uses it, or says why not."""

import shutil
from pathlib import Path

import pytest

from pomona.core.settings import EngineSettings, LoggingSettings, ModelsSettings
from pomona.engine.engine import Engine
from pomona.engine.process.model import load_engine
from pomona.engine.protocol import Launch
from tests.engine.harness import drive, make_prompt

STORIES = Path("tests/data/stories260K")


def launch(tmp_path: Path, draft: Path | None, **engine: object) -> Launch:
    return Launch(
        address="ipc://nowhere",
        model="stories",
        folder=STORIES,
        cache_folder=tmp_path,
        heartbeat_seconds=1.0,
        engine=EngineSettings.model_validate({"kv_cache_bytes": 2**24, **engine}),
        models=ModelsSettings(device="cpu", blas="off"),
        logging=LoggingSettings(),
        draft=draft,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(STORIES, tmp_path / "copy")
    return tmp_path / "copy"


def test_a_draft_model_is_loaded_counted_and_used(tmp_path: Path, copy: Path) -> None:
    alone, loaded = (load_engine(launch(tmp_path, draft, speculation="draft")) for draft in (None, copy))
    assert loaded.ready.weight_bytes == 2 * alone.ready.weight_bytes
    assert loaded.ready.kv_budget_bytes == alone.ready.kv_budget_bytes == 2**24
    assert any("100% of the large model's bytes" in text for text in loaded.ready.warnings)
    prompt = make_prompt("a", [1, 403, 407, 261], max_tokens=30)
    results = [drive(engine, {0: [prompt]})["a"] for engine in (found.engine for found in (alone, loaded)) if isinstance(engine, Engine)]
    assert results[0].tokens == results[1].tokens
    assert results[1].accepted_tokens == results[1].drafted_tokens > 15
    assert results[0].drafted_tokens == 0
    assert any("has no draft model" in text for text in alone.ready.warnings)


def test_a_draft_model_that_does_not_fit_is_left_out_with_the_reason(tmp_path: Path) -> None:
    loaded = load_engine(launch(tmp_path, Path("tests/data/golden/llama")))
    assert any("is not used: The vocabularies differ" in text for text in loaded.ready.warnings)
    assert isinstance(loaded.engine, Engine)
    assert loaded.engine.speculator.draft is None


@pytest.mark.parametrize("mode", ["lookup", "off"])
def test_no_draft_model_is_loaded_where_none_is_asked_for(tmp_path: Path, copy: Path, mode: str) -> None:
    loaded = load_engine(launch(tmp_path, copy, speculation=mode))
    assert isinstance(loaded.engine, Engine)
    assert loaded.engine.speculator.draft is None

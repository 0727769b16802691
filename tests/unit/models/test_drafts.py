"""Whether one model can draft for another."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from pomona.models.drafts import check_draft, estimate, speedup
from pomona.models.references import bundled_folder

GOLDEN = Path("tests/data/golden")
Json = dict[str, Any]


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    """Two copies of one model, the second as if it were a smaller one."""
    for name in ("large", "small"):
        shutil.copytree(bundled_folder(), tmp_path / name)
    return tmp_path / "large", tmp_path / "small"


def change(path: Path, edit: Callable[[Json], object]) -> None:
    content = cast("Json", json.loads(path.read_text()))
    edit(content)
    path.write_text(json.dumps(content))


def test_equal_tokens_go_together(models: tuple[Path, Path]) -> None:
    report = check_draft(*models, names=("Large", "Small"))
    assert report.compatible
    assert report.errors == ()
    assert any("100% of the large model's bytes" in text for text in report.warnings)
    details = cast("Json", report.document()["details"])
    assert details["primaryModel"] == {"id": "Large", "vocabSize": 8192, "parameterCount": 18145152, "architecture": "LlamaForCausalLM"}
    assert details["draftModel"]["id"] == "Small"
    assert set(details["performanceEstimate"]) >= {"expectedSpeedup", "sizeRatio", "recommendation"}
    assert details["performanceEstimate"]["recommendation"].startswith("Do not use it")


def rename_token(tokenizer: Json) -> None:
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["renamed"] = vocabulary.pop(next(token for token, number in vocabulary.items() if number == 1000))


def rename_added(tokenizer: Json) -> None:
    tokenizer["added_tokens"][0]["content"] = "<another>"


def drop_tokens(tokenizer: Json) -> None:
    vocabulary = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {token: number for token, number in vocabulary.items() if number < 7000}


@pytest.mark.parametrize(("edit", "reason"), [(rename_token, "1000"), (rename_added, "<another>"), (drop_tokens, "lacks 1")])
def test_equal_sizes_are_not_enough(models: tuple[Path, Path], edit: Callable[[Json], None], reason: str) -> None:
    change(models[1] / "tokenizer.json", edit)
    report = check_draft(*models)
    assert not report.compatible
    assert report.estimate is None
    assert reason in report.errors[0]


def drop_a_merge(tokenizer: Json) -> None:
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:-1]


def add_a_token(tokenizer: Json) -> None:
    tokenizer["added_tokens"].append({"id": 8200, "content": "<new>", "special": True})


@pytest.mark.parametrize(("edit", "warning"), [(drop_a_merge, "split text in different ways"), (add_a_token, "1 of its own")])
def test_small_differences_are_warned_of(models: tuple[Path, Path], edit: Callable[[Json], None], warning: str) -> None:
    change(models[1] / "tokenizer.json", edit)
    report = check_draft(*models)
    assert report.compatible
    assert any(warning in text for text in report.warnings)


def test_a_shorter_context_is_warned_of(models: tuple[Path, Path]) -> None:
    change(models[1] / "config.json", lambda config: config.update(max_position_embeddings=512))
    assert any("512 tokens" in text for text in check_draft(*models).warnings)


def test_recurrent_models_neither_draft_nor_are_drafted_for() -> None:
    for name in ("qwen3_next", "lfm2", "falcon_h1"):
        assert any("recurrent state" in text for text in check_draft(GOLDEN / name, GOLDEN / "llama").errors), name
        assert any("recurrent state" in text for text in check_draft(GOLDEN / "llama", GOLDEN / name).errors), name
    assert check_draft(GOLDEN / "qwen3", GOLDEN / "llama").compatible


def test_what_is_no_model_is_an_error_not_an_exception(models: tuple[Path, Path], tmp_path: Path) -> None:
    report = check_draft(models[0], tmp_path / "absent")
    assert not report.compatible
    assert "absent" in report.errors[0]
    assert report.draft.vocab_size is None
    assert cast("Json", report.document()["details"])["performanceEstimate"] is None


def test_tokenizers_without_tokenizer_json_must_be_the_same_file(models: tuple[Path, Path]) -> None:
    for folder in models:
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer.model").write_bytes(b"pieces")
    assert check_draft(*models).compatible
    (models[1] / "tokenizer.model").write_bytes(b"others")
    assert "cannot be compared" in check_draft(*models).errors[0]


@pytest.mark.parametrize(
    ("acceptance", "count", "cost", "expected"), [(0.8, 5, 0.0, 3.69), (0.8, 5, 0.1, 2.46), (0.6, 2, 0.05, 1.78), (1.0, 4, 0.0, 5.0)]
)
def test_the_formula_of_the_paper(acceptance: float, count: int, cost: float, expected: float) -> None:
    assert speedup(acceptance, count, cost) == pytest.approx(expected, abs=0.005)


def test_the_estimate_follows_sizes_and_measured_acceptance() -> None:
    small, large = estimate(8_000_000_000, 400_000_000), estimate(8_000_000_000, 4_000_000_000)
    assert small.expected_speedup > 1.8
    assert small.recommendation.startswith("Use it")
    assert large.expected_speedup < 1.2
    assert estimate(8_000_000_000, 400_000_000, 0.05).recommendation.startswith(("Do not", "It may"))
    assert estimate(100, 1, 0.95).tokens > estimate(100, 1, 0.3).tokens

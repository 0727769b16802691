"""`drafts` says whether one model can guess for another."""

import json
from pathlib import Path

from tests.cli.conftest import Pomona

STORIES = Path(__file__).parents[1] / "data" / "stories260K"


def test_a_model_may_draft_for_itself(pomona: Pomona) -> None:
    result = pomona("drafts", "pomona-tiny", "pomona-tiny", "--acceptance", "0.9")
    assert result.exit_code == 0
    assert "compatible   yes" in result.stdout
    assert "90% right" in result.stdout
    assert "Warning: The draft model has 100%" in result.stdout


def test_other_tokens_are_an_error_and_the_exit_code_says_so(pomona: Pomona) -> None:
    result = pomona("drafts", "pomona-tiny", str(STORIES))
    assert result.exit_code == 1
    assert "Error: The vocabularies differ" in result.stdout


def test_as_data(pomona: Pomona) -> None:
    report = json.loads(pomona("drafts", "pomona-tiny", str(STORIES), "--json").stdout)
    assert report["compatible"] is False
    assert report["details"]["draftModel"]["vocabSize"] == 512
    assert report["details"]["performanceEstimate"] is None


def test_a_model_that_is_not_here(pomona: Pomona) -> None:
    result = pomona("drafts", "pomona-tiny", "no-such-model")
    assert result.exit_code == 66
    assert "There is no model 'no-such-model'" in result.stderr

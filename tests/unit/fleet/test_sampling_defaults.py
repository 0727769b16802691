"""What a model's generation_config.json says, and what it may not say."""

import json
from pathlib import Path

import pytest

from pomona.core.generation import SamplingParams
from pomona.fleet.sampling_defaults import sampling_defaults


def defaults_of(folder: Path, config: object) -> SamplingParams:
    (folder / "generation_config.json").write_text(json.dumps(config), encoding="utf-8")
    return sampling_defaults(folder)


def test_the_makers_choice_counts(tmp_path: Path) -> None:
    config = {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.1, "repetition_penalty": 1.05}
    expected = SamplingParams(temperature=0.6, top_p=0.95, top_k=20, min_p=0.1, repetition_penalty=1.05)
    assert defaults_of(tmp_path, config) == expected


def test_no_sampling_means_greedy(tmp_path: Path) -> None:
    assert defaults_of(tmp_path, {"do_sample": False, "temperature": 0.7}) == SamplingParams(temperature=0.0)


@pytest.mark.parametrize("config", [{}, [], "x", {"temperature": "hot", "top_p": 7, "top_k": -1, "min_p": True, "repetition_penalty": 0}])
def test_nonsense_is_left_aside(tmp_path: Path, config: object) -> None:
    assert defaults_of(tmp_path, config) == SamplingParams()


def test_a_missing_file_says_nothing(tmp_path: Path) -> None:
    assert sampling_defaults(tmp_path) == SamplingParams()

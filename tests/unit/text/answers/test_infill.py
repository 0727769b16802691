"""Gaps in the order that each family was trained on."""

import json
import shutil
from pathlib import Path

import pytest

from pomona.core.generation import GenerateRequest
from pomona.text.prompt import PromptBuilder
from pomona.text.tokenizer_loading import load_tokenizer
from tests.unit.text.samples import TINY

FIRST = 8192


def _builder(folder: Path, marks: list[str]) -> PromptBuilder:
    """The bundled tokenizer with some more special tokens."""
    shutil.copytree(TINY, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config.setdefault("added_tokens_decoder", {}).update(
        {str(FIRST + index): {"content": mark, "special": True} for index, mark in enumerate(marks)}
    )
    path.write_text(json.dumps(config), encoding="utf-8")
    return PromptBuilder(load_tokenizer(folder), None, max_context=512)


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        (["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"], "<|fim_prefix|>def f(<|fim_suffix|>): pass<|fim_middle|>"),
        (["<fim_prefix>", "<fim_suffix>", "<fim_middle>"], "<fim_prefix>def f(<fim_suffix>): pass<fim_middle>"),
        (["<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"], "<｜fim▁begin｜>def f(<｜fim▁hole｜>): pass<｜fim▁end｜>"),
        (["[SUFFIX]", "[PREFIX]"], "[SUFFIX]): pass[PREFIX]def f("),
    ],
)
def test_a_gap(marks: list[str], expected: str, tmp_path: Path) -> None:
    builder = _builder(tmp_path / "model", marks)
    planned = builder.plan(GenerateRequest(id="one", model="tiny", text="def f(", suffix="): pass"))
    assert builder.render(GenerateRequest(id="one", model="tiny", text="def f(", suffix="): pass")).text == expected
    assert set(range(FIRST, FIRST + len(marks))) <= set(planned.prompt.stop_token_ids)

"""Which dialect each template speaks, among all of them, and that the page about dialects knows them."""

from pathlib import Path

import pytest

from pomona.text.tools.catalog import dialects, find_dialect
from pomona.text.tools.dialect import Dialect
from tests.unit.text.tools.dialects.samples import source

PAGE = Path(__file__).parents[5] / "docs" / "explain" / "tool-dialects.md"
SPOKEN = {
    "ByteDance-Seed-OSS": "seed",
    "GLM-4.6": "glm",
    "GLM-4.7-Flash": "glm",
    "Kimi-K2-Instruct": "kimi",
    "Kimi-K2-Thinking": "kimi",
    "LFM2-8B-A1B": "lfm2",
    "LFM2.5-Instruct": "lfm2",
    "MiniMax-M2": "minimax",
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": "qwen3_coder",
    "NVIDIA-Nemotron-Nano-v2": "nemotron",
    "Qwen3-Coder": "qwen3_coder",
    "Qwen3.5-4B": "qwen3_coder",
    "StepFun3.5-Flash": "qwen3_coder",
    "deepseek-ai-DeepSeek-V3.2": "dsml",
    "google-gemma-4-31B-it": "gemma",
    "google-gemma-4-31B-it-interleaved": "gemma",
    "meetkai-functionary-medium-v3.2": "functionary_recipients",
    "moonshotai-Kimi-K2": "kimi",
    "openai-gpt-oss-120b": "harmony",
    "stepfun-ai-Step-3.5-Flash": "qwen3_coder",
}


@pytest.mark.parametrize("template", SPOKEN)
def test_each_template_speaks_its_own_dialect(template: str) -> None:
    assert find_dialect(source(template)).name == SPOKEN[template]


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("<start_function_call>call:f{}<end_function_call>", "function_gemma"),
        ("within <function_calls></function_calls> XML tags", "olmo"),
        ("in the format of [func_name1(params_name1=params_value1, ...), func_name2(params)]", "llama_pythonic"),
        ("<｜DSML｜tool_calls>\n<｜DSML｜invoke name=", "dsml_tool_calls"),
    ],
)
def test_families_without_a_template_here_are_known_by_their_marks(said: str, name: str) -> None:
    assert find_dialect(said).name == name


@pytest.mark.parametrize("dialect", dialects(), ids=lambda dialect: dialect.name)
def test_the_page_about_dialects_has_all_of_them(dialect: Dialect) -> None:
    assert f"`{dialect.name}`" in PAGE.read_text(encoding="utf-8")

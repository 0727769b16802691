"""Rows with adapters: as the fused model, as alone, whatever else is in the batch."""

from dataclasses import replace
from pathlib import Path

import mlx.nn as nn
import pytest

from pomona.core.generation import Grammar, Prompt
from pomona.engine.engine import Engine
from tests.adapter_folders import ALL_LINEAR, ATTENTION, EXPERTS, fuse, write_mlx_lm, write_peft
from tests.engine.harness import Result, alone, drive, expect_close, family, make_engine, make_prompt, settings
from tests.families import CONFIGS, VOCABULARY, build

STEM = [(7 * i + 3) % VOCABULARY for i in range(60)]
TOLERANCE = 2e-3
"""Of log-probabilities in float32: a product of two matrices rounds otherwise than their sum with a third."""
KEYS = {"llama": ALL_LINEAR, "qwen3": ALL_LINEAR, "gemma3": ATTENTION, "qwen3_moe": EXPERTS, "gpt_oss": ("self_attn.q_proj",)}
KINDS = [("llama", False), ("llama", True), ("qwen3", False), ("qwen3", True), ("gemma3", False), ("qwen3_moe", False), ("gpt_oss", False)]


def fused_engine(module: nn.Module, folder: Path, **changes: object) -> Engine:
    return Engine(fuse(module, folder), settings(**changes), vocabulary=VOCABULARY, max_context=512)


def fresh(name: str) -> nn.Module:
    return build(name, CONFIGS[name]).module


def expect_same(got: dict[str, Result], expected: dict[str, Result]) -> None:
    for id, wanted in expected.items():
        expect_close(got[id], wanted, TOLERANCE)


@pytest.mark.parametrize(("name", "dora"), KINDS)
def test_a_row_answers_as_the_fused_model_does(name: str, dora: bool, tmp_path: Path) -> None:
    folder = write_mlx_lm(tmp_path / "a", family(name).module, keys=KEYS[name], dora=dora)
    rows = [make_prompt(str(i), STEM[: 4 + 11 * i], logprobs=2) for i in range(4)]
    expected = drive(fused_engine(fresh(name), folder), {0: rows})
    plain = drive(make_engine(name), {0: rows})
    got = drive(make_engine(name), {0: with_adapter(rows, folder)})
    expect_same(got, expected)
    assert any(plain[row.id].tokens != got[row.id].tokens for row in rows)


@pytest.mark.parametrize("name", ["llama", "qwen3_moe"])
def test_quantised_models_take_adapters(name: str, tmp_path: Path) -> None:
    def quantised() -> nn.Module:
        module = build(name, {**CONFIGS[name], "hidden_size": 64, "intermediate_size": 128, "moe_intermediate_size": 64}).module
        nn.quantize(module, group_size=32, bits=8)
        return module

    folder = write_mlx_lm(tmp_path / "a", quantised(), keys=KEYS[name], dora=name == "llama")
    rows = [make_prompt(str(i), STEM[: 4 + 11 * i], logprobs=2) for i in range(3)]
    expected = drive(fused_engine(quantised(), folder), {0: rows})
    engine = Engine(quantised(), settings(), vocabulary=VOCABULARY, max_context=512)
    mixed = drive(engine, {0: [*with_adapter(rows, folder), make_prompt("plain", STEM)]})
    expect_same(mixed, expected)


def test_embeddings_take_adapters(tmp_path: Path) -> None:
    """Tied to the output layer, where mlx-lm adds the adapter too."""
    folder = write_mlx_lm(tmp_path / "a", family("llama").module, keys=("model.embed_tokens", "self_attn.q_proj"))
    rows = [make_prompt(str(i), STEM[: 4 + 11 * i], logprobs=2) for i in range(3)]
    expected = drive(fused_engine(fresh("llama"), folder), {0: rows})
    expect_same(drive(make_engine("llama"), {0: [*with_adapter(rows, folder), make_prompt("plain", STEM)]}), expected)


@pytest.mark.parametrize("name", ["llama", "gemma3", "qwen3_moe"])
def test_both_layouts_say_the_same(name: str, tmp_path: Path) -> None:
    module, keys = family(name).module, KEYS[name]
    rows = [make_prompt(str(i), STEM[: 4 + 11 * i], logprobs=2) for i in range(3)]
    ours = write_mlx_lm(tmp_path / "a", module, keys=keys)
    theirs = write_peft(tmp_path / "b", module, keys=keys)
    engine = make_engine(name)
    expect_same(drive(engine, {0: with_adapter(rows, theirs)}), drive(engine, {0: with_adapter(rows, ours)}))
    assert engine.stats().adapters == 2


def test_rank_stabilised_adapters_are_scaled_by_the_root_of_their_rank(tmp_path: Path) -> None:
    module = family("llama").module
    rows = [make_prompt("a", STEM[:20], logprobs=2)]
    plain = write_peft(tmp_path / "a", module, rank=4)
    stable = write_peft(tmp_path / "b", module, rank=4, use_rslora=True, lora_alpha=4.0)
    patterns = write_peft(
        tmp_path / "c", module, rank=4, r=8, lora_alpha=1, rank_pattern={"q_proj|v_proj": 4}, alpha_pattern={"self_attn.*": 8}
    )
    engine = make_engine("llama")
    expected = drive(engine, {0: with_adapter(rows, plain)})
    expect_same(drive(engine, {0: with_adapter(rows, stable)}), expected)
    expect_same(drive(engine, {0: with_adapter(rows, patterns)}), expected)


def test_rows_without_an_adapter_compute_the_same_bits(tmp_path: Path) -> None:
    folder = write_mlx_lm(tmp_path / "a", family("qwen3").module, keys=ALL_LINEAR)
    rows = [make_prompt(str(i), STEM[i : i + 30], logprobs=3) for i in range(3)]
    engines = [make_engine("qwen3", prefix_cache=False, scheduling="arrival") for _ in range(2)]  # as bits depend on who shares a pass
    expected = drive(engines[0], {0: rows})
    got = drive(engines[1], {0: [*rows[:2], replace(rows[2], adapter=str(folder))]})
    for id in ("0", "1"):
        assert got[id] == expected[id]
    assert got["2"] != expected["2"]


def test_scores_and_grammars_go_with_adapters(tmp_path: Path) -> None:
    folder = write_mlx_lm(tmp_path / "a", family("llama").module, keys=ALL_LINEAR)
    scored = replace(make_prompt("scored", STEM[:40], logprobs=2), prompt_logprobs=0)
    bound = replace(make_prompt("bound", STEM[:9], logprobs=2), grammar=Grammar(source="start: /[0-9]{9}/"))
    expected = drive(fused_engine(fresh("llama"), folder), {0: [scored]})
    got = drive(make_engine("llama"), {0: [*with_adapter([scored, bound], folder), make_prompt("plain", STEM)]})
    expect_same(got, expected)
    wanted = [score.logprob for score in expected["scored"].prompt_logprobs]
    assert [score.logprob for score in got["scored"].prompt_logprobs] == pytest.approx(wanted, abs=TOLERANCE)
    assert got["bound"].tokens == alone("llama", replace(bound, adapter=str(folder))).tokens
    assert len(got["bound"].tokens) == 9


def with_adapter(rows: list[Prompt], folder: Path) -> list[Prompt]:
    return [replace(row, adapter=str(folder)) for row in rows]

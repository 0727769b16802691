"""Rows that a grammar binds: what they may say, that they share passes with any others, and how they end."""

import gc
import json
import threading
import weakref
from dataclasses import replace
from typing import Any

import jsonschema
import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLParserLimits

from pomona.core.errors import EngineFailed, InvalidRequest, UnsupportedField
from pomona.core.generation import Grammar, Prompt
from pomona.engine.engine import Engine
from pomona.engine.grammar.lexicon import GrammarTokenizer
from pomona.engine.grammar.masks import masked
from tests.engine.harness import (
    CALL,
    CLOSE_CALL,
    CLOSE_THINK,
    END,
    THINK,
    Result,
    alone,
    drive,
    family,
    ids_of,
    lexicon,
    make_engine,
    make_prompt,
)
from tests.engine.harness import settings as engine_settings
from tests.families import VOCABULARY

MODELS = ["llama", "gemma2", "qwen3_next", "stories260K"]
"""Full attention; rows that cannot be batched; recurrent; trained."""
examples = settings(max_examples=5, deadline=None)
STEM = [(7 * i + 3) % VOCABULARY for i in range(90)]

OBJECT = {
    "type": "object",
    "properties": {"a": {"type": "boolean"}, "b": {"enum": ["x", "yy", 3]}, "c": {"type": "array", "items": {"type": "integer"}}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
SOURCES = (
    LLMatcher.grammar_from_regex("[a-c]{2,5}d"),
    LLMatcher.grammar_from_regex("(ab|ba)+"),
    LLMatcher.grammar_from_json_schema(json.dumps(OBJECT)),
    LLMatcher.grammar_from_lark('start: "yes" | "no" | "maybe " /[a-z]{1,4}/'),
)
SAMPLING: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 1.0, "seed": 3},
    {"temperature": 1.7, "seed": 5, "top_p": 0.9, "top_k": 12, "logprobs": 2},
    {"temperature": 0.8, "seed": 9, "min_p": 0.02, "repetition_penalty": 1.3, "presence_penalty": 0.5},
    {"frequency_penalty": 0.7, "logit_bias": {5: 3.0}},
)


def constrained(id: str, source: str, *, prompt: list[int] | None = None, max_tokens: int = 14, **sampling: Any) -> Prompt:
    """A prompt that a grammar binds from its first token on."""
    made = make_prompt(id, STEM[:9] if prompt is None else prompt, max_tokens=max_tokens, stop=(END,), **sampling)
    return replace(made, grammar=Grammar(source=source))


def text_of(tokens: list[int], name: str = "llama") -> str:
    return b"".join(lexicon(name).tokens[token] for token in tokens).decode()


def accepts(name: str, source: str, result: Result) -> bool:
    """Whether a matcher of its own takes the whole output, or takes it as a beginning where it was cut."""
    matcher = LLMatcher(GrammarTokenizer(lexicon(name), family(name).vocabulary).matching, source, log_level=0)
    return matcher.consume_tokens(result.tokens) and (matcher.is_accepting() or result.finish_reason == "length")


@st.composite
def mixed_prompts(draw: st.DrawFn) -> list[Prompt]:
    """Free rows and rows with several grammars, greedy and sampled, of several lengths."""
    rows: list[Prompt] = []
    for index in range(draw(st.integers(2, 6))):
        row = make_prompt(
            str(index), STEM[: draw(st.sampled_from([3, 20, 40]))], max_tokens=draw(st.integers(1, 16)), **draw(st.sampled_from(SAMPLING))
        )
        source = draw(st.sampled_from([None, *SOURCES]))
        stops = draw(st.sampled_from([(), (END,)]))
        rows.append(row if source is None else replace(row, grammar=Grammar(source=source), stop_token_ids=stops))
    return rows


def expect_alone(name: str, rows: list[Prompt], results: dict[str, Result]) -> None:
    for row in rows:
        got, wanted = results[row.id], alone(name, row)
        assert (got.tokens, got.finish_reason, got.failure) == (wanted.tokens, wanted.finish_reason, None), row
        assert row.grammar is None or accepts(name, row.grammar.source, got)


@pytest.mark.parametrize("name", MODELS)
@examples
@given(rows=mixed_prompts(), gap=st.integers(0, 3), budget=st.sampled_from([16, 64]))
def test_any_schedule_equals_alone(name: str, rows: list[Prompt], gap: int, budget: int) -> None:
    """batched == alone, chunked == whole, cached == uncached, same seed == same text, and all of it is what the grammars allow."""
    engine = make_engine(name, step_token_budget=budget)
    arrivals: dict[int, list[Prompt]] = {}
    for index, prompt in enumerate(rows):
        arrivals.setdefault(index * gap, []).append(prompt)
    for _ in range(2):
        expect_alone(name, rows, drive(engine, arrivals))


@pytest.mark.parametrize("name", ["llama", "qwen3_next"])
def test_preempted_equals_not(name: str) -> None:
    """Grammars of many tokens and little room: matchers outlive the pages of their rows."""
    budget = 14 * make_engine(name).page_bytes
    engine = make_engine(name, kv_cache_bytes=budget)
    source = LLMatcher.grammar_from_regex("[a-f]{30}(x|y)[0-9]{20}")
    rows = [constrained(str(i), source, prompt=STEM[i : i + 20], max_tokens=60, temperature=1.0, seed=i) for i in range(5)]
    expect_alone(name, rows, drive(engine, {0: rows}))
    assert engine.stats().preemptions > 0


@examples
@given(rows=mixed_prompts(), cancels=st.dictionaries(st.integers(0, 5), st.integers(0, 10), min_size=1))
def test_cancelling_frees_everything_and_disturbs_nobody(rows: list[Prompt], cancels: dict[int, int]) -> None:
    engine = make_engine("llama", prefix_cache=False)
    events: dict[int, list[tuple[str, str]]] = {}
    for index, step in cancels.items():
        events.setdefault(step, []).append(("cancel", str(index)))
    results = drive(engine, {0: rows}, events=events)
    for prompt in rows:
        got, whole = results[prompt.id].tokens, alone("llama", prompt).tokens
        assert got == whole[: len(got)] if int(prompt.id) in cancels else got == whole
    stats = engine.stats()
    assert (stats.running, stats.waiting, stats.pages_used, stats.pages_cached) == (0, 0, 0, 0)


def test_a_cancelled_row_lets_go_of_its_matcher() -> None:
    engine = make_engine("llama")
    engine.add(constrained("a", LLMatcher.grammar_from_regex("[ab]{50}"), max_tokens=40))
    while not engine.step():
        pass
    constraint = engine._rows["a"].constraint  # pyright: ignore[reportPrivateUsage]
    assert constraint is not None
    kept = weakref.ref(constraint)
    del constraint
    engine.cancel("a")
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 1.5, 2.0])
def test_json_fits_its_schema_at_any_temperature(temperature: float) -> None:
    """What is complete validates; what `max_tokens` cut says so."""
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 130},
            "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "maxItems": 3},
            "at": {
                "anyOf": [{"type": "null"}, {"type": "object", "properties": {"x": {"enum": [0.5, -1e3]}}, "additionalProperties": False}]
            },
        },
        "required": ["name", "age", "tags", "at"],
        "additionalProperties": False,
    }
    source = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides={"whitespace_flexible": False})
    rows = [constrained(str(i), source, max_tokens=[12, 120][i % 2], temperature=temperature, seed=i) for i in range(8)]
    results = drive(make_engine("pomona-tiny"), {0: rows})
    for row in rows:
        result, text = results[row.id], text_of(results[row.id].tokens, "pomona-tiny")
        if result.finish_reason == "length":
            assert len(result.tokens) == row.max_tokens
        else:
            assert result.finish_reason == "stop"
            jsonschema.validate(json.loads(text), schema)
    assert any(results[row.id].finish_reason == "length" for row in rows)
    assert any(results[row.id].finish_reason == "stop" for row in rows)


def test_a_complete_grammar_ends_the_row_at_once() -> None:
    result = drive(make_engine("llama"), {0: [constrained("a", LLMatcher.grammar_from_regex("abba"))]})["a"]
    assert (text_of(result.tokens), result.finish_reason) == ("abba", "stop")


def test_a_grammar_that_may_end_leaves_it_to_the_model() -> None:
    """With the end of the answer made likely it ends at the first chance, with it made unlikely never."""
    source = LLMatcher.grammar_from_regex("a+")
    ends, goes_on = (constrained(id, source, logit_bias={END: bias}) for id, bias in (("ends", 100.0), ("goes on", -100.0)))
    results = drive(make_engine("llama"), {0: [ends, goes_on]})
    assert (text_of(results["ends"].tokens), results["ends"].finish_reason) == ("a", "stop")
    assert (text_of(results["goes on"].tokens), results["goes on"].finish_reason) == ("a" * 14, "length")


def test_text_never_matches_special_tokens_and_nothing_matches_padding() -> None:
    """Each id is made likely in turn; `<end>` is spelt out, and the special token comes only where the grammar names it."""
    source = LLMatcher.grammar_from_lark(f'start: "<end>" /[^<]/ <[{CLOSE_CALL}]> <call>')
    padding = [token for token, text in enumerate(lexicon("llama").tokens) if not text]
    assert padding
    for likely in (END, CALL, CLOSE_CALL, *padding):
        tokens = drive(make_engine("llama"), {0: [constrained("a", source, logit_bias={likely: 1000.0})]})["a"].tokens
        assert tokens[-2:] == [CLOSE_CALL, CALL]
        assert not {END, *padding} & set(tokens)
        assert CALL not in tokens[:-2]
        assert text_of(tokens[:-2]).startswith("<end>")


def test_log_probabilities_are_the_models_own() -> None:
    """Masks change the choice, not the scores: a forced token has whatever probability the model gives it."""
    prompt = constrained("a", LLMatcher.grammar_from_regex("q"), logprobs=3)
    free = alone("llama", make_prompt("a", STEM[:9], max_tokens=1, logprobs=3)).logprobs[0]
    result = drive(make_engine("llama"), {0: [prompt]})["a"]
    assert [p for _, p in result.logprobs[0].top] == pytest.approx([p for _, p in free.top], abs=1e-4)
    assert result.logprobs[0].logprob < free.logprob


def test_a_grammar_begins_behind_its_trigger() -> None:
    """Until then anything but the end of the answer; the bias makes both likely."""
    prompt = replace(
        make_prompt("a", STEM[:9], max_tokens=60, stop=(END,), temperature=2.0, seed=1, logit_bias={CLOSE_THINK: 7.0, END: 20.0}),
        grammar=Grammar(source=LLMatcher.grammar_from_regex("[xy]{3}"), after=(CLOSE_THINK,)),
    )
    result = drive(make_engine("llama"), {0: [prompt]})["a"]
    thought, answer = result.tokens[:-4], result.tokens[-3:]
    assert (result.finish_reason, result.tokens[-4]) == ("stop", CLOSE_THINK)
    assert CLOSE_THINK not in thought
    assert set(text_of(answer)) <= {"x", "y"}


def test_a_grammar_that_repeats_holds_behind_each_trigger() -> None:
    source = LLMatcher.grammar_from_lark(f'start: "f(" /[0-9]/ ")" <[{CLOSE_CALL}]>')
    prompt = replace(
        make_prompt("a", STEM[:9], max_tokens=60, stop=(END,), temperature=1.0, seed=2, logit_bias={CALL: 9.0, END: -50.0}),
        grammar=Grammar(source=source, after=(CALL,), repeats=True),
    )
    result = drive(make_engine("llama"), {0: [prompt]})["a"]
    starts = [place for place, token in enumerate(result.tokens[:-5]) if token == CALL and result.tokens[place + 1] == ids_of("f")[0]]
    assert result.finish_reason == "length"
    assert len(starts) >= 2
    for place in starts:
        call = result.tokens[place + 1 : place + 6]
        assert text_of(call[:2]) == "f("
        assert call[-1] == CLOSE_CALL
    free = drive(make_engine("llama"), {0: [replace(prompt, sampling=replace(prompt.sampling, logit_bias={END: 1000.0}))]})["a"]
    assert (free.tokens, free.finish_reason) == ([], "stop")


def test_a_trigger_inside_a_grammar_is_no_trigger() -> None:
    source = LLMatcher.grammar_from_lark(f'start: "a" <[{THINK}]> "b"')
    result = drive(make_engine("llama"), {0: [replace(constrained("a", ""), grammar=Grammar(source=source))]})["a"]
    assert result.tokens == [*ids_of("a"), THINK, *ids_of("b")]


@pytest.mark.parametrize("source", ["start: nowhere", "%%", 'start: "a" <no such token>'])
def test_a_broken_grammar_loses_its_own_row(source: str) -> None:
    other = make_prompt("b", STEM[:12])
    results = drive(make_engine("llama"), {0: [constrained("a", source), other]})
    assert isinstance(results["a"].failure, InvalidRequest)
    assert "cannot be used" in results["a"].failure.message
    assert results["b"].tokens == alone("llama", other).tokens


def test_a_grammar_that_becomes_too_hard_loses_its_own_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pomona.engine.grammar.compiler.LIMITS", LLParserLimits(step_max_items=40, verbose_errors=False))
    source = LLMatcher.grammar_from_lark('start: "a" (x | y | z)* "!"\nx: "b" x | "b"\ny: "b" y "b" | "b"\nz: "b" z z | "b"')
    other = make_prompt("b", STEM[:12])
    results = drive(make_engine("llama"), {0: [constrained("a", source, max_tokens=60, logit_bias={ids_of("b")[0]: 50.0}), other]})
    assert isinstance(results["a"].failure, EngineFailed)
    assert "could not be followed" in results["a"].failure.message
    assert results["b"].tokens == alone("llama", other).tokens


def test_a_tokenizer_that_cannot_be_read_loses_the_row_and_may_come_back() -> None:
    engine = make_engine("llama")
    compiler = engine._binder._compiler  # pyright: ignore[reportPrivateUsage]
    assert compiler is not None
    good, compiler._read = compiler._read, lambda: 1 / 0  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    prompt = constrained("a", LLMatcher.grammar_from_regex("ab"))
    failure = drive(engine, {0: [prompt]})["a"].failure
    assert isinstance(failure, EngineFailed)
    assert "ZeroDivisionError" in failure.message
    compiler._read = good  # pyright: ignore[reportPrivateUsage]
    assert text_of(drive(engine, {0: [prompt]})["a"].tokens) == "ab"


def test_an_engine_without_a_tokenizer_refuses_grammars() -> None:
    model = family("llama")
    engine = Engine(model.module, engine_settings(), vocabulary=model.vocabulary, max_context=model.max_context)
    with pytest.raises(UnsupportedField, match="tokenizer"):
        engine.add(constrained("a", SOURCES[0]))


def test_rows_go_on_while_a_grammar_is_compiled() -> None:
    """The free row is done before the compiler is allowed to answer; the other one's prompt is computed by then."""
    engine = make_engine("llama")
    compiler = engine._binder._compiler  # pyright: ignore[reportPrivateUsage]
    assert compiler is not None
    may_read, read = threading.Event(), compiler._read  # pyright: ignore[reportPrivateUsage]

    def wait_and_read() -> Any:
        may_read.wait()
        return read()

    compiler._read = wait_and_read  # pyright: ignore[reportPrivateUsage]
    bound, free = constrained("bound", SOURCES[0], prompt=STEM[:40]), make_prompt("free", STEM[:5])
    engine.add(bound)
    engine.add(free)
    made: list[int] = []
    while len(made) < 12:
        for id, step in engine.step():
            assert id == "free"
            made += step.token_ids
    assert engine.has_work
    assert engine.stats().pages_used == 5
    may_read.set()
    tokens: list[int] = []
    while engine.has_work:
        tokens += [token for _, step in engine.step() for token in step.token_ids]
    assert tokens == alone("llama", bound).tokens


def test_words_of_bits_mask_logits() -> None:
    source = np.random.default_rng(5)
    logits, bits = source.normal(size=(3, 96)).astype(np.float32), source.integers(0, 2, (3, 96)).astype(np.uint8)
    words = np.packbits(bits, axis=1, bitorder="little").view(np.uint32)
    expected = mx.array(np.where(bits, logits, -np.inf))
    assert mx.array_equal(masked(mx.array(logits), mx.array(words)), expected)

"""Driving an engine by hand: schedules of arrivals, pauses and cancellations, and what each row got."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from pomona.core.errors import PomonaError
from pomona.core.generation import FinishReason, Prompt, SamplingParams, TokenLogprobs
from pomona.core.settings import EngineSettings
from pomona.engine.engine import Engine
from pomona.engine.grammar.compiler import GrammarCompiler
from pomona.engine.grammar.lexicon import Lexicon, read_lexicon
from pomona.models.device import use_device
from pomona.models.loading import LoadedModel, load
from pomona.models.references import ResolvedModel, bundled_folder
from tests.families import CONFIGS, FAMILIES, VOCABULARY, Family, build

TRAINED = {"stories260K": Path("tests/data/stories260K"), "pomona-tiny": bundled_folder()}
"""Real weights beside the random ones."""
WORDS = ('{"', '":', '",', "true", "false", "null", "ab", "the ")
CALL, CLOSE_CALL, THINK, CLOSE_THINK, END = range(VOCABULARY - 5, VOCABULARY)
"""Special tokens of `LEXICON`."""
SPECIAL = (b"<call>", b"</call>", b"<think>", b"</think>", b"<end>")
PAGE = 8
ROOMY = 2**22


def _tokens() -> tuple[bytes, ...]:
    """Printable ASCII, the new line, words, the two halves of an accented letter, ids that are no token, special tokens."""
    plain = [*(bytes([code]) for code in range(32, 127)), b"\n", *(word.encode() for word in WORDS), b"\xc3", b"\xa9"]
    return (*plain, *[b""] * (VOCABULARY - len(plain) - len(SPECIAL)), *SPECIAL)


def ids_of(text: str) -> list[int]:
    """Letter by letter, as the tokenizer of the random models has it."""
    return [ord(letter) - 32 for letter in text if 32 <= ord(letter) < 127]


LEXICON = Lexicon(tokens=_tokens(), special_ids=frozenset(range(CALL, END + 1)), encode=ids_of)
"""Of the random models."""


@cache
def lexicon(name: str) -> Lexicon:
    """The tokens of a small model."""
    return read_lexicon(TRAINED[name]) if name in TRAINED else LEXICON


@cache
def family(name: str) -> Family:
    """A small model, built once. `NAME/wide` has heads of widths that quantised pages and CUDA kernels can take."""
    if name in TRAINED:
        return _load(name)
    base, _, wide = name.partition("/")
    return build(base, {**CONFIGS[base], "head_dim": 32, "v_head_dim": 16}) if wide else FAMILIES[base]()


def _load(name: str) -> Family:
    found = ResolvedModel(id=name, path=TRAINED[name], kind="folder", reference=name)
    loaded = load(found, use_device("cpu"))
    return Family(name=name, module=loaded.module, config=loaded.config, vocabulary=loaded.vocabulary, max_context=loaded.max_context)


def settings(**changes: object) -> EngineSettings:
    """Small pages and chunks, so that short prompts cross many borders. Guesses would follow the clock, so there are none."""
    small = {"page_tokens": PAGE, "kv_cache_bytes": ROOMY, "step_token_budget": 32, "max_rows": 16, "speculation": "off"}
    return EngineSettings.model_validate({**small, **changes})


def make_engine(name: str, **changes: object) -> Engine:
    """A fresh engine for a tiny model."""
    model = family(name)
    grammars = GrammarCompiler(lambda: lexicon(name), model.vocabulary)
    return Engine(model.module, settings(**changes), vocabulary=model.vocabulary, max_context=model.max_context, grammars=grammars)


def loaded_family(model: Family) -> LoadedModel:
    """As loading it from a folder would give it."""
    return LoadedModel(
        module=model.module,
        config=model.config,
        path=Path(),
        id=model.name,
        model_type=str(model.config["model_type"]),
        architecture=model.name,
        max_context=model.max_context,
        vocabulary=model.vocabulary,
        eos_token_ids=(),
        weight_bytes=1000,
        dtype="float32",
    )


def make_prompt(id: str, token_ids: Iterable[int], *, max_tokens: int = 12, stop: tuple[int, ...] = (), **sampling: Any) -> Prompt:
    """A prompt; greedy unless told otherwise."""
    values: dict[str, Any] = {"temperature": 0.0, **sampling}
    params = SamplingParams(**values)
    return Prompt(id=id, token_ids=tuple(token_ids), sampling=params, max_tokens=max_tokens, stop_token_ids=stop)


@dataclass(slots=True)
class Result:
    """What one row got."""

    tokens: list[int] = field(default_factory=list[int])
    logprobs: list[TokenLogprobs] = field(default_factory=list[TokenLogprobs])
    finish_reason: FinishReason | None = None
    cached_tokens: int = 0
    prompt_logprobs: list[TokenLogprobs] = field(default_factory=list[TokenLogprobs])
    failure: PomonaError | None = None
    drafted_tokens: int = 0
    accepted_tokens: int = 0


Events = Mapping[int, list[tuple[str, str]]]


def drive(engine: Engine, arrivals: Mapping[int, list[Prompt]], *, events: Events | None = None) -> dict[str, Result]:
    """Add prompts and call `pause`, `resume`, `cancel` (by name), `shrink` (with none) at the given steps; run until all rows ended."""
    results = {prompt.id: Result() for prompts in arrivals.values() for prompt in prompts}
    events = events or {}
    last = max([*arrivals, *events, 0])
    for step in range(10_000):
        for prompt in arrivals.get(step, []):
            engine.add(prompt)
        for method, id in events.get(step, []):
            getattr(engine, method)(*[id] if id else [])
        if step > last and not engine.has_work:
            engine.check_integrity()
            return results
        for id, made in engine.step():
            result = results[id]
            result.tokens += made.token_ids
            result.logprobs += made.logprobs
            result.finish_reason = made.finish_reason or result.finish_reason
            result.cached_tokens = max(result.cached_tokens, made.cached_tokens)
            result.prompt_logprobs += made.prompt_logprobs
            result.failure = made.failure
            result.drafted_tokens += made.drafted_tokens
            result.accepted_tokens += made.accepted_tokens
        engine.check_integrity()
    raise AssertionError("the engine did not come to an end")


def alone(name: str, prompt: Prompt, **changes: object) -> Result:
    """The reference: an engine with nothing else in it, one row, nothing cached, the whole prompt in one chunk."""
    kind = (name, tuple(sorted(changes.items())))
    key = (kind, repr(replace(prompt, id="")))
    if key not in _ALONE:
        if kind not in _EMPTY:
            _EMPTY[kind] = make_engine(name, **{"prefix_cache": False, "step_token_budget": 4096, **changes})
        _ALONE[key] = drive(_EMPTY[kind], {0: [prompt]})[prompt.id]
        assert _EMPTY[kind].stats().pages_used == _EMPTY[kind].stats().pages_cached == 0
    return _ALONE[key]


def expect_close(got: Result, expected: Result, tolerance: float) -> None:
    """Equal where rounding differs: log-probabilities within `tolerance`, tokens up to the first near tie. Needs `logprobs=2`."""
    assert len(got.tokens) == len(expected.tokens)
    for token, other, score, wanted in zip(got.tokens, expected.tokens, got.logprobs, expected.logprobs, strict=True):
        assert abs(score.top[0][1] - wanted.top[0][1]) <= tolerance
        if margin(wanted) <= 2 * tolerance:
            return
        assert token == other


def margin(score: TokenLogprobs) -> float:
    """How far the second candidate is behind the first."""
    return score.top[0][1] - score.top[1][1]


_ALONE: dict[object, Result] = {}
_EMPTY: dict[object, Engine] = {}
"""Engines that `alone` uses again: to build one takes nearly as long as an answer."""

"""A small gpt-oss with random weights and harmony's special tokens. `<|call|>` ends a call's grammar and stops the model as well."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from llguidance import LLMatcher
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as FastTokenizer

from pomona.core.generation import (
    Finished,
    GenerateEvent,
    GenerateRequest,
    Grammar,
    ReasoningOptions,
    SamplingParams,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
    ToolChoice,
)
from pomona.core.messages import Message, TextPart, ToolDefinition
from pomona.engine.engine import Engine
from pomona.engine.grammar.compiler import GrammarCompiler
from pomona.engine.grammar.lexicon import GrammarTokenizer, lexicon_of
from pomona.text.output import TextOutput
from pomona.text.prompt import PlannedPrompt, PromptBuilder
from pomona.text.templates import ChatTemplate
from pomona.text.tokenizer import Tokenizer
from pomona.text.tokenizer_loading import load_tokenizer
from tests.engine.harness import family, settings

TEMPLATE = Path("tests/data/chat_templates/openai-gpt-oss-120b.jinja")
SPECIAL = ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>", "<|call|>")
SEEDS = range(12)
MAX_TOKENS = 400
TURN = ToolDefinition(
    name="turn",
    description="Turn.",
    parameters={
        "type": "object",
        "properties": {
            "side": {"enum": ["left", "right"], "description": "Where."},
            "degrees": {"enum": [45, 90], "description": "How far."},
        },
        "required": ["side", "degrees"],
        "additionalProperties": False,
    },
    strict=True,
)
STOP = replace(TURN, name="halt", parameters={"type": "object", "properties": {}, "additionalProperties": False})
ARGUMENTS: Mapping[str, list[dict[str, object]]] = {
    "turn": [{"side": side, "degrees": degrees} for side in ("left", "right") for degrees in (45, 90)],
    "halt": [{}],
}


@pytest.fixture(scope="module")
def by(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Printable ASCII letter by letter, the line break, and harmony's tokens."""
    folder = tmp_path_factory.mktemp("harmony")
    letters = [*(chr(code) for code in range(33, 127)), "Ġ", "Ċ"]  # a byte-level vocabulary writes the space and the line break so
    fast = FastTokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[]))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    fast.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    fast.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    fast.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|return|>"}))
    return load_tokenizer(folder)


def _plan(by: Tokenizer, id: str, **fields: Any) -> tuple[GenerateRequest, PlannedPrompt]:
    template = ChatTemplate({"default": TEMPLATE.read_text(encoding="utf-8")}, variables={})
    messages = (Message(role="user", content=(TextPart(text="Turn or halt."),)),)
    request = GenerateRequest(id=id, model="gpt-oss", messages=messages, tools=(TURN, STOP), max_tokens=MAX_TOKENS, **fields)
    return request, PromptBuilder(by, template, max_context=2**15).plan(request)


def _answers(by: Tokenizer, **fields: Any) -> list[tuple[list[int], list[GenerateEvent]]]:
    """The ids and the events of one answer for each seed. The model only reads the end of the prompt: it knows nothing anyway."""
    model = family("gpt_oss")
    grammars = GrammarCompiler(lambda: lexicon_of(by), model.vocabulary)
    engine = Engine(model.module, settings(), vocabulary=model.vocabulary, max_context=model.max_context, grammars=grammars)
    inside = {by.special_tokens[mark]: -50.0 for mark in SPECIAL if mark != "<|end|>"}  # random thoughts would be full of marks
    outputs: dict[str, TextOutput] = {}
    answers: dict[str, tuple[list[int], list[GenerateEvent]]] = {}
    for seed in SEEDS:
        request, planned = _plan(by, str(seed), sampling=SamplingParams(temperature=1.0, seed=seed, logit_bias=inside), **fields)
        outputs[request.id] = TextOutput(by, request, 24, plan=planned.answer)
        answers[request.id] = ([], [])
        engine.add(replace(planned.prompt, token_ids=planned.prompt.token_ids[-24:]))
    while engine.has_work:
        for id, step in engine.step():
            assert step.failure is None, step.failure
            answers[id][0].extend(step.token_ids)
            answers[id][1].extend(outputs[id].push(step))
    engine.check_integrity()
    return list(answers.values())


def _calls(events: list[GenerateEvent]) -> list[tuple[str, object]]:
    names = {event.index: event.name for event in events if isinstance(event, ToolCallStarted)}
    done = [event.index for event in events if isinstance(event, ToolCallFinished)]
    written = {index: "".join(e.arguments for e in events if isinstance(e, ToolCallDelta) and e.index == index) for index in done}
    return [(names[index], json.loads(written[index])) for index in done]


def _ends(by: Tokenizer, grammar: Grammar, ids: list[int]) -> set[int]:
    """The tokens that the grammar takes behind these, where it may not end without one."""
    begin = ids.index(grammar.after[0]) + 1 if grammar.after else 0
    matcher = LLMatcher(GrammarTokenizer(lexicon_of(by), by.vocabulary_size).matching, grammar.source)
    assert matcher.consume_tokens(ids[begin:])
    assert not matcher.is_accepting()
    return {token for token in range(by.vocabulary_size) if matcher.validate_tokens([token])}


@pytest.mark.parametrize("reasoning", [ReasoningOptions(), ReasoningOptions(budget_tokens=20)], ids=["free", "limited"])
def test_a_required_call_ends_with_its_token_and_is_read(by: Tokenizer, reasoning: ReasoningOptions) -> None:
    answers = _answers(by, tool_choice=ToolChoice(mode="required"), reasoning=reasoning)
    ended = [(ids, events, events[-1]) for ids, events in answers]
    called = [(ids, events) for ids, events, end in ended if isinstance(end, Finished) and end.reason == "tool_calls"]
    assert len(called) >= len(SEEDS) / 2
    _, planned = _plan(by, "one", tool_choice=ToolChoice(mode="required"), reasoning=reasoning)
    assert planned.prompt.grammar is not None
    for ids, events in called:
        [(name, arguments)] = _calls(events)
        assert arguments in ARGUMENTS[name]
        assert _ends(by, planned.prompt.grammar, ids) == {by.special_tokens["<|call|>"]}
        assert {by.special_tokens["<|return|>"], by.special_tokens["<|call|>"]}.isdisjoint(ids)
        assert isinstance(events[-1], Finished)
        assert events[-1].warnings == ()
        assert events[-1].usage.completion_tokens == len(ids)
    cut = [end for _, _, end in ended if isinstance(end, Finished) and end.reason != "tool_calls"]
    assert {(end.reason, end.usage.completion_tokens) for end in cut} <= {("length", MAX_TOKENS)}


def test_both_ends_stop_the_model(by: Tokenizer) -> None:
    _, planned = _plan(by, "one", tool_choice=ToolChoice(mode="required"))
    assert {by.special_tokens[end] for end in ("<|call|>", "<|return|>")} <= set(planned.prompt.stop_token_ids)
    assert by.special_tokens["<|end|>"] not in planned.prompt.stop_token_ids

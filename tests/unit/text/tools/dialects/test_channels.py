"""Calls in messages and sections: what the real templates write is read again, in any pieces, and is what the grammars enforce."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.text.tools.dialect import Dialect
from pomona.text.tools.dialects.channels.functionary import FUNCTIONARY_RECIPIENTS
from pomona.text.tools.dialects.channels.harmony import HARMONY
from pomona.text.tools.dialects.channels.kimi import KIMI
from pomona.text.tools.dialects.channels.nemotron import NEMOTRON
from tests.unit.text.tools.dialects.samples import TOOLS, Made, Read, accepts, cuts, grammar_of, made_calls, marks, read, source, turn


@dataclass(frozen=True)
class Family:
    """A template, the dialect that it speaks, and what stands around an answer in it."""

    template: str
    dialect: Dialect
    begins: str
    ends: str
    most: int = 2
    special: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.template


KIMI_TOKENS = tuple(mark for mark in KIMI.visible if mark.startswith("<|"))
FAMILIES = [
    Family("Kimi-K2-Instruct", KIMI, "<|im_middle|>", "<|im_end|><|im_assistant|>", special=KIMI_TOKENS),
    Family("Kimi-K2-Thinking", KIMI, "</think>", "<|im_end|><|im_assistant|>"),
    Family("moonshotai-Kimi-K2", KIMI, "<|im_middle|>", "<|im_end|><|im_assistant|>"),
    Family("meetkai-functionary-medium-v3.2", FUNCTIONARY_RECIPIENTS, ">>>", "<|eot_id|><|start_header_id|>"),
    Family("openai-gpt-oss-120b", HARMONY, "<|start|>assistant", "<|start|>assistant", most=1, special=HARMONY.visible),
]
each_family = pytest.mark.parametrize("family", FAMILIES, ids=str)


def _turn(family: Family, made: list[Made], text: str = "") -> str:
    return turn(family.template, made, text, family.begins, family.ends)


@each_family
def test_templates_are_recognised(family: Family) -> None:
    assert family.dialect.recognises(source(family.template))
    assert NEMOTRON.recognises(source("NVIDIA-Nemotron-Nano-v2"))


@each_family
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_what_a_template_writes_is_read_again(family: Family, data: st.DataObject) -> None:
    made = data.draw(made_calls(most=family.most))
    text = data.draw(st.sampled_from(["", "I will look.", "a < b >>> c\n\nand <b>d</b>"]))
    result = read(family.dialect.parser(TOOLS), data.draw(cuts(_turn(family, made, text))))
    assert result.calls == made
    assert (result.text + result.thought).strip() == text
    assert bool(result.thought) == (family.dialect is HARMONY and bool(text))
    assert result.warnings == []


@each_family
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_the_grammar_takes_what_a_template_writes(family: Family, data: st.DataObject) -> None:
    made = data.draw(made_calls(most=family.most))
    answer = _turn(family, made)
    assert accepts(grammar_of(family.dialect, family.special), answer, family.special)
    if len(made) > 1:
        assert not accepts(grammar_of(family.dialect, family.special, parallel=False), answer, family.special)


@each_family
def test_the_grammar_enforces_names_and_schemas(family: Family) -> None:
    grammar = grammar_of(family.dialect, family.special)

    def fits(name: str, **arguments: object) -> bool:
        return accepts(grammar, _turn(family, [Made(name, arguments)]), family.special)

    assert fits("find", words="a\nb", limit=3)
    assert not fits("find", words="x", limit=30)
    assert not fits("find", words="x")
    assert not fits("lose", words="x", limit=3)


@each_family
def test_a_call_that_is_cut_stays_open_once_it_was_begun(family: Family) -> None:
    answer = _turn(family, [Made("write_file", {"text": "hello", "count": 3})])
    for end in range(answer.index("hello"), answer.index("hello") + 10):
        result = read(family.dialect.parser(TOOLS), list(answer[:end]))
        assert (result.cut, result.calls, result.text) == (("write_file",), [], "")


def _harmony(answer: str) -> Read:
    results = [read(HARMONY.parser(TOOLS), pieces) for pieces in ([answer], list(answer))]
    assert results[0] == results[1]
    return results[0]


def test_thoughts_preambles_calls_and_answers_are_told_apart() -> None:
    answer = (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>Let me look.<|end|>"
        '<|start|>assistant<|channel|>commentary to=functions.find <|constrain|>json<|message|>{"words": "<|"}<|call|>'
    )
    result = _harmony(answer)
    assert (result.thought, result.text, result.calls) == ("Hm.", "Let me look.", [Made("find", {"words": "<|"})])
    result = _harmony("<|channel|>analysis<|message|>A.<|end|><|start|>assistant<|channel|>analysis<|message|>B.<|end|>")
    assert result.thought == "A.\n\nB."
    result = _harmony("<|channel|>commentary<|message|>A.<|end|><|start|>assistant<|channel|>final<|message|>B.<|return|>")
    assert result.text == "A.\n\nB."


def test_the_grammar_of_harmony_allows_a_thought_before_the_call() -> None:
    answer = (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.list_files "
        "<|constrain|>json<|message|>{}<|call|>"
    )
    grammar = grammar_of(HARMONY, HARMONY.visible)
    assert accepts(grammar, answer, HARMONY.visible)
    assert accepts(grammar, answer.partition("<|start|>assistant")[2], HARMONY.visible)
    assert not accepts(grammar, "<|channel|>final<|message|>No.", HARMONY.visible)


def test_calls_that_gpt_oss_is_free_to_make_are_held_to_their_schemas() -> None:
    assert HARMONY.trigger is not None
    trigger = HARMONY.trigger(TOOLS, marks(HARMONY.visible), True)
    call = 'commentary to=functions.find <|constrain|>json<|message|>{"words": "a", "limit": 3}<|call|>'
    assert trigger.mark == "<|channel|>"
    for answer in ("analysis<|message|>", "final<|message|>", "commentary<|message|>", call):
        assert accepts(trigger.rules, answer, HARMONY.visible)
    for answer in (call.replace("3", "30"), call.replace("find", "lose"), "commentary json<|message|>"):
        assert not accepts(trigger.rules, answer, HARMONY.visible)


@pytest.mark.parametrize(
    ("answer", "text", "thought"),
    [
        ("Plain text, since the prompt has the header.<|return|>", "Plain text, since the prompt has the header.", ""),
        ("<|channel|>final<|message|>Cut he", "Cut he", ""),
        ("<|channel|>analysis<|message|>Cut he", "", "Cut he"),
        ("<|channel|>ana", "", ""),
        ("<|channel|>final<|message|>One.<|channel|>final<|message|>Two.", "One.\n\nTwo.", ""),
        ("", "", ""),
    ],
)
def test_messages_without_calls(answer: str, text: str, thought: str) -> None:
    result = _harmony(answer)
    assert (result.text, result.thought, result.warnings) == (text, thought, [])


@pytest.mark.parametrize(
    "answer",
    [
        '<|channel|>commentary to=functions.lose<|message|>{"a": 1}<|call|>',
        "<|channel|>commentary to=functions.find<|message|>words<|call|>",
        "<|channel|>commentary to=functions.fi",
        "<|channel|>commentary to=functions.find<|end|>",
    ],
)
def test_calls_that_cannot_be_read_come_back_as_text(answer: str) -> None:
    result = _harmony(answer)
    assert result.text == answer.removesuffix("<|call|>").removesuffix("<|end|>") or result.text == answer
    assert len(result.warnings) == 1
    assert result.calls == []


def test_broken_arguments_leave_the_call_open_and_lose_nothing() -> None:
    result = _harmony('<|channel|>commentary to=functions.find<|message|>{"words": nothing, "more"<|call|>')
    assert (result.cut, result.calls) == (("find",), [])
    assert 'nothing, "more"' in result.text
    assert len(result.warnings) == 1


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_nemotron_calls_are_a_list(data: st.DataObject) -> None:
    find = '{"name": "find", "arguments": {"words": "a\\n</TOOLCALL>", "limit": 2}}'
    text = f'Well.\n<TOOLCALL>[{find}, {{"name": "list_files", "arguments": {{}}}}]</TOOLCALL>'
    result = read(NEMOTRON.parser(TOOLS), data.draw(cuts(text)))
    assert result.text == "Well."
    assert result.calls == [Made("find", {"words": "a\n</TOOLCALL>", "limit": 2}), Made("list_files", {})]
    assert accepts(grammar_of(NEMOTRON), text.removeprefix("Well.\n"))


def test_functionary_text_may_look_like_a_message() -> None:
    answer = "all\nType >>> print(1)\n>>>other\nand go."
    result = read(FUNCTIONARY_RECIPIENTS.parser(TOOLS), list(answer))
    assert (result.text, result.calls) == ("Type >>> print(1)\n>>>other\nand go.", [])

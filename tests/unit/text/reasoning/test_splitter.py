"""Thoughts and answers, told apart whatever the pieces are."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.core.generation import ReasoningDelta, TextDelta
from pomona.text.reasoning.marks import FAMILIES, THINK, ThoughtMarks, find_thought_marks
from pomona.text.reasoning.splitter import ThoughtSplitter
from tests.unit.text.samples import TINY, tokenizer
from tests.unit.text.tools.renderings import NAMES, cut, source

cuts = st.lists(st.integers(1, 7), min_size=1, max_size=6)


def _split(text: str, lengths: list[int], splitter: ThoughtSplitter) -> tuple[str, str]:
    parts = [part for piece in cut(text, lengths) for part in splitter.push(piece)] + splitter.finish()
    thought = "".join(part.text for part in parts if isinstance(part, ReasoningDelta))
    return thought, "".join(part.text for part in parts if isinstance(part, TextDelta))


@pytest.mark.parametrize(
    ("text", "opened", "thought", "answer"),
    [
        ("<think>\nWell.\n\nYes.\n</think>\n\nAn answer.\n", False, "Well.\n\nYes.", "An answer.\n"),
        ("Well.\n</think>\n\nAn answer.", True, "Well.", "An answer."),
        ("<think>\nWell.</think>An answer.", True, "Well.", "An answer."),
        ("\n\n<think></think>  Yes", False, "", "Yes"),
        ("</think>\n\nYes", False, "", "Yes"),
        ("  Just text with <think> in it.", False, "", "  Just text with <think> in it."),
        ("Cut </thi", True, "Cut </thi", ""),
        ("Cut, with space \n", True, "Cut, with space", ""),
        ("<thi", False, "", "<thi"),
        ("", True, "", ""),
        ("One </think>two </think> three", True, "One", "two </think> three"),
    ],
)
@settings(max_examples=25, deadline=None)
@given(lengths=cuts)
def test_no_mark_and_no_white_space_leaks(text: str, opened: bool, thought: str, answer: str, lengths: list[int]) -> None:
    assert _split(text, lengths, ThoughtSplitter(THINK, opened=opened)) == (thought, answer)


@given(text=st.text(alphabet="<think/> \nab", max_size=40), lengths=cuts, opened=st.booleans(), again=st.booleans())
def test_no_cut_changes_the_result(text: str, lengths: list[int], opened: bool, again: bool) -> None:
    whole = _split(text, [100], ThoughtSplitter(THINK, opened=opened, again=again, also_ends=("<tin>",)))
    assert _split(text, lengths, ThoughtSplitter(THINK, opened=opened, again=again, also_ends=("<tin>",))) == whole


@pytest.mark.parametrize("marks", [marks for _, marks in FAMILIES if not marks.channels], ids=lambda marks: marks.open)
@settings(max_examples=25, deadline=None)
@given(lengths=cuts)
def test_every_family(marks: ThoughtMarks, lengths: list[int]) -> None:
    begin, end = marks.wrap or ("", "")
    text = f"{marks.open}\nHm.\n{marks.close}\n{begin}Yes.{end}"
    assert _split(text, lengths, ThoughtSplitter(marks, opened=False)) == ("Hm.", "Yes.")


@settings(max_examples=25, deadline=None)
@given(lengths=cuts)
def test_a_special_token_may_begin_another_thought(lengths: list[int]) -> None:
    splitter = ThoughtSplitter(THINK, opened=False, again=True)
    assert _split("<think>One</think>Two<think>Three</think> Four", lengths, splitter) == ("OneThree", "TwoFour")


@settings(max_examples=25, deadline=None)
@given(lengths=cuts)
def test_a_call_ends_a_thought(lengths: list[int]) -> None:
    splitter = ThoughtSplitter(THINK, opened=True, also_ends=("<tool_call>",))
    assert _split("I must add.\n<tool_call>{}", lengths, splitter) == ("I must add.", "<tool_call>{}")


FOUND = {
    "Qwen-Qwen3-0.6B": "<think>",
    "ByteDance-Seed-OSS": "<seed:think>",
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": "<|START_THINKING|>",
    "mistralai-Ministral-3-14B-Reasoning-2512": "[THINK]",
    "google-gemma-4-31B-it": "<|channel>thought\n",
    "openai-gpt-oss-120b": "<|channel|>analysis<|message|>",
    "ibm-granite-granite-3.3-2B-Instruct": "<think>",
    "Apriel-1.6-15b-Thinker-fixed": "Here are my reasoning steps:\n",
    "Apertus-8B-Instruct": "<|inner_prefix|>",
    "deepseek-ai-DeepSeek-V3.2": "<think>",
    "NVIDIA-Nemotron-Nano-v2": "<think>",
}


@pytest.mark.parametrize("name", [name for name in NAMES if name in FOUND])
def test_marks_are_found_in_the_template(name: str) -> None:
    marks = find_thought_marks(source(name), tokenizer(TINY))
    assert marks is not None
    assert marks.open == FOUND[name]


def test_marks_are_found_among_the_tokens() -> None:
    assert find_thought_marks("no marks here", tokenizer(TINY)) == THINK

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomona.core.generation import Finished, GenerateRequest, TextDelta, TokenLogprobs, TokenStep, Usage
from pomona.core.messages import Message, TextPart
from pomona.text.output import TextOutput
from tests.unit.text.samples import FOLDERS, STORIES, TINY, pieces, texts, tokenizer

END = 8185
cuts = st.lists(st.integers(1, 5), min_size=1, max_size=5)


def _output(folder: Path = TINY, **fields: Any) -> TextOutput:
    given: dict[str, Any] = {"text": "a", **fields}
    return TextOutput(tokenizer(folder), GenerateRequest(id="one", model="tiny", **given), 5)


def _ids(text: str, folder: Path = TINY) -> list[int]:
    return tokenizer(folder).encode(text, add_special_tokens=False)


def _steps(ids: list[int], runs: list[int], reason: Any = "length", *, logprobs: bool = False) -> list[TokenStep]:
    def scores(run: list[int]) -> tuple[TokenLogprobs, ...]:
        return tuple(TokenLogprobs(logprob=-float(token), top=((token, -1.0), (5, -2.0))) for token in run) if logprobs else ()

    steps = [TokenStep(token_ids=tuple(run), logprobs=scores(run)) for run in pieces(ids, runs)]
    return [*steps, TokenStep(finish_reason=reason)]


def _run(output: TextOutput, steps: list[TokenStep]) -> tuple[list[TextDelta], Finished]:
    """Feed steps until the output wants no more."""
    deltas: list[TextDelta] = []
    for step in steps:
        for event in output.push(step):
            if isinstance(event, Finished):
                assert output.finished
                return deltas, event
            assert isinstance(event, TextDelta)
            deltas.append(event)
    raise AssertionError("the output never finished")


def _text(deltas: list[TextDelta]) -> str:
    return "".join(delta.text for delta in deltas)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
@given(text=texts, runs=cuts, logprobs=st.booleans())
def test_the_events_hold_the_whole_text(folder: Path, text: str, runs: list[int], logprobs: bool) -> None:
    messages = (Message(role="user", content=(TextPart(text="Hi"),)),)
    ids = _ids(text, folder)
    deltas, finished = _run(_output(folder, text=None, messages=messages), _steps(ids, runs, logprobs=logprobs))
    assert _text(deltas) == tokenizer(folder).decode(ids)
    assert finished == Finished(reason="length", usage=Usage(prompt_tokens=5, completion_tokens=len(ids)))
    assert [token.token_id for delta in deltas for token in delta.logprobs] == (ids if logprobs else [])


@given(text=texts, stop=st.lists(texts.filter(bool), max_size=3), start=st.integers(0, 50), runs=cuts, logprobs=st.booleans())
def test_stop_strings_cut_where_a_search_finds_them(text: str, stop: list[str], start: int, runs: list[int], logprobs: bool) -> None:
    stops = tuple(found for found in (*stop, text[start : start + 3]) if found and found not in tokenizer(TINY).special_tokens)
    deltas, finished = _run(_output(stop=stops), _steps(_ids(text), runs, logprobs=logprobs))
    ends = [(text.find(stop) + len(stop), -len(stop), stop) for stop in stops if stop in text]
    if not ends:
        assert (_text(deltas), finished.reason, finished.stop_sequence) == (text, "length", None)
        return
    end, _, first = min(ends)
    assert (_text(deltas), finished.reason, finished.stop_sequence) == (text[: end - len(first)], "stop", first)


@given(text=texts, stop=texts.filter(bool), runs=cuts)
def test_log_probabilities_cover_the_text_that_is_shown(text: str, stop: str, runs: list[int]) -> None:
    deltas, finished = _run(_output(stop=(stop,)), _steps(_ids(text), runs, logprobs=True))
    covered = b"".join(token.bytes for delta in deltas for token in delta.logprobs)
    shown = _text(deltas).encode()
    assert covered.startswith(shown)
    if finished.stop_sequence is None:
        assert covered == shown


def test_each_delta_carries_the_tokens_of_its_text() -> None:
    deltas, _ = _run(_output(), _steps(_ids("Hello 😀"), [1], logprobs=True))
    assert [(delta.text, [token.text for token in delta.logprobs]) for delta in deltas] == [
        ("Hello", ["Hello"]),
        (" ", [" "]),
        ("😀", ["\ufffd", "\ufffd", "\ufffd"]),
    ]
    first = deltas[0].logprobs[0]
    assert (first.logprob, first.bytes) == (-float(first.token_id), b"Hello")
    assert [(other.token_id, other.logprob) for other in first.top] == [(first.token_id, -1.0), (5, -2.0)]


def test_a_stop_string_across_tokens_stops_before_the_engine_does() -> None:
    output = _output(stop=("ld!",))
    steps = _steps(_ids("Hello world! And more"), [1])
    deltas, finished = _run(output, steps)
    assert _text(deltas) == "Hello wor"
    assert (finished.reason, finished.stop_sequence) == ("stop", "ld!")
    assert finished.usage.completion_tokens < len(steps) - 1
    assert output.push(TokenStep(token_ids=(5,), finish_reason="cancelled")) == []


def test_what_cannot_become_a_stop_string_is_shown_at_once() -> None:
    output = _output(stop=("STOP",))
    shown = [
        [event.text for event in output.push(TokenStep(token_ids=(token,))) if isinstance(event, TextDelta)] for token in _ids("Go SO")
    ]
    assert [text for texts in shown for text in texts] == ["G", "o", " ", "SO"]


def test_the_end_token_is_counted_but_not_shown() -> None:
    ids = _ids("Bye")
    for steps in ([TokenStep(token_ids=(*ids, END))], [TokenStep(token_ids=tuple(ids)), TokenStep(token_ids=(END,), finish_reason="stop")]):
        deltas, finished = _run(_output(), steps)
        assert _text(deltas) == "Bye"
        assert (finished.reason, finished.stop_sequence) == ("stop", None)
        assert finished.usage.completion_tokens == len(ids) + 1


def test_the_end_token_has_no_log_probability() -> None:
    deltas, _ = _run(_output(), _steps([*_ids("Bye"), END], [9], "stop", logprobs=True))
    assert [token.token_id for delta in deltas for token in delta.logprobs] == _ids("Bye")


def test_an_ignored_end_token_does_not_end_the_text() -> None:
    deltas, finished = _run(_output(ignore_eos=True), _steps([*_ids("One"), END, *_ids(" two")], [1]))
    assert (_text(deltas), finished.reason) == ("One two", "length")


def test_a_special_token_can_be_a_stop_string() -> None:
    deltas, finished = _run(_output(stop=("<|im_start|>",)), _steps([*_ids("One"), 8184, *_ids("two")], [1]))
    assert (_text(deltas), finished.reason, finished.stop_sequence) == ("One", "stop", "<|im_start|>")


def test_a_text_held_back_for_a_stop_string_comes_at_the_end() -> None:
    deltas, finished = _run(_output(stop=("ending",)), _steps(_ids("the endin"), [1]))
    assert (_text(deltas), finished.reason) == ("the endin", "length")


def test_an_unfinished_character_is_shown_once_at_the_end() -> None:
    deltas, _ = _run(_output(), _steps(_ids("a😀")[:-1], [1]))
    assert _text(deltas) == "a\ufffd"
    _, finished = _run(_output(stop=("\ufffd",)), _steps(_ids("a😀")[:-1], [1]))
    assert finished.stop_sequence == "\ufffd"


def test_cached_tokens_are_reported() -> None:
    steps = [TokenStep(token_ids=(5,), cached_tokens=4), TokenStep(token_ids=(5,)), TokenStep(finish_reason="cancelled")]
    _, finished = _run(_output(), steps)
    assert finished == Finished(reason="cancelled", usage=Usage(prompt_tokens=5, cached_tokens=4, completion_tokens=2))


def test_a_continuation_keeps_its_leading_space_and_an_answer_does_not() -> None:
    ids = _ids("time", STORIES)
    user = Message(role="user", content=(TextPart(text="Hi"),))
    open_turn = Message(role="assistant", content=(TextPart(text="Once upon a"),))
    expected = [
        ({"text": "Once upon a"}, " time"),
        ({"text": None, "messages": (user,)}, "time"),
        ({"text": None, "messages": (user, open_turn), "continue_last_message": True}, " time"),
    ]
    for fields, text in expected:
        deltas, _ = _run(_output(STORIES, **fields), _steps(ids, [1]))
        assert _text(deltas) == text


def test_guesses_are_added_up() -> None:
    ids = _ids("Once upon a time")
    steps = [TokenStep(token_ids=tuple(ids[:2]), drafted_tokens=4, accepted_tokens=1)]
    steps += [TokenStep(token_ids=tuple(ids[2:]), drafted_tokens=3, accepted_tokens=2), TokenStep(finish_reason="length")]
    _, finished = _run(_output(), steps)
    assert (finished.usage.drafted_tokens, finished.usage.accepted_tokens) == (7, 3)

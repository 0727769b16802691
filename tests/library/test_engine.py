"""The Python engine, as a program uses it."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import BaseModel, Field

from pomona import Engine
from pomona.core.errors import Cancelled, Conflict, ModelNotFound, TimedOut, UnsupportedField
from pomona.core.events import GenerationCompleted, GenerationStarted, GenerationToken, ModelLoaded, ModelUnloaded
from pomona.core.generation import Finished, Started, TextDelta
from pomona.library import Answer, ValidationFailed
from tests.library.conftest import SETTINGS

GREEDY: dict[str, Any] = {"temperature": 0}


def test_a_question_is_answered(engine: Engine) -> None:
    answer = engine.chat("What is the capital of France?", max_tokens=24, **GREEDY)

    assert "Paris" in str(answer)
    assert answer.finish_reason == "stop"
    assert (answer.model, answer.usage.completion_tokens > 2) == ("pomona-tiny", True)
    assert answer.first_token_seconds is not None
    assert 0 < answer.first_token_seconds <= answer.seconds


def test_pieces_make_the_whole(engine: Engine) -> None:
    question = "Write a line about the sea."
    whole = engine.chat(question, max_tokens=24, seed=7)

    events = list(engine.stream_chat(question, max_tokens=24, seed=7))

    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == whole.text
    assert "".join(engine.stream_text(question, max_tokens=24, seed=7)) == whole.text


def test_a_batch_is_answered_as_each_alone(engine: Engine) -> None:
    questions = ["Say one.", "Say two.", [{"role": "user", "content": "Say three."}]]

    together = engine.batch(questions, max_tokens=12, **GREEDY)

    alone = [engine.chat(question, max_tokens=12, **GREEDY) for question in questions]
    assert [str(answer) for answer in together] == [str(answer) for answer in alone]


def test_failures_of_a_batch_can_take_the_places_of_answers(engine: Engine) -> None:
    results = engine.batch(["Hello.", "far too long " * 2000], max_tokens=4, return_errors=True, **GREEDY)

    assert isinstance(results[0], Answer)
    assert getattr(results[1], "code", "") == "context_length_exceeded"


def test_answers_fit_a_schema(engine: Engine) -> None:
    class Reading(BaseModel):
        degrees: int = Field(ge=-99, le=99)
        wet: bool

    answer = engine.chat("The weather?", schema=Reading, max_tokens=200, seed=3)

    assert Reading.model_validate(answer.parsed)
    assert engine.generate("7 is", schema={"enum": ["odd", "even"]}, max_tokens=9).parsed in {"odd", "even"}


def test_texts_are_continued_and_ids_too(engine: Engine) -> None:
    ids = engine.tokenize("Once upon a time")
    from_text = engine.generate("Once upon a time", max_tokens=8, **GREEDY)

    assert engine.generate(ids, max_tokens=8, **GREEDY).text == from_text.text
    assert engine.detokenize(ids) == "Once upon a time"
    assert [event for event in engine.stream("Once upon a time", max_tokens=2, **GREEDY) if isinstance(event, Finished)]


def test_a_conversation_can_be_seen_as_the_model_reads_it(engine: Engine) -> None:
    text, ids = engine.render("Hello there")

    assert text is not None
    assert "Hello there" in text
    assert engine.detokenize(ids) == text


def test_scores_come_along(engine: Engine) -> None:
    answer = engine.chat("Hi", logprobs=True, top_logprobs=2, max_tokens=3, **GREEDY)

    assert len(answer.tokens) == 3
    assert all(token.logprob <= 0 and len(token.top) == 2 for token in answer.tokens)


def test_everything_that_is_wrong_is_listed(engine: Engine) -> None:
    with pytest.raises(ValidationFailed) as caught:
        engine.chat([{"role": "nobody", "content": 3}], temperature="warm")

    assert [(issue.path, issue.code) for issue in caught.value.issues] == [
        ("temperature", "float_type"),
        ("messages[0].role", "literal_error"),
        ("messages[0].content", "wrong_type"),
    ]
    with pytest.raises(ValidationFailed, match="Did you mean 'temperature'"):
        engine.chat("Hi", temperatur=1)
    with pytest.raises(ValidationFailed, match="priority: is 'urgent'"):
        engine.chat("Hi", priority="urgent")
    with pytest.raises(ValidationFailed, match="no value of JSON"):
        engine.chat("Hi", metadata={"a": object()})


def test_other_tasks_and_names_are_refused(engine: Engine) -> None:
    with pytest.raises(ModelNotFound, match="no-such-model"):
        engine.chat("Hi", model="no-such-model")
    with pytest.raises(UnsupportedField):
        engine.embed("Hi")


def test_an_answer_ends_in_time_or_not_at_all(engine: Engine) -> None:
    with pytest.raises(TimedOut, match=r"timeout_seconds = 0\.05"):
        engine.chat("Count to a thousand.", max_tokens=900, ignore_eos=True, timeout_seconds=0.05)
    assert engine.stats().running == ()


def test_a_request_is_cancelled_by_its_id(engine: Engine) -> None:
    with engine.events() as events, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(engine.chat, "Count.", id="long", max_tokens=900, ignore_eos=True)
        started = next(event for event in events if isinstance(event, GenerationStarted))
        assert (started.request, engine.stats().running) == ("long", ("long",))

        assert engine.cancel("long")

        with pytest.raises(Cancelled, match="'long' was cancelled"):
            answer.result(30)
    assert not engine.cancel("long")


def test_leaving_a_stream_ends_its_work(engine: Engine) -> None:
    events = engine.stream_chat("Count.", max_tokens=900, ignore_eos=True)
    next(events)
    events.close()

    assert engine.stats().running == ()
    assert engine.chat("Hi", max_tokens=1).usage.completion_tokens == 1


def test_events_tell_what_happens(engine: Engine) -> None:
    with engine.events(tokens=True) as events:
        answer = engine.chat("Hi", id="watched", max_tokens=5, **GREEDY)
        seen = list(until(events, GenerationCompleted))

    assert isinstance(seen[0], GenerationStarted)
    assert "".join(event.text for event in seen if isinstance(event, GenerationToken)) == answer.text
    done = seen[-1]
    assert isinstance(done, GenerationCompleted)
    assert (done.request, done.completion_tokens) == ("watched", answer.usage.completion_tokens)


def test_models_are_loaded_unloaded_and_loaded_again(engine: Engine) -> None:
    with engine.events() as events:
        assert engine.status().state == "ready"
        assert engine.unload().id == "pomona-tiny"
        assert engine.status().state == "unloaded"
        with pytest.raises(Conflict):
            engine.unload()
        assert engine.warm_up(prompts=["Hello"]) > 0
        seen = list(until(events, ModelLoaded))

    assert [type(event) for event in seen if isinstance(event, ModelUnloaded | ModelLoaded)] == [ModelUnloaded, ModelLoaded]
    assert engine.status().state == "ready"
    assert "pomona-tiny" in [card.id for card in engine.models()]


def test_a_model_is_loaded_anew_for_other_settings(engine: Engine) -> None:
    text = engine.chat("Say one.", max_tokens=12, **GREEDY).text
    try:
        engine.load(draft="pomona-tiny", keep_alive=60)
        answer = engine.chat("Say one.", max_tokens=12, **GREEDY)
        assert engine.status().keep_alive_seconds == 60
    finally:
        engine.load(keep_alive=-1, draft=None)

    assert answer.text == text
    with pytest.raises(ValidationFailed, match="kv_bits"):
        engine.load(kv_bits=3)
    with pytest.raises(ValidationFailed, match="drafft"):
        engine.load(drafft="x")


def test_an_engine_that_is_closed_says_so() -> None:
    engine = Engine("pomona-tiny", settings=SETTINGS)
    with pytest.raises(Conflict, match="not running"):
        engine.chat("Hi")
    with pytest.raises(ModelNotFound):
        Engine("no-such-model").start()
    engine.close()


def until(events: Iterable[object], last: type) -> Iterator[object]:
    """Events up to the first one of a kind."""
    for event in events:
        yield event
        if isinstance(event, last):
            return

"""Decisions as the official client sees them: probabilities out of a generator that says how likely each label is."""

import math
import string
from typing import Any, cast

import pytest
from openai.types.decision import (
    AnswerAnswerResourceChoice,
    AnswerAnswerResourcePredicate,
    AnswerAnswerResourceRefusal,
    AnswerAnswerResourceScore,
)

from pomona.core.generation import Finished, GenerateRequest, Started, TextDelta, TokenText, Usage
from pomona.core.status import ModelCard
from tests.api.gateway import MODEL, Gateway
from tests.doubles import Script

LETTERS = {letter: 100 + place for place, letter in enumerate(string.ascii_uppercase)}
WORDS = LETTERS | {"Yes": 200, "No": 201}
models = (f"acme/decides-{number}" for number in range(100))


@pytest.fixture
def model(gateway: Gateway) -> str:
    """A model of its own for each test: labels are remembered by model."""
    name = next(models)
    gateway.directory.cards = [ModelCard(id=name, created=1, owned_by="acme")]
    gateway.tokenization.known = dict(WORDS)
    return name


def saying(weights: dict[str, float], request: GenerateRequest) -> Script:
    """One token, with the log-probabilities of all labels that were asked for; the words weigh the given shares."""
    by_id = {WORDS[word]: share for word, share in weights.items()}
    top = [
        TokenText(token_id=each, text="?", bytes=b"?", logprob=math.log(by_id[each]) if by_id.get(each) else -math.inf)
        for each in request.sampling.logprob_token_ids
    ]
    best = max(top, key=lambda token: token.logprob)
    usage = Usage(prompt_tokens=10, cached_tokens=0 if request.id.endswith("-0") else 8, completion_tokens=1)
    chosen = TokenText(token_id=best.token_id, text="?", bytes=b"?", logprob=best.logprob, top=tuple(top))
    return [Started(prompt_tokens=10), TextDelta(text="?", logprobs=(chosen,)), Finished(reason="length", usage=usage)]


def asked(request: GenerateRequest) -> str:
    assert request.messages is not None
    return request.messages[0].text


def test_three_kinds_of_questions_about_one_input(gateway: Gateway, model: str) -> None:
    def reply(request: GenerateRequest) -> Script:
        text = asked(request)
        if "polite" in text:
            return saying({"Yes": 0.6, "No": 0.2}, request)
        return saying({"A": 0.1, "B": 0.4} if "topic" in text else {"A": 0.1, "B": 0.2, "C": 0.1}, request)

    gateway.generator.choose = reply
    found = gateway.openai().decisions.create(
        model=model,
        input="Please refund me.",
        questions=[
            {"type": "predicate", "instructions": "The text is polite.", "name": "polite"},
            {
                "type": "choice",
                "instructions": "What is the topic?",
                "choices": [{"value": True, "description": "money"}, {"value": "true"}],
            },
            {"type": "score", "instructions": "How urgent?", "levels": [{"label": "low"}, {"label": "mid"}, {"label": "high"}]},
        ],
    )
    polite, topic, urgent = found.answers
    assert isinstance(polite, AnswerAnswerResourcePredicate)
    assert (polite.name, polite.probability) == ("polite", pytest.approx(0.75))
    assert isinstance(topic, AnswerAnswerResourceChoice)
    assert topic.choice == "true"
    assert topic.name is None
    assert [(each.value, each.probability) for each in topic.probabilities] == [(True, pytest.approx(0.2)), ("true", pytest.approx(0.8))]
    assert topic.confidence == pytest.approx(1 - (-0.2 * math.log2(0.2) - 0.8 * math.log2(0.8)))
    assert isinstance(urgent, AnswerAnswerResourceScore)
    assert urgent.score == pytest.approx(1.0)
    assert [(each.value, each.label) for each in urgent.probabilities] == [(0, "low"), (1, "mid"), (2, "high")]
    assert (found.model, found.usage.input_tokens, found.usage.output_tokens, found.usage.total_tokens) == (model, 30, 3, 33)
    assert found.usage.input_tokens_details.cached_tokens == 16


def test_all_requests_begin_alike_and_ask_for_one_label(gateway: Gateway, model: str) -> None:
    gateway.generator.choose = lambda request: saying({"Yes": 1.0}, request)
    questions = [{"type": "predicate", "instructions": f"Statement {number}."} for number in range(50)]
    body = {"model": model, "input": "A long text.", "questions": questions, "prompt_cache_key": "k"}
    answers = gateway.http().post("/v1/decisions", json=body).json()["answers"]
    assert [answer["probability"] for answer in answers] == [1.0] * 50
    seen = gateway.generator.seen
    assert len(seen) == 50
    beginning = asked(seen[0]).index("Statement 0")
    assert all(asked(each)[:beginning] == asked(seen[0])[:beginning] for each in seen)
    assert "A long text." in asked(seen[0])[:beginning]
    first = seen[0]
    assert (first.max_tokens, first.sampling.temperature, first.sampling.logprobs) == (1, 0.0, 0)
    assert first.sampling.logprob_token_ids == (200, 201)
    assert set(first.sampling.logit_bias) == {200, 201}
    assert (first.reasoning.enabled, first.session) == (False, "k")


def test_more_options_than_letters_are_weighed_in_groups(gateway: Gateway, model: str) -> None:
    """60 options are 3 groups of 20: the group of 'option 25' has 0.8 of the weight, and it has 0.5 within."""

    def reply(request: GenerateRequest) -> Script:
        if "one of:" in asked(request):
            return saying({"A": 0.1, "B": 0.8, "C": 0.1}, request)
        inside = dict.fromkeys(string.ascii_uppercase[:20], 0.5 / 19)
        return saying({**inside, "F": 0.5}, request)

    gateway.generator.choose = reply
    choices = [{"value": f"option {number}"} for number in range(60)]
    body = {"model": model, "input": "x", "questions": [{"type": "choice", "instructions": "Which?", "choices": choices}]}
    answer = gateway.http().post("/v1/decisions", json=body).json()["answers"][0]
    assert answer["choice"] == "option 25"
    assert len(answer["probabilities"]) == 60
    assert sum(each["probability"] for each in answer["probabilities"]) == pytest.approx(1)
    assert answer["probabilities"][25]["probability"] == pytest.approx(0.4)
    assert len(gateway.generator.seen) == 4


def test_conversations_are_judged_as_transcripts(gateway: Gateway, model: str) -> None:
    gateway.generator.choose = lambda request: saying({"Yes": 1.0}, request)
    items = [
        {"role": "system", "content": "Be kind."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}, {"type": "input_json", "data": {"a": 1}}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"type": "function_call", "call_id": "1", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "seen"},
    ]
    found = gateway.openai().decisions.create(
        model=model, input=cast("Any", items), questions=[{"type": "predicate", "instructions": [{"type": "input_text", "text": "Kind?"}]}]
    )
    assert len(found.answers) == 1
    text = asked(gateway.generator.seen[0])
    assert '[system]\nBe kind.\n\n[user]\nHi\n{"a": 1}\n\n[assistant]\nNo.\n\n[call of look]\n{}\n\n[result]\nseen' in text


def test_a_vocabulary_without_yes_and_no_answers_with_letters(gateway: Gateway, model: str) -> None:
    gateway.tokenization.known = LETTERS | {"Yes": 300, "No": 300}
    gateway.generator.choose = lambda request: saying({"A": 0.3, "B": 0.1}, request)
    body = {"model": model, "input": "x", "questions": [{"type": "predicate", "instructions": "Is so."}]}
    assert gateway.http().post("/v1/decisions", json=body).json()["answers"][0]["probability"] == pytest.approx(0.75)


def test_an_answer_that_cannot_be_read_is_a_refusal(gateway: Gateway, model: str) -> None:
    found = gateway.openai().decisions.create(
        model=model, input="x", questions=[{"type": "predicate", "instructions": "Is so.", "name": "q"}]
    )
    assert isinstance(found.answers[0], AnswerAnswerResourceRefusal)
    assert found.answers[0].name == "q"


QUESTION = {"type": "predicate", "instructions": "Is so."}


@pytest.mark.parametrize(
    ("change", "param", "part"),
    [
        ({"questions": []}, "questions", "at least 1"),
        ({"questions": [QUESTION] * 401}, "questions", "at most 400"),
        ({"questions": [{"type": "predicate", "instructions": " "}]}, "questions[0].instructions", "is empty"),
        ({"questions": [{"type": "choice", "instructions": "?"}]}, "questions[0].choices", "at least 2"),
        ({"questions": [{"type": "score", "instructions": "?", "levels": [{"label": "a"}]}]}, "questions[0].levels", "at least 2"),
        (
            {"questions": [{"type": "choice", "instructions": "?", "choices": [{"value": "a"}, {"value": "a"}]}]},
            "questions[0].choices",
            "'a' twice",
        ),
        ({"input": []}, "input", "at least 1"),
        ({"input": [{"role": "user"}]}, "input[0]", "needs a role and content"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0]", "call_id"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input[0].content[0]", "no pictures"),
    ],
)
def test_bad_bodies(gateway: Gateway, model: str, change: dict[str, object], param: str, part: str) -> None:
    response = gateway.http().post("/v1/decisions", json={"model": model, "input": "x", "questions": [QUESTION], **change})
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["param"] == param
    assert part in error["message"]


def test_a_vocabulary_without_letters_is_refused(gateway: Gateway) -> None:
    response = gateway.http().post("/v1/decisions", json={"model": MODEL, "input": "x", "questions": [QUESTION]})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "unsupported_parameter")

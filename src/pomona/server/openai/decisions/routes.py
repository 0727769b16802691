"""POST /v1/decisions."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from pomona.core.errors import Cancelled
from pomona.core.generation import Finished, GenerateRequest, TextDelta, Usage
from pomona.server.answering import begin
from pomona.server.bodies import read_body
from pomona.server.describing import described
from pomona.server.drain import attend
from pomona.server.openai.call import new_id
from pomona.server.openai.decisions.asking import Ask, Plan, certainty, combine, plan_of, request_of, weigh
from pomona.server.openai.decisions.labels import Labels, find_labels
from pomona.server.openai.decisions.reading import input_text, instructions_of, options_of
from pomona.server.openai.decisions.wire import Decision, DecisionRequest, Question
from pomona.server.services import Services, find_for

ENDPOINT = "decisions"
BATCH = 32
"""Requests at once. The first one goes alone: it leaves what is judged in the prefix cache."""
EXAMPLE = {
    "model": "",
    "input": "The sky is blue.",
    "questions": [{"type": "predicate", "instructions": "A colour is named."}],
}


def decision_routes(services: Services) -> APIRouter:
    """The routes of this resource."""
    routes = APIRouter(tags=["decisions"])
    known: dict[str, Labels] = {}

    async def create_decision(request: Request) -> Response:
        call_id = new_id("decision")
        with services.recorder.refusals(ENDPOINT, call_id):
            body = await read_body(request, DecisionRequest)
            model = find_for(services.directory, body.model, "generate").id
            judged = input_text(body)
            questions = [(instructions_of(each, index), options_of(each, index)) for index, each in enumerate(body.questions)]
            if model not in known:
                known[model] = await find_labels(services.tokenization, model)
        plans = [plan_of(instructions, options, known[model]) for instructions, options in questions]
        asks = [ask for plan in plans for ask in plan.asks]
        session = body.prompt_cache_key or ""
        requests = [
            request_of(ask, judged, request_id=f"{call_id}-{number}", model=model, session=session) for number, ask in enumerate(asks)
        ]
        outcomes = await attend(_ask(services, request, requests), request.receive, services.drain)
        return Response(msgspec.json.encode(_document(body, plans, asks, outcomes)), media_type="application/json")

    routes.add_api_route(
        "/v1/decisions",
        create_decision,
        methods=["POST"],
        response_model=None,
        summary="Answer questions about an input with probabilities",
        openapi_extra=described(body=DecisionRequest, answer=Decision, errors=(422,), example=EXAMPLE),
    )
    return routes


@dataclass(slots=True)
class _Outcome:
    """What came of one request: the log-probabilities of tokens at its first place."""

    scores: dict[int, float] = field(default_factory=dict[int, float])
    usage: Usage = field(default_factory=Usage)


async def _ask(services: Services, http: Request, requests: Sequence[GenerateRequest]) -> list[_Outcome]:
    outcomes = [_Outcome() for _ in requests]
    batches = [range(1), *(range(start, min(start + BATCH, len(requests))) for start in range(1, len(requests), BATCH))]
    for batch in batches:
        answering = begin(services, http, ENDPOINT, [requests[number] for number in batch])
        async with aclosing(answering.events) as events:
            async for place, event in events:
                outcome = outcomes[batch[place]]
                match event:
                    case TextDelta() if event.logprobs and not outcome.scores:
                        first = event.logprobs[0]
                        outcome.scores = {each.token_id: each.logprob for each in (first, *first.top)}
                    case Finished():
                        if event.reason == "cancelled":
                            raise Cancelled("The decision was stopped before its end. Send the request again.")
                        outcome.usage = event.usage
                    case _:
                        pass
    return outcomes


def _document(body: DecisionRequest, plans: Sequence[Plan], asks: Sequence[Ask], outcomes: Sequence[_Outcome]) -> dict[str, object]:
    weighed = iter([weigh(ask, outcome.scores) for ask, outcome in zip(asks, outcomes, strict=True)])
    found = [combine(plan, [next(weighed) for _ in plan.asks]) for plan in plans]
    answers = [_answer(question, probabilities) for question, probabilities in zip(body.questions, found, strict=True)]
    return {"answers": answers, "model": body.model, "usage": _usage([outcome.usage for outcome in outcomes])}


def _answer(question: Question, probabilities: list[float] | None) -> dict[str, object]:
    if probabilities is None:
        return {"type": "refusal", "name": question.name}
    answer: dict[str, object] = {"type": question.type, "name": question.name}
    if question.type == "predicate":
        return {**answer, "probability": probabilities[0]}
    answer["confidence"] = certainty(probabilities)
    if question.choices is not None and question.type == "choice":
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        told = [{"value": choice.value, "probability": each} for choice, each in zip(question.choices, probabilities, strict=True)]
        return {**answer, "choice": question.choices[best].value, "probabilities": told}
    levels = [
        {"label": level.label, "value": place, "probability": each}
        for place, (level, each) in enumerate(zip(question.levels or (), probabilities, strict=True))
    ]
    return {**answer, "score": sum(place * each for place, each in enumerate(probabilities)), "probabilities": levels}


def _usage(usages: Sequence[Usage]) -> dict[str, object]:
    read, cached = sum(each.prompt_tokens for each in usages), sum(each.cached_tokens for each in usages)
    written = sum(each.completion_tokens for each in usages)
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": read - cached},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }

"""`truncation: auto`: leave out what is oldest until the rest fits."""

from collections.abc import Sequence
from dataclasses import replace

from pomona.core.generation import GenerateRequest
from pomona.core.messages import Message
from pomona.core.ports import Tokenization
from pomona.core.status import ModelCard

_ANSWER_SHARE = 8  # an eighth of the context is kept for an answer of open length
_MOST_SHARE = 4  # and never more than a quarter


async def fit(request: GenerateRequest, tokenization: Tokenization, card: ModelCard) -> GenerateRequest:
    """`request` with as many of its oldest turns left out as must be, so that prompt and answer fit into the context of the model.

    Instructions, the last message of the user and the last message stay. Where these alone are too long, nothing is left out: the
    generator refuses and says by how much.
    """
    if card.max_context is None or request.messages is None:
        return request
    room = card.max_context - min(request.max_tokens or card.max_context // _ANSWER_SHARE, card.max_context // _MOST_SHARE)

    async def fits(messages: Sequence[Message]) -> bool:
        rendered = await tokenization.render(replace(request, messages=tuple(messages)))
        return len(rendered.token_ids) <= room

    if await fits(request.messages):
        return request
    few, many = 0, len(_droppable(request.messages))
    while few < many:
        middle = (few + many) // 2
        if await fits(_without(request.messages, middle)):
            many = middle
        else:
            few = middle + 1
    shortened = _without(request.messages, few)
    return replace(request, messages=shortened) if await fits(shortened) else request


def _droppable(messages: Sequence[Message]) -> list[int]:
    asked = max((index for index, message in enumerate(messages) if message.role == "user"), default=-1)
    stay = {asked, len(messages) - 1}
    return [index for index, message in enumerate(messages) if message.role not in ("system", "developer") and index not in stay]


def _without(messages: Sequence[Message], count: int) -> tuple[Message, ...]:
    """`messages` without the first `count` that may go, and without outputs of calls that have gone."""
    gone = set(_droppable(messages)[:count])
    kept = [message for index, message in enumerate(messages) if index not in gone]
    calls = {call.id for message in kept for call in message.tool_calls}
    return tuple(message for message in kept if message.role != "tool" or not gone or message.tool_call_id in calls)

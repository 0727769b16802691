"""POST /v1/responses/compact and POST /v1/responses/input_tokens."""

import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from pomona.core.errors import Cancelled
from pomona.core.generation import Finished, GenerateRequest, TextDelta, Usage
from pomona.core.messages import Message
from pomona.core.status import ModelCard
from pomona.server.access.visits import caller_of
from pomona.server.answering import Events, begin, count_request
from pomona.server.bodies import read_body
from pomona.server.drain import attend
from pomona.server.openai.responses.ids import fresh_id
from pomona.server.openai.responses.opaque import seal
from pomona.server.openai.responses.reading.call import compaction_of, decode_context
from pomona.server.openai.responses.reading.context import Context, context_of, to_json, with_ids
from pomona.server.openai.responses.reading.fitting import fit
from pomona.server.openai.responses.reading.items import messages_of
from pomona.server.openai.responses.store import ResponseStore
from pomona.server.openai.responses.wire import CompactionItem, CompactRequest, InputTokensRequest
from pomona.server.openai.responses.writing.document import usage_of
from pomona.server.services import Services, find_for

_SUMMARY_SHARE = 4  # a summary may take a quarter of what it stands for
_LEAST_SUMMARY_TOKENS = 64
_FIRST_CLIP_CHARACTERS = 2000


class Measuring:
    """The resources that measure and shorten contexts."""

    def __init__(self, services: Services, store: ResponseStore) -> None:
        self._services = services
        self._store = store

    async def count_input_tokens(self, request: Request) -> Response:
        """How many tokens the prompt of a response would have."""
        with self._services.recorder.refusals("responses.input_tokens", "-"):
            count_request(self._services, request)
            body = await read_body(request, InputTokensRequest)
            card = find_for(self._services.directory, body.model, "generate") if body.model else self._services.directory.models()[0]
            caller = caller_of(request.scope).id
            asked, _ = decode_context(body, context_of(body, self._store, caller), card, fresh_id("resp"), caller)
            count = await self._count(asked)
        return Response(to_json({"object": "response.input_tokens", "input_tokens": count}), media_type="application/json")

    async def compact(self, request: Request) -> Response:
        """The conversation in short, as an item that stands for all of it."""
        endpoint, response_id = "responses.compact", fresh_id("resp")
        with self._services.recorder.refusals(endpoint, response_id):
            body = await read_body(request, CompactRequest)
            card = find_for(self._services.directory, body.model, "generate")
            caller = caller_of(request.scope).id
            context = context_of(body, self._store, caller)
            asked, _ = decode_context(body, context, card, response_id, caller)
            before = await self._count(asked)
            wish = await self._wish(asked, before, card)
        answering = begin(self._services, request, endpoint, [wish])
        text, usage = await attend(_summary(answering.events), request.receive, self._services.drain)
        output = await self._output(text, asked, context, before)
        document = {"id": response_id, "object": "response.compaction", "created_at": int(time.time()), "output": output}
        return Response(to_json({**document, "usage": usage_of(usage)}), headers=answering.headers, media_type="application/json")

    async def _wish(self, asked: GenerateRequest, before: int, card: ModelCard) -> GenerateRequest:
        most = max(before // _SUMMARY_SHARE, _LEAST_SUMMARY_TOKENS)
        return await fit(replace(compaction_of(asked), max_tokens=most), self._services.tokenization, card)

    async def _output(self, text: str, asked: GenerateRequest, context: Context, before: int) -> list[dict[str, object]]:
        """The summary; where it is no shorter, the conversation with its messages clipped; where that is not, the items themselves."""
        for summary in (text, *_transcripts(messages_of(context.items))):
            item = CompactionItem(type="compaction", id=fresh_id("cmp"), encrypted_content=seal(summary))
            instructions = tuple(message for message in (asked.messages or ())[:1] if message.role == "system")
            after = await self._count(replace(asked, messages=(*instructions, *messages_of([item]))))
            if summary and after < before:
                return [item.model_dump(exclude_unset=True)]
        return [dict(each) for each in with_ids(context.items)]

    async def _count(self, request: GenerateRequest) -> int:
        return len((await self._services.tokenization.render(request)).token_ids)


async def _summary(events: Events) -> tuple[str, Usage]:
    texts: list[str] = []
    usage = Usage()
    async with aclosing(events):
        async for _, event in events:
            if isinstance(event, TextDelta):
                texts.append(event.text)
            elif isinstance(event, Finished):
                if event.reason == "cancelled":
                    raise Cancelled("The summary was stopped before its end. Send the request again.")
                usage = event.usage
    return "".join(texts).strip(), usage


def _transcripts(messages: Sequence[Message]) -> list[str]:
    """The conversation with each message clipped, less and less of it."""
    clips = [_FIRST_CLIP_CHARACTERS >> shift for shift in range(0, 8, 2)]
    return ["\n".join(line for message in messages if (line := _line(message, clip))) for clip in clips]


def _line(message: Message, clip: int) -> str:
    calls = " ".join(f"{call.name}({_clip(call.arguments, clip)})" for call in message.tool_calls)
    said = " ".join(part for part in (_clip(message.text, clip), calls) if part)
    return f"{message.role}: {said}" if said else ""


def _clip(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[: characters // 2]} … {text[-characters // 2 :]}"

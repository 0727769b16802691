"""Messages of blocks to messages of the core: roles, calls and their results, system messages in place, thoughts."""

import hashlib
import zlib
from base64 import b64decode, b64encode
from binascii import Error as BinasciiError
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pomona.core.errors import InvalidRequest
from pomona.core.messages import Message, Part, TextPart, ToolCall
from pomona.server.anthropic.attribution import without_attribution
from pomona.server.anthropic.blocks import Parts, Reader, as_result, hosted_result, join, join_parts, json_text, said, words_of
from pomona.server.anthropic.client_tools import inner_name
from pomona.server.anthropic.wire import (
    Block,
    CompactionBlock,
    Content,
    CountTokensRequest,
    HostedResultBlock,
    HostedToolUseBlock,
    MessageBody,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)

_SIGNED, _HIDDEN = "pomona1.", "pomona2."
_LONGEST_THOUGHT = 2**24
_SUMMARY = "The conversation until here, in short:"
_SUMMARIZE = (
    "Summarize this conversation until here, so that it can go on from the summary alone. Keep what was asked for, what was done and "
    "decided and why, names, paths, numbers and code that are still needed, and what is to be done next. Write nothing but the summary."
)
_SHOWN, _RESULTS = Reader(placeholders=False), Reader(placeholders=True)


def messages_of(body: CountTokensRequest, *, strip_attribution: bool) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    """The conversation, and what was removed from it. Raises InvalidRequest and UnsupportedField.

    Turns of one role that follow each other become one, as Anthropic does it.
    """
    system, removed = _system(body.system, strip_attribution)
    turns = list(_turns(body.messages))
    if not turns:
        raise InvalidRequest("messages holds no text, no call and no result. Say something.", param="messages")
    _refuse_open_calls(turns)
    return tuple(_merge([*system, *turns])), removed


def with_wish_for_summary(messages: Sequence[Message], instructions: str | None) -> tuple[Message, ...]:
    """The conversation, and at its end the wish for a summary of it, in the client's words or in ours."""
    return tuple(_merge([*messages, *_turn("user", said(instructions or _SUMMARIZE))]))


def signature_of(thought: str, *, hidden: bool) -> str:
    """An opaque signature for a thought. That of a `hidden` one carries it, so that the model finds it again on the next turn."""
    if hidden:
        return _HIDDEN + b64encode(zlib.compress(thought.encode())).decode()
    return _SIGNED + b64encode(hashlib.blake2b(thought.encode(), digest_size=24).digest()).decode()


def _thought(block: ThinkingBlock) -> str:
    """What was thought. Signatures of others say nothing here; a damaged one of ours is taken for one of those."""
    if block.thinking or not (block.signature or "").startswith(_HIDDEN):
        return block.thinking
    try:
        packed = b64decode((block.signature or "").removeprefix(_HIDDEN), validate=True)
        return zlib.decompressobj().decompress(packed, _LONGEST_THOUGHT).decode(errors="replace")
    except (BinasciiError, ValueError, zlib.error):
        return ""


def _system(content: Content | None, strip_attribution: bool) -> tuple[list[Message], tuple[str, ...]]:
    texts = [content or ""] if isinstance(content, str) or content is None else [_text_of(block) for block in content]
    removed = False
    if strip_attribution and texts:
        texts[0], removed = without_attribution(texts[0])
    return _turn("system", said(join(texts))), ("attribution",) if removed else ()


def _text_of(block: Block) -> str:
    return block.text if isinstance(block, TextBlock) else ""


def _turn(role: str, parts: Parts) -> list[Message]:
    return [Message(role="system" if role == "system" else "user", content=parts)] if parts else []


def _turns(bodies: Sequence[MessageBody]) -> Iterable[Message]:
    names: dict[str, str] = {}
    last_user = max((index for index, body in enumerate(bodies) if body.role == "user"), default=-1)
    for index, body in enumerate(bodies):
        path = f"messages[{index}].content"
        if body.role == "assistant":
            yield from _assistant(body, path, names)
        elif body.role == "user":
            yield from _user(body, path, names)
        elif body.clear_at != "next_user_message" or index > last_user:
            yield from _turn("system", _SHOWN.content(body.content, path))


def _user(body: MessageBody, path: str, names: dict[str, str]) -> Iterable[Message]:
    """Results first, each a message of its own, then what the person says."""
    if isinstance(body.content, str) or body.content is None:
        yield from _turn("user", said(body.content))
        return
    runs: list[Parts] = []
    for index, block in enumerate(body.content):
        here = f"{path}[{index}]"
        if not isinstance(block, ToolResultBlock):
            runs.append(_SHOWN.block(block, here))
            continue
        found = _as_result(_RESULTS.content(block.content, f"{here}.content"), failed=bool(block.is_error))
        if block.tool_use_id in names:
            yield _result(block.tool_use_id, names[block.tool_use_id], found)
        else:  # the call is not in the conversation any more, and templates want results to follow calls
            runs.append((TextPart(text=f"The result of an earlier call:\n{words_of(found[:1])}"), *found[1:]))
    yield from _turn("user", join_parts(runs))


def _as_result(parts: Parts, *, failed: bool) -> Parts:
    """The result of a call begins with a text, which says so if it failed."""
    first = parts[0].text if parts and isinstance(parts[0], TextPart) else ""
    rest = parts[1:] if parts and isinstance(parts[0], TextPart) else parts
    return (TextPart(text=as_result(first, failed=failed)), *rest)


def _result(call_id: str, name: str, parts: Sequence[Part]) -> Message:
    return Message(role="tool", content=tuple(parts), tool_call_id=call_id, name=name)


def _assistant(body: MessageBody, path: str, names: dict[str, str]) -> Iterable[Message]:
    """One message, or several where the vendor's cloud answered calls in its midst: those become calls and results as well."""
    if isinstance(body.content, str) or body.content is None:
        yield from _answered([body.content or ""], [], [])
        return
    answered = {block.tool_use_id for block in body.content if isinstance(block, HostedResultBlock)}
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    for index, block in enumerate(body.content):
        match block:
            case ThinkingBlock():
                thoughts.append(_thought(block))
            case ToolUseBlock():
                names[block.id] = inner_name(block.name, block.toolset_name)
                calls.append(_call(block, names[block.id]))
            case HostedToolUseBlock():
                if block.id in answered:
                    names[block.id] = block.name
                    calls.append(_call(block, block.name))
            case CompactionBlock():
                yield from _turn("user", said(f"{_SUMMARY}\n{block.content}" if block.content else ""))
            case HostedResultBlock():
                yield from _answered(texts, thoughts, calls)
                texts, thoughts, calls = [], [], []
                if block.tool_use_id in names:
                    yield _result(block.tool_use_id, names[block.tool_use_id], [TextPart(text=hosted_result(block))])
            case _:
                texts.append(words_of(_SHOWN.block(block, f"{path}[{index}]")))
    yield from _answered(texts, thoughts, calls)


def _call(block: ToolUseBlock | HostedToolUseBlock, name: str) -> ToolCall:
    return ToolCall(id=block.id, name=name, arguments=json_text(block.input))


def _answered(texts: list[str], thoughts: list[str], calls: list[ToolCall]) -> Iterable[Message]:
    text, thought = "".join(texts), "\n".join(filter(None, thoughts))
    if text or thought or calls:
        content = (TextPart(text=text),) if text else ()
        yield Message(role="assistant", content=content, reasoning=thought, tool_calls=tuple(calls))


def _merge(messages: Iterable[Message]) -> list[Message]:
    merged: list[Message] = []
    for message in messages:
        last = merged[-1] if merged else None
        if last is None or last.role != message.role or message.role == "tool" or last.tool_calls:
            merged.append(message)
            continue
        joined = said(last.text + message.text) if message.role == "assistant" else join_parts((last.content, message.content))
        reasoning = "\n".join(filter(None, (last.reasoning, message.reasoning)))
        merged[-1] = replace(last, content=joined, reasoning=reasoning, tool_calls=message.tool_calls)
    return merged


def _refuse_open_calls(turns: Sequence[Message]) -> None:
    if turns[-1].role == "assistant" and turns[-1].tool_calls:
        ids = ", ".join(repr(call.id) for call in turns[-1].tool_calls)
        raise InvalidRequest(
            f"The last message calls tools, and nothing says what came of it. Send a user message with a tool_result for {ids}.",
            param="messages",
        )

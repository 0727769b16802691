"""Why a prompt was not found in the prefix cache: a comparison with what the same conversation sent before."""

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from pomona.core.generation import CacheMiss, CacheReport, GenerateRequest, Prompt
from pomona.core.messages import Message, TextPart

PROMPTS_PER_SESSION = 8
"""Clients send side requests in one session, such as titles and sub-agents: each is compared with the one it is most like."""
MEMORY_BYTES = 64 * 2**20
SLACK_TOKENS = 64
"""The cache shares whole pages and never the last token: so many tokens less are no miss."""
STRIDE = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Remembered:
    """One prompt: its ids, and hashes of what it was made of."""

    ids: "array[int]"
    model: str
    system: int
    tools: int
    messages: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return len(self.ids) * self.ids.itemsize + 8 * len(self.messages)


class PromptMemory:
    """The last prompts of each session, within `memory_bytes`. Sessions of different callers never meet. For one thread."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self._limit = memory_bytes
        self._sessions: OrderedDict[tuple[str, str], list[_Remembered]] = OrderedDict()
        self._bytes = 0

    def compare(self, request: GenerateRequest, ids: Sequence[int]) -> "Comparison | None":
        """What the session sent before that is most like this, and what differs. None for requests that name no session."""
        if not request.session:
            return None
        key = (request.caller, request.session)
        new = _remember(request, ids)
        earlier = self._sessions.get(key, [])
        shared = [common_prefix(old.ids, new.ids) for old in earlier]
        best = max(range(len(earlier)), key=lambda index: (shared[index], index), default=None)
        self._keep(key, new)
        if best is None:
            return Comparison(reason="first_request", shared_tokens=0, reusable_tokens=0)
        old = earlier[best]
        return Comparison(reason=_difference(old, new), shared_tokens=shared[best], reusable_tokens=min(len(old.ids), len(new.ids)))

    def _keep(self, key: tuple[str, str], new: _Remembered) -> None:
        prompts = self._sessions.setdefault(key, [])
        self._sessions.move_to_end(key)
        self._sessions[key] = prompts = [*prompts, new]
        self._bytes += new.nbytes
        if len(prompts) > PROMPTS_PER_SESSION:
            self._bytes -= prompts.pop(0).nbytes
        while self._bytes > self._limit and len(self._sessions) > 1:
            _, dropped = self._sessions.popitem(last=False)
            self._bytes -= sum(each.nbytes for each in dropped)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A prompt against the one before it. `reusable_tokens` could have come from the cache had nothing changed."""

    reason: CacheMiss
    shared_tokens: int
    reusable_tokens: int

    def report(self, cached_tokens: int) -> CacheReport:
        """The verdict, once the engine has said how much it found. Equal prompts that were not found have been evicted."""
        missed = max(0, self.reusable_tokens - cached_tokens)
        if self.reason == "first_request":
            return CacheReport(reason="first_request")
        if missed <= SLACK_TOKENS:
            return CacheReport(reason="none", shared_tokens=self.shared_tokens)
        reason: CacheMiss = self.reason
        if reason == "none" or cached_tokens + SLACK_TOKENS < self.shared_tokens:
            reason = "evicted"
        return CacheReport(reason=reason, shared_tokens=self.shared_tokens, missed_tokens=missed)


def comparable_ids(prompt: Prompt) -> Sequence[int]:
    """The ids of `prompt`, those of pictures changed so that they are equal only where the pictures are."""
    if not prompt.pictures:
        return prompt.token_ids
    ids = list(prompt.token_ids)
    for picture in prompt.pictures:
        mark = -1 - int.from_bytes(picture.digest[:3], "big")
        ids[picture.start : picture.start + picture.length] = [mark] * picture.length
    return ids


def common_prefix(left: "array[int]", right: "array[int]") -> int:
    """Length of the beginning that both have in common; whole strides are compared at once."""
    end = min(len(left), len(right))
    start = 0
    while start < end and left[start : start + STRIDE] == right[start : start + STRIDE]:
        start += STRIDE
    for index in range(start, min(start + STRIDE, end)):
        if left[index] != right[index]:
            return index
    return end


def _difference(old: _Remembered, new: _Remembered) -> CacheMiss:
    """The first of what makes up a prompt that is not the same; appended messages are no difference."""
    if old.model != new.model:
        return "model_changed"
    if old.tools != new.tools:
        return "tools_changed"
    if old.system != new.system:
        return "system_changed"
    return "none" if new.messages[: len(old.messages)] == old.messages else "messages_changed"


def _remember(request: GenerateRequest, ids: Sequence[int]) -> _Remembered:
    messages = request.messages or ()
    first = next((index for index, message in enumerate(messages) if message.role not in {"system", "developer"}), len(messages))
    tools = "" if request.tool_choice.mode == "none" else repr(request.tools)
    return _Remembered(
        ids=array("i", ids),
        model=request.model,
        system=hash(tuple(message.text for message in messages[:first])),
        tools=hash(tools),
        messages=tuple(_hash(message) for message in messages[first:]) if messages else (hash(request.text),),
    )


def _hash(message: Message) -> int:
    pictures = tuple(repr(part) for part in message.content if not isinstance(part, TextPart))  # pixels are in it as their digest
    return hash((message.role, message.text, pictures, message.tool_calls, message.tool_call_id))

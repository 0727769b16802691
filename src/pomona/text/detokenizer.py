"""Ids to text while they come, never half a character: what has been given out, joined, is `Tokenizer.decode` of all ids."""

import codecs
from collections.abc import Sequence, Set
from typing import Protocol

from pomona.text.tokenizer import Tokenizer

NONE: frozenset[int] = frozenset()
REPLACEMENT = "\ufffd"
LONGEST_WAIT = 16
"""Tokens after which an unfinished character counts as broken: no UTF-8 character has more than 4 bytes."""


class Detokenizer(Protocol):
    """The text of one answer. Special tokens have none."""

    def push(self, token_ids: Sequence[int]) -> str:
        """The text that is complete now and was not given out before."""
        ...

    def finish(self) -> str:
        """What is left; bytes that never became a character are one U+FFFD."""
        ...


def make_detokenizer(tokenizer: Tokenizer, *, continues: bool = False, visible: Set[int] = NONE) -> Detokenizer:
    """For one answer. Where it `continues` a text, a leading space is part of it; an answer that stands alone has none.

    `visible` are special tokens whose text counts.
    """
    return _VisibleDetokenizer(tokenizer, visible, continues=continues) if visible else _plain_detokenizer(tokenizer, continues=continues)


def _plain_detokenizer(tokenizer: Tokenizer, *, continues: bool) -> Detokenizer:
    if tokenizer.spelling is None:
        return _WindowDetokenizer(tokenizer)
    return _ByteDetokenizer(tokenizer, strips=tokenizer.spelling.strips_leading_space and not continues)


class _VisibleDetokenizer:
    """Gives out the text of some special tokens, too. They end what came before them: no character goes across a special token."""

    def __init__(self, tokenizer: Tokenizer, visible: Set[int], *, continues: bool) -> None:
        self._tokenizer = tokenizer
        self._visible = visible
        self._inner = _plain_detokenizer(tokenizer, continues=continues)

    def push(self, token_ids: Sequence[int]) -> str:
        if self._visible.isdisjoint(token_ids):
            return self._inner.push(token_ids)
        return "".join([self._push(token_id) for token_id in token_ids])

    def finish(self) -> str:
        return self._inner.finish()

    def _push(self, token_id: int) -> str:
        if token_id not in self._visible:
            return self._inner.push((token_id,))
        before = self._inner.finish()
        self._inner = _plain_detokenizer(self._tokenizer, continues=True)
        return before + self._tokenizer.token_text(token_id)


class _ByteDetokenizer:
    """For vocabularies whose tokens have bytes: a look-up, and Python's incremental UTF-8 decoder within characters."""

    def __init__(self, tokenizer: Tokenizer, *, strips: bool) -> None:
        self._complete_text = tokenizer.complete_text
        self._token_bytes = tokenizer.token_bytes
        self._hidden = tokenizer.special_ids
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._within = False
        self._strips = strips

    def push(self, token_ids: Sequence[int]) -> str:
        if len(token_ids) == 1 and not self._within:
            text = self._complete_text(token_ids[0])
            if text is not None:
                return self._stripped(text) if self._strips else text
        spelled = [self._token_bytes(token_id) for token_id in token_ids if token_id not in self._hidden]
        text = self._decoder.decode(b"".join(spelled))
        self._within = self._decoder.getstate()[0] != b""
        return self._stripped(text)

    def finish(self) -> str:
        return self._stripped(self._decoder.decode(b"", final=True))

    def _stripped(self, text: str) -> str:
        if not self._strips or not text:
            return text
        self._strips = False
        return text.removeprefix(" ")


class _WindowDetokenizer:
    """For any other vocabulary: decode the last few tokens with and without the new ones, the difference is new text.

    Method of Hugging Face text-generation-inference (`decode_token`) and vLLM (`detokenize_incrementally`): two decodings of a
    bounded window per token. The end is set right with one decoding of the whole. Vocabularies in which a token changes the text
    before it (the `@@` of fastBPE) cannot be streamed: what was given out stays as it was.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._window = 0
        self._read = 0
        self._given: list[str] = []

    def push(self, token_ids: Sequence[int]) -> str:
        return "".join([self._push(token_id) for token_id in token_ids if token_id not in self._tokenizer.special_ids])

    def finish(self) -> str:
        whole, given = self._tokenizer.decode(self._ids), "".join(self._given)
        if whole.startswith(given):
            return whole[len(given) :]
        return self._new_text()

    def _push(self, token_id: int) -> str:
        self._ids.append(token_id)
        text = self._new_text()
        waits = not text or text.endswith(REPLACEMENT)
        if waits and len(self._ids) - self._read < LONGEST_WAIT:
            return ""
        self._window, self._read = self._read, len(self._ids)
        self._given.append(text)
        return text

    def _new_text(self) -> str:
        known = self._tokenizer.decode(self._ids[self._window : self._read])
        return self._tokenizer.decode(self._ids[self._window :])[len(known) :]

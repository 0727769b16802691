"""Texts and pairs of texts as encoders read them: with what the tokenizer's file puts around them, cut to a length where asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from tokenizers import Encoding
from tokenizers import Tokenizer as FastTokenizer

from pomona.text.tokenizer import mend_surrogates


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One input in ids. Of a pair, the second text begins at `second`; `whole_tokens` is how long it would be if nothing were cut."""

    ids: list[int]
    second: int | None = None
    whole_tokens: int = 0


class _Processing(Protocol):
    """The part of a `tokenizers` object that its stubs leave out."""

    def post_process(self, encoding: Encoding, pair: Encoding | None = None, add_special_tokens: bool = True) -> Encoding: ...

    def num_special_tokens_to_add(self, is_pair: bool) -> int: ...


class Inputs:
    """`closing` is appended to single texts, for folders whose tokenizer leaves out the end-of-text token that the model pools."""

    def __init__(self, fast: FastTokenizer, *, lower_case: bool = False, closing: int | None = None) -> None:
        self._fast = fast
        self._processing = cast("_Processing", fast)
        self._lower_case = lower_case
        self._closing = closing
        self._around = self._processing.num_special_tokens_to_add(False)

    def texts(self, texts: Sequence[str], limit: int) -> list[Input]:
        """Each text with its special tokens, cut to `limit` tokens in all."""
        encodings = self._fast.encode_batch([self._clean(text) for text in texts], add_special_tokens=True)
        return [self._single(encoding, text, limit) for encoding, text in zip(encodings, texts, strict=True)]

    def pairs(self, first: str, seconds: Sequence[str], limit: int, most_second: int | None = None) -> list[Input]:
        """`first` with each of `seconds` as a pair, cut to `limit` tokens in all: the longer of the two loses first.

        Seconds are cut to `most_second` tokens before that.
        """
        encodings = self._fast.encode_batch([self._clean(text) for text in (first, *seconds)], add_special_tokens=False)
        return [self._pair(encodings[0], second, limit, most_second) for second in encodings[1:]]

    def plain(self, text: str) -> list[int]:
        """The ids of `text` alone."""
        return self._fast.encode(self._clean(text), add_special_tokens=False).ids

    def leading(self, prompt: str) -> int:
        """Tokens that a text which begins with `prompt` has for it, those of the tokenizer's file before it included."""
        marked = self._fast.encode("a", add_special_tokens=True).special_tokens_mask
        before = next((index for index, special in enumerate(marked) if not special), 0)
        return before + len(self.plain(prompt))

    def _single(self, encoding: Encoding, text: str, limit: int) -> Input:
        closing = [] if self._closing is None else [self._closing]
        whole = len(encoding.ids) + len(closing)
        if whole > limit:
            encoding = self._fast.encode(self._clean(text), add_special_tokens=False)
            encoding.truncate(max(limit - self._around - len(closing), 0))
            encoding = self._processing.post_process(encoding)
        return Input(ids=[*encoding.ids, *closing], whole_tokens=whole)

    def _pair(self, first: Encoding, second: Encoding, limit: int, most_second: int | None) -> Input:
        around = self._processing.num_special_tokens_to_add(True)
        kept = len(second.ids) if most_second is None else min(len(second.ids), most_second)
        lengths = _longest_first(len(first.ids), kept, limit - around)
        cut = [self._cut(each, length) for each, length in zip((first, second), lengths, strict=True)]
        joined = self._processing.post_process(cut[0], cut[1])
        types = joined.type_ids
        return Input(ids=joined.ids, second=types.index(1) if 1 in types else None, whole_tokens=len(first.ids) + kept + around)

    def _cut(self, encoding: Encoding, length: int) -> Encoding:
        """A copy: encodings are cut in place, and the first text of pairs is used again and again."""
        copy = Encoding.merge([encoding])
        if len(copy.ids) > length:
            copy.truncate(length)
        return copy

    def _clean(self, text: str) -> str:
        text = mend_surrogates(text)
        return text.lower() if self._lower_case else text


def _longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """How long two texts are after cutting, as the library's LongestFirst does it."""
    room = max(room, 0)
    if first + second <= room:
        return first, second
    short, long = min(first, second), max(first, second)
    long = short if short > room else max(short, room - short)
    if short + long > room:
        short, long = room // 2, room // 2 + room % 2
    return (short, long) if first <= second else (long, short)

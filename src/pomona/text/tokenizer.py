"""A model's tokenizer: text to ids, ids to text, and the exact bytes of every token. Safe to use from many threads."""

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from pomona.text.special_tokens import SpecialTokens
from pomona.text.token_bytes import Spelling


class Vocabulary(Protocol):
    """The library below: it knows tokens and merges, not which of them begin or end a text."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Ids of `text`; `add_special_tokens` runs the post-processor of the tokenizer's file."""
        ...

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        """Text of `ids`; ids that are no tokens are left out."""
        ...

    def token(self, token_id: int) -> str | None:
        """A token as its vocabulary writes it."""
        ...


class Tokenizer:
    """Made by `tokenizer_loading.load_tokenizer`.

    `special_ids` maps the text of each special token to its id; `spelling` is None where tokens have no bytes of their own.
    """

    def __init__(
        self, vocabulary: Vocabulary, *, size: int, special: SpecialTokens, special_ids: Mapping[str, int], spelling: Spelling | None
    ) -> None:
        self._vocabulary = vocabulary
        self._bytes: list[bytes | None] = [None] * size
        self._complete: dict[int, str | None] = {}
        self.vocabulary_size = size
        self.spelling = spelling
        self.template_variables = special.template_variables
        self.special_tokens = special_ids
        self._special_texts = {token_id: text for text, token_id in special_ids.items()}
        self._special_pattern: re.Pattern[str] | None = None
        self.special_ids = frozenset(special_ids.values())
        self.bos_id = special_ids.get(special.named.get("bos_token", ""), special.bos_id)
        eos_id = special_ids.get(special.named.get("eos_token", ""))
        self.eos_ids = special.eos_ids if eos_id is None else special.eos_ids | {eos_id}
        self._file_adds_bos = self.bos_id is not None and vocabulary.encode("", add_special_tokens=True)[:1] == [self.bos_id]
        self.adds_bos = self.bos_id is not None and (self._file_adds_bos if special.add_bos is None else special.add_bos)

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Ids of `text`. With special tokens, a text that already begins with the beginning-of-text token gets no second one."""
        ids = self._vocabulary.encode(mend_surrogates(text), add_special_tokens=add_special_tokens)
        if not add_special_tokens or self.bos_id is None:
            return ids
        if self._file_adds_bos and (not self.adds_bos or ids[1:2] == [self.bos_id]):
            return ids[1:]
        return self._with_bos(ids)

    def encode_chat(self, text: str) -> list[int]:
        """Ids of a rendered chat template, which writes its own special tokens, as a rule the first one too."""
        return self._with_bos(self._vocabulary.encode(mend_surrogates(text), add_special_tokens=False))

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Text of `ids` as a whole; bytes that are no UTF-8 become U+FFFD."""
        if self.spelling is None:
            return self._vocabulary.decode(ids, skip_special_tokens=skip_special_tokens)
        hidden = self.special_ids if skip_special_tokens else frozenset[int]()
        text = b"".join(self.token_bytes(token_id) for token_id in ids if token_id not in hidden).decode("utf-8", "replace")
        return text.removeprefix(" ") if self.spelling.strips_leading_space else text

    def token_bytes(self, token_id: int) -> bytes:
        """The exact bytes of one token, special ones included; none for an id that is no token (models pad their vocabularies)."""
        if not 0 <= token_id < self.vocabulary_size:
            return b""
        known = self._bytes[token_id]
        if known is None:
            known = self._bytes[token_id] = self._spell(token_id)
        return known

    def split_special(self, text: str) -> list[str | int]:
        """`text` cut at the special tokens in it, which are given as ids."""
        if self._special_pattern is None:
            longest_first = sorted(self.special_tokens, key=len, reverse=True)
            self._special_pattern = re.compile("(" + ("|".join(map(re.escape, longest_first)) or "(?!)") + ")")
        pieces = self._special_pattern.split(text)
        return [self.special_tokens.get(piece, piece) if index % 2 else piece for index, piece in enumerate(pieces) if piece]

    def complete_text(self, token_id: int) -> str | None:
        """The text that one token adds to an answer, empty for special ones; None where it begins or ends within a character."""
        try:
            return self._complete[token_id]
        except KeyError:
            self._complete[token_id] = text = self._complete_text(token_id)
            return text

    def token_text(self, token_id: int) -> str:
        """One token as text; bytes that are no UTF-8 on their own become U+FFFD."""
        return self.token_bytes(token_id).decode("utf-8", "replace")

    def _with_bos(self, ids: list[int]) -> list[int]:
        if self.bos_id is None or not self.adds_bos or ids[:1] == [self.bos_id]:
            return ids
        return [self.bos_id, *ids]

    def _complete_text(self, token_id: int) -> str | None:
        try:
            return "" if token_id in self.special_ids else self.token_bytes(token_id).decode()
        except UnicodeDecodeError:
            return None

    def _spell(self, token_id: int) -> bytes:
        special = self._special_texts.get(token_id)
        if special is not None:  # written as it is, never in the vocabulary's own alphabet: `<｜tool▁sep｜>` has no space in it
            return special.encode()
        if self.spelling is None:
            return self._vocabulary.decode([token_id], skip_special_tokens=False).encode("utf-8", "replace")
        token = self._vocabulary.token(token_id)
        return b"" if token is None else self.spelling.spell(token)


def mend_surrogates(text: str) -> str:
    r"""JSON may hold half a character (`"\ud83d"`), which no tokenizer takes: halves that meet become one, others U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text

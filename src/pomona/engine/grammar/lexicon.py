"""The tokens of a model as a grammar engine sees them: bytes, and which of them are no text."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from llguidance import LLTokenizer, TokenizerWrapper

from pomona.text.tokenizer import Tokenizer
from pomona.text.tokenizer_loading import load_tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Lexicon:
    """The bytes of each token id; none for an id that is no token. `encode` turns text into ids as the model is used to."""

    tokens: tuple[bytes, ...]
    special_ids: frozenset[int]
    encode: Callable[[str], list[int]]


def read_lexicon(folder: Path) -> Lexicon:
    """That of the model in `folder`. Raises ModelUnusable."""
    return lexicon_of(load_tokenizer(folder))


def lexicon_of(tokenizer: Tokenizer) -> Lexicon:
    """The same tokens."""

    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    return Lexicon(
        tokens=tuple(tokenizer.token_bytes(token_id) for token_id in range(tokenizer.vocabulary_size)),
        special_ids=tokenizer.special_ids,
        encode=encode,
    )


class GrammarTokenizer:
    """llguidance's tokenizer for a model with `vocabulary` logits.

    Its end-of-text token is one that no model has, the last of all: its bit in a mask says that the grammar may end here. So the
    model's own end tokens are special tokens like others, which a grammar may name (`<[id]>`). Special ones match nothing else,
    and ids without bytes match nothing at all.
    """

    def __init__(self, lexicon: Lexicon, vocabulary: int) -> None:
        self.end_id = max(vocabulary, len(lexicon.tokens))
        self._lexicon = lexicon
        wrapper = cast("TokenizerWrapper", _Wrapper(self, lexicon, self.end_id))
        self.matching = LLTokenizer(wrapper, n_vocab=self.end_id + 1, eos_token=self.end_id)

    def tokenize(self, text: str) -> list[int]:
        """Ids with the bytes of `text`, none of them special: as the model's tokenizer has it, else the longest first."""
        ids = self._lexicon.encode(text)
        exact = b"".join(self._lexicon.tokens[token_id] for token_id in ids) == text.encode()
        return ids if exact and self._lexicon.special_ids.isdisjoint(ids) else self.matching.greedy_tokenize(text)


class _Wrapper:
    """What llguidance asks of a tokenizer (`llguidance.TokenizerWrapper`, without its guesses)."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, owner: GrammarTokenizer, lexicon: Lexicon, end_id: int) -> None:
        self.eos_token_id = end_id
        self.tokens = [*lexicon.tokens, *[b""] * (end_id - len(lexicon.tokens)), b"<|end of grammar|>"]
        self.special_token_ids = [*sorted(lexicon.special_ids), end_id]
        self._owner = owner

    def __call__(self, text: str) -> list[int]:
        return self._owner.tokenize(text)

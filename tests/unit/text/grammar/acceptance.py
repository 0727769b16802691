"""Which texts a grammar accepts, and texts that it lets a model write that knows nothing."""

import itertools
import json
import random
from collections.abc import Iterator
from functools import cache
from typing import cast

from llguidance import LLMatcher, LLTokenizer

from tests.unit.text.samples import TINY

MOST_GUESSES = 20
MOST_ORDERS = 200


@cache
def tokens() -> LLTokenizer:
    """The vocabulary of the bundled model."""
    return LLTokenizer((TINY / "tokenizer.json").read_text())


@cache
def texts() -> tuple[str, ...]:
    """The text of every token."""
    return tuple(tokens().decode_str([token]) for token in range(tokens().vocab_size))


def accepts(grammar: str, text: str) -> bool:
    """Whether `text` as a whole is of `grammar`."""
    matcher = LLMatcher(tokens(), grammar, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    ids = tokens().tokenize_str(text)
    return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


def matches(source: str, value: object) -> bool:
    """Whether `value` is of the grammar with its properties in some order: grammars fix the order."""
    written = (json.dumps(each, ensure_ascii=False) for each in itertools.islice(orders(value), MOST_ORDERS))
    return any(accepts(source, text) for text in written)


def orders(value: object) -> Iterator[object]:
    """`value` with the properties of its objects in every order."""
    if isinstance(value, dict):
        members = cast("dict[str, object]", value)
        for names in itertools.permutations(members):
            for values in itertools.product(*(list(orders(members[name])) for name in names)):
                yield dict(zip(names, values, strict=True))
    elif isinstance(value, list):
        yield from map(list, itertools.product(*(list(orders(each)) for each in cast("list[object]", value))))
    else:
        yield value


def walk(grammar: str, seed: int, *, most: int = 600) -> str | None:
    """A text of `grammar` by random tokens, of which those that close something are preferred; None if it has no end within `most`."""
    rng = random.Random(seed)
    matcher = LLMatcher(tokens(), grammar, log_level=0)
    ids: list[int] = []
    while len(ids) < most:
        mask = int.from_bytes(matcher.compute_bitmask(), "little")
        assert not matcher.is_error(), matcher.get_error()
        if matcher.is_accepting() and rng.random() < 0.5:
            return tokens().decode_str(ids)
        token = _choice(mask, rng, eager=len(ids) > most // 4)
        if token is None:
            return tokens().decode_str(ids)
        ids.append(token)
        assert matcher.consume_token(token)
    return None


def _choice(mask: int, rng: random.Random, *, eager: bool) -> int | None:
    """None for the end."""
    if rng.random() < (0.9 if eager else 0.3) and (closing := [token for token in _closing() if mask >> token & 1]):
        return rng.choice(closing)
    for _ in range(MOST_GUESSES):
        token = rng.randrange(len(texts()))
        if mask >> token & 1 and token not in _ends():
            return token
    allowed = [token for token in range(len(texts())) if mask >> token & 1 and token not in _ends()]
    if not allowed:
        assert any(mask >> token & 1 for token in _ends()), "a dead end"
        return None
    return rng.choice(allowed)


@cache
def _ends() -> frozenset[int]:
    return frozenset(tokens().eos_tokens)


@cache
def _closing() -> list[int]:
    return [token for token, text in enumerate(texts()) if text[:1] in ('"', "}", "]", "<") and token not in _ends()]

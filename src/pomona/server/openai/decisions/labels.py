"""Which tokens stand for the answers that a model may give."""

import string
from collections.abc import Sequence
from dataclasses import dataclass

from pomona.core.errors import UnsupportedField
from pomona.core.ports import Tokenization

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The ids of each label: there may be several, because a word begins differently after a space."""

    letters: tuple[Ids, ...]
    """A to Z."""
    truth: tuple[Ids, Ids] | None
    """Yes and No, where both are single tokens."""


async def find_labels(tokenization: Tokenization, model: str) -> Labels:
    """The labels of `model`'s vocabulary. Raises UnsupportedField where not even letters are tokens of their own."""
    letters = [await _ids(tokenization, model, letter) for letter in string.ascii_uppercase]
    if not _distinct(letters):
        raise UnsupportedField(f"{model!r} has no tokens for the letters A to Z, so its answers cannot be weighed.", param="model")
    yes, no = await _ids(tokenization, model, "Yes"), await _ids(tokenization, model, "No")
    return Labels(letters=tuple(letters), truth=(yes, no) if _distinct([yes, no]) else None)


async def _ids(tokenization: Tokenization, model: str, word: str) -> Ids:
    found: list[int] = []
    for text in (word, f" {word}"):
        tokens = await tokenization.encode(model, text, special_tokens=False)
        if len(tokens) == 2 and not tokens[0].text.strip():
            tokens = tokens[1:]
        if len(tokens) == 1 and tokens[0].token_id not in found:
            found.append(tokens[0].token_id)
    return tuple(found)


def _distinct(labels: Sequence[Ids]) -> bool:
    ids = [each for label in labels for each in label]
    return all(labels) and len(ids) == len(set(ids))

"""Log-probabilities in the two shapes that OpenAI has for them."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from pomona.core.generation import TokenText

_LEAST_LOGPROB = -9999.0  # what OpenAI sends for minus infinity, which JSON cannot say


class TextLogprobs(TypedDict):
    """The logprobs object of completions: four lists of one length."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


def chat_logprobs(tokens: Sequence[TokenText]) -> Mapping[str, object]:
    """As chat completions show them."""
    content = [{**_chat_token(token), "top_logprobs": [_chat_token(other) for other in token.top]} for token in tokens]
    return {"content": content, "refusal": None}


def text_logprobs(tokens: Sequence[TokenText], offset: int) -> TextLogprobs:
    """As completions show them; `offset` is how many characters come before."""
    offsets: list[int] = []
    for token in tokens:
        offsets.append(offset)
        offset += characters_begun(token)
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [_finite(token.logprob) for token in tokens],
        "top_logprobs": [{other.text: _finite(other.logprob) for other in token.top} for token in tokens],
        "text_offset": offsets,
    }


def prompt_logprobs(first: str, rest: Sequence[TokenText], echo: str) -> TextLogprobs:
    """Those of a prompt that is repeated as `echo`. A first token that only marks the beginning is no part of its text."""
    told = text_logprobs(rest, max(len(echo) - characters(rest), 0))
    return {
        "tokens": [first, *told["tokens"]],
        "token_logprobs": [None, *told["token_logprobs"]],
        "top_logprobs": [None, *told["top_logprobs"]],
        "text_offset": [0, *told["text_offset"]],
    }


def joined(parts: Sequence[TextLogprobs]) -> TextLogprobs:
    """Several objects as one."""
    return {
        "tokens": [each for part in parts for each in part["tokens"]],
        "token_logprobs": [each for part in parts for each in part["token_logprobs"]],
        "top_logprobs": [each for part in parts for each in part["top_logprobs"]],
        "text_offset": [each for part in parts for each in part["text_offset"]],
    }


def characters(tokens: Sequence[TokenText]) -> int:
    """Characters that begin in `tokens`."""
    return sum(map(characters_begun, tokens))


def characters_begun(token: TokenText) -> int:
    """Characters whose first UTF-8 byte is in `token`: counted so, tokens that hold parts of one character add up."""
    return sum(byte & 0xC0 != 0x80 for byte in token.bytes)


def _chat_token(token: TokenText) -> dict[str, object]:
    return {"token": token.text, "logprob": _finite(token.logprob), "bytes": list(token.bytes)}


def _finite(logprob: float) -> float:
    return max(logprob, _LEAST_LOGPROB)

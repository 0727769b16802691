"""Asking llguidance whether a grammar is one, within limits that the engine has too."""

from functools import cache

from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper


def problem_of(source: str) -> str | None:
    """Why llguidance cannot use `source`, a grammar; None where it can. Blocks for as long as compiling takes.

    The grammar is compiled as an engine will do it and its first mask is made, over tokens of one byte each.
    """
    matcher = LLMatcher(_bytes_tokenizer(), source, log_level=0)
    if not matcher.is_error():
        matcher.compute_bitmask()
    if matcher.is_error():
        return _reason(matcher.get_error())
    return next(iter(matcher.get_grammar_warnings()), None)


def _reason(message: str) -> str:
    """What went wrong, without the source and the state of the parser that follow."""
    text = message.strip().partition("\n   1 | ")[0].partition("<state>")[0]
    text = text.split(": failed to compile JSON schema: ")[-1].strip()
    return text if len(text) <= 400 else text[:200] + " ... " + text[-195:]


class _Bytes:
    """Every byte a token, and one that ends the text."""

    eos_token_id = 256
    bos_token_id = None
    tokens = (*(bytes([byte]) for byte in range(256)), b"<end>")
    special_token_ids = (256,)

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


@cache
def _bytes_tokenizer() -> LLTokenizer:
    return LLTokenizer(TokenizerWrapper(_Bytes()))

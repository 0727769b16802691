"""How a tokenizer spells the marks of dialects and thoughts."""

from collections.abc import Iterable

from pomona.text.tokenizer import Tokenizer
from pomona.text.tools.grammars import literal


class TokenMarks:
    """The `Marks` of one tokenizer. A text may hold several special tokens and ordinary text between them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> str:
        """`text` as Lark items in a row."""
        pieces = self._tokenizer.split_special(text)
        return " ".join(literal(piece) if isinstance(piece, str) else f"<[{piece}]>" for piece in pieces)


def special_ids_in(tokenizer: Tokenizer, texts: Iterable[str]) -> frozenset[int]:
    """The special tokens that these texts consist of, wholly or in part."""
    return frozenset(piece for text in texts for piece in tokenizer.split_special(text) if isinstance(piece, int))


def single_token(tokenizer: Tokenizer, text: str) -> int | None:
    """The id of the one token that `text` is; None where it is several."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    return ids[0] if len(ids) == 1 else None

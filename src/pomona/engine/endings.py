"""When a row's answer ends: at a stop token, with its grammar, or at its longest."""

from pomona.core.generation import FinishReason
from pomona.engine.sequence import Sequence


def append(row: Sequence, tokens: list[int]) -> tuple[list[int], FinishReason | None]:
    """Add tokens up to the one that ends the row; those to hand out, which a stop token is not, and why it ends. Raises EngineFailed."""
    for count, token in enumerate(tokens, 1):
        row.tokens.append(token)
        if token in row.prompt.stop_token_ids:
            return tokens[: count - 1], "stop"
        if _advance(row, token):
            return tokens[:count], "stop"
        if row.outputs >= row.prompt.max_tokens:
            return tokens[:count], "length"
    return tokens, None


def reason_of_end(row: Sequence) -> FinishReason | None:
    """Why nothing can follow the tokens that the row came with."""
    complete = row.constraint is not None and row.constraint.complete
    if complete or row.tokens[-1] in row.prompt.stop_token_ids:
        return "stop"
    return "length" if row.outputs >= row.prompt.max_tokens else None


def _advance(row: Sequence, token: int) -> bool:
    """The row's constraint sees a token; whether the answer is complete with it. Raises EngineFailed."""
    if row.constraint is None:
        return False
    row.constraint.advance(token)
    return row.constraint.complete

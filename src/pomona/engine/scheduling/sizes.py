"""Sizes of chunks where each new one costs: on CUDA the products of a pass look for their best way at each new number of tokens, and
attention is planned for each new pair of tokens and keys.

So chunks are of few sizes, and end where chunks of all prompts end, whatever each of them began behind.
"""

SMALLEST = 32
"""Tokens: a pass is padded to as many."""
HALVED_FROM = 1024
"""From here on there is a size between two powers of two, since passes go by their tokens and no longer by the weights."""


def even_size(tokens: int) -> int:
    """The largest of 32, 64, 128, …, 1024, 1536, 2048, 3072, … that is not above `tokens`; these themselves below 32."""
    if tokens < SMALLEST:
        return tokens
    power = 1 << (tokens.bit_length() - 1)
    return power * 3 // 2 if power >= HALVED_FROM and tokens >= power * 3 // 2 else power


def even_end(start: int, tokens: int) -> int:
    """Where a chunk of at most `tokens` behind `start` is to end: at a multiple of its size, or of a third of it for sizes in between."""
    size = even_size(tokens)
    if size < SMALLEST:
        return start + tokens
    step = size if size & (size - 1) == 0 else size // 3
    end = (start + size) // step * step
    return end if end > start else start + tokens


def larger_size(tokens: int) -> int:
    """The least of those sizes that is above `tokens`, and 32 at least."""
    if tokens < SMALLEST:
        return SMALLEST
    size = even_size(tokens)
    return next(larger for larger in (size * 4 // 3, size * 3 // 2, size * 2) if larger > tokens and even_size(larger) == larger)

"""Chunks of few sizes, which end where others do."""

from hypothesis import given
from hypothesis import strategies as st

from pomona.engine.scheduling.sizes import SMALLEST, even_end, even_size, larger_size


def test_the_sizes_are_few() -> None:
    sizes = sorted({even_size(tokens) for tokens in range(SMALLEST, 2049)})
    assert sizes == [32, 64, 128, 256, 512, 1024, 1536, 2048]
    assert [larger_size(size) for size in sizes] == [*sizes[1:], 3072]


@given(tokens=st.integers(1, 70_000))
def test_a_size_is_the_largest_that_is_not_above(tokens: int) -> None:
    assert even_size(tokens) <= tokens < larger_size(tokens)
    assert even_size(larger_size(tokens)) == larger_size(tokens)


@given(start=st.integers(0, 100_000), tokens=st.integers(1, 8192))
def test_a_chunk_gets_on_and_is_not_longer_than_asked_for(start: int, tokens: int) -> None:
    assert start < even_end(start, tokens) <= start + tokens


@given(starts=st.lists(st.integers(0, 300).map(lambda block: 32 * block), min_size=2, max_size=6), size=st.sampled_from([128, 256, 2048]))
def test_prompts_that_go_on_behind_different_beginnings_meet_at_the_same_ends(starts: list[int], size: int) -> None:
    """Then attention over so many tokens and keys was planned before."""
    ends = [_ends(start, size, 20_000) for start in starts]
    for own in ends:
        assert set(own[1:]) <= set(range(0, 24_000, size))


def _ends(start: int, size: int, until: int) -> list[int]:
    ends: list[int] = []
    while start < until:
        start = even_end(start, size)
        ends.append(start)
    return ends

"""Finding where the text went as it goes now, against a search through all of it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.engine.speculation.lookup import LONGEST, TOKENS_AT_ONCE, Lookup

texts = st.lists(st.integers(0, 3), min_size=1, max_size=60)


def longest_match(tokens: list[int]) -> int:
    """How many of the last tokens stand somewhere before too, at most `LONGEST`."""
    for length in range(min(LONGEST, len(tokens) - 1), 0, -1):
        end = tokens[-length:]
        if any(tokens[place : place + length] == end for place in range(len(tokens) - length)):
            return length
    return 0


@settings(deadline=None)
@given(texts)
def test_a_match_is_one(tokens: list[int]) -> None:
    lookup = Lookup(tokens)
    assert lookup.update()
    found = lookup.match()
    if found is None:
        assert longest_match(tokens) == 0
        return
    assert 0 < found.length <= longest_match(tokens)
    assert tokens[found.position - found.length : found.position] == tokens[-found.length :]


@settings(deadline=None)
@given(texts, st.lists(st.integers(1, 5), max_size=20))
def test_growing_equals_building_at_once(tokens: list[int], pieces: list[int]) -> None:
    grown: list[int] = []
    lookup = Lookup(grown)
    for size in [*pieces, len(tokens)]:
        grown += tokens[len(grown) : len(grown) + size]
        lookup.update()
    whole = Lookup(tokens)
    whole.update()
    assert lookup.match() == whole.match()


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), min_size=10, max_size=40), st.integers(2, 9))
def test_the_longest_match_is_found_among_few(tokens: list[int], length: int) -> None:
    """Where at most `CANDIDATES` places come into question, none is missed."""
    lookup = Lookup([*tokens, 99, *tokens[:length]])
    lookup.update()
    found = lookup.match()
    assert found is not None
    assert found.length == longest_match([*tokens, 99, *tokens[:length]])


def test_what_followed_is_the_guess() -> None:
    lookup = Lookup([1, 2, 3, 4, 5, 6, 1, 2, 3])
    lookup.update()
    found = lookup.match()
    assert found is not None
    assert lookup.continuation(found, 3) == [4, 5, 6]
    assert lookup.continuation(found, 8) == [4, 5, 6, 1, 2, 3, 4, 5]


def test_a_repetition_goes_on() -> None:
    lookup = Lookup([7, 7, 7])
    lookup.update()
    found = lookup.match()
    assert found is not None
    assert lookup.continuation(found, 4) == [7, 7, 7, 7]


def test_long_prompts_are_taken_in_over_several_steps() -> None:
    lookup = Lookup(list(range(2 * TOKENS_AT_ONCE + 1)))
    assert [lookup.update() for _ in range(3)] == [False, False, True]

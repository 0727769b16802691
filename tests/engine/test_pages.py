"""The page allocator against a simple model of what it promises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomona.engine.attention.views import TRASH_PAGE
from pomona.engine.cache.pages import PageAllocator


def test_pages_are_consecutive_while_nobody_else_takes_them() -> None:
    pages = PageAllocator(limit=100, initial=10)
    taken = [pages.allocate()]
    for _ in range(30):
        taken.append(pages.allocate(taken[-1]))
    assert taken == list(range(1, 32))


def test_growth_stops_at_the_limit() -> None:
    pages = PageAllocator(limit=5, initial=2)
    assert [pages.allocate() for _ in range(4)] == [1, 2, 3, 4]
    assert pages.available == 0
    with pytest.raises(KeyError):
        pages.allocate()


def test_content_is_found_until_its_page_is_needed() -> None:
    pages = PageAllocator(limit=4, initial=4)
    a, b, c = (pages.allocate() for _ in range(3))
    pages.index(a, b"a")
    pages.index(b, b"b")
    pages.release([a])
    pages.release([b])
    pages.release([c])
    assert (pages.held, pages.idle, pages.available) == (0, 2, 3)
    assert pages.allocate() == c  # free before idle
    pages.allocate()  # evicts the least recently used content
    assert pages.find(b"a") is None
    assert pages.find(b"b") == b
    pages.hold(b)
    assert pages.idle == 0
    pages.check_integrity({a: 1, b: 1, c: 1})


def test_equal_content_is_indexed_once() -> None:
    pages = PageAllocator(limit=4)
    a, b = pages.allocate(), pages.allocate()
    pages.index(a, b"same")
    pages.index(b, b"same")
    assert pages.find(b"same") == a
    pages.release([a, b])
    assert (pages.idle, pages.held) == (1, 0)


def test_integrity_check_sees_a_leak() -> None:
    pages = PageAllocator(limit=4)
    page = pages.allocate()
    with pytest.raises(AssertionError, match="reference counts"):
        pages.check_integrity({})
    pages.check_integrity({page: 1})


@given(st.lists(st.tuples(st.sampled_from(["allocate", "index", "share", "release", "shrink"]), st.integers(0, 99)), max_size=200))
def test_any_sequence_of_calls_keeps_the_books(calls: list[tuple[str, int]]) -> None:
    pages = PageAllocator(limit=20, initial=2)
    held: list[int] = []
    for name, number in calls:
        page = held[number % len(held)] if held else None
        if name == "allocate" and pages.available:
            held.append(pages.allocate(page))
        elif page is not None and name == "index":
            pages.index(page, bytes([number % 7]))
        elif page is not None and name == "share":
            pages.hold(page)
            held.append(page)
        elif page is not None and name == "release":
            held.remove(page)
            pages.release([page])
        elif name == "shrink":
            pages.shrink()
            assert (pages.idle, pages.capacity) == (0, max(held, default=0) + 1)
        assert TRASH_PAGE not in held
        pages.check_integrity({page: held.count(page) for page in held})

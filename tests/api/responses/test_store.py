"""The store of responses on its own."""

from dataclasses import dataclass

from pomona.server.openai.responses.store import MemoryStore, StoredResponse


@dataclass(slots=True)
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def response(name: str, *, caller: str = "", size: int = 100, items: tuple[str, ...] = ()) -> StoredResponse:
    return StoredResponse(id=name, caller=caller, session="", document=b"x" * size, input=b"", output=b"", item_ids=items)


def test_the_least_recently_used_go_first() -> None:
    store = MemoryStore(max_bytes=300, ttl_seconds=9)
    for name in ("a", "b", "c"):
        store.keep(response(name))
    assert store.find("", "a") is not None
    store.keep(response("d"))
    assert [name for name in "abcd" if store.find("", name)] == ["a", "c", "d"]


def test_bytes_are_given_back() -> None:
    store = MemoryStore(max_bytes=300, ttl_seconds=9)
    for _ in range(10):
        store.keep(response("a"))
    store.keep(response("b", size=200))
    assert store.find("", "a")
    assert store.drop("", "b")
    store.keep(response("c", size=200))
    assert store.find("", "a")


def test_what_is_larger_than_the_store_is_not_kept() -> None:
    store = MemoryStore(max_bytes=100, ttl_seconds=9)
    store.keep(response("a"))
    store.keep(response("b", size=101))
    assert store.find("", "b") is None
    assert store.find("", "a")


def test_nothing_is_kept_for_longer_than_it_may() -> None:
    clock = Clock()
    store = MemoryStore(max_bytes=300, ttl_seconds=10, clock=clock)
    store.keep(response("a", items=("i",)))
    clock.now += 9.9
    assert store.find("", "i")
    clock.now += 0.1
    assert store.find("", "i") is None
    assert store.find("", "a") is None
    assert not store.drop("", "a")


def test_callers_do_not_see_each_other() -> None:
    store = MemoryStore(max_bytes=300, ttl_seconds=9)
    store.keep(response("a", caller="one", items=("i",)))
    assert store.find("two", "a") is None
    assert store.find("two", "i") is None
    assert not store.drop("two", "a")
    assert store.find("one", "i")


def test_an_item_is_found_in_the_newest_response_that_has_it() -> None:
    store = MemoryStore(max_bytes=300, ttl_seconds=9)
    store.keep(response("a", items=("i",)))
    store.keep(response("b", items=("i",)))
    store.drop("", "a")
    found = store.find("", "i")
    assert found is not None
    assert found.id == "b"
    store.drop("", "b")
    assert store.find("", "i") is None


def test_events_count() -> None:
    store = MemoryStore(max_bytes=300, ttl_seconds=9)
    store.keep(StoredResponse(id="a", caller="", session="", document=b"", input=b"", output=b"", events=(b"x" * 301,)))
    assert store.find("", "a") is None

"""A key is shown once, stored as a hash, recognised in constant time and by nobody else's text."""

import multiprocessing
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from pomona.control.callers import Allowance, Caller, priority_for
from pomona.control.key_file import KeyFile, WatchedKeys
from pomona.control.key_usage import UsageBook, read_usage, usage_path
from pomona.control.keys import Key, KeyRing, make_key
from pomona.core.errors import ConfigurationError
from pomona.core.generation import Priority, Usage
from pomona.core.records import RequestRecord

NOW = 1_700_000_000.0


def test_a_key_opens_and_nothing_near_it_does() -> None:
    key, text = make_key("laptop", now=NOW)
    other, other_text = make_key("other", now=NOW)
    ring = KeyRing([key, other])

    assert ring.find(text) is key
    assert ring.find(other_text) is other
    for wrong in ("", "pomona_sk_", text[:-1], text + "x", text.swapcase(), text[:18] + other_text[18:], f" {text}", "sk-ant-1"):
        assert ring.find(wrong) is None


def test_a_key_has_the_form_that_is_documented_and_256_random_bits() -> None:
    texts = {make_key("n", now=NOW)[1] for _ in range(50)}

    assert len(texts) == 50
    assert all(text.startswith("pomona_sk_") and len(text) == 10 + 8 + 43 for text in texts)


def test_nothing_that_is_stored_opens() -> None:
    key, text = make_key("laptop", now=NOW)

    assert text[18:] not in repr(key)
    assert KeyRing([key]).find(f"pomona_sk_{key.id}{key.digest}") is None


def test_a_key_expires_and_can_be_revoked() -> None:
    key, _ = make_key("laptop", now=NOW, lifetime_days=2)

    assert [key.state(NOW + days * 86400) for days in (0, 1.99, 2)] == ["active", "active", "expired"]
    assert replace(key, revoked=int(NOW)).state(NOW) == "revoked"


@pytest.mark.parametrize(
    ("ceiling", "own", "header", "field", "expected"),
    [
        ("high", "normal", None, "normal", "normal"),
        ("high", "normal", "high", "low", "high"),
        ("high", "normal", None, "low", "low"),
        ("high", "high", None, "normal", "high"),
        ("normal", "normal", "high", "high", "normal"),
        ("low", "low", "high", "normal", "low"),
        ("high", "high", "low", "normal", "low"),
    ],
)
def test_a_request_gets_the_priority_it_asks_for_up_to_the_callers_ceiling(
    ceiling: Priority, own: Priority, header: Priority | None, field: Priority, expected: Priority
) -> None:
    assert priority_for(Caller(priority=own, ceiling=ceiling), header, field) == expected


def test_a_file_keeps_all_there_is_to_know_for_its_owner_only(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "data" / "keys.json")
    key, text = make_key("laptop", now=NOW, scope="admin", allowance=Allowance(concurrent=2), priority="high", lifetime_days=1)
    file.change(lambda keys: [*keys, key])

    assert file.read() == (key,)
    assert text not in file.path.read_text(encoding="utf-8")
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    assert [path.name for path in file.path.parent.iterdir() if path.suffix not in {".json", ".lock"}] == []


def test_a_change_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    file.change(lambda keys: [*keys, make_key("first", now=NOW)[0]])
    before = file.path.read_bytes()

    def fail(keys: Sequence[Key]) -> Sequence[Key]:
        raise KeyError(len(keys))

    with pytest.raises(KeyError):
        file.change(fail)
    assert file.path.read_bytes() == before


def test_processes_that_change_the_file_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=add_keys, args=(path, f"worker-{number}")) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)

    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len({key.name for key in KeyFile(path).read()}) == 30


def add_keys(path: Path, name: str) -> None:
    for number in range(10):
        key = make_key(f"{name}-{number}", now=NOW)[0]
        KeyFile(path).change(lambda keys, key=key: [*keys, key])


@pytest.mark.parametrize("content", ["", "{", '{"keys": [{"id": 3}]}', '{"keys": "none"}', "[]"])
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content, encoding="utf-8")

    with pytest.raises(ConfigurationError, match=r"keys\.json.*cannot be read") as caught:
        KeyFile(path).read()
    assert "put back a copy" in caught.value.message


def test_a_running_server_sees_changes_within_a_second_and_does_not_look_more_often(tmp_path: Path) -> None:
    file, ticks = KeyFile(tmp_path / "keys.json"), [0.0]
    watched = WatchedKeys(file, lambda: ticks[0])
    key, text = make_key("laptop", now=NOW)
    file.change(lambda keys: [*keys, key])

    assert not watched.exist
    ticks[0] = 0.9
    assert watched.find(text) is None
    ticks[0] = 1.0
    assert watched.find(text) == key
    assert watched.exist
    assert watched.open("public", NOW)
    assert not watched.open("admin", NOW)


def test_a_file_that_breaks_under_a_running_server_changes_nothing(tmp_path: Path) -> None:
    file, ticks = KeyFile(tmp_path / "keys.json"), [0.0]
    key, text = make_key("laptop", now=NOW)
    file.change(lambda keys: [*keys, key])
    watched = WatchedKeys(file, lambda: ticks[0])
    file.path.write_text("{", encoding="utf-8")
    ticks[0] = 5.0

    assert watched.find(text) == key


def test_use_is_added_up_over_servers_and_written_at_most_once_a_minute(tmp_path: Path) -> None:
    path, now, ticks = usage_path(tmp_path / "keys.json"), [NOW], [0.0]
    with ThreadPoolExecutor(1) as writer:
        books = [UsageBook(path, lambda: now[0], writer, lambda: ticks[0]) for _ in range(2)]
        for book in books:
            book(record("a", 10))
        writer.submit(int).result()
        assert not path.exists()
        now[0] -= 10**6  # a wall clock that is put right decides nothing
        ticks[0] += 61
        books[0](record("a", 5))
        writer.submit(int).result()
        assert read_usage(path)["a"].requests == 2
        for book in books:
            book(record("", 99))
            book(record("a", 7, outcome="rate_limit_exceeded"))
    for book in books:
        book.close()

    use = read_usage(path)
    assert set(use) == {"a"}
    assert (use["a"].requests, use["a"].tokens, use["a"].last_used) == (5, 25, int(NOW))


def test_use_that_cannot_be_written_is_kept_for_the_next_time(tmp_path: Path) -> None:
    path, ticks = usage_path(tmp_path / "keys.json"), [0.0]
    with ThreadPoolExecutor(1) as writer:
        book = UsageBook(path, lambda: NOW, writer, lambda: ticks[0])
        path.mkdir()  # as good as a full disk, for whoever runs the tests
        ticks[0] = 61.0
        book(record("a", 10))
        writer.submit(int).result()
        path.rmdir()
        book(record("a", 5))
        book.close()
    assert (read_usage(path)["a"].requests, read_usage(path)["a"].tokens) == (2, 15)


def record(caller: str, tokens: int, outcome: str = "ok") -> RequestRecord:
    usage = Usage(prompt_tokens=tokens - 1, completion_tokens=1)
    return RequestRecord(id="r", endpoint="e", model="m", outcome=outcome, seconds=1.0, caller=caller, usage=usage)

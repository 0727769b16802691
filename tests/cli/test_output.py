"""Units, tables and what must not reach a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomona.cli.output import human_bytes, human_count, human_seconds, print_table, printable


@pytest.mark.parametrize(
    ("size", "text"), [(None, "?"), (0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (19_311_651, "18.4 MiB"), (2**50, "1024.0 TiB")]
)
def test_bytes(size: int | None, text: str) -> None:
    assert human_bytes(size) == text


@pytest.mark.parametrize(("seconds", "text"), [(None, "?"), (0.0123, "12.3 ms"), (2.5, "2.50 s"), (90, "1 min 30 s"), (3600, "60 min 0 s")])
def test_seconds(seconds: float | None, text: str) -> None:
    assert human_seconds(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(7, "7"), (1500, "1.5 k"), (18_100_000, "18.1 M"), (8 * 10**9, "8.0 G")])
def test_counts(count: int, text: str) -> None:
    assert human_count(count) == text


def test_a_table_in_a_pipe_has_aligned_columns_and_no_frame(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "size"), [("a", "1"), (("longer", "red"), "22")], color=None, numeric=("size",))

    assert capsys.readouterr().out == "name    size\na          1\nlonger    22\n"


@given(st.text())
def test_nothing_that_steers_a_terminal_is_printable(text: str) -> None:
    shown = printable(text)

    assert not any(ord(character) < 32 and character not in "\n\t" for character in shown)
    assert "\x1b" not in shown
    assert "\x9b" not in shown


def test_what_people_read_is_kept() -> None:
    assert printable("süß 🍎\n\tيوم") == "süß 🍎\n\tيوم"

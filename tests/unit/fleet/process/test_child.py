"""A child process and what it writes."""

import sys

import pytest

from pomona.fleet.process.child import LINES_KEPT, Child

TALKS = "import sys; [print(f'line {n}', file=sys.stderr) for n in range(100)]; sys.stderr.write('no end'); sys.exit(3)"


async def test_what_it_writes_is_passed_on_and_the_last_lines_are_kept(capfd: pytest.CaptureFixture[str]) -> None:
    child = Child((sys.executable, "-c", TALKS))
    assert await child.exited == 3
    assert child.written.splitlines() == [*(f"line {n}" for n in range(101 - LINES_KEPT, 100)), "no end"]
    assert capfd.readouterr().err.splitlines() == [*(f"line {n}" for n in range(100)), "no end"]


async def test_a_command_that_is_not_there_leaves_nothing_open() -> None:
    with pytest.raises(OSError, match="No such file"):
        Child(("/nowhere/at/all",))

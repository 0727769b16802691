import pytest

from pomona.fleet.process.child import describe_exit


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (3, "exited with code 3"),
        (-15, "was ended by SIGTERM"),
        (-9, "was ended by SIGKILL (somebody killed it, or the system ran out of memory)"),
        (-6, "was ended by SIGABRT (the device or a library gave up)"),
        (-99, "was ended by signal 99"),
    ],
)
def test_exits_are_put_into_words(code: int, words: str) -> None:
    assert describe_exit(code) == words

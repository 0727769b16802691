"""What a process died of, by exit code, words and counts alone."""

import signal
from pathlib import Path

import pytest

from pomona.fleet.process.death import LONGEST_QUOTE, Death, OomCount, describe_exit, judge_exit, last_words

ABORTED = """\
{"event": "engine_ready", "level": "info"}
terminate called after throwing an instance of 'std::runtime_error'
  what():  cudaMallocAsync(&data, size, stream) failed: out of memory
"""


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


@pytest.mark.parametrize(
    ("kills", "pressed", "expected"),
    [
        (0, False, Death(by_hand=True, sudden=True)),
        (0, True, Death(by_hand=True, sudden=True)),
        (1, False, Death(of_memory=True, sudden=True)),
        (None, True, Death(of_memory=True, sudden=True)),
        (None, False, Death(doubtful=True, sudden=True)),
    ],
)
def test_who_killed_it_is_known_where_the_system_counts_and_doubtful_elsewhere(kills: int | None, pressed: bool, expected: Death) -> None:
    assert judge_exit(-signal.SIGKILL, "", oom_kills=kills, pressed=pressed) == expected


@pytest.mark.parametrize(
    ("code", "words", "pressed", "expected"),
    [
        (-signal.SIGTERM, "", True, Death(by_hand=True, sudden=True)),
        (-signal.SIGSEGV, "", False, Death(sudden=True)),
        (-signal.SIGABRT, "", False, Death(sudden=True)),
        (-signal.SIGABRT, "", True, Death(of_memory=True, sudden=True)),
        (-signal.SIGABRT, last_words(ABORTED), False, Death(of_memory=True, sudden=True)),
        (
            -signal.SIGABRT,
            "libc++abi: terminating: [METAL] Insufficient Memory (00000008)",
            False,
            Death(of_memory=True, sudden=True),
        ),
        (1, "RuntimeError: CUDA error: an illegal memory access was encountered", False, Death()),
        (1, "RuntimeError: [malloc] Unable to allocate 123 bytes.", False, Death(of_memory=True)),
        (1, "MemoryError: ", False, Death(of_memory=True)),
    ],
)
def test_other_deaths_are_told_by_signal_and_words(code: int, words: str, pressed: bool, expected: Death) -> None:
    assert judge_exit(code, words, oom_kills=None, pressed=pressed) == expected


def test_of_what_it_wrote_only_what_ends_a_process_counts() -> None:
    assert last_words(ABORTED).endswith("failed: out of memory")
    assert last_words('{"event": "row_lost", "problem": "out of memory"}\n') == ""
    assert last_words("Traceback (most recent call last):\n  File\nMemoryError: too much\n") == "MemoryError: too much"
    assert len(last_words("what(): " + "x" * 1000)) == LONGEST_QUOTE


def test_advice_fits_the_death() -> None:
    assert Death().advice == "Send the request again."
    assert "little memory" in Death(of_memory=True).advice
    assert (Death().hint, Death(of_memory=True).hint) == ("", Death(of_memory=True).advice)


def test_kills_are_counted_from_the_start_over_all_counters(tmp_path: Path) -> None:
    machine, container = tmp_path / "vmstat", tmp_path / "oom_control"
    machine.write_text("nr_free_pages 3\noom_kill 4\n")
    count = OomCount((machine, container))
    assert count.kills == 0
    machine.write_text("oom_kill 4\n")
    container.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    assert count.kills == 1
    assert OomCount((tmp_path / "missing",)).kills is None

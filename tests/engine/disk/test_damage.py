"""Whatever happens to files, an answer never differs: what is not whole is a miss, and gone."""

import os
import random
from pathlib import Path

import pytest

from pomona.engine.cache.disk.store import HALF
from tests.engine.disk.engines import STEM, answer, files
from tests.engine.harness import Result, alone, make_prompt

PROMPT = make_prompt("a", STEM[:70], max_tokens=8)


def flip(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]


def places(content: bytes) -> list[int]:
    """Length, names, shapes, checksum, padding, and data all over."""
    header = 8 + int.from_bytes(content[:8], "little")
    chosen = random.Random(1)
    return [*range(0, header, 7), header - 1, header, len(content) - 1, *(chosen.randrange(header, len(content)) for _ in range(20))]


def expect_recovery(folder: Path, name: str, at_most: int) -> None:
    """The answer is right with what is left, and the next engine finds everything again."""
    got = answer(folder, name, PROMPT)["a"]
    assert got.tokens == alone(name, PROMPT).tokens
    assert got.cached_tokens <= at_most
    assert answer(folder, name, PROMPT)["a"].cached_tokens == 64


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    answer(tmp_path, "llama", PROMPT)
    return tmp_path


def test_a_flipped_bit_anywhere_is_a_miss(kept: Path) -> None:
    """Read by the store alone, or this would take minutes; engines meet damage below."""
    from tests.engine.disk.reading import read_alone

    [path, *_] = files(kept)
    whole = path.read_bytes()
    assert read_alone(path)
    for place in places(whole):
        path.write_bytes(flip(whole, place))
        assert not read_alone(path), place
        assert not path.exists()
        path.write_bytes(whole)
    for cut in (0, 1, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert not read_alone(path), cut
    path.write_bytes(whole + b"x")
    assert not read_alone(path)


@pytest.mark.parametrize("name", ["llama", "gemma3", "qwen3_next"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "foreign", "swapped", "gone"])
def test_an_engine_that_meets_damaged_files_answers_as_ever(name: str, damage: str, tmp_path: Path) -> None:
    answer(tmp_path, name, PROMPT)
    for path in files(tmp_path)[::2]:
        content = path.read_bytes()
        if damage == "gone":
            path.unlink()
        elif damage == "swapped":
            path.write_bytes(files(tmp_path)[1].read_bytes())
        else:
            path.write_bytes({"flipped": flip(content, len(content) - 9), "cut": content[:-9], "foreign": b"not ours"}[damage])
    expect_recovery(tmp_path, name, 63)


def test_an_unreadable_file_is_a_miss(kept: Path) -> None:
    """A folder in the place of each file: nobody can read it, nor delete it as a file."""
    for path in files(kept):
        path.unlink()
        path.mkdir()
    got: Result = answer(kept, "llama", PROMPT)["a"]
    assert (got.tokens, got.cached_tokens) == (alone("llama", PROMPT).tokens, 0)


def test_what_a_crash_left_half_written_is_swept_away_and_what_others_write_is_not(kept: Path) -> None:
    folder = files(kept)[0].parent
    dead, alive = folder / f"{HALF}{2**22 + 1}-0", folder / f"{HALF}{os.getppid()}-0"
    for path in (dead, alive):
        path.write_bytes(b"half")
    assert answer(kept, "llama", PROMPT)["a"].cached_tokens == 64
    assert (dead.exists(), alive.exists()) == (False, True)


def test_a_folder_that_vanishes_under_a_running_engine_is_made_again(tmp_path: Path) -> None:
    from tests.engine.disk.engines import engine_on
    from tests.engine.harness import drive

    with engine_on(tmp_path, "llama") as engine:
        drive(engine, {0: [PROMPT]})
        (tmp_path / "engines").rename(tmp_path / "elsewhere")  # at once, whatever is written meanwhile
        other = make_prompt("b", [3, *STEM[:60]], max_tokens=4)
        drive(engine, {0: [other]})
    assert answer(tmp_path, "llama", other)["b"].cached_tokens == 56

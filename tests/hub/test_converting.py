"""Smaller copies and GGUF files: made by a child process, named for what they are, used once they are whole."""

import asyncio
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pomona.core.errors import Cancelled, DoesNotFit, InvalidRequest, ModelNotFound, ModelUnusable, PomonaError
from pomona.core.hub import PullRequest
from pomona.core.settings import ModelsSettings
from pomona.hub.converting import Conversion, convert
from pomona.hub.fitting import Machine
from pomona.hub.pulling import Progress
from pomona.models.references import resolve
from tests.hub.conftest import CONVERTER, STORIES, Bench


def test_a_smaller_copy_is_made_and_found_by_its_name(bench: Bench) -> None:
    assert bench.pull(quantize="4bit", name="small") == "tiny-4bit"
    made = bench.converted / "tiny-4bit"
    assert json.loads((made / "made.json").read_text()) == {"quantize": "4bit", "gguf": None}
    for name in ("tiny-4bit", "small"):
        assert resolve(name, ModelsSettings(), names=bench.registry.names(), hub_cache=bench.cache).path == made
    states = list(dict.fromkeys(now.state for now in bench.progress))
    assert states == ["downloading", "converting"]
    assert (bench.progress[-1].done, bench.progress[-1].total, bench.progress[-1].file) == (2, 2, "layer 2")
    assert {path.name for path in bench.converted.iterdir() if path.is_dir()} == {"tiny-4bit"}


def test_a_copy_is_made_once_for_each_commit(bench: Bench) -> None:
    bench.pull(quantize="8bit")
    (bench.converted / "tiny-8bit" / "mark").touch()
    bench.pull(quantize="8bit")
    assert (bench.converted / "tiny-8bit" / "mark").exists()
    bench.hub.repos["acme/tiny"].commit = "b" * 40
    bench.pull(quantize="8bit")
    assert not (bench.converted / "tiny-8bit" / "mark").exists()


def test_copies_of_equal_names_get_the_organisation(bench: Bench) -> None:
    bench.hub.add_folder("other/tiny", STORIES)
    assert bench.pull(quantize="4bit") == "tiny-4bit"
    assert bench.pull("other/tiny", quantize="4bit") == "other-tiny-4bit"
    assert bench.pull("other/tiny", quantize="4bit") == "other-tiny-4bit"
    assert bench.pull("other/tiny@main", quantize="mxfp4") == "tiny-main-mxfp4"


def test_a_gguf_file_is_got_alone_and_converted(bench: Bench) -> None:
    bench.hub.add("acme/gg", {"small.Q4_0.gguf": b"g" * 9000, "big.Q8_0.gguf": b"G" * 9000, "README.md": b"r"})
    assert bench.pull("acme/gg/small.Q4_0.gguf") == "small.Q4_0"
    assert json.loads((bench.converted / "small.Q4_0" / "made.json").read_text()) == {"quantize": None, "gguf": "small.Q4_0.gguf"}
    assert bench.hub.downloads("big.Q8_0.gguf") == []
    assert bench.pull("acme/gg/small.Q4_0.gguf", quantize="4bit") == "small.Q4_0-4bit"
    with pytest.raises(ModelNotFound, match=r"no file 'smal.Q4_0.gguf'. It has small.Q4_0.gguf"):
        bench.pull("acme/gg/smal.Q4_0.gguf")


def test_all_parts_of_a_gguf_file_come(bench: Bench) -> None:
    parts = {f"m-0000{number}-of-00002.gguf": b"g" * 9000 + bytes([number]) for number in (1, 2)}
    bench.hub.add("acme/gg", {**parts, "m-Q8.gguf": b"G"})
    assert bench.pull("acme/gg/m-00001-of-00002.gguf") == "m"
    assert {path.name for path in bench.snapshot("acme/gg").iterdir()} == set(parts)


def test_a_quantised_model_is_not_quantised_again(bench: Bench) -> None:
    config = json.loads(bench.hub.repos["acme/tiny"].files["config.json"])
    config["quantization"] = {"bits": 4, "group_size": 64}
    bench.hub.add("acme/q", {**bench.hub.repos["acme/tiny"].files, "config.json": json.dumps(config).encode()})
    with pytest.raises(InvalidRequest, match="quantised already"):
        bench.pull("acme/q", quantize="8bit")


def test_room_for_the_copy_is_asked_for_too(bench: Bench) -> None:
    size = sum(path.stat().st_size for path in STORIES.iterdir() if path.name != "README.md")
    bench.machine = Machine(memory_bytes=2**34, free_disk=lambda path: 2**28 + size + 1000)
    with pytest.raises(DoesNotFit, match="for the converted copy"):
        bench.pull(quantize="4bit")
    bench.pull()


@pytest.mark.parametrize(
    ("mark", "error", "words"), [("broken.txt", ModelUnusable, "layer 3 has no weights"), ("crash.txt", PomonaError, "fault, nearly")]
)
def test_a_conversion_that_fails_leaves_nothing_behind(bench: Bench, mark: str, error: type[Exception], words: str) -> None:
    bench.hub.repos["acme/tiny"].files[mark] = b"x"
    with pytest.raises(error, match=words):
        bench.pull(quantize="4bit")
    assert [path.name for path in bench.converted.iterdir() if path.is_dir()] == []


async def test_cancelling_ends_the_child_at_once(bench: Bench) -> None:
    bench.hub.repos["acme/tiny"].files["hang.txt"] = b"x"
    hanging = asyncio.Event()

    def note(now: Progress) -> None:
        if now.file == "hanging":
            hanging.set()

    pulling = asyncio.ensure_future(bench.puller.pull(PullRequest(reference="acme/tiny", quantize="4bit"), note))
    await hanging.wait()
    pulling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pulling
    assert [path.name for path in bench.converted.iterdir() if path.is_dir()] == []


async def test_errors_keep_their_kind_across_the_border(tmp_path: Path) -> None:
    code = 'import sys; print(\'{"error": "stopped", "code": "cancelled"}\'); sys.exit(3)'
    with pytest.raises(Cancelled, match="stopped"):
        await convert(Conversion(source=tmp_path, target=tmp_path / "t"), ignore, command=(CONVERTER[0], "-c", code))


async def test_a_child_that_the_system_killed(tmp_path: Path) -> None:
    code = "import os; os.kill(os.getpid(), 9)"
    with pytest.raises(PomonaError, match="most likely because memory ran out"):
        await convert(Conversion(source=tmp_path, target=tmp_path / "t"), ignore, command=(CONVERTER[0], "-c", code))


def ignore(done: int, total: int, what: str) -> None:
    """Nobody looks."""
    del done, total, what


def test_a_disk_that_fills_up_on_the_way(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pomona.hub.download.transfer.PartialFile.append", full_after(100_000))
    with pytest.raises(DoesNotFit, match=r"is full: 'model.safetensors' needs .* bytes. What came is kept"):
        bench.pull()
    assert bench.partial("model.safetensors").stat().st_size >= 100_000
    monkeypatch.undo()


def full_after(limit: int) -> Callable[..., None]:
    """A disk with room for so much of a file: the error of the system itself."""
    from pomona.hub.download.transfer import PartialFile

    real = PartialFile.append

    def append(self: PartialFile, piece: bytes) -> None:
        if self.size + len(piece) > limit:
            real(self, piece[: limit - self.size])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(self, piece)

    return append

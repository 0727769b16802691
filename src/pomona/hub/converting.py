"""Converting weights, in a child process: it needs MLX, takes memory and minutes, and must end at once when it is cancelled."""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pomona.core.errors import PomonaError, error_of
from pomona.core.hub import Quantization

COMMAND = (sys.executable, "-P", "-m", "pomona.models.convert")
"""-P: files in the working folder must not pass for modules."""
STOP_SECONDS = 5.0
KEPT_ERROR_BYTES = 4000
KILLED = -9


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What to make: `target` is a model folder, which appears when it is whole. `gguf` is the name of a file in `source`."""

    source: Path
    target: Path
    quantize: Quantization | None = None
    gguf: str | None = None

    def arguments(self) -> list[str]:
        """As the converter's command line takes them."""
        form = ["--quantize", self.quantize] if self.quantize else []
        file = ["--gguf", self.gguf] if self.gguf else []
        return [str(self.source), str(self.target), *form, *file]


class _Line(msgspec.Struct):
    done: int = 0
    total: int = 0
    what: str = ""
    error: str | None = None
    code: str = "model_unusable"


async def convert(work: Conversion, note: Callable[[int, int, str], None], *, command: Sequence[str] = COMMAND) -> None:
    """Run the converter; `note` hears of done and total pieces and of what is being done. Raises what the converter says went wrong.

    Closing or cancelling stops the child at once.
    """
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*command, *work.arguments(), stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe)
    try:
        failure, story = await asyncio.gather(_follow(child, note), _last_words(child))
        code = await child.wait()
    finally:
        await _stop(child)
    if code:
        raise failure or _crash(code, story)


async def _follow(child: asyncio.subprocess.Process, note: Callable[[int, int, str], None]) -> PomonaError | None:
    failure: PomonaError | None = None
    assert child.stdout is not None
    async for raw in child.stdout:
        try:
            line = msgspec.json.decode(raw, type=_Line)
        except msgspec.DecodeError:  # a library that prints
            continue
        if line.error is not None:
            failure = error_of(line.code, line.error)
        else:
            note(line.done, line.total, line.what)
    return failure


async def _last_words(child: asyncio.subprocess.Process) -> str:
    assert child.stderr is not None
    kept = b""
    while piece := await child.stderr.read(65536):
        kept = (kept + piece)[-KEPT_ERROR_BYTES:]
    return kept.decode(errors="replace").strip()


async def _stop(child: asyncio.subprocess.Process) -> None:
    if child.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
    try:
        await asyncio.wait_for(child.wait(), STOP_SECONDS)
    except TimeoutError:
        child.kill()
        await child.wait()


def _crash(code: int, story: str) -> PomonaError:
    if code == KILLED:
        return PomonaError("The system killed the conversion, most likely because memory ran out. Close other programs and try again.")
    last = story.splitlines()[-1] if story else "it said nothing"
    return PomonaError(f"The conversion ended with exit code {code}: {last}")

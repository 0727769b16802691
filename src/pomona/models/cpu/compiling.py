"""C sources of this package as libraries, compiled once per machine into the cache folder."""

import ctypes
import hashlib
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

COMPILERS = ("cc", "gcc", "clang")
FLAGS = (("-O3", "-march=native", "-fopenmp"), ("-O3", "-march=native"), ("-O2",))
COMPILE_SECONDS = 60


def compiled_library(
    name: str, entry: str, cache_folder: Path, compilers: Iterable[str] = COMPILERS, parts: Iterable[str] = ()
) -> Path | None:
    """The library of `name`.c for this source and processor, from the cache or compiled now; None where no compiler works.

    `entry` is a function that it must have. `parts` are sources that come before it in the same unit. Several processes may start at once.
    """
    source = b"\n".join(files("pomona.models.cpu").joinpath(f"{part}.c").read_bytes() for part in (*parts, name))
    key = hashlib.sha256(source + _processor().encode()).hexdigest()[:16]
    target = cache_folder / f"pomona-{name}-{key}.so"
    if _loads(target, entry):
        return target
    try:
        cache_folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_folder) as folder:
            built = _compile(source, Path(folder), entry, compilers)
            return built.replace(target) if built else None  # in one step: concurrent starts never see half a file
    except OSError:
        return None


def _processor() -> str:
    """What -march=native depends on: a cache on a shared disk must not serve another machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    facts = {line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))}
    return "\n".join((platform.machine(), *sorted(facts)))


def _compile(source: bytes, folder: Path, entry: str, compilers: Iterable[str]) -> Path | None:
    text, built = folder / "source.c", folder / "library.so"
    text.write_bytes(source)
    found = [path for name in compilers if (path := shutil.which(name))]
    for compiler in found:
        for flags in FLAGS:
            command = [compiler, *flags, "-shared", "-fPIC", "-o", str(built), str(text)]
            try:
                result = subprocess.run(command, capture_output=True, timeout=COMPILE_SECONDS, check=False)
            except (OSError, subprocess.TimeoutExpired):
                continue
            if result.returncode == 0 and _loads(built, entry):
                return built
    return None


def _loads(path: Path, entry: str) -> bool:
    """Whether the file is there and is a library of this system. Loading is by file, so a later move does not matter."""
    try:
        return path.is_file() and bool(ctypes.CDLL(str(path), mode=ctypes.RTLD_LOCAL)[entry])
    except (OSError, AttributeError):
        return False

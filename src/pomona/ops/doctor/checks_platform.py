"""Checks of hardware, operating system, terminal and folders."""

import sys

from pomona.ops.doctor.facts import GIB, Facts, Folder
from pomona.ops.doctor.findings import Finding, fail, ok, warn

LEAST_PYTHON = (3, 11)
LEAST_GLIBC = (2, 35)  # the wheels of MLX are manylinux_2_35
LEAST_MACOS = (14, 0)


def check_python(facts: Facts) -> Finding:
    """The version of Python."""
    version = facts.platform.python
    shown = ".".join(map(str, version))
    if version < LEAST_PYTHON:
        return fail("python", shown, "Install Python 3.11 or newer, for example with `uv python install 3.11`.")
    return ok("python", f"{shown} at {sys.executable}")


def check_platform(facts: Facts) -> Finding:
    """Operating system and processor: MLX has wheels for these only."""
    here = facts.platform
    shown = f"{here.system} {'.'.join(map(str, here.release[:2]))} on {here.machine}"
    if (here.system, here.machine) not in {("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64")}:
        return fail("platform", shown, "Use Linux on x86-64 or arm64, or macOS on Apple silicon: MLX runs on nothing else.")
    if here.system == "Darwin" and here.release < LEAST_MACOS:
        return fail("platform", shown, "Update macOS to 14 or newer.")
    return ok("platform", shown)


def check_c_library(facts: Facts) -> Finding:
    """The version of glibc on Linux."""
    here = facts.platform
    if here.system != "Linux":
        return ok("c library", "that of the system")
    if here.glibc is None:
        return fail("c library", "not glibc", "Use a distribution with glibc 2.35 or newer: MLX's wheels do not load with musl.")
    shown = f"glibc {here.glibc[0]}.{here.glibc[1]}"
    if here.glibc < LEAST_GLIBC:
        return fail("c library", shown, "Use a distribution with glibc 2.35 or newer, such as Ubuntu 22.04 or Debian 12.")
    return ok("c library", shown)


def check_memory(facts: Facts) -> Finding:
    """Memory that is there, and memory that is free now."""
    total, free = facts.platform.memory_total, facts.platform.memory_free
    budget, level = facts.platform.memory_budget, facts.platform.memory_guard
    shown = f"{total / GIB:.1f} GiB, {free / GIB:.1f} GiB free, {budget / GIB:.1f} GiB for models"
    if free < GIB // 2:
        return fail("memory", shown, "Close other programs: the bundled model alone needs half a gibibyte.")
    if free < 2 * GIB:
        return warn("memory", shown, "Enough for small models only. Close other programs before you load larger ones.")
    if level != "safe":
        advice = "Each model is loaded only after another has gone. Close other programs, or set residency.guard_levels."
        return warn("memory", f"{shown}; the memory guard is at {level}", advice)
    if budget > free + GIB:
        return ok("memory", f"{shown}: more than is free now, so the guard may unload models before the budget is used")
    return ok("memory", shown)


def check_disk(facts: Facts) -> Finding:
    """Free space where models and compiled parts are kept."""
    shown = f"{facts.cache.free / GIB:.1f} GiB free at {facts.cache.path}"
    if facts.cache.free < GIB // 10:
        return fail("disk", shown, "Make room: compiled parts and logs cannot be kept.")
    if facts.cache.free < 5 * GIB:
        return warn("disk", shown, "Make room before you download models: most are several gibibytes.")
    return ok("disk", shown)


def check_cache_folder(facts: Facts) -> Finding:
    """Whether the cache folder can be written."""
    return _check_folder("cache folder", facts.cache, "models and compiled parts")


def check_config_folder(facts: Facts) -> Finding:
    """Whether the folder of the user's settings can be written."""
    return _check_folder("config folder", facts.config, "settings")


def check_descriptors(facts: Facts) -> Finding:
    """How many files and sockets one process may hold open."""
    limit = facts.platform.descriptors
    if limit < 256:
        return fail("open files", f"limit {limit}", "Raise it in the shell that starts Pomona: `ulimit -n 4096`.")
    if limit < 1024:
        return warn("open files", f"limit {limit}", "Raise it for more than a hundred clients at once: `ulimit -n 4096`.")
    return ok("open files", f"limit {limit}")


def check_encoding(facts: Facts) -> Finding:
    """Whether the terminal takes UTF-8."""
    encoding = facts.platform.encoding
    if encoding.lower().replace("-", "") != "utf8":
        return warn("encoding", encoding, "Answers may show wrong characters. Set `LANG=C.UTF-8`, or PYTHONUTF8=1.")
    return ok("encoding", encoding)


def check_clock(facts: Facts) -> Finding:
    """A clock that is years off makes downloads fail in their certificates."""
    year = facts.platform.year
    if year < 2026:
        return fail("clock", f"the year is {year}", "Set the clock: downloads fail while certificates look not yet valid.")
    return ok("clock", f"the year is {year}")


def _check_folder(check: str, folder: Folder, what: str) -> Finding:
    if folder.problem:
        return fail(
            check, f"{folder.path}: {folder.problem}", f"Make the folder writable for you (`chown`, `chmod u+rwx`): {what} are kept there."
        )
    return ok(check, folder.path)

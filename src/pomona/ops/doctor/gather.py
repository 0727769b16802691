"""Looks at the machine. Nothing is judged here, and nothing is changed but empty test files that are removed at once."""

import base64
import hashlib
import json
import locale
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, files, requires, version
from pathlib import Path
from typing import Any, cast

from huggingface_hub.constants import HF_HUB_CACHE

from pomona.app import cache_folder, read_settings, user_file
from pomona.core.errors import ConfigurationError, PomonaError
from pomona.core.settings import PROJECT_FILES, ResidencySettings, Settings
from pomona.fleet.residency.memory.guard import MemoryGuard
from pomona.models.device import memory, usable_cores
from pomona.models.hub_cache import cached_repositories
from pomona.models.probe import budget_of
from pomona.models.references import bundled_folder
from pomona.models.validation import inspect_folder
from pomona.ops.doctor.facts import DeviceFacts, Facts, Folder, LibraryFacts, ModelCache, PlatformFacts, SettingsFacts
from pomona.ops.doctor.gather_service import gather_service
from pomona.text.tokenizer_loading import load_tokenizer

PROBE_SECONDS = 120
"""Longest time for the child with MLX: the BLAS shim may have to be compiled, and CUDA may have to wake up."""
COMPILERS = ("cc", "gcc", "clang")


def gather(command_line: dict[str, object], profile: str | None) -> Facts:
    """All facts. Settings that cannot be read are a fact too: then the defaults stand in for them."""
    settings, settings_facts = _gather_settings(command_line, profile)
    return Facts(
        platform=_gather_platform(settings.residency),
        libraries=_gather_libraries(),
        device=_gather_device(settings),
        cache=_gather_folder(cache_folder()),
        config=_gather_folder(user_file().parent),
        models=_gather_model_cache(),
        service=gather_service(settings.server),
        settings=settings_facts,
    )


def _gather_settings(command_line: dict[str, object], profile: str | None) -> tuple[Settings, SettingsFacts]:
    files = tuple(str(path) for path in (user_file(), *(Path.cwd() / name for name in PROJECT_FILES)) if path.is_file())
    try:
        return read_settings(command_line, profile=profile).settings, SettingsFacts(files=files)
    except ConfigurationError as error:
        return Settings(), SettingsFacts(files=files, problem=error.message)


def _gather_platform(residency: ResidencySettings) -> PlatformFacts:
    main = memory()
    guard = MemoryGuard(memory, residency.guard_levels, enabled=residency.guard, park_seconds=0)
    release = platform.mac_ver()[0] if sys.platform == "darwin" else platform.release()
    library, glibc = platform.libc_ver()
    return PlatformFacts(
        python=sys.version_info[:3],
        system=platform.system(),
        machine=platform.machine(),
        release=_numbers(release),
        glibc=cast("tuple[int, int]", _numbers(glibc)[:2]) if library == "glibc" else None,
        cpus=usable_cores(),
        memory_total=main.total_bytes,
        memory_free=main.free_bytes,
        memory_budget=budget_of(residency, main),
        memory_guard=guard.check(),
        descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        encoding=sys.stdout.encoding or locale.getpreferredencoding(do_setlocale=False),
        year=time.gmtime().tm_year,
        compiler=next((path for name in COMPILERS if (path := shutil.which(name))), None),
    )


def _gather_libraries() -> LibraryFacts:
    """Versions of all that Pomona itself requires on this system."""
    names = [_name(line) for line in requires("pomona") or () if "extra ==" not in line and _applies(line)]
    return LibraryFacts(versions={name: _version(name) for name in dict.fromkeys(("mlx", "mlx-lm", *names))})


def _gather_device(settings: Settings) -> DeviceFacts:
    found = _run_probe(settings)
    known = {field.name for field in fields(DeviceFacts)}
    return DeviceFacts(
        wanted=settings.models.device,
        model_problem=_problem_of_bundled(),
        tokenizer_problem=_problem_of_tokenizer(),
        **{name: value for name, value in found.items() if name in known},
    )


def _run_probe(settings: Settings) -> dict[str, Any]:
    wanted = {"device": settings.models.device, "blas": settings.models.blas, "cache": str(cache_folder())}
    command = [sys.executable, "-m", "pomona.ops.doctor.probe"]
    try:
        child = subprocess.run(command, input=json.dumps(wanted), capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {"problem": f"MLX did not answer within {PROBE_SECONDS} seconds"}
    if child.returncode != 0:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        return {"problem": f"a process with MLX ended with {child.returncode}: {last}"}
    return cast("dict[str, Any]", json.loads(child.stdout))


def _problem_of_bundled() -> str | None:
    try:
        inspect_folder(bundled_folder())
    except PomonaError as error:
        return error.message
    changed = _changed_files()
    return f"changed since it was installed: {', '.join(changed)}" if changed else None


def _changed_files() -> list[str]:
    """Files of bundled models whose SHA-256 is not that of the wheel; none where nothing is recorded (an editable install)."""
    changed: list[str] = []
    for file in files("pomona") or ():
        if "models/bundled/" in file.as_posix() and file.hash is not None:
            found = hashlib.sha256(Path(str(file.locate())).read_bytes()).digest()
            if base64.urlsafe_b64encode(found).decode().rstrip("=") != file.hash.value:
                changed.append(file.name)
    return changed


def _problem_of_tokenizer() -> str | None:
    text = "Ten apples, 3 pears: süß! 🍎"
    try:
        tokenizer = load_tokenizer(bundled_folder())
        back = tokenizer.decode(tokenizer.encode(text, add_special_tokens=False))
    except PomonaError as error:
        return error.message
    return None if back.strip() == text else f"{text!r} came back as {back!r}"


def _gather_folder(path: Path) -> Folder:
    """Space and rights of `path`, or of the nearest folder above that is there: that is where it would be made."""
    there = next(place for place in (path, *path.parents) if place.exists())
    try:
        free = shutil.disk_usage(there).free
        with tempfile.TemporaryFile(dir=there):
            return Folder(path=str(path), free=free)
    except OSError as error:
        return Folder(path=str(path), problem=error.strerror or str(error))


def _gather_model_cache() -> ModelCache:
    folder = Path(HF_HUB_CACHE)
    try:
        names = cached_repositories(folder)
        size = sum(path.stat().st_size for path in folder.glob("models--*/blobs/*") if path.is_file())
    except OSError as error:
        return ModelCache(path=str(folder), problem=error.strerror or str(error))
    return ModelCache(path=str(folder), models=len(names), size=size)


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9_.-]", requirement, maxsplit=1)[0]


def _applies(requirement: str) -> bool:
    """Whether a requirement is for this system; ours have no other markers than these two."""
    system = re.search(r"sys_platform == ['\"](\w+)['\"]", requirement)
    machine = re.search(r"platform_machine == ['\"](\w+)['\"]", requirement)
    return (system is None or system[1] == sys.platform) and (machine is None or machine[1] == platform.machine())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3]) or (0,)

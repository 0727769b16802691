"""Where a model runs: choosing the device, and what memory and cores there are.

`mlx` is imported only by `use_device`; the rest serves before and without it.
"""

import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

import psutil

from pomona.core.errors import ConfigurationError

DeviceChoice = Literal["auto", "metal", "cuda", "cpu"]
DeviceKind = Literal["metal", "cuda", "cpu"]

CGROUP = Path("/sys/fs/cgroup")
CUDA_DISTRIBUTIONS = ("mlx-cuda-13", "mlx-cuda-12", "mlx-cuda")
CACHE_SHARE = 1 / 16
"""Share of a device's memory that MLX may keep as freed buffers: its default keeps nearly everything."""
MEMORY_SHARE = 0.9
"""Share of memory from which MLX waits for running work before it allocates more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Main memory in bytes, as this process may use it: limits of a container count."""

    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Where MLX computes now. On Metal, `working_set_bytes` is what the system recommends; elsewhere it equals `total_bytes`."""

    kind: DeviceKind
    name: str
    total_bytes: int
    free_bytes: int
    working_set_bytes: int

    @property
    def title(self) -> str:
        """Kind and name, as people read them."""
        return f"{self.kind} ({self.name})" if self.name != self.kind else self.kind


def usable_cores(cgroup: Path = CGROUP) -> int:
    """Cores that this process may keep busy: its affinity mask and its container's quota count. At least 1."""
    affinity = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
        return max(1, min(affinity, -(-int(quota) // int(period))))
    except (OSError, ValueError, ZeroDivisionError):  # no cgroup v2 here, or the quota is the word "max"
        return affinity


def memory(cgroup: Path = CGROUP) -> Memory:
    """Main memory of the machine, or of the container (cgroup v2) where that is less."""
    machine = psutil.virtual_memory()
    try:
        limit = int((cgroup / "memory.max").read_text(encoding="ascii"))
        used = int((cgroup / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return Memory(total_bytes=machine.total, free_bytes=machine.available)
    return Memory(total_bytes=min(machine.total, limit), free_bytes=max(0, min(machine.available, limit - used)))


def cuda_installed() -> bool:
    """Whether MLX's CUDA back end is installed, which says nothing of a driver."""
    return any(_installed(name) for name in CUDA_DISTRIBUTIONS)


def runs_on_cpu(choice: DeviceChoice) -> bool:
    """Whether a model will run on the CPU, as far as can be told without MLX."""
    if choice == "auto" and sys.platform == "darwin":
        return platform.machine() != "arm64"
    return choice == "cpu" or (choice == "auto" and not (cuda_installed() and Path("/dev/nvidiactl").exists()))


def needs_blas(choice: DeviceChoice) -> bool:
    """Whether a model on this device multiplies with MLX's CPU back end for Linux, so that `prepare_blas` matters."""
    return sys.platform == "linux" and runs_on_cpu(choice)


def use_device(choice: DeviceChoice) -> Device:
    """Make the device MLX's default one for this thread and set MLX's memory limits. Raises ConfigurationError if it is absent.

    Imports MLX: the BLAS must be chosen before.
    """
    import mlx.core as mx

    present = _present()
    kind: DeviceKind = present[0] if choice == "auto" else choice
    if kind not in present:
        raise ConfigurationError(f"models.device = {choice!r}: {_why_absent(kind)} Available here: auto, {', '.join(present)}.")
    mx.set_default_device(mx.cpu if kind == "cpu" else mx.gpu)
    device = _describe(kind)
    mx.set_memory_limit(int(device.working_set_bytes * MEMORY_SHARE))
    mx.set_cache_limit(int(device.total_bytes * CACHE_SHARE))
    if kind == "metal":
        mx.set_wired_limit(device.working_set_bytes)
    return device


def keeps_cpu_busy() -> bool:
    """Whether no step leaves the CPU idle for seconds: it computes, or compiles for a GPU that is quick. Metal compiles in a process of the
    system, and may compute for long."""
    import mlx.core as mx

    return mx.default_device() == mx.cpu or not mx.metal.is_available()


def free_device_bytes() -> int:
    """Memory that the device in use has free now."""
    import mlx.core as mx

    free = psutil.virtual_memory().available
    if mx.default_device() == mx.cpu:
        return free
    info = mx.device_info()
    if "free_memory" in info:  # CUDA: a memory of its own
        return int(info["free_memory"])
    return min(free, int(info.get("max_recommended_working_set_size", free)) - mx.get_active_memory())  # Metal: shared with the system


def _present() -> list[DeviceKind]:
    """Devices that work here, best first."""
    import mlx.core as mx

    kinds: list[DeviceKind] = []
    if mx.metal.is_available():
        kinds.append("metal")
    if mx.cuda.is_available():
        kinds.append("cuda")
    return [*kinds, "cpu"]


def _why_absent(kind: DeviceKind) -> str:
    if kind == "metal":
        return "Metal needs a Mac with Apple silicon and macOS 14 or later."
    if sys.platform != "linux":
        return "CUDA needs Linux with an NVIDIA GPU."
    if not cuda_installed():
        return "MLX is installed without CUDA. Install it with `pip install 'mlx[cuda13]'` in place of `mlx[cpu]`."
    return "MLX has CUDA, but finds no NVIDIA GPU. Check the driver with `nvidia-smi`."


def _describe(kind: DeviceKind) -> Device:
    import mlx.core as mx

    facts = mx.device_info(mx.cpu if kind == "cpu" else mx.gpu)
    main = memory()
    total = main.total_bytes if kind == "cpu" else int(facts.get("total_memory") or facts.get("memory_size") or main.total_bytes)
    free = main.free_bytes if kind != "cuda" else int(facts.get("free_memory") or total)
    recommended = int(facts.get("max_recommended_working_set_size") or total)
    return Device(kind=kind, name=str(facts.get("device_name", kind)), total_bytes=total, free_bytes=free, working_set_bytes=recommended)


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True

"""How much memory there is, how much of it is free, and how much of that models may have."""

import ctypes
import sys
from collections.abc import Callable
from contextlib import suppress

from pomona.core.settings import ModelsSettings, ResidencySettings
from pomona.models.device import Memory, memory, runs_on_cpu

Probe = Callable[[], Memory]
"""Memory now. Must be quick: it is asked once a second."""
NVML = "libnvidia-ml.so.1"


def probe_of(settings: ModelsSettings) -> Probe:
    """Main memory; where models run on an NVIDIA GPU, the smaller of its memory and main memory."""
    if sys.platform == "linux" and not runs_on_cpu(settings.device):
        with suppress(OSError, AttributeError):
            return _Smaller(NvidiaMemory())
    return memory


def budget_of(settings: ResidencySettings, there: Memory) -> int:
    """Bytes that all loaded models together may have."""
    return settings.memory_bytes or int(settings.memory_share * there.total_bytes)


class NvidiaMemory:
    """Memory of the first GPU, from the driver's library: an answer takes microseconds. Raises OSError where there is none."""

    def __init__(self, library: str = NVML) -> None:
        self._nvml = ctypes.CDLL(library)
        self._device = ctypes.c_void_p()
        self._check(self._nvml.nvmlInit_v2())
        self._check(self._nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(self._device)))

    def __call__(self) -> Memory:
        """Memory now."""
        found = _NvmlMemory()
        self._check(self._nvml.nvmlDeviceGetMemoryInfo(self._device, ctypes.byref(found)))
        return Memory(total_bytes=int(found.total), free_bytes=int(found.free))

    def _check(self, code: int) -> None:
        if code:
            raise OSError(f"NVML answers {code}")


class _NvmlMemory(ctypes.Structure):
    """nvmlMemory_t."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Smaller:
    def __init__(self, device: Probe) -> None:
        self._device = device

    def __call__(self) -> Memory:
        host, device = memory(), self._device()
        return Memory(total_bytes=min(host.total_bytes, device.total_bytes), free_bytes=min(host.free_bytes, device.free_bytes))

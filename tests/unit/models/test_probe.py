"""How much memory models may have: of the device that they run on."""

import ctypes
from typing import Any

import pytest

from pomona.core.settings import ModelsSettings, Settings
from pomona.hub.fitting import this_machine
from pomona.models.device import memory
from pomona.models.probe import NvidiaMemory, probe_of

CARD_BYTES, CARD_FREE = 2**28, 2**27
CUDA = ModelsSettings(device="cuda")


class Driver:
    """NVIDIA's library, with one GPU. `answer` is what its calls return: 0 is success."""

    def __init__(self, answer: int = 0) -> None:
        self.answer = answer

    def nvmlInit_v2(self) -> int:  # noqa: N802 - the library's own name
        return self.answer

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, _handle: object) -> int:  # noqa: N802
        return self.answer or int(index != 0)

    def nvmlDeviceGetMemoryInfo(self, _handle: object, found: Any) -> int:  # noqa: N802
        found._obj.total, found._obj.free = CARD_BYTES, CARD_FREE
        return self.answer


def install(monkeypatch: pytest.MonkeyPatch, driver: Driver | OSError) -> None:
    """A machine with this library."""

    def load(_name: str) -> Driver:
        if isinstance(driver, OSError):
            raise driver
        return driver

    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr("sys.platform", "linux")


def test_models_on_a_gpu_have_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Driver())
    found = probe_of(CUDA)()
    assert (found.total_bytes, found.free_bytes) == (CARD_BYTES, CARD_FREE)
    assert probe_of(ModelsSettings(device="cpu"))().total_bytes == memory().total_bytes


def test_whether_a_model_of_the_hub_fits_is_asked_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Driver())
    settings = Settings.model_validate({"models": {"device": "cuda"}, "residency": {"memory_share": 0.5}})
    assert this_machine(settings).memory_bytes == CARD_BYTES // 2


@pytest.mark.parametrize("driver", [OSError("libnvidia-ml.so.1: cannot open shared object file"), Driver(answer=9)])
def test_without_a_driver_it_is_main_memory(monkeypatch: pytest.MonkeyPatch, driver: Driver | OSError) -> None:
    install(monkeypatch, driver)
    assert probe_of(CUDA)().total_bytes == memory().total_bytes
    with pytest.raises(OSError, match=r"NVML|libnvidia"):
        NvidiaMemory()

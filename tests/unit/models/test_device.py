from pathlib import Path

import mlx.core as mx
import psutil
import pytest

from pomona.core.errors import ConfigurationError
from pomona.models.device import DeviceKind, memory, usable_cores, use_device


def test_cpu_can_always_be_chosen() -> None:
    device = use_device("cpu")
    assert device.kind == "cpu"
    assert device.name
    assert 0 < device.free_bytes <= device.total_bytes == device.working_set_bytes
    assert mx.default_device() == mx.cpu


def test_auto_takes_the_best_device_there_is() -> None:
    best = "metal" if mx.metal.is_available() else "cuda" if mx.cuda.is_available() else "cpu"
    assert use_device("auto").kind == best
    use_device("cpu")


@pytest.mark.parametrize("kind", ["metal", "cuda"])
def test_absent_devices_say_what_there_is(kind: DeviceKind) -> None:
    there = mx.metal.is_available() if kind == "metal" else mx.cuda.is_available()
    if there:
        assert use_device(kind).kind == kind
        return
    with pytest.raises(ConfigurationError, match=rf"models\.device = '{kind}'.*Available here: auto, .*cpu"):
        use_device(kind)


def test_memory_limits_follow_the_machine() -> None:
    device = use_device("cpu")
    previous = mx.set_cache_limit(0)
    mx.set_cache_limit(previous)
    assert 0 < previous < device.total_bytes / 8
    assert 0.5 * device.total_bytes < mx.get_memory_limit() < device.total_bytes


@pytest.mark.parametrize(("text", "cores"), [("200000 100000", 2), ("150000 100000", 2), ("1000 100000", 1)])
def test_cores_of_a_container(tmp_path: Path, text: str, cores: int) -> None:
    free = usable_cores(tmp_path)
    (tmp_path / "cpu.max").write_text(text)
    assert usable_cores(tmp_path) == min(cores, free)


@pytest.mark.parametrize("text", ["max 100000", "", "nonsense"])
def test_cores_without_a_quota(tmp_path: Path, text: str) -> None:
    free = usable_cores(tmp_path)
    (tmp_path / "cpu.max").write_text(text)
    assert usable_cores(tmp_path) == free >= 1


def test_memory_of_a_container(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("100000000\n")
    (tmp_path / "memory.current").write_text("40000000\n")
    found = memory(tmp_path)
    assert (found.total_bytes, found.free_bytes) == (100_000_000, 60_000_000)


def test_memory_without_a_container(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    assert memory(tmp_path).total_bytes == psutil.virtual_memory().total

"""Every check of the doctor passes on a healthy machine, and fails or warns, with a fix, on the one it is about."""

import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pomona.ops.doctor import checks_models as models
from pomona.ops.doctor import checks_platform as platform
from pomona.ops.doctor import checks_service as service
from pomona.ops.doctor.examine import CHECKS, Check, examine
from pomona.ops.doctor.facts import (
    GIB,
    DeviceFacts,
    Facts,
    Folder,
    LibraryFacts,
    ModelCache,
    PlatformFacts,
    Port,
    ServiceFacts,
    SettingsFacts,
)
from pomona.ops.doctor.findings import State

HEALTHY = Facts(libraries=LibraryFacts(versions={"mlx": "0.32.4", "mlx-lm": "0.32.2", "httpx": "0.28.1"}))


def with_platform(**changes: Any) -> Facts:
    return replace(HEALTHY, platform=replace(PlatformFacts(), **changes))


def with_device(**changes: Any) -> Facts:
    return replace(HEALTHY, device=replace(DeviceFacts(), **changes))


def with_service(**changes: Any) -> Facts:
    return replace(HEALTHY, service=replace(ServiceFacts(), **changes))


def with_versions(**versions: str | None) -> Facts:
    known = {name.replace("_", "-"): version for name, version in versions.items()}
    return replace(HEALTHY, libraries=LibraryFacts(versions={**HEALTHY.libraries.versions, **known}))


SICK: list[tuple[Check, Facts, State, str]] = [
    (platform.check_python, with_platform(python=(3, 10, 4)), "fail", "3.11"),
    (platform.check_platform, with_platform(system="Windows"), "fail", "Linux"),
    (platform.check_platform, with_platform(system="Darwin", machine="x86_64"), "fail", "Apple silicon"),
    (platform.check_platform, with_platform(system="Darwin", machine="arm64", release=(13, 6)), "fail", "macOS"),
    (platform.check_c_library, with_platform(glibc=(2, 31)), "fail", "2.35"),
    (platform.check_c_library, with_platform(glibc=None), "fail", "glibc"),
    (platform.check_memory, with_platform(memory_free=GIB // 4), "fail", "Close"),
    (platform.check_memory, with_platform(memory_free=GIB), "warn", "Close"),
    (platform.check_memory, with_platform(memory_free=5 * GIB // 2, memory_guard="caution"), "warn", "residency.guard_levels"),
    (platform.check_disk, replace(HEALTHY, cache=Folder(path="/c", free=2**20)), "fail", "room"),
    (platform.check_disk, replace(HEALTHY, cache=Folder(path="/c", free=GIB)), "warn", "room"),
    (platform.check_cache_folder, replace(HEALTHY, cache=Folder(path="/c", problem="Permission denied")), "fail", "writable"),
    (platform.check_config_folder, replace(HEALTHY, config=Folder(path="/c", problem="Permission denied")), "fail", "writable"),
    (platform.check_descriptors, with_platform(descriptors=128), "fail", "ulimit"),
    (platform.check_descriptors, with_platform(descriptors=512), "warn", "ulimit"),
    (platform.check_encoding, with_platform(encoding="ascii"), "warn", "UTF-8"),
    (platform.check_clock, with_platform(year=1970), "fail", "clock"),
    (models.check_mlx, with_versions(mlx=None), "fail", "pip install"),
    (models.check_mlx, with_versions(mlx="0.29.1"), "fail", "mlx==0.32."),
    (models.check_mlx, with_device(problem="libmlx.so: cannot open"), "fail", "Reinstall"),
    (models.check_mlx_lm, with_versions(mlx_lm="0.31.0"), "fail", "mlx-lm==0.32."),
    (models.check_mlx_lm, with_versions(mlx_lm=None), "fail", "pip install"),
    (models.check_libraries, with_versions(httpx=None), "fail", "pip install"),
    (models.check_device, with_device(problem="no MLX"), "fail", "models.device"),
    (models.check_device, with_device(wanted="cuda"), "warn", "driver"),
    (models.check_device, replace(with_platform(system="Darwin", machine="arm64"), device=DeviceFacts()), "warn", "arm64"),
    (models.check_blas, with_device(blas=None), "warn", "libopenblas"),
    (models.check_blas, with_device(blas=None, blas_advice="Do this."), "warn", "Do this."),
    (models.check_matrix_speed, with_device(gigaflops=3.0), "warn", "blas"),
    (models.check_compiler, replace(with_platform(compiler=None), device=DeviceFacts(blas=None)), "warn", "gcc"),
    (models.check_bundled_model, with_device(model_problem="model.safetensors is missing"), "fail", "Reinstall"),
    (models.check_tokenizer, with_device(tokenizer_problem="tokenizer.json is broken"), "fail", "Reinstall"),
    (models.check_model_cache, replace(HEALTHY, models=ModelCache(problem="Permission denied")), "warn", "HF_HOME"),
    (service.check_settings, replace(HEALTHY, settings=SettingsFacts(problem="There is no setting 'x'")), "fail", "config:show"),
    (service.check_public_port, with_service(public=Port(state="taken")), "fail", "--port 0"),
    (service.check_public_port, with_service(public=Port(number=80, state="forbidden", detail="Permission denied")), "fail", "--port 0"),
    (service.check_admin_port, with_service(admin=Port(number=11441, state="taken")), "fail", "--admin-port 0"),
    (service.check_server, with_service(unhealthy="engine hangs"), "fail", "pomona serve"),
    (service.check_socket, with_service(socket_path="/very/long" * 12), "fail", "TMPDIR"),
    (service.check_socket, with_service(socket_problem="Permission denied"), "fail", "TMPDIR"),
    (service.check_strays, with_service(strays=(41, 42)), "warn", "kill 41 42"),
]


@pytest.mark.parametrize(("check", "facts", "state", "advice"), SICK)
def test_a_sick_machine_gets_a_verdict_and_a_fix(check: Check, facts: Facts, state: State, advice: str) -> None:
    finding = check(facts)

    assert finding.state == state
    assert advice in finding.fix


@pytest.mark.parametrize("check", CHECKS)
def test_a_healthy_machine_passes(check: Check) -> None:
    finding = check(HEALTHY)

    assert (finding.state, finding.fix) == ("ok", "")
    assert finding.found


def test_every_check_can_say_no() -> None:
    assert {check for check, _, _, _ in SICK} == set(CHECKS)


def test_findings_have_names_of_their_own() -> None:
    names = [finding.check for finding in examine(HEALTHY)]

    assert len(names) == len(set(names)) >= 15


def test_a_running_pomona_is_no_obstacle() -> None:
    facts = with_service(public=Port(state="pomona"), admin=Port(state="pomona", detail="version 0.1.0"))

    assert [check(facts).state for check in (service.check_public_port, service.check_admin_port, service.check_server)] == ["ok"] * 3
    assert "0.1.0" in service.check_server(facts).found


def test_a_gpu_needs_no_blas() -> None:
    facts = with_device(device="cuda", blas=None, gigaflops=None)

    assert [check(facts).state for check in (models.check_blas, models.check_matrix_speed, models.check_compiler)] == ["ok"] * 3


@pytest.mark.parametrize("name", ["mlx", "mlx-lm"])
def test_wanted_versions_are_those_of_the_package(name: str) -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    floor = next(match[1] for text in project["dependencies"] if (match := re.match(rf"{name}(?:>=|~=)(\d+\.\d+)", text)))

    assert models.WANTED[name] == f"{floor}."

"""Installs without uv are held to the versions of uv.lock."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix", "extra": ""}
MAC = {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64", "os_name": "posix", "extra": ""}


def requirements() -> list[Requirement]:
    command = [sys.executable, "-S", "scripts/lib/constraints.py", "uv.lock"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("system", [LINUX, MAC], ids=["linux", "mac"])
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_each_package_has_one_version(system: dict[str, str], python: str) -> None:
    environment = system | {"python_version": python, "python_full_version": f"{python}.7"}
    names = [found.name for found in requirements() if found.marker is None or found.marker.evaluate(environment)]
    assert len(names) == len(set(names))
    assert {"mlx", "mlx-lm", "numpy", "pytest"} <= set(names)


def test_the_lock_holds_current_mlx_for_macs_and_linux() -> None:
    versions = {found.name: str(found.specifier) for found in requirements()}
    assert versions["mlx"].startswith("==0.32.")
    assert versions["mlx"] == versions["mlx-metal"] == versions["mlx-cpu"] == versions["mlx-cuda-13"]
    packages = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    wheels = [wheel["url"] for package in packages if package["name"] == "mlx-metal" for wheel in package["wheels"]]
    assert any("macosx_14" in url for url in wheels)


def test_the_lock_names_only_pypi() -> None:
    text = (ROOT / "uv.lock").read_text(encoding="utf-8")
    hosts = {line.partition("https://")[2].partition("/")[0] for line in text.splitlines() if "https://" in line}
    assert hosts == {"pypi.org", "files.pythonhosted.org"}
    assert "file://" not in text

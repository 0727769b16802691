"""`scripts/pomona` makes its environment when it has to, once, from anywhere, and says why when it cannot."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Stands in for uv: notes each call, then makes an environment whose python answers with its own arguments.
UV = """#!/bin/sh
echo "$@ CI=${CI:-}" >>"$PROJECT/calls"
[ -z "$UV_FAILS" ] || { echo "no route to the index"; exit 1; }
sleep 0.1
mkdir -p "$UV_PROJECT_ENVIRONMENT/bin"
printf '#!/bin/sh\\necho "ran: $*"\\n' >"$UV_PROJECT_ENVIRONMENT/bin/python"
chmod +x "$UV_PROJECT_ENVIRONMENT/bin/python"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clone:
    """A copy of the scripts, with a double of uv on the PATH."""

    folder: Path
    programs: Path

    def environment(self, **extra: str) -> dict[str, str]:
        """Nothing of the developer's own but the system's programs; the machine has no GPU unless a test says so."""
        return {"PATH": f"{self.programs}:/usr/bin:/bin", "PROJECT": str(self.folder), "POMONA_BACKEND": "cpu"} | extra

    def run(self, script: Path | None = None, **extra: str) -> subprocess.CompletedProcess[str]:
        """`pomona --version` from another folder."""
        return subprocess.run(
            [script or self.folder / "scripts" / "pomona", "--version"],
            cwd="/",
            env=self.environment(**extra),
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        """What uv was asked to do."""
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    folder, programs = tmp_path / "a clone", tmp_path / "programs"
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    for name in ("pyproject.toml", "uv.lock"):
        (folder / name).write_text("")
    programs.mkdir()
    (programs / "uv").write_text(UV)
    (programs / "uv").chmod(0o755)
    return Clone(folder=folder, programs=programs)


def test_the_first_use_makes_the_environment_and_later_ones_do_not(clone: Clone) -> None:
    first, second = clone.run(), clone.run()
    assert first.stdout == second.stdout == "ran: -P -m pomona --version\n"
    assert "preparing" in first.stderr
    assert second.stderr == ""
    assert len(clone.calls) == 1
    assert "--extra cpu" in clone.calls[0] or sys.platform == "darwin"
    assert sorted(path.name for path in clone.folder.glob(".venv*")) == [".venv"]


@pytest.mark.parametrize("changed", ["pyproject.toml", "uv.lock"])
def test_a_change_of_dependencies_makes_it_again(clone: Clone, changed: str) -> None:
    clone.run()
    (clone.folder / changed).write_text("new")
    assert clone.run().returncode == 0
    assert len(clone.calls) == 2


def test_the_tools_of_the_developer_come_with_the_tests_and_stay(clone: Clone) -> None:
    clone.run()
    clone.run(clone.folder / "scripts" / "test")
    assert ["--extra dev" in call for call in clone.calls] == [False, True]
    clone.run()
    (clone.folder / "uv.lock").write_text("new")
    clone.run()
    assert ["--extra dev" in call for call in clone.calls] == [False, True, True]


def test_two_at_once_make_it_once(clone: Clone) -> None:
    command = [clone.folder / "scripts" / "pomona", "--version"]
    both = [subprocess.Popen(command, env=clone.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    assert outputs == [b"ran: -P -m pomona --version\n"] * 2
    assert len(clone.calls) == 1


def test_it_runs_through_a_symbolic_link(clone: Clone, tmp_path: Path) -> None:
    link = tmp_path / "pomona"
    link.symlink_to(os.path.relpath(clone.folder / "scripts" / "pomona", tmp_path))
    assert clone.run(link).stdout == "ran: -P -m pomona --version\n"


def test_the_lock_of_a_dead_process_is_taken_over(clone: Clone) -> None:
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    (clone.folder / ".venv.lock").symlink_to(str(dead.pid))
    assert clone.run().returncode == 0
    assert not (clone.folder / ".venv.lock").is_symlink()


def test_a_failure_is_shown_and_the_next_try_starts_anew(clone: Clone) -> None:
    failed = clone.run(UV_FAILS="yes")
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert "no route to the index" in failed.stderr
    assert ".venv.log" in failed.stderr
    assert clone.run().returncode == 0


def test_continuous_integration_holds_to_the_lock(clone: Clone) -> None:
    clone.run(CI="true")
    assert "--locked" in clone.calls[0]


def test_an_unknown_back_end_is_refused(clone: Clone) -> None:
    refused = clone.run(POMONA_BACKEND="tpu")
    assert refused.returncode == 1
    assert "POMONA_BACKEND is 'tpu'; it can be cpu or cuda" in refused.stderr
    assert clone.calls == []


@pytest.mark.parametrize(("driver", "backend"), [("590.44.01", "cuda"), ("570.10", "cpu"), ("No devices were found", "cpu")])
def test_the_back_end_follows_the_driver(clone: Clone, driver: str, backend: str) -> None:
    (clone.programs / "nvidia-smi").write_text(f"#!/bin/sh\necho '{driver}'\n")
    (clone.programs / "nvidia-smi").chmod(0o755)
    clone.run(POMONA_BACKEND="")
    assert f"--extra {backend} " in clone.calls[0] or sys.platform == "darwin"


def test_without_uv_and_python_it_says_what_is_needed(clone: Clone, bare: Path) -> None:
    missing = clone.run(PATH=str(bare))
    assert missing.returncode == 1
    assert "Pomona needs Python 3.11 or later" in missing.stderr


def test_a_python_without_venv_is_explained(clone: Clone, bare: Path) -> None:
    (bare / "python3").write_text('#!/bin/sh\ncase "$*" in *ensurepip*) exit 1 ;; *) echo True ;; esac\n')
    (bare / "python3").chmod(0o755)
    refused = clone.run(PATH=str(bare))
    assert refused.returncode == 1
    assert "sudo apt-get install python3-venv" in refused.stderr


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A PATH with what the scripts need of the system, without uv and without Python."""
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in ("bash", "cat", "cksum", "cut", "dirname", "getconf", "head", "ln", "readlink", "rm", "sw_vers", "tr", "uname"):
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return folder

"""The BLAS under MLX, in processes of its own: it is chosen once per process. Linux only; elsewhere nothing is to be done."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pomona.models.cpu.blas import prepare_blas
from tests.unit.models.folders import ROOT

LINUX = sys.platform == "linux"

SCRIPT = """
import json, sys
from pathlib import Path
from pomona.models.cpu.blas import prepare_blas
mode, cache, compilers, early = sys.argv[1:5]
if early == "mlx first":
    import mlx.core
report = prepare_blas(mode, Path(cache), compilers=compilers.split())
import ctypes, importlib.util
import mlx.core as mx
import numpy as np
mx.set_default_device(mx.cpu)
random = np.random.default_rng(1)
worst = 0.0
for m, k, n in [(1, 64, 48), (1, 77, 13), (2, 33, 17), (3, 384, 130), (5, 100, 64), (8, 48, 259), (9, 64, 64), (120, 70, 90)]:
    a, b = random.standard_normal((m, k), np.float32), random.standard_normal((k, n), np.float32)
    transposed = np.ascontiguousarray(b.T)
    for product in (mx.array(a) @ mx.array(b), mx.array(a) @ mx.array(transposed).T, (mx.array(b).T @ mx.array(a).T).T):
        worst = max(worst, float(np.abs(np.array(product) - a @ b).max()))
added = mx.addmm(mx.ones((2, 3)), mx.ones((2, 4)), mx.ones((3, 4)).T, alpha=0.5, beta=2.0)
assert np.array_equal(np.array(added), np.full((2, 3), 4.0)), added
big = mx.array(random.standard_normal((4, 2048), np.float32)) @ mx.array(random.standard_normal((2048, 2048), np.float32)).T
assert bool(mx.isfinite(big).all())

# Which library holds the function that MLX's import slot points to now?
import pomona.models.cpu.slots as slots
class Info(ctypes.Structure):
    _fields_ = [("file", ctypes.c_char_p), ("base", ctypes.c_void_p), ("name", ctypes.c_char_p), ("address", ctypes.c_void_p)]
path = Path(importlib.util.find_spec("mlx").submodule_search_locations[0]) / "lib" / "libmlx.so"
link = slots.open_link_map(path)
tables = dict(slots.dynamic_entries(link.dynamic))
(slot,) = [slot for name, slot in slots.imports(tables, link.base) if name == b"cblas_sgemm"]
info = Info()
ctypes.CDLL(None).dladdr(ctypes.c_void_p(ctypes.c_uint64.from_address(slot).value), ctypes.byref(info))
print(json.dumps({"kind": report.kind, "route": report.route, "library": report.library, "threads": report.threads,
                  "warning": report.warning, "worst": worst, "used": info.file.decode()}))
"""


def _run(mode: str, cache: Path, *, compilers: str = "cc gcc clang", first: str = "blas first", **environment: str) -> dict[str, Any]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = [sys.executable, "-c", SCRIPT, mode, str(cache), compilers, first]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env={**kept, "PYTHONPATH": str(ROOT / "src"), **environment}
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["worst"] < 1e-4
    return found


if LINUX:

    def test_bundled_library_behind_the_compiled_shim(tmp_path: Path) -> None:
        found = _run("bundled", tmp_path / "deep" / "cache")
        assert (found["kind"], found["route"], found["warning"]) == ("bundled", "shim", "")
        assert "scipy_openblas" in found["library"]
        (shim,) = (tmp_path / "deep" / "cache").iterdir()
        assert _run("bundled", tmp_path / "deep" / "cache")["used"] == str(shim)

    def test_shim_is_compiled_once(tmp_path: Path) -> None:
        _run("bundled", tmp_path)
        (shim,) = tmp_path.iterdir()
        made = shim.stat().st_mtime_ns
        found = _run("bundled", tmp_path, compilers="")
        assert (found["route"], found["used"], shim.stat().st_mtime_ns) == ("shim", str(shim), made)

    def test_several_processes_may_start_at_once(tmp_path: Path) -> None:
        with ThreadPoolExecutor(3) as pool:
            starts = [pool.submit(_run, "bundled", tmp_path) for _ in range(3)]
            found = [start.result() for start in starts]
        assert {item["route"] for item in found} == {"shim"}
        assert len(list(tmp_path.iterdir())) == 1

    def test_damaged_shim_is_compiled_again(tmp_path: Path) -> None:
        _run("bundled", tmp_path)
        (shim,) = tmp_path.iterdir()
        shim.write_bytes(b"\x7fELF but not really")
        assert _run("bundled", tmp_path)["route"] == "shim"

    def test_without_a_compiler_mlx_is_pointed_at_the_library(tmp_path: Path) -> None:
        found = _run("bundled", tmp_path, compilers="no-such-compiler")
        assert (found["kind"], found["route"]) == ("bundled", "rebound")
        assert found["used"] == found["library"]
        assert "Install one, such as gcc" in found["warning"]

    def test_compiler_that_fails_is_no_compiler(tmp_path: Path) -> None:
        assert _run("bundled", tmp_path, compilers="false")["route"] == "rebound"

    def test_cache_that_cannot_be_written_is_no_cache(tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        assert _run("bundled", tmp_path / "file" / "cache")["route"] == "rebound"

    def test_off_leaves_the_library_of_mlx(tmp_path: Path) -> None:
        found = _run("off", tmp_path)
        assert (found["kind"], found["route"], found["warning"]) == ("off", "none", "")
        assert "mlx_cpu.libs" in found["used"]

    def test_too_late_is_said(tmp_path: Path) -> None:
        found = _run("auto", tmp_path, first="mlx first")
        assert (found["kind"], found["route"]) == ("late", "none")
        assert "before" in found["warning"]
        assert "mlx_cpu.libs" in found["used"]

    def test_auto_finds_something(tmp_path: Path) -> None:
        found = _run("auto", tmp_path)
        assert found["kind"] in {"system", "bundled"}
        assert "mlx_cpu.libs" not in found["used"]

    def test_system_library_or_advice(tmp_path: Path) -> None:
        """With one installed it is used, compiler or not; without, the report says which package to install."""
        shimmed, plain = _run("system", tmp_path), _run("system", tmp_path / "other", compilers="")
        if shimmed["kind"] == "missing":
            assert "libopenblas0-pthread" in plain["warning"]
        else:
            assert (shimmed["kind"], shimmed["route"], plain["route"]) == ("system", "shim", "direct")
            assert Path(plain["library"]).name.split(".")[0] in {"libopenblas", "libmkl_rt", "libblis"}
            assert "mlx_cpu.libs" not in plain["used"]

    def test_threads_follow_the_library_and_the_cores(tmp_path: Path) -> None:
        assert _run("bundled", tmp_path, OPENBLAS_NUM_THREADS="1")["threads"] == 1
        assert 1 <= _run("bundled", tmp_path)["threads"] <= len(os.sched_getaffinity(0))

    def test_shim_of_plain_flags_is_right_too(tmp_path: Path) -> None:
        """A compiler that knows neither -march=native nor -fopenmp still makes a working shim."""
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        assert compiler is not None
        simple = tmp_path / "simple-cc"
        simple.write_text(f'#!/bin/sh\ncase "$*" in *native*|*fopenmp*) exit 1;; esac\nexec {compiler} "$@"\n')
        simple.chmod(0o755)
        assert _run("bundled", tmp_path / "cache", compilers=str(simple))["route"] == "shim"

else:

    def test_nothing_to_do_elsewhere(tmp_path: Path) -> None:
        assert prepare_blas("auto", tmp_path).kind == "platform"
        assert not list(tmp_path.iterdir())


def test_mlx_in_this_process_is_too_late_or_elsewhere(tmp_path: Path) -> None:
    code = (
        "import sys, mlx.core; from pathlib import Path; from pomona.models.cpu.blas import prepare_blas; "
        "print(prepare_blas('auto', Path(sys.argv[1])).kind)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in {"late", "platform"}


def test_what_this_process_has_is_told_again(tmp_path: Path) -> None:
    assert prepare_blas("auto", tmp_path) == prepare_blas("auto", tmp_path / "elsewhere")

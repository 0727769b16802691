"""An optimised BLAS under MLX on Linux CPUs, put there before MLX is imported.

MLX's wheel for Linux links the reference BLAS, 2 to 5 GFLOP/s where 100 and more are possible. The dynamic linker takes the first
`cblas_sgemm` that it meets, so a library loaded with RTLD_GLOBAL before MLX comes first. Three routes, best first:

shim    `sgemm.c`, compiled once into the cache, in front of the library: packed weights and few rows in loops of its own
direct  no C compiler: a system library that exports `cblas_sgemm` itself
rebound no C compiler and only scipy-openblas32, whose symbols have a prefix: MLX's import slot is pointed at it (`slots.py`)
"""

import ctypes
import importlib.util
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pomona.models.cpu.compiling import COMPILERS, compiled_library
from pomona.models.cpu.slots import point_import_at
from pomona.models.device import usable_cores

BlasMode = Literal["auto", "system", "bundled", "off"]
BlasKind = Literal["system", "bundled", "off", "missing", "late", "platform"]
Route = Literal["shim", "direct", "rebound", "none"]

SYSTEM_LIBRARIES = ("libopenblas.so.0", "libmkl_rt.so.2", "libmkl_rt.so", "libblis.so.4")
ADVICE = (
    "Generation on this CPU will be about 20 times slower than it could be. "
    "Install one with `pip install scipy-openblas32` or `apt-get install libopenblas0-pthread`."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlasReport:
    """What MLX multiplies with. `kind` is "platform" where nothing had to be done (macOS: Accelerate)."""

    kind: BlasKind
    library: str = ""
    route: Route = "none"
    threads: int = 0
    warning: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Library:
    kind: Literal["system", "bundled"]
    path: str
    prefix: str
    handle: ctypes.CDLL

    def address(self, name: str) -> int:
        """Address of a function, given without the library's prefix; 0 where there is none."""
        try:
            function = self.handle[f"{self.prefix}{name}"]
        except AttributeError:
            return 0
        return ctypes.cast(function, ctypes.c_void_p).value or 0


_done: list[BlasReport] = []
"""What was put under MLX, or that there was nothing, once for each process: MLX keeps what it finds."""
_shim: list[ctypes.CDLL] = []
"""The compiled products, where MLX uses them."""


def prepare_blas(mode: BlasMode, cache_folder: Path, *, compilers: Iterable[str] = COMPILERS) -> BlasReport:
    """Put a fast BLAS under the MLX that this process will import. Call it before `import mlx`; it never raises for what is missing.

    `cache_folder` gets the compiled shim; several processes may start at once. The report's warning says what to do if the result
    is slow.
    """
    if sys.platform != "linux":
        return BlasReport(kind="platform")
    if mode == "off":
        return BlasReport(kind="off")
    if _done:
        return _done[0]
    if "mlx.core" in sys.modules:
        return BlasReport(
            kind="late", warning="MLX was imported before its BLAS was chosen, so it keeps the slow one. Choose the BLAS first."
        )
    _wait_passively()
    library = _find_library(mode)
    if library is None:
        _done.append(BlasReport(kind="missing", warning=f"No {_wanted(mode)} was found under MLX. {ADVICE}"))
        return _done[0]
    threads = _limit_threads(library)
    route, warning = _interpose(library, threads, cache_folder, compilers)
    _done.append(BlasReport(kind=library.kind, library=library.path, route=route, threads=threads, warning=warning))
    return _done[0]


def product_library() -> ctypes.CDLL | None:
    """The compiled products that MLX uses in this process, None where it uses others."""
    return _shim[0] if _shim else None


def _wanted(mode: BlasMode) -> str:
    return {"system": "system BLAS (OpenBLAS, MKL)", "bundled": "scipy-openblas32"}.get(mode, "optimised BLAS")


def _find_library(mode: BlasMode) -> _Library | None:
    if mode in ("auto", "system"):
        for name in SYSTEM_LIBRARIES:
            library = _open("system", name, "")
            if library is not None:
                return library
    return _open_bundled() if mode in ("auto", "bundled") else None


def _open_bundled() -> _Library | None:
    spec = importlib.util.find_spec("scipy_openblas32")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / "lib" / "libscipy_openblas.so"
    return _open("bundled", str(path), "scipy_")


def _open(kind: Literal["system", "bundled"], path: str, prefix: str) -> _Library | None:
    """The library, if it can be loaded and really has the product."""
    try:
        handle = ctypes.CDLL(path, mode=ctypes.RTLD_LOCAL)
    except OSError:
        return None
    library = _Library(kind=kind, path=path, prefix=prefix, handle=handle)
    return library if library.address("cblas_sgemm") else None


def _limit_threads(library: _Library) -> int:
    """Use no more threads than this process may use cores (containers), and fewer where OPENBLAS_NUM_THREADS says so."""
    cores = usable_cores()
    if not (library.address("openblas_get_num_threads") and library.address("openblas_set_num_threads")):
        return cores
    threads = min(cores, int(library.handle[f"{library.prefix}openblas_get_num_threads"]()))
    library.handle[f"{library.prefix}openblas_set_num_threads"](threads)
    return threads


def _interpose(library: _Library, threads: int, cache_folder: Path, compilers: Iterable[str]) -> tuple[Route, str]:
    shim = compiled_library("sgemm", "pomona_bind", cache_folder, compilers, parts=("team", "packed", "attention"))
    if shim is not None:
        handle = ctypes.CDLL(str(shim), mode=ctypes.RTLD_GLOBAL)
        handle["pomona_bind"](ctypes.c_void_p(library.address("cblas_sgemm")), ctypes.c_int(threads))
        _shim.append(handle)
        return "shim", ""
    slower = "No C compiler (cc, gcc, clang) works here: decoding few rows is slower than it could be. Install one, such as gcc."
    if library.kind == "system":
        ctypes.CDLL(library.path, mode=ctypes.RTLD_GLOBAL)
        return "direct", slower
    if point_import_at("mlx", "lib/libmlx.so", "cblas_sgemm", library.address("cblas_sgemm")):
        return "rebound", slower
    return "none", f"scipy-openblas32 is here, but could not be put under MLX without a C compiler. Install one, such as gcc. {ADVICE}"


def _wait_passively() -> None:
    """Tell the OpenMP runtime, which reads the C environment when it is loaded, that idle threads sleep instead of spinning."""
    ctypes.CDLL(None)["setenv"](b"OMP_WAIT_POLICY", b"passive", ctypes.c_int(0))

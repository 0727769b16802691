"""Products with packed weights: the same numbers as with the float32 ones, and the same bits for a row alone and among others."""

import ctypes
import itertools
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.models.cpu.compiling import COMPILERS, FLAGS, compiled_library

Floats = np.ndarray[Any, np.dtype[np.float32]]
ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112
FEW_ROWS = 16
"""Are multiplied here even by plain weights."""
GEMM = ctypes.CFUNCTYPE(None)


class Products:
    """The compiled products, with a counter in the place of the BLAS behind them."""

    def __init__(self, folder: Path, threads: int) -> None:
        path = compiled_library("sgemm", "pomona_bind", folder, parts=("team", "packed", "attention"))
        assert path is not None
        self._library = ctypes.CDLL(str(path))
        for name in ("pomona_pack", "pomona_pack_halves"):
            self._library[name].restype = ctypes.c_long
        self.most_rows = int(self._library["pomona_packed_rows"]())
        self.passed_on = 0
        self._behind = GEMM(self._count)
        self._library["pomona_bind"](ctypes.cast(self._behind, ctypes.c_void_p), threads)

    def _count(self) -> None:
        self.passed_on += 1

    def allowed(self, *rows: int) -> list[int]:
        """Those numbers of rows that are multiplied by packed weights on this processor."""
        return [m for m in rows if m <= self.most_rows]

    def pack(self, plain: Floats, bits: int, group: int, words: Any, scales: Floats, biases: Floats) -> int:
        size = [ctypes.c_long(side) for side in plain.shape]
        return int(self._library["pomona_pack"](_at(plain), *size, bits, group, _at(words), _at(scales), _at(biases)))

    def pack_halves(self, plain: Floats) -> int:
        return int(self._library["pomona_pack_halves"](_at(plain), *(ctypes.c_long(side) for side in plain.shape)))

    def unpack(self, plain: Floats) -> None:
        self._library["pomona_unpack"](_at(plain))

    def multiply(self, rows: Floats, plain: Floats, alpha: float = 1, beta: float = 0, out: Floats | None = None) -> Floats:
        (m, k), n = rows.shape, plain.shape[0]
        out = np.full((m, n), np.nan, np.float32) if out is None else out
        numbers, steps = (ctypes.c_float(alpha), ctypes.c_float(beta)), [array.strides[0] // 4 for array in (rows, plain, out)]
        self._library["cblas_sgemm"](
            ROW_MAJOR, PLAIN, TRANSPOSED, m, n, k, numbers[0], _at(rows), steps[0], _at(plain), steps[1], numbers[1], _at(out), steps[2]
        )
        return out


def _at(array: Any) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _quantized(n: int, k: int, bits: int, group: int, seed: int = 0) -> tuple[Floats, Any, Floats, Floats]:
    """(plain, words, scales, biases) as MLX packs them: rows are streams of bits, lowest first; scales are bfloat16 numbers."""
    random = np.random.default_rng(seed)
    steps = random.integers(0, 1 << bits, (n, k))
    scales = _halves(random.standard_normal((n, k // group)) / 100)
    biases = _halves(random.standard_normal((n, k // group)))
    plain = (steps.reshape(n, -1, group).astype(np.float32) * scales[..., None] + biases[..., None]).reshape(n, k)
    stream = (steps[..., None] >> np.arange(bits) & 1).reshape(n, k * bits)
    return plain, np.packbits(stream.astype(np.uint8), axis=-1, bitorder="little"), scales, biases


def _halves(numbers: Any) -> Floats:
    return (np.asarray(numbers, np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)


def _rows(m: int, k: int) -> Floats:
    return np.random.default_rng(m).standard_normal((m, k)).astype(np.float32)


def _expected(rows: Floats, plain: Floats) -> Floats:
    return (rows.astype(np.float64) @ plain.astype(np.float64).T).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(params=[1, 3], ids=["one thread", "three threads"])
def products(request: pytest.FixtureRequest, folder: Path) -> Products:
    return Products(folder, request.param)


@pytest.fixture(scope="module", params=FLAGS[1:], ids=" ".join)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Products:
    """For this processor, and for any of its kind: with other registers, and without fused products."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pomona.models.cpu.compiling.FLAGS", (request.param,))
        return Products(tmp_path_factory.mktemp("built"), 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A product. `bits` 16: bfloat16 weights. `first` and `n`: the columns that are asked for, of `columns`."""

    bits: int
    group: int
    groups: int
    columns: int
    first: int
    n: int
    m: int
    gaps: tuple[int, int]
    alpha: float
    beta: float
    seed: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Of any shape."""
    columns = draw(st.integers(1, 200))
    first = draw(st.sampled_from([0, 0, *range(0, columns, 64), draw(st.integers(0, columns - 1))]))
    return Case(
        bits=draw(st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 16])),
        group=draw(st.sampled_from([8, 32, 64, 128])),
        groups=draw(st.integers(1, 5)),
        columns=columns,
        first=first,
        n=draw(st.integers(1, columns - first)),
        m=draw(st.integers(1, 48)),
        gaps=(draw(st.integers(0, 3)), draw(st.integers(0, 3))),
        alpha=draw(st.sampled_from([1.0, -0.5])),
        beta=draw(st.sampled_from([0.0, 0.0, 2.0])),
        seed=draw(st.integers(0, 2**16)),
    )


if sys.platform == "linux":

    @pytest.mark.parametrize("flags", ["-march=native -fopenmp", ""])
    @pytest.mark.parametrize("parts", ["team packed attention sgemm", "encoder"])
    def test_compilers_have_nothing_to_complain_of(parts: str, flags: str, tmp_path: Path) -> None:
        source = tmp_path / "unit.c"
        source.write_bytes(b"\n".join(files("pomona.models.cpu").joinpath(f"{part}.c").read_bytes() for part in parts.split()))
        warnings = "-Wall -Wextra -Wconversion -Wno-unknown-pragmas -Werror"
        for compiler in filter(shutil.which, COMPILERS):
            command = [compiler, *flags.split(), *warnings.split(), "-O1", "-c", str(source), "-o", str(tmp_path / "unit.o")]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            assert (result.returncode, result.stderr) == (0, "")

    @given(case=cases())
    @settings(max_examples=150)
    def test_any_product_is_that_of_the_plain_weights_and_a_row_gets_the_same_bits_alone(built: Products, case: Case) -> None:
        """Columns beside those that are asked for stay as they are, and so do numbers between rows."""
        k = case.group * case.groups
        plain, words, scales, biases = _quantized(case.columns, k, min(case.bits, 8), case.group, case.seed)
        plain = _halves(plain) if case.bits == 16 else plain
        assert built.pack_halves(plain) if case.bits == 16 else built.pack(plain, case.bits, case.group, words, scales, biases)
        asked, before = plain[case.first : case.first + case.n], built.passed_on
        rows = _rows(case.m, k + case.gaps[0])[:, :k]
        wide = _rows(case.m, case.n + case.gaps[1])
        found = wide.copy()
        built.multiply(rows, asked, case.alpha, case.beta, found[:, : case.n])
        alone = wide.copy()
        for row in range(case.m):
            built.multiply(rows[row : row + 1], asked, case.alpha, case.beta, alone[row : row + 1, : case.n])
        packed, within = case.first % 64 == 0 and case.m <= built.most_rows, case.m <= FEW_ROWS
        built.unpack(plain)
        if not packed and not within:
            assert built.passed_on == before + 1
            return
        expected = case.alpha * _expected(rows, asked) + case.beta * wide[:, : case.n]
        assert np.allclose(found[:, : case.n], expected, rtol=1e-4, atol=5e-4 * k**0.5)
        assert np.array_equal(found[:, case.n :], wide[:, case.n :])
        assert np.array_equal(found, alone)
        assert built.passed_on == before

    @pytest.mark.parametrize(("bits", "group"), [*itertools.product([3, 4, 5, 6, 8], [32, 64, 128])])
    def test_every_shape_gets_the_product_of_the_plain_weights(products: Products, bits: int, group: int) -> None:
        for n, k in ((1, group), (15, 2 * group), (16, group), (100, 3 * group), (130, 384)):
            plain, words, scales, biases = _quantized(n, k, bits, group)
            assert products.pack(plain, bits, group, words, scales, biases) > 0
            for m in products.allowed(1, 2, 3, 4, 5, 7, 8, 9, 16, 40):
                rows = _rows(m, k)
                assert np.allclose(products.multiply(rows, plain), _expected(rows, plain), rtol=1e-4, atol=2e-4 * k**0.5), (m, n, k)
            products.unpack(plain)
        assert products.passed_on == 0

    @pytest.mark.parametrize("kind", [8, 4, 16])
    def test_a_row_gets_the_same_bits_alone_and_among_others(products: Products, kind: int) -> None:
        plain, words, scales, biases = _quantized(2050, 384, min(kind, 8), 64)
        plain = _halves(plain) if kind == 16 else plain
        assert products.pack_halves(plain) if kind == 16 else products.pack(plain, kind, 64, words, scales, biases)
        rows = _rows(products.allowed(16, 130)[-1], 384)
        alone = np.concatenate([products.multiply(rows[i : i + 1], plain) for i in range(len(rows))])
        for m in products.allowed(2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 31, 64, 130):
            assert np.array_equal(products.multiply(rows[:m], plain), alone[:m]), m
        products.unpack(plain)

    def test_sixteen_bit_weights(products: Products) -> None:
        plain = _halves(np.random.default_rng(3).standard_normal((77, 90)))
        assert products.pack_halves(plain) >= 77 * 90 * 2
        for m in (1, 2, 6, 12):
            assert np.allclose(products.multiply(_rows(m, 90), plain), _expected(_rows(m, 90), plain), atol=1e-4)
        products.unpack(plain)

    def test_weights_that_the_packed_ones_are_not_are_refused(products: Products) -> None:
        plain, words, scales, biases = _quantized(33, 128, 8, 64)
        plain[20, 100] = np.nextafter(plain[20, 100], np.float32(9))
        assert products.pack(plain, 8, 64, words, scales, biases) == 0
        assert products.pack_halves(plain) == 0
        assert products.pack(plain, 8, 48, words, scales, biases) == 0  # groups that do not fill a row
        products.multiply(_rows(40, 128), plain)
        assert products.passed_on == 1

    def test_sums_are_scaled_and_added(products: Products) -> None:
        plain, words, scales, biases = _quantized(50, 64, 4, 32)
        assert products.pack(plain, 4, 32, words, scales, biases)
        for m in (1, 4, 11):
            before = _rows(m, 50)
            found = products.multiply(_rows(m, 64), plain, alpha=0.5, beta=2, out=before.copy())
            assert np.allclose(found, 0.5 * _expected(_rows(m, 64), plain) + 2 * before, atol=2e-3)
        products.unpack(plain)

    def test_parts_of_the_weights(products: Products) -> None:
        """Experts lie one behind the other; a part that starts inside a block of columns is multiplied by the plain weights."""
        plain, words, scales, biases = _quantized(96, 64, 8, 64)
        assert products.pack(plain, 8, 64, words, scales, biases)
        rows = _rows(3, 64)
        for part in (plain[32:64], plain[:20], plain[5:30], plain[90:]):
            assert np.allclose(products.multiply(rows, part), _expected(rows, part), atol=2e-3)
        products.unpack(plain)

    def test_forgotten_weights_are_read_plain(products: Products) -> None:
        plain, words, scales, biases = _quantized(64, 64, 8, 64)
        assert products.pack(plain, 8, 64, words, scales, biases)
        products.unpack(plain)
        plain[:] = 1
        assert np.allclose(products.multiply(_rows(2, 64), plain), _expected(_rows(2, 64), plain), atol=1e-4)

    def test_many_weights_are_kept_apart(products: Products) -> None:
        kept = [_quantized(16 * (i % 5 + 1), 64, 8, 64, seed=i) for i in range(200)]
        assert all(products.pack(plain, 8, 64, *rest) for plain, *rest in kept)
        rows = _rows(2, 64)
        for plain, *_ in kept:
            assert np.allclose(products.multiply(rows, plain), _expected(rows, plain), atol=2e-3)
        for plain, *_ in kept:
            products.unpack(plain)

    def test_threads_of_the_caller_share_the_team(products: Products) -> None:
        plain, words, scales, biases = _quantized(4096, 384, 8, 64)
        assert products.pack(plain, 8, 64, words, scales, biases)
        rows = _rows(8, 384)
        first = products.multiply(rows, plain)
        with ThreadPoolExecutor(4) as pool:
            again = [pool.submit(products.multiply, rows, plain) for _ in range(60)]
        assert all(np.array_equal(one.result(), first) for one in again)
        products.unpack(plain)

"""What a long prompt's passes take, one by one, and what attention of a chunk takes either way.

A pass is built on the host, started, and waited for before the next one: its times are its own, and their sum is more than the prompt takes
where passes are started ahead. That is measured beside it, without waiting.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import mlx.core as mx

from benchmarks.gpu.decoders import OurRows, greedy_prompts
from benchmarks.gpu.measure import until_all_have
from benchmarks.gpu.shapes import Shape
from pomona.engine.attention.choice import choose
from pomona.engine.attention.paged import Choosy, DecodeStep, Pools, attend_chunk
from pomona.engine.attention.plans import padded_keys
from pomona.engine.attention.views import GroupView
from pomona.engine.engine import Engine

WIDTHS = (32, 128, 256, 512, 1024, 2048)
KEYS = (2048, 8192, 32768)
PAGE = 32
ROUNDS = 5


@dataclass(slots=True, kw_only=True)
class Timed:
    """Milliseconds of one pass: until it is built, until it is started, and until it has run."""

    tokens: int
    start: int
    build: float
    launch: float = 0.0
    run: float = 0.0


@dataclass(slots=True)
class Recorder:
    """Stands before an engine's runner. With `waits` each pass over prompts is waited for as soon as it is started."""

    engine: Engine
    waits: bool
    passes: list[Timed] = field(default_factory=list[Timed])

    def __enter__(self) -> "Recorder":
        self._runner = vars(self.engine)["_runner"]
        self._prefill, self._start = self._runner.prefill, self._runner.start
        self._runner.prefill, self._runner.start = self._build_timed, self._start_timed
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.prefill, self._runner.start = self._prefill, self._start

    _runner: Any = None
    _prefill: Any = None
    _start: Any = None

    def _build_timed(self, chunks: Sequence[tuple[Any, int]]) -> Any:
        places = max(count for _, count in chunks), chunks[0][0].computed
        begun = time.perf_counter()
        work = self._prefill(chunks)
        self.passes.append(Timed(tokens=places[0], start=places[1], build=1e3 * (time.perf_counter() - begun)))
        return work

    def _start_timed(self, work: Any) -> None:
        if not work.counts:
            self._start(work)
            return
        begun = time.perf_counter()
        self._start(work)
        started = time.perf_counter()
        if self.waits:
            mx.synchronize()
        self.passes[-1].launch, self.passes[-1].run = 1e3 * (started - begun), 1e3 * (time.perf_counter() - started)


def read_by_pass(engine: Engine, prompt: Sequence[int], *, waits: bool) -> Mapping[str, float]:
    """Of one prompt: seconds to its first token, and by pass its tokens, start and times."""
    begun = time.perf_counter()
    with Recorder(engine, waits) as recorder:
        rows = OurRows(engine, greedy_prompts([prompt], engine.max_context))
        until_all_have(rows, 1, 1)
        first = time.perf_counter() - begun
        rows.close()
    values = {"first_seconds": first, "passes": float(len(recorder.passes))}
    for number, timed in enumerate(recorder.passes):
        told = {"tokens": timed.tokens, "start": timed.start, "build_ms": timed.build, "launch_ms": timed.launch, "run_ms": timed.run}
        values |= {f"{number} {name}": float(value) for name, value in told.items()}
    return values


def chunk_attention(shape: Shape, width: int, keys: int, dtype: mx.Dtype) -> Mapping[str, float]:
    """Milliseconds of a layer for the last `width` of `keys` tokens: by kernels for pages, by MLX over exactly these keys, and with a mask
    over keys of a coarse number. `…_first` is the first call, which plans.
    """
    kernels = choose("on")
    if kernels is None:
        raise RuntimeError("there are no kernels for pages here")
    scene = _scene(shape, width, keys, dtype)
    ways = {
        "kernel": lambda: _by_kernel(kernels, scene),
        "exact": lambda: _by_mlx(scene, keys),
        "masked": lambda: _masked(scene, width, keys),
    }
    values: dict[str, float] = {}
    for name, way in ways.items():
        values[f"{name}_first_ms"] = _milliseconds(way)
        values[f"{name}_ms"] = min(_milliseconds(way) for _ in range(ROUNDS))
    return values


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Scene:
    view: GroupView
    pools: Pools
    queries: mx.array
    keys: mx.array
    values: mx.array
    scale: float
    tokens: int


def _scene(shape: Shape, width: int, keys: int, dtype: mx.Dtype) -> _Scene:
    """One row on pages in order; `keys` (1, heads, tokens, dim) has as many as the masked way needs."""
    config = cast("dict[str, int]", shape.config)
    query_heads, heads = config["num_attention_heads"], config["num_key_value_heads"]
    dim = config.get("head_dim") or config["hidden_size"] // query_heads
    most = padded_keys(1, keys)
    pages = list(range(1, most // PAGE + 1))
    view = GroupView(
        window=None,
        page_tokens=PAGE,
        starts=[keys - width],
        counts=[width],
        first_blocks=[0],
        seen=[pages],
        offset=keys - width,
        gathers=True,
    )

    def drawn(*dims: int) -> mx.array:
        return (mx.random.normal(dims) * 0.5).astype(dtype)

    pool = (heads, len(pages) + 1, PAGE, dim)
    scene = _Scene(
        view=view,
        pools=Pools(drawn(*pool), drawn(*pool)),
        queries=drawn(1, width, query_heads, dim).transpose(0, 2, 1, 3),
        keys=drawn(1, heads, most, dim),
        values=drawn(1, heads, most, dim),
        scale=dim**-0.5,
        tokens=max(1, 16 // (query_heads // heads)),
    )
    mx.eval(scene.pools[:2], scene.queries, scene.keys, scene.values, view.place.table, view.place.starts)
    return scene


def _by_kernel(kernels: Choosy, scene: _Scene) -> mx.array:
    step = DecodeStep(queries=scene.queries, new=None, pools=scene.pools, place=scene.view.place, scale=scene.scale)
    return kernels.attend(step)[0] if kernels.takes_chunks else attend_chunk(kernels, replace(step, tokens=scene.tokens), {})[0]


def _by_mlx(scene: _Scene, keys: int) -> mx.array:
    """Over a copy, as the cache hands it out."""
    seen = [mx.contiguous(array[:, :, :keys]) for array in (scene.keys, scene.values)]
    return mx.fast.scaled_dot_product_attention(scene.queries, *seen, scale=scene.scale, mask="causal")


def _masked(scene: _Scene, width: int, keys: int) -> mx.array:
    visible = mx.arange(scene.keys.shape[2])[None] <= (keys - width + mx.arange(width))[:, None]
    seen = [mx.contiguous(array) for array in (scene.keys, scene.values)]
    return mx.fast.scaled_dot_product_attention(scene.queries, *seen, scale=scene.scale, mask=visible[None, None])


def _milliseconds(way: Any) -> float:
    mx.synchronize()
    begun = time.perf_counter()
    mx.eval(way())
    mx.synchronize()
    return 1e3 * (time.perf_counter() - begun)

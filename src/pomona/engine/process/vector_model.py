"""From a launch to an engine for vectors. The BLAS is in place and the device chosen already."""

from collections.abc import Callable, Sequence

import mlx.core as mx

from pomona.core.status import EngineCounters, Task
from pomona.core.vectors import pass_tokens
from pomona.engine.process.channel import Channel
from pomona.engine.process.host import Loaded
from pomona.engine.process.loop import Loop
from pomona.engine.process.vector_loop import VectorLoop
from pomona.engine.protocol import Launch, Ready, TextInput
from pomona.engine.vectors.engine import VectorEngine
from pomona.engine.vectors.proof import prove_batching
from pomona.models.device import Device
from pomona.models.encoders.loading import load_vector_model


def load_vector_engine(launch: Launch, task: Task, device: Device, warnings: Sequence[str], prove: Callable[[], None]) -> Loaded:
    """Load the model of `launch`. Raises ModelUnusable."""
    settings = launch.models
    model = load_vector_model(launch.folder, task, device, dequantize_on_cpu=settings.dequantize_on_cpu, cache_folder=launch.cache_folder)
    doubt = prove_batching(model)
    budget = 1 if doubt else pass_tokens(launch.vectors.batch_tokens, cpu=device.kind == "cpu")
    engine = VectorEngine(model, budget, peak_bytes=mx.get_peak_memory)
    ready = Ready(
        model=launch.model,
        architecture=model.architecture,
        device=device.title,
        max_context=model.max_context,
        vocabulary=model.vocabulary,
        weight_bytes=model.weight_bytes,
        kv_budget_bytes=0,
        load_seconds=0.0,
        stats=EngineCounters(),
        dimensions=model.width,
        warnings=[text for text in (*warnings, *model.warnings, doubt) if text],
    )

    def drive(channel: Channel, heartbeat_seconds: float) -> Loop:
        return VectorLoop(engine, channel, prove, heartbeat_seconds)

    return Loaded(engine=engine, drive=drive, warm_up=lambda: _warm_up(engine), ready=ready)


def _warm_up(engine: VectorEngine) -> None:
    engine.encode([TextInput([0])])

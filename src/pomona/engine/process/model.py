"""From a launch to an engine that can be stepped. The BLAS comes first: MLX keeps the one it finds when it is imported."""

from pomona.engine.process.host import Loaded
from pomona.engine.protocol import Launch, Ready, Stats
from pomona.models.cpu.blas import prepare_blas
from pomona.models.device import needs_blas, use_device
from pomona.models.references import ResolvedModel
from pomona.models.tasks import task_of
from pomona.models.validation import read_config


def load_engine(launch: Launch) -> Loaded:
    """Choose BLAS and device, load the model, plan its memory. Raises ModelUnusable or ConfigurationError."""
    settings = launch.models
    blas = prepare_blas(settings.blas, launch.cache_folder) if needs_blas(settings.device) else None

    import mlx.core as mx

    device = use_device(settings.device)
    task = launch.task or task_of(launch.folder, read_config(launch.folder))
    if task != "generate":
        from pomona.engine.process.vector_model import load_vector_engine

        return load_vector_engine(launch, task, device, [blas.warning if blas else ""], prove=lambda: mx.eval(mx.ones(1) + 1))

    from pomona.engine.engine import build_engine
    from pomona.models.loading import load

    found = ResolvedModel(id=launch.model, path=launch.folder, kind="folder", reference=str(launch.folder))
    model = load(found, device, dequantize_on_cpu=settings.dequantize_on_cpu)
    engine = build_engine(model, launch.engine)
    ready = Ready(
        model=launch.model,
        architecture=model.architecture,
        device=device.title,
        max_context=engine.max_context,
        vocabulary=model.vocabulary,
        weight_bytes=model.weight_bytes,
        kv_budget_bytes=engine.budget_bytes,
        load_seconds=0.0,
        stats=Stats(),
        warnings=[text for text in (blas.warning if blas else "", *model.warnings, *engine.warnings) if text],
    )
    return Loaded.stepped(engine, lambda: mx.eval(mx.ones(1) + 1), ready)

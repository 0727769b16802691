"""From a launch to an engine that can be stepped. The BLAS comes first: MLX keeps the one it finds when it is imported."""

import importlib
from contextlib import suppress
from typing import TYPE_CHECKING

from pomona.core.status import EngineCounters
from pomona.engine.process.host import Loaded
from pomona.engine.protocol import Launch, Prepare, Ready
from pomona.models.cpu.blas import prepare_blas
from pomona.models.device import needs_blas, use_device
from pomona.models.lean import keep_transformers_out
from pomona.models.references import ResolvedModel
from pomona.models.tasks import task_of
from pomona.models.validation import read_config

if TYPE_CHECKING:
    from pomona.models.device import Device
    from pomona.models.loading import LoadedModel


def prepare(order: Prepare) -> None:
    """Import all that any model needs, so that a process which waits for its launch loads quicker. What is missing, the load reports."""
    keep_transformers_out()
    if needs_blas(order.models.device):
        prepare_blas(order.models.blas, order.cache_folder)
    with suppress(ImportError):
        for name in ("pomona.engine.engine", "pomona.models.loading", "pomona.engine.process.vector_model"):
            importlib.import_module(name)


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

    from pomona.engine.process.building import build_engine
    from pomona.models.loading import load

    found = ResolvedModel(id=launch.model, path=launch.folder, kind="folder", reference=str(launch.folder))
    model = load(found, device, settings)
    draft, doubts = _load_draft(launch, device)
    engine = build_engine(model, launch.engine, draft, launch.cache_folder)
    ready = Ready(
        model=launch.model,
        architecture=model.architecture,
        device=device.title,
        max_context=engine.max_context,
        vocabulary=model.vocabulary,
        weight_bytes=model.weight_bytes + (draft.weight_bytes if draft else 0),
        kv_budget_bytes=engine.budget_bytes,
        load_seconds=0.0,
        stats=EngineCounters(),
        warnings=[text for text in (blas.warning if blas else "", *model.warnings, *engine.warnings, *doubts) if text],
    )
    return Loaded.stepped(engine, lambda: mx.eval(mx.ones(1) + 1), ready, compiles=device.kind != "cpu")


def _load_draft(launch: Launch, device: "Device") -> "tuple[LoadedModel | None, list[str]]":
    """The draft model, if there is one that fits, and what to say of it. Without one, the model answers all the same."""
    from pomona.models.drafts import check_draft
    from pomona.models.loading import load

    mode = launch.engine.speculation
    if launch.draft is None or mode not in {"auto", "draft"}:
        missing = f"engine.speculation=draft, but {launch.model!r} has no draft model: nothing is guessed. Set models.overrides.NAME.draft."
        return None, [missing] if mode == "draft" else []
    report = check_draft(launch.folder, launch.draft)
    if not report.compatible:
        return None, [f"The draft model {launch.draft.name!r} is not used: {' '.join(report.errors)}"]
    found = ResolvedModel(id=launch.draft.name, path=launch.draft, kind="folder", reference=str(launch.draft))
    draft = load(found, device, launch.models)
    return draft, [f"Draft model: {text}" for text in (*report.warnings, *draft.warnings)]

"""The engine: every call of mlx-serving in both spellings, done by `pomona.library.AsyncEngine`."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from pomona.compat.mlx_serving.describing import cache_of, handle_of, health_of, now, payload_of, runtime_of, since, totals_of
from pomona.compat.mlx_serving.emitter import Emitter
from pomona.compat.mlx_serving.errors import EngineClientError, translated
from pomona.compat.mlx_serving.params import GeneratorOptions, GeneratorParams, LoadOptions, TokenizeRequest, VisionParams, merged, named
from pomona.compat.mlx_serving.streams import Chunk, begin
from pomona.core.errors import ModelNotFound, PomonaError
from pomona.core.events import ModelLoaded
from pomona.library import AsyncEngine
from pomona.models.drafts import check_draft

T = TypeVar("T")
HOOKS = {
    "onModelLoaded": ("model:loaded", "handle"),
    "onTokenGenerated": ("generation:token", "token"),
    "onGenerationCompleted": ("generation:completed", "stats"),
    "onError": ("error", "error"),
}


class Engine(Emitter):
    """`await create_engine()` makes one that runs; `async with` and `dispose` end it. Options of mlx-serving about Python and paths
    are read and not used; `settings` are Pomona's, and `in_process` is that of `AsyncEngine`.
    """

    def __init__(
        self,
        options: Mapping[str, Any] | None = None,
        *,
        settings: Mapping[str, object] | None = None,
        in_process: bool = False,
        **more: Any,
    ) -> None:
        super().__init__()
        given = merged(options, more)
        self._engine = AsyncEngine(settings=settings or given.get("settings"), in_process=in_process)
        self._began = time.monotonic()
        self._open = False
        self._watching: asyncio.Task[None] | None = None
        self._defaults: dict[str, Mapping[str, Any]] = {}
        self._drafts: dict[str, str] = {}
        """The loaded models that may draft, by what they were called."""
        self._drafting: dict[str, str] = {}
        """Which of them drafts for which model."""
        self._counted: dict[str, int] = {}
        self._hook(given.get("telemetry") or {})

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.dispose()

    async def start(self) -> Self:
        """Begin. `create_engine` does it; once is enough."""
        if self._open:
            return self
        with translated("createEngine"):
            await self._engine.start()
        self._open = True
        watching = self._engine.events()
        events = watching.__enter__()
        self._watching = asyncio.create_task(self._watch(events))
        self._watching.add_done_callback(lambda _: watching.__exit__(None, None, None))
        return self

    async def loadModel(self, options: object = None, **more: Any) -> dict[str, Any]:
        """Load a model by name, folder or options; its handle. One of the hub that is not here is downloaded first."""
        with translated("loadModel"):
            wanted = LoadOptions.model_validate(named(options, more))
            if wanted.trust_remote_code:
                raise EngineClientError("InvalidParams", "trustRemoteCode: Pomona never runs code that comes with a model.")
            if wanted.draft:
                return await self._load_draft(wanted)
            name = await self._find(wanted)
            self._defaults[name] = wanted.parameters
            await self._engine.load(name, keep_alive=-1)
            return self._handle(name)

    async def unloadModel(self, id: str) -> None:
        """Unload a model."""
        with translated("unloadModel"):
            await self._engine.unload(id)
            self._drafting.pop(id, None)

    async def loadDraftModel(self, options: object = None, **more: Any) -> dict[str, Any]:
        """Have a model ready to draft. It comes into memory together with the first model that it drafts for (`draftModel`)."""
        with translated("loadDraftModel"):
            return await self._load_draft(LoadOptions.model_validate(named(options, more)))

    async def unloadDraftModel(self, id: str | None = None) -> None:
        """Let models go on without drafts of `id`, or of any."""
        with translated("unloadDraftModel"):
            for name, draft in list(self._drafting.items()):
                if id in {None, draft}:
                    del self._drafting[name]
                    await self._engine.load(name, keep_alive=-1, draft=None)
            self._drafts = {} if id is None else {name: path for name, path in self._drafts.items() if name != id}

    async def isDraftModelCompatible(self, primary: str, draft: str) -> dict[str, Any]:
        """Whether one model can draft for another, with reasons and an estimate of what it brings."""
        with translated("isDraftModelCompatible"):
            names = [await self._find(LoadOptions(model=each)) for each in (primary, draft)]
            folders = [Path(self._engine.status(name).path) for name in names]
            return check_draft(*folders, names=(primary, draft)).document()

    def createGenerator(self, params: object = None, options: Mapping[str, Any] | None = None, **more: Any) -> AsyncGenerator[Chunk]:
        """An answer in chunks. Closing the generator, or setting `options.signal`, ends it."""
        with translated("createGenerator"):
            given = merged(params, more)
            defaults = self._defaults.get(str(given.get("model")), {})
            return self._begin(GeneratorParams.model_validate({**merged(defaults, {}), **given}), options)

    async def generate(self, params: object = None, options: Mapping[str, Any] | None = None, **more: Any) -> str:
        """The whole answer. Raises EngineClientError."""
        texts: list[str] = []
        async for chunk in self.createGenerator(params, options, **more):
            if chunk["type"] == "error":
                error = chunk["error"]
                raise EngineClientError(error["code"], error["message"], error["details"])
            texts.append(chunk.get("token", ""))
        return "".join(texts)

    async def tokenize(self, request: object = None, **more: Any) -> dict[str, Any]:
        """The ids of a text, and the texts of the ids."""
        with translated("tokenize"):
            wanted = TokenizeRequest.model_validate(merged(request, more))
            tokens = await self._engine.tokens(wanted.text, model=wanted.model, special_tokens=wanted.add_bos)
        return {"tokens": [token.token_id for token in tokens], "tokenStrings": [token.text for token in tokens]}

    async def loadVisionModel(self, options: object = None, **more: Any) -> dict[str, Any]:
        """As `loadModel`, for models that take pictures. Raises EngineClientError for others."""
        handle = await self.loadModel(options, **more)
        if handle["descriptor"]["modality"] != "multimodal":
            raise EngineClientError("ModelLoadError", f"{handle['descriptor']['id']!r} takes no pictures.")
        return handle

    def createVisionGenerator(self, params: object = None, options: Mapping[str, Any] | None = None, **more: Any) -> AsyncGenerator[Chunk]:
        """As `createGenerator`, about `image`; a chunk `image_processed` comes first. The prompt is put into the model's chat template."""
        with translated("createVisionGenerator"):
            return self._begin(VisionParams.model_validate(merged(params, more)), options)

    async def warmupModel(self, options: object = None, **more: Any) -> None:
        """Load a model and let it answer something."""
        handle = await self.loadModel(options, **more)
        with translated("warmupModel"):
            await self._engine.warm_up(handle["descriptor"]["id"])

    async def getCacheStats(self) -> dict[str, Any]:
        """The models in memory."""
        with translated("getCacheStats"):
            return cache_of(self._engine.stats(), self._engine.settings.residency.max_models)

    def listModels(self) -> list[dict[str, Any]]:
        """Handles of the models that are loaded, or being loaded."""
        with translated("listModels"):
            return [self._handle(status.id) for status in self._engine.stats().models if status.state not in {"unloaded", "unloading"}]

    def getModelInfo(self, id: str) -> dict[str, Any] | None:
        """The handle of a model; None where it is not loaded."""
        try:
            return self._handle(id) if self._engine.status(id).state not in {"unloaded", "unloading"} else None
        except PomonaError:
            return None

    async def getRuntimeInfo(self) -> dict[str, Any]:
        """Versions, abilities and memory."""
        with translated("getRuntimeInfo"):
            return runtime_of(self._engine.stats())

    async def healthCheck(self) -> dict[str, Any]:
        """How the engine is. Never raises."""
        return health_of(self._engine.stats() if self._open else None, time.monotonic() - self._began)

    def getBatchStats(self) -> dict[str, int]:
        """What the engines counted since `resetBatchStats`, and how full they are."""
        with translated("getBatchStats"):
            return since(totals_of(self._engine.stats().engines), self._counted)

    def resetBatchStats(self) -> None:
        """Count from 0 again."""
        with translated("resetBatchStats"):
            self._counted = totals_of(self._engine.stats().engines)

    async def flushBatches(self) -> None:
        """Nothing is held back here, so there is nothing to flush: requests join the batch at the engine's next step."""
        await asyncio.sleep(0)

    async def dispose(self) -> None:
        """End every answer, unload everything. Does nothing the second time."""
        if self._open:
            self._open = False
            self.emit("runtime:status", {"status": "stopped", "previousStatus": "ready", "timestamp": now()})
            if self._watching is not None:
                self._watching.cancel()
                await asyncio.wait([self._watching])
            await self._engine.close()

    async def _load_draft(self, wanted: LoadOptions) -> dict[str, Any]:
        name = await self._find(wanted)
        self._drafts[name] = wanted.name
        return self._handle(name) | {"state": "ready", "draft": True}

    async def _find(self, wanted: LoadOptions) -> str:
        """The name of a model, which is here from now on."""
        if wanted.form is not None:
            return await self._engine.pull(wanted.name, quantize=wanted.form)
        if wanted.is_folder:
            return self._engine.add(wanted.model)
        try:
            return self._engine.status(wanted.name).id
        except ModelNotFound:
            if wanted.model.count("/") != 1:
                raise
            return await self._engine.pull(wanted.name)

    def _handle(self, name: str) -> dict[str, Any]:
        status, stats = self._engine.status(name), self._engine.stats()
        card = next((card for card in self._engine.models() if card.id == status.id), None)
        return handle_of(status, card, next((report for report in stats.engines if report.model == status.id), None))

    def _begin(self, params: GeneratorParams, options: Mapping[str, Any] | None) -> AsyncGenerator[Chunk]:
        chosen = GeneratorOptions.model_validate(merged(options, {}))
        chunks = begin(self._engine, params, chosen, self)
        draft = params.draft_model
        if draft is None or self._drafting.get(params.model) == draft:
            return chunks
        if draft not in self._drafts:
            raise EngineClientError("ModelNotLoaded", f"The draft model {draft!r} is not loaded. Call loadDraftModel first.")
        return self._with_draft(params.model, draft, chunks)

    async def _with_draft(self, model: str, draft: str, chunks: AsyncGenerator[Chunk]) -> AsyncGenerator[Chunk]:
        report = await self.isDraftModelCompatible(model, draft)
        if not report["compatible"]:
            raise EngineClientError("InvalidParams", f"{draft!r} cannot draft for {model!r}: {' '.join(report['errors'])}", report)
        with translated("createGenerator"):
            await self._engine.load(model, keep_alive=-1, draft=draft)
        self._drafting[model] = draft
        async for chunk in chunks:
            yield chunk

    async def _watch(self, events: AsyncGenerator[Any]) -> None:
        async for event in events:
            payload = payload_of(event)
            if payload is not None:
                self.emit(event.name, payload | ({"handle": self._handle(event.model)} if isinstance(event, ModelLoaded) else {}))

    def _hook(self, telemetry: Mapping[str, Any]) -> None:
        hooks: Mapping[str, Callable[..., Any]] = telemetry.get("hooks") or {}
        for name, (event, part) in HOOKS.items():
            if telemetry.get("enabled") and name in hooks:
                self.on(event, _calling(hooks[name], part))

    load_model = loadModel
    unload_model = unloadModel
    load_draft_model = loadDraftModel
    unload_draft_model = unloadDraftModel
    is_draft_model_compatible = isDraftModelCompatible
    create_generator = createGenerator
    load_vision_model = loadVisionModel
    create_vision_generator = createVisionGenerator
    warmup_model = warmupModel
    get_cache_stats = getCacheStats
    list_models = listModels
    get_model_info = getModelInfo
    get_runtime_info = getRuntimeInfo
    health_check = healthCheck
    get_batch_stats = getBatchStats
    reset_batch_stats = resetBatchStats
    flush_batches = flushBatches
    shutdown = dispose


async def create_engine(options: Mapping[str, Any] | None = None, **more: Any) -> Engine:
    """An engine that runs. Models are loaded by `loadModel`."""
    return await Engine(options, **more).start()


async def with_engine(work: Callable[[Engine], Awaitable[T]], options: Mapping[str, Any] | None = None, **more: Any) -> T:
    """What `work` gives, with an engine that ends behind it whatever happens."""
    async with Engine(options, **more) as engine:
        return await work(engine)


createEngine = create_engine
withEngine = with_engine


def _calling(hook: Callable[..., Any], part: str) -> Callable[[dict[str, Any]], Any]:
    if part == "token":
        return lambda payload: hook(payload["token"], payload.get("stats"))
    return lambda payload: hook(payload[part])

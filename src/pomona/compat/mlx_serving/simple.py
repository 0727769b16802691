"""MLXEngine: one model, nothing to set up."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Self

from pomona.compat.mlx_serving.engine import Engine, create_engine
from pomona.compat.mlx_serving.errors import EngineClientError
from pomona.compat.mlx_serving.streams import Chunk


class MLXEngine:
    """One model by name or by the options of `loadModel`. `options` are those of `createEngine`. `init` loads it, `dispose` ends it."""

    def __init__(self, model: str | Mapping[str, Any], **options: Any) -> None:
        self._model = model
        self._options = options
        self._engine: Engine | None = None
        self._handle: dict[str, Any] | None = None

    async def __aenter__(self) -> Self:
        return await self.init()

    async def __aexit__(self, *_: object) -> None:
        await self.dispose()

    async def init(self) -> Self:
        """Load the model. Does nothing the second time."""
        if self._engine is None:
            engine = await create_engine(**self._options)
            try:
                self._handle = await engine.loadModel(self._model)
            except BaseException:
                await engine.dispose()
                raise
            self._engine = engine
        return self

    async def generate(self, prompt: str, params: Mapping[str, Any] | None = None, **more: Any) -> str:
        """The whole answer. Raises EngineClientError."""
        return await self._running.generate({**(params or {}), **more, "model": self._name, "prompt": prompt})

    def generateStream(self, prompt: str, params: Mapping[str, Any] | None = None, **more: Any) -> AsyncGenerator[Chunk]:
        """The answer in chunks."""
        return self._running.createGenerator({**(params or {}), **more, "model": self._name, "prompt": prompt})

    async def tokenize(self, text: str) -> list[int]:
        """The ids of `text`."""
        return (await self._running.tokenize({"model": self._name, "text": text}))["tokens"]

    def getModelHandle(self) -> dict[str, Any] | None:
        """The model, once it is loaded."""
        return self._handle

    def getEngine(self) -> Engine | None:
        """The engine, once it runs."""
        return self._engine

    def isInitialized(self) -> bool:
        """It can be asked."""
        return self._engine is not None

    async def dispose(self) -> None:
        """Unload the model and end the engine."""
        engine, self._engine, self._handle = self._engine, None, None
        if engine is not None:
            await engine.dispose()

    generate_stream = generateStream
    get_model_handle = getModelHandle
    get_engine = getEngine
    is_initialized = isInitialized

    @property
    def _running(self) -> Engine:
        if self._engine is None:
            raise EngineClientError("ModelNotLoaded", "MLXEngine not initialized. Call init() first.")
        return self._engine

    @property
    def _name(self) -> str:
        assert self._handle is not None
        return str(self._handle["descriptor"]["id"])


async def create_mlx_engine(model: str | Mapping[str, Any], **options: Any) -> MLXEngine:
    """An MLXEngine that is ready."""
    return await MLXEngine(model, **options).init()


createMLXEngine = create_mlx_engine

"""Ways to decode many rows with one MLX model, all driven alike: hand in prompts, then step.

Ours, mlx-lm's two generators, and two plain loops that say what the model itself allows: rows of one length, with no mask and no pages,
and rows padded on the left, with mlx-lm's own batch cache.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import mlx.core as mx

from pomona.core.generation import Prompt, SamplingParams
from pomona.engine.engine import Engine

CHUNK = 2048
"""Prompt tokens of one pass of the plain loops, as mlx-lm has it."""
NEVER = 10**6
"""New tokens: more than any measurement waits for."""
Prompts = Sequence[Sequence[int]]


class Decoder(Protocol):
    """Rows that run."""

    def step(self) -> list[int]:
        """The rows that have got a token, once for each."""
        ...

    def close(self) -> None:
        """Stop, and let go of memory."""
        ...


Start = Callable[[Prompts], Decoder]


class OurRows:
    """The engine's. `sampling` and `max_tokens` are those of all rows."""

    def __init__(self, engine: Engine, prompts: Sequence[Prompt]) -> None:
        self._engine = engine
        self._names = {prompt.id: row for row, prompt in enumerate(prompts)}
        for prompt in prompts:
            engine.add(prompt)

    def step(self) -> list[int]:
        """See `Decoder`."""
        made = self._engine.step()
        if any(step.failure for _, step in made):
            raise RuntimeError(f"a row failed: {next(step.failure for _, step in made if step.failure)}")
        return [self._names[id] for id, step in made for _ in step.token_ids]

    def close(self) -> None:
        """See `Decoder`."""
        for id in self._names:
            self._engine.cancel(id)
        while self._engine.has_work:
            self._engine.step()


def greedy_prompts(prompts: Prompts, context: int) -> list[Prompt]:
    """For rows that end where the context does."""
    greedy = SamplingParams(temperature=0.0)
    return [
        Prompt(id=f"{row}", token_ids=tuple(ids), sampling=greedy, max_tokens=min(NEVER, context - len(ids)))
        for row, ids in enumerate(prompts)
    ]


@dataclass(slots=True)
class GenerateStep:
    """mlx-lm's generator for one row."""

    steps: Any

    def step(self) -> list[int]:
        """See `Decoder`."""
        next(self.steps)
        return [0]

    def close(self) -> None:
        """See `Decoder`."""
        self.steps.close()


class BatchGenerator:
    """mlx-lm's continuous batching."""

    def __init__(self, model: Any, prompts: Prompts) -> None:
        library = cast("Any", importlib.import_module("mlx_lm.generate"))
        rows = max(len(prompts), 32)
        self._generator = library.BatchGenerator(model, max_tokens=NEVER, completion_batch_size=rows)
        ids = self._generator.insert([list(prompt) for prompt in prompts])
        self._names = {id: row for row, id in enumerate(ids)}

    def add(self, prompt: Sequence[int], max_tokens: int) -> None:
        """One more row."""
        (id,) = self._generator.insert([list(prompt)], [max_tokens])
        self._names[id] = len(self._names)

    def step(self) -> list[int]:
        """See `Decoder`."""
        return [self._names[response.uid] for response in self._generator.next_generated()]

    def close(self) -> None:
        """See `Decoder`."""
        self._generator.close()


class PlainLoop:
    """Forward and argmax over rows of one length, the next step started before the last one is read. `caches` are mlx-lm's."""

    def __init__(self, model: Any, caches: Sequence[Any], prompts: Prompts) -> None:
        self._model, self._caches, self._rows = model, caches, list(range(len(prompts)))
        ids = mx.array([list(prompt) for prompt in prompts])
        for start in range(0, ids.shape[1] - 1, CHUNK):
            model(ids[:, start : min(start + CHUNK, ids.shape[1] - 1)], cache=caches)
            mx.eval([cache.state for cache in caches])
        self._next = self._forward(ids[:, -1])

    def step(self) -> list[int]:
        """See `Decoder`."""
        done, self._next = self._next, self._forward(self._next)
        done.tolist()
        return self._rows

    def close(self) -> None:
        """See `Decoder`."""
        mx.synchronize()
        self._caches = ()

    def _forward(self, tokens: mx.array) -> mx.array:
        logits = self._model(tokens[:, None], cache=self._caches)[:, -1]
        following = mx.argmax(logits, axis=-1)
        mx.async_eval(following)
        return following


def contenders(model: Any, engine: Engine) -> Mapping[str, Start]:
    """By name. `generate_step` takes one row only."""
    library = cast("Any", importlib.import_module("mlx_lm.generate"))
    caches = cast("Any", importlib.import_module("mlx_lm.models.cache"))

    def step_by_step(prompts: Prompts) -> Decoder:
        (prompt,) = prompts
        return GenerateStep(library.generate_step(mx.array(list(prompt)), model, max_tokens=NEVER))

    def plain(prompts: Prompts) -> Decoder:
        return PlainLoop(model, caches.make_prompt_cache(model), prompts)

    def padded(prompts: Prompts) -> Decoder:
        longest = len(prompts[0])
        padding = [row * longest // (8 * len(prompts)) for row in range(len(prompts))]
        return PlainLoop(model, [caches.BatchKVCache(padding) for _ in caches.make_prompt_cache(model)], prompts)

    return {
        "pomona": lambda prompts: OurRows(engine, greedy_prompts(prompts, engine.max_context)),
        "batch_generator": lambda prompts: BatchGenerator(model, prompts),
        "generate_step": step_by_step,
        "plain": plain,
        "left_padded": padded,
    }

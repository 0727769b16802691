"""Words to ids and back without an engine: what token counts and the tokenizer's own endpoints need."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import TypeVar

from pomona.core.errors import InvalidRequest
from pomona.core.generation import GenerateRequest, TokenText
from pomona.core.ports import RenderedPrompt
from pomona.fleet.generator import Words

T = TypeVar("T")
ANY_LENGTH = 2**31


class ModelTokenization:
    """The Tokenization of one model. Works in `pool`, because a long text takes a while; the model need not be loaded."""

    def __init__(self, words: Words, pool: Executor) -> None:
        self._words = words
        self._tokenizer = words.tokenizer
        self._builder = words.builder(max_context=ANY_LENGTH)
        self._pool = pool

    async def render(self, request: GenerateRequest) -> RenderedPrompt:
        """The prompt of `request`."""
        return await self._run(partial(self._builder.render, await self._words.seen(request)))

    async def encode(self, model: str, text: str, *, special_tokens: bool = True) -> list[TokenText]:
        """The tokens of `text`."""
        del model
        return await self._run(partial(self._encode, text, special_tokens))

    async def decode(self, model: str, token_ids: Sequence[int]) -> str:
        """The text of `token_ids`. Raises InvalidRequest for an id that is not in the vocabulary."""
        del model
        wrong = next((each for each in token_ids if not 0 <= each < self._tokenizer.vocabulary_size), None)
        if wrong is not None:
            raise InvalidRequest(
                f"tokens holds the id {wrong!r}; this model's ids go from 0 to {self._tokenizer.vocabulary_size - 1}.", param="tokens"
            )
        return await self._run(partial(self._tokenizer.decode, token_ids, skip_special_tokens=False))

    def _encode(self, text: str, special_tokens: bool) -> list[TokenText]:
        tokenizer = self._tokenizer
        ids = tokenizer.encode(text, add_special_tokens=special_tokens)
        return [TokenText(token_id=each, text=tokenizer.token_text(each), bytes=tokenizer.token_bytes(each), logprob=0.0) for each in ids]

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

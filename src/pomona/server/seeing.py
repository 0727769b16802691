"""Pictures for models that take none: refused, with the names of those that do, before anything is begun."""

from collections.abc import Sequence
from dataclasses import replace

from pomona.core.generation import GenerateRequest, TokenText
from pomona.core.ports import ModelDirectory, RenderedPrompt, Tokenization
from pomona.pictures.blindness import holds_pictures, without_pictures


def for_its_model(request: GenerateRequest, directory: ModelDirectory) -> GenerateRequest:
    """`request` as its model may have it: to one that takes no pictures, those in results of tools are only named.

    Raises UnsupportedField for pictures of a person, which names the models here that take some.
    """
    if request.messages is None or not holds_pictures(request.messages) or directory.find(request.model).vision:
        return request
    seeing = [card.id for card in directory.models() if card.vision]
    return replace(request, messages=without_pictures(request.messages, request.model, seeing))


class SightedTokenization:
    """A Tokenization that refuses such pictures as `for_its_model` does."""

    def __init__(self, inner: Tokenization, directory: ModelDirectory) -> None:
        self._inner = inner
        self._directory = directory

    async def render(self, request: GenerateRequest) -> RenderedPrompt:
        """The prompt of `request`."""
        return await self._inner.render(for_its_model(request, self._directory))

    async def encode(self, model: str, text: str, *, special_tokens: bool = True) -> list[TokenText]:
        """The tokens of `text`."""
        return await self._inner.encode(model, text, special_tokens=special_tokens)

    async def decode(self, model: str, token_ids: Sequence[int]) -> str:
        """The text of `token_ids`."""
        return await self._inner.decode(model, token_ids)

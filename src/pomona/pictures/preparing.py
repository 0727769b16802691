"""The pictures of a request, from wherever they are to pixels and ids for one model."""

import asyncio
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from types import TracebackType
from typing import Protocol, Self

from pomona.core.errors import PictureRefused, UnsupportedField
from pomona.core.messages import Message, PicturePart, PreparedPicture, TextPart
from pomona.core.settings import PicturesSettings
from pomona.pictures.cache import PictureCache
from pomona.pictures.decoding.client import WORKERS, Decoder, Plan
from pomona.pictures.decoding.protocol import Limits, Recipe
from pomona.pictures.geometry.facts import VisionFacts, expansion
from pomona.pictures.sizes import Planner, longest_side
from pomona.pictures.sources.loading import Loader

DIGEST_BYTES = 16
SEEN_ROLES = ("user", "tool")
_Key = tuple[bytes, Planner]


class Decodes(Protocol):
    """A Decoder, or its double."""

    def decode(self, source: bytes, limits: Limits, plan: Plan) -> list[bytes]:
        """As `Decoder.decode`."""
        ...

    def close(self) -> None:
        """As `Decoder.close`."""
        ...


class Preparation:
    """Prepares pictures for all models of one Pomona, and remembers what it prepared. Use it on one event loop; close it at the end."""

    def __init__(self, settings: PicturesSettings, *, loader: Loader | None = None, decoder: Decodes | None = None) -> None:
        self._settings = settings
        self._loader = loader or Loader(settings)
        self._decoder = decoder or Decoder()
        self._side = longest_side(settings)
        self._cache = PictureCache(settings.cache_bytes)
        self._under_way: dict[_Key, asyncio.Task[tuple[PreparedPicture, ...]]] = {}
        self._threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="pictures")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the processes that decode."""
        self._threads.shutdown(cancel_futures=True)
        self._decoder.close()

    async def prepare(self, messages: Sequence[Message], vision: VisionFacts) -> tuple[Message, ...]:
        """`messages` with each picture, or each page, as a model of these facts takes it.

        Raises PictureRefused and UnsupportedField, both with the field that the picture came from.
        """
        parts = self._counted(messages)
        tasks = [asyncio.ensure_future(self._prepared(part, vision)) for part in parts]
        try:
            found = dict(zip(map(id, parts), await asyncio.gather(*tasks), strict=True))
        finally:
            for task in tasks:
                task.cancel()
        return tuple(_with_prepared(message, found) for message in messages)

    def _counted(self, messages: Sequence[Message]) -> list[PicturePart]:
        for message in messages:
            if message.pictures and message.role not in SEEN_ROLES:
                raise UnsupportedField(
                    f"{message.pictures[0].param} holds a picture in a message of the role {message.role!r}; they may be in messages of "
                    "users and in results of tools. Move it.",
                    param=message.pictures[0].param,
                )
        parts = [part for message in messages for part in message.pictures]
        most = self._settings.max_count
        if len(parts) > most:
            raise PictureRefused(
                f"The request holds {len(parts)} pictures; at most {most} are taken, and {parts[most].param} is one more. Leave out some, "
                "or raise the setting pictures.max_count.",
                param=parts[most].param,
            )
        return parts

    async def _prepared(self, part: PicturePart, vision: VisionFacts) -> tuple[PreparedPicture, ...]:
        source = await self._loader.load(part)
        planner = Planner(vision=vision, side=self._side, detail=part.detail, max_pixels=self._settings.max_pixels)
        key = hashlib.blake2b(source, digest_size=DIGEST_BYTES).digest(), planner
        found = self._cache.find(key)
        if found is not None:
            return found
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.ensure_future(self._decoded(source, key))
            task.add_done_callback(lambda done: self._note_end(key, done))
        try:
            return await asyncio.shield(task)  # others may wait for the same picture
        except PictureRefused as refusal:
            raise PictureRefused(f"{part.param} {refusal.message.rstrip('.')}.", param=part.param) from None

    async def _decoded(self, source: bytes, key: _Key) -> tuple[PreparedPicture, ...]:
        planner, recipes = key[1], list[Recipe]()
        limits = Limits(max_pixels=self._settings.max_pixels, max_pages=self._settings.max_pdf_pages, side=self._side)

        def plan(sizes: Sequence[tuple[int, int]]) -> list[Recipe]:
            recipes.extend(planner.recipes(sizes))
            return recipes

        loop = asyncio.get_running_loop()
        pixels = await loop.run_in_executor(self._threads, self._decoder.decode, source, limits, plan)
        made = tuple(_prepared(each, recipe, planner.vision) for each, recipe in zip(pixels, recipes, strict=True))
        self._cache.keep(key, made)
        return made

    def _note_end(self, key: _Key, done: "asyncio.Task[tuple[PreparedPicture, ...]]") -> None:
        self._under_way.pop(key, None)
        if not done.cancelled():
            done.exception()  # whoever waited has it; if all have left, nobody needs to hear of it


def _prepared(pixels: bytes, recipe: Recipe, vision: VisionFacts) -> PreparedPicture:
    left, top, right, bottom = recipe.crop or (0, 0, *recipe.resized)
    width, height = right - left, bottom - top
    return PreparedPicture(
        pixels=pixels,
        height=height,
        width=width,
        digest=picture_digest(pixels, width, height),
        token_ids=expansion(vision, width, height),
    )


def picture_digest(pixels: bytes, width: int, height: int) -> bytes:
    """16 bytes over size and pixels (BLAKE2b)."""
    return hashlib.blake2b(width.to_bytes(4, "big") + height.to_bytes(4, "big") + pixels, digest_size=DIGEST_BYTES).digest()


def _with_prepared(message: Message, found: dict[int, tuple[PreparedPicture, ...]]) -> Message:
    if not message.pictures:
        return message
    parts = ((part,) if isinstance(part, TextPart) else found.get(id(part), (part,)) for part in message.content)
    return replace(message, content=tuple(chain.from_iterable(parts)))

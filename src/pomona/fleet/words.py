"""The words of models, read once and kept while they are of use: tokenizers and chat templates need no engine."""

import asyncio
from collections import OrderedDict
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

from pomona.core.settings import ModelsSettings
from pomona.fleet.generator import Eyes, Pictures, Words
from pomona.models.catalog import look_into
from pomona.models.references import ResolvedModel
from pomona.pictures.geometry.reading import read_vision_facts
from pomona.text.pictures.writing import picture_writing
from pomona.text.templates import load_chat_template
from pomona.text.tokenizer import Tokenizer
from pomona.text.tokenizer_loading import load_tokenizer

KEPT = 8
"""Models whose words are kept; a large vocabulary takes some 100 MB."""


Key = tuple[Path, Path | None, int]


class WordsCache:
    """One event loop; files are read in `pool`. Without `pictures` no model takes any."""

    def __init__(self, pool: Executor, kept: int = KEPT, pictures: Pictures | None = None) -> None:
        self._pool = pool
        self._pictures = pictures
        self._kept = kept
        self._words: OrderedDict[Key, asyncio.Future[Words]] = OrderedDict()

    async def words(self, model: ResolvedModel, settings: ModelsSettings) -> Words:
        """How `model` reads and writes. Raises ModelUnusable for a tokenizer or template that cannot be read."""
        key = (model.path, settings.chat_template, _last_change(model.path))
        if key not in self._words:
            reading = self._words[key] = asyncio.get_running_loop().run_in_executor(
                self._pool, _load_words, model, settings, self._pictures
            )
            reading.add_done_callback(partial(self._forget_failure, key))
            while len(self._words) > self._kept:
                self._words.popitem(last=False)
        self._words.move_to_end(key)
        return await asyncio.shield(self._words[key])

    def _forget_failure(self, key: Key, reading: asyncio.Future[Words]) -> None:
        """The files may be better the next time."""
        if (reading.cancelled() or reading.exception() is not None) and self._words.get(key) is reading:
            del self._words[key]


def _last_change(folder: Path) -> int:
    """When a file of the model was last changed or added: a template may come later, and is to be read then."""
    try:
        return max((entry.stat().st_mtime_ns for entry in (folder, *folder.iterdir())), default=0)
    except OSError:  # the folder is gone, or a file just went
        return 0


def _load_words(model: ResolvedModel, settings: ModelsSettings, pictures: Pictures | None) -> Words:
    tokenizer = load_tokenizer(model.path)
    eyes = None if pictures is None else _eyes(model.path, tokenizer, pictures)
    writing = eyes.writing if eyes else None
    template = load_chat_template(model.path, variables=tokenizer.template_variables, override=settings.chat_template, pictures=writing)
    return Words(tokenizer=tokenizer, template=template, constrain_calls=settings.constrain_tool_calls, eyes=eyes)


def _eyes(folder: Path, tokenizer: Tokenizer, pictures: Pictures) -> Eyes | None:
    facts, _ = look_into(folder)
    vision = read_vision_facts(folder) if facts is not None and facts.vision else None
    if vision is None:
        return None
    writing = picture_writing(tokenizer, vision.placeholder, vision.surrounded, vision.placeholder_id)
    return Eyes(vision=vision, writing=writing, pictures=pictures)

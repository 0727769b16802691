"""Words are read once, and again when their files change."""

import asyncio
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pomona.core.errors import ModelUnusable
from pomona.core.settings import ModelsSettings
from pomona.fleet.words import WordsCache
from pomona.models.references import ResolvedModel
from tests.golden.cases import REPOSITORY

STORIES = REPOSITORY / "tests" / "data" / "stories260K"


async def test_words_are_read_once_until_a_file_comes(tmp_path: Path) -> None:
    folder = tmp_path / "stories"
    shutil.copytree(STORIES, folder)
    model = ResolvedModel(id="stories", path=folder, kind="folder", reference="stories")
    with ThreadPoolExecutor(1) as pool:
        words_cache = WordsCache(pool)
        first, second = await asyncio.gather(*(words_cache.words(model, ModelsSettings()) for _ in range(2)))
        assert first is second
        assert first.template is None

        (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")

        changed = await words_cache.words(model, ModelsSettings())
        assert changed.template is not None
        (folder / "tokenizer.json").write_text("{")
        with pytest.raises(ModelUnusable):
            await words_cache.words(model, ModelsSettings())

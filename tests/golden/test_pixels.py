"""Pictures as they go to engines against those of the image processors of transformers, pixel by pixel."""

import json
from collections.abc import Generator
from pathlib import Path

import pytest
from PIL import Image

from pomona.core.messages import Message, PicturePart, PreparedPicture
from pomona.core.settings import PicturesSettings
from pomona.pictures.geometry.reading import read_vision_facts
from pomona.pictures.preparing import Preparation
from tests.golden.pixel_cases import CASES, FOLDER, SIZES, picture

TOKENS = {7: "[IMG]", 8: "[IMG_BREAK]", 9: "[IMG_END]"}


@pytest.fixture(scope="module")
def preparation() -> Generator[Preparation]:
    with Preparation(PicturesSettings(max_side=4096)) as shared:
        yield shared


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", SIZES)
async def test_pixels_are_those_of_the_model_s_own_processor(
    preparation: Preparation, tmp_path: Path, name: str, size: tuple[int, int]
) -> None:
    kind, config, preprocessor = CASES[name]
    added = [{"id": number, "content": text} for number, text in TOKENS.items()]
    files = {"config": config, "preprocessor_config": {**preprocessor, "image_processor_type": kind}, "tokenizer": {"added_tokens": added}}
    for file, content in files.items():
        (tmp_path / f"{file}.json").write_text(json.dumps(content), encoding="utf-8")
    facts = read_vision_facts(tmp_path)
    assert facts is not None
    source = tmp_path / "picture.bmp"
    picture(*size).save(source)
    [message] = await preparation.prepare([Message(role="user", content=(PicturePart(data=source.read_bytes()),))], facts)
    [ours] = message.content
    assert isinstance(ours, PreparedPicture)
    with Image.open(FOLDER / f"{name}-{size[0]}x{size[1]}.png") as wanted:
        assert (ours.width, ours.height) == wanted.size
        assert ours.pixels == wanted.convert("RGB").tobytes()

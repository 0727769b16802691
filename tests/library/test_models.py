"""Models of all kinds in one engine: with eyes, of vectors, with adapters; got from a hub, named and removed."""

import asyncio
import shutil
import threading
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import numpy as np
import pytest

from pomona import AsyncEngine, Engine
from pomona.core.errors import Cancelled, Conflict, HubFailed, InvalidRequest, ModelNotFound, ModelUnusable, PictureRefused, PomonaError
from pomona.core.generation import Finished, TextDelta
from pomona.library import ValidationFailed
from tests.adapter_folders import write_mlx_lm
from tests.engine.harness import family
from tests.hub.server import FakeHub
from tests.library.conftest import SETTINGS
from tests.unit.models.folders import change_json
from tests.unit.pictures.drawing import halves, saved

DATA = Path("tests/data")
SEER = "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}\
{% if p.type == 'text' %}{{ p.text }}{% else %}{{ ' <begin> <picture> <end> ' }}{% endif %}{% endfor %}{% endif %} {% endfor %}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models, and one of adapters."""
    top = tmp_path_factory.mktemp("models")
    shutil.copytree(DATA / "golden_pictures" / "qwen3_vl", top / "models" / "seer")
    (top / "models" / "seer" / "chat_template.jinja").write_text(SEER)
    for name in ("bert", "bert-reranker"):
        shutil.copytree(DATA / "encoders" / name, top / "models" / name)
    adapter = write_mlx_lm(top / "adapters" / "sailor", family("pomona-tiny").module, seed=1)
    change_json(adapter / "adapter_config.json", model="pomona-tiny")
    return top


@pytest.fixture(scope="module")
def engine(folder: Path) -> Generator[Engine]:
    places: dict[str, object] = {
        "models.folders": [str(folder / "models")],
        "models.adapter_folders": [str(folder / "adapters")],
        "hub.registry_file": str(folder / "models.json"),
        "hub.converted_folder": str(folder / "converted"),
    }
    with Engine("pomona-tiny", settings=SETTINGS | places) as running:
        yield running


def test_pictures_are_seen(engine: Engine) -> None:
    one, other = halves(32, 24), halves(24, 32)

    answer = engine.chat("1 2 3", model="seer", images=[one], max_tokens=4, temperature=0, ignore_eos=True)

    assert answer.usage.picture_tokens > 0
    again = engine.chat("1 2 3", model="seer", images=[saved(one, "PNG")], max_tokens=4, temperature=0, ignore_eos=True)
    assert again.text == answer.text
    both = engine.chat("1 2 3", model="seer", images=[one, other], max_tokens=4, temperature=0, ignore_eos=True)
    assert both.usage.picture_tokens > answer.usage.picture_tokens


def test_pictures_come_from_files_too(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "red.png"
    file.write_bytes(saved(halves(32, 24), "PNG"))
    for given in (file, str(file)):
        events = list(engine.stream_chat("1", model="seer", images=[given], max_tokens=2, temperature=0, ignore_eos=True))
        assert isinstance(events[-1], Finished)
        assert events[-1].usage.picture_tokens > 0


def test_pictures_that_cannot_be_seen_are_refused(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(PictureRefused, match="cannot be read"):
        engine.chat("1", model="seer", images=[tmp_path / "nothing.png"])
    with pytest.raises(PictureRefused, match=r"images|picture"):
        engine.chat("1", model="seer", images=[b"no picture"])
    with pytest.raises(PomonaError, match="pomona-tiny"):
        engine.chat("Hi", images=[halves(32, 24)])
    with pytest.raises(ValidationFailed, match="no place for pictures"):
        engine.generate("Hi", images=[halves(32, 24)])
    with pytest.raises(PictureRefused, match=r"images\[0\] is 5"):
        engine.chat("1", model="seer", images=[5])


def test_texts_become_vectors(engine: Engine) -> None:
    vectors = engine.embed(["1 2 3", "4 5", "1 2 3"], model="bert")

    assert vectors.shape == (3, 32)
    assert vectors.dtype == np.float32
    assert np.allclose(vectors[0], vectors[2], atol=1e-6)
    assert np.allclose(engine.embed("4 5", model="bert")[0], vectors[1], atol=1e-5)
    with pytest.raises(ValidationFailed, match=r"inputs: is \[\]"):
        engine.embed([], model="bert")
    with pytest.raises(ValidationFailed, match=r"inputs\[1\]: is 5"):
        engine.embed(["1", 5], model="bert")  # pyright: ignore[reportArgumentType]


def test_documents_are_ranked(engine: Engine) -> None:
    scores = engine.rerank("1 2", ["1 2 3", "9 9 9"], model="bert-reranker")

    assert len(scores) == 2
    assert all(0 <= score <= 1 for score in scores)
    assert engine.rerank("1 2", ["9 9 9", "1 2 3"], model="bert-reranker") == pytest.approx(scores[::-1], abs=1e-5)


def test_adapters_are_models_of_their_own(engine: Engine) -> None:
    plain, tuned = (engine.generate("Once upon a time", model=name, max_tokens=16, temperature=0) for name in ("", "pomona-tiny+sailor"))

    assert plain.text != tuned.text
    assert tuned.model == "pomona-tiny+sailor"
    assert {card.id: card.parent for card in engine.models()}["pomona-tiny+sailor"] == "pomona-tiny"
    with pytest.raises(ModelNotFound):
        engine.generate("Hi", model="pomona-tiny+nobody")


def test_names_of_your_own(engine: Engine) -> None:
    engine.alias("small", "pomona-tiny")
    assert engine.chat("Hi", model="small", max_tokens=1).usage.completion_tokens == 1
    engine.alias("small", None)
    with pytest.raises(ModelNotFound):
        engine.chat("Hi", model="small")
    with pytest.raises(ModelNotFound):
        engine.alias("small", "no-such-model")


def test_many_threads_share_an_engine(engine: Engine) -> None:
    answers: dict[int, str] = {}

    def ask(number: int) -> None:
        answers[number] = engine.chat(f"Say {number % 3}.", max_tokens=6, temperature=0).text

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (
        [answers[number] for number in range(3)] == [answers[number] for number in range(3, 6)] == [answers[number] for number in (6, 7, 8)]
    )


async def test_a_program_with_an_event_loop_may_use_the_plain_engine(engine: Engine) -> None:
    assert engine.chat("Hi", max_tokens=1).usage.completion_tokens == 1
    assert (await asyncio.to_thread(engine.chat, "Hi", max_tokens=1)).usage.completion_tokens == 1


def test_a_stream_that_nobody_reads_is_cancelled(engine: Engine) -> None:
    events = engine.stream_chat("Count.", id="unread", max_tokens=900, ignore_eos=True)
    next(events)
    assert engine.stats().running == ("unread",)
    with pytest.raises(Conflict, match="'unread' is being answered"):
        engine.chat("Hi", id="unread")

    assert engine.cancel("unread")

    with pytest.raises(Cancelled, match="'unread' was cancelled"):
        list(events)
    assert engine.stats().running == ()


def test_a_failure_in_a_batch_is_raised_as_it_is(engine: Engine) -> None:
    with pytest.raises(InvalidRequest, match="context"):
        engine.batch(["Hello.", "far too long " * 2000], max_tokens=4)


@pytest.fixture
async def online(hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncGenerator[AsyncEngine]:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    places: dict[str, object] = {
        "hub.endpoint": hub.url,
        "hub.registry_file": str(tmp_path / "models.json"),
        "hub.converted_folder": str(tmp_path / "converted"),
    }
    async with AsyncEngine(settings=SETTINGS | places, in_process=True) as running:
        yield running


async def test_models_are_got_used_and_removed(online: AsyncEngine) -> None:
    seen: list[tuple[str, int, int]] = []

    name = await online.pull("acme/tiny", alias="story", progress=lambda now: seen.append((now.state, now.done, now.total)))

    assert name == "acme/tiny"
    assert seen[-1][0] == "downloading"
    assert seen[-1][1] == seen[-1][2] > 0
    events = online.stream("Once upon", model="story", max_tokens=5, temperature=0)
    assert "".join([event.text async for event in events if isinstance(event, TextDelta)])
    with pytest.raises(Conflict, match="acme/tiny"):
        await online.remove("acme/tiny")
    await online.unload("acme/tiny")
    assert await online.remove("acme/tiny") > 0
    with pytest.raises(ModelNotFound):
        await online.load("acme/tiny")


async def test_a_pull_can_be_cancelled_and_goes_on_later(online: AsyncEngine) -> None:
    loop = asyncio.get_running_loop()
    seen: list[object] = []

    def interrupt(now: object) -> None:
        seen.append(now)
        loop.call_soon_threadsafe(pulling.cancel)

    pulling = asyncio.ensure_future(online.pull("acme/tiny", progress=interrupt))
    with pytest.raises(asyncio.CancelledError):
        await pulling

    assert seen
    assert "pomona-pull" not in [thread.name for thread in threading.enumerate()]
    assert await online.pull("acme/tiny") == "acme/tiny"


async def test_a_smaller_copy_is_made(online: AsyncEngine) -> None:
    name = await online.pull("acme/tiny", quantize="8bit")

    assert name == "tiny-8bit"
    assert (await online.generate("Once upon", model=name, max_tokens=3)).usage.completion_tokens == 3


async def test_a_folder_gets_a_name(online: AsyncEngine, tmp_path: Path) -> None:
    assert online.add(DATA / "stories260K") == "stories260K"
    assert online.add(DATA / "stories260K", name="story") == "story"
    assert (await online.generate("Once", model="story", max_tokens=2)).usage.completion_tokens == 2
    with pytest.raises(Conflict, match="'story' is the name of"):
        online.add(DATA / "golden_pictures" / "qwen3_vl", name="story")
    with pytest.raises(ModelUnusable):
        online.add(tmp_path)


async def test_what_cannot_be_got(online: AsyncEngine, hub: FakeHub) -> None:
    with pytest.raises(ModelNotFound):
        await online.pull("acme/nothing")
    with pytest.raises(InvalidRequest, match="quantize = '3bit'"):
        await online.pull("acme/tiny", quantize="3bit")  # pyright: ignore[reportArgumentType]
    model, fit = await online.describe("acme/tiny")
    assert (model.id, fit.memory["as stored"]) == ("acme/tiny", "fits")
    assert [each.id for each in await online.search("tiny")] == ["acme/tiny"]


async def test_without_a_hub_there_is_nothing_to_get(hub: FakeHub, tmp_path: Path) -> None:
    del hub
    settings: dict[str, object] = SETTINGS | {"hub.offline": True, "hub.registry_file": str(tmp_path / "models.json")}
    async with AsyncEngine(settings=settings, in_process=True) as offline:
        with pytest.raises(HubFailed, match="offline"):
            await offline.pull("acme/tiny")

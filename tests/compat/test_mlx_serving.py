"""A program written for mlx-serving, in both of its spellings."""

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import pytest_asyncio

from pomona.compat.mlx_serving import (
    Engine,
    EngineClientError,
    MLXEngine,
    TimeoutError,
    create_engine,
    createEngine,
    createMLXEngine,
    with_engine,
    withEngine,
)
from tests.golden.cases import REPOSITORY
from tests.hub.server import FakeHub, serving
from tests.library.conftest import SETTINGS
from tests.library.test_models import SEER
from tests.unit.pictures.drawing import halves, saved

STORIES = REPOSITORY / "tests" / "data" / "stories260K"
MODEL = "pomona-tiny"
SEEDED: dict[str, Any] = {"model": MODEL, "temperature": 1, "seed": 3}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncGenerator[Engine]:
    running = await create_engine(settings=SETTINGS, pythonPath="/usr/bin/python3", cacheDir="unused")
    await running.loadModel(MODEL)
    yield running
    await running.dispose()


def noting(heard: list[tuple[str, dict[str, Any]]], name: str) -> Callable[[dict[str, Any]], None]:
    """Writes down what it hears."""
    return lambda payload: heard.append((name, payload))


async def chunks(stream: AsyncGenerator[dict[str, Any]]) -> list[dict[str, Any]]:
    return [chunk async for chunk in stream]


async def test_an_answer_comes_in_tokens_and_ends_with_figures(engine: Engine) -> None:
    found = await chunks(engine.createGenerator({**SEEDED, "prompt": "Once upon a time", "maxTokens": 6}))

    assert [chunk["type"] for chunk in found] == ["token"] * (len(found) - 1) + ["metadata"]
    text = "".join(chunk["token"] for chunk in found[:-1])
    assert found[-2]["cumulativeText"] == text
    assert all(isinstance(chunk["tokenId"], int) and chunk["logprob"] <= 0 for chunk in found[:-1])
    stats = found[-1]["stats"]
    assert (stats["tokensGenerated"], stats["modelId"]) == (6, MODEL)
    assert 0 < stats["timeToFirstToken"] <= stats["totalTime"]
    assert await engine.generate(prompt="Once upon a time", max_tokens=6, model_id=MODEL, temperature=1, seed=3) == text


async def test_both_spellings_and_all_forms_of_prompts(engine: Engine) -> None:
    whole = await engine.generate({**SEEDED, "prompt": "Once upon a time", "maxTokens": 6})
    ids = (await engine.tokenize({"model": MODEL, "text": "Once upon a time"}))["tokens"]
    template = {"template": "Once upon {{what}}", "variables": {"what": "a time"}}
    for prompt in ({"tokens": ids}, template, {"template": "Once upon {what}", "variables": {"what": "a time"}}):
        assert await engine.generate({**SEEDED, "prompt": prompt, "max_tokens": 6}) == whole
    assert await engine.generate({**SEEDED, "prompt": "unread", "promptTokens": ids, "maxTokens": 6}) == whole
    [token, _] = await chunks(engine.create_generator({**SEEDED, "prompt": "Once upon a time", "max_tokens": 6, "stream": False}))
    assert (token["token"], token["isFinal"]) == (whole, True)


async def test_stops_seeds_and_forms(engine: Engine) -> None:
    asked: dict[str, Any] = {"model": MODEL, "prompt": "Once upon a time", "maxTokens": 20, "temperature": 1.0, "seed": 3}
    pieces = await chunks(engine.createGenerator(asked))
    text = "".join(piece["token"] for piece in pieces[:-1])
    assert await engine.generate(asked) == text
    assert await engine.generate({**asked, "stopSequences": [text[4:8]]}) == text[:4]
    third = next(piece for piece in pieces[2:] if piece["tokenId"] not in {each["tokenId"] for each in pieces[:2]})
    before = third["cumulativeText"].removesuffix(third["token"])
    assert await engine.generate({**asked, "stop_token_ids": [third["tokenId"]]}) == before

    schema = {"type": "object", "properties": {"wet": {"type": "boolean"}}, "required": ["wet"], "additionalProperties": False}
    answer = await engine.generate({**asked, "structured": {"schema": schema, "format": "json"}, "maxTokens": 60})
    assert isinstance(json.loads(answer)["wet"], bool)
    assert (await engine.generate({**asked, "structured": {"schema": schema, "format": "yaml"}, "maxTokens": 60})).startswith("<")


async def test_everything_that_is_wrong_is_listed(engine: Engine) -> None:
    with pytest.raises(EngineClientError) as caught:
        engine.createGenerator({"model": "", "prompt": 5, "temperature": 3, "max_tokens": 0, "topP": 2})

    error = caught.value
    assert (error.code, error.number, error.retryable) == ("ValidationError", -32602, False)
    assert error.message.startswith("Validation error on field 'model': ")
    assert [(issue["path"], issue["code"]) for issue in error.details["issues"]] == [
        ("model", "string_too_short"),
        ("prompt", "invalid_union"),
        ("maxTokens", "greater_than"),
        ("temperature", "less_than_equal"),
        ("topP", "less_than_equal"),
    ]
    assert error.toObject()["details"] == error.details
    wrongs: list[tuple[dict[str, Any], str]] = [
        ({"structured": {"schema": {}}}, "structured.format"),
        ({"multimodal": {"images": [], "imageFormat": "svg"}}, "multimodal.imageFormat"),
        ({"prompt": {"template": "x"}}, "prompt.variables"),
        ({"maxTokens": 100_001}, "maxTokens"),
        ({"seed": -1}, "seed"),
    ]
    for wrong, field in wrongs:
        with pytest.raises(EngineClientError, match=rf"^Validation error on field '{field}'"):
            engine.createGenerator({**SEEDED, "prompt": "x", **wrong})
    assert await engine.generate({**SEEDED, "prompt": "x", "maxTokens": 1, "topK": 1, "somethingElse": object()}) is not None


async def test_errors_have_their_codes(engine: Engine) -> None:
    with pytest.raises(EngineClientError) as caught:
        engine.createGenerator(model="no-such-model", prompt="Hi")
    assert (caught.value.code, caught.value.number) == ("ModelNotLoaded", -32005)
    with pytest.raises(EngineClientError) as caught:
        await engine.generate({**SEEDED, "prompt": "x", "structured": {"schema": {"type": "nonsense"}, "format": "json"}})
    assert (caught.value.code, caught.value.number) == ("GuidanceError", -32004)
    with pytest.raises(EngineClientError) as caught:
        await engine.loadModel({"model": MODEL, "trustRemoteCode": True})
    assert caught.value.code == "InvalidParams"
    [error] = await chunks(engine.createGenerator({**SEEDED, "prompt": "Count.", "ignoreEos": True}, {"timeoutMs": 1, "streamId": "late"}))
    assert (error["type"], error["error"]["code"], error["error"]["details"]["requestId"]) == ("error", "Timeout", "late")
    assert issubclass(TimeoutError, EngineClientError)


async def test_a_signal_ends_an_answer(engine: Engine) -> None:
    signal = asyncio.Event()
    found: list[dict[str, Any]] = []
    async for chunk in engine.createGenerator(
        {**SEEDED, "prompt": "Count.", "maxTokens": 900, "ignoreEos": True}, {"signal": signal, "priority": "urgent"}
    ):
        found.append(chunk)
        signal.set()
    assert (found[-1]["type"], found[-1]["error"]["code"]) == ("error", "Cancelled")
    assert (await engine.healthCheck())["activeStreams"] == 0


async def test_listeners_hear_all_of_an_answer(engine: Engine) -> None:
    heard: list[tuple[str, dict[str, Any]]] = []
    listeners = {name: noting(heard, name) for name in ("started", "token", "completed")}
    for name, listener in listeners.items():
        engine.on(f"generation:{name}", listener)
    once: list[object] = []

    async def first(payload: dict[str, Any]) -> None:
        once.append(payload["token"])

    engine.once("generation:token", first)
    text = await engine.generate({**SEEDED, "prompt": "Once", "maxTokens": 3}, {"streamId": "heard"})
    await engine.flushBatches()
    for name, listener in listeners.items():
        engine.off(f"generation:{name}", listener)
    await engine.generate({**SEEDED, "prompt": "Once", "maxTokens": 3})

    assert [name for name, _ in heard] == ["started", "token", "token", "token", "completed"]
    assert {payload["streamId"] for _, payload in heard} == {"heard"}
    assert (heard[0][1]["prompt"], heard[0][1]["modelId"]) == ("Once", MODEL)
    assert "".join(payload["token"] for _, payload in heard[1:-1]) == text
    assert (heard[-1][1]["stats"]["tokensGenerated"], len(once)) == (3, 1)
    with pytest.raises(EngineClientError, match="no event 'generation'"):
        engine.on("generation", print)


async def test_models_come_and_go(engine: Engine) -> None:
    heard: list[tuple[str, dict[str, Any]]] = []
    gone = asyncio.Event()
    for event in ("model:loaded", "model:unloaded"):
        engine.on(event, noting(heard, event))
    engine.on("model:unloaded", lambda _: gone.set())

    handle = await engine.loadModel({"model": {"id": "story", "path": str(STORIES)}, "parameters": {"maxTokens": 2}})

    name = handle["descriptor"]["id"]
    assert (handle["state"], handle["descriptor"]["modality"], handle["descriptor"]["family"]) == ("ready", "text", "mlx-lm")
    assert handle["contextLength"] > 0
    assert name in [each["descriptor"]["id"] for each in engine.listModels()]
    stats = (await chunks(engine.createGenerator(model=name, prompt="Once")))[-1]["stats"]
    assert stats["tokensGenerated"] == 2
    assert (await engine.get_cache_stats())["loadedModels"] == 2
    await engine.unloadModel(name)
    assert engine.getModelInfo(name) is None
    assert engine.get_model_info("no-such-model") is None
    await asyncio.wait_for(gone.wait(), 30)
    assert [(name_, payload["modelId"]) for name_, payload in heard] == [("model:loaded", name), ("model:unloaded", name)]
    assert heard[0][1]["handle"]["state"] == "ready"


async def test_drafts_change_no_text(engine: Engine) -> None:
    asked: dict[str, Any] = {"model": MODEL, "temperature": 0, "prompt": "The cat sat", "maxTokens": 12}
    plain = await engine.generate(asked)
    report = await engine.is_draft_model_compatible(MODEL, MODEL)
    assert report["compatible"]
    assert report["details"]["performanceEstimate"]["recommendation"]
    assert not (await engine.isDraftModelCompatible(MODEL, str(STORIES)))["compatible"]
    with pytest.raises(EngineClientError, match="Call loadDraftModel first"):
        engine.createGenerator({**asked, "draftModel": MODEL})

    handle = await engine.load_draft_model({"model": MODEL})
    assert handle["draft"]
    assert await engine.generate({**asked, "draftModel": MODEL}) == plain
    await engine.unload_draft_model(MODEL)
    assert await engine.generate(asked) == plain


async def test_tokens_and_figures(engine: Engine) -> None:
    found = await engine.tokenize(model=MODEL, text="Once upon", addBos=False)
    assert "".join(found["tokenStrings"]) == "Once upon"
    assert len(found["tokens"]) == len(found["tokenStrings"])
    assert (await engine.tokenize(model=MODEL, text="", add_bos=False))["tokens"] == []

    engine.resetBatchStats()
    assert engine.getBatchStats()["steps"] == 0
    await engine.warmupModel(MODEL)
    assert engine.get_batch_stats()["steps"] > 0
    health = await engine.health_check()
    assert (health["status"], health["runtime"]["status"], health["stateConsistent"]) == ("healthy", "running", True)
    info = await engine.get_runtime_info()
    assert info["memory"]["rss"] > 0
    assert {"generate", "tokenize", "structured"} <= set(info["capabilities"])


async def test_pictures(engine: Engine, tmp_path: Path) -> None:
    folder = shutil.copytree(REPOSITORY / "tests" / "data" / "golden_pictures" / "qwen3_vl", tmp_path / "seer")
    (folder / "chat_template.jinja").write_text(SEER)
    picture = saved(halves(32, 24), "PNG")
    with pytest.raises(EngineClientError, match="takes no pictures"):
        await engine.load_vision_model({"model": MODEL})

    handle = await engine.loadVisionModel({"model": str(folder)})
    name = handle["descriptor"]["id"]
    assert "png" in handle["metadata"]["supportedFormats"]
    asked: dict[str, Any] = {"model": name, "prompt": "1 2 3", "temperature": 0, "maxTokens": 3, "ignoreEos": True}
    found = await chunks(engine.createVisionGenerator({**asked, "image": [{"source": picture}]}))
    again = await engine.generate({**asked, "multimodal": {"images": [base64.b64encode(picture).decode()], "imageFormat": "base64"}})
    await engine.unloadModel(name)

    assert found[0]["type"] == "image_processed"
    assert found[0]["imageMetadata"]["numImages"] == 1
    assert found[-1]["stats"]["promptTokens"] > 3
    assert "".join(chunk.get("token", "") for chunk in found) == again
    with pytest.raises(EngineClientError, match="field 'image': "):
        engine.createVisionGenerator(asked)


async def test_models_of_the_hub_are_got_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with serving(FakeHub()) as hub:
        hub.add_folder("acme/tiny", STORIES)
        places = {
            "hub.endpoint": hub.url,
            "hub.registry_file": str(tmp_path / "models.json"),
            "hub.converted_folder": str(tmp_path / "made"),
        }
        async with Engine(settings=SETTINGS | places, in_process=True) as engine:
            whole = await engine.loadModel({"model": "acme/tiny", "revision": "main"})
            small = await engine.loadModel("acme/tiny", quantization="int8")
            with pytest.raises(EngineClientError) as caught:
                await engine.loadModel("acme/nothing")

    assert (whole["descriptor"]["id"], whole["descriptor"]["source"]) == ("acme/tiny", "huggingface")
    assert small["descriptor"]["id"] == "tiny-8bit"
    assert caught.value.code == "ModelNotLoaded"


async def test_shortcuts() -> None:
    assert (create_engine, with_engine) == (createEngine, withEngine)
    seen: list[str] = []

    def loaded(handle: dict[str, Any]) -> None:
        seen.append(str(handle["state"]))

    def generated(token: str, stats: dict[str, Any]) -> None:
        seen.append(token if stats["tokensGenerated"] else "")

    hooks = {"onModelLoaded": loaded, "onTokenGenerated": generated}

    async def work(engine: Engine) -> str:
        await engine.load_model({"model": MODEL})
        return await engine.generate({**SEEDED, "prompt": "Once", "maxTokens": 2})

    text = await withEngine(work, {"telemetry": {"enabled": True, "hooks": hooks}, "settings": SETTINGS}, in_process=True)
    assert ["ready", text] == [seen[0], "".join(seen[1:])]

    simple = await createMLXEngine(MODEL, settings=SETTINGS, in_process=True)
    assert await simple.generate("Once", max_tokens=2, temperature=1, seed=3) == text
    assert [chunk["type"] for chunk in await chunks(simple.generateStream("Once", {"maxTokens": 1}))] == ["token", "metadata"]
    assert await simple.tokenize("Once")
    assert simple.isInitialized()
    await simple.dispose()
    await simple.dispose()
    with pytest.raises(EngineClientError, match="not initialized"):
        await MLXEngine(MODEL).generate("Once")


async def test_an_engine_that_has_ended_says_so() -> None:
    async with await create_engine(settings=SETTINGS, in_process=True) as engine:
        assert (await engine.healthCheck())["status"] == "healthy"
    await engine.shutdown()
    await engine.dispose()
    assert (await engine.healthCheck())["status"] == "unhealthy"
    with pytest.raises(EngineClientError, match="not running"):
        await engine.tokenize(model=MODEL, text="x")

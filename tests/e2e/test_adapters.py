"""A server whose model has adapters: names in lists, answers at the same time, broken ones, an engine that dies."""

import asyncio
from pathlib import Path

import httpx
import mlx.core as mx
import openai
import pytest

from tests.adapter_folders import change_weights, write_mlx_lm
from tests.e2e.servers import MODEL, Server, serving
from tests.engine.harness import family
from tests.unit.models.folders import change_json

SETTINGS = """
[models]
adapter_folders = ["adapters"]
[models.aliases]
sailor = "pomona-tiny+one"
"""


async def ask(server: Server, model: str) -> str:
    """Two dozen tokens, the most likely ones."""
    async with server.client() as client:
        answer = await client.completions.create(model=model, prompt="Once upon a time", max_tokens=24, temperature=0)
    return answer.choices[0].text


async def start_stream(server: Server, model: str) -> None:
    """Until the headers of the answer are there."""
    async with server.client() as client:
        await client.completions.create(model=model, prompt="Once", stream=True)


def parents(server: Server) -> dict[str, str | None]:
    """Of every name in the list, the model that it stands on."""
    return {entry["id"]: entry["parent"] for entry in httpx.get(f"{server.url}/v1/models").json()["data"]}


async def test_adapters_are_models_of_their_own(tmp_path: Path) -> None:
    for index, name in enumerate(("one", "two", "broken", "poisoned", "misfit")):
        folder = write_mlx_lm(tmp_path / "adapters" / name, family(MODEL).module, seed=index)
        change_json(folder / "adapter_config.json", model=MODEL)
    (tmp_path / "adapters" / "broken" / "adapters.safetensors").write_bytes(b"no weights")
    first = "model.layers.0.self_attn.q_proj.lora_a"
    change_weights(tmp_path / "adapters" / "poisoned", {first: mx.full((384, 4), mx.nan)})
    change_weights(
        tmp_path / "adapters" / "misfit", {f"model.layers.99.mlp.up_proj.{leaf}": mx.ones((4, 4)) for leaf in ("lora_a", "lora_b")}
    )
    (tmp_path / "pomona.toml").write_text(SETTINGS)
    with serving(tmp_path) as server:
        listed = parents(server)
        names = [MODEL, f"{MODEL}+one", f"{MODEL}+two", "sailor"]
        for_the_engine_to_refuse = {f"{MODEL}+poisoned": MODEL, f"{MODEL}+misfit": MODEL}
        assert listed == dict(zip(names, [None, MODEL, MODEL, MODEL], strict=True)) | for_the_engine_to_refuse
        plain, one, two, sailor = await asyncio.gather(*(ask(server, name) for name in names))
        assert len({plain, one, two}) == 3
        assert sailor == one
        assert (server.metric("pomona_engine_adapters"), len(server.process.children())) == (2, 1)
        with pytest.raises(
            openai.BadRequestError, match=r"adapter 'broken' cannot be used.*does not start like a safetensors file"
        ) as refused:
            await ask(server, f"{MODEL}+broken")
        assert (refused.value.code, refused.value.param) == ("adapter_unusable", "model")
        for name, reason in (("poisoned", f"values in '{first}' that are not finite"), ("misfit", "which the model does not have")):
            with pytest.raises(openai.BadRequestError, match=reason) as refused:
                await start_stream(server, f"{MODEL}+{name}")
            assert (refused.value.status_code, refused.value.code, name in refused.value.message) == (400, "adapter_unusable", True)
        for wrong in (f"{MODEL}+three", f"{MODEL}+{tmp_path}/adapters/one", "nobody+one"):
            with pytest.raises(openai.NotFoundError):
                await ask(server, wrong)
        server.engine().kill()
        assert await asyncio.gather(*(ask(server, name) for name in names[:3])) == [plain, one, two]

"""Whether a model fits: by form of its weights, against the memory and the disk of this machine."""

import asyncio
import json
from pathlib import Path

import pytest

from pomona.core.errors import HubFailed, InvalidRequest
from pomona.core.hub import HubModel
from pomona.core.settings import Settings
from pomona.hub.client import LocalHub
from pomona.hub.deleting import Remover
from pomona.hub.fitting import Machine, Needs, fit_report, this_machine
from tests.hub.conftest import Bench

BILLION = 10**9
PLAIN = HubModel(id="acme/plain", parameters=8 * BILLION, weight_bytes=16 * BILLION)
PACKED = HubModel(id="acme/packed", parameters=8 * BILLION, weight_bytes=4_500_000_000, quantization="4-bit affine")


@pytest.mark.parametrize(
    ("gigabytes", "verdicts", "best"),
    [
        (64, {"as stored": "fits", "8bit": "fits", "4bit": "fits", "mxfp4": "fits", "nvfp4": "fits"}, "as stored"),
        (20, {"as stored": "tight", "8bit": "fits", "4bit": "fits", "mxfp4": "fits", "nvfp4": "fits"}, "8bit"),
        (8, {"as stored": "no", "8bit": "no", "4bit": "fits", "mxfp4": "fits", "nvfp4": "fits"}, "4bit"),
        (6, {"as stored": "no", "8bit": "no", "4bit": "tight", "mxfp4": "tight", "nvfp4": "tight"}, None),
        (2, {"as stored": "no", "8bit": "no", "4bit": "no", "mxfp4": "no", "nvfp4": "no"}, None),
    ],
)
def test_each_form_has_its_verdict(gigabytes: int, verdicts: dict[str, str], best: str | None, tmp_path: Path) -> None:
    report = fit_report(PLAIN, Machine(memory_bytes=gigabytes * BILLION), Needs(download_bytes=1), tmp_path)
    assert (dict(report.memory), report.best) == (verdicts, best)
    assert report.required_bytes["as stored"] > 16 * BILLION
    assert report.disk_free_bytes > 0


def test_what_is_quantised_has_one_form(tmp_path: Path) -> None:
    report = fit_report(PACKED, Machine(memory_bytes=8 * BILLION), Needs(download_bytes=0), tmp_path)
    assert dict(report.memory) == {"as stored": "fits"}


def test_on_a_cpu_weights_are_expanded(tmp_path: Path) -> None:
    report = fit_report(PACKED, Machine(memory_bytes=64 * BILLION, expands=True), Needs(download_bytes=0), tmp_path)
    assert report.required_bytes["as stored"] > 8 * BILLION * 4
    assert fit_report(PACKED, Machine(memory_bytes=32 * BILLION, expands=True), Needs(download_bytes=0), tmp_path).memory == {
        "as stored": "no"
    }


def test_nothing_is_claimed_of_unknown_sizes(tmp_path: Path) -> None:
    report = fit_report(HubModel(id="acme/unknown"), Machine(memory_bytes=1), Needs(download_bytes=0), tmp_path)
    assert (dict(report.memory), report.best) == ({}, None)


def test_the_budget_is_that_of_the_settings() -> None:
    settings = Settings.model_validate({"residency": {"memory_bytes": 2**31}, "models": {"device": "cpu"}})
    assert (this_machine(settings).memory_bytes, this_machine(settings).expands) == (2**31, True)
    plain = Settings.model_validate({"models": {"device": "cuda"}})
    assert this_machine(plain).expands is False
    assert this_machine(plain).memory_bytes > 2**28


@pytest.fixture
def local(bench: Bench) -> LocalHub:
    remover = Remover(registry=bench.registry, settings=Settings().models, converted=bench.converted, hub_cache=bench.cache)
    return LocalHub(connection=bench.connection, planner=bench.planner, remover=remover)


def test_a_repository_is_described(bench: Bench, local: LocalHub) -> None:
    config = {"model_type": "llama", "quantization": {"bits": 4, "group_size": 64}}
    files = {**bench.hub.repos["acme/tiny"].files, "config.json": json.dumps(config).encode(), "x.gguf": b"g"}
    bench.hub.add("acme/q", files, gated=False)
    model, report = asyncio.run(local.describe("acme/q"))
    assert (model.id, model.model_type, model.quantization, model.mlx, model.loadable) == ("acme/q", "llama", "4-bit affine", True, True)
    assert model.weight_bytes == len(files["model.safetensors"])
    assert model.gguf_files == ("x.gguf",)
    assert dict(report.memory) == {"as stored": "fits"}
    assert report.download_bytes > len(files["model.safetensors"])
    bench.pull("acme/q")
    assert asyncio.run(local.describe("acme/q"))[1].download_bytes == 0


def test_a_gguf_file_is_described(bench: Bench, local: LocalHub) -> None:
    bench.hub.add("acme/gg", {"small.gguf": b"g" * 9000, "big.gguf": b"G" * 90000})
    model, report = asyncio.run(local.describe("acme/gg/small.gguf"))
    assert (model.weight_bytes, report.download_bytes) == (9000, 9000)


def test_search_finds_sorts_and_bounds(bench: Bench, local: LocalHub) -> None:
    bench.hub.add("other/tiny", dict(bench.hub.repos["acme/tiny"].files), tags=(), downloads=99)
    found = asyncio.run(local.search("tiny"))
    assert [(model.id, model.mlx, model.downloads, model.model_type) for model, _ in found] == [("acme/tiny", True, 10, "llama")]
    assert [model.id for model, _ in asyncio.run(local.search("tiny", mlx_only=False))] == ["other/tiny", "acme/tiny"]
    assert len(asyncio.run(local.search("", mlx_only=False, limit=1))) == 1
    assert asyncio.run(local.search("no such thing")) == []
    assert found[0][1].memory["as stored"] == "fits"
    for wrong in ({"sort": "name"}, {"limit": 0}, {"limit": 201}):
        with pytest.raises(InvalidRequest, match=next(iter(wrong))):
            asyncio.run(local.search("tiny", **wrong))  # pyright: ignore[reportArgumentType]


def test_a_search_goes_through_troubles_and_refuses_nonsense(bench: Bench, local: LocalHub) -> None:
    bench.hub.refuse = {"/api/models": [(503, {}), (429, {"retry-after": "9"})]}
    assert [model.id for model, _ in asyncio.run(local.search("tiny"))] == ["acme/tiny"]
    assert bench.waits == [0.5, 9.0]
    bench.hub.refuse = {"/api/models": [(200, {})]}
    with pytest.raises(HubFailed, match="does not know"):
        asyncio.run(local.search("tiny"))

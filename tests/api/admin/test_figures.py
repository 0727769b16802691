"""The server in numbers: health, status, memory, metrics, queue, capabilities, the prefix cache."""

import asyncio
import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from pomona.control.queue import Queue
from pomona.core.generation import Finished, GenerateRequest, Started, TextDelta, Usage
from pomona.core.records import RequestRecord
from pomona.core.status import MemoryReport
from pomona.server.admin.traffic import History, spread
from tests.api.gateway import MODEL, READY, Gateway, running
from tests.doubles import GB, ScriptedResidents, answer, model_status


def test_the_health_document(gateway: Gateway) -> None:
    body = gateway.admin().get("/admin/health").json()
    assert body == {
        "status": "healthy",
        "worker_status": "healthy",
        "memory_status": "safe",
        "version": "0.1.0",
        "models_count": 3,
        "loaded_count": 1,
        "problems": [],
    }


@pytest.mark.parametrize(("reports", "worker"), [((), "no_worker"), ((replace(READY, state="failed"),), "dead")])
def test_the_health_of_engines(gateway: Gateway, reports: tuple[object, ...], worker: str) -> None:
    gateway.status.reports = reports  # pyright: ignore[reportAttributeAccessIssue]
    response = gateway.admin().get("/admin/health")
    assert (response.status_code, response.json()["worker_status"]) == (200, worker)
    assert (response.json()["status"] == "degraded") is (worker == "dead")


def test_the_status_document_in_the_words_of_mlx_inference_server(gateway: Gateway) -> None:
    body = gateway.admin().get("/admin/status").json()
    assert body["status"] == "running"
    assert body["model"] == {"loaded": True, "name": MODEL, "memory_gb": 2.0}
    assert body["worker"] == {"healthy": True, "status": "healthy"}
    assert body["ports"]["admin"] == int(gateway.urls.admin.rpartition(":")[2])
    assert (body["config"]["total_ram_gb"], body["config"]["idle_timeout_seconds"]) == (64.0, 300.0)
    assert [(model["id"], model["state"], model["pinned"]) for model in body["models"]] == [
        (MODEL, "ready", False),
        ("alias", "ready", False),
    ]
    gateway.residents.models = [model_status("x")]
    assert gateway.admin().get("/admin/status").json()["model"] == {"loaded": False, "name": None, "memory_gb": None}


def test_the_memory_document(gateway: Gateway) -> None:
    body = gateway.admin().get("/admin/memory").json()
    assert body.items() >= {"status": "safe", "available_gb": 40.0, "accepting_requests": True, "planned_bytes": 3 * GB}.items()
    assert body["levels_gb"] == {"caution": 3.0, "warning": 2.0, "critical": 1.0, "emergency": 0.5}
    assert [(model["id"], model["measured_bytes"]) for model in body["models"]] == [(MODEL, 2 * GB)]


@pytest.mark.parametrize("level", ["safe", "caution", "emergency"])
def test_every_answer_tells_how_memory_is(gateway: Gateway, level: str) -> None:
    gateway.residents.report = MemoryReport(total=GB, free=GB // 4, budget=GB, planned=0, guard=level)  # pyright: ignore[reportArgumentType]
    client = gateway.http()
    for response in (
        client.post("/v1/completions", json={"model": MODEL, "prompt": "x"}),
        client.post("/v1/completions", json={"model": MODEL, "prompt": "x", "stream": True}),
        client.post("/v1/completions", json={}),
        client.get("/v1/models"),
    ):
        assert (response.headers["x-memory-status"], response.headers["x-available-memory-gb"]) == (level, "0.25")
    assert gateway.admin().get("/admin/memory").json()["accepting_requests"] is (level != "emergency")


def test_requests_in_numbers() -> None:
    with running(Gateway()) as gateway:
        client, admin = gateway.http(), gateway.admin()
        empty = admin.get("/admin/metrics").json()
        assert (empty["total_requests"], empty["success_rate"], empty["request_duration_ms"]) == (0, 1.0, {})
        for _ in range(3):
            client.post("/v1/completions", json={"model": MODEL, "prompt": "x"})
        client.post("/v1/completions", json={"model": "gone", "prompt": "x"})
        body = admin.get("/admin/metrics").json()
    assert (body["total_requests"], body["successful_requests"], body["failed_requests"]) == (4, 3, 1)
    assert body["success_rate"] == 0.75
    times = body["request_duration_ms"]
    assert 0 < times["min"] <= times["p50"] <= times["p95"] <= times["p99"] <= times["max"]
    assert set(body["queue_wait_time_ms"]) >= {"avg", "p95"}
    assert body["outcomes"] == {"ok": 3, "model_not_found": 1}
    assert body["tokens"] == {"prompt": 9, "cached": 0, "completion": 6}
    assert body["rate_limiter"].items() >= {"enabled": False, "rejected": 0}.items()
    assert body["priority_queue"].items() >= {"enabled": True, "total_enqueued": 3, "total_completed": 3}.items()
    assert body["queue"]["active_requests"] == 0


def test_the_queue_shows_who_runs_and_who_waits() -> None:
    with running(Gateway()) as gateway:
        first, second = asyncio.Event(), asyncio.Event()
        usage = Usage(prompt_tokens=1, completion_tokens=1)
        gateway.generator.script = [Started(prompt_tokens=1), first, TextDelta(text="x"), second, Finished(reason="stop", usage=usage)]
        client, admin = gateway.http(), gateway.admin()
        body = {"model": MODEL, "prompt": "x"}
        asking = threading.Thread(target=lambda: client.post("/v1/completions", json=body, headers={"x-priority": "high"}))
        asking.start()
        gateway.wait_for(gateway.generator.begun)
        waiting = admin.get("/admin/queue").json()
        gateway.set(first)
        gateway.wait_until(lambda: gateway.generator.pulled == 2)
        at_work = admin.get("/admin/queue").json()
        gateway.set(second)
        asking.join(timeout=60)
        done = admin.get("/admin/queue").json()
    assert (waiting["queue_depth"], waiting["active_slots"]) == (1, 0)
    assert waiting["waiting_by_priority"] == {"high": 1, "normal": 0, "low": 0}
    assert (at_work["queue_depth"], at_work["active_slots"], at_work["utilization"]) == (0, 1, round(1 / 64, 6))
    assert done["totals"] == {"enqueued": 1, "completed": 1, "timeouts": 0, "refused": 0}
    assert done["avg_wait_time_ms"] > 0
    assert done["engines"] == [{"model": MODEL, "running": 2, "waiting": 1}]


def test_the_history_is_bounded_and_counts_everything() -> None:
    history = History(remembered=100)
    for number in range(1000):
        history(RequestRecord(id="r", endpoint="chat", model="m", outcome="ok", seconds=float(number)))
    assert history.outcomes == {"ok": 1000}
    found = history.seconds
    assert (found.count, found.least, found.most) == (100, 900.0, 999.0)
    assert (found.p50, found.p95, found.p99) == (949.0, 994.0, 998.0)
    assert spread([]).count == 0


def test_a_refused_call_is_counted_once() -> None:
    queue = Queue(rows=1, places=1, clock=lambda: 0.0, backlog=lambda: 0)
    with queue.place(1, "normal"), pytest.raises(Exception, match="1 answers run"):
        queue.check(1, "normal")
    report = queue.report()
    assert (report.refused, report.entered, report.finished, report.waits) == (1, 1, 0, ())


TEMPLATES = {
    "plain": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
    "thinker": (
        "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if enable_thinking %}<think>{% endif %}"
    ),
    "broken": "{% if %}",
}


def test_capabilities_come_from_templates_and_configuration(tmp_path: Path) -> None:
    for name, template in TEMPLATES.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}), encoding="utf-8")
    (tmp_path / "none").mkdir()
    models = [model_status(name, path=str(tmp_path / name)) for name in ("thinker", "plain", "broken", "none")]
    models += [model_status("seer", path=str(tmp_path / "plain"), vision=True), model_status("vectors", task="embed")]
    with running(Gateway(residents=ScriptedResidents(models))) as gateway:
        body = gateway.admin().get("/admin/capabilities").json()
        one = gateway.admin().get("/admin/capabilities?model=seer").json()
    found = {each["model"]: each["capabilities"] for each in body["models"]}
    assert found["thinker"].items() >= {"tools": True, "reasoning": True, "chat": True, "text": True, "vision": False}.items()
    assert found["plain"].items() >= {"tools": False, "reasoning": False, "chat": True}.items()
    assert found["broken"].items() >= {"tools": None, "reasoning": None}.items()
    assert found["none"].items() >= {"chat": False, "tools": False}.items()
    assert found["vectors"].items() >= {"text": False, "embeddings": True, "rerank": False}.items()
    assert "line 1" in next(each["notes"] for each in body["models"] if each["model"] == "broken")
    assert (body["model"], body["capabilities"], body["detection_method"]) == ("thinker", found["thinker"], "chat_template")
    assert (one["model"], one["capabilities"]["vision"], len(one["models"])) == ("seer", True, 1)


def test_a_template_that_changes_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({"chat_template": TEMPLATES["plain"]}), encoding="utf-8")
    with running(Gateway(residents=ScriptedResidents([model_status("m", path=str(tmp_path))]))) as gateway:
        before = gateway.admin().get("/admin/capabilities").json()["capabilities"]["tools"]
        (tmp_path / "chat_template.jinja").write_text(TEMPLATES["thinker"], encoding="utf-8")
        after = gateway.admin().get("/admin/capabilities").json()["capabilities"]["tools"]
    assert (before, after) == (False, True)


def test_warming_up_reads_the_prompt(gateway: Gateway) -> None:
    seen: list[GenerateRequest] = gateway.generator.seen
    gateway.generator.script = answer("x", prompt_tokens=90)
    admin, body = gateway.admin(), {"model_id": "alias", "system_prompt": "You are a pirate. " * 20}
    warmed = admin.post("/admin/cache/prompts/warmup", json=body).json()
    assert warmed.items() >= {"status": "cached", "model_id": MODEL, "prompt_tokens": 90, "cached_tokens": 0}.items()
    assert warmed["prompt_preview"].endswith("...")
    assert (seen[0].model, seen[0].max_tokens, seen[0].messages and seen[0].messages[0].text) == (MODEL, 1, body["system_prompt"])
    gateway.generator.script = answer("x", prompt_tokens=90, cached_tokens=64)
    assert admin.post("/admin/cache/prompts/warmup", json=body).json()["cached_tokens"] == 64
    entry = admin.get("/admin/cache/prompts").json()[0]
    assert (entry["cache_key"], entry["hits"], entry["token_count"]) == (warmed["cache_key"], 1, 90)
    assert admin.post("/admin/cache/prompts/warmup", json={"model_id": "gone", "system_prompt": "x"}).status_code == 404
    assert admin.post("/admin/cache/prompts/warmup", json={"model_id": MODEL, "system_prompt": ""}).status_code == 400


def test_clearing_forgets_what_was_warmed_up(gateway: Gateway) -> None:
    admin, warm = gateway.admin(), {"model_id": MODEL, "system_prompt": "You are brief."}
    admin.post("/admin/cache/prompts/warmup", json=warm)
    assert len(admin.get("/admin/cache/prompts").json()) > 0
    cleared = admin.post("/admin/cache/prompts/clear").json()
    assert cleared == {"status": "cleared", "models": [MODEL], "entries_removed": 3}
    assert admin.get("/admin/cache/prompts").json() == []
    assert admin.post("/admin/cache/prompts/clear?model=acme/reader").json()["models"] == []
    assert admin.post("/admin/cache/prompts/clear?model=nobody").status_code == 404
    assert gateway.residents.asked == [("shrink", None), ("shrink", "acme/reader")]


def test_the_cache_in_numbers(gateway: Gateway) -> None:
    gateway.generator.script = answer("x", prompt_tokens=8, cached_tokens=4)
    gateway.http().post("/v1/completions", json={"model": MODEL, "prompt": "x"})
    stats = gateway.admin().get("/admin/cache/prompts/stats").json()
    assert stats["total_hits"] >= 4
    assert 0 < stats["hit_rate"] < 1
    assert (stats["memory_entries"], stats["max_entries"]) == (3, 40)
    assert stats["models"][0].items() >= {"model": MODEL, "pages_cached": 3, "cached_tokens": 96}.items()

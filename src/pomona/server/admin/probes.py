"""GET /health, /ready and /version: the same on the public and on the admin address."""

from collections.abc import Sequence
from dataclasses import asdict

from fastapi import APIRouter
from fastapi.responses import JSONResponse

import pomona
from pomona.core.ports import EngineStatus
from pomona.core.status import EngineReport
from pomona.server.drain import Drain

_FINDING_SECONDS = 1.0  # the watch of an engine looks four times a second


def probe_routes(status: EngineStatus, drain: Drain, hang_seconds: float) -> APIRouter:
    """The routes. An engine whose last proven step is more than `hang_seconds` ago counts as hung."""
    routes = APIRouter(tags=["probes"])

    @routes.get("/health", summary="200 while every engine works, loads or recovers, 503 when that failed")
    async def health() -> JSONResponse:
        reports = status.status()
        problems, recovering = find_problems(reports, hang_seconds), find_recoveries(reports, hang_seconds)
        body = {
            "status": "failing" if problems else "recovering" if recovering else "ok",
            "draining": drain.begun,
            "problems": problems,
            "recovering": recovering,
            "engines": engine_documents(reports),
        }
        return JSONResponse(body, status_code=503 if problems else 200)

    @routes.get("/ready", summary="200 while requests are answered, 503 with the reason before the models of the start are there")
    async def ready() -> JSONResponse:
        reason = _why_not_ready(status.status(), drain, hang_seconds)
        return JSONResponse({"ready": reason is None, "reason": reason}, status_code=503 if reason else 200)

    @routes.get("/version", summary="What runs here")
    async def version() -> dict[str, str]:
        return {"name": "pomona", "version": pomona.__version__}

    del health, ready, version
    return routes


def find_problems(reports: Sequence[EngineReport], hang_seconds: float) -> list[str]:
    """A sentence per engine that will not come back: its recovery failed, or it hangs and nobody has ended it."""
    problems: list[str] = []
    for report in reports:
        if report.state == "failed":
            problems.append(f"The engine of {report.model!r} failed: {report.problem or 'no reason was given'}")
        elif report.state == "ready" and _silence(report) > hang_seconds + _FINDING_SECONDS:
            problems.append(
                f"The engine of {report.model!r} proved no step for {_silence(report):.1f} seconds; the limit is {hang_seconds:g}."
            )
    return problems


def find_recoveries(reports: Sequence[EngineReport], hang_seconds: float) -> list[str]:
    """A sentence per engine that died or hangs, and is being replaced."""
    recoveries: list[str] = []
    for report in reports:
        if report.state == "restarting":
            recoveries.append(f"The engine of {report.model!r} is started again: {report.problem or 'its process ended'}")
        elif report.state == "ready" and hang_seconds < _silence(report) <= hang_seconds + _FINDING_SECONDS:
            recoveries.append(f"The engine of {report.model!r} proved no step for {_silence(report):.1f} seconds and is being ended.")
    return recoveries


def engine_documents(reports: Sequence[EngineReport]) -> list[dict[str, object]]:
    """The reports as JSON objects."""
    return [asdict(report) for report in reports]


def _why_not_ready(reports: Sequence[EngineReport], drain: Drain, hang_seconds: float) -> str | None:
    if drain.begun:
        return "The server is shutting down."
    awaited = [report for report in reports if report.required and report.state != "ready"]
    if awaited:
        return f"Models are not there yet: {', '.join(f'{report.model} is {report.state}' for report in awaited)}."
    works = any(report.state == "ready" and _silence(report) <= hang_seconds for report in reports)
    if works or all(report.state == "loading" for report in reports):  # a server without any loaded model loads what is asked for
        return None
    states = ", ".join(f"{report.model} is {report.state}" for report in reports)
    return f"No model answers: {states or 'no engine runs'}."


def _silence(report: EngineReport) -> float:
    """Seconds since the device last proved that it works; 0 before the first proof, and in a step that was said to take long."""
    return 0.0 if report.patient_seconds else report.seconds_since_step or 0.0

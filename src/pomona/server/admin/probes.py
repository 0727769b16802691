"""GET /health, /ready and /version: the same on the public and on the admin address."""

from collections.abc import Sequence
from dataclasses import asdict

from fastapi import APIRouter
from fastapi.responses import JSONResponse

import pomona
from pomona.core.ports import EngineStatus
from pomona.core.status import EngineReport
from pomona.server.drain import Drain


def probe_routes(status: EngineStatus, drain: Drain, hang_seconds: float) -> APIRouter:
    """The routes. An engine whose last proven step is more than `hang_seconds` ago counts as hung."""
    routes = APIRouter(tags=["probes"])

    @routes.get("/health", summary="200 while every engine works or loads, 503 when one failed or hangs")
    async def health() -> JSONResponse:
        reports = status.status()
        problems = find_problems(reports, hang_seconds)
        body = {"status": "failing" if problems else "ok", "problems": problems, "engines": engine_documents(reports)}
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
    """A sentence per engine that failed or has not proven a step for too long."""
    problems: list[str] = []
    for report in reports:
        if report.state == "failed":
            problems.append(f"The engine of {report.model!r} failed: {report.problem or 'no reason was given'}")
        elif _hangs(report, hang_seconds):
            seconds = report.seconds_since_step or 0.0
            problems.append(f"The engine of {report.model!r} proved no step for {seconds:.1f} seconds; the limit is {hang_seconds:g}.")
    return problems


def engine_documents(reports: Sequence[EngineReport]) -> list[dict[str, object]]:
    """The reports as JSON objects."""
    return [asdict(report) for report in reports]


def _why_not_ready(reports: Sequence[EngineReport], drain: Drain, hang_seconds: float) -> str | None:
    if drain.begun:
        return "The server is shutting down."
    awaited = [report for report in reports if report.required and report.state != "ready"]
    if awaited:
        return f"Models are not there yet: {', '.join(f'{report.model} is {report.state}' for report in awaited)}."
    works = any(report.state == "ready" and not _hangs(report, hang_seconds) for report in reports)
    if works or all(report.state == "loading" for report in reports):  # a server without any loaded model loads what is asked for
        return None
    states = ", ".join(f"{report.model} is {report.state}" for report in reports)
    return f"No model answers: {states or 'no engine runs'}."


def _hangs(report: EngineReport, hang_seconds: float) -> bool:
    return report.seconds_since_step is not None and report.seconds_since_step > hang_seconds

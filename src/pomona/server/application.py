"""Both ASGI applications: the public API and the admin address."""

from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

import pomona
from pomona.core.errors import PomonaError
from pomona.core.metrics import Metrics
from pomona.core.settings import Settings
from pomona.server.admin.monitoring import monitoring_routes
from pomona.server.admin.probes import probe_routes
from pomona.server.bodies import answer_bad_query
from pomona.server.describing import document_of
from pomona.server.drain import Drain
from pomona.server.errors import ErrorBorder, answer_http_error, answer_pomona_error
from pomona.server.middleware import BodyLimit, RequestId
from pomona.server.openai.chat.routes import chat_routes
from pomona.server.openai.completions.routes import completion_routes
from pomona.server.openai.models import model_routes
from pomona.server.recording import Recorder, count_in, write_to_log
from pomona.server.services import Backend, Services


def create_public_app(backend: Backend, settings: Settings, metrics: Metrics) -> FastAPI:
    """The API for clients. Every request to the backend's generator is recorded in `metrics` and in the log."""
    app = _create_app("Pomona", settings.server.max_body_bytes)
    drain = drain_of(app)
    recorder = Recorder(metrics, (count_in(metrics), write_to_log))
    services = Services(
        generator=backend.generator,
        directory=backend.directory,
        status=backend.status,
        tokenization=backend.tokenization,
        settings=settings,
        recorder=recorder,
        drain=drain,
    )
    for routes in (chat_routes(services), completion_routes(services), model_routes(services)):
        app.include_router(routes)
    app.include_router(probe_routes(backend.status, drain, settings.fleet.hang_seconds))
    return app


def create_admin_app(backend: Backend, settings: Settings, metrics: Metrics) -> FastAPI:
    """Health, readiness, metrics and status, for an address of its own."""
    app = _create_app("Pomona admin", settings.server.max_body_bytes)
    drain, hang_seconds = drain_of(app), settings.fleet.hang_seconds
    app.include_router(probe_routes(backend.status, drain, hang_seconds))
    app.include_router(monitoring_routes(backend.directory, backend.status, metrics, drain, hang_seconds))
    return app


def drain_of(app: FastAPI) -> Drain:
    """The drain of an application made here: `serve` begins and ends it."""
    drain: Drain = app.state.drain
    return drain


def _create_app(title: str, max_body_bytes: int) -> FastAPI:
    app = FastAPI(
        title=title,
        version=pomona.__version__,
        docs_url=None,  # the documentation pages of FastAPI load their scripts from the internet
        redoc_url=None,
        middleware=[Middleware(RequestId), Middleware(ErrorBorder), Middleware(BodyLimit, limit_bytes=max_body_bytes)],
        exception_handlers={
            PomonaError: answer_pomona_error,
            HTTPException: answer_http_error,
            RequestValidationError: answer_bad_query,
        },
    )
    app.state.drain = Drain()
    app.openapi = lambda: _describe(app)
    return app


def _describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, made when it is first asked for."""
    if app.openapi_schema is None:
        app.openapi_schema = document_of(app)
    return app.openapi_schema

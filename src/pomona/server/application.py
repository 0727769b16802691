"""Both ASGI applications: the public API and the admin address."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

import pomona
from pomona.control.keys import KeyRing, Keys
from pomona.control.stack import Control
from pomona.core.errors import PomonaError
from pomona.core.metrics import Metrics
from pomona.core.ports import EngineStatus, ModelDirectory
from pomona.core.settings import Settings
from pomona.server.access.cors import cross_origin
from pomona.server.access.door import PROBES, Door, Rules
from pomona.server.access.gate import Gate
from pomona.server.access.memory import MemoryHeaders
from pomona.server.access.middleware import BodyLimit, RequestId
from pomona.server.admin.cache import cache_routes
from pomona.server.admin.events import event_routes
from pomona.server.admin.figures import figure_routes
from pomona.server.admin.gauges import count_events
from pomona.server.admin.hub import hub_routes
from pomona.server.admin.memory import memory_routes
from pomona.server.admin.models.capabilities import capability_routes
from pomona.server.admin.models.listing import listing_routes
from pomona.server.admin.models.loading import loading_routes
from pomona.server.admin.monitoring import monitoring_routes
from pomona.server.admin.overview import overview_routes, plain_status_routes
from pomona.server.admin.probes import probe_routes
from pomona.server.admin.registry import registry_routes
from pomona.server.admin.requests.routes import request_routes
from pomona.server.admin.services import AdminServices
from pomona.server.admin.traffic import History, Traffic
from pomona.server.answering import SightedTokenization
from pomona.server.anthropic.messages import message_routes
from pomona.server.bodies import answer_bad_query
from pomona.server.describing import document_of
from pomona.server.drain import Drain
from pomona.server.errors import ErrorBorder, answer_http_error, answer_pomona_error
from pomona.server.openai.chat.routes import chat_routes
from pomona.server.openai.completions.routes import completion_routes
from pomona.server.openai.decisions.routes import decision_routes
from pomona.server.openai.models import model_routes
from pomona.server.openai.responses.routes import response_routes
from pomona.server.recording import Listener, Recorder, count_in, write_to_log
from pomona.server.services import Backend, Management, Services
from pomona.server.tokens.routes import token_routes
from pomona.server.tracing.explaining import observe_in
from pomona.server.tracing.middleware import Tracing
from pomona.server.tracing.store import TraceStore
from pomona.server.vectors.routes import vector_routes

NO_KEYS = KeyRing()
_DESK_ROUTES = (
    overview_routes,
    figure_routes,
    memory_routes,
    event_routes,
    request_routes,
    cache_routes,
    capability_routes,
    loading_routes,
    listing_routes,  # last: its path takes every name
)


def create_public_app(
    backend: Backend, settings: Settings, metrics: Metrics, keys: Keys = NO_KEYS, listeners: Sequence[Listener] = ()
) -> FastAPI:
    """The API for clients. Every request to the backend's generator is recorded in `metrics`, in the log and by `listeners`."""
    rules = Rules(keys=keys, needs="public", settings=settings)
    traces = TraceStore(settings.tracing.requests, settings.tracing.bytes, at_end=(observe_in(metrics),))
    app = _create_app("Pomona", rules, metrics, traces)
    if backend.residents:
        app.add_middleware(MemoryHeaders, residents=backend.residents)
    app.openapi = partial(_describe, app, rules, backend.directory)
    drain = drain_of(app)
    history = History()
    recorder = Recorder(metrics, (count_in(metrics), write_to_log, history, traces, *listeners))
    control = Control(backend.generator, settings, clock=time.monotonic, backlog=lambda: waiting_rows(backend.status))
    app.state.traffic = Traffic(control=control, history=history, traces=traces)
    drain.when_begun(control.coalescer.end_orphans)
    services = Services(
        generator=backend.generator,
        directory=backend.directory,
        status=backend.status,
        tokenization=SightedTokenization(backend.tokenization, backend.directory),
        settings=settings,
        recorder=recorder,
        drain=drain,
        control=control,
    )
    for routes in (chat_routes(services), completion_routes(services), model_routes(services), message_routes(services)):
        app.include_router(routes)
    for routes in (response_routes(services), decision_routes(services), token_routes(services)):
        app.include_router(routes)
    if backend.embedder and backend.reranker:
        app.include_router(vector_routes(services, backend.embedder, backend.reranker))
    app.include_router(probe_routes(backend.status, drain, settings.fleet.hang_seconds))
    return app


def create_admin_app(
    backend: Backend,
    settings: Settings,
    metrics: Metrics,
    keys: Keys = NO_KEYS,
    management: Management | None = None,
    traffic: Traffic | None = None,
) -> FastAPI:
    """The admin address. Where there are keys, it takes those of scope admin only.

    `management` are the ports that it works with; without them it only tells how the server is. `traffic` is that of the public
    application, for what is told of its requests (`traffic_of`).
    """
    open_paths = PROBES | {"/metrics"} if settings.access.open_metrics else PROBES
    app = _create_app("Pomona admin", Rules(keys=keys, needs="admin", settings=settings, open_paths=open_paths), metrics)
    drain = drain_of(app)
    app.include_router(probe_routes(backend.status, drain, settings.fleet.hang_seconds))
    app.include_router(monitoring_routes(backend.status, metrics, management))
    if management and traffic:
        management.events.listen(count_events(metrics))
        services = AdminServices(backend=backend, management=management, settings=settings, drain=drain, traffic=traffic)
        for routes in _DESK_ROUTES:
            app.include_router(routes(services))
    else:
        app.include_router(plain_status_routes(backend, drain, settings.fleet.hang_seconds))
    if management and management.hub:
        app.include_router(hub_routes(management.hub, drain, settings.server.keepalive_seconds))
        app.include_router(registry_routes(management.hub))  # last: one of its paths takes every name
    return app


def waiting_rows(status: EngineStatus) -> int:
    """How many requests the engines say are waiting."""
    return sum(report.counters.waiting for report in status.status())


def traffic_of(app: FastAPI) -> Traffic:
    """The requests of a public application made here."""
    traffic: Traffic = app.state.traffic
    return traffic


def drain_of(app: FastAPI) -> Drain:
    """The drain of an application made here: `serve` begins and ends it."""
    drain: Drain = app.state.drain
    return drain


def _create_app(title: str, rules: Rules, metrics: Metrics, traces: TraceStore | None = None) -> FastAPI:
    settings, drain = rules.settings, Drain()
    app = FastAPI(
        title=title,
        version=pomona.__version__,
        docs_url=None,  # the documentation pages of FastAPI load their scripts from the internet
        redoc_url=None,
        middleware=[
            Middleware(RequestId),
            *([Middleware(Tracing, store=traces)] if traces else []),
            *([cross_origin(settings.access)] if rules.needs == "public" else []),  # outside the door: browsers ask first, without a key
            Middleware(ErrorBorder),
            Middleware(Gate, drain=drain),
            Middleware(Door, rules=rules, denied=lambda code: metrics.denied.labels(code).inc()),
            Middleware(BodyLimit, limit_bytes=settings.server.max_body_bytes, limit_seconds=settings.limits.body_seconds),
        ],
        exception_handlers={
            PomonaError: answer_pomona_error,
            HTTPException: answer_http_error,
            RequestValidationError: answer_bad_query,
        },
    )
    app.state.drain = drain
    app.openapi = partial(_describe, app, rules)
    return app


def _describe(app: FastAPI, rules: Rules, directory: ModelDirectory | None = None) -> dict[str, Any]:
    """The OpenAPI document as it is now: keys and models come and go."""
    cards = directory.models() if directory else ()
    models = {card.task: card.id for card in reversed(cards)}
    return document_of(app, models=models, locked=rules.keys.exist, open_paths=rules.open_paths)

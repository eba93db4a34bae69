"""Entry point of the API: `nern api`, or any ASGI server on `app.main:app`."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI
from sqlalchemy.orm import sessionmaker
from starlette.concurrency import run_in_threadpool

from app.db.engine import create_engine
from app.db.schema import check_schema
from app.http.connections import AT_STOP, CONNECTIONS, Connections
from app.http.middleware.stack import middleware_stack
from app.http.problem_answers import use_problem_details
from app.http.query_parameters import refuse_unknown_parameters
from app.jobs.broker import create_celery
from app.jobs.deliveries.courier import Courier
from app.jobs.relay import Relay
from app.logs import configure_logging
from app.metrics.service import ServiceMetrics
from app.pages import routes as pages
from app.pages import sign_in
from app.pages.page_route import problem_answer
from app.retention.collector import Collector
from app.routes import (
    catalogue,
    checkpoints,
    datasets,
    downloads,
    events,
    health,
    jobs,
    reconstructions,
    uploads,
    webhooks,
)
from app.routes import metrics as metrics_route
from app.services import create_services, provide_services
from app.settings import Settings
from app.storage import check_storage, open_store
from app.tracing import Tracer, create_tracer

_DESCRIPTION = """Convert trained networks to compact representations.

Send a checkpoint to `POST /jobs`, follow the job at `GET /jobs/{id}`, and download the small `.nern` file or the
weights reconstructed from it. `POST /reconstructions` reconstructs the weights of any `.nern` file.
Errors are RFC 9457 problem details. Every response has a header `X-Request-ID`, by which the operator finds the
request in the log."""

_ROUTERS = (
    jobs.router,
    reconstructions.router,
    events.router,
    downloads.router,
    checkpoints.router,
    uploads.router,
    datasets.router,
    catalogue.router,
    webhooks.router,
    health.router,
    metrics_route.router,
)


def create_app(settings: Settings) -> FastAPI:
    """Create the API. It connects only when it starts; the database schema must then be this version's.

    Raises `NernError` (`storage_settings`).
    """
    check_storage(settings)
    metrics, tracer = ServiceMetrics(), create_tracer(settings, "api")

    app = FastAPI(
        title="NeRN",
        version=version("nern"),
        description=_DESCRIPTION,
        lifespan=lambda app: _running(app, settings, metrics, tracer),
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(refuse_unknown_parameters)],
        middleware=middleware_stack(settings, metrics.requests, tracer),
    )
    use_problem_details(app, problem_answer)
    for router in _ROUTERS:
        app.include_router(router)
    for router in (pages.router, sign_in.router):
        app.include_router(router)
    return app


@asynccontextmanager
async def _running(
    app: FastAPI, settings: Settings, metrics: ServiceMetrics, tracer: Tracer
) -> AsyncIterator[Mapping[str, Any]]:
    """Open the connections and run the background threads while the API runs."""
    engine = create_engine(settings)
    await run_in_threadpool(check_schema, engine)
    sessions = sessionmaker(engine, expire_on_commit=False)
    store = open_store(settings)
    relay = Relay(settings, sessions, create_celery(settings))
    collector = Collector(settings, sessions, store)
    services = create_services(settings, sessions, store, relay, metrics)
    provide_services(app, services)
    courier = Courier(settings, sessions, services.outbound)
    await run_in_threadpool(metrics.watch, sessions, settings.artifacts)
    relay.start()
    collector.start()
    courier.start()
    try:
        yield {AT_STOP: services.events.stop, CONNECTIONS: Connections.of(settings)}
    finally:
        services.events.stop()
        await run_in_threadpool(relay.stop)
        await run_in_threadpool(collector.stop)
        await run_in_threadpool(courier.stop)
        await run_in_threadpool(tracer.stop)
        engine.dispose()


configure_logging()
app = create_app(Settings())

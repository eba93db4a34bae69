"""Entry of the API: `nern api`, or any ASGI server on `app.main:app`."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from sqlalchemy.orm import sessionmaker
from starlette.concurrency import run_in_threadpool

from app.access.rate import create_rate_limit
from app.access.service import ApiKeyService
from app.collection.collector import Collector
from app.database import check_schema, create_engine
from app.datasets.service import DatasetService
from app.edge.layers import layers
from app.events.places import Places
from app.events.reader import AT_STOP, EventReader
from app.job_document import DocumentReceiver
from app.jobs.broker import create_celery
from app.jobs.relay import Relay
from app.jobs.service import JobService
from app.logs import configure_logging
from app.metrics.service import ServiceMetrics
from app.outbound.client import OutboundClient
from app.pages import routes as pages
from app.pages import sign_in
from app.problems import use_problem_details
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
from app.routes.documentation import documentation
from app.settings import Settings
from app.storage import ArtifactStore
from app.uploads.partial import PartialUploads
from app.uploads.service import UploadService
from app.webhooks.courier import Courier
from app.webhooks.service import WebhookService

_DESCRIPTION = """Turns trained networks into compact neural representations.

Send a checkpoint to `POST /jobs`, follow the job at `GET /jobs/{id}`, and download the reconstructed
weights or the small `.nern` file that they come from; `POST /reconstructions` turns such a file into weights.
Errors are RFC 9457 problem details. Every answer has a header `X-Request-ID`, which tells the operator where to
look."""


def create_app(settings: Settings) -> FastAPI:
    """Make the API. Nothing is connected before it starts; then the schema must be this version's."""
    metrics = ServiceMetrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        engine = create_engine(settings)
        await run_in_threadpool(check_schema, engine)
        sessions = sessionmaker(engine, expire_on_commit=False)
        store = ArtifactStore(settings.artifacts)
        relay = Relay(settings, sessions, create_celery(settings))
        collector = Collector(settings, sessions, store)
        app.state.settings, app.state.store = settings, store
        app.state.keys, app.state.rate = ApiKeyService(sessions), create_rate_limit(settings)
        app.state.jobs = JobService(settings, sessions, store, relay)
        app.state.uploads = UploadService(settings, sessions, store)
        app.state.partial_uploads = PartialUploads(settings, sessions, store)
        app.state.events, app.state.places = EventReader(sessions), Places(settings.max_listeners)
        app.state.datasets = DatasetService(settings, sessions, store)
        app.state.outbound = OutboundClient(settings.outbound_networks)
        app.state.documents = DocumentReceiver(
            settings, store, app.state.uploads, app.state.datasets, app.state.outbound
        )
        app.state.webhooks = WebhookService(sessions)
        courier = Courier(settings, sessions, app.state.outbound)
        app.state.metrics = metrics
        await run_in_threadpool(metrics.watch, sessions, settings.artifacts)
        relay.start()
        collector.start()
        courier.start()
        try:
            yield {AT_STOP: app.state.events.stop}
        finally:
            app.state.events.stop()
            await run_in_threadpool(relay.stop)
            await run_in_threadpool(collector.stop)
            await run_in_threadpool(courier.stop)
            engine.dispose()

    app = FastAPI(
        title="NeRN",
        version=version("nern"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        middleware=layers(settings, metrics),
    )
    use_problem_details(app)
    app.include_router(jobs.router)
    app.include_router(reconstructions.router)
    app.include_router(events.router)
    app.include_router(downloads.router)
    app.include_router(checkpoints.router)
    app.include_router(uploads.router)
    app.include_router(datasets.router)
    app.include_router(catalogue.router)
    app.include_router(webhooks.router)
    app.include_router(health.router)
    app.include_router(metrics_route.router)
    app.include_router(documentation(app))
    app.include_router(pages.router)
    app.include_router(sign_in.router)
    return app


configure_logging()
app = create_app(Settings())

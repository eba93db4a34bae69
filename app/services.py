"""The services of a running API, which routes get by one dependency."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, FastAPI, Request

from app.access.callers import Callers
from app.access.key_watch import KeyWatch
from app.access.rate import RateLimit, create_rate_limit
from app.access.service import ApiKeyService
from app.accounting.reservations import Reservations
from app.datasets.service import DatasetService
from app.db.transactions import Sessions
from app.jobs.accounts import ACCOUNTS
from app.jobs.deliveries.service import DeliveryService
from app.jobs.events.listener_limit import ListenerLimit
from app.jobs.events.reader import EventReader
from app.jobs.relay import Relay
from app.jobs.service import JobService
from app.jobs.submission.document import DocumentReceiver
from app.metrics.service import ServiceMetrics
from app.outbound.client import OutboundClient
from app.settings import Settings
from app.storage import ArtifactStore
from app.uploads.partial import PartialUploads
from app.uploads.service import UploadService
from app.webhooks.service import WebhookService


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """All that routes use beside the request itself."""

    settings: Settings
    store: ArtifactStore
    metrics: ServiceMetrics
    outbound: OutboundClient
    keys: ApiKeyService
    callers: Callers
    key_watch: KeyWatch
    rate: RateLimit
    reservations: Reservations
    jobs: JobService
    documents: DocumentReceiver
    events: EventReader
    listeners: ListenerLimit
    uploads: UploadService
    partial_uploads: PartialUploads
    datasets: DatasetService
    deliveries: DeliveryService
    webhooks: WebhookService


def create_services(
    settings: Settings, sessions: Sessions, store: ArtifactStore, relay: Relay, metrics: ServiceMetrics
) -> Services:
    """Create the services on a database and a store."""
    keys = ApiKeyService(sessions)
    outbound = OutboundClient(settings.outbound_networks)
    uploads = UploadService(settings, sessions, store, ACCOUNTS)
    datasets = DatasetService(settings, sessions, store, ACCOUNTS)
    return Services(
        settings=settings,
        store=store,
        metrics=metrics,
        outbound=outbound,
        keys=keys,
        callers=Callers(keys),
        key_watch=KeyWatch(keys.authenticate_all),
        rate=create_rate_limit(settings),
        reservations=Reservations(settings, sessions, store, ACCOUNTS),
        jobs=JobService(settings, sessions, store, relay),
        documents=DocumentReceiver(settings, store, uploads, datasets, outbound),
        events=EventReader(sessions),
        listeners=ListenerLimit(settings.max_listeners, several_tenants=settings.keys_required),
        uploads=uploads,
        partial_uploads=PartialUploads(settings, sessions, store, ACCOUNTS),
        datasets=datasets,
        deliveries=DeliveryService(sessions),
        webhooks=WebhookService(sessions),
    )


def provide_services(app: FastAPI, services: Services) -> None:
    """Give the services to the requests of an application."""
    app.state.services = services


def services_of(request: Request) -> Services:
    """Return the services of the application that a request is for."""
    services: Services = request.app.state.services
    return services


async def _services(request: Request) -> Services:
    # A coroutine, because FastAPI sends plain functions to a thread.
    return services_of(request)


RequestServices = Annotated[Services, Depends(_services)]

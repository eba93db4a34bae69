"""Settings of the service: one class, read from the environment with the prefix `NERN_`."""

import os
from datetime import timedelta
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Self

from pydantic import AnyHttpUrl, BeforeValidator, ByteSize, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

FILESYSTEM_BROKER = "filesystem://localhost"
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class Authentication(StrEnum):
    """Clients that are served: holders of API keys, or everybody on this machine."""

    KEYS = "keys"
    NONE = "none"


class Downloads(StrEnum):
    """Delivery of results: through the API, or by a redirect to the bucket."""

    PROXIED = "proxied"
    REDIRECTED = "redirected"


# A bucket name by the rules of S3, and a prefix whose characters need no escaping in URLs.
_BUCKET_URL = r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?)?$"


def _as_seconds(value: object) -> object:
    """Convert a plain number in the environment to seconds."""
    return float(value) if isinstance(value, str) and value.replace(".", "", 1).isdigit() else value


Seconds = Annotated[timedelta, BeforeValidator(_as_seconds)]


class Settings(BaseSettings):
    """Locations and limits. The defaults are the embedded mode: one folder, no servers."""

    model_config = SettingsConfigDict(env_prefix="NERN_", frozen=True, extra="ignore")

    data_dir: Annotated[Path, Field(description="Folder for all data whose location is not set otherwise.")] = Path(
        "nern-data"
    )
    database_url: Annotated[
        str, Field(description="SQLAlchemy URL. Default: an SQLite file in the data folder.", repr=False)
    ] = ""
    broker_url: Annotated[
        str, Field(description="URL of the Celery broker. Default: a folder in the data folder.", repr=False)
    ] = FILESYSTEM_BROKER
    broker_prefix: Annotated[
        str, Field(description="Prefix of all keys in Redis, for several services that share one server.")
    ] = "nern:"
    artifact_dir: Annotated[
        Path | None,
        Field(
            description="Folder for uploads and results; with a bucket, for uploads in progress. Default: in the data "
            "folder."
        ),
    ] = None
    artifact_store: Annotated[
        str,
        Field(
            pattern=_BUCKET_URL,
            description="`s3://bucket/prefix` for uploads, results and snapshots. Default: the artifact folder.",
        ),
    ] = ""
    s3_endpoint: Annotated[
        AnyHttpUrl | None,
        Field(description="URL of an S3-compatible store. Default: `AWS_ENDPOINT_URL_S3`, or AWS in the region."),
    ] = None
    s3_public_endpoint: Annotated[
        AnyHttpUrl | None,
        Field(description="URL of the same store for redirected clients, if it differs for them."),
    ] = None
    s3_region: Annotated[str, Field(description="Region of the bucket. Default: `AWS_REGION`, or `us-east-1`.")] = ""
    s3_access_key_id: Annotated[
        str, Field(description="Access key. Default: `AWS_ACCESS_KEY_ID`, or the role of the machine.")
    ] = ""
    s3_secret_access_key: Annotated[
        SecretStr | None, Field(description="Secret of the access key. Default: `AWS_SECRET_ACCESS_KEY`.")
    ] = None
    s3_allow_http: Annotated[
        bool, Field(description="Whether plain HTTP is allowed for a store on another machine.")
    ] = False
    downloads: Annotated[
        Downloads,
        Field(
            description="`proxied`: results come through the API. `redirected`: large results come from the bucket, by "
            "a URL that is valid for a short time."
        ),
    ] = Downloads.PROXIED
    redirect_lifetime: Annotated[
        Seconds,
        Field(
            ge=timedelta(seconds=10),
            le=timedelta(days=7),
            description="Validity of such a URL. A download in progress continues after it.",
        ),
    ] = timedelta(minutes=5)
    scratch_dir: Annotated[Path | None, Field(description="Working folder of jobs. Default: in the data folder.")] = (
        None
    )
    dataset_roots: Annotated[
        tuple[Path, ...],
        NoDecode,
        Field(
            description="Folders, separated by colons, that contain the data sets for jobs. Empty in the embedded "
            "mode: any local folder."
        ),
    ] = ()
    authentication: Annotated[
        Authentication | None,
        Field(
            description="`keys`: requests need an API key. `none`: requests need no key, but only this machine is "
            "served. Default: `none` in the embedded mode, otherwise `keys`."
        ),
    ] = None
    allowed_hosts: Annotated[
        tuple[str, ...],
        NoDecode,
        Field(
            description="Host names, separated by commas, that the service accepts besides loopback. Default: any with "
            "keys, no others without."
        ),
    ] = ()
    trusted_proxies: Annotated[
        tuple[IPv4Network | IPv6Network, ...],
        NoDecode,
        Field(
            description="Networks, separated by commas, of the proxies whose `X-Forwarded-Proto` and `X-Forwarded-For` "
            "are trusted."
        ),
    ] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
    requests_per_minute: Annotated[int, Field(ge=0, description="Requests per minute and key; 0 means unlimited.")] = (
        3000
    )
    max_active_jobs: Annotated[
        int, Field(ge=0, description="Queued and running jobs per tenant with keys; 0 means unlimited.")
    ] = 100
    max_stored_bytes: Annotated[
        ByteSize,
        Field(
            ge=0,
            description="Bytes of checkpoints, data sets and results per tenant with keys; 0 means unlimited.",
        ),
    ] = ByteSize(100 * 2**30)
    outbound_networks: Annotated[
        tuple[IPv4Network | IPv6Network, ...],
        NoDecode,
        Field(
            description="Non-public networks, separated by commas, that the service may send requests to, also without "
            "TLS."
        ),
    ] = ()
    mlflow_tracking_uri: Annotated[
        str,
        Field(
            pattern=r"^(https?://[^/\s]\S*)?$",
            description="URL of the MLflow server whose models and runs jobs may name as checkpoints, with "
            "credentials if needed: `https://user:password@host`. Default: no server. Everyone who may submit jobs can "
            "encode all that this server shows to the service.",
            repr=False,
        ),
    ] = ""
    mlflow_tracking_token: Annotated[
        str, Field(pattern=r"^\S*$", description="Bearer token for the MLflow server.", repr=False)
    ] = ""
    metrics_token: Annotated[
        str,
        Field(
            pattern=r"^(\S{16,})?$",
            description="Bearer token that Prometheus sends to `GET /metrics`, at least 16 characters. Default: with "
            "API keys metrics are disabled, without keys they need no token.",
            repr=False,
        ),
    ] = ""
    otlp_endpoint: Annotated[
        str,
        Field(
            pattern=r"^(https?://\S+)?$",
            description="URL of an OpenTelemetry collector for traces by OTLP over HTTP. Default: "
            "OTEL_EXPORTER_OTLP_ENDPOINT; if neither is set, tracing is off.",
        ),
    ] = ""
    max_connections: Annotated[
        int,
        Field(
            ge=1,
            description="Connections served at once, plus 32 for probes. Lowered if the process's limit of open files "
            "is too low.",
        ),
    ] = 1000
    max_connections_per_address: Annotated[
        int,
        Field(
            ge=0,
            description="Connections per client address, with IPv6 per /64 network; 0 means unlimited. Does not apply "
            "to `trusted_proxies`.",
        ),
    ] = 250
    write_timeout: Annotated[
        Seconds,
        Field(ge=timedelta(seconds=1), description="A connection whose client reads nothing for this long is closed."),
    ] = timedelta(seconds=60)
    max_listeners: Annotated[
        int,
        Field(
            ge=0,
            description="Requests per API process that wait for events of jobs at once, as streams or by `wait`. With "
            "keys, one tenant may have half of them.",
        ),
    ] = 500
    body_idle_timeout: Annotated[
        Seconds, Field(description="An upload or a fetch that pauses for this long is aborted.", gt=timedelta(0))
    ] = timedelta(seconds=30)
    body_bytes_per_second: Annotated[
        ByteSize,
        Field(description="Minimum speed of an upload or a fetch in bytes per second; a slower one is aborted."),
    ] = ByteSize(1024)
    max_upload_bytes: Annotated[ByteSize, Field(description="Maximum size of a checkpoint or data set.")] = ByteSize(
        8 * 2**30
    )
    fetch_timeout: Annotated[
        Seconds, Field(description="Timeout for fetching a checkpoint from its URL.", gt=timedelta(0))
    ] = timedelta(minutes=5)
    disk_reserve: Annotated[
        ByteSize, Field(description="Free space that uploads leave on the artifact disk, for results and databases.")
    ] = ByteSize(2**30)
    max_partial_uploads: Annotated[int, Field(ge=1, description="Unfinished uploads per tenant.")] = 16
    keep_results: Annotated[Seconds, Field(description="Retention of a job's files after its end.")] = timedelta(
        days=30
    )
    keep_uploads: Annotated[
        Seconds, Field(description="Retention of an uploaded checkpoint after it was last sent or named by a job.")
    ] = timedelta(days=7)
    keep_partial_uploads: Annotated[
        Seconds, Field(description="Retention of an unfinished upload after its last bytes.")
    ] = timedelta(days=1)
    keep_idempotency_keys: Annotated[
        Seconds, Field(description="Validity of an Idempotency-Key after it was first sent.")
    ] = timedelta(days=1)
    collect_interval: Annotated[Seconds, Field(description="Pause between removals of unneeded files.")] = timedelta(
        minutes=5
    )
    collect_grace: Annotated[
        Seconds,
        Field(
            ge=timedelta(minutes=5),
            description="Unneeded files are removed at this age. It must exceed the time between storing a file and "
            "committing the row that names it.",
        ),
    ] = timedelta(hours=1)
    lease: Annotated[Seconds, Field(description="A worker that is silent for this long loses its job.")] = timedelta(
        seconds=30
    )
    max_attempts: Annotated[int, Field(ge=1, description="A job fails when its worker was lost this many times.")] = 3
    job_deadline: Annotated[Seconds, Field(description="Time limit of one attempt; a job that exceeds it fails.")] = (
        timedelta(hours=24)
    )
    job_memory: Annotated[
        ByteSize | None,
        Field(description="Memory limit of a job. Default: three quarters of the memory of the worker's machine."),
    ] = None
    snapshot_interval: Annotated[
        Seconds, Field(description="Pause between snapshots, from which a job resumes if its worker is lost.")
    ] = timedelta(seconds=20)
    require_sandbox: Annotated[
        bool,
        Field(
            description="Whether a worker takes no jobs if the kernel lacks Landlock or seccomp. Otherwise the worker "
            "only logs what is missing."
        ),
    ] = False
    relay_interval: Annotated[
        Seconds, Field(description="Pause between checks for jobs to announce and webhooks to deliver.")
    ] = timedelta(seconds=1)
    announce_pause: Annotated[
        Seconds,
        Field(description="Pause before a queued job that no worker took is announced again; doubled each time."),
    ] = timedelta(seconds=60)

    @field_validator("dataset_roots", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part for part in value.split(os.pathsep) if part) if isinstance(value, str) else value

    @field_validator("allowed_hosts", "outbound_networks", "trusted_proxies", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _outlast_leases(self) -> Self:
        if self.collect_grace <= self.lease:
            raise ValueError(
                "`collect_grace` must be longer than `lease`, because a silent worker may still store results"
            )
        return self

    @model_validator(mode="after")
    def _complete_bucket(self) -> Self:
        if bool(self.s3_access_key_id) != (self.s3_secret_access_key is not None):
            raise ValueError("`s3_access_key_id` and `s3_secret_access_key` belong together: set both or neither")
        of_bucket = {name for name in self.model_fields_set if name.startswith("s3_")}
        if self.downloads is Downloads.REDIRECTED:
            of_bucket.add("downloads")
        if of_bucket and not self.artifact_store:
            raise ValueError(f"`{min(of_bucket)}` needs a bucket: set `artifact_store` too")
        return self

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the database."""
        return self.database_url or f"sqlite:///{self.data_dir / 'nern.db'}"

    @property
    def artifacts(self) -> Path:
        """Folder of the artifact store; with a bucket, of files that are not yet in it."""
        return self.artifact_dir or self.data_dir / "artifacts"

    @property
    def scratch(self) -> Path:
        """Working folder of jobs."""
        return self.scratch_dir or self.data_dir / "scratch"

    @property
    def snapshots(self) -> Path:
        """Folder of the snapshots of running jobs, which all workers must reach. With a bucket, they are in it."""
        return self.artifacts / "snapshots"

    @property
    def embedded(self) -> bool:
        """True if database and broker are local files: one machine, one user."""
        # Called for every request, and parsing the URL takes as long as a query.
        return self.database.startswith("sqlite") and self.broker_url == FILESYSTEM_BROKER

    @property
    def keys_required(self) -> bool:
        """True if requests need an API key."""
        default = Authentication.NONE if self.embedded else Authentication.KEYS
        return (self.authentication or default) is Authentication.KEYS

    @property
    def hosts(self) -> tuple[str, ...]:
        """Accepted host names; `*` means any."""
        if self.keys_required and not self.allowed_hosts:
            return ("*",)
        return (*self.allowed_hosts, *_LOOPBACK_NAMES)

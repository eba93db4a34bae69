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
    """Who is served: holders of API keys, or everybody on this machine."""

    KEYS = "keys"
    NONE = "none"


class Downloads(StrEnum):
    """How clients get results: through the API, or from the bucket, to which the API sends them."""

    PROXIED = "proxied"
    REDIRECTED = "redirected"


# A bucket by the rules of S3, and a prefix of letters that no part of a URL has to escape.
_BUCKET_URL = r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?)?$"


def _as_seconds(value: object) -> object:
    """A plain number in the environment is a number of seconds."""
    return float(value) if isinstance(value, str) and value.replace(".", "", 1).isdigit() else value


Seconds = Annotated[timedelta, BeforeValidator(_as_seconds)]


class Settings(BaseSettings):
    """Where things are and how much is allowed. The defaults are the embedded mode: one folder, no servers."""

    model_config = SettingsConfigDict(env_prefix="NERN_", frozen=True, extra="ignore")

    data_dir: Annotated[Path, Field(description="Folder of everything that has no place of its own.")] = Path(
        "nern-data"
    )
    database_url: Annotated[
        str, Field(description="SQLAlchemy URL; default: an SQLite file in the data folder.", repr=False)
    ] = ""
    broker_url: Annotated[
        str, Field(description="Celery broker; the default is a folder in the data folder.", repr=False)
    ] = FILESYSTEM_BROKER
    broker_prefix: Annotated[
        str, Field(description="What the names of all keys in Redis start with, where several services share one.")
    ] = "nern:"
    artifact_dir: Annotated[
        Path | None,
        Field(
            description="Folder of uploads and results; with a bucket, of uploads that still arrive. Default: in the "
            "data folder."
        ),
    ] = None
    artifact_store: Annotated[
        str,
        Field(
            pattern=_BUCKET_URL,
            description="`s3://bucket/prefix`: uploads, results and snapshots are kept there. Default: in the folder.",
        ),
    ] = ""
    s3_endpoint: Annotated[
        AnyHttpUrl | None,
        Field(description="Address of an S3-compatible store. Default: `AWS_ENDPOINT_URL_S3`, or AWS in the region."),
    ] = None
    s3_public_endpoint: Annotated[
        AnyHttpUrl | None,
        Field(description="Address of the same store for clients that are redirected, if they know it by another one."),
    ] = None
    s3_region: Annotated[str, Field(description="Region of the bucket. Default: `AWS_REGION`, or `us-east-1`.")] = ""
    s3_access_key_id: Annotated[
        str, Field(description="Access key. Default: `AWS_ACCESS_KEY_ID`, or the role of the machine.")
    ] = ""
    s3_secret_access_key: Annotated[
        SecretStr | None, Field(description="Secret of the access key. Default: `AWS_SECRET_ACCESS_KEY`.")
    ] = None
    s3_allow_http: Annotated[
        bool, Field(description="Whether the store may be reached without TLS on another machine than this one.")
    ] = False
    downloads: Annotated[
        Downloads,
        Field(
            description="`proxied`: results come through the API. `redirected`: large ones come from the bucket, by an "
            "address that is good for a short while."
        ),
    ] = Downloads.PROXIED
    redirect_lifetime: Annotated[
        Seconds,
        Field(
            ge=timedelta(seconds=10),
            le=timedelta(days=7),
            description="How long such an address is good for; a download that has begun goes on beyond it.",
        ),
    ] = timedelta(minutes=5)
    scratch_dir: Annotated[Path | None, Field(description="Folder that jobs work in; default: in the data folder.")] = (
        None
    )
    dataset_roots: Annotated[
        tuple[Path, ...],
        NoDecode,
        Field(
            description="Folders, separated by colons, below which jobs may name data sets. Empty in the embedded "
            "mode: any local folder."
        ),
    ] = ()
    authentication: Annotated[
        Authentication | None,
        Field(
            description="`keys`: whoever sends an API key is served. `none`: nobody needs one, and only this machine "
            "is served. Default: `none` in the embedded mode, otherwise `keys`."
        ),
    ] = None
    allowed_hosts: Annotated[
        tuple[str, ...],
        NoDecode,
        Field(
            description="Host names, separated by commas, that the service answers to beside those of loopback. "
            "Default: any with keys, no other without."
        ),
    ] = ()
    trusted_proxies: Annotated[
        tuple[IPv4Network | IPv6Network, ...],
        NoDecode,
        Field(
            description="Networks, separated by commas, of the proxies whose `X-Forwarded-Proto` and `X-Forwarded-For` "
            "say how and from where a client has connected."
        ),
    ] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
    requests_per_minute: Annotated[int, Field(ge=0, description="Requests that a key may make a minute; 0: any.")] = (
        3000
    )
    max_active_jobs: Annotated[
        int, Field(ge=0, description="Jobs that a tenant with keys may have queued or running at once; 0: any.")
    ] = 100
    max_stored_bytes: Annotated[
        ByteSize,
        Field(
            ge=0,
            description="Bytes that the checkpoints, data sets and results of a tenant with keys may take; 0: any.",
        ),
    ] = ByteSize(100 * 2**30)
    outbound_networks: Annotated[
        tuple[IPv4Network | IPv6Network, ...],
        NoDecode,
        Field(
            description="Networks, separated by commas, that the service may send requests to although they are not "
            "public, and without TLS."
        ),
    ] = ()
    mlflow_tracking_uri: Annotated[
        str,
        Field(
            pattern=r"^(https?://[^/\s]\S*)?$",
            description="Address of the MLflow server whose models and runs jobs may name as their checkpoints; "
            "`https://user:password@host` where it asks for these. Default: none. Whoever may submit jobs can encode "
            "whatever this server shows to the service.",
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
            description="What Prometheus has to send to `GET /metrics` as a bearer token, 16 characters or more. "
            "Default: with keys there are no metrics, without keys they need no token.",
            repr=False,
        ),
    ] = ""
    otlp_endpoint: Annotated[
        str,
        Field(
            pattern=r"^(https?://\S+)?$",
            description="Address of an OpenTelemetry collector that takes traces by OTLP over HTTP. Default: that of "
            "OTEL_EXPORTER_OTLP_ENDPOINT, if it is set; without either there are no traces.",
        ),
    ] = ""
    max_connections: Annotated[
        int,
        Field(
            ge=1,
            description="Connections that are served at once; 32 more are for probes. Fewer where the process may not "
            "have so many files open.",
        ),
    ] = 1000
    max_connections_per_address: Annotated[
        int,
        Field(
            ge=0,
            description="Connections that one address, or with IPv6 a network of 64 bits, may have; 0: any. The "
            "proxies that `trusted_proxies` names may have any number.",
        ),
    ] = 250
    write_timeout: Annotated[
        Seconds,
        Field(ge=timedelta(seconds=1), description="A connection whose client reads nothing for so long is ended."),
    ] = timedelta(seconds=60)
    max_listeners: Annotated[
        int,
        Field(
            ge=0,
            description="Requests of one API process that wait for events of jobs at once, as streams or by `wait`. "
            "With keys, one tenant may have half of them.",
        ),
    ] = 500
    body_idle_timeout: Annotated[
        Seconds, Field(description="An upload that pauses for so long is cut off.", gt=timedelta(0))
    ] = timedelta(seconds=30)
    body_bytes_per_second: Annotated[
        ByteSize, Field(description="An upload that is slower than so many bytes a second is cut off.")
    ] = ByteSize(1024)
    max_upload_bytes: Annotated[
        ByteSize, Field(description="Largest checkpoint, and largest data set, that is accepted.")
    ] = ByteSize(8 * 2**30)
    fetch_timeout: Annotated[
        Seconds, Field(description="How long it may take to fetch a checkpoint from its URL.", gt=timedelta(0))
    ] = timedelta(minutes=5)
    disk_reserve: Annotated[
        ByteSize, Field(description="What uploads leave free on the disk of the artifacts, for results and databases.")
    ] = ByteSize(2**30)
    max_partial_uploads: Annotated[
        int, Field(ge=1, description="Uploads that each tenant may have begun and not finished.")
    ] = 16
    keep_results: Annotated[Seconds, Field(description="How long the files of a job are kept after its end.")] = (
        timedelta(days=30)
    )
    keep_uploads: Annotated[
        Seconds, Field(description="How long a checkpoint is kept for jobs to name, after it was last sent or named.")
    ] = timedelta(days=7)
    keep_partial_uploads: Annotated[
        Seconds, Field(description="How long an unfinished upload is kept after its last bytes.")
    ] = timedelta(days=1)
    keep_idempotency_keys: Annotated[
        Seconds, Field(description="How long an Idempotency-Key stands for the job that it was first sent with.")
    ] = timedelta(days=1)
    collect_interval: Annotated[Seconds, Field(description="Pause between collections of what may be removed.")] = (
        timedelta(minutes=5)
    )
    collect_grace: Annotated[
        Seconds,
        Field(
            ge=timedelta(minutes=5),
            description="Files that nobody needs are removed when they are this old; longer than anything takes "
            "between the file and the row that names it.",
        ),
    ] = timedelta(hours=1)
    lease: Annotated[Seconds, Field(description="A worker that is silent for so long has lost its job.")] = timedelta(
        seconds=30
    )
    max_attempts: Annotated[int, Field(ge=1, description="A job whose worker is lost so often has failed.")] = 3
    job_deadline: Annotated[
        Seconds, Field(description="A job that has run for so long in one attempt is stopped, and has failed.")
    ] = timedelta(hours=24)
    job_memory: Annotated[
        ByteSize | None,
        Field(description="Memory that a job may take; default: three quarters of what the worker's machine has."),
    ] = None
    snapshot_interval: Annotated[
        Seconds, Field(description="Pause between the snapshots that a job goes on from if its worker is lost.")
    ] = timedelta(seconds=20)
    require_sandbox: Annotated[
        bool,
        Field(
            description="Whether a worker leaves jobs to others where the kernel offers no Landlock or no seccomp. "
            "Otherwise the worker's log says what is missing."
        ),
    ] = False
    relay_interval: Annotated[
        Seconds, Field(description="Pause between looks for jobs to announce and webhooks to deliver.")
    ] = timedelta(seconds=1)
    announce_pause: Annotated[
        Seconds,
        Field(description="A queued job that no worker has taken for so long is announced again; doubled each time."),
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
            raise ValueError("`collect_grace` must be longer than `lease`: a silent worker may still store results")
        return self

    @model_validator(mode="after")
    def _complete_bucket(self) -> Self:
        if bool(self.s3_access_key_id) != (self.s3_secret_access_key is not None):
            raise ValueError("`s3_access_key_id` and `s3_secret_access_key` belong together: set both or none")
        of_bucket = {name for name in self.model_fields_set if name.startswith("s3_")}
        if self.downloads is Downloads.REDIRECTED:
            of_bucket.add("downloads")
        if of_bucket and not self.artifact_store:
            raise ValueError(f"`{min(of_bucket)}` is for a bucket: set `artifact_store` too")
        return self

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the database."""
        return self.database_url or f"sqlite:///{self.data_dir / 'nern.db'}"

    @property
    def artifacts(self) -> Path:
        """Folder of the artifact store; with a bucket, of what is still to be put into it."""
        return self.artifact_dir or self.data_dir / "artifacts"

    @property
    def scratch(self) -> Path:
        """Folder that jobs work in."""
        return self.scratch_dir or self.data_dir / "scratch"

    @property
    def snapshots(self) -> Path:
        """Folder of the snapshots of running jobs, which all workers must reach; with a bucket they are there."""
        return self.artifacts / "snapshots"

    @property
    def embedded(self) -> bool:
        """Whether database and broker are local files: one machine, one user."""
        # Every request asks, and to parse the URL takes as long as a query.
        return self.database.startswith("sqlite") and self.broker_url == FILESYSTEM_BROKER

    @property
    def keys_required(self) -> bool:
        """Whether requests need an API key."""
        default = Authentication.NONE if self.embedded else Authentication.KEYS
        return (self.authentication or default) is Authentication.KEYS

    @property
    def hosts(self) -> tuple[str, ...]:
        """The host names that the service answers to; `*` is any."""
        if self.keys_required and not self.allowed_hosts:
            return ("*",)
        return (*self.allowed_hosts, *_LOOPBACK_NAMES)

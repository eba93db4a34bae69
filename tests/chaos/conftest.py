import os
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from app.settings import Authentication, Settings
from tests.chaos.experiment import Backends, Experiment, experiment_on
from tests.chaos.proxy import proxy_to
from tests.chaos.servers import Postgres, Redis, private_postgres, private_redis

# Short, so that experiments take seconds: a lost worker is detected after the first, a lost message after the second.
LEASE = timedelta(seconds=4)
PAUSE = timedelta(seconds=3)
PATIENT = 20


def sentence(request: pytest.FixtureRequest) -> str:
    """The name of an experiment in the results: the sentence in its docstring, and its parameters."""
    _, bracket, parameters = request.node.name.partition("[")
    return str(request.function.__doc__).strip().rstrip(".") + (f" ({parameters[:-1]})" if bracket else "")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with private_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def private_broker() -> Iterator[Redis]:
    with private_redis() as server:
        yield server


@pytest.fixture
def experiment(
    request: pytest.FixtureRequest, postgres: Postgres, private_broker: Redis, tmp_path: Path
) -> Iterator[Experiment]:
    """An experiment on PostgreSQL and Redis behind proxies."""
    postgres.start()
    private_broker.start()
    private_broker.empty()
    with ExitStack() as stack:
        to_postgres = stack.enter_context(proxy_to(postgres.port))
        to_redis = stack.enter_context(proxy_to(private_broker.port))
        stack.callback(postgres.start)
        url = postgres.url(postgres.create_database(), to_postgres.port)
        settings = Settings(
            authentication=Authentication.NONE,
            data_dir=tmp_path / "data",
            database_url=url.replace("postgresql:", "postgresql+psycopg:", 1),
            broker_url=f"redis://127.0.0.1:{to_redis.port}/0",
            lease=LEASE,
            announce_pause=PAUSE,
            max_attempts=PATIENT,
        )
        backends = Backends(postgres, private_broker, to_postgres, to_redis)
        yield stack.enter_context(experiment_on(sentence(request), settings, tmp_path, backends))


@pytest.fixture
def embedded_experiment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Experiment]:
    """An experiment on SQLite and folders."""
    settings = Settings(data_dir=tmp_path / "data", lease=LEASE, announce_pause=PAUSE, max_attempts=PATIENT)
    with experiment_on(sentence(request), settings, tmp_path) as experiment:
        yield experiment


@pytest.fixture
def scale() -> int:
    """Size of an experiment relative to CI; `make chaos` sets it."""
    return int(os.environ.get("NERN_CHAOS_SCALE", "1"))

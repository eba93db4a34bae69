"""The API against its own description: for any input, every answer is a documented one."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.access.caller import Scope
from app.access.service import ApiKeyService
from app.access.token import Token
from app.db.engine import create_sessions
from app.db.schema import migrate
from app.settings import Authentication, Settings
from tests.conftest import EXAMPLE, ROOT
from tests.processes import Service

SCHEMATHESIS = str(Path(sys.executable).with_name("schemathesis"))
CONFIGURATION = """
hooks = "tests.service.schemathesis_hooks"

# The description cannot say that a checkpoint must be one: what fits it may still be refused.
checks.positive_data_acceptance.enabled = false
# A wrong version of tus is 412 before anything else is looked at.
checks.negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 406, 409, 411, 412, 413, 415, 422]

[parameters]
job_id = "{job_id}"
sha256 = "{sha256}"
"""


@pytest.fixture
def settings(embedded: Settings) -> Settings:
    """Settings of the embedded mode with keys, so that keys are tested too."""
    return embedded.model_copy(update={"authentication": Authentication.KEYS, "requests_per_minute": 0})


@pytest.fixture
def token(settings: Settings) -> Iterator[Token]:
    """A key with all scopes."""
    migrate(settings)
    sessions = create_sessions(settings)
    yield ApiKeyService(sessions).create("acme", tuple(Scope))
    sessions.kw["bind"].dispose()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_answer_is_one_that_the_description_names(service: Service, token: Token, tmp_path: Path) -> None:
    service.start_api()
    service.client.http.headers["Authorization"] = f"Bearer {token.reveal()}"
    job = service.client.get(service.client.submit(EXAMPLE))
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(CONFIGURATION.format(job_id=job["id"], sha256=job["checkpoint"]["sha256"]))
    address = f"http://127.0.0.1:{service.port}/openapi.json"
    command = [SCHEMATHESIS, "--config-file", str(configuration), "run", address, "--no-color", "--seed", "1"]
    command += ["--max-examples", "30", "--header", f"Authorization: Bearer {token.reveal()}"]
    # It writes files into its working folder.
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout
    selected = re.search(r"Selected: (\d+)/(\d+)\s+Tested: (\d+)", found.stdout)
    assert selected is not None
    assert len(set(selected.groups())) == 1

"""The compose file's commands as plain processes, because its images need an engine that tests may not have."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from app.settings import Settings
from tests.conftest import DIGITS, ROOT
from tests.processes import Client, environment, free_port, process, wait_for

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
BIN = Path(sys.executable).parent


def command_of(service: str, port: int = 8000) -> list[str]:
    """Return the command of a service, with this environment's programs, on loopback."""
    program, *arguments = COMPOSE["services"][service]["command"]
    here = {"0.0.0.0": "127.0.0.1", "8000": str(port)}
    return [str(BIN / program), *(here.get(argument, argument) for argument in arguments)]


def environment_of(service: str, settings: Settings) -> dict[str, str]:
    """Return the variables in the compose file, with the addresses and folders of this test."""
    given: dict[str, str] = COMPOSE["services"][service]["environment"]
    here = environment(settings)
    outside = {name: value for name, value in os.environ.items() if not name.startswith("NERN_")}
    own = {"NERN_BROKER_PREFIX": settings.broker_prefix, "PYTHONPATH": str(ROOT)}
    return outside | {name: here.get(name, value) for name, value in given.items()} | own


@pytest.mark.slow
@pytest.mark.gate
@pytest.mark.parametrize("settings", ["production"], indirect=True)
def test_the_commands_of_the_compose_file_make_a_service(settings: Settings, tmp_path: Path) -> None:
    settings = Settings(
        **{name: getattr(settings, name) for name in settings.model_fields_set},
        artifact_dir=tmp_path / "artifacts",
        scratch_dir=tmp_path / "scratch",
    )
    port = free_port()
    migrated = subprocess.run(
        command_of("migrate"), env=environment_of("migrate", settings), cwd=tmp_path, check=True, capture_output=True
    )
    assert b"up to date" in migrated.stdout
    made = subprocess.run(
        [str(BIN / "nern"), "keys", "create", "--tenant", "me"],
        env=environment_of("api", settings),
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    with ExitStack() as stack, Client(port) as client:
        for service in ("api", "worker", "worker-gpu"):
            env = environment_of(service, settings)
            stack.enter_context(process(command_of(service, port), env, tmp_path / f"{service}.log"))
        wait_for(client.is_ready, what="the API did not start")
        assert client.http.get("/jobs").status_code == 401
        client.http.headers["Authorization"] = f"Bearer {made.stdout.strip()}"
        on_cpu = client.submit(architecture="digits-cnn", dataset=DIGITS.name, steps=20, hidden_size=16)
        on_gpu = client.submit(device="gpu", steps=20, hidden_size=16)
        job = client.ended(on_cpu)
        assert job["status"] == "succeeded", job["message"]
        assert job["metrics"]["original_accuracy"] > 95
        expected = "succeeded" if torch.cuda.is_available() else "failed"
        assert client.ended(on_gpu)["status"] == expected


def test_the_api_is_published_on_loopback_only() -> None:
    assert COMPOSE["services"]["api"]["ports"] == ["127.0.0.1:8000:8000"]


def test_no_password_is_written_down() -> None:
    assert "${POSTGRES_PASSWORD:?" in COMPOSE["services"]["postgres"]["environment"]["POSTGRES_PASSWORD"]
    assert "${POSTGRES_PASSWORD:?" in COMPOSE["services"]["api"]["environment"]["NERN_DATABASE_URL"]


def test_the_image_holds_every_package() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    for package in ("app", "worker", "nern_core", "nern_client", "nern_cli", "migrations"):
        assert f"COPY {package} {package}\n" in dockerfile

"""The workflow against GitHub's schema, and its unchanged steps against a real service."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.conftest import EXAMPLE, ROOT
from tests.shared_service import SharedService, Tenant

FILE = ROOT / "deploy" / "github-actions" / "encode.yml"
# In YAML 1.1, which PyYAML reads, `on` is true.
WORKFLOW: dict[Any, Any] = {
    "on" if key is True else key: value for key, value in yaml.safe_load(FILE.read_text()).items()
}
STEPS: dict[str, dict[str, Any]] = {
    step["name"]: step for step in WORKFLOW["jobs"]["encode"]["steps"] if "name" in step
}
PAGE = (ROOT / "docs" / "github-actions.md").read_text()
SCHEMA: dict[str, Any] = json.loads(
    (files("check_jsonschema") / "builtin_schemas" / "vendor" / "github-workflows.json").read_text()
)
# Requirements of the package beyond those that the workflow installs for its client.
NOT_INSTALLED = (
    *("alembic", "celery", "constriction", "fastapi", "jinja2", "kombu", "matplotlib", "numba", "numpy"),
    *("prometheus_client", "psycopg", "pydantic_settings", "python_multipart", "pytorch_optimizer", "redis"),
    *("safetensors", "sqlalchemy", "starlette", "structlog", "torch", "torchvision", "uuid_utils", "uvicorn"),
    "zstandard",
)
REFUSAL = f"""
import sys

class Refusal:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {NOT_INSTALLED!r}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refusal())
"""


def test_the_workflow_fits_the_schema_and_so_does_the_one_that_calls_it() -> None:
    validator = jsonschema.Draft7Validator(SCHEMA)
    validator.validate(WORKFLOW)
    caller = yaml.safe_load(PAGE.partition("```yaml\n")[2].partition("```")[0])
    caller["on"] = caller.pop(True)
    validator.validate(caller)
    given = caller["jobs"]["encode"]["with"]
    inputs = WORKFLOW["on"]["workflow_call"]["inputs"]
    assert given.keys() <= inputs.keys()
    assert {name for name, asked in inputs.items() if asked.get("required")} <= given.keys()


def test_the_schema_refuses_what_is_misspelt() -> None:
    wrong = WORKFLOW | {"jobs": {"encode": {"runs-on": "ubuntu-latest", "step": []}}}
    assert not jsonschema.Draft7Validator(SCHEMA).is_valid(wrong)


def test_what_others_choose_reaches_scripts_as_variables_only() -> None:
    scripts = [step["run"] for step in WORKFLOW["jobs"]["encode"]["steps"] if "run" in step]
    assert len(scripts) == 4
    assert not any("${{" in script for script in scripts)


@pytest.mark.slow
@pytest.mark.usefixtures("first_job")
@pytest.mark.parametrize("shared", ["embedded"], indirect=True)
def test_the_steps_encode_a_checkpoint_and_refuse_what_costs_too_much(
    shared: SharedService, tenant: Tenant, tmp_path: Path
) -> None:
    folder = tmp_path / "runner"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(EXAMPLE.read_bytes())
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "sitecustomize.py").write_text(REFUSAL)
    env = {
        "NERN_URL": f"http://127.0.0.1:{shared.port}",
        "NERN_API_KEY": tenant.key,
        "CHECKPOINT": "model.safetensors",
        "ARCHITECTURE": "digits-cnn",
        "DATASET": str(ROOT / "examples" / "digits"),
        "RATIO": "4",
        "MOST_POINTS": "5",
        "GITHUB_REPOSITORY": "somebody/network",
        "GITHUB_SHA": "0123456789abcdef",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "without"), str(ROOT)]),
    }
    # Without its own budget, the job would use the recipe's.
    encode = STEPS["Encode"]["run"].replace("--wait", "--steps 60 --wait")
    assert run(encode, env, folder).returncode == 0
    assert run(STEPS["Download"]["run"], env, folder).returncode == 0
    assert run(STEPS["Compare"]["run"], env, folder).returncode == 0
    job = json.loads((folder / "job.json").read_text())
    assert (folder / "encoding.nern").stat().st_size == job["metrics"]["file_bytes"]
    assert job["labels"] == {"repository": "somebody/network", "commit": "0123456789abcdef"}
    assert (tmp_path / "summary").read_text().startswith("231448 bytes, 99.4 %, encoded to ")
    refused = run(STEPS["Compare"]["run"], env | {"MOST_POINTS": "-100"}, folder)
    assert (refused.returncode, "loses more than -100 points" in refused.stdout) == (1, True)


def run(script: str, env: Mapping[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a step like GitHub's runners."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path, **env},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

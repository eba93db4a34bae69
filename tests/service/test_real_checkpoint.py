import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RealCheckpoints
from tests.processes import Service

SCRIPT = Path(__file__).with_name("independent_resnet20.py")


def curl(*arguments: str) -> bytes:
    program = shutil.which("curl")
    assert program is not None, "curl is needed"
    return subprocess.run([program, "--silent", "--show-error", *arguments], check=True, capture_output=True).stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("settings", ["embedded"], indirect=True)
def test_a_public_network_through_curl_has_the_accuracy_that_the_job_reports(
    service: Service, real: RealCheckpoints, tmp_path: Path
) -> None:
    service.start_api()
    service.start_worker()
    base = f"http://127.0.0.1:{service.port}"
    options: dict[str, Any] = {"architecture": "cifar-resnet20", "dataset": str(real.cifar10)}
    options |= {"hidden_size": 160, "permutation": "cross-filter", "steps": 600}
    checkpoint = real.checkpoints / "cifar10-resnet20.th"
    job = json.loads(
        curl("-F", f"checkpoint=@{checkpoint}", "-F", f"options={json.dumps(options)}", f"{base}/jobs").decode()
    )
    job = service.client.ended(job["links"]["self"], 400)
    assert job["status"] == "succeeded", job["message"]
    assert job["metrics"]["original_accuracy"] == 91.73
    assert job["metrics"]["reconstructed_accuracy"] > 88
    for suffix, query in (("safetensors", ""), ("pt", "?format=pt")):
        path = tmp_path / f"weights.{suffix}"
        path.write_bytes(curl("--fail", f"{base}{job['links']['self']}/weights{query}"))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert digest == job["artifacts"][path.name]["sha256"]
        command = [sys.executable, "-I", str(SCRIPT), str(path), str(real.cifar10 / "test.npz")]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        # Nearly equal logits may change their order with another order of summation.
        assert float(printed) == pytest.approx(job["metrics"]["reconstructed_accuracy"], abs=0.02)

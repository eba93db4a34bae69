"""A job whose data are text lines, from the command that uploads them to its results."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.hub_folders import zipped
from tests.processes import NERN
from tests.shared_service import SharedService, Tenant

pytest.importorskip("transformers")

from tests.transformers_folders import GPT2, LINES, folder_of, network_of  # needs the extra


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("first_job")
def test_a_job_divides_uploaded_lines_by_the_tokenizer_of_its_network(
    shared: SharedService, tenant: Tenant, tmp_path: Path
) -> None:
    (tmp_path / "lines.txt").write_text("\n".join(LINES))
    env = os.environ | {
        "NERN_URL": f"http://127.0.0.1:{shared.port}",
        "NERN_API_KEY": tenant.key,
        "PYTHONPATH": str(ROOT),
    }
    upload = [NERN, "datasets", "upload", "lines", str(tmp_path / "lines.txt"), "--json"]
    done = subprocess.run(upload, env=env, check=True, capture_output=True)
    uploaded = json.loads(done.stdout)
    assert uploaded["text_bytes"] == len("\n".join(LINES))
    archive = zipped(folder_of(tmp_path / "gpt2", network_of(GPT2), GPT2))
    address = tenant.client.submit(archive, architecture="transformers:auto", dataset="lines", steps=2, target_ratio=4)
    job = tenant.client.ended(address, 300)
    assert job["status"] == "succeeded", job["message"]
    assert job["dataset_sha256"] == uploaded["sha256"]
    fidelity = job["metrics"]["fidelity"]
    # A tenth of the 48 lines.
    assert fidelity["examples"] == 5
    assert fidelity["original_perplexity"] > 1

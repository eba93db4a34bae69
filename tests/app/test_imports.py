import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize("module", ["app.main", "worker.celery_app", "worker.supervisor", "nern_core.contract.options"])
def test_what_must_stay_small_never_imports_torch(module: str) -> None:
    program = f"import sys, {module}\nassert not {{'torch', 'numba'}} & set(sys.modules)\n"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.mark.parametrize("module", ["app.main", "worker.celery_app"])
def test_without_a_bucket_nothing_of_s3_is_imported(module: str) -> None:
    program = f"import sys, {module}\nassert not {{'obstore', 'app.storage.s3'}} & set(sys.modules)\n"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_the_structure_of_a_checkpoint_is_told_without_torch_and_numpy() -> None:
    program = (
        "import sys, nern_core.formats.checkpoint_structure\n"
        "assert not {'torch', 'numpy', 'safetensors'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.mark.parametrize("module", ["app.main", "worker.celery_app", "nern_cli.commands"])
def test_mlflow_and_the_hub_are_nothing_that_the_service_or_the_command_need(module: str) -> None:
    program = f"import sys, {module}\nassert not {{'mlflow', 'huggingface_hub'}} & set(sys.modules)\n"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)

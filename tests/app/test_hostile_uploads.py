import pytest
from starlette.testclient import TestClient

from app.settings import Settings
from tests.app.conftest import stored_files, submit
from tests.hostile.corpus import corpus


@pytest.mark.slow
def test_every_hostile_file_is_refused_at_the_upload_by_the_code_of_its_reason(
    embedded_client: TestClient, embedded: Settings
) -> None:
    canary = embedded.data_dir / "canary"
    accepted = {"type": None}
    expected, found = {}, {}
    for file in corpus(canary):
        expected[file.name] = (202, None) if file.api_code is None else (422, file.api_code.replace("_", "-"))
        answer = submit(embedded_client, checkpoint=file.content)
        found[file.name] = (answer.status_code, (answer.json() if answer.is_error else accepted)["type"])
    assert found == expected
    assert not canary.exists()
    # Files with equal contents are stored once.
    assert 0 < len(stored_files(embedded)) <= sum(status == 202 for status, _ in found.values())


@pytest.mark.parametrize("name", ["code-open.pt", "zip-deflated.pt", "safetensors-duplicate-name.safetensors"])
def test_the_answer_names_the_reason_and_nothing_of_the_file_remains(
    embedded_client: TestClient, embedded: Settings, name: str
) -> None:
    file = next(file for file in corpus(embedded.data_dir / "canary") if file.name == name)
    problem = submit(embedded_client, checkpoint=file.content).json()
    reasons = {
        "code-open.pt": "needs 'builtins.open' to be loaded",
        "zip-deflated.pt": "its entry 'w/data.pkl' is compressed",
        "safetensors-duplicate-name.safetensors": "it has two tensors 'w'",
    }
    assert reasons[name] in problem["detail"]
    assert stored_files(embedded) == []

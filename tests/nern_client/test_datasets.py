import io
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from app.settings import Settings
from nern_client import AsyncClient, Client, Conflict, InvalidRequest, NotFound, upload
from tests.conftest import EXAMPLE
from tests.dataset_files import digits_file, small_file
from tests.nern_client.conftest import QUICK, listening
from tests.nern_client.wire import Wire, cut_request, lose_answer, refuse, reset, wire_to

CONTENT = digits_file()


@pytest.fixture
def wire(embedded: Settings) -> Iterator[Wire]:
    """A wire to an API of the test alone, because tests look for files in its store."""
    with listening(embedded) as port, wire_to(port) as wire:
        yield wire


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "digits.safetensors"
    path.write_bytes(CONTENT)
    return path


def test_a_data_set_is_uploaded_found_listed_and_deleted(client: Client, file: Path) -> None:
    dataset = client.datasets.upload("digits", file)
    assert (dataset.name, dataset.bytes, dataset.train.images, dataset.test.shape) == (
        "digits",
        len(CONTENT),
        1297,
        (8, 8, 3),
    )
    client.datasets.upload("small", io.BytesIO(small_file()))
    assert client.datasets.get("digits") == dataset
    assert [found.name for found in client.datasets.list()] == ["digits", "small"]
    job = client.jobs.create(EXAMPLE, architecture="digits-cnn", dataset="digits")
    assert job.dataset_sha256 == dataset.sha256
    client.datasets.delete("digits")
    with pytest.raises(NotFound):
        client.datasets.get("digits")
    with pytest.raises(NotFound):
        client.datasets.delete("digits")


def test_what_breaks_on_the_way_is_sent_again(client: Client, wire: Wire, file: Path) -> None:
    wire.harm("POST /datasets", cut_request(1000), lose_answer, refuse("503 Busy", "Retry-After: 0"))
    assert client.datasets.upload("digits", file).bytes == len(CONTENT)
    wire.harm("DELETE /datasets/digits", reset, lose_answer)
    client.datasets.delete("digits")
    assert client.datasets.list() == ()


def test_a_large_one_goes_in_pieces(
    client: Client, wire: Wire, embedded: Settings, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "LARGEST_IN_ONE_PIECE", 1000)
    wire.harm("PATCH", cut_request(1000), lose_answer)
    wire.harm("POST /datasets", lose_answer)
    dataset = client.datasets.upload("digits", file)
    assert dataset.bytes == len(CONTENT)
    assert wire.seen.count("POST /datasets?name=digits") == 2
    assert wire.seen.count("POST /uploads") == 1
    assert [path.read_bytes() for path in embedded.artifacts.rglob(str(dataset.sha256))] == [CONTENT]


def test_another_one_of_the_same_name_is_a_conflict(client: Client, file: Path) -> None:
    client.datasets.upload("digits", file)
    with pytest.raises(Conflict) as caught:
        client.datasets.upload("digits", io.BytesIO(small_file()))
    assert caught.value.type == "dataset-exists"


def test_what_is_no_data_set_is_refused(client: Client) -> None:
    with pytest.raises(InvalidRequest) as caught:
        client.datasets.upload("weights", EXAMPLE)
    assert caught.value.type == "not-a-dataset"


def test_the_asynchronous_client_does_the_same(wire: Wire, file: Path) -> None:
    async def use() -> None:
        async with AsyncClient(wire.url, retries=QUICK) as client:
            wire.harm("POST /datasets", lose_answer)
            dataset = await client.datasets.upload("digits", file)
            assert await client.datasets.get("digits") == dataset
            assert await client.datasets.list() == (dataset,)
            await client.datasets.delete("digits")
            assert await client.datasets.list() == ()

    anyio.run(use)

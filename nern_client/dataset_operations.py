"""Operations on data sets."""

import json

from nern_client import upload as uploads
from nern_client.addresses import address_of
from nern_client.answers import read
from nern_client.effects import Content, Operation, Request, Work
from nern_client.models import Dataset, DatasetList
from nern_client.retries import Session, delete_once, send
from nern_client.sources import LocalFile, Source

_DATASETS = "/datasets"


def upload(session: Session, name: str, file: LocalFile) -> Operation[Dataset]:
    """Upload a data set under a name; a large one in pieces. The same file under the same name is a no-op."""
    source: Source = yield Work(lambda: Source.of(file))
    query = {"name": name}
    if source.size <= uploads.LARGEST_IN_ONE_PIECE:
        return read(session, (yield from uploads.send_whole(session, source, _DATASETS, query)), Dataset)
    yield from uploads.send_in_pieces(session, source)
    request = Request(
        method="POST",
        path=_DATASETS,
        query=query,
        headers={"Content-Type": "application/json"},
        content=Content.of(json.dumps({"sha256": source.sha256}).encode()),
        repeatable=True,
    )
    return read(session, (yield from send(session, request)), Dataset)


def all_of(session: Session) -> Operation[DatasetList]:
    """Return all data sets that jobs can use."""
    return read(
        session, (yield from send(session, Request(method="GET", path=_DATASETS, repeatable=True))), DatasetList
    )


def get(session: Session, name: str) -> Operation[Dataset]:
    """Return an uploaded data set."""
    answer = yield from send(session, Request(method="GET", path=address_of(_DATASETS, name), repeatable=True))
    return read(session, answer, Dataset)


def delete(session: Session, name: str) -> Operation[None]:
    """Delete an uploaded data set."""
    return delete_once(session, address_of(_DATASETS, name))

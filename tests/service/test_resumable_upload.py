import base64
import hashlib
import json
import os
import random
import signal
from collections.abc import Iterator

import httpx2
import pytest

from app.settings import Settings
from tests.processes import Service, wait_for

MIB = 2**20
TUS = {"Tus-Resumable": "1.0.0"}
SEED = 5


def checkpoint(dice: random.Random, mebibytes: int) -> bytes:
    shape = [mebibytes * MIB // 64, 1, 4, 4]
    header = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, mebibytes * MIB]}}).encode()
    return len(header).to_bytes(8, "little") + header + dice.randbytes(mebibytes * MIB)


class Cut(Exception):
    """The connection is cut."""


@pytest.mark.slow
def test_an_upload_goes_on_after_every_cut_and_every_kill_of_the_api(service: Service, settings: Settings) -> None:
    dice = random.Random(SEED)
    content = checkpoint(dice, 48)
    digest = hashlib.sha256(content).hexdigest()
    api = service.start_api()
    metadata = f"sha256 {base64.b64encode(digest.encode()).decode()}"
    begun = service.client.http.post(
        "/uploads", headers=TUS | {"Upload-Length": str(len(content)), "Upload-Metadata": metadata}
    )
    address = begun.headers["Location"]
    offset = sent = 0
    for kill in (False, True, True, False, True):
        cut = dice.randrange(offset + 1, len(content))
        sent = max(sent, cut)
        victim = api.pid if kill else None
        wait_for(lambda: is_cut_off(service, address, content[:cut], victim))  # noqa: B023 # called at once
        if kill:
            api.wait()
            api = service.start_api()
        found = offset_of(service, address)
        assert offset <= found <= sent
        offset = found
    assert offset > 0
    wait_for(lambda: rest_is_taken(service, address, content))
    assert service.client.get(f"/checkpoints/{digest}")["bytes"] == len(content)
    [stored] = settings.artifacts.rglob(digest)
    assert hashlib.sha256(stored.read_bytes()).hexdigest() == digest


def is_cut_off(service: Service, address: str, content: bytes, victim: int | None) -> bool:
    """Resume the upload, and cut it at the end of `content`; return false if the previous request is still open."""
    offset = min(offset_of(service, address), len(content))
    try:
        answer = patch(service, address, offset, cut_off(content[offset:], victim))
    except (Cut, httpx2.TransportError):
        return True
    assert answer.status_code in {409, 423}
    return False


def cut_off(content: bytes, victim: int | None) -> Iterator[bytes]:
    """Send the content, and then kill the API or drop the connection."""
    for start in range(0, len(content), MIB // 4):
        yield content[start : start + MIB // 4]
    if victim is not None:
        os.kill(victim, signal.SIGKILL)
    raise Cut


def rest_is_taken(service: Service, address: str, content: bytes) -> bool:
    """Send the missing bytes; return false if the previous request is still open."""
    offset = offset_of(service, address)
    status = patch(service, address, offset, content[offset:]).status_code
    assert status in {204, 409, 423}
    return status == 204


def patch(service: Service, address: str, offset: int, content: bytes | Iterator[bytes]) -> httpx2.Response:
    headers = TUS | {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
    return service.client.http.patch(address, content=content, headers=headers)


def offset_of(service: Service, address: str) -> int:
    return int(service.client.http.head(address, headers=TUS).raise_for_status().headers["Upload-Offset"])

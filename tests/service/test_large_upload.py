import json
import socket
from pathlib import Path

import pytest

from app.settings import Settings
from tests.processes import Service

MIB = 2**20
DATA_MIB = 2048
BOUNDARY = b"b0undary"


def peak_memory(pid: int) -> int:
    """Return the peak resident size of a process, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def send_checkpoint(port: int, mebibytes: int) -> tuple[int, dict[str, object]]:
    """Send a safetensors file with one huge layer, generated on the fly; return the status and the answer."""
    shape = [mebibytes * MIB // 64, 1, 4, 4]
    header = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, mebibytes * MIB]}}).encode()
    before = b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; name="checkpoint"; filename="w"\r\n\r\n'
    before += len(header).to_bytes(8, "little") + header
    after = b"\r\n--" + BOUNDARY + b"--\r\n"
    length = len(before) + mebibytes * MIB + len(after)
    chunk = bytes(range(256)) * (MIB // 256)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(
            b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n"
            b"Content-Type: multipart/form-data; boundary=%s\r\n\r\n" % (length, BOUNDARY)
        )
        connection.sendall(before)
        for _ in range(mebibytes):
            connection.sendall(chunk)
        connection.sendall(after)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@pytest.mark.slow
@pytest.mark.parametrize("settings", ["embedded"], indirect=True)
def test_an_upload_of_two_gibibytes_hardly_grows_the_api(service: Service, settings: Settings) -> None:
    api = service.start_api()
    # The first upload of a process loads the modules for uploads.
    assert send_checkpoint(service.port, 4)[0] == 202
    before = peak_memory(api.pid)
    status, job = send_checkpoint(service.port, DATA_MIB)
    growth = peak_memory(api.pid) - before
    assert status == 202, job
    assert growth < 64 * MIB
    stored = settings.artifacts.rglob(job["checkpoint"]["sha256"])  # type: ignore[index]
    assert [path.stat().st_size for path in stored] == [job["checkpoint"]["bytes"]]  # type: ignore[index]

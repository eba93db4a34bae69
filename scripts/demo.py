"""Encode the example through the running service: `make demo`.

Starts `nern serve` in the embedded mode, submits `examples/digits-cnn.safetensors` with its images, follows the job,
downloads the decoded weights and prints the result.
"""

import hashlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import httpx2
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

ROOT = Path(__file__).parent.parent
OUTPUT = ROOT / "demo-output"
CHECKPOINT = ROOT / "examples" / "digits-cnn.safetensors"
OPTIONS = {"architecture": "digits-cnn", "dataset": str(ROOT / "examples" / "digits")}
SECONDS_TO_START = 60.0
SECONDS_TO_STOP = 60.0

console = Console()


def main() -> int:
    """Run the demonstration and return the exit status."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir()
    port = free_port()
    with service(port), httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        wait_until_ready(client)
        console.print(f"[bold]POST /jobs[/]  checkpoint=@{CHECKPOINT.relative_to(ROOT)}  options={json.dumps(OPTIONS)}")
        job = follow(client, submit(client))
        if job["status"] != "succeeded":
            console.print(f"[red]The job ended with the status {job['status']}: {job['message']}[/]")
            return 1
        weights = download(client, job, "weights.safetensors")
        encoding = download(client, job, "encoding.nern")
        download(client, job, "report.json")
    summarize(job["metrics"], weights, encoding)
    return 0


@contextmanager
def service(port: int) -> Iterator[None]:
    """Run `nern serve` until the end of the `with`."""
    nern = Path(sys.executable).with_name("nern")
    command = [str(nern), "serve", "--data-dir", str(OUTPUT / "service"), "--port", str(port)]
    # SIGTERM and SIGHUP end this process like Ctrl-C, so that the service stops too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    console.print(f"[bold]$ nern serve --port {port}[/]   (its output goes to demo-output/service.log)")
    with (OUTPUT / "service.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        yield
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(SECONDS_TO_STOP)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def wait_until_ready(client: httpx2.Client) -> None:
    """Wait for the service to answer."""
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline:
        try:
            if client.get("/readyz").is_success:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.2)
    sys.exit("demo: the service does not start; demo-output/service.log has the reason.")


def submit(client: httpx2.Client) -> str:
    """Submit the checkpoint and return the address of the job."""
    with CHECKPOINT.open("rb") as file:
        answer = client.post("/jobs", files={"checkpoint": file}, data={"options": json.dumps(OPTIONS)})
    if answer.status_code != httpx2.codes.ACCEPTED:
        sys.exit(f"demo: {answer.json()['detail']}")
    address: str = answer.headers["Location"]
    console.print(f"[bold]202[/]  Location: {address}")
    return address


def follow(client: httpx2.Client, address: str) -> dict[str, Any]:
    """Poll the job to its end, with a progress bar."""
    columns = (
        TextColumn("GET {task.fields[address]}  {task.description:<15}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("queued", total=1.0, address=f"{address[:18]}…")
        while True:
            job: dict[str, Any] = client.get(address).json()
            fraction = 1.0 if job["status"] == "succeeded" else (job["progress"] or {}).get("fraction", 0.0)
            bar.update(task, description=job["phase"] or job["status"], completed=fraction)
            if job["status"] in {"succeeded", "failed", "canceled"}:
                return job
            time.sleep(1)


def download(client: httpx2.Client, job: dict[str, Any], name: str) -> Path:
    """Save a result and verify its digest."""
    artifact = job["artifacts"][name]
    path = OUTPUT / name
    path.write_bytes(client.get(artifact["url"]).raise_for_status().content)
    if hashlib.sha256(path.read_bytes()).hexdigest() != artifact["sha256"]:
        sys.exit(f"demo: the digest of {name} is not the published one.")
    return path


def summarize(metrics: dict[str, Any], weights: Path, encoding: Path) -> None:
    """Print sizes and accuracy before and after."""
    tensors, file = metrics["tensor_bytes"], metrics["file_bytes"]
    console.print(
        f"\nOriginal tensors         {tensors:>9,} bytes   {metrics['original_accuracy']:.2f} % of the test images"
    )
    console.print(f"Compact representation   {file:>9,} bytes   {metrics['reconstructed_accuracy']:.2f} % once decoded")
    console.print(f"{metrics['ratio']:.2f} times smaller, in {metrics['seconds']['total']:.0f} seconds.")
    verdict = metrics["verdict"]
    console.print(f"[bold]{verdict['level'].capitalize()}.[/] {verdict['sentence']}")
    console.print(f"Files in demo-output/: {encoding.name}, and {weights.name} decoded from it.")


def free_port() -> int:
    """Return an unused port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())

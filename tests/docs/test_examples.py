import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.blocks import PAGES, RUNNABLE, Block, blocks_of
from tests.docs.reader import Reader
from tests.processes import NERN, Client, free_port, process, wait_for

_PROGRAMS = ("curl", "jq")
EXAMPLES = {
    page: [block for block in blocks_of(page) if block.language in RUNNABLE and block.not_run is None] for page in PAGES
}


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    """Programs that the pages require; installed if this user may."""
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        subprocess.run([ROOT / "scripts" / "apt-install", *missing], check=True)


@pytest.fixture(scope="module")
def service_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of a service for all pages that assume one; like theirs, its folder contains the examples."""
    folder, port = tmp_path_factory.mktemp("service"), free_port()
    command = [NERN, "serve", "--port", str(port), "--data-dir", str(folder / "data")]
    env = {name: value for name, value in os.environ.items() if not name.startswith("NERN_")}
    with process(command, env, folder / "log"), Client(port) as client:
        wait_for(client.is_ready, what="the service did not start")
        yield port


@pytest.mark.slow
# A page runs all its jobs one after another, on a machine that may be busy.
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "page", [page for page, blocks in EXAMPLES.items() if blocks], ids=lambda page: str(page.relative_to(ROOT))
)
def test_the_examples_of_a_page_work_in_their_order(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    blocks = EXAMPLES[page]
    with ExitStack() as stack:
        port = request.getfixturevalue("service_port") if needs_service(blocks) else None
        reader = Reader(tmp_path / "here", logs, stack, port)
        for block in blocks:
            reader.read(block)


def needs_service(blocks: list[Block]) -> bool:
    """Return true if the examples use a service that none of them starts."""
    text = "".join(block.text for block in blocks)
    asked = any(word in text for word in ("8000", "nern submit", "nern jobs", "nern_client"))
    return asked and "nern serve" not in text

import random
from pathlib import Path

import pytest

from app.settings import Settings
from nern_client import Client, upload
from tests.conftest import EXAMPLE
from tests.nern_client.conftest import QUICK, succeed
from tests.nern_client.wire import Exchange, Fault, Wire, lose_answer, nothing_wrong, refuse, reset

NAME = "weights.safetensors"
FAULTS = [
    nothing_wrong,
    reset,
    lose_answer,
    refuse("502 Bad Gateway", body="<h1>Bad Gateway</h1>"),
    refuse("503 Service Unavailable", "Retry-After: 0"),
    refuse("429 Too Many Requests", "Retry-After: 0"),
]


def cut_anywhere(dice: random.Random) -> Fault:
    """Return a fault that cuts the request or the answer at a random position."""
    share, forward = dice.random(), dice.random() < 0.5

    def fault(exchange: Exchange) -> None:
        if forward:
            exchange.ask(round(share * 100_000))
        else:
            answer = exchange.ask()
            exchange.answer(answer[: round(share * len(answer))])
        exchange.reset()

    return fault


@pytest.mark.parametrize("seed", range(12))
def test_whatever_breaks_there_is_one_job_and_the_right_file(
    wire: Wire, served: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    dice = random.Random(seed)
    monkeypatch.setattr(upload, "LARGEST_IN_ONE_PIECE", dice.choice([1000, 2**20]))
    content = dice.randbytes(200_000)

    def harm() -> None:
        wire.faults.clear()
        wire.harm("", *(dice.choice([*FAULTS, cut_anywhere(dice)]) for _ in range(QUICK.attempts - 2)))

    with Client(wire.url, retries=QUICK) as client:
        assert list(client.jobs.list()) == []
        wire.harm("POST /jobs", *(dice.choice([*FAULTS, cut_anywhere(dice)]) for _ in range(4)))
        wire.harm("GET", *(dice.choice(FAULTS) for _ in range(4)))
        wire.harm("PATCH", *(cut_anywhere(dice) for _ in range(4)))
        job = client.jobs.create(EXAMPLE)
        succeed(served, job.id, {NAME: content})
        harm()
        assert client.jobs.wait(job.id).ended
        harm()
        client.jobs.download(job.id, NAME, tmp_path / NAME)
        wire.faults.clear()
        assert (tmp_path / NAME).read_bytes() == content
        assert [found.id for found in client.jobs.list()] == [job.id]
        harm()
        client.jobs.delete(job.id)
        wire.faults.clear()
        assert list(client.jobs.list()) == []

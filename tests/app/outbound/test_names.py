import asyncio
import threading
from collections.abc import Iterator, Sequence
from ipaddress import ip_address

import pytest

from app.outbound import names
from app.outbound.addresses import Address
from app.outbound.errors import OutboundError
from app.outbound.names import Names

FOUND = [ip_address("93.184.215.14")]


class SilentServers:
    """Looks up names, but does not answer for names in `.silent` until the test ends."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.began = 0

    def __call__(self, host: str, port: int) -> Sequence[Address]:
        if host.endswith(".silent"):
            self.began += 1
            self.over.wait(30)
        return FOUND


@pytest.fixture
def servers() -> Iterator[SilentServers]:
    servers = SilentServers()
    yield servers
    servers.over.set()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "SECONDS_TO_RESOLVE", 0.2)


def test_a_silent_server_of_a_name_is_waited_for_a_while_only(servers: SilentServers) -> None:
    found = Names(servers)
    with pytest.raises(OutboundError, match=r"was not resolved within 0\.2 seconds"):
        found.resolve("acme", "hooks.silent", 443)
    with pytest.raises(OutboundError, match=r"was not resolved within 0\.2 seconds"):
        asyncio.run(found.resolve_soon("acme", "hooks.silent", 443))


def test_silent_servers_of_one_tenant_do_not_hold_up_the_names_of_another(servers: SilentServers) -> None:
    found = Names(servers)

    async def resolve() -> Sequence[Address]:
        silent = [asyncio.create_task(found.resolve_soon("acme", "hooks.silent", 443)) for _ in range(80)]
        await asyncio.sleep(0)
        answer = await found.resolve_soon("rival", "hooks.example", 443)
        refused = await asyncio.gather(*silent, return_exceptions=True)
        assert {type(refusal) for refusal in refused} == {OutboundError}
        return answer

    assert asyncio.run(resolve()) == FOUND
    assert servers.began == 8


def test_a_tenant_has_only_so_many_names_waiting(servers: SilentServers) -> None:
    found = Names(servers)

    async def resolve() -> set[str]:
        silent = [found.resolve_soon("acme", "hooks.silent", 443) for _ in range(200)]
        return {str(refusal)[:8] for refusal in await asyncio.gather(*silent, return_exceptions=True)}

    assert asyncio.run(resolve()) == {"The host", "Too many"}

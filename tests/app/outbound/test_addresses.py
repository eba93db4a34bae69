from ipaddress import ip_address, ip_network

import pytest

from app.outbound.addresses import is_allowed, is_public

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "223.255.255.255",
    "2600::1",
    "2001:200::1",
    "2606:4700:4700::1111",
    "2a00:1450:4001:80b::200e",
]
NOT_PUBLIC = [
    "0.0.0.0",  # this host
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",  # a cloud's metadata
    "127.0.0.1",
    "127.255.255.255",
    "168.63.129.16",  # a cloud's metadata
    "169.254.169.254",  # most clouds' metadata
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",  # a cloud's metadata
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",  # compatible with IPv4
    "::ffff:127.0.0.1",  # mapped from IPv4
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",  # NAT64 to 127.0.0.1
    "64:ff9b::808:808",
    "64:ff9b:1::1",  # local NAT64
    "100::1",  # discarded
    "2001::1",  # Teredo
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",  # benchmarks
    "2001:db8::1",
    "2002:7f00:1::",  # 6to4 to 127.0.0.1
    "2002:808:808::",
    "3fff::1",
    "4000::1",  # not assigned
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",  # a cloud's metadata
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_what_leads_elsewhere_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


def test_the_operator_allows_networks_of_either_kind() -> None:
    networks = [ip_network("10.1.0.0/16"), ip_network("fd00:1::/32")]
    assert is_allowed(ip_address("10.1.2.3"), networks)
    assert is_allowed(ip_address("fd00:1::5"), networks)
    assert not is_allowed(ip_address("10.2.0.1"), networks)
    assert not is_allowed(ip_address("::ffff:10.1.2.3"), networks)

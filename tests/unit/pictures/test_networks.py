"""Which addresses pictures may be loaded from."""

from ipaddress import ip_address

import pytest

from pomona.pictures.sources.networks import Guard

PUBLIC = ["1.1.1.1", "93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:0101:0101::1"]
PRIVATE = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.8.8.8",
    "169.254.1.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.9",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::1",
    "2002:a00:1::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "5f00::1",
]
METADATA = ["169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "100.100.100.200", "168.63.129.16", "fd00:ec2::254"]


@pytest.mark.parametrize("address", PUBLIC)
def test_what_everybody_can_reach_may_be_loaded(address: str) -> None:
    assert Guard().refusal("host", ip_address(address)) is None


@pytest.mark.parametrize("address", PRIVATE)
def test_what_only_we_can_reach_may_not(address: str) -> None:
    assert Guard().refusal("host", ip_address(address)) is not None


@pytest.mark.parametrize("address", METADATA)
@pytest.mark.parametrize("allowed", [(), ("host",), ("0.0.0.0/0", "::/0")])
def test_the_secrets_of_clouds_are_never_loaded(address: str, allowed: tuple[str, ...]) -> None:
    assert Guard(allowed).refusal("host", ip_address(address)) == "it is a cloud's metadata service"


@pytest.mark.parametrize("allowed", ["10.0.0.0/8", "10.1.2.3", "host", "Host.", "::ffff:10.0.0.0/104"])
def test_settings_allow_hosts_and_networks(allowed: str) -> None:
    address = ip_address("::ffff:10.1.2.3" if ":" in allowed else "10.1.2.3")
    assert Guard([allowed]).refusal("HOST", address) is None
    assert Guard([allowed]).refusal("other", ip_address("192.168.0.1")) is not None


@pytest.mark.parametrize("entry", ["", "10.0.0.0/99", "http://host", "a b", "*.lan", "me@host"])
def test_what_is_neither_a_host_nor_a_network_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="neither a host's name nor a network"):
        Guard([entry])

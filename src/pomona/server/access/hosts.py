"""Which names and web pages an open server on this machine answers to.

DNS rebinding: a page of evil.example makes its own name resolve to 127.0.0.1 and then talks to this server as to its own. The browser
still sends that name as Host, so an open server refuses names that could belong to somebody else.
"""

import ipaddress
import re
from collections.abc import Sequence

_OWN_NAMES = {"localhost", "host.docker.internal"}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    if host == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def is_own_name(header: str, allowed: Sequence[str]) -> bool:
    """Whether the Host header names this machine beyond doubt, or is in `allowed`. Nobody can rebind an address, only a name."""
    host = _without_port(header).rstrip(".").lower()
    return host in _OWN_NAMES or host.endswith(".localhost") or _address(host) is not None or host in {name.lower() for name in allowed}


def origin_pattern(origins: Sequence[str]) -> re.Pattern[str]:
    """What matches the origins of `origins`: `:*` at the end stands for any port or none, another `*` for a name or a part of one."""
    return re.compile("|".join(map(_origin, origins)) or r"(?!)")


def account_of(address: str) -> str:
    """By what callers without a key are told apart: their address, of IPv6 the network, of which one machine may have any address."""
    found = _address(address)
    if isinstance(found, ipaddress.IPv6Address):
        return f"address {ipaddress.IPv6Network((found, 64), strict=False)}"
    return f"address {address}"


def _origin(origin: str) -> str:
    if origin == "*":
        return ".*"
    port = r"(:\d+)?" if origin.endswith(":*") else ""
    return r"[\w.-]*".join(map(re.escape, origin.removesuffix(":*").split("*"))) + port


def _without_port(header: str) -> str:
    bracketed = re.fullmatch(r"\[([^\]]*)\](:\d*)?", header)
    return bracketed[1] if bracketed else re.sub(r":\d*$", "", header)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None

"""Which network addresses a picture may be loaded from: those of the public internet, and what the settings allow beside.

Without this, a request could make the server read what only the server can reach (SSRF).
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_METADATA = tuple(
    map(ip_address, ("169.254.169.254", "169.254.170.2", "169.254.170.23", "100.100.100.200", "168.63.129.16", "fd00:ec2::254"))
)
"""Where clouds tell a machine its own secrets. Never allowed, whatever the settings say. One of them (Azure's) looks public."""
_NOT_PUBLIC = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
        ),
    )
)
"""IANA's special-purpose registry. Python's own `is_global` differs between the versions that we run on."""
_PUBLIC_V6 = ip_network("2000::/3")
_NOT_PUBLIC_V6 = tuple(map(ip_network, ("2001::/23", "2001:db8::/32", "3fff::/20")))
_NAT64 = tuple(map(ip_network, ("64:ff9b::/96",)))
_MAPPED, _COMPATIBLE = ip_network("::ffff:0:0/96"), ip_network("::/96")


class Guard:
    """What may be connected to. `allowed` are names of hosts and networks that count as public.

    Raises ValueError for an entry that is neither.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._hosts: set[str] = set()
        self._networks: list[Network] = []
        for entry in allowed:
            self._add(entry.strip().lower().rstrip("."))

    def refusal(self, host: str, address: Address) -> str | None:
        """Why `address`, which `host` stands for, must not be connected to; None where it may."""
        plain = embedded(address)
        if plain in _METADATA or address in _METADATA:
            return "it is a cloud's metadata service"
        if host.lower().rstrip(".") in self._hosts or any(_within(each, self._networks) for each in (plain, address)):
            return None
        if address.version == 6 and plain is address and not is_public(address):
            return "it is not of the public internet"
        return None if is_public(plain) else "it is not of the public internet"

    def _add(self, entry: str) -> None:
        try:
            self._networks.append(ip_network(entry, strict=False))
        except ValueError:
            if not entry or any(sign in entry for sign in "/:@ *"):
                raise ValueError(f"{entry!r} is neither a host's name nor a network such as 10.0.0.0/8") from None
            self._hosts.add(entry)


def is_public(address: Address) -> bool:
    """Whether everybody could reach `address`. An IPv6 address that carries an IPv4 one is judged by `embedded`."""
    if isinstance(address, IPv4Address):
        return not _within(address, _NOT_PUBLIC)
    return address in _PUBLIC_V6 and not _within(address, _NOT_PUBLIC_V6)


def embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for (mapped, compatible, 6to4, NAT64), else `address` itself."""
    if isinstance(address, IPv4Address):
        return address
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _MAPPED or _within(address, _NAT64) or (address in _COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)

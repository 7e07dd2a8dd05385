"""Which addresses a tenant may make us connect to: the public internet, and what the operator allows.

The address is judged when the connection is made, so that a name cannot resolve to something else after the check.
Written host forms (octal, decimal, hexadecimal) are the resolver's affair: what it makes of them is judged.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

import pycurl

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SETTING = "UNOAPI_ALLOWED_HOSTS"
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
SHARED = ipaddress.IPv4Network("100.64.0.0/10")
METADATA = frozenset(
    map(ipaddress.ip_address, ("169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254"))
)


class AddressGuard:
    """Judges addresses. `allowed` holds names, `*.suffixes`, addresses and networks of the operator."""

    def __init__(self, allowed: tuple[str, ...] = ()) -> None:
        self._networks: list[Network] = []
        self._names: set[str] = set()
        self._suffixes: list[str] = []
        for entry in allowed:
            try:
                self._networks.append(ipaddress.ip_network(entry.strip("[]"), strict=False))
            except ValueError:
                name = entry.lower().rstrip(".")
                if name.startswith("*."):
                    self._suffixes.append(name[1:])
                else:
                    self._names.add(name)

    def refusal(self, url: str, *, ip: str | None = None) -> str:
        """Why this address may not be called, with the setting that allows it; empty when it may.

        Without `ip` only a host that is written as an address can be judged.
        """
        try:
            host = (urlsplit(url).hostname or "").rstrip(".")
        except ValueError:
            return "the address is not valid"
        if host in self._names or any(host.endswith(suffix) for suffix in self._suffixes):
            return ""
        address = _address(ip or host)
        if address is None:
            return self._local_name(host)
        if any(address in network for network in self._networks if network.version == address.version):
            return ""
        rule = _rule(address)
        return f"the address {address} is {rule}: only {SETTING} can allow it" if rule else ""

    def _local_name(self, host: str) -> str:
        if host == "localhost" or host.endswith(".localhost"):
            return "" if self._loopback_allowed() else f"{host} is this machine: only {SETTING} can allow it"
        return ""

    def _loopback_allowed(self) -> bool:
        return any(ipaddress.ip_address("127.0.0.1") in each for each in self._networks if each.version == 4)  # noqa: PLR2004

    def opener(self, url: str, refusals: list[str]) -> Any:
        """What libcurl calls for each connection it is about to make; a refusal is appended to the list."""

        def open_socket(_: int, peer: Any) -> Any:
            family, kind, protocol, address = peer
            refusal = self.refusal(url, ip=str(address[0]))
            if refusal:
                refusals.append(refusal)
                return pycurl.SOCKET_BAD
            return socket.socket(family, kind, protocol)

        return open_socket


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return _inner(address)


def _inner(address: Address) -> Address:
    """The IPv4 address in the forms of IPv6 that carry one."""
    if isinstance(address, ipaddress.IPv6Address):
        carried = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if carried is None and (address in NAT64 or int(address) >> 32 == 0) and int(address) > 1:
            carried = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if carried is not None:
            return carried
    return address


def _rule(address: Address) -> str:
    """The first rule that an address breaks, or nothing."""
    checks = (
        (address in METADATA, "a cloud's metadata service"),
        (address.is_unspecified, "unspecified"),
        (address.is_loopback, "loopback"),
        (address.is_link_local, "link-local"),
        (address.is_multicast, "multicast"),
        (address.version == SHARED.version and address in SHARED, "shared (carrier-grade NAT)"),
        (address.is_private, "private"),
        (address.is_reserved, "reserved"),
        (not address.is_global, "not on the public internet"),
    )
    return next((rule for broken, rule in checks if broken), "")

"""Which addresses a tenant may make us connect to: the public internet, and what the operator allows.

The address is checked when the connection is made, so that a name cannot resolve to something else after the check.
Host forms such as octal, decimal and hexadecimal are read by the resolver: the address that it gives is checked.

One guard serves all such addresses. `refusal(url)` gives an early answer to whoever configures an address;
`socket_opener(url)`, pycurl's OPENSOCKETFUNCTION, is the guarantee. It is called for new connections only, so a
connection that stays open costs nothing more.
"""

from __future__ import annotations

import ipaddress
import socket
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pycurl

from unoapi.errors import NotSent
from unoapi.models.endpoints import DEFAULT_PORTS, origin_of

if TYPE_CHECKING:
    from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SETTING = "UNOAPI_ALLOWED_HOSTS"
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
LOOPBACK = ipaddress.IPv4Address("127.0.0.1")
SHARED = ipaddress.IPv4Network("100.64.0.0/10")
METADATA = frozenset(
    map(
        ipaddress.ip_address,
        # The fifth is Azure's (its "wire server"), the last Oracle's; both look public to some versions of Python.
        ("169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254", "168.63.129.16", "192.0.0.192"),
    )
)
SITE_LOCAL = ipaddress.IPv6Network("fec0::/10")
PROTOCOLS = ipaddress.IPv4Network("192.0.0.0/24")


class AddressGuard:
    """Decides which addresses may be called.

    `allowed` holds names, `*.suffixes`, addresses and networks of the operator. Metadata services, link-local,
    multicast and unspecified addresses are opened by an entry for exactly that address alone, so that 0.0.0.0/0 does
    not open them. `own_ports` are those of RabbitMQ, Redis and the like: off the public internet only trust opens them.
    `local_ports` are ours on this machine, where they may want no password: closed on loopback in the same way.
    Trust belongs to one request, never to a host: see `socket_opener`.
    """

    def __init__(
        self, allowed: tuple[str, ...] = (), *, own_ports: Iterable[int] = (), local_ports: Iterable[int] = ()
    ) -> None:
        self._own_ports = frozenset(own_ports)
        self._local_ports = frozenset(local_ports)
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

        Without `ip` only a host that is written as an address can be checked, in each form that libcurl reads as one.
        """
        origin = origin_of(url)
        if origin is None:
            return "the address is not valid"
        _, host, port = origin
        if not ip:
            host = _as_read(host)
        address = _address(ip or host)
        if address is None:
            return f"{ip} is no address of the internet" if ip else self._local_name(host)
        return self._refusal_of(host, port, address)

    def _refusal_of(self, host: str, port: int, address: Address) -> str:
        """The refusal, which a tenant reads: what a name of the inner network leads to is not in it."""
        rule = _rule(address)
        if not rule or self._exactly(address):
            return ""
        named = f"the address {address}" if _address(host) is not None else f"the address of {host}"
        if port in self._own_ports or (address.is_loopback and port in self._local_ports):
            return f"port {port} of {named} is one of our own services: no setting can allow it"
        if rule in FLOOR:
            return f"{named} is {rule}: only {SETTING} can allow it, with exactly this address"
        return "" if self._allows(host, address) else f"{named} is {rule}: only {SETTING} can allow it"

    def names(self, host: str) -> bool:
        """Whether the operator allows this host by its name."""
        return host in self._names or any(host.endswith(suffix) for suffix in self._suffixes)

    def _allows(self, host: str, address: Address) -> bool:
        return self.names(host) or any(
            address in network for network in self._networks if network.version == address.version
        )

    def _exactly(self, address: Address) -> bool:
        """Whether the address is of the kinds that no network opens, and an entry names it alone."""
        return _rule(address) in FLOOR and any(
            network.num_addresses == 1 and network.network_address == address for network in self._networks
        )

    def _local_name(self, host: str) -> str:
        if (host == "localhost" or host.endswith(".localhost")) and host not in self._names:
            return "" if self._loopback_allowed() else f"{host} is this machine: only {SETTING} can allow it"
        return ""

    def _loopback_allowed(self) -> bool:
        return any(LOOPBACK in network for network in self._networks if network.version == LOOPBACK.version)

    def resolve(self, url: str) -> str:
        """The address with its name resolved, for a library that makes its own connection. Raises NotSent.

        Of `https` the name stays, as its certificate is for the name; all its addresses are checked.
        """
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme, 1080)
        try:
            peers = [str(peer[4][0]) for peer in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except (OSError, UnicodeError) as error:
            raise NotSent("name not found") from error
        refusals = [self.refusal(url, ip=peer) for peer in peers]
        if refused := next(filter(None, refusals), ""):
            raise NotSent(refused)
        if parts.scheme == "https":
            return url
        login, at, _ = parts.netloc.rpartition("@")
        literal = f"[{peers[0]}]" if ":" in peers[0] else peers[0]
        return parts._replace(netloc=f"{login}{at}{literal}:{port}").geturl()

    def socket_opener(self, url: str, *, trusted: bool = False) -> SocketOpener:
        """What libcurl has to call for each connection that it is about to make for this address.

        `trusted` is for a request to exactly an address that the operator chose: its connections are not checked.
        """
        return SocketOpener(self, url, trusted=trusted)


class SocketOpener:
    """Opens the sockets of one exchange, as OPENSOCKETFUNCTION of a pycurl handle.

    A name may have several addresses. `refusal` is the last rule that was broken when none of them could be tried.
    """

    __slots__ = ("_guard", "_opened", "_refusal", "_trusted", "_url")

    def __init__(self, guard: AddressGuard, url: str, *, trusted: bool) -> None:
        self._guard = guard
        self._trusted = trusted
        self._url = url
        self._opened = False
        self._refusal = ""

    def __call__(self, _: int, peer: Any) -> Any:
        """A socket for the resolved address, or none."""
        family, kind, protocol, address = peer
        refusal = "" if self._trusted else self._guard.refusal(self._url, ip=str(address[0]))
        if refusal:
            self._refusal = refusal
            return pycurl.SOCKET_BAD
        self._opened = True
        return _Handed(family, kind, protocol)

    @property
    def refusal(self) -> str:
        """Why no connection was tried; empty when one was, or when none was asked for."""
        return "" if self._opened else self._refusal


class _Handed(socket.socket):
    """A socket of which pycurl takes a duplicate; it closes without the warning of one that was forgotten."""

    def __del__(self) -> None:
        self.close()


@lru_cache(maxsize=1024)
def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return _inner(address)


@lru_cache(maxsize=1024)
def _as_read(host: str) -> str:
    """A host as libcurl and resolvers read it: without encoded signs, and an address that is one number with dots."""
    plain = unicodedata.normalize("NFKC", unquote(host)).replace("\u3002", ".").lower()
    try:
        return socket.inet_ntoa(socket.inet_aton(plain))
    except (OSError, UnicodeError):
        return plain


def _inner(address: Address) -> Address:
    """The IPv4 address in the forms of IPv6 that carry one."""
    if isinstance(address, ipaddress.IPv6Address):
        carried = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if carried is None and (address in NAT64 or int(address) >> 32 == 0) and int(address) > 1:
            carried = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if carried is not None:
            return carried
    return address


FLOOR = frozenset({"a cloud's metadata service", "unspecified", "link-local", "multicast"})


@lru_cache(maxsize=1024)
def _rule(address: Address) -> str:
    """The first rule that an address breaks, or nothing."""
    checks = (
        (address in METADATA, "a cloud's metadata service"),
        (address.is_unspecified, "unspecified"),
        (address.is_loopback, "loopback"),
        (address.is_link_local, "link-local"),
        (address.is_multicast, "multicast"),
        (address.version == SHARED.version and address in SHARED, "shared (carrier-grade NAT)"),
        (address.version == LOCAL_NAT64.version and address in LOCAL_NAT64, "a translation of IPv4"),
        (address.version == SITE_LOCAL.version and address in SITE_LOCAL, "site-local"),
        (address.version == PROTOCOLS.version and address in PROTOCOLS, "kept for protocols"),
        (address.is_private, "private"),
        (address.is_reserved, "reserved"),
        (not address.is_global, "not on the public internet"),
    )
    return next((rule for broken, rule in checks if broken), "")

"""What a port allows: how many connections, how slow, how large; and the files they may take."""

import ipaddress
import resource
from collections.abc import Sequence

from msgspec import Struct

from terrapod_control_plane.settings import ServerSettings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# More than anybody needs; some systems allow so many that programs which close all choke on it.
_FILES_AT_MOST = 131_072
# Listeners, pipes, the database's programs, advisory locks, and what an upload writes.
_FILES_KEPT = 64
_FEWEST = 8
_MOST_OF_PEOPLE = 4096
_MOST_OF_AGENTS = 16_384


class Limits(Struct, frozen=True, kw_only=True):
    """The limits of one port."""

    connections: int = _MOST_OF_PEOPLE
    per_address: int = 0  # 0: no limit
    proxies: Sequence[Network] = ()  # addresses that stand for many, so without a limit of one
    handshake: float = 10.0  # seconds
    head: float = 15.0  # seconds from the first byte of a request to the end of its headers
    idle: float = 75.0  # seconds between two requests
    stall: float = 30.0  # seconds that a body or an answer may stand still
    slowest: int = 1024  # bytes a second that a body or an answer has to move, on average
    head_bytes: int = 64 * 1024
    of_agents: bool = False  # whoever has shown no certificate yet gives way first


def raise_open_files() -> int:
    """Raises the soft limit of open files to the hard one; the limit that holds now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_AT_MOST if hard == resource.RLIM_INFINITY else min(hard, _FILES_AT_MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return _FILES_AT_MOST if soft == resource.RLIM_INFINITY else soft


def of_ports(server: ServerSettings, open_files: int, pool: int) -> tuple[Limits, Limits]:
    """The limits of the public and of the agent port, which never take each other's files.

    ``pool`` is how many connections to the database there may be. A connection counts as two
    files, since its request may read or write one.
    """
    share = max((open_files - _FILES_KEPT - pool) // 4, _FEWEST)
    people = Limits(
        connections=min(server.connections_at_most or _MOST_OF_PEOPLE, share),
        per_address=server.connections_per_address,
        proxies=[ipaddress.ip_network(name, strict=False) for name in server.proxies],
        handshake=server.handshake_seconds,
        head=server.head_seconds,
        idle=server.idle_seconds,
        stall=server.stall_seconds,
        slowest=server.slowest_bytes_per_second,
        head_bytes=server.head_bytes_at_most,
    )
    agents = Limits(
        connections=min(server.agent_connections_at_most or _MOST_OF_AGENTS, share),
        handshake=server.handshake_seconds,
        head=server.head_seconds,
        idle=server.idle_seconds,
        stall=server.stall_seconds,
        slowest=0,  # a state is worth waiting for, as long as it moves
        head_bytes=server.head_bytes_at_most,
        of_agents=True,
    )
    return people, agents


def place_of(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a limit counts for: of IPv6 the network that one customer gets."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None  # a unix socket has none
    if isinstance(found, ipaddress.IPv6Address):
        return found.ipv4_mapped or ipaddress.IPv6Address(int(found) >> 64 << 64)
    return found

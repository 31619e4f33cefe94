"""Who is connected to a port of this machine."""

import psutil


def peers_of(port: int) -> set[int]:
    """The ports of those who are connected to a listener, as seen from its side."""
    found = psutil.net_connections("tcp")
    return {
        one.raddr.port
        for one in found
        if one.status == "ESTABLISHED" and one.laddr and one.laddr.port == port
    }

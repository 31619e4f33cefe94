"""Whose the other end of a connection on loopback is: the kernel knows.

The state server imports it: the standard library only.
"""

import errno
import os
import socket
import struct

GONE = -1
_SOCK_DIAG, _BY_FAMILY, _REQUEST, _ERROR = 4, 20, 1, 2  # linux/sock_diag.h, linux/netlink.h
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_QUESTION = struct.Struct("=BBBxI")  # family, protocol, extensions, states
_ADDRESSES = struct.Struct("!HH16s16s")
_ANY = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)  # interface, cookie
_USER = struct.Struct("=I")
_USER_AT = _HEADER.size + 4 + _ADDRESSES.size + len(_ANY) + 12


def peer_uid(connection: socket.socket) -> int | None:
    """The user id of the process at the other end; nothing where the kernel does not tell.

    :data:`GONE` when it has closed its end.
    """
    try:
        here, there = connection.getsockname(), connection.getpeername()
    except OSError:
        return GONE
    try:
        found = _socket_owner(there, here)
        # Without a part of the kernel for TCP nothing is known, not even our own end.
        return None if found == GONE == _socket_owner(here, there) else found
    except OSError:
        return None


def peer_allowed(connection: socket.socket, uid: int | None) -> bool:
    """Whether somebody at the other end is this user, or nobody in particular is asked for."""
    return uid is None or peer_uid(connection) in (uid, None)


def _socket_owner(end: tuple[str, int], other: tuple[str, int]) -> int:
    addresses = (socket.inet_aton(end[0]), socket.inet_aton(other[0]))
    ends = _ADDRESSES.pack(end[1], other[1], *addresses)
    question = _QUESTION.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0xFFFFFFFF) + ends + _ANY
    size = _HEADER.size + len(question)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as netlink:
        netlink.settimeout(1.0)
        netlink.send(_HEADER.pack(size, _BY_FAMILY, _REQUEST, 1, 0) + question)
        return _uid_in_answer(netlink.recv(4096))


def _uid_in_answer(answer: bytes) -> int:
    kind = _HEADER.unpack_from(answer)[1]
    if kind != _ERROR:
        (uid,) = _USER.unpack_from(answer, _USER_AT)
        return int(uid)
    (code,) = struct.unpack_from("=i", answer, _HEADER.size)
    if -code == errno.ENOENT:
        return GONE
    raise OSError(-code, os.strerror(-code))

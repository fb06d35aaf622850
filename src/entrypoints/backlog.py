"""What becomes of connections that nobody accepted when the service stops.

The listening sockets belong to all processes of the service, so the kernel goes on to take connections in
when the workers have stopped accepting, and would reset them at the end. The launcher tells them at once.
"""

import ctypes
import os
import selectors
import socket
import struct
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from entrypoints.connections import response_bytes

WORKERS_STOP_S = 0.3
"""By then the workers have stopped accepting: Hypercorn's look every 0.1 s."""
LINGER_S = 1.0
MAX_ACCEPTED = 4096
TLS_HANDSHAKE = 0x16

SO_ATTACH_FILTER = 26
DROP_SYN = (
    (0x30, 0, 0, 13),  # load the byte of the TCP header that has the flags
    (0x45, 0, 1, 0x02),  # is SYN among them?
    (0x06, 0, 0, 0),  # then drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # else keep all of it
)
"""A classic BPF program, as in Linux' filter.txt."""


def refuse_backlog() -> None:
    """Answer 503 to who waits to be accepted, and let nobody wait any more."""
    sockets = listening_sockets()  # now: Hypercorn closes its own when the first worker has ended
    time.sleep(WORKERS_STOP_S)
    waiting: list[socket.socket] = []
    for listening in sockets:
        with listening, suppress(OSError):
            _let_no_more_knock(listening)
            with suppress(BlockingIOError):
                while len(waiting) < MAX_ACCEPTED:
                    waiting.append(listening.accept()[0])
            # of the socket itself, not of this descriptor: who comes now is refused at once
            listening.shutdown(socket.SHUT_RDWR)
    _refuse(waiting)


def _let_no_more_knock(listening: socket.socket) -> None:
    """Have the kernel drop what begins a connection, so that none comes between the last one and the end.

    Its client tries again after a second, and is refused then.
    """
    if listening.family in {socket.AF_INET, socket.AF_INET6} and sys.platform == "linux":
        program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in DROP_SYN))
        filter_program = struct.pack("HP", len(DROP_SYN), ctypes.addressof(program))
        with suppress(OSError):
            listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filter_program)


def listening_sockets() -> list[socket.socket]:
    """Return copies of the sockets that this process has and that accept connections; Linux only."""
    folder = Path("/proc/self/fd")
    found = []
    for entry in list(folder.iterdir()) if folder.is_dir() else []:
        try:
            candidate = socket.socket(fileno=os.dup(int(entry.name)))
        except OSError:
            continue
        if candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            candidate.setblocking(False)  # noqa: FBT003 - its own signature
            found.append(candidate)
        else:
            candidate.close()
    return found


def _refuse(connections: list[socket.socket]) -> None:
    """Answer each once it asks; then read on until it closes, so that the answer is not lost to a reset."""
    answer = response_bytes(503, "the service is stopping")
    deadline_s = time.monotonic() + LINGER_S
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        for connection in connections:
            stack.enter_context(connection)
            connection.setblocking(False)  # noqa: FBT003
            selector.register(connection, selectors.EVENT_READ, connection)
        answered: set[socket.socket] = set()
        while selector.get_map() and (left_s := deadline_s - time.monotonic()) > 0:
            for key, _ in selector.select(left_s):
                connection = key.data
                received = _received(connection)
                if not received:
                    selector.unregister(connection)
                elif connection not in answered:
                    answered.add(connection)
                    with suppress(OSError):
                        if received[0] != TLS_HANDSHAKE:
                            connection.sendall(answer)
                        connection.shutdown(socket.SHUT_WR)


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except OSError:
        return b""

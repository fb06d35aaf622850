"""Connections that nobody accepted, over real sockets."""

import socket
import sys
import threading

import pytest

from entrypoints.backlog import listening_sockets, refuse_backlog


def listening_socket() -> socket.socket:
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)  # noqa: FBT003 - its own signature
    return listening


@pytest.mark.skipif(sys.platform != "linux", reason="finds the sockets in /proc")
def test_who_waits_gets_503_and_who_comes_later_is_refused() -> None:
    with listening_socket() as listening:
        address = listening.getsockname()
        refusing = threading.Thread(target=refuse_backlog)
        with socket.create_connection(address) as asking, socket.create_connection(address) as silent:
            refusing.start()
            asking.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            received = b"".join(iter(lambda: asking.recv(1000), b""))
            asking.close()
            assert silent.recv(1000) == b""
        refusing.join()

        assert received.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"Retry-After: 1\r\n" in received
        with pytest.raises(OSError, match=r"refused|timed out"):
            socket.create_connection(address, timeout=0.2)


@pytest.mark.skipif(sys.platform != "linux", reason="finds the sockets in /proc")
def test_only_sockets_that_listen_are_found() -> None:
    with listening_socket() as listening, socket.create_connection(listening.getsockname()):
        found = listening_sockets()
        assert listening.getsockname() in [copy.getsockname() for copy in found]
        assert all(copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for copy in found)
        for copy in found:
            copy.close()

"""A TCP proxy that breaks connections when it is told to, and counts them."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

SLOW_DOWN = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\n"
    b"Content-Length: 59\r\nConnection: close\r\n\r\n"
    b"<Error><Code>SlowDown</Code><Message>wait</Message></Error>"
)


class Proxy:
    """Passes bytes on to a server; while it is broken, connections get an answer of its own, or a reset."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.is_broken = False
        self.answer: bytes | None = None
        """What a broken connection is answered with; None resets it."""
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def break_all(self, answer: bytes | None = None) -> None:
        """Break every connection that is open, and all that come, until it is mended."""
        with self._lock:
            self.is_broken, self.answer = True, answer
            for connection in self._open:
                _reset(connection)
            self._open.clear()

    def mend(self) -> None:
        """Pass bytes on again."""
        self.is_broken = False

    def close(self) -> None:
        """Take no more connections, and end those that are open."""
        self._listener.close()
        self.break_all()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                is_broken = self.is_broken
                if not is_broken:
                    self._open.append(client)
            threading.Thread(
                target=self._break if is_broken else self._serve, args=(client,), daemon=True
            ).start()

    def _break(self, client: socket.socket) -> None:
        client.recv(1 << 16)
        if self.answer is None:
            _reset(client)
        else:
            client.sendall(self.answer)
            client.close()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._server_port)) as server:
            sending = threading.Thread(target=_copy, args=(client, server), daemon=True)
            sending.start()
            _copy(server, client)
            sending.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Pass bytes on to the end; a fault of one side ends both directions."""
    with contextlib.suppress(OSError):
        while piece := source.recv(1 << 16):
            target.sendall(piece)
    for side in (source, target):
        with contextlib.suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)


def _reset(connection: socket.socket) -> None:
    """End a connection with a reset instead of an orderly end."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    connection.close()

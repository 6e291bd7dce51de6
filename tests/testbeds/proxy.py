"""A TCP proxy that breaks connections when it is told to, and counts them."""

from __future__ import annotations

import socket
import struct
import threading

SLOW_DOWN = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\n"
    b"Content-Length: 59\r\nConnection: close\r\n\r\n"
    b"<Error><Code>SlowDown</Code><Message>wait</Message></Error>"
)


class Proxy:
    """Passes bytes on to a server; the next `to_break` connections get an answer of its own, or a reset."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.to_break = 0
        self.answer: bytes | None = None
        """What a broken connection is answered with; None resets it."""
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def break_next(self, count: int, answer: bytes | None = None) -> None:
        """Break every connection that is open, and the next ones."""
        with self._lock:
            self.to_break, self.answer = count, answer
            for connection in self._open:
                _reset(connection)
            self._open.clear()

    def close(self) -> None:
        """Take no more connections, and end those that are open."""
        self._listener.close()
        self.break_next(0)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                is_broken = self.to_break > 0
                self.to_break -= is_broken
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
        server = socket.create_connection(("127.0.0.1", self._server_port))
        threading.Thread(target=_copy, args=(client, server), daemon=True).start()
        _copy(server, client)


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while piece := source.recv(1 << 16):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        source.close()
        target.close()


def _reset(connection: socket.socket) -> None:
    """End a connection with a reset instead of an orderly end."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    connection.close()

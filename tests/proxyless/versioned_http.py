"""HTTP servers that answer with what they were sent, and with the version that they are."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SLOW_S = 1.5
PARTS = 3


class Handler(BaseHTTPRequestHandler):
    """`X-Unhealthy: v1,v2` makes these versions answer 503; `/slow` and `/wait/SECONDS` wait,
    `/parts` streams."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes
    server: Versioned

    def do_GET(self) -> None:
        body = self._body()
        self.server.requests += 1
        if self.server.version in self.headers.get("x-unhealthy", ""):
            self._answer(503, b"unhealthy")
        elif self.path.startswith("/parts"):
            self._parts()
        else:
            if self.path.startswith("/slow"):
                time.sleep(SLOW_S)
            elif self.path.startswith("/wait/"):
                time.sleep(float(self.path.removeprefix("/wait/")))
            told = {
                "version": self.server.version,
                "path": self.path,
                "headers": [[name.lower(), value] for name, value in self.headers.items()],
                "caller": self.client_address[0],
                "body": body.decode(),
            }
            self._answer(200, json.dumps(told).encode())

    do_POST = do_GET

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length", "0")))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("x-version", self.server.version)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _parts(self) -> None:
        """Parts of a stream, 0.2 s apart."""
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            for number in range(PARTS):
                part = f"{self.server.version}-{number} ".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                self.wfile.flush()
                time.sleep(0.2)
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Tests read their own output."""


class Versioned(ThreadingHTTPServer):
    """One version, on a port of loopback."""

    daemon_threads = True

    def __init__(self, version: str, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.version = version
        self.requests = 0

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that left is no error."""


@contextlib.contextmanager
def serving(versions: dict[str, int]) -> Iterator[dict[str, Versioned]]:
    """Servers of `versions`, by their ports."""
    servers = {version: Versioned(version, port) for version, port in versions.items()}
    threads = [
        threading.Thread(target=each.serve_forever, args=(0.02,)) for each in servers.values()
    ]
    for thread in threads:
        thread.start()
    try:
        yield servers
    finally:
        for server in servers.values():
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join()

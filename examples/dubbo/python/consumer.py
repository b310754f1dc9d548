"""Calls DemoService over one connection when it is asked to by HTTP, as java/…/Consumer.java does.

At HOST:PORT: `/hello` and `/bye` (`?name=…&count=…`: so many calls, a line each), `/attachments`,
and `/`, which says what this is."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from dubbo_wire import Consumer, FrameError, Reply, Request
from provider import INTERFACE

SERVICE = "ORG_APACHE_DUBBO_SAMPLES_BASIC_API_DEMOSERVICE_SERVICE_"
ATTACHMENTS = {"remote.application": "dubbo-sample-consumer"}
METHODS = {"/hello": "sayHello", "/bye": "sayBye"}


class Caller:
    """The one connection to the provider; made when it is needed, and again when it was lost."""

    def __init__(self, host: str, port: int) -> None:
        self.about = f"the Python pair: calling {host}:{port}"
        self._address = (host, port)
        self._connection: Consumer | None = None
        self._connecting = threading.Lock()

    def call(self, method: str, *arguments: str) -> Reply | str:
        """The reply, or why there is none."""
        try:
            with self._connecting:
                self._connection = self._connection or Consumer(*self._address, timeout_s=5)
            reply = self._connection.call(Request(INTERFACE, method, arguments, ATTACHMENTS))
        except TimeoutError:
            return "refused: no answer within 5 s"
        except (OSError, FrameError) as error:
            self._connection = None
            return f"refused: {error}"
        return f"refused: {reply.reason}" if reply.failed else reply

    def lines(self, method: str, name: str, count: int) -> str:
        found = []
        for _ in range(count):
            reply = self.call(method, name)
            found.append(str(reply.value) if isinstance(reply, Reply) else reply)
            print(found[-1], flush=True)
        return "\n".join(found)

    def attachments(self) -> str:
        reply = self.call("attachments")
        if isinstance(reply, str):
            return reply
        seen = reply.value if isinstance(reply.value, dict) else {}
        return "\n".join(f"{name}: {value}" for name, value in seen.items())


class Page(BaseHTTPRequestHandler):
    caller: Caller
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(asked.query).items()}
        if asked.path in METHODS:
            given = query.get("count", "")
            count = int(given) if re.fullmatch("[0-9]{1,5}", given) else 1
            lines = self.caller.lines(METHODS[asked.path], query.get("name", "Meltemi"), count)
            self._answer(200, lines)
        elif asked.path == "/attachments":
            self._answer(200, self.caller.attachments())
        elif asked.path == "/":
            self._answer(200, self.caller.about)
        else:
            self._answer(404, "there are /hello, /bye and /attachments")

    def _answer(self, status: int, text: str) -> None:
        body = f"{text}\n".encode() if text else b""
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """The calls are the log."""


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Page.caller = Caller(os.environ[f"{SERVICE}HOST"], int(os.environ[f"{SERVICE}PORT"]))
    server = ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Page)
    server.daemon_threads = True
    print(Page.caller.about, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

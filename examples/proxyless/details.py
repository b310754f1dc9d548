"""Answers over HTTP with its version, as before: a server needs nothing to be called."""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Details(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        body = json.dumps({"version": os.environ["VERSION"], "path": self.path}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Says nothing of single requests."""


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    address = os.environ["HOST"], int(os.environ["PORT"])
    print("listening on {}:{}".format(*address), flush=True)
    ThreadingHTTPServer(address, Details).serve_forever()

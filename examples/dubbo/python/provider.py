"""Serves DemoService at HOST:PORT, as java/…/Provider.java does."""

from __future__ import annotations

import os
import signal
import sys

from dubbo_wire import SERVICE_NOT_FOUND, Provider, Reply, Request

INTERFACE = "org.apache.dubbo.samples.basic.api.DemoService"
ME = f"{os.environ.get('POD_NAME')}/{os.environ.get('INSTANCE_IP')}"


def serve(request: Request) -> object:
    if request.interface == INTERFACE:
        match (request.method, *request.arguments):
            case "sayHello", name:
                return f"Hello {name}, response from {ME}"
            case "sayBye", name:
                return f"Bye {name}, response from {ME}"
            case ("attachments",):
                return attachments(request)
    what = f"{request.interface}.{request.method}({request.types})"
    return Reply(status=SERVICE_NOT_FOUND, value=f"there is no {what} here")


def attachments(request: Request) -> dict[str, str]:
    """Those that are strings, without what names the service: as Dubbo shows them to a service."""
    hidden = ("path", "interface", "version")
    seen = {
        name: value
        for name, value in sorted(request.attachments.items())
        if isinstance(value, str) and name not in hidden
    }
    for name, value in seen.items():
        print(f"attachment {name}: {value}", flush=True)
    return seen


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    host, port = os.environ["HOST"], int(os.environ["PORT"])
    provider = Provider((host, port), serve)
    print(f"the Python pair: serving at {host}:{port}", flush=True)
    provider.serve_forever()


if __name__ == "__main__":
    main()

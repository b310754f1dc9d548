"""`HelloService` over Dubbo, on the wire code of `examples/dubbo`, with all that a reply can be."""

from __future__ import annotations

import os
import time
from pathlib import Path

from dubbo_wire import Provider, Reply, Request, thrown

INTERFACE = "hello.HelloService"
SERVICE_ERROR = 70


class Server(Provider):
    """Answers as the handler of the Thrift servers does, and more."""

    def answer(self, request: Request) -> Reply:
        if request.method == "bare":  # without the attachments that a provider adds
            return Reply(id=request.id, value=request.arguments[0])
        return super().answer(request)


def handle(request: Request) -> object:
    """The value, or the whole reply."""
    arguments = request.arguments
    match request.method:
        case "sayHello" if arguments[0] == "refused":
            return Reply(value=thrown("hello.Refused", "not you"), exception=True)
        case method if method.startswith("say"):  # any: rules tell methods apart
            return f"Hello {arguments[0]}, response from {me()}"
        case "wait":
            time.sleep(int(str(arguments[1])) / 1000)
            return f"Hello {arguments[0]}, response from {me()}"
        case "note":
            with Path(os.environ["NOTES"]).open("a") as notes:
                notes.write(f"{os.environ['POD_NAME']} {arguments[0]}\n")
            return None
        case "echo":
            return arguments[0]
        case "attachments":
            return {str(name): str(value) for name, value in request.attachments.items()}
        case "fail":
            return Reply(status=int(str(arguments[0])), value=f"no luck at {me()}")
    return Reply(status=SERVICE_ERROR, value=f"there is no method {request.method}")


def serve(host: str, port: int) -> None:
    Server((host, port), handle).serve_forever(0.05)


def me() -> str:
    return f"{os.environ['POD_NAME']}/{os.environ['INSTANCE_IP']}"

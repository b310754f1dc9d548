"""A Starlette application under uvicorn, as it is or as its own edge.

    python -m sdk.edge bare PORT
    python -m sdk.edge coloured PORT

The rules are those of a group with a tester's header and a share of its users, by their cookies.
Ends with SIGTERM."""

from __future__ import annotations

import sys
from typing import Any, Final

import uvicorn
from meltemi.lanes import edge_rules
from meltemi.lanes.colouring import compiled
from meltemi.proxyless import colouring
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

RULES: Final = {
    "groups": [
        {
            "namespace": "default",
            "name": "hello",
            "baggageKey": "env",
            "trustedSources": [],
            "lanes": [
                {
                    "name": "canary",
                    "priority": 0,
                    "entry": [{"percentage": {"value": 5, "by": {"cookie": "session"}}}],
                },
                {
                    "name": "dev",
                    "priority": 0,
                    "entry": [{"headers": {"uid": {"exact": "100"}}}],
                },
            ],
        }
    ]
}
"""As a control plane says them."""
KEPT_S: Final = 3600
"""How long idle connections stay: others take their turns meanwhile."""
MARKED: Final = "canary"
"""What is answered to who is in the share; others get `BASELINE`."""
BASELINE: Final = "baseline"


async def _hello(request: Request) -> PlainTextResponse:
    marked = request.headers.get("baggage") == "env=canary"
    return PlainTextResponse(MARKED if marked else BASELINE)


def main() -> None:
    kind, port = sys.argv[1], int(sys.argv[2])
    app = Starlette(routes=[Route("/hello", _hello)])
    served: Any = app
    if kind == "coloured":
        served = colouring.asgi(app, rules=compiled(edge_rules.read(RULES)))
    uvicorn.run(
        served,
        host="127.0.0.1",
        port=port,
        http="h11",
        log_level="warning",
        access_log=False,
        timeout_keep_alive=KEPT_S,
    )


if __name__ == "__main__":
    main()

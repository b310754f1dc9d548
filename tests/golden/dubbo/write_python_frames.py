"""Prints Dubbo frames as dubbo-ssl-python (PyPI) writes them, one JSON object a line."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

from dubbo_ssl.codec.encoder import (  # type: ignore[import-not-found]  # not of this project
    Object,
    Request,
)

SERVICE = "org.apache.dubbo.samples.basic.api.DemoService"


def main() -> None:
    person = Object(
        "org.apache.dubbo.Person", {"name": "Kiki", "born": 1 << 40, "tags": ["a", "b"]}
    )
    cases: dict[str, tuple[list[Any], dict[str, str] | None]] = {
        "sayHello": (["world"], {"lane": "blue"}),
        "nothing": ([], None),
        "several": ([1, 1 << 40, 2.5, True, "x" * 40, ["a", "b"]], {"User": "Kiki"}),
        "object": ([person, person], {"lane": "μελτέμι"}),
    }
    for name, (arguments, context) in cases.items():
        request = Request(
            {
                "dubbo_version": "2.0.2",
                "path": SERVICE,
                "version": "1.2.3",
                "method": name,
                "arguments": arguments,
                "context": context,
                "group": "blue",
            }
        )
        record = {
            "name": f"python-{name}",
            "origin": f"dubbo-ssl-python {version('dubbo-ssl-python')}",
            "direction": "request",
            "kind": "call",
            "serialization": 2,
            "id": str(request.invoke_id),
            "method": name,
            "interface": SERVICE,
            "version": "1.2.3",
            "attributes": {
                "path": SERVICE,
                "interface": SERVICE,
                "version": "1.2.3",
                "group": "blue",
                **(context or {}),
            },
            "hex": bytes(request.encode()).hex(),
        }
        print(json.dumps(record))


if __name__ == "__main__":
    main()

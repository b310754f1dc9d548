"""Runs an engine and does what it is told: a JSON command a line on stdin, its outcome on stdout.

Its own process, so that what it uses can be measured, and the test does not disturb it. Ends when
stdin does.
"""

from __future__ import annotations

import base64
import json
import resource
import sys
import time
from typing import Any

from meltemi.engine import Engine


def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    options = json.loads(sys.stdin.readline())
    engine = Engine(
        workers=options["workers"],
        source_address=None,
        node={"workload": "load", "namespace": "default", "app": "load", "version": "v1"},
        access_log=None,
        access_log_format="text",
        limits=options["limits"],
    )
    say({})
    for line in sys.stdin:
        say(outcome(engine, json.loads(line)))
    engine.close()


def outcome(engine: Engine, command: dict[str, Any]) -> dict[str, Any]:
    match command["do"]:
        case "update":
            return update(engine, command)
        case "stats":
            return {"stats": engine.stats()}
        case "drain":
            return {"done": engine.drain(command["deadline_s"])}
    raise ValueError(f"not a command: {command}")


def update(engine: Engine, command: dict[str, Any]) -> dict[str, Any]:
    """Hands over resources. `until_in_force`: reads the counters too, which a worker answers only
    after it took over the tables; then `ended_ns` is later than the last request by older ones
    began."""
    resources = [(name, base64.b64decode(body)) for name, body in command["resources"]]
    began_ns = time.monotonic_ns()
    rejected = engine.update(command["type_url"], command["version"], resources)
    found: dict[str, Any] = {"rejected": rejected, "began_ns": began_ns}
    if command["until_in_force"]:
        found["stats"] = engine.stats()
    return {**found, "ended_ns": time.monotonic_ns()}


def say(found: dict[str, Any]) -> None:
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()

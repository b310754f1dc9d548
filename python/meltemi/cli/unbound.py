"""Which listeners of the running sidecars are not open, and why: what their admin APIs say.

The control plane does not know: a sidecar takes a listener first, and tries to bind it then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

ADMIN_PORT = 15000
ANSWER_S = 1.0  # a sidecar that does not answer shows among processes and nodes
AT_ONCE = 16
SIDECAR = " sidecar"


def unbound_listeners(processes: Iterable[Mapping[str, Any]]) -> dict[str, list[dict[str, str]]]:
    """Name and reason of each listener that is not open, by the name of the sidecar's process."""
    running = [
        process
        for process in processes
        if process["name"].endswith(SIDECAR) and process["pid"] and process.get("address")
    ]
    if not running:
        return {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(_ask, [str(process["address"]) for process in running])
    return {process["name"]: each for process, each in zip(running, found, strict=True) if each}


def _ask(address: str) -> list[dict[str, str]]:
    import httpx

    url = f"http://{address}:{ADMIN_PORT}/config_dump?resource=dynamic_listeners"
    try:
        with httpx.Client(timeout=ANSWER_S, trust_env=False) as client:
            listeners = client.get(url).raise_for_status().json()["configs"]
    except (httpx.HTTPError, ValueError, KeyError):
        return []
    return [
        {"name": listener["name"], "reason": listener["error_state"]["details"]}
        for listener in listeners
        if "error_state" in listener and "failed_configuration" not in listener["error_state"]
    ]

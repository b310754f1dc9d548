"""What colouring costs a gateway: CPU of Envoy for a request, with its filters and without (G27).

One Envoy has listeners as the control plane makes them, with the filters of a group and without,
each with a route to the same server. They take turns, some hundred requests each, over connections
that stay open; each request has the headers of a browser and is of one of many users."""

from __future__ import annotations

import itertools
import json
import socket
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from meltemi.lanes.envoy_filter import slots
from meltemi.lanes.share import in_share
from meltemi.model import Lane, LaneEntry, LaneGroup, Share, StringMatch
from meltemi.translate import gateway_listeners
from meltemi.xds import messages
from runner import envoy
from runner.machine import cores, cpu_s, free_ports
from runner.processes import Processes, StartError

CONNECTIONS: Final = 8
REQUESTS: Final = 400
USERS: Final = 1000
ROUNDS: Final = 60
PERCENT: Final = 5
BARE: Final = "bare"
HEADER: Final = "header"
COOKIE: Final = "cookie"
COLOURED: Final = "coloured"
"""Way of a listener; but the last, which is HEADER's when every request gets a mark."""
REQUEST: Final = (
    "GET /hello?page=1 HTTP/1.1\r\nHost: shop.example\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-GB,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br\r\nCookie: theme=dark; session={user}; seen=1\r\n"
    "X-User: {user}\r\n{more}Connection: keep-alive\r\n\r\n"
)


@dataclass(frozen=True)
class Result:
    """CPU of one request in microseconds, by way, round by round."""

    cpu_us: dict[str, list[float]]


def groups(by: Literal["header", "cookie"]) -> list[LaneGroup]:
    """A tester's header, and a share of the users."""
    share = Share(PERCENT, by, "x-user" if by == HEADER else "session")
    tester = LaneEntry(headers=(("uid", StringMatch("exact", "100")),))
    lanes = (
        Lane("canary", (), entries=(LaneEntry(share=share),)),
        Lane("dev", (), entries=(tester,)),
    )
    return [LaneGroup("default", "hello", (), "env", lanes)]


class _Way:
    """Connections to a listener, and what is sent there."""

    def __init__(self, pid: int, port: int, more: str, marked: Callable[[str], bool]) -> None:
        self._pid, self._more, self._marked = pid, more, marked
        self._sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
        self._users = itertools.cycle(f"user-{number}" for number in range(USERS))

    def sample(self) -> float:
        """Raises StartError for an answer that is not right."""
        self._ask(REQUESTS // 4)  # the others took its caches
        before = cpu_s(self._pid)
        self._ask(REQUESTS)
        return (cpu_s(self._pid) - before) / REQUESTS * 1e6

    def _ask(self, requests: int) -> None:
        for _ in range(requests // CONNECTIONS):
            asked = [(each, next(self._users)) for each in self._sockets]
            for each, user in asked:
                each.sendall(REQUEST.format(user=user, more=self._more).encode())
            for each, user in asked:
                answer = each.recv(65536)
                if answer.endswith(b"marked") != self._marked(user):
                    raise StartError(f"the gateway of the benchmark answered {answer!r}")

    def close(self) -> None:
        for each in self._sockets:
            each.close()


def _listener(port: int, filters: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """As the control plane makes it, with what it sends apart (routes, filters) in place."""
    made = messages.to_json(gateway_listeners.listener("127.0.0.1", port, port))
    manager = made["filter_chains"][0]["filters"][0]["typed_config"]
    kept = [each for each in manager["http_filters"] if "config_discovery" not in each]
    manager["http_filters"] = [*filters, *kept]
    del manager["rds"]
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}]
    hosts = [{"name": "all", "domains": ["*"], "routes": routes}]
    manager["route_config"] = {"name": "bench", "virtual_hosts": hosts}
    made.pop("bind_to_port", None)
    return made


def _bootstrap(listeners: list[dict[str, Any]], app: int, admin: int) -> dict[str, Any]:
    def at(port: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    endpoints = [{"lb_endpoints": [{"endpoint": {"address": at(app)}}]}]
    cluster = {
        "name": "app",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "app", "endpoints": endpoints},
    }
    runtime = {"re2.max_program_size.error_level": 32768}
    return {
        "node": {"id": "bench", "cluster": "bench"},
        "admin": {"address": at(admin)},
        "layered_runtime": {"layers": [{"name": "static", "static_layer": runtime}]},
        "static_resources": {"listeners": listeners, "clusters": [cluster]},
    }


def _ways(running: Processes) -> Mapping[str, _Way]:
    first = free_ports(5)
    app, admin, *ports = range(first, first + 5)
    command = [sys.executable, "-m", "gateway.backend", str(app)]
    running.start("app", command, cores()[:1], ("127.0.0.1", app))
    bare, header, cookie = ports
    listeners = [
        _listener(bare, []),
        _listener(header, slots(groups(HEADER), underscores=False)),
        _listener(cookie, slots(groups(COOKIE), underscores=False)),
    ]
    configuration = running.directory / "envoy.json"
    configuration.write_text(json.dumps(_bootstrap(listeners, app, admin)))
    own = cores()[1:2] or cores()
    pid = running.start("envoy", envoy.command(configuration), own, ("127.0.0.1", cookie))

    def shared(user: str) -> bool:
        return in_share(user.encode(), PERCENT)

    return {
        BARE: _Way(pid, bare, "", lambda _: False),
        HEADER: _Way(pid, header, "", shared),
        COOKIE: _Way(pid, cookie, "", shared),
        COLOURED: _Way(pid, header, "Uid: 100\r\n", lambda _: True),
    }


def colouring(rounds: int = ROUNDS) -> Result:
    """Every way, `rounds` times in turn. Raises StartError."""
    found: dict[str, list[float]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="meltemi-bench-") as folder,
        Processes(Path(folder, "logs")) as running,
    ):
        ways = _ways(running)
        try:
            for way in ways.values():
                way.sample()  # the first warms up
            for _ in range(rounds):
                for name, way in ways.items():
                    found.setdefault(name, []).append(way.sample())
        finally:
            for way in ways.values():
                way.close()
    return Result(found)


def main() -> None:
    found = colouring().cpu_us
    for name, ours in found.items():
        ratio = statistics.median(x / y for x, y in zip(ours, found[BARE], strict=True))
        print(f"{name:9} {statistics.median(ours):6.1f} us a request, {ratio:.3f} of bare")


if __name__ == "__main__":
    main()

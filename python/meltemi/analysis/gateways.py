"""Gateways, the workloads that are to open their ports, and the VirtualServices that name them.

What Istio finds too has its codes (pkg/config/analysis/analyzers/gateway, …/virtualservice)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from meltemi.config import Issue, Object
from meltemi.config.gateways import MESH, full_name
from meltemi.config.load import of_kind
from meltemi.config.virtual_services import hosts
from meltemi.model import Gateway, Mesh, MeshMode, Workload
from meltemi.model.gateway import narrower

NOT_FOUND: Final = "IST0101"
NO_HOST: Final = "IST0132"
NO_PORT: Final = "IST0162"
NOTHING_TO_OPEN: Final = "no-gateway"

Pods = Sequence[tuple[str, Mapping[str, str]]]
"""Namespace and labels of each."""


def check(objects: Sequence[Object], mesh: Mesh, pods: Pods) -> Iterator[Issue]:
    """Names and hosts that nothing has, ports that nobody opens; `pods` are Kubernetes' own."""
    known = {gateway.full_name: gateway for gateway in mesh.gateways}
    for item in of_kind(objects, "VirtualService"):
        yield from _of_rule(item, known)
    workloads = [each for each in mesh.workloads if each.mode is MeshMode.GATEWAY]
    for item in of_kind(objects, "Gateway"):
        gateway = known[f"{item.ref.namespace}/{item.ref.name}"]
        yield from _of_gateway(item, gateway, workloads, objects, pods)
    for item in of_kind(objects, "Workload"):
        yield from _of_workload(item, mesh, workloads)


def _of_rule(item: Object, known: Mapping[str, Gateway]) -> Iterator[Issue]:
    """Istio warns of a gateway that has none of the rule's hosts."""
    own = hosts(item.spec, item.ref.namespace)
    for place, written in enumerate(item.spec.gateways or ()):
        if written == MESH:
            continue
        name = full_name(written, item.ref.namespace)
        gateway = known.get(name)
        path = ("spec", "gateways", place)
        if gateway is None:
            there = f"there are: {', '.join(sorted(known))}" if known else "the mesh has none"
            yield item.issue(path, "error", NOT_FOUND, f"there is no Gateway {name}", there)
            continue
        theirs = [
            host
            for server in gateway.servers
            for namespace, host in server.hosts
            if namespace in ("*", item.ref.namespace)
        ]
        if own and not any(narrower(host, wide) for host in own for wide in theirs):
            yield item.issue(
                path, "warning", NO_HOST,
                f"Gateway {name} has none of the hosts {', '.join(own)}:"
                " no request comes here through it",
                f"its hosts: {', '.join(dict.fromkeys(theirs))}"
                if theirs
                else f"it takes no VirtualService of namespace {item.ref.namespace}",
            )  # fmt: skip


def _of_gateway(
    item: Object,
    gateway: Gateway,
    workloads: Sequence[Workload],
    objects: Sequence[Object],
    pods: Pods,
) -> Iterator[Issue]:
    selected = [each for each in workloads if gateway.selects(each.labels)]
    theirs = [pod for pod in pods if gateway.selects(tuple(pod[1].items()))]
    if not (selected or theirs):
        labels = ", ".join(f"{key}: {value}" for key, value in gateway.selector)
        yield item.issue(
            ("spec", "selector") if gateway.selector else ("spec",), "error", NOT_FOUND,
            f"no workload with mesh: gateway has the labels {{{labels}}}: nothing is opened",
            "give a gateway workload these labels",
        )  # fmt: skip
        return
    called = _called(objects, theirs)
    for place, server in enumerate(gateway.servers):
        without = [
            f"{each.namespace}/{each.name}"
            for each in selected
            if server.number not in {port.port for port in each.ports}
        ]
        if without or (not selected and server.number not in called):
            who = f"workload {', '.join(without)}" if without else "no Service of its Pods"
            yield item.issue(
                ("spec", "servers", place, "port"), "warning", NO_PORT,
                f"{who} has {'no ' if without else ''}port {server.number}",
                f"ports: [{{name: http, port: {server.number}}}]",
            )  # fmt: skip


def _called(objects: Sequence[Object], pods: Pods) -> set[int]:
    """The ports of Services that select one of the Pods, and where they lead."""
    found: set[int] = set()
    for item in of_kind(objects, "Service"):
        wanted = set((item.spec.selector or {}).items())
        near = [labels for namespace, labels in pods if namespace == item.ref.namespace]
        if wanted and any(wanted.issubset(labels.items()) for labels in near):
            for port in item.spec.ports or ():
                found.add(port.port)
                if isinstance(port.target_port, int):
                    found.add(port.target_port)
    return found


def _of_workload(item: Object, mesh: Mesh, workloads: Sequence[Workload]) -> Iterator[Issue]:
    for each in workloads:
        if (each.namespace, each.name) != (item.ref.namespace, item.ref.name):
            continue
        selecting = [gateway for gateway in mesh.gateways if gateway.selects(each.labels)]
        if not selecting:
            yield item.issue(
                ("spec", "mesh"), "warning", NOTHING_TO_OPEN,
                "no Gateway selects it: it opens no port",
                "a Gateway whose selector is among its labels",
            )  # fmt: skip
            continue
        opened = {server.number for gateway in selecting for server in gateway.servers}
        for place, port in enumerate(each.ports):
            if port.port not in opened:
                yield item.issue(
                    ("spec", "ports", place), "warning", NOTHING_TO_OPEN,
                    f"no Gateway for it opens port {port.port}",
                    f"servers: [{{port: {{number: {port.port}, …}}, …}}]",
                )  # fmt: skip

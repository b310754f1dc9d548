"""Which way a request would take, and why not another.

The route is chosen by the engine's own table over the very bytes that a sidecar of the caller gets
(`meltemi.engine.explain_route`); clusters and endpoints are read from those resources too."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from meltemi import engine
from meltemi.analysis import affinity, direct, dubbo_notes, limits, marks, places
from meltemi.analysis.affinity import Hashed
from meltemi.analysis.direct import Rule
from meltemi.analysis.places import Replica, UnknownNameError
from meltemi.model import Mesh, MeshMode, MetaRouter, Service, ServicePort
from meltemi.model.protocol import ENGINE_CODECS
from meltemi.translate import Resources, Translator, names
from meltemi.translate.clusters import REFUSE
from meltemi.translate.index import codecs
from meltemi.xds import messages
from meltemi.xds.resource import Client


@dataclass(frozen=True, slots=True)
class Question:
    """A request that nobody has sent."""

    service: str
    """A hostname, `NAME.NAMESPACE`, `NAME` or a Dubbo interface."""
    caller: str = ""
    """`NAME[-ORDINAL][.NAMESPACE]` of the workload that calls, or "" for no particular one."""
    namespace: str = ""
    """Where the caller is, for names without one. "": the only namespace that has the caller's
    name; for a caller that is not named, the service's own."""
    port: int | None = None
    """None: the first port whose requests are routed, else the first."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    """`/PACKAGE.SERVICE/METHOD` of a call without a sidecar."""

    @classmethod
    def from_json(cls, body: Any) -> Question:
        """From `{service, from, namespace, port, attributes, path}`. Raises ValueError."""
        if not isinstance(body, Mapping) or not isinstance(body.get("service"), str):
            raise ValueError("the body is not {service, from, namespace, port, attributes}")
        port, attributes = body.get("port"), body.get("attributes") or {}
        if port is not None and not isinstance(port, int):
            raise ValueError("port is not a number")
        if not isinstance(attributes, Mapping):
            raise ValueError("attributes is not a map of names to values")
        return cls(
            service=body["service"],
            caller=str(body.get("from") or ""),
            namespace=str(body.get("namespace") or ""),
            port=port,
            attributes={str(name).lower(): str(value) for name, value in attributes.items()},
            path=str(body.get("path") or ""),
        )


def explain(mesh: Mesh, question: Question) -> dict[str, Any]:
    """The answer as JSON: `service`, `port`, `protocol`, `namespace`, `from`, `attributes`, `rule`,
    `routes` (each with `name`, `matched`, `reasons`), `route`, `request_mutation`,
    `response_mutation` (of that route: each with `key`, and `value` or `remove`), `clusters` (each
    with `name`, `weight`, `percent`, `endpoints`, `problem`, and what `affinity.chosen` says),
    `problem`, `client` (`sidecar`; `sdk` for a caller without one or a question with a path),
    `rule_kind`, `limits` (`limits.met`), `interface`, which a Dubbo service may stand for, and
    `notes`. A request to it has that interface unless the question says otherwise.

    Raises UnknownNameError for a service, port or caller that the mesh does not have."""
    callers = _callers(mesh, question)
    service = places.service(mesh, question.service, _near(question, callers))
    namespace = callers[0].workload.namespace if callers else question.namespace
    namespace = namespace or service.namespace
    if not service.visible_from(namespace):
        raise UnknownNameError(
            f"namespace {namespace} does not see {service.hostname}",
            f"Its exportTo is {', '.join(service.export_to)}.",
        )
    port = _port(service, question.port)
    client = _client(question, callers)
    node = places.node(callers[0], client) if callers else places.stranger(namespace, client)
    rule = mesh.meta_router(service.hostname, namespace)
    resources = Translator().resources(_concerned(mesh, service, rule, callers), node)
    codec = codecs(mesh).get(port.protocol, "")
    asked = dubbo_notes.attributes(service, codec, question.attributes)
    attributes, of_marks = marks.counting(mesh, callers, asked)
    of_marks += marks.ending(mesh, service, attributes)
    answer: dict[str, Any] = {
        "service": service.hostname,
        "port": port.number,
        "protocol": port.protocol,
        "namespace": namespace,
        "from": [caller.pod for caller in callers],
        "attributes": dict(asked),
        "interface": service.interface or None,
        "client": client.value,
        "limits": limits.met(mesh, service, port.number, namespace, attributes),
        "notes": of_marks,
    }
    if client is Client.SDK:
        ruled_by = direct.rule_of(mesh, service, port, node, rule)
        path = question.path or f"/{attributes.get('method', '')}"
        found = direct.decide(resources, f"{service.hostname}:{port.number}", path, attributes)
        return answer | _direct(mesh, path, namespace, ruled_by, found, resources)
    answer["rule_kind"] = "MetaRouter" if rule and rule.routes else ""
    if codec in ENGINE_CODECS:
        table = resources[messages.ROUTE][names.route(service.hostname, port.number)]
        address = callers[0].instance.address if len(callers) == 1 else None
        traces = engine.explain_route(table.body, attributes, address)
        answer["notes"] += dubbo_notes.notes(service, codec, question.attributes, table.body)
        return answer | _routed(mesh, rule, traces, namespace, resources)
    cluster = names.outbound(port.number, "", service.hostname)
    return answer | {
        "rule": None,
        "routes": [],
        "route": None,
        "request_mutation": [],
        "response_mutation": [],
        "clusters": _clusters(mesh, [(cluster, 1)], namespace, resources, affinity.BY_CALLER),
        "problem": None,
    }


def _client(question: Question, callers: list[Replica]) -> Client:
    direct_caller = bool(callers) and callers[0].workload.mode is MeshMode.PROXYLESS
    return Client.SDK if question.path or direct_caller else Client.SIDECAR


def _direct(
    mesh: Mesh,
    path: str,
    namespace: str,
    rule: Rule,
    found: Mapping[str, Any],
    resources: Resources,
) -> dict[str, Any]:
    """The part of the answer for a caller without a sidecar, from the engine's account."""
    traces: list[dict[str, Any]] = found["routes"]
    chosen = next((trace for trace in traces if trace["matched"]), None)
    weighted = _weighted(chosen["clusters"]) if chosen else []
    refused = found["refused"] or {}
    none = f"no route of {rule.written} matches"
    answered = refused.get("reason") if chosen and not weighted else None
    return {
        "path": path,
        "rule": rule.name or None,
        "rule_kind": rule.kind,
        "routes": [{key: trace[key] for key in ("name", "matched", "reasons")} for trace in traces],
        "route": chosen["name"] if chosen else None,
        "request_mutation": direct.changes(found["request_changes"]),
        "response_mutation": direct.changes(found["response_changes"]),
        "timeout_s": found["timeout_s"],
        "retry": found["retry"],
        "clusters": _clusters(mesh, weighted, namespace, resources, affinity.BY_CALLER),
        "problem": answered if chosen else none,
    }


def _callers(mesh: Mesh, question: Question) -> list[Replica]:
    if not question.caller:
        return []
    found = places.replicas(mesh, question.caller, question.namespace or None)
    if found[0].workload.mode is MeshMode.GATEWAY:
        raise UnknownNameError(
            f"{found[0].pod} is a gateway, whose HTTP routes explain does not know",
            f"`meltemi dump-xds --config DIR --node {found[0].pod} -o json` has them.",
        )
    return found


def _near(question: Question, callers: list[Replica]) -> str:
    return callers[0].workload.namespace if callers else question.namespace or "default"


def _port(service: Service, wanted: int | None) -> ServicePort:
    numbers = [port.number for port in service.ports]
    if not service.ports:
        raise UnknownNameError(f"{service.hostname} has no ports", "Give it one.")
    if wanted is None:
        routed = (port for port in service.ports if port.protocol != "tcp")
        return next(routed, service.ports[0])
    if wanted not in numbers:
        ports = ", ".join(map(str, numbers))
        raise UnknownNameError(f"{service.hostname} has no port {wanted}", f"Its ports: {ports}.")
    return service.ports[numbers.index(wanted)]


def _concerned(
    mesh: Mesh, service: Service, rule: MetaRouter | None, callers: list[Replica]
) -> Mesh:
    """The part of the mesh that the request can meet: a large one is not built for one question."""
    routes = rule.routes if rule else ()
    hosts = {to.destination.host for route in routes for to in route.destinations}
    hosts |= direct.destinations(mesh, service)
    return dataclasses.replace(
        mesh,
        services={
            hostname: mesh.services[hostname]
            for hostname in (service.hostname, *sorted(hosts))
            if hostname in mesh.services
        },
        workloads=tuple({caller.workload.name: caller.workload for caller in callers}.values()),
    )


def _routed(
    mesh: Mesh,
    rule: MetaRouter | None,
    traces: list[dict[str, Any]],
    namespace: str,
    resources: Resources,
) -> dict[str, Any]:
    chosen = next((trace for trace in traces if trace["matched"]), None)
    weighted = _weighted(chosen["clusters"]) if chosen else []
    ruled_by = f"{rule.namespace}/{rule.name}" if rule and rule.routes else None
    return {
        "rule": ruled_by,
        "routes": [{key: trace[key] for key in ("name", "matched", "reasons")} for trace in traces],
        "route": chosen["name"] if chosen else None,
        "request_mutation": chosen["request_mutation"] if chosen else [],
        "response_mutation": chosen["response_mutation"] if chosen else [],
        "clusters": _clusters(mesh, weighted, namespace, resources, Hashed.of(chosen)),
        "problem": None if chosen else f"no route of MetaRouter {ruled_by} matches",
    }


def _weighted(clusters: Any) -> list[tuple[str, int]]:
    return [(str(each["name"]), int(each["weight"])) for each in clusters]


def _clusters(
    mesh: Mesh,
    weighted: list[tuple[str, int]],
    namespace: str,
    resources: Resources,
    hashed: Hashed,
) -> list[dict[str, Any]]:
    total = sum(weight for _, weight in weighted) or 1
    found = []
    for name, weight in weighted:
        endpoints = _endpoints(name, resources)
        found.append(
            {
                "name": name,
                "weight": weight,
                "percent": round(100 * weight / total, 2),
                "endpoints": endpoints,
                **affinity.chosen(name, hashed, resources),
                "problem": _problem(mesh, name, namespace, resources)
                or (None if endpoints else "it has no endpoint"),
            }
        )
    return found


def _endpoints(cluster: str, resources: Resources) -> list[dict[str, Any]]:
    resource = resources[messages.ENDPOINT].get(cluster)
    if resource is None:
        return []
    assignment = messages.parse(messages.ENDPOINT, resource.body)
    return [_endpoint(each) for locality in assignment.endpoints for each in locality.lb_endpoints]


def _endpoint(of: Any) -> dict[str, Any]:
    socket = of.endpoint.address.socket_address
    istio = of.metadata.filter_metadata
    words = str(istio["istio"]["workload"]).split(";") if "istio" in istio else ["", "", "", ""]
    return {
        "address": f"{socket.address}:{socket.port_value}",
        "weight": of.load_balancing_weight.value,
        "workload": f"{words[0]}.{words[1]}" if words[0] else None,
        "version": words[3] or None,
    }


def _problem(mesh: Mesh, cluster: str, namespace: str, resources: Resources) -> str | None:
    """Why nothing can be sent to a cluster whatever its endpoints, None when something can."""
    resource = resources[messages.CLUSTER].get(cluster)
    if resource is None:
        return _missing(mesh, cluster, namespace)
    metadata = messages.parse(messages.CLUSTER, resource.body).metadata.filter_metadata
    own = metadata.get("meltemi", {})
    return str(own[REFUSE]) if REFUSE in own else None


def _missing(mesh: Mesh, cluster: str, namespace: str) -> str:
    """Which part of `outbound|PORT|SUBSET|HOST` there is not."""
    _, port, subset, hostname = cluster.split("|", 3)
    service = mesh.services.get(hostname)
    if service is None:
        return f"there is no service {hostname}"
    if not service.visible_from(namespace):
        return f"namespace {namespace} does not see {hostname}"
    if all(str(each.number) != port for each in service.ports):
        return f"{hostname} has no port {port}"
    return f"no DestinationRule of {hostname} has a subset {subset}"


def lines(answer: Mapping[str, Any]) -> Iterable[str]:
    """The answer for people."""
    callers = ", ".join(answer["from"]) or "any workload"
    place = f"{answer['service']}:{answer['port']} ({answer['protocol']})"
    yield f"{place}, called by {callers} in namespace {answer['namespace']}"
    given = ", ".join(f"{name}={value}" for name, value in answer["attributes"].items())
    yield f"attributes: {given or 'none'}"
    if "path" in answer:
        yield f"path: {answer['path']}, without a sidecar"
    yield f"rule: {Rule(answer['rule_kind'], answer['rule'] or '').written}"
    for route in answer["routes"]:
        yield f"  {'takes' if route['matched'] else 'skips'} route {route['name'] or '(no name)'}"
        yield from (f"    {reason}" for reason in route["reasons"])
    for side, message in (("request", "request"), ("response", "reply")):
        for change in answer[f"{side}_mutation"]:
            key = change["key"]
            word = "adds" if "add" in change else "sets"
            what = f"removes {key}" if "remove" in change else f"{word} {key}={change['value']}"
            yield f"    on the {message}: {what}"
    yield from _times(answer)
    yield from limits.lines(answer["limits"])
    if answer["problem"]:
        yield f"error to the caller: {answer['problem']}"
    for cluster in answer["clusters"]:
        yield f"{cluster['percent']:g} % to {cluster['name']}"
        if cluster["problem"]:
            yield f"  error to the caller: {cluster['problem']}"
        yield from (f"  {line}" for line in affinity.lines(cluster))
        for endpoint in cluster["endpoints"]:
            yield "  " + " ".join(filter(None, (endpoint["address"], endpoint["workload"])))
    yield from (f"note: {note}" for note in answer["notes"])


def _times(answer: Mapping[str, Any]) -> Iterable[str]:
    """How long a call without a sidecar may take, and how often it is tried."""
    if answer.get("timeout_s"):
        yield f"    timeout {answer['timeout_s']:g} s"
    retry = answer.get("retry")
    if retry and retry["num_retries"]:
        yield f"    {retry['num_retries']} retries on {', '.join(retry['on'])}"

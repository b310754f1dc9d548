"""What MetaRouters and VirtualServices ask for and nothing in the mesh has: names, and sidecars
that could enforce a limit. Warnings, for who knows the whole mesh.

A Dubbo interface too, where the host stands for another one.
Not part of `build`: what is not in the documents at hand may be in others. A rule may come before
its service, so this is never an error."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from meltemi.config import dubbo_interface, own_annotations
from meltemi.config.check import Object
from meltemi.config.gateways import MESH, full_name
from meltemi.config.issues import Issue, Path, nearest
from meltemi.config.load import of_kind
from meltemi.config.remembered import Remembered
from meltemi.config.rules.names import full_host
from meltemi.config.schema.meta_router import Destination, MetaRouterSpec
from meltemi.config.schema.virtual_service import Destination as HttpDestination
from meltemi.config.schema.virtual_service import VirtualServiceSpec
from meltemi.config.virtual_services import holds_for_mesh
from meltemi.model import BUILT_IN_CODECS, Mesh, MeshMode
from meltemi.model.protocol import ENGINE_CODECS

_DOMAIN = ".svc.cluster.local"
_KINDS = ("MetaRouter", "VirtualService")
_HINTED = 5  # hosts a mesh whose nearest names are looked for: that is slow


def check(objects: Sequence[Object], mesh: Mesh) -> list[Issue]:
    """A warning for each host and subset of a rule among `objects` that `mesh` has not."""
    return References().check(objects, mesh)


class References:
    """Checks one mesh after another; as long as names stay, only rules that were edited."""

    def __init__(self) -> None:
        self._mesh: Mesh | None = None
        self._rules: tuple[Remembered[tuple[Issue, ...]], ...] | None = None

    def check(self, objects: Sequence[Object], mesh: Mesh) -> list[Issue]:
        """As the function `check`, of objects in the order of `Loaded`."""
        before, self._mesh = self._mesh, mesh
        same = (
            before is not None
            and before.services is mesh.services
            and before.destination_rules is mesh.destination_rules
            and before.gateways is mesh.gateways
        )
        if self._rules is None or not same:
            names = _Names(mesh)
            self._rules = (
                Remembered(lambda item: tuple(_of_router(item, item.spec, names))),
                Remembered(lambda item: tuple(_of_virtual_service(item, item.spec, names))),
            )
        found = [
            issue
            for kind, remembered in zip(_KINDS, self._rules, strict=True)
            for issues in remembered.of(of_kind(objects, kind))
            for issue in issues
        ]
        if found:
            self._rules = None  # hints are for the first few names that nobody knows
        return found


class _Names:
    """What there is to refer to."""

    def __init__(self, mesh: Mesh) -> None:
        self._services = mesh.services
        self.gateways = frozenset(gateway.full_name for gateway in mesh.gateways)
        self._hints: dict[str, str] = {}
        own = {one.protocol: one.codec for one in mesh.application_protocols}
        self._codecs = BUILT_IN_CODECS | own
        self._sidecars = {
            f"{workload.namespace}/{workload.name}"
            for workload in mesh.workloads
            if workload.mode is MeshMode.SIDECAR
        }
        self._short = {host.removesuffix(_DOMAIN): host for host in mesh.services}
        self._subsets: dict[str, set[str]] = {}
        for rule in mesh.destination_rules:
            names = self._subsets.setdefault(rule.host, set())
            names.update(subset.name for subset in rule.subsets)
        self._wildcards = [host for host in self._subsets if host.startswith("*")]

    def is_service(self, host: str) -> bool:
        return host in self._services

    def interface(self, host: str) -> str:
        """That the host stands for; "" where it says none."""
        return self._services[host].interface if host in self._services else ""

    def is_read(self, host: str) -> bool:
        """Whether requests of a port are decoded."""
        ports = self._services[host].ports
        return any(self._codecs.get(port.protocol) in ENGINE_CODECS for port in ports)

    def only_without_sidecar(self, host: str) -> bool:
        """Whether it has endpoints, and none of them a sidecar."""
        ports = self._services[host].endpoints
        behind = {endpoint.workload for _, of_port in ports for endpoint in of_port}
        return bool(behind) and not behind & self._sidecars

    def subsets(self, host: str) -> set[str]:
        """Of all rules for the host, whoever sees them: who calls is not known here."""
        wide = (self._subsets[rule] for rule in self._wildcards if host.endswith(rule[1:]))
        return self._subsets.get(host, set()).union(*wide)

    def hint(self, host: str) -> str:
        """The nearest service: the same name in another namespace before a name like it."""
        if host not in self._hints and len(self._hints) < _HINTED:
            self._hints[host] = self._nearest(host.removesuffix(_DOMAIN))
        return self._hints.get(host, "") or "`meltemi get service -A` lists what there is"

    def _nearest(self, short: str) -> str:
        name = short.partition(".")[0]
        same = sorted(other for other in self._short if other.partition(".")[0] == name)
        near = same[:1] or difflib.get_close_matches(short, self._short, 1, 0.6)
        return f"did you mean {self._short[near[0]]}?" if near else ""


def _of_router(item: Object, spec: MetaRouterSpec, names: _Names) -> Iterator[Issue]:
    host = full_host(spec.hosts[0], item.ref.namespace)
    if not names.is_service(host):
        yield _warning(
            item, ("spec", "hosts", 0), "unknown-host",
            f"there is no service {host}: the rule has no effect", names.hint(host),
        )  # fmt: skip
    if spec.local_rate_limit is not None:
        yield from _of_limit(item, host, names)
    yield from dubbo_interface.others(item, spec, names.interface(host))
    for number, route in enumerate(spec.routes or ()):
        for position, to in enumerate(route.route or ()):
            path = ("spec", "routes", number, "route", position, "destination")
            yield from _of_destination(item, path, to.destination, names)


def _of_virtual_service(item: Object, spec: VirtualServiceSpec, names: _Names) -> Iterator[Issue]:
    for place, written in enumerate(spec.hosts or () if holds_for_mesh(spec) else ()):
        host = full_host(written, item.ref.namespace)
        if "*" not in host and not names.is_service(host):
            yield _warning(
                item, ("spec", "hosts", place), "unknown-host",
                f"there is no service {host}: the rule has no effect for it", names.hint(host),
            )  # fmt: skip
    for place, gateway in enumerate(spec.gateways or ()):
        name = full_name(gateway, item.ref.namespace)
        if gateway != MESH and name not in names.gateways:
            yield _warning(
                item, ("spec", "gateways", place), "unknown-gateway",
                f"there is no Gateway {name}: the rule has no effect there",
                nearest(name, names.gateways) or "NAME of its own namespace, or NAMESPACE/NAME",
            )  # fmt: skip
    for number, route in enumerate(spec.http or ()):
        for position, to in enumerate(route.route or ()):
            path = ("spec", "http", number, "route", position, "destination")
            yield from _of_destination(item, path, to.destination, names)


def _of_limit(item: Object, host: str, names: _Names) -> Iterator[Issue]:
    """A limit that no sidecar enforces lets everything pass."""
    side = own_annotations.limit_side(item.metadata.annotations)
    path: Path = ("spec", "localRateLimit")
    if not names.is_service(host):
        return
    if not names.is_read(host):
        yield _warning(
            item, path, "limit-not-enforced",
            f"no port of {host} has a protocol that is read here: nothing is limited",
            "name the port tcp-metaprotocol-thrift, for example",
        )  # fmt: skip
    elif side == "inbound" and names.only_without_sidecar(host):
        yield _warning(
            item, path, "limit-not-enforced",
            f"no workload of {host} has a sidecar: nothing is limited",
            f"annotation {own_annotations.LIMIT_SIDE}: outbound has the callers' sidecars limit",
        )  # fmt: skip


def _of_destination(
    item: Object, path: Path, to: Destination | HttpDestination, names: _Names
) -> Iterator[Issue]:
    host = full_host(to.host, item.ref.namespace)
    if not names.is_service(host):
        yield _warning(
            item, (*path, "host"), "unknown-host",
            f"there is no service {host}: its requests are answered with an error",
            names.hint(host),
        )  # fmt: skip
    elif to.subset and to.subset not in (known := names.subsets(host)):
        there = f"its subsets: {', '.join(sorted(known))}" if known else "it has no subsets"
        yield _warning(
            item, (*path, "subset"), "unknown-subset",
            f"no DestinationRule of {host} has a subset {to.subset}:"
            " its requests are answered with an error",
            nearest(to.subset, known) or there,
        )  # fmt: skip


def _warning(item: Object, path: Path, code: str, message: str, hint: str) -> Issue:
    return item.issue(path, "warning", code, message, hint)

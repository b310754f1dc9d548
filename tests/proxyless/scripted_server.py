"""A control plane by hand: what it holds, what it counts, and how it misbehaves are a test's."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from meltemi.lanes import edge_rules
from meltemi.model import Lane, LaneEntry, LaneGroup, StringMatch
from meltemi.translate.edge_rules import extension
from meltemi.xds import discovery, messages
from meltemi.xds.discovery import DeltaRequest, Response, SotwRequest
from meltemi.xds.messages import CLUSTER, ENDPOINT, LISTENER, ROUTE
from meltemi.xds.resource import Resource

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
QUIET_S = 0.05
"""A round trip is over when the client has said nothing for so long."""


def listener(name: str, routes: str) -> Resource:
    manager = messages.message(MANAGER)(rds={"route_config_name": routes})
    manager.http_filters.add(name="router")
    made = messages.message_of(LISTENER)(name=name)
    made.api_listener.api_listener.CopyFrom(messages.pack(manager))
    return messages.resource(name, made)


def socket_listener(name: str, routes: str) -> Resource:
    """As a sidecar has it: in a filter chain."""
    manager = messages.message(MANAGER)(rds={"route_config_name": routes})
    made = messages.message_of(LISTENER)(name=name)
    added = made.filter_chains.add().filters.add(name="http")
    added.typed_config.CopyFrom(messages.pack(manager))
    return messages.resource(name, made)


def route(name: str, cluster: str, *, domains: tuple[str, ...] = ("*",)) -> Resource:
    made = messages.message_of(ROUTE)(name=name)
    added = made.virtual_hosts.add(name=name, domains=domains).routes.add(name="only")
    added.match.prefix = "/"
    added.route.cluster = cluster
    return messages.resource(name, made)


def cluster(name: str) -> Resource:
    made = messages.message_of(CLUSTER)(name=name, type=3)
    made.eds_cluster_config.eds_config.ads.SetInParent()
    return messages.resource(name, made)


def endpoints(name: str, *addresses: str) -> Resource:
    made = messages.message_of(ENDPOINT)(cluster_name=name)
    locality = made.endpoints.add()
    locality.load_balancing_weight.value = 1
    for address in addresses:
        host, _, port = address.rpartition(":")
        socket = locality.lb_endpoints.add().endpoint.address.socket_address
        socket.address, socket.port_value = host, int(port)
    return messages.resource(name, made)


def edge_rules_for(uid: str) -> Resource:
    """Colouring: requests with this header `uid` get the mark env=dev."""
    entry = LaneEntry(headers=(("uid", StringMatch("exact", uid)),))
    group = LaneGroup("default", "shop", (), "env", (Lane("dev", (), entries=(entry,)),))
    return messages.resource(edge_rules.RESOURCE, extension((group,)))


class ScriptedServer:
    """Serves what `held` says, by name, in delta and state of the world."""

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self.held: dict[str, dict[str, Resource]] = {}
        self.rounds = 0
        """Round trips in which something was asked for."""
        self.slowly = False
        """Whether answers wait until the client is quiet: then rounds can be counted."""
        self.reset_after: int | None = None
        """Each stream ends with UNAVAILABLE after so many responses, one more each time."""
        self.streams = 0
        self.requests: list[SotwRequest | DeltaRequest] = []
        self.nodes: list[Any] = []
        self.metadata: list[dict[str, str]] = []
        self.refuse: tuple[grpc.StatusCode, str] | None = None
        self.without_delta = False
        self.options: list[tuple[str, int]] = []
        self.credentials: grpc.ServerCredentials | None = None
        self._changed = threading.Condition()
        self._version = 0
        self._server: grpc.Server | None = None

    def put(self, type_url: str, *resources: Resource) -> None:
        with self._changed:
            held = self.held.setdefault(type_url, {})
            held.update((each.name, each) for each in resources)
            self._version += 1
            self._changed.notify_all()

    def remove(self, type_url: str, *names: str) -> None:
        with self._changed:
            for name in names:
                self.held[type_url].pop(name, None)
            self._version += 1
            self._changed.notify_all()

    def service(self, target: str, name: str, *addresses: str) -> None:
        """All that a target needs."""
        self.put(ENDPOINT, endpoints(name, *addresses))
        self.put(CLUSTER, cluster(name))
        self.put(ROUTE, route(name, name))
        self.put(LISTENER, listener(target, name))

    def start(self) -> ScriptedServer:
        self._server = grpc.server(ThreadPoolExecutor(32), options=self.options)
        methods = {"StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(self._sotw)}
        if not self.without_delta:
            handler = grpc.stream_stream_rpc_method_handler(self._delta)
            methods["DeltaAggregatedResources"] = handler
        handlers = grpc.method_handlers_generic_handler(SERVICE, methods)
        self._server.add_generic_rpc_handlers((handlers,))
        if self.credentials is None:
            assert self._server.add_insecure_port(self.address)
        else:
            assert self._server.add_secure_port(self.address, self.credentials)
        self._server.start()
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(0).wait()
            self._server = None

    # === streams ===

    def _sotw(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        return self._stream(requests, context, discovery.decode_sotw_request, _Sotw(self))

    def _delta(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        return self._stream(requests, context, discovery.decode_delta_request, _Delta(self))

    def _stream(
        self,
        requests: Iterator[bytes],
        context: Any,
        decode: Callable[[bytes], tuple[Any, Any]],
        subscription: _Sotw | _Delta,
    ) -> Iterator[bytes]:
        self.streams += 1
        self.metadata.append({str(k): str(v) for k, v in context.invocation_metadata()})
        if self.refuse is not None:
            context.abort(*self.refuse)
        allowed = None if self.reset_after is None else self.reset_after + self.streams - 1
        came: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(requests, came), daemon=True).start()
        seen = -1
        while context.is_active():
            asked = False
            with contextlib.suppress(queue.Empty):
                while True:
                    data = came.get(timeout=QUIET_S if self.slowly else 0.005)
                    if data is None:
                        return
                    request, node = decode(data)
                    self.requests.append(request)
                    if node is not None:
                        self.nodes.append(node)
                    asked = subscription.receive(request) or asked
                    if not self.slowly:
                        break
            self.rounds += asked
            with self._changed:
                responses = subscription.due() if asked or seen != self._version else []
                seen = self._version
            for response in responses:
                if allowed is not None:
                    if allowed == 0:
                        context.abort(grpc.StatusCode.UNAVAILABLE, "reset by the test")
                    allowed -= 1
                yield response

    def _read(self, requests: Iterator[bytes], came: queue.SimpleQueue[Any]) -> None:
        with contextlib.suppress(grpc.RpcError):
            for each in requests:
                came.put(each)
        came.put(None)


class _Sotw:
    """What one stream asked for in state of the world; all of a type is sent when any changed."""

    def __init__(self, server: ScriptedServer) -> None:
        self._server = server
        self._names: dict[str, tuple[str, ...]] = {}
        self._sent: dict[str, Mapping[str, str] | None] = {}
        self._nonces: dict[str, str] = {}
        self._count = 0

    def receive(self, request: SotwRequest) -> bool:
        if request.nonce != self._nonces.get(request.type_url, ""):
            return False  # names an older response: as istiod does, not read
        known = self._names.get(request.type_url)
        if known == request.names:
            return False
        self._names[request.type_url] = request.names
        if known is None or set(request.names) - set(known):
            self._sent[request.type_url] = None
            return True
        return False

    def due(self) -> list[bytes]:
        found = []
        for type_url, names in self._names.items():
            held = self._server.held.get(type_url, {})
            wanted = {n: each for n, each in held.items() if n in names or not names}
            versions = {name: each.version for name, each in wanted.items()}
            if self._sent.get(type_url) == versions:
                continue
            nothing_new = self._sent.get(type_url) is None and not wanted
            self._sent[type_url] = versions
            if nothing_new and type_url not in discovery.SETS:
                continue
            self._count += 1
            self._nonces[type_url] = f"n{self._count}"
            response = Response(
                type_url, self._nonces[type_url], f"v{self._count}", tuple(wanted.values())
            )
            found.append(discovery.encode_sotw_response(response))
        return found


class _Delta:
    """What one stream asked for in delta."""

    def __init__(self, server: ScriptedServer) -> None:
        self._server = server
        self._names: dict[str, set[str]] = {}
        self._told: dict[str, dict[str, str | None]] = {}
        self._count = 0

    def receive(self, request: DeltaRequest) -> bool:
        names = self._names.setdefault(request.type_url, set())
        told = self._told.setdefault(request.type_url, dict(request.initial_versions))
        names -= set(request.unsubscribe)
        for name in request.subscribe:
            if told.get(name) is None:
                told.pop(name, None)
        names |= set(request.subscribe)
        return bool(request.subscribe)

    def due(self) -> list[bytes]:
        found = []
        for type_url, names in self._names.items():
            held, told = self._server.held.get(type_url, {}), self._told[type_url]
            wanted = names or (held.keys() if type_url == messages.NAME_TABLE else set())
            changed = [held[n] for n in wanted if n in held and told.get(n, "") != held[n].version]
            removed = [n for n in wanted if n not in held and told.get(n, "") is not None]
            if not changed and not removed:
                continue
            told.update({each.name: each.version for each in changed})
            told.update(dict.fromkeys(removed))
            self._count += 1
            response = Response(
                type_url, f"n{self._count}", "", tuple(changed), removed=tuple(removed)
            )
            found.append(discovery.encode_delta_response(response))
        return found

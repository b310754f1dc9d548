"""Marks of lanes that must not come in, and those that must not go out, over real sockets."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from engine_mesh import Mesh, listener, start_engine, to
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from marked_frames import (
    MESSAGE,
    FrameServer,
    Pairs,
    dubbo,
    pairs_of,
    read_frame,
    theader,
    ttheader,
)
from meltemi.lanes import carriers
from meltemi.proxyless import baggage
from meltemi.proxyless.context import incoming
from meltemi.xds import messages

KEY = "env"
FRONT, OTHER, STRANGER = "127.77.0.1", "127.77.0.2", "127.0.0.1"
"""Addresses: of workloads shop/front and shop/other, and of nobody in the mesh."""
RULE = {"keys": [KEY], "any_workload": True}
EVERYWHERE = (
    b"baggage", b"Baggage", b"BAGGAGE", b"RPC_TRANSIT_baggage", b"RPC_PERSIST_baggage",
    b"RPC_TRANSIT_UPSTREAM_baggage", b"rpc-transit-baggage", b"rpc-persist-baggage",
    b"rpc_transit_baggage", b"RPC_TRANSIT_BAGGAGE",
)  # fmt: skip
MEMBERS = (b"ot-baggage-env", b"OT-BAGGAGE-ENV", b"uberctx-env", b"RPC_TRANSIT_ot-baggage-env")


@dataclass
class Bed:
    mesh: Mesh
    server: FrameServer
    protocol: str

    def rules(self, *rules: dict[str, Any]) -> None:
        """Who may set marks from now on; none: everybody."""
        config = {"@type": messages.TYPE_PREFIX + "meltemi.v1alpha1.Marks", "rules": list(rules)}
        filters = [{"name": "meltemi.marks", "config": config}] if rules else []
        self.mesh.accept("listener", listener(self.mesh.port, self.protocol, *filters))

    def connect(self, source: str = STRANGER) -> socket.socket:
        return socket.create_connection(
            ("127.0.0.1", self.mesh.port), timeout=5, source_address=(source, 0)
        )

    def call(self, frame: bytes, source: str = STRANGER) -> bytes:
        """Sends it over a connection of its own; the answer."""
        with self.connect(source) as sock:
            sock.sendall(frame)
            return read_frame(sock)

    def received(self, frame: bytes, source: str = STRANGER) -> bytes:
        """Sends it; what reached the server."""
        before = len(self.server.seen)
        assert self.call(frame, source)
        assert len(self.server.seen) == before + 1
        came = self.server.seen[-1]
        # Calls of Dubbo share connections, under ids of the engine's own.
        return came[:4] + frame[4:12] + came[12:] if self.protocol == "dubbo" else came

    def comes_to(self, wanted: bytes, frame: bytes, source: str) -> None:
        """Once new rules are in force, `wanted` reaches the server of `frame`."""
        deadline = time.monotonic() + 5
        while self.received(frame, source) != wanted:
            assert time.monotonic() < deadline

    def stat(self, name: str) -> float:
        stats = self.mesh.engine.stats()
        return sum(value for each, value in stats.items() if each.endswith(f".{name}"))


@pytest.fixture
def bed(free_port: Callable[[], int]) -> Iterator[Callable[[str], Bed]]:
    beds: list[Bed] = []

    def start(protocol: str) -> Bed:
        server = FrameServer(free_port())
        made = Bed(Mesh(start_engine(), free_port()), server, protocol)
        beds.append(made)
        for name, address in (("front", FRONT), ("other", OTHER)):
            made.mesh.accept(address, workload(name, address))
        made.rules(RULE)
        made.mesh.cluster("a", server.port)
        made.mesh.routes(to("a"))
        return made

    yield start
    for each in beds:
        each.mesh.engine.close()
        each.server.shutdown()
        each.server.server_close()


def workload(name: str, address: str) -> Any:
    return messages.message("istio.workload.Address")(
        workload={
            "uid": address,
            "name": f"{name}-0",
            "namespace": "shop",
            "workload_name": name,
            "addresses": [ipaddress.ip_address(address).packed],
        }
    )


def members(frame: bytes) -> dict[str, object]:
    """The baggage that a server of ours reads."""
    pairs = [(name.decode("utf-8", "replace"), value) for name, value in pairs_of(frame)]
    return dict(baggage.current(incoming(pairs)))


@pytest.mark.parametrize("header", [ttheader, theader])
def test_a_strangers_marks_do_not_enter_in_any_form(
    bed: Callable[[str], Bed], header: Callable[..., bytes]
) -> None:
    thrift = bed("thrift")
    forms: list[Sequence[Pairs]] = [
        [[(name, value)]]
        for name in EVERYWHERE
        for value in (b"env=dev", b" ENV = dev ;p=1", b"%65nv=dev", b"env=a,env=b")
    ]
    forms += [[[(name, b"dev")]] for name in MEMBERS]
    forms += [
        [[(b"baggage", b"env=dev"), (b"baggage", b"env=dev")]],
        [[(b"baggage", b"a=1"), (b"Baggage", b"env=dev")], [(b"BAGGAGE", b"env=x")]],
        [[(name, b"env=dev") for name in EVERYWHERE]],
    ]
    for blocks in forms:
        came = thrift.received(header(*blocks))
        assert KEY not in {name.lower() for name in members(came)}, blocks
        assert came.endswith(MESSAGE)
    assert thrift.stat("request_marks_removed") == len(forms)
    assert thrift.stat("request_marks_refused") == 0


@pytest.mark.parametrize("header", [ttheader, theader])
def test_what_is_no_mark_stays_byte_for_byte(
    bed: Callable[[str], Bed], header: Callable[..., bytes]
) -> None:
    thrift = bed("thrift")
    others = [(b"isn", b"Ping"), (b"x", b"env=dev"), (b"env", b"dev"), (b"RPC_PERSIST_env", b"1")]
    plain = header([*others, (b"baggage", b" a = 1;p= 2 ,b=%20")])
    assert thrift.received(plain) == plain
    marked = header([*others, (b"baggage", b" a = 1;p= 2 ,env=dev,b=%20")])
    assert thrift.received(marked) == plain
    assert thrift.received(ttheader([(b"baggage", b"env=1")], token=b"t")) == ttheader(token=b"t")


def test_messages_without_a_header_pass_for_no_mark_can_be_read_from_them(
    bed: Callable[[str], Bed],
) -> None:
    thrift = bed("thrift")
    framed = len(MESSAGE).to_bytes(4, "big") + MESSAGE
    assert thrift.received(framed) == framed


def test_a_large_call_loses_its_mark_and_its_body_passes(bed: Callable[[str], Bed]) -> None:
    thrift = bed("thrift")
    body = MESSAGE[:-1] + b"\x0b\x00\x01" + (1 << 20).to_bytes(4, "big") + b"x" * (1 << 20) + b"\0"
    small = ttheader([(b"baggage", b"a=1,env=dev")])
    rest = small[4 : -len(MESSAGE)] + body
    came = thrift.received(len(rest).to_bytes(4, "big") + rest)
    assert came.endswith(body)
    assert members(came) == {"a": "1"}


def test_a_workload_of_the_mesh_is_no_stranger_and_only_those_named_may_mark(
    bed: Callable[[str], Bed],
) -> None:
    thrift = bed("thrift")
    marked, plain = ttheader([(b"baggage", b"env=dev")]), ttheader()
    assert thrift.received(marked, FRONT) == thrift.received(marked, OTHER) == marked
    thrift.rules({"keys": [KEY], "workloads": ["shop/front"]})
    thrift.comes_to(plain, marked, OTHER)
    assert thrift.received(marked, FRONT) == marked
    assert thrift.received(marked, STRANGER) == plain


def test_strangers_of_trusted_networks_may_mark_but_no_workload_by_its_network(
    bed: Callable[[str], Bed],
) -> None:
    thrift = bed("thrift")
    thrift.rules({"keys": [KEY], "workloads": ["shop/front"], "networks": ["127.0.0.0/8"]})
    marked, plain = ttheader([(b"baggage", b"env=dev")]), ttheader()
    thrift.comes_to(marked, marked, STRANGER)
    assert thrift.received(marked, OTHER) == plain


def test_who_may_mark_changes_on_a_connection_that_is_open(bed: Callable[[str], Bed]) -> None:
    thrift = bed("thrift")
    marked, plain = ttheader([(b"baggage", b"env=dev")]), ttheader()
    with thrift.connect() as sock:

        def reaches() -> bytes:
            sock.sendall(marked)
            assert read_frame(sock)
            return thrift.server.seen[-1]

        assert reaches() == plain
        for rules, wanted in (((), marked), ((RULE,), plain)):
            thrift.rules(*rules)
            deadline = time.monotonic() + 5
            while reaches() != wanted:
                assert time.monotonic() < deadline


def test_a_mark_that_cannot_be_taken_out_is_refused_and_what_has_none_passes(
    bed: Callable[[str], Bed],
) -> None:
    thrift = bed("thrift")
    crc, secret = (b"crc32c", b"1"), (b"baggage", b"env=dev")
    for refused in (
        ttheader([crc, secret]),
        ttheader([secret], transforms=b"\x01"),
        theader([], behind=b"\x02\x01\x07baggage\x07env=dev"),
    ):
        answer = thrift.call(refused)
        assert b"marks of lanes (env)" in answer
        assert thrift.call(refused, FRONT) and thrift.server.seen[-1] == refused
    assert thrift.stat("request_marks_refused") == 3
    seen = len(thrift.server.seen)
    for passes in (ttheader([crc]), ttheader(transforms=b"\x01")):
        assert thrift.received(passes) == passes
    assert len(thrift.server.seen) == seen + 2


def test_a_refused_call_costs_its_connection_nothing(bed: Callable[[str], Bed]) -> None:
    thrift = bed("thrift")
    with thrift.connect() as sock:
        sock.sendall(ttheader([(b"crc32c", b"1"), (b"baggage", b"env=dev")]) + ttheader())
        assert b"marks of lanes" in read_frame(sock)
        assert read_frame(sock).endswith(b"\0")
    assert thrift.server.seen == [ttheader()]


def test_dubbo_attachments_lose_a_strangers_marks(bed: Callable[[str], Bed]) -> None:
    calls = bed("dubbo")
    kept = [("path", "a.S"), ("x", "env=dev")]
    for name in EVERYWHERE:
        came = calls.received(dubbo([*kept, (name.decode(), "a=1,env=dev")]))
        assert came == dubbo([*kept, (name.decode(), "a=1")])
        assert calls.received(dubbo([(name.decode(), "env=dev"), *kept])) == dubbo(kept)
    for name in MEMBERS:
        assert calls.received(dubbo([(name.decode(), "dev"), *kept])) == dubbo(kept)
    marked = dubbo([("baggage", "env=dev")])
    assert calls.received(marked, FRONT) == marked


def test_dubbo_in_a_serialization_that_cannot_be_read_is_refused_to_a_stranger(
    bed: Callable[[str], Bed],
) -> None:
    calls = bed("dubbo")
    fastjson = dubbo([], serialization=23)
    assert b"marks of lanes (env)" in calls.call(fastjson)
    assert not calls.server.seen
    assert calls.received(fastjson, FRONT) == fastjson


def test_what_leaves_the_mesh_has_no_marks_after_routes_went_by_them(
    bed: Callable[[str], Bed],
) -> None:
    thrift = bed("thrift")
    thrift.rules()
    address = {"socket_address": {"address": "127.0.0.1", "port_value": thrift.server.port}}
    endpoint = {"lb_endpoints": [{"endpoint": {"address": address}}]}
    value = {
        "name": "outside",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "outside", "endpoints": [endpoint]},
        "metadata": {"filter_metadata": {"meltemi": {"unmarked": [KEY]}}},
    }
    thrift.mesh.accept("outside", messages.from_json("envoy.config.cluster.v3.Cluster", value))
    by_mark = to("outside", name="marked")
    by_mark["match"]["headers"] = [{"name": "baggage", "exact_match": "a=1,env=dev"}]
    thrift.mesh.routes(by_mark, to("a"))
    marked = ttheader([(b"baggage", b"a=1,env=dev"), (b"ot-baggage-env", b"dev")])
    assert thrift.received(marked) == ttheader([(b"baggage", b"a=1")])
    inside = ttheader([(b"baggage", b"env=dev")])
    assert thrift.received(inside) == inside
    crc = ttheader([(b"crc32c", b"1"), (b"baggage", b"a=1,env=dev")])
    assert b"stay in the mesh" in thrift.call(crc)


KEYS = ("env", "ENV", "%65nv", "Env ", " env", "e%6Ev", "environment", "a", "", '"env"', "env+")
LISTS = st.lists(
    st.builds(
        lambda key, value, tail: f"{key}={value}{tail}",
        st.sampled_from(KEYS),
        st.text("abc% ;=", max_size=4),
        st.sampled_from(("", ";p=1", "; env=1", " ", ";")),
    ),
    max_size=5,
).map(",".join)
NAMES = st.one_of(
    st.sampled_from([*EVERYWHERE, *MEMBERS, b"x", b"ot-baggage-ENV", b"Ot_Baggage_Env"]),
    st.binary(max_size=12),
    st.builds(
        lambda prefix, name: prefix + name,
        st.sampled_from(
            (b"RPC_TRANSIT_", b"RPC_PERSIST_", b"rpc-persist-", b"RPC_TRANSIT_UPSTREAM_")
        ),
        st.sampled_from((b"baggage", b"ot-baggage-env", b"uberctx-ENV", b"RPC_TRANSIT_baggage")),
    ),
)
BLOCKS = st.lists(
    st.lists(
        st.tuples(NAMES, st.one_of(LISTS.map(str.encode), st.binary(max_size=20))), max_size=4
    ),
    max_size=3,
)


def test_whatever_a_stranger_writes_the_application_reads_no_mark(
    bed: Callable[[str], Bed],
) -> None:
    thrift = bed("thrift")

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(BLOCKS, st.booleans())
    def holds(blocks: list[list[tuple[bytes, bytes]]], tt: bool) -> None:
        came = thrift.received((ttheader if tt else theader)(*blocks))
        read = {name.lower() for name in members(came)}
        assert KEY not in read
        for name, value in pairs_of(came):
            carried = carriers.carries(name.decode("latin-1"))
            assert carried != KEY
            if carried == "":
                text = value.decode("latin-1")
                assert carriers.without(text, {KEY}) is text
        # As long as there is no mark in a message, nothing of it changes.
        assert thrift.received(came) == came

    holds()

"""Listeners of a sidecar, of the SDK, and of proxies that the mesh does not know."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from meltemi.model import (
    ApplicationProtocol,
    Endpoint,
    Instance,
    Mesh,
    MeshMode,
    ServicePort,
    WorkloadPort,
)
from meltemi.xds.resource import Client, Node
from sample_mesh import (
    CLIENT,
    HOST,
    SERVERS,
    TCP_PORT,
    THRIFT_PORT,
    VIP,
    mesh,
    network_filter,
    node,
    resources,
    route,
    router,
    service,
    stranger,
    workload,
)

META_PROTOCOL = "type.googleapis.com/aeraki.meta_protocol_proxy.v1alpha.MetaProtocolProxy"


def listeners(of: Mesh, to: Node | None = None) -> dict[str, Any]:
    return resources(of, to or node())["Listener"]


def kind(listener: dict[str, Any]) -> str:
    return str(network_filter(listener)["name"]).rpartition(".")[2]


def test_a_port_with_a_codec_has_the_filter_that_aeraki_sends() -> None:
    made = listeners(mesh())
    assert set(made) == {f"{VIP}_9090"}
    listener = made[f"{VIP}_9090"]
    assert listener["traffic_direction"] == "OUTBOUND"
    assert listener["address"] == {"socket_address": {"address": VIP, "port_value": 9090}}
    assert network_filter(listener) == {
        "name": "envoy.filters.network.meta_protocol_proxy",
        "typed_config": {
            "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
            "type_url": META_PROTOCOL,
            "value": {
                "stat_prefix": f"outbound|9090||{HOST}",
                "application_protocol": "thrift",
                "rds": {
                    "config_source": {"ads": {}, "resource_api_version": "V3"},
                    "route_config_name": f"{HOST}_9090",
                },
                "codec": {"name": "aeraki.meta_protocol.codec.thrift"},
                "meta_protocol_filters": [{"name": "aeraki.meta_protocol.filters.router"}],
            },
        },
    }


def test_a_port_without_a_codec_is_forwarded_as_tcp() -> None:
    listener = listeners(mesh(service(ports=(TCP_PORT,))))[f"{VIP}_7000"]
    config = network_filter(listener)["typed_config"]
    assert kind(listener) == "tcp_proxy"
    assert config["cluster"] == config["stat_prefix"] == f"outbound|7000||{HOST}"


def test_a_protocol_whose_codec_the_engine_lacks_is_forwarded_as_tcp() -> None:
    own = ServicePort(20880, "tcp-metaprotocol-qza", "qza", 20880)
    protocols = (ApplicationProtocol("qza", "aeraki.meta_protocol.codec.qza"),)
    one = dataclasses.replace(mesh(service(ports=(own,))), application_protocols=protocols)
    assert kind(listeners(one)[f"{VIP}_20880"]) == "tcp_proxy"


def test_a_dubbo_port_is_read_by_the_engine() -> None:
    dubbo = ServicePort(20880, "tcp-metaprotocol-dubbo", "dubbo", 20880)
    value = network_filter(listeners(mesh(service(ports=(dubbo,))))[f"{VIP}_20880"])
    assert value["typed_config"]["value"]["codec"] == {"name": "aeraki.meta_protocol.codec.dubbo"}


def test_an_application_protocol_gives_a_protocol_its_codec() -> None:
    own = ServicePort(9090, "tcp-metaprotocol-hello", "hello", 9090)
    protocols = (ApplicationProtocol("Hello", "aeraki.meta_protocol.codec.thrift"),)
    one = dataclasses.replace(mesh(service(ports=(own,))), application_protocols=protocols)
    value = network_filter(listeners(one)[f"{VIP}_9090"])["typed_config"]["value"]
    assert value["application_protocol"] == "hello"
    assert value["codec"] == {"name": "aeraki.meta_protocol.codec.thrift"}


def test_only_services_that_the_caller_sees_have_a_listener() -> None:
    one = mesh(service(export_to=("elsewhere",)))
    assert listeners(one) == {}


SERVER = SERVERS[0]


def test_a_workloads_port_is_served_at_its_address_and_sent_to_the_application() -> None:
    made = resources(mesh(), node(SERVER))
    listener = made["Listener"]["127.9.1.1_9090"]
    assert listener["traffic_direction"] == "INBOUND"
    value = network_filter(listener)["typed_config"]["value"]
    assert value["stat_prefix"] == f"inbound|9090||{HOST}"
    assert value["route_config"] == {
        "name": "inbound|9090||",
        "routes": [{"name": "default", "match": {}, "route": {"cluster": "inbound|9090||"}}],
    }
    assert "rds" not in value
    cluster = made["Cluster"]["inbound|9090||"]
    assert cluster.get("type", "STATIC") == "STATIC"  # which is the 0
    (locality,) = cluster["load_assignment"]["endpoints"]
    (application,) = locality["lb_endpoints"]
    assert application["endpoint"]["address"]["socket_address"] == {
        "address": "127.9.2.1",
        "port_value": 9090,
    }


def test_a_host_port_is_served_on_loopback_by_the_same_chain() -> None:
    server = dataclasses.replace(SERVER, ports=(WorkloadPort("thrift", 9090, 29090),))
    made = listeners(mesh(server), node(server))
    host_port = made["127.0.0.1_29090"]
    assert host_port["filter_chains"] == made["127.9.1.1_9090"]["filter_chains"]
    assert host_port["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 29090}


def serving(port: WorkloadPort, *service_ports: ServicePort) -> dict[str, Any]:
    """The inbound listener of a workload whose service has these ports."""
    server = dataclasses.replace(SERVER, ports=(port,))
    target = Endpoint("127.9.1.1", port.port, workload=f"{server.namespace}/{server.name}")
    endpoints = tuple((service_port.number, (target,)) for service_port in service_ports)
    one = mesh(service(ports=service_ports, endpoints=endpoints), server)
    found = listeners(one, node(server))[f"127.9.1.1_{port.port}"]
    assert isinstance(found, dict)
    return found


def test_the_service_says_the_protocol_of_the_port_that_it_targets() -> None:
    target = ServicePort(80, "tcp-metaprotocol-thrift", "thrift", 9090)
    assert kind(serving(WorkloadPort("main", 9090), target)) == "meta_protocol_proxy"
    plain = ServicePort(80, "tcp-main", "tcp", 9090)
    assert kind(serving(WorkloadPort("thrift-main", 9090), plain)) == "tcp_proxy"


def test_of_two_services_for_a_port_the_one_that_names_a_protocol_holds() -> None:
    plain, thrift = ServicePort(80, "tcp", "tcp", 9090), ServicePort(81, "t", "thrift", 9090)
    assert kind(serving(WorkloadPort("main", 9090), plain, thrift)) == "meta_protocol_proxy"


def test_a_port_that_no_service_targets_goes_by_its_own_name_else_tcp() -> None:
    assert kind(serving(WorkloadPort("tcp-thrift-main", 9090))) == "meta_protocol_proxy"
    assert kind(serving(WorkloadPort("main", 9090))) == "tcp_proxy"


def test_a_workload_calls_itself_and_others_only_at_its_addresses_for_them() -> None:
    assert set(listeners(mesh(), node(SERVER))) == {"127.9.1.1_9090"}


def test_the_sdk_serves_nothing() -> None:
    server = dataclasses.replace(
        SERVER, instances=(Instance(0, "127.9.1.1", "127.9.2.1", ((HOST, VIP),)),)
    )
    made = resources(mesh(server), node(server, Client.SDK))
    assert all(listener.keys() >= {"api_listener"} for listener in made["Listener"].values())
    assert "inbound|9090||" not in made["Cluster"]


@pytest.mark.parametrize(
    ("node_id", "address"),
    [
        ("a-gateway", "127.0.0.1"),
        ("router~10.1.2.3~gateway-1.edge~edge.svc.cluster.local", "10.1.2.3"),
        ("sidecar~not-an-ip~client-0.meta-thrift~x", "127.0.0.1"),
    ],
)
def test_a_proxy_that_nobody_knows_listens_at_its_own_address(node_id: str, address: str) -> None:
    for client in (Client.ENVOY, Client.SIDECAR):
        made = resources(mesh(), stranger(node_id, client))
        assert set(made["Listener"]) == {f"{address}_9090"}
        assert all(name.startswith("outbound|") for name in made["Cluster"])


def test_an_id_with_anothers_address_is_nobody_that_we_know() -> None:
    thief = SERVER.node_id(SERVER.instances[0]).replace("127.9.1.1", "127.9.1.9")
    made = resources(mesh(), stranger(thief, Client.SIDECAR))
    assert "inbound|9090||" not in made["Cluster"]
    assert set(made["Listener"]) == {"127.9.1.9_9090"}


def test_two_services_on_one_port_the_first_is_called_where_there_is_one_address() -> None:
    first = service("a.shop.svc.cluster.local")
    second = service("b.shop.svc.cluster.local")
    made = listeners(mesh(second, first), stranger("gateway"))
    (listener,) = made.values()
    assert (
        network_filter(listener)["typed_config"]["stat_prefix"]
        == f"outbound|9090||{first.hostname}"
    )


def test_a_gateway_opens_nothing_that_no_gateway_object_says() -> None:
    gateway = workload("gateway", 8, mode=MeshMode.GATEWAY)
    assert listeners(mesh(gateway), node(gateway, Client.ENVOY)) == {}


def thrift(listener: dict[str, Any]) -> dict[str, Any]:
    config = network_filter(listener)["typed_config"]
    assert config["@type"].endswith("thrift_proxy.v3.ThriftProxy")
    assert config["route_config"]["validate_clusters"] is False
    assert isinstance(config, dict)
    return config


ENVOY = node(CLIENT, Client.ENVOY)


def test_a_stock_envoy_reads_thrift_with_its_own_filter_and_the_rest_as_tcp() -> None:
    made = listeners(mesh(service(ports=(THRIFT_PORT, TCP_PORT))), ENVOY)
    config = thrift(made[f"{VIP}_9090"])
    assert config["route_config"]["routes"] == [
        {"match": {"method_name": ""}, "route": {"cluster": f"outbound|9090||{HOST}"}}
    ]
    assert kind(made[f"{VIP}_7000"]) == "tcp_proxy"


def test_a_stock_envoy_serves_the_application_too() -> None:
    made = resources(mesh(), node(SERVER, Client.ENVOY))
    config = thrift(made["Listener"]["127.9.1.1_9090"])
    assert config["route_config"]["routes"] == [
        {"match": {"method_name": ""}, "route": {"cluster": "inbound|9090||"}}
    ]
    assert "inbound|9090||" in made["Cluster"]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, {"method_name": ""}),
        ({"method": ("exact", "hi")}, {"method_name": "hi"}),
        ({"method": ("present", "")}, {"method_name": ""}),
        ({"service": ("exact", "S")}, {"service_name": "S"}),
        ({"service": ("exact", "S"), "method": ("exact", "hi")}, {"method_name": "S:hi"}),
        (
            {"lane": ("regex", "a|b")},
            {
                "method_name": "",
                "headers": [{"name": "lane", "string_match": {"safe_regex": {"regex": "a|b"}}}],
            },
        ),
        (
            {"method": ("exact", "hi"), "lane": ("present", "")},
            {"method_name": "hi", "headers": [{"name": "lane", "present_match": True}]},
        ),
    ],
)
def test_a_stock_envoy_tests_what_its_thrift_proxy_can(
    conditions: dict[str, tuple[str, str]], expected: dict[str, Any]
) -> None:
    rule = router(route("r", ("v1", 0), **conditions))
    (made,) = thrift(listeners(mesh(rule), ENVOY)[f"{VIP}_9090"])["route_config"]["routes"]
    assert made == {"match": expected, "route": {"cluster": f"outbound|9090|v1|{HOST}"}}


@pytest.mark.parametrize(
    "conditions",
    [
        {"method": ("prefix", "say")},
        {"method": ("regex", "s.*")},
        {"service": ("present", "")},
        {"service": ("prefix", "S")},
    ],
)
def test_a_rule_that_envoy_cannot_test_is_left_out_by_name_and_never_widened(
    conditions: dict[str, tuple[str, str]],
) -> None:
    rule = router(route("narrow", ("v1", 0), **conditions), route("rest", ("v2", 0)))
    listener = listeners(mesh(rule), ENVOY)[f"{VIP}_9090"]
    (made,) = thrift(listener)["route_config"]["routes"]
    assert made["route"] == {"cluster": f"outbound|9090|v2|{HOST}"}
    (reason,) = listener["metadata"]["filter_metadata"]["meltemi"]["left_out"]
    assert reason.startswith("route 'narrow': Envoy's Thrift proxy cannot")


def test_mutations_that_envoy_cannot_make_are_named() -> None:
    changing = dataclasses.replace(route("r", ("v1", 0)), request_mutation=(("lane", "blue"),))
    listener = listeners(mesh(router(changing)), ENVOY)[f"{VIP}_9090"]
    (made,) = thrift(listener)["route_config"]["routes"]
    assert made["route"] == {"cluster": f"outbound|9090|v1|{HOST}"}
    (reason,) = listener["metadata"]["filter_metadata"]["meltemi"]["left_out"]
    assert reason == "mutations of route 'r': Envoy's Thrift proxy cannot change headers"


def test_envoy_is_sent_no_weight_of_0_which_it_would_refuse() -> None:
    rule = router(route("split", ("v1", 0), ("v2", 100)))
    (made,) = thrift(listeners(mesh(rule), ENVOY)[f"{VIP}_9090"])["route_config"]["routes"]
    clusters = made["route"]["weighted_clusters"]["clusters"]
    assert clusters == [{"name": f"outbound|9090|v2|{HOST}", "weight": 100}]

"""The mesh is what the documents mean together."""

from __future__ import annotations

import pytest
from conftest import Load, Said
from meltemi import config
from meltemi.config.rules.names import full_host
from meltemi.model import (
    ConnectionPool,
    Endpoint,
    LoadBalancer,
    Mesh,
    MeshMode,
    OutlierDetection,
    Resolution,
    RetryBudget,
    Service,
)
from meltemi.model.addresses import Addresses

THRIFT = """
apiVersion: v1
kind: Service
metadata: {name: server, namespace: shop}
spec:
  selector: {app: server}
  ports:
  - {name: tcp-metaprotocol-thrift, port: 9090, targetPort: thrift}
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: server-v1, namespace: shop, labels: {app: server, version: v1}}
spec:
  command: [python, server.py]
  env: {GREETING: Hello}
  ports: [{name: thrift, port: 9999, hostPort: 7000}]
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: server-v2, namespace: shop, labels: {app: server, version: v2}}
spec: {command: [x], replicas: 2, mesh: none, ports: [{name: thrift, port: 8888}]}
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: stranger, namespace: other, labels: {app: server}}
spec: {command: [x], ports: [{name: thrift, port: 1}]}
"""
HOST = "server.shop.svc.cluster.local"


def built(load: Load, text: str, addresses: Addresses | None = None) -> Mesh:
    found = load(text)
    assert found.valid, found.issues
    mesh, issues = config.build(found.objects, addresses or Addresses("127.5"))
    assert not issues, issues
    return mesh


def ends(service: Service, port: int) -> list[tuple[str, int]]:
    return [(end.address, end.port) for end in dict(service.endpoints)[port]]


def test_a_service_is_served_by_the_workloads_that_it_selects(load: Load) -> None:
    mesh = built(load, THRIFT)
    service = mesh.services[HOST]
    assert (service.ports[0].protocol, service.resolution) == ("thrift", Resolution.STATIC)
    addresses = Addresses("127.5")
    expected = [
        (addresses.address("instance/shop/server-v1-0"), 9999),
        (addresses.address("instance/shop/server-v2-0"), 8888),
        (addresses.address("instance/shop/server-v2-1"), 8888),
    ]
    assert ends(service, 9090) == expected
    end = dict(service.endpoints)[9090][0]
    assert end.labels == (("app", "server"), ("version", "v1"))
    assert end.workload == "shop/server-v1"


def test_a_replica_with_a_sidecar_has_addresses_of_its_own(load: Load) -> None:
    mesh = built(load, THRIFT)
    by_name = {workload.name: workload for workload in mesh.workloads}
    (instance,) = by_name["server-v1"].instances
    assert len({instance.address, instance.host, dict(instance.service_addresses)[HOST]}) == 3
    for plain in by_name["server-v2"].instances:
        assert (plain.host, plain.service_addresses) == (plain.address, ())
    assert by_name["server-v1"].command == ("python", "server.py")
    assert by_name["server-v1"].env == (("GREETING", "Hello"),)
    assert by_name["server-v1"].ports[0].host_port == 7000
    assert by_name["server-v2"].mode is MeshMode.NONE


def test_the_same_documents_build_the_same_mesh_in_any_order(load: Load) -> None:
    addresses = Addresses("127.5")
    backwards = "---".join(reversed(THRIFT.split("---")))
    assert built(load, THRIFT, addresses) == built(load, backwards, addresses)


def test_addresses_of_services_are_only_for_those_who_see_them(load: Load) -> None:
    text = THRIFT.replace(
        "name: server, namespace: shop}",
        "name: server, namespace: shop, annotations: {networking.istio.io/exportTo: '., x'}}",
    )
    mesh = built(load, text)
    assert mesh.services[HOST].export_to == (".", "x")
    seen = {
        workload.name: [host for host, _ in instance.service_addresses]
        for workload in mesh.workloads
        for instance in workload.instances
    }
    assert seen == {"server-v1": [HOST], "server-v2": [], "stranger": []}


def test_a_service_without_a_selector_or_with_another_label_has_no_endpoints(load: Load) -> None:
    for selector in ("null", "{app: nobody}"):
        text = THRIFT.replace("{app: server}\n  ports", f"{selector}\n  ports")
        assert ends(built(load, text).services[HOST], 9090) == []


def test_a_port_that_no_workload_declares_is_a_warning(load: Load, said: Said) -> None:
    found = load(THRIFT.replace("targetPort: thrift", "targetPort: web"))
    _, issues = config.build(found.objects, Addresses())
    assert said(issues) == ["warning port-not-declared spec.ports[0]"] * 2
    found = load(THRIFT.replace("targetPort: thrift", "targetPort: 9999"))
    mesh, issues = config.build(found.objects, Addresses())
    assert said(issues) == ["warning port-not-declared spec.ports[0]"]
    assert {port for _, port in ends(mesh.services[HOST], 9090)} == {9999}


ENTRIES = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vms, namespace: shop}
spec:
  hosts: [Api.Example.com, other.example.com]
  resolution: STATIC
  exportTo: [shop]
  ports:
  - {number: 80, name: thrift, protocol: HTTP, targetPort: 8080}
  - {number: 81, name: web, protocol: HTTP}
  workloadSelector: {labels: {app: vm}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm1, namespace: shop}
spec: {address: 10.0.0.1, labels: {app: vm}, ports: {thrift: 9000}, weight: 3, locality: a/b}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm2, namespace: other}
spec: {address: 10.0.0.2, labels: {app: vm}}
"""


@pytest.mark.parametrize(
    ("more", "outside"),
    [
        ("endpoints: [{address: 10.0.0.1}]", True),  # Istio's default
        ("endpoints: [{address: 10.0.0.1}], location: MESH_EXTERNAL", True),
        ("endpoints: [{address: 10.0.0.1}], location: MESH_INTERNAL", False),
        ("workloadSelector: {labels: {app: vm}}", False),
        ("workloadSelector: {labels: {app: vm}}, location: MESH_EXTERNAL", True),
    ],
)
def test_a_service_entry_is_outside_of_the_mesh_where_it_says_so_or_nothing(
    load: Load, more: str, outside: bool
) -> None:
    ports = "[{number: 80, name: thrift, protocol: HTTP}]"
    spec = f"{{hosts: [a.com], resolution: STATIC, ports: {ports}, {more}}}"
    head = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}"
    mesh = built(load, f"{head}\nspec: {spec}\n")
    assert mesh.services["a.com"].outside is outside


def test_a_service_entry_selects_workload_entries_of_its_namespace(load: Load) -> None:
    mesh = built(load, ENTRIES)
    assert sorted(mesh.services) == ["api.example.com", "other.example.com"]
    service = mesh.services["api.example.com"]
    assert (service.external, service.export_to) == (True, ("shop",))
    assert [port.protocol for port in service.ports] == ["thrift", "tcp"]
    end = Endpoint("10.0.0.1", 9000, (("app", "vm"),), 3, "a/b", "shop/vm1")
    assert dict(service.endpoints)[80] == (end,)
    assert ends(service, 81) == [("10.0.0.1", 81)]


def test_a_service_entry_may_list_its_endpoints(load: Load) -> None:
    inline = (
        "endpoints: [{address: 10.0.0.9, labels: {version: v1}}, {address: '::1', ports: {web: 5}}]"
    )
    text = ENTRIES.replace("workloadSelector: {labels: {app: vm}}", inline)
    service = built(load, text).services["api.example.com"]
    assert ends(service, 80) == [("10.0.0.9", 8080), ("::1", 8080)]
    assert ends(service, 81) == [("10.0.0.9", 81), ("::1", 5)]


def test_a_kubernetes_service_takes_workload_entries_too(load: Load) -> None:
    text = THRIFT + ENTRIES.replace("app: vm}, ports: {thrift: 9000}", "app: server}").replace(
        "apiVersion", "---\napiVersion", 1
    )
    found = load(text.replace("targetPort: thrift", "targetPort: 9999"))
    mesh, _ = config.build(found.objects, Addresses())
    assert ("10.0.0.1", 9999) in ends(mesh.services[HOST], 9090)


def test_a_host_of_two_objects_belongs_to_the_first(load: Load, said: Said) -> None:
    other = ENTRIES.split("---", maxsplit=1)[0].replace("name: vms", "name: again")
    found = load(ENTRIES + "---" + other)
    mesh, issues = config.build(found.objects, Addresses())
    assert said(issues) == [
        "warning host-taken spec.hosts[0]",
        "warning host-taken spec.hosts[1]",
    ]
    assert mesh.services["api.example.com"].name == "again"


def test_destination_rules_mean_what_they_say(load: Load) -> None:
    mesh = built(
        load,
        """
        apiVersion: networking.istio.io/v1
        kind: DestinationRule
        metadata: {name: a, namespace: shop}
        spec:
          host: Server
          exportTo: ['*']
          trafficPolicy:
            loadBalancer: {simple: LEAST_CONN}
            connectionPool: {tcp: {maxConnections: 3, connectTimeout: 250ms, idleTimeout: 1m}}
            portLevelSettings:
            - {port: {number: 9090}, loadBalancer: {simple: ROUND_ROBIN}}
          subsets:
          - name: v1
            labels: {version: v1, app: x}
            trafficPolicy: {loadBalancer: {simple: RANDOM}}
        """,
    )
    (rule,) = mesh.destination_rules
    assert (rule.host, rule.export_to) == (HOST, ("*",))
    pool = rule.policy.connection_pool
    assert pool is not None
    assert (pool.max_connections, pool.connect_timeout_s, pool.idle_timeout_s) == (3, 0.25, 60)
    assert rule.policy.outlier_detection is None
    assert rule.policy.load_balancer is LoadBalancer.LEAST_REQUEST
    assert rule.port_policies[0][0] == 9090
    assert rule.subsets[0].labels == (("app", "x"), ("version", "v1"))
    assert rule.subsets[0].policy.load_balancer is LoadBalancer.RANDOM


def test_load_and_health_of_a_destination_rule_mean_what_they_say(load: Load) -> None:
    mesh = built(
        load,
        """
        apiVersion: networking.istio.io/v1
        kind: DestinationRule
        metadata: {name: a, namespace: shop}
        spec:
          host: server
          trafficPolicy:
            connectionPool:
              http: {http1MaxPendingRequests: 4, http2MaxRequests: 5, maxRetries: 0}
            outlierDetection:
              consecutive5xxErrors: 7
              consecutiveGatewayErrors: 0
              splitExternalLocalOriginErrors: true
              consecutiveLocalOriginFailures: 2
              interval: 5m
              baseEjectionTime: 1500ms
              maxEjectionPercent: 50
              minHealthPercent: 30
            retryBudget: {percent: 12.5}
          subsets:
          - name: v1
            trafficPolicy: {outlierDetection: {}}
        """,
    )
    (rule,) = mesh.destination_rules
    assert rule.policy.connection_pool == ConnectionPool(max_pending_requests=4, max_requests=5)
    assert rule.policy.outlier_detection == OutlierDetection(
        consecutive_5xx=7,
        consecutive_gateway_errors=0,
        split_local_origin=True,
        consecutive_local_origin_failures=2,
        interval_s=300.0,
        base_ejection_time_s=1.5,
        max_ejection_percent=50,
        min_health_percent=30,
    )
    assert rule.policy.retry_budget == RetryBudget(12.5, 3)
    assert rule.subsets[0].policy.outlier_detection == OutlierDetection()


@pytest.mark.parametrize(
    ("host", "full"),
    [
        ("reviews", "reviews.shop.svc.cluster.local"),
        ("Reviews.shop", "reviews.shop"),
        ("*.com", "*.com"),
        ("*", "*"),
        ("a.b.", "a.b"),
    ],
)
def test_short_hosts_are_those_of_the_rules_namespace(host: str, full: str) -> None:
    assert full_host(host, "shop") == full


def test_a_mesh_that_is_out_of_addresses_says_so_and_goes_on(load: Load, said: Said) -> None:
    addresses = Addresses("127.5")
    for number in range((1 << 16) - 6):
        addresses.address(str(number))
    found = load(THRIFT)
    mesh, issues = config.build(found.objects, addresses)
    assert "error out-of-addresses spec" in said(issues)
    assert len(mesh.workloads) == 3

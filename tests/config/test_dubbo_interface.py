"""The annotation `interface` of a ServiceEntry: kept where it can be meant, warned of where not."""

from __future__ import annotations

import pytest
from conftest import Load
from meltemi import config
from meltemi.config import Issue, references
from meltemi.model import Mesh
from meltemi.model.addresses import Addresses

HOST = "org.example.demoservice"
INTERFACE = "org.example.DemoService"


def entry(interface: str = INTERFACE, port: str = "tcp-metaprotocol-dubbo") -> str:
    return f"""
    apiVersion: networking.istio.io/v1
    kind: ServiceEntry
    metadata: {{name: demo, namespace: shop, annotations: {{interface: {interface!r}}}}}
    spec:
      hosts: [{HOST}]
      ports: [{{name: {port}, number: 20880, protocol: TCP}}]
      resolution: STATIC
      endpoints: [{{address: 10.0.0.1}}]
    """


def router(attributes: str) -> str:
    return f"""
    apiVersion: metaprotocol.aeraki.io/v1alpha1
    kind: MetaRouter
    metadata: {{name: demo, namespace: shop}}
    spec:
      hosts: [{HOST}]
      routes:
      - match: {{attributes: {attributes}}}
        route: [{{destination: {{host: {HOST}}}}}]
    """


def limit(attributes: str) -> str:
    return f"""
    apiVersion: metaprotocol.aeraki.io/v1alpha1
    kind: MetaRouter
    metadata: {{name: demo, namespace: shop}}
    spec:
      hosts: [{HOST}]
      localRateLimit:
        conditions:
        - match: {{attributes: {attributes}}}
          tokenBucket: {{maxTokens: 2, fillInterval: 60s}}
    """


def built(load: Load, **files: str) -> tuple[Mesh, list[Issue]]:
    loaded = load(**files)
    assert loaded.valid, loaded.issues
    mesh, issues = config.build(loaded.objects, Addresses())
    return mesh, [*issues, *references.check(loaded.objects, mesh)]


@pytest.mark.parametrize("port", ["tcp-metaprotocol-dubbo", "dubbo-demo", "tcp-dubbo"])
@pytest.mark.parametrize("interface", [INTERFACE, "Demo", "a.b$C", "gr.μελτέμι.Άνεμος"])
def test_the_interface_of_a_dubbo_host_is_kept(load: Load, port: str, interface: str) -> None:
    mesh, issues = built(load, entry=entry(interface, port))
    assert (mesh.services[HOST].interface, issues) == (interface, [])


@pytest.mark.parametrize("interface", ["", "org.example.", "org example", "org/example/Demo", "1a"])
def test_what_is_no_java_name_is_warned_of_and_left_out(load: Load, interface: str) -> None:
    mesh, (issue,) = built(load, entry=entry(interface))
    assert mesh.services[HOST].interface == ""
    assert (issue.severity, issue.code) == ("warning", "bad-interface")
    assert issue.path == "metadata.annotations.interface"
    assert issue.line == 4


def test_an_annotation_that_no_dubbo_port_goes_with_has_no_effect_and_says_so(load: Load) -> None:
    _, (issue,) = built(load, entry=entry(port="tcp-thrift"))
    assert (issue.severity, issue.code) == ("warning", "no-effect")


@pytest.mark.parametrize(
    "attributes",
    [
        "{interface: {exact: org.example.DemoService}}",
        "{Interface: {prefix: org.example.}}",
        "{interface: {}}",
        '{interface: {exact: ""}}',
        "{interface: {regex: no.*}}",
        "{method: {exact: sayHello}}",
    ],
)
def test_a_route_that_can_match_is_not_warned_of(load: Load, attributes: str) -> None:
    assert built(load, entry=entry(), router=router(attributes))[1] == []


@pytest.mark.parametrize(
    "attributes",
    ["{Interface: {exact: org.example.Demoservice}}", "{Interface: {prefix: com.}}"],
)
def test_a_route_for_another_interface_is_warned_of(load: Load, attributes: str) -> None:
    _, (issue,) = built(load, entry=entry(), router=router(attributes))
    assert (issue.severity, issue.code) == ("warning", "other-interface")
    assert issue.path == "spec.routes[0].match.attributes.Interface"
    assert INTERFACE in issue.message and INTERFACE in issue.hint
    assert built(load, entry=entry(""), router=router(attributes))[1][1:] == []


def test_a_limit_for_another_interface_is_warned_of(load: Load) -> None:
    wanted = "{interface: {exact: org.example.Other}}"
    found = {each.code: each for each in built(load, entry=entry(), router=limit(wanted))[1]}
    issue = found["other-interface"]
    assert issue.severity == "warning"
    assert issue.path == "spec.localRateLimit.conditions[0].match.attributes.interface"
    fine = built(load, entry=entry(), router=limit("{interface: {}}"))[1]
    assert "other-interface" not in {each.code for each in fine}

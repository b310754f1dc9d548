"""A rule that changes attributes needs a protocol that has a place for them."""

from __future__ import annotations

import random

import pytest
from conftest import Load, Said
from meltemi.config import Source, combine, read, recombine

ROUTER = """
    apiVersion: metaprotocol.aeraki.io/v1alpha1
    kind: MetaRouter
    metadata: {name: rule}
    spec:
      hosts: [HOST]
      routes:
      - route: [{destination: {host: HOST}}]
      - route: [{destination: {host: HOST}}]
        requestMutation: [{key: lane, value: blue}]
        responseMutation: [{key: lane, remove: true}]
    """
SERVICE = """
    apiVersion: v1
    kind: Service
    metadata: {name: hello}
    spec: {ports: [PORTS]}
    """
ENTRY = """
    apiVersion: networking.istio.io/v1
    kind: ServiceEntry
    metadata: {name: hello}
    spec:
      hosts: [hello.example.com]
      resolution: STATIC
      ports: [{number: 6379, name: tcp-redis, protocol: TCP}]
      endpoints: [{address: 10.0.0.1}]
    """
NO_PLACE = "error no-place spec.routes[1].requestMutation"
UNREACHABLE = "warning unreachable-route spec.routes[1]"


def said_of(load: Load, said: Said, *, host: str = "hello", **files: str) -> list[str]:
    found = said(load(rule=ROUTER.replace("HOST", host), **files))
    assert UNREACHABLE in found
    return [line for line in found if line != UNREACHABLE]


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ("{name: tcp-redis, port: 6379}", [NO_PLACE]),
        ("{name: http, port: 80}, {port: 81, name: x, appProtocol: redis}", [NO_PLACE]),
        ("{name: tcp-metaprotocol-thrift-x, port: 90}", []),
        ("{name: x, port: 90, appProtocol: Dubbo}", []),
        ("{name: tcp-redis, port: 6379}, {name: dubbo, port: 90}", []),
        # Aeraki's own, whose codec is not known here: nobody can say.
        ("{name: tcp-metaprotocol-qza, port: 90}", []),
    ],
)
def test_one_port_that_has_a_place_is_enough(
    load: Load, said: Said, ports: str, expected: list[str]
) -> None:
    assert said_of(load, said, service=SERVICE.replace("PORTS", ports)) == expected


def test_the_rule_is_refused_and_all_else_stays(load: Load) -> None:
    service = SERVICE.replace("PORTS", "{name: tcp-redis, port: 6379}")
    loaded = load(rule=ROUTER.replace("HOST", "hello"), service=service)
    assert [item.ref.kind for item in loaded.objects] == ["Service"]
    (error,) = (issue for issue in loaded.issues if issue.severity == "error")
    assert (error.file, error.line, error.column) == ("rule.yaml", 10, 5)
    assert error.message == (
        "requestMutation has no place: hello.default.svc.cluster.local speaks tcp, whose messages"
        " carry no attributes"
    )


def test_a_service_entry_is_judged_alike(load: Load, said: Said) -> None:
    assert said_of(load, said, host="hello.example.com", entry=ENTRY) == [NO_PLACE]


def test_a_host_that_is_not_among_the_documents_is_not_judged(load: Load, said: Said) -> None:
    assert said_of(load, said) == []


def test_a_name_of_its_own_for_a_codec_is_known(load: Load, said: Said) -> None:
    protocol = """
        apiVersion: metaprotocol.aeraki.io/v1alpha1
        kind: ApplicationProtocol
        metadata: {name: hello}
        spec: {protocol: hello, codec: aeraki.meta_protocol.codec.CODEC}
        """
    service = SERVICE.replace("PORTS", "{name: tcp-hello, port: 90}")
    assert said_of(load, said, service=service) == [NO_PLACE]
    for codec in ("thrift", "trpc"):
        named = protocol.replace("CODEC", codec)
        assert said_of(load, said, service=service, named=named) == []


@pytest.mark.parametrize("seed", range(30))
def test_files_combined_again_say_it_whatever_was_edited(seed: int) -> None:
    rng = random.Random(seed)
    ports = ("name: tcp-redis", "name: dubbo", "name: tcp-metaprotocol-own-x")
    mutation = "        requestMutation: [{key: lane, value: blue}]\n"

    def router(number: int) -> str:
        text = ROUTER.replace("HOST", f"s{number}").replace("name: rule", f"name: r{number}")
        text = text.replace("        responseMutation: [{key: lane, remove: true}]\n", "")
        return text if rng.random() < 0.5 else text.replace(mutation, "")

    def service(number: int) -> str:
        text = SERVICE.replace("PORTS", f"{{{rng.choice(ports)}, port: 90}}")
        return text.replace("name: hello", f"name: s{number}")

    def protocol(_number: int) -> str:
        codec = rng.choice(("thrift", "redis", "qza"))
        return (
            "apiVersion: metaprotocol.aeraki.io/v1alpha1\nkind: ApplicationProtocol\n"
            f"metadata: {{name: own}}\nspec: {{protocol: own, codec: {codec}}}\n"
        )

    makers = [make for make in (router, service) for _ in range(3)] + [protocol]
    texts = [make(place % 3) for place, make in enumerate(makers)]
    parts = [read(Source(f"{place}.yaml", text)) for place, text in enumerate(texts)]
    loaded = combine(parts)
    for _ in range(40):
        for _ in range(rng.choice((1, 1, 2))):
            place = rng.randrange(len(makers))
            parts[place] = read(Source(f"{place}.yaml", makers[place](place % 3)))
        owners = {item.ref: item.file for item in loaded.objects}
        loaded, anew = recombine(parts, loaded), combine(parts, owners)
        assert loaded == anew
        assert loaded.mutates or not anew.mutates

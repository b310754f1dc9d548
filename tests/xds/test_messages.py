"""The private descriptor pool, JSON of any resource, and what goes over the wire."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from meltemi.xds import discovery, messages
from meltemi.xds.discovery import DeltaRequest, MalformedError, Response, SotwRequest
from meltemi.xds.messages import CLUSTER, LISTENER, UnknownMessageError
from meltemi.xds.resource import Client, Node, Resource
from xds_source import cluster, listener, workload


def test_the_slice_is_the_one_whose_checksum_is_committed() -> None:
    folder = Path(messages.__file__).parent
    found = hashlib.sha256((folder / "descriptors.binpb").read_bytes()).hexdigest()
    assert (folder / "descriptors.sha256").read_text().split()[0] == found


def test_threads_that_are_first_at_once_share_a_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages of two pools do not go together."""
    monkeypatch.setattr(messages, "_POOLS", [])
    at_once = threading.Barrier(8)

    def first(_number: int) -> object:
        at_once.wait()
        return messages.pool()

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(first, range(8)))) == 1


def test_every_message_of_the_slice_can_be_made() -> None:
    from google.protobuf import descriptor_pb2

    data = Path(messages.__file__).with_name("descriptors.binpb").read_bytes()
    names = [
        f"{file.package}.{each.name}"
        for file in descriptor_pb2.FileDescriptorSet.FromString(data).file
        for each in file.message_type
    ]
    assert len(names) > 300
    for name in names:
        assert messages.message(name)().SerializeToString() == b""


def test_a_name_that_nobody_knows_is_one_error() -> None:
    for name in ("no.such.Message", "", "envoy.config.cluster.v3.NoCluster"):
        with pytest.raises(UnknownMessageError):
            messages.message(name)


def test_equal_messages_have_equal_bytes_and_versions() -> None:
    def made(order: list[str]) -> Any:
        each = messages.message_of(CLUSTER)(name="c")
        for key in order:
            each.metadata.filter_metadata[key].SetInParent()
        return each

    keys = [f"k{n}" for n in range(20)]
    first, second = (messages.resource("c", made(order)) for order in (keys, keys[::-1]))
    assert first == second
    assert first.version != messages.resource("c", made(keys[:19])).version


def test_json_shows_an_any_in_an_any_and_a_typed_struct() -> None:
    shown = messages.any_to_json(LISTENER, listener("l", ["r"]).body)
    assert shown["@type"] == LISTENER
    [filtered] = shown["filter_chains"][0]["filters"]
    assert filtered["typed_config"] == {
        "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
        "type_url": messages.META_PROTOCOL_PROXY,
        "value": {"rds": {"route_config_name": "r"}},
    }
    canonical = messages.any_to_json(LISTENER, listener("l", ["r"]).body, proto_names=False)
    assert canonical["filterChains"][0]["filters"][0]["typedConfig"]["typeUrl"]
    json.dumps([shown, canonical])


def test_json_of_what_we_have_no_message_for_keeps_its_bytes() -> None:
    made = messages.message_of(LISTENER)(name="l")
    filtered = made.filter_chains.add().filters.add(name="f").typed_config
    filtered.type_url, filtered.value = "type.googleapis.com/istio.Stats", b"\x01\x02"
    made.metadata.typed_filter_metadata["m"].type_url = "x/y.Z"
    shown = messages.any_to_json(LISTENER, messages.serialize(made))
    config = shown["filter_chains"][0]["filters"][0]["typed_config"]
    assert (config["type_url"], config["value"]) == (filtered.type_url, {"value": "AQI="})
    assert shown["metadata"]["typed_filter_metadata"]["m"]["type_url"] == "x/y.Z"
    assert messages.any_to_json(CLUSTER, b"\xff\xff")["type_url"] == CLUSTER


def test_json_comes_back_as_the_same_message() -> None:
    made = messages.message_of(LISTENER).FromString(listener("l", ["r"]).body)
    for proto_names in (True, False):
        shown = messages.to_json(made, proto_names=proto_names)
        assert messages.from_json("envoy.config.listener.v3.Listener", shown) == made
    with pytest.raises(ValueError, match="nam") as caught:
        messages.from_json("envoy.config.cluster.v3.Cluster", {"nam": "c"})
    assert len(str(caught.value)) < 300, "the names of all fields are no help"


def test_bytes_that_are_no_message_are_one_error() -> None:
    with pytest.raises(ValueError, match=r"not a .*Cluster"):
        messages.parse(CLUSTER, b"\xff\xff")


texts = st.text(max_size=20)
maybe_error = st.none() | st.text(min_size=1, max_size=20)


@given(texts, st.lists(texts, max_size=4).map(tuple), texts, texts, maybe_error)
def test_a_sotw_request_survives_the_wire(
    type_url: str, names: tuple[str, ...], version: str, nonce: str, error: str | None
) -> None:
    request = SotwRequest(type_url, names, version, nonce, error)
    assert discovery.decode_sotw_request(discovery.encode_sotw_request(request)) == (request, None)


@given(
    texts,
    st.lists(texts, max_size=4).map(tuple),
    st.lists(texts, max_size=4).map(tuple),
    st.dictionaries(texts, texts, max_size=4),
    texts,
    maybe_error,
)
def test_a_delta_request_survives_the_wire(
    type_url: str,
    subscribe: tuple[str, ...],
    unsubscribe: tuple[str, ...],
    versions: dict[str, str],
    nonce: str,
    error: str | None,
) -> None:
    request = DeltaRequest(type_url, subscribe, unsubscribe, versions, nonce, error)
    data = discovery.encode_delta_request(request)
    assert discovery.decode_delta_request(data) == (request, None)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_one_error(data: bytes) -> None:
    for decode in (
        discovery.decode_sotw_request,
        discovery.decode_delta_request,
        discovery.decode_sotw_response,
        discovery.decode_delta_response,
    ):
        try:
            decode(data)
        except MalformedError:
            continue


def test_x56_wrapped_resources_are_unwrapped_and_keep_their_name() -> None:
    made = Response(messages.WORKLOAD, "n", "v", (workload("127.7.0.9", "client"),))
    wrapped = discovery.decode_sotw_response(discovery.encode_sotw_response(made, wrapped=True))
    [resource] = wrapped.resources
    assert (resource.name, resource.body) == ("127.7.0.9", made.resources[0].body)
    bare = discovery.decode_sotw_response(discovery.encode_sotw_response(made))
    assert not bare.resources and "no name" in bare.unreadable[0][1]


def test_a_resource_of_another_type_than_its_response_is_unreadable() -> None:
    raw = messages.message("envoy.service.discovery.v3.DiscoveryResponse")(type_url=LISTENER)
    raw.resources.add(type_url=CLUSTER, value=cluster("c").body)
    found = discovery.decode_sotw_response(raw.SerializeToString())
    assert not found.resources and "Cluster" in found.unreadable[0][1]


def test_a_delta_resource_of_another_type_is_unreadable_by_its_name() -> None:
    raw = messages.message("envoy.service.discovery.v3.DeltaDiscoveryResponse")(type_url=LISTENER)
    raw.resources.add(name="c").resource.type_url = CLUSTER
    found = discovery.decode_delta_response(raw.SerializeToString())
    assert found.unreadable[0][0] == "c" and not found.resources


@pytest.mark.parametrize(
    ("metadata", "user_agent", "client"),
    [
        ({"MELTEMI_CLIENT": "sidecar", "GENERATOR": "grpc"}, "envoy", Client.SIDECAR),
        ({"MELTEMI_CLIENT": "sdk"}, "", Client.SDK),
        ({"GENERATOR": "grpc"}, "gRPC C-core", Client.GRPC),
        ({}, "envoy", Client.ENVOY),
        ({}, "kitex", Client.KITEX),
        ({"MELTEMI_CLIENT": 7, "GENERATOR": ["grpc"]}, "", Client.KITEX),
    ],
)
def test_what_kind_of_client_a_node_is(
    metadata: dict[str, Any], user_agent: str, client: Client
) -> None:
    made = messages.message("envoy.config.core.v3.Node")(id="n", user_agent_name=user_agent)
    made.metadata.update(metadata)
    assert Node.parse(made).client is client


def test_what_a_sidecar_imports_stays_small() -> None:
    """Memory of a sidecar is memory of every workload."""
    code = (
        "import sys; import meltemi.xds.client\n"
        "banned = {'pydantic', 'yaml', 'rich', 'click', 'starlette', 'meltemi.model',"
        " 'meltemi.config', 'meltemi.xds.server'}\n"
        "print(sorted(banned & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_resource_is_its_name_version_and_body() -> None:
    made = cluster("c")
    assert made == Resource("c", messages.version_of(made.body), made.body)

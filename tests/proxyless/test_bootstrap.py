"""Who asks whom, from arguments and environment; what cannot be used is said all at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from meltemi.proxyless import SettingsError
from meltemi.proxyless.bootstrap import LOCAL_SERVER, POD_SERVER, is_loopback, options
from meltemi.proxyless.options import Options

POD = {"POD_NAME": "web-0", "POD_NAMESPACE": "demo", "INSTANCE_IP": "10.0.0.7"}


def of(environment: Mapping[str, str] | None = None, **arguments: Any) -> Options:
    return options(arguments, environment or {})


def test_a_machine_of_ones_own_needs_no_settings() -> None:
    found = of()
    assert (found.address, found.mode, found.delta) == (LOCAL_SERVER, "grpc", True)
    assert found.node_id.startswith("sidecar~127.0.0.1~")
    assert found.node_id.endswith(".default~default.svc.cluster.local")
    assert (found.source_address, found.token, found.tls) == (None, None, None)


def test_a_pod_asks_istiod_as_itself() -> None:
    found = of({**POD, "KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    assert found.address == POD_SERVER
    assert found.node_id == "sidecar~10.0.0.7~web-0.demo~demo.svc.cluster.local"
    assert found.source_address == "10.0.0.7"
    assert found.metadata["NAMESPACE"] == "demo"
    assert found.metadata["INSTANCE_IPS"] == "10.0.0.7"


def test_arguments_win_over_our_variables_and_these_over_kitex() -> None:
    environment = {"KITEX_XDS_ISTIO_ADDR": "kitex:1", "GRPC_XDS_BOOTSTRAP_CONFIG": bootstrap("g:1")}
    assert of(environment).address == "kitex:1"
    environment["MELTEMI_XDS_ADDRESS"] = "ours:1"
    assert of(environment).address == "ours:1"
    assert of(environment, address="given:1").address == "given:1"


def bootstrap(server: str, **more: Any) -> str:
    return json.dumps({"xds_servers": [{"server_uri": server, **more}], "node": {"id": "n"}})


def test_grpcs_own_bootstrap_is_read_where_nothing_else_is_said(tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.json"
    file.write_text(bootstrap("127.0.0.1:15010", channel_creds=[{"type": "tls"}]))
    found = of({"GRPC_XDS_BOOTSTRAP": str(file)})
    assert (found.address, found.node_id) == ("127.0.0.1:15010", "n")
    assert found.tls is not None


def test_kitex_names_are_understood(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    metas = {"CLUSTER_ID": "east", "DNS_CAPTURE": "true", "INSTANCE_IPS": "10.0.0.9"}
    found = of(
        {
            **POD,
            "KITEX_XDS_DOMAIN": "cluster.test",
            "KITEX_XDS_METAS": json.dumps(metas),
            "KITEX_XDS_ISTIO_ADDR": "istiod.istio-system.svc:15012",
            "KITEX_XDS_ISTIO_SERVICE_NAME": "istiod.istio-system.svc",
            "KITEX_XDS_ISTIO_AUTH": "true",
            "KITEX_XDS_SA_TOKEN_PATH": str(token),
            "ISTIO_META_CLUSTER_ID": "east",
            "ISTIO_VERSION": "1.13.5",
        },
        mode="sidecar",
    )
    assert found.node_id == "sidecar~10.0.0.7~web-0.demo~demo.svc.cluster.test"
    assert found.metadata == {**metas, "INSTANCE_IPS": "10.0.0.9,10.0.0.7"}, "as Kitex has it"
    assert found.tls is not None
    assert found.tls.server_name == "istiod.istio-system.svc"
    assert found.token is not None
    assert found.token.read().reveal() == "secret"
    assert found.cluster_id == "east"
    assert not found.delta


def test_istios_version_is_said_where_the_metadata_is_ours() -> None:
    assert of({"ISTIO_VERSION": "1.13.5"}).metadata["ISTIO_VERSION"] == "1.13.5"


def test_the_mode_decides_what_the_server_takes_us_for() -> None:
    assert of().metadata["GENERATOR"] == "grpc"
    assert of().metadata["MELTEMI_CLIENT"] == "sdk"
    as_sidecar = of(metadata={"GENERATOR": "grpc", "A": "b"}, mode="sidecar").metadata
    assert as_sidecar == {"A": "b"}


def test_all_that_is_wrong_is_said_at_once_with_what_would_be_right(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as failure:
        of(
            {
                "POD_NAME": "a~b",
                "POD_NAMESPACE": "..",
                "INSTANCE_IP": "nowhere",
                "KITEX_XDS_METAS": "{",
                "KITEX_XDS_ISTIO_AUTH": "yes",
                "MELTEMI_XDS_MODE": "envoy",
                "MELTEMI_XDS_ADDRESS": "istiod",
                "MELTEMI_XDS_CA": str(tmp_path / "none.pem"),
            },
            ready_timeout_s=0,
        )
    said = failure.value.problems
    for name in (
        *("POD_NAME", "POD_NAMESPACE", "INSTANCE_IP", "KITEX_XDS_METAS", "KITEX_XDS_ISTIO_AUTH"),
        *("MELTEMI_XDS_MODE", "MELTEMI_XDS_ADDRESS", "MELTEMI_XDS_CA", "ready_timeout_s"),
    ):
        (line,) = {line for line in said if line.startswith(f"{name}: ")}
        assert "; " in line, "what would be right"


def test_a_token_is_never_sent_where_others_can_read_it(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("")
    with pytest.raises(SettingsError, match="MELTEMI_XDS_TOKEN: a token would be sent readable"):
        of({"MELTEMI_XDS_TOKEN": "t", "MELTEMI_XDS_ADDRESS": "istiod:15010"})
    for address in ("127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/run/x.sock"):
        assert of({"MELTEMI_XDS_TOKEN": "t"}, address=address).token is not None
    assert of({"MELTEMI_XDS_TOKEN": "t"}, address="istiod:15012", ca=str(ca)).token is not None


def test_a_token_is_not_printed() -> None:
    assert "abc" not in repr(of({"MELTEMI_XDS_TOKEN": "abc"}))


@pytest.mark.parametrize("text", ["", "a b", "\n"])
def test_a_file_without_a_token_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    found = of({}, token_file=str(file)).token
    assert found is not None
    with pytest.raises(ValueError, match="holds no token"):
        found.read()


def test_loopback_is_what_stays_on_this_machine() -> None:
    assert is_loopback("127.9.9.9:1")
    assert not is_loopback("10.0.0.1:1")
    assert not is_loopback("localhost.example.com:1")


def test_the_file_of_the_last_good_state_belongs_to_node_server_and_mode() -> None:
    home = {"HOME": "/home/a"}
    first = of(home).last_known
    assert first is not None
    assert first.parent == Path("/home/a/.cache/meltemi")
    assert of({**home, "XDG_CACHE_HOME": "/c"}).last_known == Path("/c/meltemi") / first.name
    others = [
        of(home, address="127.0.0.1:1"),
        of(home, pod="other"),
        of(home, mode="sidecar"),
    ]
    assert len({first.name, *(each.last_known.name for each in others if each.last_known)}) == 4
    assert of(home, last_known="off").last_known is None
    assert of({}).last_known is None


def test_equal_settings_are_equal() -> None:
    assert of(POD) == of(POD)
    assert hash(of(POD)) == hash(of(POD))
    assert of(POD) != of(POD, pod="other")

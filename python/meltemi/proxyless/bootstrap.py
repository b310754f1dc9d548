"""Options from arguments and environment. An argument wins over our variables, these over Kitex's,
and those over gRPC's bootstrap file. Everything that is wrong is said in one error."""

from __future__ import annotations

import ipaddress
import json
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args

from meltemi.proxyless.errors import SettingsError
from meltemi.proxyless.grpc_bootstrap import GrpcBootstrap
from meltemi.proxyless.options import (
    LAST_KNOWN_MAX_AGE_S,
    READY_TIMEOUT_S,
    Mode,
    Options,
    Tls,
    Token,
)
from meltemi.secret import Secret
from meltemi.xds.messages import version_of

LOCAL_SERVER: Final = "127.0.0.1:15010"
"""Where `meltemi up` and `meltemi control-plane` listen."""
POD_SERVER: Final = "istiod.istio-system.svc:15010"
"""Kitex's default: of a process that Kubernetes started."""
POD_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
POD_CA: Final = Path("/var/run/secrets/istio/root-cert.pem")
DOMAIN: Final = "cluster.local"
CLUSTER: Final = "Kubernetes"

_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?")


class Problems:
    """What is wrong, all of it; `raise_any` ends the reading."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, where: str, what: str, right: str) -> None:
        self._lines.append(f"{where}: {what}; {right}")

    def raise_any(self) -> None:
        if self._lines:
            raise SettingsError(self._lines)


class _Settings:
    """Arguments and environment; `find` says what was given and where."""

    def __init__(self, arguments: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self._arguments, self._environment = arguments, environment
        self.problems = Problems()
        self.grpc = GrpcBootstrap.read(environment, self.problems.add)

    def find(self, argument: str, *variables: str) -> tuple[str, str]:
        """(value, where it stands); ("", "") where nothing is said."""
        given = self._arguments.get(argument)
        if given is not None:
            return str(given), argument
        for variable in variables:
            if value := self._environment.get(variable, "").strip():
                return value, variable
        return "", ""

    def name(self, argument: str, *variables: str) -> str:
        value, where = self.find(argument, *variables)
        if value and not _NAME.fullmatch(value):
            right = "a name has letters, digits, '-', '.' and '_', as Kubernetes has it"
            self.problems.add(where, f"{value!r} is no name", right)
        return value

    def flag(self, argument: str, *variables: str) -> bool | None:
        value, where = self.find(argument, *variables)
        match value.lower():
            case "":
                return None
            case "true" | "1":
                return True
            case "false" | "0":
                return False
        self.problems.add(where, f"{value!r} is neither true nor false", "write true or false")
        return None

    def seconds(self, argument: str, default: float) -> float:
        given = self._arguments.get(argument)
        if given is None:
            return default
        try:
            number = float(given)
        except (TypeError, ValueError):
            number = -1.0
        if not 0 < number < float("inf"):
            self.problems.add(argument, f"{given!r} is no time", "give seconds, more than 0")
        return number

    def is_in_pod(self) -> bool:
        return bool(self._environment.get("KUBERNETES_SERVICE_HOST"))

    def environment(self, variable: str) -> str:
        return self._environment.get(variable, "")


def options(arguments: Mapping[str, Any], environment: Mapping[str, str]) -> Options:
    """Raises SettingsError with a line for each setting that cannot be used."""
    settings = _Settings(arguments, environment)
    mode = _mode(settings)
    address = _address(settings)
    tls = _tls(settings)
    token = _token(settings, address, tls)
    instance, source = _instance(settings)
    namespace = settings.name("namespace", "POD_NAMESPACE") or "default"
    pod = settings.name("pod", "POD_NAME") or _host_name()
    domain = settings.name("domain", "KITEX_XDS_DOMAIN") or DOMAIN
    node_id = _node_id(settings, f"sidecar~{instance}~{pod}.{namespace}~{namespace}.svc.{domain}")
    metadata = _metadata(settings, mode, instance, pod, namespace)
    delta = settings.flag("delta", "MELTEMI_XDS_DELTA")
    text = json.dumps(metadata, sort_keys=True)
    found = Options(
        address=address,
        node_id=node_id,
        metadata_json=text,
        namespace=namespace,
        domain=domain,
        mode=mode,
        # As a sidecar istiod sends all it has once, and not again to who then asks by name.
        delta=mode == "grpc" if delta is None else delta,
        token=token,
        tls=tls,
        cluster_id=settings.find("cluster_id", "ISTIO_META_CLUSTER_ID")[0],
        source_address=source,
        ready_timeout_s=settings.seconds("ready_timeout_s", READY_TIMEOUT_S),
        last_known=_last_known(settings, f"{node_id} {address} {mode}"),
        last_known_max_age_s=settings.seconds("last_known_max_age_s", LAST_KNOWN_MAX_AGE_S),
    )
    settings.problems.raise_any()
    return found


def _mode(settings: _Settings) -> Mode:
    value, where = settings.find("mode", "MELTEMI_XDS_MODE")
    for mode in get_args(Mode):
        if value == mode:
            return mode  # type: ignore[no-any-return]
    if value:
        settings.problems.add(where, f"{value!r} is no mode", "grpc or sidecar is one")
    return "grpc"


def _address(settings: _Settings) -> str:
    value, where = settings.find("address", "MELTEMI_XDS_ADDRESS", "KITEX_XDS_ISTIO_ADDR")
    if not value and settings.grpc is not None:
        value, where = settings.grpc.address, "GRPC_XDS_BOOTSTRAP"
    if not value:
        return POD_SERVER if settings.is_in_pod() else LOCAL_SERVER
    value = value.removeprefix("dns:").lstrip("/") if value.startswith("dns:") else value
    if value.startswith("unix:") and len(value) > len("unix:"):
        return value
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536 or "/" in host:
        right = "write HOST:PORT, as in 127.0.0.1:15010, or unix:PATH"
        settings.problems.add(where, f"{value!r} is no address of a control plane", right)
    return value


def is_loopback(address: str) -> bool:
    """Whether what is sent there stays on this machine."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls(settings: _Settings) -> Tls | None:
    wanted = settings.flag("tls", "MELTEMI_XDS_TLS", "KITEX_XDS_ISTIO_AUTH")
    ca, where = settings.find("ca", "MELTEMI_XDS_CA")
    name, _ = settings.find("server_name", "MELTEMI_XDS_SERVER_NAME")
    if wanted is None:
        wanted = bool(ca or name) or (settings.grpc is not None and settings.grpc.tls)
    if not wanted:
        return None
    path = Path(ca) if ca else (POD_CA if POD_CA.exists() else None)
    if ca and path is not None and not path.is_file():
        right = "name a file of PEM certificates"
        settings.problems.add(where, f"{ca!r} is not a file", right)
    if not name and settings.environment("KITEX_XDS_ISTIO_AUTH"):
        name = settings.environment("KITEX_XDS_ISTIO_SERVICE_NAME")
    return Tls(path, name or None)


def _token(settings: _Settings, address: str, tls: Tls | None) -> Token | None:
    value, where = settings.find("token", "MELTEMI_XDS_TOKEN")
    token: Token | None = None
    if value:
        token = Token(value=Secret(value))
    else:
        file, where = settings.find("token_file", "MELTEMI_XDS_TOKEN_FILE")
        if not file and settings.flag("", "KITEX_XDS_ISTIO_AUTH"):
            where = "KITEX_XDS_SA_TOKEN_PATH"
            file = settings.environment(where) or str(POD_TOKEN)
        if file:
            token = Token(file=Path(file))
    if token is not None and tls is None and not is_loopback(address):
        right = "use TLS (ca=, MELTEMI_XDS_CA, KITEX_XDS_ISTIO_AUTH=true) or leave the token out"
        what = f"a token would be sent readable by others to {address}"
        settings.problems.add(where, what, right)
    return token


def _instance(settings: _Settings) -> tuple[str, str | None]:
    """The address in the node's id, and the one that calls come from."""
    value, where = settings.find("instance_ip", "INSTANCE_IP")
    if not value:
        return "127.0.0.1", None
    try:
        address = str(ipaddress.ip_address(value))
    except ValueError:
        right = "give the IP address of this instance, as in 10.0.0.7"
        settings.problems.add(where, f"{value!r} is no IP address", right)
        return value, None
    return address, address


def _host_name() -> str:
    found = re.sub(r"[^-A-Za-z0-9]", "-", socket.gethostname().partition(".")[0]).strip("-")
    return found or "localhost"


def _node_id(settings: _Settings, made: str) -> str:
    value, where = settings.find("node_id", "MELTEMI_XDS_NODE_ID")
    if not value:
        return settings.grpc.node_id or made if settings.grpc is not None else made
    if len(parts := value.split("~")) != 4 or not all(parts):
        right = "it is sidecar~INSTANCE_IP~POD.NAMESPACE~NAMESPACE.svc.cluster.local"
        settings.problems.add(where, f"{value!r} is no node id", right)
    return value


def _metadata(
    settings: _Settings, mode: Mode, instance: str, pod: str, namespace: str
) -> dict[str, Any]:
    """Of the xDS node. What KITEX_XDS_METAS says stands for the defaults, as with Kitex."""
    made: dict[str, Any] = {
        "NAME": pod,
        "NAMESPACE": namespace,
        "CLUSTER_ID": settings.find("cluster_id", "ISTIO_META_CLUSTER_ID")[0] or CLUSTER,
        "INSTANCE_IPS": instance,
    }
    if version := settings.environment("ISTIO_VERSION"):
        made["ISTIO_VERSION"] = version
    if settings.grpc is not None:
        made.update(settings.grpc.metadata)
    text, where = settings.find("metadata", "KITEX_XDS_METAS")
    if isinstance(given := settings._arguments.get("metadata"), Mapping):
        made = dict(given)
    elif text:
        made = _json_object(settings, text, where)
        if "INSTANCE_IPS" in made and instance not in str(made["INSTANCE_IPS"]):
            made["INSTANCE_IPS"] = f"{made['INSTANCE_IPS']},{instance}"
    labels = settings._arguments.get("labels")
    if isinstance(labels, Mapping):
        made["LABELS"] = {str(key): str(value) for key, value in labels.items()}
    made.pop("MELTEMI_CLIENT", None)
    if mode == "grpc":
        made |= {"GENERATOR": "grpc", "MELTEMI_CLIENT": "sdk"}
    else:
        made.pop("GENERATOR", None)
    return made


def _json_object(settings: _Settings, text: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as exc:
        settings.problems.add(where, f"not JSON ({exc})", 'write an object: {"CLUSTER_ID": "a"}')
        return {}
    if not isinstance(found, dict):
        settings.problems.add(where, "not a JSON object", 'write one: {"CLUSTER_ID": "a"}')
        return {}
    return found


def _last_known(settings: _Settings, key: str) -> Path | None:
    """The file that belongs to this node and server."""
    value, _where = settings.find("last_known", "MELTEMI_XDS_LAST_KNOWN")
    if value.lower() in ("off", "false", "none"):
        return None
    if value:
        folder = Path(value)
    else:
        cache = settings.environment("XDG_CACHE_HOME")
        home = settings.environment("HOME")
        if cache and Path(cache).is_absolute():
            folder = Path(cache) / "meltemi"
        elif home:
            folder = Path(home) / ".cache" / "meltemi"
        else:
            return None
    return folder / f"{version_of(key.encode())}.json"

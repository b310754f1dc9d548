"""Istio's rules for `DestinationRule`."""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt

from meltemi.config.issues import Finding
from meltemi.config.place import Place
from meltemi.config.rules import locality, names

_HASH_KEYS = ("httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName")
_SETTINGS = ("loadBalancer", "connectionPool", "outlierDetection", "tls")
_WHOLE = ("tunnel", "proxyProtocol", "retryBudget")  # of all ports only
_CONFIG_MAP = "configmap://"
_MAGLEV_LIMIT = 5_000_011  # Envoy's largest table
MAX_RING_SIZE = 8 * 1024 * 1024  # Envoy's largest ring


def check(spec: Place, namespace: str) -> Iterator[Finding]:
    host = spec["host"]
    if isinstance(host.value, str):
        wrong = names.wildcard_host_error(host.text)
        if wrong:
            yield host.error("invalid-host", wrong, "the name of a service")
    yield from _policy(spec["trafficPolicy"], namespace)
    yield from _subsets(spec["subsets"], namespace)
    selector = spec["workloadSelector"]
    yield from names.export_to(spec["exportTo"], namespace, selects=selector.there)
    yield from _selector(selector)


def _selector(selector: Place) -> Iterator[Finding]:
    if not selector.there:
        return
    if not selector["matchLabels"].value:
        yield selector.warning("empty-selector", "a selector without labels selects nothing more")
    for key, value in selector["matchLabels"].entries:
        if not key:
            yield value.error("invalid-selector", "the key of a label is empty")
        if "*" in key or "*" in value.text:
            yield value.error("invalid-selector", "a selector takes no wildcards")
        if len(value.text) > names.LONGEST_LABEL:
            yield value.error(
                "invalid-selector", f"the value has more than {names.LONGEST_LABEL} characters"
            )


def _subsets(subsets: Place, namespace: str) -> Iterator[Finding]:
    seen: set[str] = set()
    for subset in subsets.items:
        name = subset["name"]
        if name.there:
            if not names.is_label(name.text):
                yield name.error(
                    "invalid-subset", f"{name.text!r} is not the name of a subset",
                    "letters, digits and '-', such as v1",
                )  # fmt: skip
            if name.text in seen:
                yield name.error("duplicate-subset", f"the subset {name.text!r} is there twice")
            seen.add(name.text)
        yield from names.labels(subset["labels"])
        yield from _policy(subset["trafficPolicy"], namespace)


def _policy(policy: Place, namespace: str) -> Iterator[Finding]:
    if not isinstance(policy.value, dict):
        return
    said = any(policy[field].there for field in (*_SETTINGS, *_WHOLE))
    if not said and not policy["portLevelSettings"].value:
        yield policy.error(
            "empty-policy", "the traffic policy is empty", "leave it out, or say what it is"
        )
        return
    if policy["tunnel"].there and policy["proxyProtocol"].there:
        yield policy["proxyProtocol"].error("one-of", "tunnel and proxyProtocol exclude each other")
    yield from _settings(policy, namespace)
    for port in policy["portLevelSettings"].items:
        if not port["port"].there:
            yield port["port"].error("missing-field", "port is missing", "port: {number: 9090}")
        elif isinstance(port["port"].value, dict) and not 0 < port["port"]["number"].number < 65536:
            yield port["port"].warning(
                "no-effect", "the policy is of no port", "port: {number: 9090}"
            )
        if not any(port[field].there for field in _SETTINGS):
            yield port.error("empty-policy", "the policy of the port is empty")
        else:
            yield from _settings(port, namespace)
    yield from _tunnel(policy["tunnel"])


def _settings(policy: Place, namespace: str) -> Iterator[Finding]:
    yield from _outlier_detection(policy["outlierDetection"])
    yield from _connection_pool(policy["connectionPool"])
    yield from _load_balancer(policy["loadBalancer"], policy["outlierDetection"].there)
    yield from _tls(policy["tls"], namespace)


def _tunnel(tunnel: Place) -> Iterator[Finding]:
    if not tunnel.there:
        return
    if tunnel["protocol"].text not in ("", "CONNECT", "POST"):
        yield tunnel["protocol"].error(
            "bad-value", f"{tunnel['protocol'].text!r} is no way to tunnel", "CONNECT or POST"
        )
    host = tunnel["targetHost"]
    if host.there and names.host_error(host.text) and not names.is_address(host.text):
        yield host.error("invalid-host", f"{host.text!r} is neither a host nor an IP address")


def _outlier_detection(outlier: Place) -> Iterator[Finding]:
    if outlier["consecutiveErrors"].number:
        yield outlier["consecutiveErrors"].warning(
            "deprecated", "consecutiveErrors is deprecated",
            "use consecutiveGatewayErrors or consecutive5xxErrors",
        )  # fmt: skip
    local = outlier["consecutiveLocalOriginFailures"]
    if local.number > 0 and not outlier["splitExternalLocalOriginErrors"].true:
        yield local.error(
            "needs-field", "consecutiveLocalOriginFailures needs splitExternalLocalOriginErrors",
            "splitExternalLocalOriginErrors: true",
        )  # fmt: skip


def _connection_pool(pool: Place) -> Iterator[Finding]:
    if isinstance(pool.value, dict) and not (pool["http"].there or pool["tcp"].there):
        yield pool.error("empty-policy", "the connection pool is empty", "tcp or http")
    http = pool["http"]
    if http["h2UpgradePolicy"].text == "UPGRADE" and http["useClientProtocol"].true:
        yield http["useClientProtocol"].error(
            "one-of", "useClientProtocol and h2UpgradePolicy: UPGRADE exclude each other"
        )


def _load_balancer(balancer: Place, outlier: bool) -> Iterator[Finding]:
    if not balancer.there:
        return
    consistent = balancer["consistentHash"]
    if balancer["simple"].there and consistent.there:
        yield consistent.error("one-of", "simple and consistentHash exclude each other")
    if consistent.there:
        yield from _consistent_hash(consistent)
    where, zones = balancer["localityLbSetting"], balancer["zoneAwareLbSetting"]
    yield from locality.check(where, outlier)
    yield from locality.check_zone_aware(zones, outlier)
    if where.there and zones.there:
        yield zones.error("one-of", "localityLbSetting and zoneAwareLbSetting exclude each other")
    if balancer["warmup"].there and balancer["warmupDurationSecs"].there:
        yield balancer["warmupDurationSecs"].warning(
            "no-effect", "warmup takes the place of warmupDurationSecs", "keep warmup"
        )


def _consistent_hash(consistent: Place) -> Iterator[Finding]:
    keys = [key for key in _HASH_KEYS if consistent[key].there]
    if len(keys) > 1:
        yield consistent[keys[1]].error("one-of", f"{' and '.join(keys)} exclude each other")
    algorithms = [name for name in ("ringHash", "maglev") if consistent[name].there]
    if len(algorithms) > 1:
        yield consistent["maglev"].error("one-of", "ringHash and maglev exclude each other")
    cookie = consistent["httpCookie"]
    if isinstance(cookie["name"].value, str) and not cookie["name"].text:
        yield cookie["name"].error("missing-field", "the cookie needs a name")
    seen: set[str] = set()
    for attribute in cookie["attributes"].items:
        name = attribute["name"]
        if isinstance(name.value, str) and not name.text:
            yield name.error("missing-field", "the attribute needs a name")
        elif name.text in seen:
            yield name.error("duplicate-value", f"the attribute {name.text!r} is there twice")
        seen.add(name.text)
    for size in (consistent["minimumRingSize"], consistent["ringHash"]["minimumRingSize"]):
        if size.number and size.number > MAX_RING_SIZE:
            message = f"a ring has at most {MAX_RING_SIZE} places: it gets so many"
            yield size.warning("out-of-range", message, f"{MAX_RING_SIZE} or less")
    size = consistent["minimumRingSize"]
    if size.number:
        yield size.warning(
            "deprecated", "minimumRingSize is deprecated", "ringHash.minimumRingSize"
        )
        if algorithms:
            yield size.error("one-of", f"minimumRingSize and {algorithms[0]} exclude each other")
    if consistent["maglev"].there:
        yield from _maglev(consistent["maglev"])


def _maglev(maglev: Place) -> Iterator[Finding]:
    size = maglev["tableSize"]
    number = int(size.number)
    if number <= 0:
        yield size.error("missing-field", "tableSize is missing", "a prime number, such as 65537")
    elif number >= _MAGLEV_LIMIT:
        yield size.error("bad-value", f"tableSize has to be less than {_MAGLEV_LIMIT}")
    elif not _is_prime(number):
        yield size.error("bad-value", f"tableSize {number} is not a prime number", "such as 65537")


def _is_prime(number: int) -> bool:
    """As Envoy decides: 1 counts."""
    if number < 4:
        return number > 0
    return number % 2 == 1 and all(number % factor for factor in range(3, isqrt(number) + 1, 2))


def _tls(tls: Place, namespace: str) -> Iterator[Finding]:
    mode = tls["mode"].text
    credential = tls["credentialName"]
    if credential.text.startswith(_CONFIG_MAP):
        parts = credential.text.removeprefix(_CONFIG_MAP).split("/")
        if len(parts) < 2 or parts[0] != namespace or not parts[1]:
            yield credential.error(
                "bad-value", f"{credential.text!r} is not a ConfigMap of the namespace of the rule",
                f"{_CONFIG_MAP}{namespace}/NAME",
            )  # fmt: skip
    both = (f"insecureSkipVerify and {{}} exclude each other in mode {mode}",)
    if tls["insecureSkipVerify"].true and mode in ("SIMPLE", "MUTUAL"):
        fields = ["caCertificates", "subjectAltNames"]
        if mode == "SIMPLE":
            fields.append("credentialName")
        for field in fields:
            if tls[field].value:
                yield tls[field].error("one-of", both[0].format(field))
    if mode in ("SIMPLE", "MUTUAL") and tls["credentialName"].text:
        for field in ("clientCertificate", "privateKey", "caCertificates", "caCrl"):
            if tls[field].text:
                yield tls[field].error("one-of", f"credentialName and {field} exclude each other")
    elif mode == "MUTUAL":
        for field in ("clientCertificate", "privateKey"):
            if not tls[field].text:
                yield tls[field].error("missing-field", f"mode MUTUAL needs {field}")

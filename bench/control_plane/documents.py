"""Meshes of any size, as people write them: what the measurements of this folder read."""

from __future__ import annotations

from pathlib import Path

NAMESPACES = 10
ENDPOINTS = 5
DOCUMENTS_AN_APP = 3 + ENDPOINTS
"""Service, DestinationRule, MetaRouter and a WorkloadEntry for each endpoint."""

_SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: app-{n}
  namespace: {namespace}
  labels: {{app: app-{n}, team: team-{team}}}
spec:
  selector:
    app: app-{n}
  ports:
  - name: tcp-metaprotocol-thrift
    port: 9090
    targetPort: 9090
"""

_ENTRY = """\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: app-{n}-{k}
  namespace: {namespace}
spec:
  address: 10.{high}.{low}.{last}
  labels:
    app: app-{n}
    version: v{version}
  ports:
    tcp-metaprotocol-thrift: 9090
"""

_RULE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: app-{n}
  namespace: {namespace}
spec:
  host: app-{n}.{namespace}.svc.cluster.local
  trafficPolicy:
    loadBalancer:
      simple: ROUND_ROBIN
    connectionPool:
      tcp: {{maxConnections: 100, connectTimeout: 2s}}
  subsets:
  - name: v1
    labels: {{version: v1}}
  - name: v2
    labels: {{version: v2}}
"""

_ROUTER = """\
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: MetaRouter
metadata:
  name: app-{n}
  namespace: {namespace}
spec:
  hosts:
  - {host}
  routes:
  - name: canary
    match:
      attributes:
        method: {{exact: sayHello}}
        user: {{prefix: beta-}}
    route:
    - destination: {{host: {host}, subset: v2}}
  - name: split
    route:
    - destination: {{host: {host}, subset: v1}}
      weight: {weight}
    - destination: {{host: {host}, subset: v2}}
      weight: {rest}
"""

_CALLER = """\
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: caller, namespace: ns-0, labels: {app: caller, version: v1}}
spec: {command: [python, caller.py]}
"""


def namespace(n: int) -> str:
    return f"ns-{n % NAMESPACES}"


def host(n: int) -> str:
    return f"app-{n}.{namespace(n)}.svc.cluster.local"


def router(n: int, weight: int = 80) -> str:
    """The MetaRouter of an application; `weight` percent of its requests go to v1."""
    return _ROUTER.format(
        n=n, namespace=namespace(n), host=host(n), weight=weight, rest=100 - weight
    )


def app(n: int, weight: int = 80) -> list[str]:
    """All documents of one application."""
    place = {"n": n, "namespace": namespace(n), "team": n % 7, "high": n // 250, "low": n % 250}
    entries = [_ENTRY.format(**place, k=k, last=k + 1, version=1 + k % 2) for k in range(ENDPOINTS)]
    return [_SERVICE.format(**place), *entries, _RULE.format(**place), router(n, weight)]


def caller() -> str:
    """A workload with a sidecar that calls every application."""
    return _CALLER


def written(documents: list[str]) -> str:
    return "---\n".join(documents)


def write(directory: Path, apps: int, files: int, *, weight: int = 80, edited: int = 0) -> str:
    """Writes `apps` applications into `files` files, and the caller into one of its own.

    `weight` is that of the application `edited`. Returns the text of the applications."""
    texts = []
    each = -(-apps // files)
    for ordinal in range(files):
        numbers = range(ordinal * each, min(apps, (ordinal + 1) * each))
        parts = [part for n in numbers for part in app(n, weight if n == edited else 80)]
        texts.append(written(parts))
        (directory / f"apps-{ordinal:04}.yaml").write_text(texts[-1])
    (directory / "caller.yaml").write_text(caller())
    return "---\n".join(texts)

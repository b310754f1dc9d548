"""The YAML of Aeraki's Dubbo demos and tests is accepted; what is without effect is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from meltemi.config import Source, build, errors, load
from meltemi.model.addresses import Addresses

NOT_YET = {
    "metarouter-global-ratelimit.yaml": ["spec.globalRateLimit"],
    "traffic-mirroring.yaml": ["spec.routes[0].mirror", "spec.routes[0].mirrorPercentage"],
}
"""By file: what warns that it is not there yet."""
MESHES = {
    # Folder: what is there before each of its files.
    "demo/metaprotocol-dubbo": ("serviceentry.yaml", "destinationrule.yaml"),
    "demo/metaprotocol-dubbo-app-level": ("dubbo-sample.yaml", "destinationrule.yaml"),
    "test/e2e/metaprotocol/testdata": ("serviceentry.yaml", "destinationrule.yaml"),
}
FOREIGN = ("v1 ConfigMap", "apps/v1 Deployment", "not a Kubernetes document")
PROVIDERS = "\n---\n".join(
    f"""
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata:
  name: dubbo-sample-provider-{version}
  namespace: meta-dubbo
  labels: {{app: dubbo-sample-provider, version: {version}, service_group: {group}}}
spec:
  command: [python, provider.py]
  ports: [{{name: tcp-metaprotocol-dubbo, port: 20880}}]
"""
    for version, group in (("v1", "user"), ("v2", "batchjob"))
)


@pytest.mark.parametrize("folder", MESHES)
def test_every_file_is_accepted_and_warns_of_what_is_not_there_yet(
    cases: Path, folder: str
) -> None:
    at = cases / "aeraki" / folder
    names = sorted(str(path.relative_to(at)) for path in at.rglob("*.yaml"))
    assert len(names) >= 8
    for name in names:
        before = [base for base in MESHES[folder] if Path(base).name != Path(name).name]
        sources = [Source(each, (at / each).read_bytes()) for each in (*before, name)]
        loaded = load([*sources, Source("workloads.yaml", PROVIDERS)], "meta-dubbo")
        _, together = build(loaded.objects, Addresses())
        issues = [*loaded.issues, *together]
        assert errors(issues) == [], name
        warned = [i for i in issues if i.file == name and not i.message.startswith(FOREIGN)]
        assert all(path.path in NOT_YET.get(name, []) for path in warned), (name, warned)
        assert bool(warned) == (name in NOT_YET), name
        assert all("not there yet" in issue.message for issue in warned)

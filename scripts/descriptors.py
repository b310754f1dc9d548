"""Builds python/meltemi/xds/descriptors.binpb: every message that goes over the wire.

Envoy's messages come from the `xds-protos` wheel, read as files and never installed: it
overwrites files of other packages. Ours come from `proto/`. Only what ROOTS need is kept.
The result and its checksum are committed; run this after a change in `proto/`:

    python scripts/descriptors.py            # downloads the wheel, writes both files
    python scripts/descriptors.py --check    # fails when slice and checksum differ
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SLICE = ROOT / "python/meltemi/xds/descriptors.binpb"
CHECKSUM = SLICE.with_suffix(".sha256")
WHEEL = "xds-protos==1.85.0"

WELL_KNOWN = (
    "any",
    "descriptor",
    "duration",
    "empty",
    "field_mask",
    "struct",
    "timestamp",
    "wrappers",
)

ROOTS = (
    "envoy/admin/v3/clusters.proto",
    "envoy/admin/v3/config_dump.proto",
    "envoy/config/bootstrap/v3/bootstrap.proto",
    "envoy/config/cluster/v3/cluster.proto",
    "envoy/config/endpoint/v3/endpoint.proto",
    "envoy/config/listener/v3/listener.proto",
    "envoy/config/route/v3/route.proto",
    "envoy/extensions/access_loggers/file/v3/file.proto",
    "envoy/extensions/access_loggers/stream/v3/stream.proto",
    "envoy/extensions/common/matching/v3/extension_matcher.proto",
    "envoy/extensions/filters/common/matcher/action/v3/skip_action.proto",
    "envoy/extensions/filters/http/composite/v3/composite.proto",
    "envoy/extensions/filters/http/fault/v3/fault.proto",
    "envoy/extensions/filters/http/header_mutation/v3/header_mutation.proto",
    "envoy/extensions/filters/http/lua/v3/lua.proto",
    "envoy/extensions/filters/http/rbac/v3/rbac.proto",
    "envoy/extensions/filters/http/router/v3/router.proto",
    "envoy/extensions/filters/http/set_metadata/v3/set_metadata.proto",
    "envoy/extensions/filters/network/dubbo_proxy/router/v3/router.proto",
    "envoy/extensions/filters/network/dubbo_proxy/v3/dubbo_proxy.proto",
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
    "envoy/extensions/filters/network/redis_proxy/v3/redis_proxy.proto",
    "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto",
    "envoy/extensions/filters/network/thrift_proxy/router/v3/router.proto",
    "envoy/extensions/filters/network/thrift_proxy/v3/thrift_proxy.proto",
    "envoy/extensions/matching/common_inputs/network/v3/network_inputs.proto",
    "envoy/extensions/matching/input_matchers/consistent_hashing/v3/consistent_hashing.proto",
    "envoy/extensions/matching/input_matchers/ip/v3/ip.proto",
    "envoy/extensions/matching/input_matchers/metadata/v3/metadata.proto",
    "envoy/extensions/transport_sockets/tls/v3/tls.proto",
    "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
    "envoy/service/discovery/v3/ads.proto",
    "envoy/service/discovery/v3/discovery.proto",
    "envoy/service/ratelimit/v3/rls.proto",
    "envoy/service/status/v3/csds.proto",
    "envoy/type/matcher/v3/http_inputs.proto",
    "udpa/type/v1/typed_struct.proto",
    "xds/type/v3/typed_struct.proto",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="only compare slice and checksum")
    if parser.parse_args().check:
        return check()
    with tempfile.TemporaryDirectory() as tmp:
        files = read_wheel(download(Path(tmp)))
        data = compile_ours(files, Path(tmp))
    SLICE.write_bytes(data)
    CHECKSUM.write_text(f"{hashlib.sha256(data).hexdigest()}  {SLICE.name}\n")
    print(f"{SLICE.relative_to(ROOT)}: {len(data)} bytes")
    return 0


def check() -> int:
    found = hashlib.sha256(SLICE.read_bytes()).hexdigest()
    wanted = CHECKSUM.read_text().split()[0]
    if found != wanted:
        print(f"{SLICE}: sha256 {found}, but {CHECKSUM.name} says {wanted}", file=sys.stderr)
        return 1
    return 0


def download(into: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(into), WHEEL]
    subprocess.run(command, check=True)
    return next(into.glob("*.whl"))


def read_wheel(wheel: Path) -> dict[str, bytes]:
    """Takes each file's descriptor out of its generated module without importing it."""
    from google.protobuf import descriptor_pb2

    files: dict[str, bytes] = {}
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith("_pb2.py"):
                for node in ast.walk(ast.parse(archive.read(name))):
                    if isinstance(node, ast.Call) and _called(node) == "AddSerializedFile":
                        data = ast.literal_eval(node.args[0])
                        files[descriptor_pb2.FileDescriptorProto.FromString(data).name] = data
    return files


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else ""


def compile_ours(files: dict[str, bytes], tmp: Path) -> bytes:
    """Compiles `proto/` against the wheel's descriptors; returns the slice, dependencies first."""
    from google.protobuf import descriptor_pb2
    from grpc_tools import protoc  # type: ignore[import-untyped]

    theirs = descriptor_pb2.FileDescriptorSet()
    for data in files.values():
        theirs.file.add().ParseFromString(data)
    for name in WELL_KNOWN:
        _add_well_known(theirs, f"google/protobuf/{name}.proto")
    inputs, outputs = tmp / "theirs.binpb", tmp / "ours.binpb"
    inputs.write_bytes(theirs.SerializeToString())
    sources = sorted(str(p.relative_to(ROOT / "proto")) for p in (ROOT / "proto").rglob("*.proto"))
    arguments = ["protoc", f"--descriptor_set_in={inputs}", f"--proto_path={ROOT / 'proto'}"]
    if protoc.main([*arguments, f"--descriptor_set_out={outputs}", *sources]) != 0:
        raise SystemExit("protoc failed: see above")
    ours = descriptor_pb2.FileDescriptorSet.FromString(outputs.read_bytes())
    everything = {file.name: file for file in (*theirs.file, *ours.file)}
    kept: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for root in (*ROOTS, *sources):
        _keep(root, everything, kept)
    return descriptor_pb2.FileDescriptorSet(file=list(kept.values())).SerializeToString(
        deterministic=True
    )


def _keep(name: str, everything: dict, kept: dict) -> None:  # type: ignore[type-arg]
    if name not in kept:
        for dependency in everything[name].dependency:
            _keep(dependency, everything, kept)
        kept[name] = everything[name]


def _add_well_known(into: object, name: str) -> None:
    import importlib

    module = importlib.import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
    if all(file.name != name for file in into.file):  # type: ignore[attr-defined]
        module.DESCRIPTOR.CopyToProto(into.file.add())  # type: ignore[attr-defined]


if __name__ == "__main__":
    raise SystemExit(main())

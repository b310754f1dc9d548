"""Checks licences and sources of everything that is built in or installed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"

# Licences under which a dependency may be linked into or shipped with an Apache-2.0 product.
RUST_ALLOWED = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
}
PYTHON_ALLOWED = (
    "apache",
    "bsd",
    "mit",
    "isc",
    "python software foundation",
    "psf",
    "unlicense",
    "zlib",
    "mozilla public license 2.0",
    "mpl-2.0",  # unchanged, as files of their own
)


# Of packages that build or test the page, and of which nothing is in it.
NODE_TOOLS_ALLOWED = RUST_ALLOWED | {"CC-BY-4.0", "MPL-2.0"}


def main() -> int:
    problems = [*rust(), *python(), *node()]
    for problem in problems:
        print(problem, file=sys.stderr)
    return bool(problems)


def rust() -> list[str]:
    command = ["cargo", "metadata", "--locked", "--format-version", "1"]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    problems = []
    for package in json.loads(output)["packages"]:
        name = f"{package['name']} {package['version']}"
        if package["source"] not in (None, REGISTRY):
            problems.append(f"{name}: comes from {package['source']}, not from the registry")
        if not _allowed(package["license"] or ""):
            problems.append(f"{name}: licence {package['license']!r} is not allowed")
    return problems


def _allowed(expression: str) -> bool:
    """Whether one alternative of an SPDX expression has only allowed licences."""
    alternatives = re.split(r"\bOR\b|/", expression.replace("(", "").replace(")", ""))
    return any(
        all(part.strip() in RUST_ALLOWED for part in re.split(r"\bAND\b", alternative))
        for alternative in alternatives
    )


def python() -> list[str]:
    lock = (ROOT / "requirements-dev.lock").read_text()
    pinned = re.findall(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)", lock, re.MULTILINE)
    problems = [f"{name}: no hash in the lock" for name, _ in pinned if not _hashed(lock, name)]
    command = [sys.executable, "-m", "piplicenses", "--format=json", "--from=mixed"]
    installed = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    names = {_normal(name) for name, _ in pinned}
    for package in installed:
        if _normal(package["Name"]) in names and not any(
            word in package["License"].lower() for word in PYTHON_ALLOWED
        ):
            problems.append(f"{package['Name']}: licence {package['License']!r} is not allowed")
    return problems


def node() -> list[str]:
    """Every package of the page's lock has a hash, comes from the registry, and may be used."""
    packages = json.loads((ROOT / "page/package-lock.json").read_text())["packages"]
    problems = []
    for path, package in packages.items():
        name = path.rpartition("node_modules/")[2]
        allowed = NODE_TOOLS_ALLOWED if package.get("dev") else RUST_ALLOWED
        if name and package.get("license") not in allowed:
            problems.append(f"{name}: licence {package.get('license')!r} is not allowed")
        if name and not package.get("integrity", "").startswith("sha512-"):
            problems.append(f"{name}: no hash in page/package-lock.json")
    return problems


def _hashed(lock: str, name: str) -> bool:
    entry = rf"^{re.escape(name)}==[^\n]*\\\n\s+--hash=sha256:"
    return re.search(entry, lock, re.MULTILINE) is not None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    raise SystemExit(main())

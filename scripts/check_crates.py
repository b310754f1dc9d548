"""Checks the edges between crates, and that the pure ones stay pure (ARCHITECTURE.md)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Crate -> every dependency that it may have in the product; tests may use more.
ALLOWED = {
    "meltemi-codec": set(),
    "meltemi-routing": {"regex", "xxhash-rust"},
    "meltemi-balancer": {"xxhash-rust"},
    "meltemi-limiter": set(),
    "meltemi-resources": {
        "meltemi-balancer",
        "meltemi-limiter",
        "meltemi-routing",
        "prost",
        "prost-types",
        "prost-build",
    },
    "meltemi-colouring": {"meltemi-routing"},
    "meltemi-proxyless": {"meltemi-balancer", "meltemi-resources", "meltemi-routing"},
    "meltemi-proxy": {
        "arc-swap",
        "meltemi-balancer",
        "meltemi-codec",
        "meltemi-limiter",
        "meltemi-resources",
        "meltemi-routing",
        "nix",
        "rustix",
        "rustls",
    },
    "meltemi-python": {
        "meltemi-balancer",
        "meltemi-codec",
        "meltemi-colouring",
        "meltemi-proxy",
        "meltemi-proxyless",
        "meltemi-resources",
        "meltemi-routing",
        "pyo3",
    },
}
PURE = ("codec", "routing", "balancer", "limiter", "resources", "proxyless", "colouring")


def main() -> int:
    problems = [*edges(), *purity()]
    for problem in problems:
        print(problem, file=sys.stderr)
    return bool(problems)


def edges() -> list[str]:
    command = ["cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    problems = []
    for package in json.loads(output)["packages"]:
        if package["name"] not in ALLOWED:
            continue
        used = {d["name"] for d in package["dependencies"] if d["kind"] != "dev"}
        for extra in sorted(used - ALLOWED[package["name"]]):
            problems.append(f"{package['name']} depends on {extra}: not in scripts/check_crates.py")
    return problems


def purity() -> list[str]:
    """Each pure crate bans the clock by its clippy.toml; clippy enforces it."""
    problems = []
    for crate in PURE:
        bans = ROOT / "crates" / crate / "clippy.toml"
        if not bans.is_file() or "std::time::Instant::now" not in bans.read_text():
            problems.append(f"{bans.relative_to(ROOT)}: has to ban std::time::Instant::now")
    return problems


if __name__ == "__main__":
    raise SystemExit(main())

"""Builds the page of Bookinfo: `page/` → `python/meltemi/page/dist/`, which is committed.

What is installed needs no Node; so the built files belong to the project, and their checksum says
from which sources they were built:

    python scripts/page.py            # needs Node 20 and npm; runs the page's own tests too
    python scripts/page.py --check    # needs neither: fails when sources or built files changed
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "page"
BUILT = ROOT / "python/meltemi/page/dist"
CHECKSUM = BUILT.with_suffix(".sha256")
NO_SOURCES = {"node_modules", "screenshots", "tests"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="only compare with the checksum")
    if parser.parse_args().check:
        return check()
    if shutil.which("npm") is None:
        print("npm is not there: install Node 20 or newer (Debian: nodejs npm)", file=sys.stderr)
        return 1
    install = [] if installed() else [["ci", "--ignore-scripts"]]
    for arguments in (*install, ["test"], ["run", "build"]):
        if subprocess.run(["npm", *arguments], cwd=SOURCES).returncode:
            return 1  # npm said why
    CHECKSUM.write_text("".join(f"{value}  {name}\n" for name, value in sums().items()))
    size = sum(path.stat().st_size for path in files(BUILT))
    print(f"{BUILT.relative_to(ROOT)}: {size} bytes")
    return 0


def installed() -> bool:
    """Whether npm installed what the lock says since the lock was last changed."""
    lock, done = SOURCES / "package-lock.json", SOURCES / "node_modules/.package-lock.json"
    return done.exists() and done.stat().st_mtime >= lock.stat().st_mtime


def check() -> int:
    """0 when sources and built files are those of the last build."""
    lines = map(str.split, CHECKSUM.read_text().splitlines())
    noted = {name: value for value, name in lines}
    changed = [name for name, value in sums().items() if noted.get(name) != value]
    for name in changed:
        print(f"{name} is not what {CHECKSUM.name} says: run `make page`", file=sys.stderr)
    return bool(changed)


def sums() -> dict[str, str]:
    """SHA-256 over the names and contents of each of the two folders."""
    return {str(folder.relative_to(ROOT)): checksum(folder) for folder in (SOURCES, BUILT)}


def checksum(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in files(folder):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.relative_to(folder).parts[0] not in NO_SOURCES:
            yield path


if __name__ == "__main__":
    raise SystemExit(main())

"""Starts a program of this example: the one in Java where it can be built, else the one in Python.

    python run.py provider|consumer    what mesh.yaml runs
    python run.py build                builds what is in java/, and says which pair will run and why

Apache Dubbo is built once, into java/target, by Maven and a JDK; that takes the network, a minute,
and at most BUILD_S. Why it could not be is kept for RETRY_S, so that programs do not try in turn.
The variable DUBBO_SAMPLE, `python` or `java`, asks for one of the two."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

HERE = Path(__file__).resolve().parent
JAVA = HERE / "java"
TARGET = JAVA / "target"
BUILT = TARGET / "built"  # holds the digest of the sources that it was built from
FAILED = TARGET / "failed"  # holds the reason
PROGRAMS = {"provider": "Provider", "consumer": "Consumer"}
LEAST_JAVA = 17
BUILD_S = 300.0
RETRY_S = 600.0
SHOWN = ("[INFO] --- ", "[INFO] BUILD", "[ERROR]")  # how the lines of Maven begin
OPENED = ("lang", "math", "util")  # packages whose objects hessian2 writes field by field


class NotHereError(Exception):
    """Why the pair in Java cannot run here."""


def main(arguments: list[str]) -> int:
    if arguments == ["build"]:
        return build_and_say()
    if len(arguments) != 1 or arguments[0] not in PROGRAMS:
        print(__doc__, file=sys.stderr)
        return 2
    program = arguments[0]
    try:
        built()
    except NotHereError as why:
        if os.environ.get("DUBBO_SAMPLE") == "java":
            print(f"Apache Dubbo (Java) cannot run: {why}", file=sys.stderr)
            return 1
        print(f"Apache Dubbo (Java) is not run: {why}", flush=True)
        os.execv(sys.executable, [sys.executable, str(HERE / "python" / f"{program}.py")])
    opened = [f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in OPENED]
    path = f"{TARGET / 'classes'}:{TARGET / 'lib' / '*'}"
    main_class = f"org.apache.dubbo.samples.basic.{PROGRAMS[program]}"
    os.execvp("java", ["java", "-Xmx256m", *opened, "-cp", path, main_class])


def build_and_say() -> int:
    try:
        built()
    except NotHereError as why:
        print(f"the Python pair runs; Apache Dubbo (Java) does not: {why}")
        return 1 if os.environ.get("DUBBO_SAMPLE") == "java" else 0
    print(f"Apache Dubbo (Java) runs, from {TARGET}")
    return 0


def built() -> None:
    """Builds what is in java/ where that has not been done. Raises NotHereError."""
    if os.environ.get("DUBBO_SAMPLE") == "python":
        raise NotHereError("DUBBO_SAMPLE=python asks for the Python pair")
    if java_version("java") < LEAST_JAVA:
        raise NotHereError(f"there is no java of version {LEAST_JAVA} or newer on the path")
    digest = sources()
    try:
        TARGET.mkdir(exist_ok=True)
        with (TARGET / "lock").open("w") as lock:
            locked(lock)
            if text(BUILT) != digest:
                build(digest)
    except OSError as error:
        raise NotHereError(f"{TARGET} cannot be written: {error}") from error


def locked(lock: TextIO) -> None:
    """The programs of a mesh start together: one builds, the others wait for it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another program of this example is building Apache Dubbo's pair", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)


def build(digest: str) -> None:
    if FAILED.exists() and time.time() - FAILED.stat().st_mtime < RETRY_S:
        raise NotHereError(f"{text(FAILED)} (tried again after {RETRY_S / 60:.0f} minutes)")
    why = why_not_built()
    if why:
        FAILED.write_text(why)
        raise NotHereError(why)
    FAILED.unlink(missing_ok=True)
    BUILT.write_text(digest)


def why_not_built() -> str:
    """Runs Maven; its lines are shown as they come. Empty where all went well."""
    if java_version("javac") < LEAST_JAVA:
        return f"there is no javac of version {LEAST_JAVA} or newer on the path (a JDK)"
    maven = shutil.which("mvn")
    if maven is None:
        return "there is no mvn on the path (Maven)"
    print(f"building Apache Dubbo's pair with Maven, once ({BUILD_S:.0f} s at most)", flush=True)
    command = [maven, "-B", "-Daether.connector.connectTimeout=10000", "process-classes"]
    error, downloaded = "", 0
    with subprocess.Popen(
        ["timeout", "--kill-after=5", str(BUILD_S), *command],
        cwd=JAVA,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as building:
        assert building.stdout is not None
        for line in building.stdout:
            shown = re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip()
            if shown.startswith(SHOWN):
                print(f"  {shown}", flush=True)
            if shown.startswith("[INFO] Downloaded "):
                downloaded += 1
                if downloaded % 50 == 0:
                    print(f"  {downloaded} files downloaded", flush=True)
            if shown.startswith("[ERROR]") and not error:
                error = shown.removeprefix("[ERROR]").strip()
    if building.returncode == 124:
        return f"Maven was not ready after {BUILD_S:.0f} s"
    return f"Maven failed: {error[:300]}" if building.returncode else ""


def java_version(program: str) -> int:
    """The feature version of `java` or `javac`, 0 where there is none."""
    try:
        done = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r'(?:version "|javac )(\d+)', done.stdout + done.stderr)
    return int(found[1]) if found else 0


def sources() -> str:
    """The digest of what the build depends on."""
    digest = hashlib.sha256()
    for path in [JAVA / "pom.xml", *sorted((JAVA / "src").rglob("*"))]:
        if path.is_file():
            digest.update(str(path.relative_to(JAVA)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

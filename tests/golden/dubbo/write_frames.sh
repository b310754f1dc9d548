#!/usr/bin/env bash
# Writes frames.jsonl again: Apache Dubbo (Maven, a JDK of 17 or later) and dubbo-ssl-python (PyPI, in a virtual
# environment of its own). Needs both registries; nothing else needs this script.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mvn -q -B dependency:build-classpath -Dmdep.outputFile="$work/classpath"
javac -encoding UTF-8 -cp "$(cat "$work/classpath")" -d "$work/classes" src/Frames.java
java --add-opens java.base/java.math=ALL-UNNAMED --add-opens java.base/java.util=ALL-UNNAMED \
    --add-opens java.base/java.lang=ALL-UNNAMED -cp "$work/classes:resources:$(cat "$work/classpath")" Frames "$work/java.jsonl"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install dubbo-ssl-python==0.9.6
"$work/venv/bin/python" write_python_frames.py > "$work/python.jsonl"
cat "$work/java.jsonl" "$work/python.jsonl" > frames.jsonl

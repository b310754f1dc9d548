#!/usr/bin/env bash
# Writes frames.jsonl and values.txt again: Apache Dubbo (Maven, a JDK of 17 or later) and dubbo-ssl-python (PyPI, in
# a virtual environment of its own). Needs both registries; nothing else needs this script.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
opened="--add-opens java.base/java.math=ALL-UNNAMED --add-opens java.base/java.util=ALL-UNNAMED
    --add-opens java.base/java.lang=ALL-UNNAMED --add-opens java.base/java.time=ALL-UNNAMED"

mvn -q -B dependency:build-classpath -Dmdep.outputFile="$work/classpath"
javac -encoding UTF-8 -cp "$(cat "$work/classpath")" -d "$work/classes" src/Frames.java
java $opened -cp "$work/classes:resources:$(cat "$work/classpath")" Frames "$work/java.jsonl"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install dubbo-ssl-python==0.9.6
"$work/venv/bin/python" write_python_frames.py > "$work/python.jsonl"
cat "$work/java.jsonl" "$work/python.jsonl" > frames.jsonl

values=../../interop/dubbo
"$values/build.sh" "$work/values"
java $opened -cp "$work/values/classes:$(cat "$work/values/classpath")" interop.Values 0 1000 > "$work/values.txt"
awk '$2 != "-" && length < 2400' "$work/values.txt" | head -300 > values.txt

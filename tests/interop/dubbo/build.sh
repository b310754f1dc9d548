#!/usr/bin/env bash
# Builds the Apache Dubbo consumer and provider of these tests into DIR (classes, and the class path of what they
# need), unless what is there was built from the same sources. Needs a JDK of 17 or later, Maven and its registry.
set -euo pipefail
to=$(realpath -m "$1")
cd "$(dirname "$0")"
sources=$(cat pom.xml $(find src -type f | LC_ALL=C sort) | sha256sum)
[[ -f $to/built && $(cat "$to/built") == "$sources" ]] && exit 0
for tool in javac mvn; do
    command -v "$tool" >/dev/null && continue
    echo "there is no $tool here: Apache Dubbo's side needs a JDK of 17 or later and Maven" >&2
    echo "    apt-get install openjdk-17-jdk-headless maven" >&2
    exit 1
done
echo "building the Apache Dubbo peers with Maven (a minute the first time)"
rm -rf "$to"
timeout 400 mvn -B -ntp --strict-checksums -Dbuild.to="$to" process-classes
echo "$sources" > "$to/built"

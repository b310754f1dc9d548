#!/usr/bin/env bash
# mypy over the product, then over each folder of tests by itself: these are no packages, and
# import the modules beside them by their plain names, as pytest does.
set -euo pipefail
cd "$(dirname "$0")/.."
mypy=".venv/bin/mypy --no-error-summary"
$mypy python scripts bench
for folder in $(find tests -name '*.py' -printf '%h\n' | sort -u); do
    MYPYPATH="python:bench:tests:tests/e2e:tests/e2e/apps:tests/interop:tests/lanes:tests/proxyless:examples/dubbo/python:$folder" \
        $mypy --explicit-package-bases "$folder"/*.py
done
for example in examples/*/*.py examples/*/python/*.py; do
    $mypy "$example"
done

#!/usr/bin/env bash
# Runs every fuzz target for so many seconds each (default 60): `make fuzz`.
#
#     scripts/fuzz.sh [SECONDS] [TARGET...]
#
# All that there is to it stands in fuzz/ (fuzz/README.md).
set -euo pipefail
exec "$(dirname "$0")/../fuzz/run.sh" "$@"

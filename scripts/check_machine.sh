#!/usr/bin/env bash
# Says what is missing before anything is installed.
set -euo pipefail
python=${1:-python3}
fail() { echo "error: $1" >&2; exit 1; }
command -v "$python" >/dev/null || fail "$python is not there: install Python 3.11 or newer (with venv)"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$("$python" --version) is too old: Meltemi needs 3.11 or newer"
"$python" -c 'import ensurepip' 2>/dev/null || fail "$python has no ensurepip: install its venv package (Debian: python3-venv)"
command -v cargo >/dev/null || fail "cargo is not there: install Rust 1.88 or newer"
command -v cc >/dev/null || fail "cc is not there: install a C compiler (Debian: gcc)"

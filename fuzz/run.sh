#!/usr/bin/env bash
# Runs every fuzz target for so many seconds (default 60), from its corpus, which it keeps.
#
#     fuzz/run.sh [SECONDS] [TARGET...]
#
# Needs a nightly toolchain (`rustup toolchain install nightly`) and a C++ compiler. cargo-fuzz is put
# into .cache/cargo where it is not installed (some minutes, once). Ends with 1 where a target failed;
# the input that made it fail is in fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
shift || true
export PATH="$PWD/.cache/cargo/bin:$PATH"

if ! rustup toolchain list 2>/dev/null | grep -q '^nightly'; then
    echo "fuzzing needs a nightly Rust toolchain, and there is none here; this installs one:" >&2
    echo "    rustup toolchain install nightly" >&2
    exit 1
fi
if ! cargo-fuzz --version >/dev/null 2>&1; then
    echo "installing cargo-fuzz into .cache/cargo (some minutes, once)"
    cargo install cargo-fuzz --locked --quiet --root .cache/cargo
fi

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    mapfile -t targets < <(cargo +nightly fuzz list)
fi
failed=0
for target in "${targets[@]}"; do
    echo "== $target for $seconds s"
    cargo +nightly fuzz run "$target" -- \
        -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1 \
        || failed=1
done
exit "$failed"

#!/usr/bin/env bash
# Runs the engine's tests, load in both modes included, under sanitizers: `make sanitize`.
#
#     scripts/sanitize.sh [address|thread...]
#
# Needs a nightly toolchain with the sources of the standard library (which the thread sanitizer has to
# see too): rustup toolchain install nightly --component rust-src
set -euo pipefail
cd "$(dirname "$0")/.."

sanitizers=("$@")
[ ${#sanitizers[@]} -gt 0 ] || sanitizers=(address thread)
host=$(rustc -vV | sed -n 's/^host: //p')
if ! [ -d "$(rustc +nightly --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library" ]; then
    echo "the sanitizers need a nightly Rust toolchain and its sources; this installs them:" >&2
    echo "    rustup toolchain install nightly --component rust-src" >&2
    exit 1
fi
# What these measure is how fast the others are served, and how much memory a connection takes; the
# sanitizers make all of it many times slower, and larger.
measured=(
    --skip slow::others_notice_nothing
    --skip tls::large_messages_and_many
    --skip an_idle_connection_takes_less_than_a_kilobyte
)
for sanitizer in "${sanitizers[@]}"; do
    echo "== $sanitizer"
    RUSTFLAGS="-Zsanitizer=$sanitizer" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/sanitize-$sanitizer" \
        cargo +nightly test --locked --quiet -Zbuild-std --target "$host" -p meltemi-proxy --lib --tests --no-fail-fast \
        -- --test-threads 2 "${measured[@]}"
done

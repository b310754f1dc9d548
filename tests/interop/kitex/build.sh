#!/usr/bin/env bash
# Builds the Kitex peers of these tests into DIR (`kitex-peer`), unless what is there was built from the same
# sources. Needs Go of 1.24 or later and the Go module proxy.
set -euo pipefail
to=$(realpath -m "$1")
cd "$(dirname "$0")"
PATH=$PATH:/usr/local/go/bin
sources=$(cat build.sh go.mod go.sum peer.thrift *.go | sha256sum)
[[ -f $to/built && $(cat "$to/built") == "$sources" ]] && exit 0
if ! command -v go >/dev/null; then
    echo "there is no go here: the Kitex peers need Go of 1.24 or later" >&2
    echo "    apt-get install golang-go" >&2
    exit 1
fi
echo "building the Kitex peers with Go (some minutes the first time)"
rm -rf "$to"
mkdir -p "$to/source" "$to/tools"
cp go.mod go.sum peer.thrift *.go "$to/source"
cd "$to/source"
# The checksums are those of go.sum: nobody else is asked, and what is not in it is refused.
export GOFLAGS=-mod=readonly GOSUMDB=off
timeout 500 go build -o "$to/tools/" github.com/cloudwego/kitex/tool/cmd/kitex github.com/cloudwego/thriftgo
PATH=$to/tools:$PATH kitex -module meltemi/interop/kitex peer.thrift
# Kitex reaches into the standard library, which Go forbids since 1.23 unless it is told otherwise.
timeout 500 go build -ldflags=-checklinkname=0 -o "$to/kitex-peer" .
echo "$sources" > "$to/built"

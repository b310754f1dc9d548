#!/usr/bin/env bash
# Builds istiod, of the version of Istio that go.mod pins, into DIR (`istiod`), unless what is there was built
# from the same sources. Needs Go of 1.26 or later and the Go module proxy.
set -euo pipefail
to=$(realpath -m "$1")
cd "$(dirname "$0")"
PATH=$PATH:/usr/local/go/bin
sources=$(cat build.sh go.mod go.sum main.go | sha256sum)
[[ -f $to/built && $(cat "$to/built") == "$sources" ]] && exit 0
if ! command -v go >/dev/null; then
    echo "there is no go here: istiod needs Go of 1.26 or later" >&2
    echo "    apt-get install golang-go" >&2
    exit 1
fi
echo "building istiod $(sed -n 's/^require istio.io\/istio //p' go.mod) with Go (some minutes the first time)"
mkdir -p "$to"
# The checksums are those of go.sum: nobody else is asked, and what is not in it is refused.
export GOFLAGS=-mod=readonly GOSUMDB=off
made=$(mktemp "$to/istiod.XXXXXX")
trap 'rm -f "$made"' EXIT
timeout 1000 go build -trimpath -buildvcs=false -ldflags="-s -w" -o "$made" .
chmod 755 "$made"
mv "$made" "$to/istiod"
echo "$sources" > "$to/built.new"
mv "$to/built.new" "$to/built"

#!/usr/bin/env bash
# Installs Debian's Chromium, in which the page is tested, where it is missing and this user may.
# Where that is not possible these tests are skipped with the reason; where CI is set, they fail.
set -euo pipefail
[ -x /usr/bin/chromium ] && exit 0
command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || exit 0
echo "installing Chromium, in which the page is tested"
export DEBIAN_FRONTEND=noninteractive
{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >/dev/null ||
    echo "Chromium could not be installed: the page is not tested" >&2

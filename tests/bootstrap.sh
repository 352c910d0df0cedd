#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
#
# Make .venv with what a controller needs (run) or what the tests need too (test). Does nothing when it is there.
# usage: tests/bootstrap.sh run|test
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
kind=$1
venv=$top/.venv
python=${PYTHON:-/usr/bin/python3}
stamp=$venv/.$kind.$(cat "$top"/tests/requirements/*.txt | sha256sum | cut -c1-12)

[ -e "$stamp" ] && exit 0

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || fail "root is needed to install packages and to run the lab; run this as root"

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "installing python3-venv (Debian)"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        python3 python3-venv; } >"$top/.bootstrap.log" 2>&1 ||
        fail "Debian's packages cannot be installed (see $top/.bootstrap.log): is a package registry reachable?"
fi

echo "installing Python packages for '$kind' into .venv (a minute or less)"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --retries 3 --timeout 60 \
    --requirement "$top/tests/requirements/$kind.txt" ||
    fail "Python packages cannot be installed: is a package registry reachable?"

# the checkout is the installed collection, found by every program of this environment
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
mkdir -p "$site/ansible_collections/ensemble"
ln -sfn "$top" "$site/ansible_collections/ensemble/stacks"
rm -f "$venv/.$kind".*
: >"$stamp"

#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
#
# ansible-test sanity wants the collection below ansible_collections/ and a pip that it fetches from a host of its own.
# Give it a copy of the tree and the pip that Python itself carries.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
tree=$top/.build/sanity/ansible_collections/ensemble/stacks
home=$top/.build/sanity/home
version=$("$top/.venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

rm -rf "$tree"
mkdir -p "$tree" "$home/.ansible/test/cache"
cd "$top"
git ls-files --cached --others --exclude-standard -z | xargs -0 -I{} sh -c '[ ! -e "$1" ] || printf "%s\0" "$1"' _ {} |
    tar --create --null --files-from - | tar --extract --directory "$tree"
cat >"$home/.ansible/test/cache/get_pip_24_2.py" <<'PY'
import ensurepip

ensurepip.bootstrap(default_pip=True)
PY
cd "$tree"
git init --quiet .
git add --all
unset ANSIBLE_CONFIG
HOME=$home "$top/.venv/bin/ansible-test" sanity --venv --python "$version" --color no "$@"

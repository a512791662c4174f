#!/usr/bin/env bash
# Make the virtual environment $1 with routerd, the plugins named after it, and the tools of the
# developers, all in the versions of constraints.txt.
set -euo pipefail

venv=$1
shift
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "routerd needs Python 3.11 or later, this is $(python3 --version)" >&2
  exit 1
fi
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
echo "Installing routerd and ${#} plugins into $venv (about a minute the first time) ..."
editable=(-e '.[testing]')
for plugin in "$@"; do editable+=(-e "plugins/$plugin"); done
log=$(mktemp)
install() {
  if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
      -c packaging/constraints.txt "$@" >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
  fi
}
# The build backend is installed first, so that eleven small builds need no environment of their own.
# setuptools, because two dependencies (ovs, antlr4) come as sources only.
install hatchling editables setuptools
install --no-build-isolation "${editable[@]}" -r packaging/developer-requirements.txt
rm -f "$log"

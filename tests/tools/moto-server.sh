#!/usr/bin/env bash
# Starts moto on loopback and prints how to reach it as shell assignments (they are in DIR/env as well); or stops it.
#
#     moto-server.sh start DIR [TOOLS]
#     moto-server.sh enforce DIR              from now on signatures and policies count
#     moto-server.sh stop DIR
#
# TOOLS: where install-moto.sh put it [default: $PGV_TEST_TOOLS/moto, or the repository's target/test-tools/moto].
# The server ends by itself when the process that started it does: kill -9 of a test leaves none behind.
set -euo pipefail
shopt -s inherit_errexit

usage() {
  sed --quiet '/^#  /s/^# *//p' "$0" >&2
  exit 2
}

start() { # DIR
  if [ ! -e "$tools/packages" ]; then
    echo "no moto in $tools: run make test-tools" >&2
    exit 1
  fi
  mkdir --parents "$1"
  rm --force "$1/env"
  "$tools/bin/python" "$here/moto-server.py" "$1" "$PPID" >"$1/log" 2>&1 </dev/null &
  echo $! >"$1/pid"
  for _ in {1..600}; do
    if [ -e "$1/env" ]; then
      cat "$1/env"
      return
    fi
    kill -0 "$(cat "$1/pid")" 2>/dev/null || break
    sleep 0.1
  done
  echo "moto did not start:" >&2
  tail --lines=20 "$1/log" >&2
  exit 1
}

enforce() { # DIR
  "$tools/bin/python" -c 'import sys, urllib.request as web
web.urlopen(web.Request(sys.argv[1] + "/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"}))' \
    "$(sed --quiet 's/^PGV_S3_ENDPOINT_URL=//p' "$1/env")"
}

here=$(dirname "$(readlink --canonicalize "$0")")
tools=${3:-${PGV_TEST_TOOLS:-$here/../../target/test-tools}/moto}
[ $# -ge 2 ] || usage
case $1 in
  start) start "$2" ;;
  enforce) enforce "$2" ;;
  stop) kill "$(cat "$2/pid")" ;;
  *) usage ;;
esac

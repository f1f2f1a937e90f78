#!/usr/bin/env bash
# Starts s3rver on loopback and prints how to reach it as shell assignments; or stops it.
#
#     s3rver-server.sh start DIR [TOOLS]
#     s3rver-server.sh stop DIR
#
# TOOLS: where install-s3rver.sh put it [default: $PGV_TEST_TOOLS/s3rver, or the repository's target/test-tools/s3rver].
# The server ends by itself when the process that started it does: kill -9 of a test leaves none behind.
set -euo pipefail
shopt -s inherit_errexit

usage() {
  sed --quiet '/^#  /s/^# *//p' "$0" >&2
  exit 2
}

start() { # DIR
  local port='' parent=$PPID
  if [ ! -e "$tools/package" ]; then
    echo "no s3rver in $tools: run make test-tools" >&2
    exit 1
  fi
  mkdir --parents "$1/data"
  # It is read below, perhaps before the server begins.
  : >"$1/log"
  node "$tools/node_modules/s3rver/bin/s3rver.js" --directory "$1/data" --address 127.0.0.1 --port 0 --configure-bucket pgv-test \
    >"$1/log" 2>&1 </dev/null &
  echo $! >"$1/pid"
  (while [ -d "/proc/$parent" ]; do sleep 1; done; kill "$(cat "$1/pid")") >/dev/null 2>&1 </dev/null &
  for _ in {1..300}; do
    port=$(sed --quiet 's/.*listening on 127\.0\.0\.1:\([0-9]*\).*/\1/p' "$1/log")
    [ -z "$port" ] || break
    kill -0 "$(cat "$1/pid")" 2>/dev/null || break
    sleep 0.1
  done
  if [ -z "$port" ]; then
    echo "s3rver did not start:" >&2
    tail --lines=20 "$1/log" >&2
    exit 1
  fi
  printf '%s\n' "PGV_S3_ENDPOINT_URL=http://127.0.0.1:$port" PGV_S3_REGION=us-east-1 AWS_ACCESS_KEY_ID=S3RVER \
    AWS_SECRET_ACCESS_KEY=S3RVER PGV_TEST_BUCKET=pgv-test
}

here=$(dirname "$(readlink --canonicalize "$0")")
tools=${3:-${PGV_TEST_TOOLS:-$here/../../target/test-tools}/s3rver}
[ $# -ge 2 ] || usage
case $1 in
  start) start "$2" ;;
  stop) kill "$(cat "$2/pid")" ;;
  *) usage ;;
esac

#!/usr/bin/env bash
# The watch over a recovery: without procps, and without a log.
set -euo pipefail
# shellcheck source=tests/library/lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/pgv-way.sh
source "$library/pgv-way.sh"
# shellcheck source=scripts/pgv-server.sh
source "$library/pgv-server.sh"

tmp=$(mktemp --directory)
# What stands for a server ends with its only child.
trap 'kill "${child:-}" 2>/dev/null || true; rm --recursive "$tmp"' EXIT
control() { echo 0/5000028; }

# A server whose startup process replays a segment. It is found where nothing but /proc tells of processes.
watch() {
  local postmaster moved_at=0 replays='' last_seen=''
  bash -c '(exec -a "postgres: startup recovering 00000001000000000000000A" sleep 60) & echo $! >"$1"; wait' bash "$tmp/child" &
  postmaster=("$!")
  for _ in $(seq 100); do
    if [ -s "$tmp/child" ] && grep --quiet --text recovering "/proc/$(<"$tmp/child")/cmdline"; then break; fi
    sleep 0.05
  done
  child=$(<"$tmp/child")
  mkdir "$tmp/bin"
  ln --symbolic "$(command -v tr)" "$(command -v cut)" "$tmp/bin/"
  # A plain variable then, which a slow machine does not move.
  unset SECONDS
  SECONDS=7
  PATH=$tmp/bin look_at_recovery
  echo "$replays $moved_at"
  # Nothing moved since.
  SECONDS=9
  PATH=$tmp/bin look_at_recovery
  echo "$replays $moved_at"
  # The checkpoint did.
  control() { echo 0/6000028; }
  PATH=$tmp/bin look_at_recovery
  echo "$replays $moved_at"
  kill "$child"
}

watch >"$tmp/watched"
expect 'the watch' '00000001000000000000000A 7
00000001000000000000000A 7
00000001000000000000000A 9' "$(cat "$tmp/watched")"

# shellcheck disable=SC2034  # of the library
directory=$tmp/none directory_log=$tmp/none.log log_begins=0 owner=$(id --user --name)
expect 'a log that is not there' '' "$(tell_log 2>&1)"
printf 'LOG:  old\n' >"$tmp/log1"
log_begins=$(stat --format=%s "$tmp/log1") directory_log=$tmp/log1
printf 'LOG:  begins\nFATAL:  it ends\nLOG:  down\n' >>"$tmp/log1"
expect 'what is fatal' 'FATAL:  it ends' "$(tell_log 2>&1)"
expect_status 0 tell_log

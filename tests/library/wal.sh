#!/usr/bin/env bash
# The time of a call for WAL, by a driven clock: SECONDS counts whole seconds, and begins within one.
set -euo pipefail
# shellcheck source=tests/library/lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/pgv-wal.sh
source "$root/scripts/pgv-wal.sh"

# SECONDS at the beginning, how long the call may take, SECONDS now, and what is left then, or nothing.
left() {
  # shellcheck disable=SC2034  # of pgv-wal.sh
  local wal_timeout_seconds=$2 within=()
  SECONDS=$1
  begin_time "$SECONDS"
  SECONDS=$3
  bound_time && echo "${within[*]}"
}

expect 'at once' '--within 1s' "$(left 5 1 5)"
expect 'a moment later, in the next second' '--within 1s' "$(left 5 1 6)"
expect_status 75 left 5 1 7
expect 'never more than the limit' '--within 60s' "$(left 0 60 0)"
expect 'what was used is gone' '--within 11s' "$(left 0 60 50)"
expect_status 75 left 0 60 61

# The script has used some of it before.
since_start() {
  # shellcheck disable=SC2034
  local wal_timeout_seconds=10 within=()
  SECONDS=$1
  begin_time 0
  bound_time && echo "${within[*]}"
}
expect 'of the script itself' '--within 4s' "$(since_start 7)"
expect_status 75 since_start 11

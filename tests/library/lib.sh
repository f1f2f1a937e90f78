# Sourced by the tests of the bash library: each is a script of its own, which Rust's tests/library.rs runs.
# shellcheck shell=bash

root=$(dirname "$(dirname "$(dirname "$(readlink --canonicalize "${BASH_SOURCE[0]}")")")")
# The library finds the binaries beside the scripts, in PATH or here.
export here=${PGV_BIN:-$root/target/release}
# shellcheck source=scripts/pgv-common.sh
source "$root/scripts/pgv-common.sh"

expect() { # WHAT EXPECTED ACTUAL
  if [ "$2" != "$3" ]; then
    echo "FAILED: $1: expected ${2@Q}, got ${3@Q}" >&2
    exit 1
  fi
}

# Runs COMMAND in a subshell; sets `said` to what it says, and expects its status.
expect_status() { # STATUS COMMAND…
  local status=0
  said=$("${@:2}" 2>&1) || status=$?
  expect "status of ${*:2} ($said)" "$1" "$status"
}

#!/usr/bin/env bash
# A configuration becomes a script's environment; temporary files; the directory of a script.
set -euo pipefail
# shellcheck source=tests/library/lib.sh
source "$(dirname "$0")/lib.sh"

scratch=$(mktemp --directory)
trap 'rm --recursive --force "$scratch"' EXIT
unset "${!PGV_@}"
export PGV_CONFIG_DIR=$scratch
cat >"$scratch/shop.conf" <<'CONF'
# comment
PGV_REPO=file:///srv/backup/
PGV_KEY_NAME="a name; $(touch /nowhere/x)"
PGV_WAL_TIMEOUT=2min
PGV_WAL_SPOOL=
CONF
expect_status 2 load_config shop
[[ $said == *'line 3: '*'PGV_KEY_NAME contains $,'* ]] || expect 'a dollar' refused "$said"
cat >"$scratch/shop.conf" <<CONF
PGV_REPO=file:///srv/backup/
PGV_KEY_NAME="a name; 'x' #"
PGV_STATE_DIR=$scratch/state
PGV_WAL_TIMEOUT=2min
PGV_WAL_SPOOL=
PGV_LEVEL=3
CONF

# In a subshell each: they change the environment.
(
  export PGV_LEVEL=9
  load_config shop
  expect repository file:///srv/backup "$PGV_REPO"
  expect cluster shop "$PGV_CLUSTER"
  expect 'the environment wins' 9 "$PGV_LEVEL"
  expect 'text' "a name; 'x' #" "$PGV_KEY_NAME"
  expect file "$scratch/shop.conf" "$config_file"
  expect seconds 120 "$wal_timeout_seconds"
  expect bytes 1073741824 "$wal_spool_bytes"
  expect exported 2min "$(printenv PGV_WAL_TIMEOUT)"
)
expect_status 2 load_config nowhere
[[ $said == *'configured clusters: shop'* ]] || expect 'a list' 'configured clusters: shop' "$said"
export PGV_WAL_JOBS=0
expect_status 2 load_config shop
[[ $said == *'PGV_WAL_JOBS in the environment'* ]] || expect 'a checked environment' refused "$said"
unset PGV_WAL_JOBS

expect 'a duration' 129600 "$(seconds 36h)"
expect_status 2 seconds 36
expect_status 2 seconds --help

# Paths are those of the caller's directory, which is left.
(
  cd "$scratch"
  one=a/b two=/c three=''
  enter_root one two three
  expect 'absolute' "$scratch/a/b /c " "$one $two $three"
  expect 'the root' / "$PWD"
)

# shellcheck disable=SC2030  # in a subshell, on purpose
# What a killed run left goes; what a run holds that lives stays; no other place is asked for.
(
  load_config shop
  export TMPDIR=/nowhere
  mkdir --parents "$PGV_STATE_DIR/tmp/dead.1"
  : >"$PGV_STATE_DIR/tmp/dead.1/file"
  make_run_directory
  expect 'in the state directory' "$PGV_STATE_DIR/tmp" "${tmp%/*}"
  expect 'TMPDIR' "$tmp" "$(dirname "$(mktemp)")"
  expect 'mode' 700 "$(stat --format=%a "$PGV_STATE_DIR/tmp")"
  [ ! -e "$PGV_STATE_DIR/tmp/dead.1" ] || expect 'what a killed run left' gone there
  first=$tmp
  (make_run_directory && drop_tmp)
  [ -d "$first" ] || expect 'what a living run holds' there gone
)

# shellcheck disable=SC2030,SC2031  # in a subshell, on purpose
# Without a state directory they lie in TMPDIR, where only this tool's and this user's are removed.
(
  unset PGV_STATE_DIR
  mkdir "$scratch/spare"
  export TMPDIR=$scratch/spare
  mkdir "$TMPDIR/$pgv_tool."{killed,living,fresh1} "$TMPDIR/others"
  touch --date='1 hour ago' "$TMPDIR/$pgv_tool."{killed,living} "$TMPDIR/others"
  exec {living}<"$TMPDIR/$pgv_tool.living"
  flock "$living"
  make_run_directory
  expect 'in TMPDIR' "$scratch/spare" "${tmp%/*}"
  drop_tmp
  expect 'left there' "$pgv_tool.fresh1 $pgv_tool.living others" "$(find "$scratch/spare" -mindepth 1 -printf '%f\n' | sort | paste --serial --delimiters=' ')"
)

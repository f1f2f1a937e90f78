#!/usr/bin/env bash
# pgv-files: what it lists and extracts of a full, of increments of blocks and of files, and of a synthetic full is what a
# restore of that backup has; it reads little of the repository; and what is damaged gives no archive that looks whole.
# shellcheck disable=SC2016  # $1 in bash -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
major=${1:-$debian_major}

backup() { # OPTION…
  as_postgres pgv-backup demo --quiet "$@"
  label=$(as_postgres pgv-info demo --format label | tail --lines=1)
}

# Blocks change, a table grows over its first segment's end, one goes, one comes.
change() {
  sql "update big set v = v + 1 where id % 997 = 0; insert into big select generate_series(1, 20000), 0
    ; drop table if exists gone; create table gone as select 1; create table \"t$RANDOM\" as select 2; checkpoint"
}

extract() { # LABEL PATTERN…: into `extracted`
  rm --recursive --force "$scratch/extracted"
  as_postgres mkdir "$scratch/extracted"
  as_postgres bash -c 'set -o pipefail; pgv-files demo --label "$1" --extract "${@:3}" | tar x -C "$2"' bash "$1" "$scratch/extracted" "${@:2}"
}

# As a restore of the same backup has them, by name and content.
compare() { # LABEL
  local path files=0
  rm --recursive --force "$scratch/restored"
  as_postgres pgv-restore demo "$scratch/restored" --label "$1" --immediate --quiet >/dev/null
  as_postgres pgv-files demo --label "$1" >"$scratch/list"
  while IFS=$'\t' read -r bytes path; do
    # Settings are the restore's.
    [[ $path != *.conf ]] || continue
    [ "$(stat --format=%s "$scratch/restored/$path")" -eq "$bytes" ] || fail "$1: $path has not $bytes bytes"
    files=$((files + 1))
  done <"$scratch/list"
  [ "$files" -gt 900 ] || fail "$1: only $files files are listed"
  extract "$1" base global
  # What recovery needs is no file of the list.
  diff --recursive --brief "$scratch/extracted" "$scratch/restored" | grep --invert-match "^Only in $scratch/restored" >"$scratch/differs" || true # none differs
  [ ! -s "$scratch/differs" ] || fail "$1: $(head --lines=5 "$scratch/differs")"
  [ "$(find "$scratch/extracted" -type f ! -name pg_control | wc --lines)" -eq "$(grep --count --perl-regexp '\t(base|global)/' "$scratch/list")" ] || fail "$1: other files than are listed"
}

# A table of the size of the database: of a small one's backup 4 MiB are read, and the end.
reads_little() {
  local small
  small=$(sql "select pg_relation_filepath('small')")
  as_postgres strace --follow-forks --trace=openat,read,pread64 --quiet=all --decode-fds=path --output="$scratch/trace" \
    pgv-files demo --extract "$small" >"$scratch/small.tar"
  read=$(grep 'data\.pgv>' "$scratch/trace" | awk '$NF > 0 { bytes += $NF } END { print bytes }')
  stored=$(cat "$scratch/repository/demo/$system/backup"/*/data.pgv | wc --bytes)
  [ "$read" -lt $((stored / 4)) ] || fail "$read of $stored bytes were read"
  [ "$(tar tf "$scratch/small.tar" | tail --lines=1)" = "$small" ] || fail "$small is not in the archive"
}

refusals() {
  local object=$scratch/repository/demo/$system/backup/$label status
  expect() { # STATUS TEXT ARGUMENT…
    status=0
    as_postgres pgv-files demo "${@:3}" >"$scratch/out" 2>"$scratch/err" || status=$?
    [ "$status" -eq "$1" ] || fail "pgv-files ${*:3} exits with $status: $(cat "$scratch/err")"
    [ -z "$2" ] || grep --quiet --fixed-strings "$2" "$scratch/err" || fail "pgv-files ${*:3} says: $(cat "$scratch/err")"
  }
  expect 3 'no such file' base/none
  expect 3 'no such file' --extract base/none
  expect 2 'name the files' --extract
  # A pattern is none of its options.
  expect 3 'no such file' --extract -- -q
  expect 3 'no such file' -- --help
  expect 3 'there is no backup 20200101-000000F' --label 20200101-000000F
  as_postgres cp "$object/data.pgv" "$scratch/data"
  flip "$object/data.pgv" $(($(stat --format=%s "$object/data.pgv") / 2))
  expect 5 'damaged' --extract base
  ! tar tf "$scratch/out" >/dev/null 2>&1 || fail "a damaged backup gives a whole archive"
  as_postgres cp "$scratch/data" "$object/data.pgv"
  # The index of another backup.
  as_postgres cp "$object/index.pgv" "$scratch/index"
  as_postgres cp "$scratch/repository/demo/$system/backup/$full/index.pgv" "$object/index.pgv"
  expect 4 'context' --extract base
  rm "$object/index.pgv"
  expect 2 'has no index' --extract base
  expect 0 '' base
  as_postgres cp "$scratch/index" "$object/index.pgv"
  expect 0 '' --extract base
}

main() {
  begin
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  bin=$(server_bin "$major")
  start_primary "$bin" PGV_WAL_TIMEOUT=20s
  sql "create table big (id int, v int); insert into big select i, 0 from generate_series(1, 1500000) i; create index on big (id)
    ; create table small as select 1 a; create table gone as select 1"
  sql checkpoint
  backup --type full
  full=$label
  compare "$full"
  change
  backup --type incr
  compare "$label"
  change
  backup --type incr --files
  compare "$label"
  change
  backup --type incr
  compare "$label"
  reads_little
  refusals
  as_postgres pgv-consolidate demo --quiet
  label=$(as_postgres pgv-info demo --format label | tail --lines=1)
  compare "$label"
  echo "files $major: a full, increments of both kinds and a synthetic full; $read of $stored bytes for a small table"
}

main

#!/usr/bin/env bash
# The scripts as a user runs them, on Debian's PostgreSQL, into a directory or a bucket: backup, listing, every
# refusal of restore, expiry, killed stages, tablespaces, and the lines that must work as typed.
# shellcheck disable=SC2016  # $1 in bash -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
kind=${1:-file} # or s3
root=$(cd "$(dirname "$0")/../.." && pwd)

pgv() {
  as_postgres "$@"
}

expect_status() { # STATUS COMMAND…
  local wanted=$1 status=0
  shift
  pgv "$@" >"$scratch/out" 2>"$scratch/err" || status=$?
  [ "$status" -eq "$wanted" ] || fail "$* exits with $status instead of $wanted: $(cat "$scratch/err")"
}

expect_message() { # TEXT
  grep --quiet --fixed-strings -- "$1" "$scratch/err" || fail "no \"$1\" in: $(cat "$scratch/err")"
}

labels() {
  pgv pgv-info demo --format label
}

configure() {
  local repository=file://$scratch/repository bucket_settings=()
  as_postgres mkdir "$scratch/etc" "$scratch/repository"
  if [ "$kind" = s3 ]; then
    start_bucket
    repository=s3://$PGV_TEST_BUCKET/some/prefix
  fi
  as_postgres tee "$scratch/etc/demo.conf" >/dev/null <<CONF
# the only configuration
PGV_REPO=$repository
PGV_KEY_FILE=$PGV_KEY_FILE
PGV_STATE_DIR=$scratch/state
PGV_KEEP_FULL=2
PGHOST="$scratch"
$(printf '%s\n' "${bucket_settings[@]}")
CONF
  as_postgres chmod 0600 "$scratch/etc/demo.conf"
  unset PGV_KEY_FILE PGHOST
  export PGV_CONFIG_DIR=$scratch/etc PGV_TEST_PG_BIN=$bin
  repo=$repository
}

# Of the processes whose command line matches, those of this test: its scratch is in their environment.
ours() { # PATTERN
  local pid found=1
  for pid in $(pgrep --full "$1"); do
    if grep --quiet --null-data --line-regexp --fixed-strings "PGV_CONFIG_DIR=$scratch/etc" "/proc/$pid/environ" 2>/dev/null; then
      echo "$pid" && found=0
    fi
  done
  return "$found"
}

# Starts one whose stages are there for a while; sets `backup` to its number. Of one before it a stage may still sleep.
begin_slow_backup() { # RATE OPTION…
  local rate=$1
  shift
  wait_until bash -c '! pgrep --full "^pgv-snap .*$1/"' bash "$scratch"
  as_postgres env PGV_RATE="$rate" pgv-backup demo --wait 1min "$@" >"$scratch/slow.log" 2>&1 &
  backup=$!
  wait_until ours '^pgv-snap .*--label'
}

kill_ours() { # PATTERN
  local pid found=1
  for pid in $(ours "$1"); do
    kill -KILL "$pid" 2>/dev/null && found=0
  done
  return "$found"
}

killed_stages() {
  local stage before backup
  before=$(labels)
  for stage in pgv-snap pgv-crypt pgv-s3; do
    begin_slow_backup 4MiB/s --type full
    sleep 1
    kill_ours "^$stage .*--label|^$stage --encrypt -- pgv-snap|^$stage put --json" || fail "no $stage to kill: $(cat "$scratch/slow.log")"
    ! wait "$backup" || fail "a backup whose $stage was killed succeeded"
    [ "$(labels)" = "$before" ] || fail "a backup whose $stage was killed is listed"
  done
  # The script itself, with everything: what it left goes with the next run.
  begin_slow_backup 4MiB/s --type full
  kill_ours 'pgv-backup demo|^pgv-(snap|crypt|s3) ' || fail "nothing to kill"
  wait || true
  [ "$(labels)" = "$before" ] || fail "a killed backup is listed"
  pgv pgv-info demo --format json | grep --quiet '"state":"incomplete"' || fail "the killed backup left nothing to sweep"
  sleep 1
  expect_status 0 pgv-backup demo --type full --wait 1min
  expect_message 'removing what an interrupted run left'
  ! pgv pgv-info demo --format json | grep --quiet '"state":"incomplete"' || fail "leftovers stay"
}

# A script that is ended has no stage that goes on with what it removes.
ended_script() {
  local before backup status=0 pid
  before=$(labels)
  begin_slow_backup 4MiB/s --type full
  sleep 1
  pid=$(ours "^bash $scratch/bin/pgv-backup demo" | head --lines=1)
  kill -TERM "$pid" || fail "nothing to end: $(cat "$scratch/slow.log")"
  wait "$backup" || status=$?
  [ "$status" -eq 143 ] || fail "a backup that was ended exits with $status: $(cat "$scratch/slow.log")"
  ! ours '^pgv-(snap .*--label|crypt --encrypt -- pgv-snap|s3 put --json)' || fail "a stage of a backup that was ended goes on"
  [ "$(labels)" = "$before" ] || fail "a backup that was ended is listed"
  ! pgv pgv-info demo --format json | grep --quiet '"state":"incomplete"' || fail "a backup that was ended leaves something"
}

restore_refusals() {
  local before
  expect_status 3 pgv-restore demo "$scratch/new" --label 20200101-000000F
  expect_status 0 pgv-restore demo "$scratch/new" --plan --tablespaces-under "$scratch/spaces"
  grep --quiet '^backup ' "$scratch/out" || fail "no plan"
  [ ! -e "$scratch/new" ] || fail "--plan wrote something"
  # What no setting can name is refused before anything is written.
  expect_status 2 pgv-restore demo "$scratch/new" --immediate --tablespaces-under "$scratch/spaces" --isolated "$(printf '%s/caf\351' "$scratch")"
  grep --quiet 'the path is not UTF-8' "$scratch/err" || fail "a place that no setting can name: $(cat "$scratch/err")"
  [ ! -e "$scratch/new" ] || fail "something was written before a path was refused"
  as_postgres mkdir --parents "$scratch/full/x"
  before=$(find "$scratch/full")
  expect_status 6 pgv-restore demo "$scratch/full" --tablespaces-under "$scratch/spaces"
  expect_message 'nothing was written'
  expect_message '--replace'
  [ "$(find "$scratch/full")" = "$before" ] || fail "a refusal changed the directory"
  expect_status 6 pgv-restore demo "$source" --replace --tablespaces-under "$scratch/spaces"
  expect_message 'a server may be running in'
  as_postgres sh -c 'umask 077; pgv-crypt --generate-key >"$1"' sh "$scratch/other-key"
  expect_status 4 env "PGV_KEY_FILE=$scratch/other-key" pgv-restore demo "$scratch/new" --tablespaces-under "$scratch/spaces"
  expect_message 'nothing was written or moved'
  [ ! -e "$scratch/new" ] || fail "a wrong key created the directory"
  expect_status 2 pgv-restore demo "$scratch/new" --tablespaces-under "$scratch/missing/spaces"
  expect_message "there is no directory $scratch/missing/spaces"
  expect_status 2 pgv-restore demo "$scratch/missing/new" --tablespaces-under "$scratch/spaces"
  expect_message "there is no directory $scratch/missing"
  [ ! -e "$scratch/new" ] || fail "a refusal created the directory"
  expect_status 2 pgv-restore demo "$scratch/new"
  expect_message 'no place was given for tablespace'
  [ ! -e "$scratch/new" ] || fail "a refusal created the directory"
}

restore_and_check() { # DIR [OPTION…]
  expect_status 0 pgv-restore demo "$@" --start
  [ "$(PGHOST=$scratch sql 'select sum(id) from marks')" = "$marks" ] || fail "the restored data differ"
  [ "$(PGHOST=$scratch sql 'select sum(id) from spaced')" = "$marks" ] || fail "the restored tablespace differs"
  [ "$(PGHOST=$scratch sql 'show archive_mode')" = off ] || fail "the restored server archives"
  [ "$(PGHOST=$scratch sql 'select timeline_id from pg_control_checkpoint()')" -gt 1 ] || fail "no timeline of its own"
  as_postgres "$debian_bin/pg_amcheck" --host="$scratch" --all --heapallindexed --install-missing >/dev/null ||
    fail "pg_amcheck finds damage"
  stop_cluster "$bin" "$1"
  as_postgres "$bin/pg_checksums" --check --pgdata="$1" >/dev/null || fail "bad checksums"
}

# From a directory that postgres may not enter, and without room for temporary files there. It is done by the owner of the
# configuration, who can go on with what it left; what a killed run left goes.
back_up_as_root() {
  local found
  as_postgres mkdir --parents "$scratch/state/tmp/pgv-backup.killed"
  mkdir --mode=0700 "$scratch/private"
  (cd "$scratch/private" && TMPDIR=/nowhere pgv-backup demo --type=full --wait=1min) 2>"$scratch/err" ||
    fail "a backup that root begins: $(cat "$scratch/err")"
  if [ "$(id -u)" -eq 0 ]; then
    found=$(find "$scratch/state" "$scratch/repository" -user root)
    [ -z "$found" ] || fail "root left $found"
  fi
  [ -z "$(ls "$scratch/state/tmp")" ] || fail "temporary files stay: $(ls "$scratch/state/tmp")"
}

# In a directory of root's: the copy, and the directories that it makes, are the owner's of the configurations.
copy_as_root() {
  local found
  [ "$(id -u)" -eq 0 ] && [[ $repo == file://* ]] || return 0
  mkdir --mode=0755 "$scratch/vault"
  pgv-copy "$repo" "file://$scratch/vault/far/pgv" --dry-run >"$scratch/out" 2>"$scratch/err" || fail "a dry copy by root: $(cat "$scratch/err")"
  [ -z "$(ls "$scratch/vault")" ] || fail "--dry-run made something: $(ls "$scratch/vault")"
  pgv-copy "$repo" "file://$scratch/vault/far/pgv" >"$scratch/out" 2>"$scratch/err" || fail "a copy by root: $(cat "$scratch/err")"
  found=$(find "$scratch/vault/far" ! -user postgres)
  [ -z "$found" ] || fail "of the copy this is not of postgres: $found"
  rm --recursive "$scratch/vault"
}

lines_as_typed() {
  expect_status 0 bash -c 'set -eo pipefail
    pgv-info choose demo --latest | while read -r u; do pgv-s3 get "$u/data.pgv" |
      pgv-crypt -d | pgv-apply --tablespaces-under "$1/typed-spaces" "$1/typed" || exit 1; done' bash "$scratch"
  [ -e "$scratch/typed/global/pg_control" ] || fail "nothing was restored"
  expect_status 0 pgv-s3 put "$repo/etc.pgv" -- pgv-crypt -e -- tar c --directory="$scratch/etc" .
  pgv bash -c 'set -eo pipefail; pgv-s3 get "$1/etc.pgv" | pgv-crypt -d | tar t' bash "$repo" |
    grep --quiet demo.conf || fail "etc.pgv does not come back"
  expect_status 0 pgv-crypt -e -o "$scratch/today.pgv" -- pgv-snap
  expect_status 0 bash -c 'set -eo pipefail; pgv-snap | pgv-crypt -e | pgv-crypt -d | pgv-apply --check-only'
  expect_status 0 bash -c 'set -eo pipefail; pgv-env demo pgv-crypt -d "$1" | pgv-apply --check-only' bash "$scratch/today.pgv"
  expect_status 0 pgv-info --format label
  expect_status 0 bash -c 'set -eo pipefail; pgv-info --format label --type full | head -n -1 | pgv-expire demo -'
  [ "$(labels | wc --lines)" -eq 1 ] || fail "retention by hand keeps $(labels | wc --lines)"
  expect_status 1 bash -c 'set -eo pipefail; pgv-info --format label | pgv-expire demo -'
  expect_message 'every complete backup'
  expect_status 3 bash -c 'set -eo pipefail; echo 20200101-000000F | pgv-expire demo -'
  echo '{}' | pgv pgv-env demo pgv-s3 --quiet put "$repo/demo/42/backup/20200101-000000F/claim.json"
  expect_status 0 bash -c 'pgv-expire demo - --system-id 1 </dev/null'
  pgv pgv-env demo pgv-s3 stat "$repo/demo/42/backup/20200101-000000F/claim.json" >"$scratch/out" || fail "another cluster's leftovers went"
  # No label is nothing to do, but to clear away what was interrupted long ago.
  expect_status 0 bash -c 'pgv-expire demo - </dev/null'
  expect_message 'removed 20200101-000000F'
  [ -z "$(pgv pgv-env demo pgv-s3 ls "$repo/demo/42/")" ] || fail "leftovers stay"
  expect_status 2 bash -c 'printf "\n\n" | pgv-expire demo -'
  expect_message 'is not a backup label'
  [ "$(labels | wc --lines)" -eq 1 ] || fail "a refusal removed something"
}

mark() { # the newest label, and a fact of its record
  pgv pgv-info demo --format json | tail --lines=1
}

increments() {
  local full before backup status=0
  local -x PGHOST=$scratch
  full=$(labels)
  sql "update marks set id = id where id <= 100"
  sleep 1
  expect_status 0 pgv-backup demo
  [[ $(labels | tail --lines=1) == "$full"_*I ]] || fail "auto made no increment: $(labels)"
  sleep 1
  # The state directory's manifests are lost: the repository's serve.
  rm "$scratch"/state/manifest/*
  expect_status 0 pgv-backup demo --type incr
  [[ $(mark) == *"\"parent\":\"$(labels | sed --quiet 2p)\""* ]] || fail "not built on the newest: $(mark)"
  sleep 1
  expect_status 0 pgv-backup demo --type diff
  [[ $(mark) == *"\"parent\":\"$full\""* ]] || fail "a differential on something else: $(mark)"
  sleep 1
  expect_status 0 pgv-backup demo --type incr --files
  [[ $(mark) == *'"mode":"files"'* ]] || fail "no increment of files: $(mark)"
  # A parent that goes while its increment runs takes it with it.
  sleep 1
  before=$(labels)
  begin_slow_backup 2MiB/s --type incr --files
  pgv pgv-env demo pgv-s3 rm "$(pgv pgv-info demo --format url | tail --lines=1)/record.json"
  wait "$backup" || status=$?
  [ "$status" -eq 1 ] || fail "an increment without its parent exits with $status: $(cat "$scratch/slow.log")"
  grep --quiet 'on which this one is built, is gone' "$scratch/slow.log" || fail "no message: $(cat "$scratch/slow.log")"
  [ "$(labels)" = "$(head --lines=-1 <<<"$before")" ] || fail "an orphan is listed: $(labels)"
  # Who runs elsewhere cannot know whether an incomplete set is a running backup.
  labels | sed --quiet 2p >"$scratch/doomed"
  expect_status 1 bash -c 'pgv-expire demo - <"$1"' bash "$scratch/doomed"
  expect_message 'may be running'
  before=$(pgv pgv-info demo --format json | grep '"state":"incomplete"' | sed 's/.*"url":"//; s/".*//')
  pgv pgv-env demo pgv-s3 --quiet rm --recursive "$before/"
  # What is built on a backup goes with it, and nothing else.
  before=$(labels | wc --lines)
  labels | sed --quiet 2p >"$scratch/doomed"
  expect_status 0 bash -c 'pgv-expire demo - <"$1"' bash "$scratch/doomed"
  [ "$(labels | wc --lines)" -eq $((before - 2)) ] || fail "of $before are left: $(labels)"
  # A damaged copy of a manifest is fetched anew.
  as_postgres sh -c 'for m in "$1"/state/manifest/*; do echo x >>"$m"; done' sh "$scratch"
  sleep 1
  expect_status 0 pgv-backup demo --type incr
  [[ $(labels | tail --lines=1) == *I ]] || fail "no increment with damaged copies of manifests: $(cat "$scratch/err")"
  pgv pgv-env demo pgv-s3 --quiet rm --recursive "$(pgv pgv-info demo --format url | tail --lines=1)/"
  sleep 1
  expect_status 0 pgv-backup demo --type full
  expect_status 1 bash -c 'set -eo pipefail; pgv-info --format label | tail --lines=1 | pgv-expire demo -'
  expect_message 'the newest good full backup'
  pgv pgv-env demo pgv-s3 --quiet rm --recursive "$(pgv pgv-info demo --format url | tail --lines=1)/"
  rm "$scratch"/state/manifest/*
  sleep 1
  sql "insert into marks select 1 from generate_series(1, 1000); insert into spaced select 1 from generate_series(1, 1000)"
  marks=$(sql 'select sum(id) from marks')
  expect_status 0 pgv-backup demo --type incr
  [[ $(labels | tail --lines=1) == *I ]] || fail "no increment: $(cat "$scratch/err")"
  expect_status 0 pgv-restore demo "$scratch/new" --plan --tablespaces-under "$scratch/spaces"
  grep --quiet '^chain .* and 2 increments$' "$scratch/out" || fail "the plan: $(cat "$scratch/out")"
}

# To another prefix of the bucket, and from there to a directory, where it is verified and has the same backups.
copies() {
  local original copied=file://$scratch/fetched side=$scratch/etc/demo.conf
  original=$(labels)
  for _ in first again; do
    expect_status 0 pgv-copy "$repo" "s3://$PGV_TEST_BUCKET/copy" --source-config "$side" --destination-config "$side"
  done
  expect_message ' 0 objects copied'
  expect_status 0 pgv-copy "s3://$PGV_TEST_BUCKET/copy" "$copied" --source-config "$side"
  [ "$(pgv env PGV_REPO="$copied" pgv-info demo --format label)" = "$original" ] || fail "the copy has other backups"
  expect_status 0 env PGV_REPO="$copied" pgv-verify demo --no-verdict
  expect_status 0 env PGV_REPO="s3://$PGV_TEST_BUCKET/copy" pgv-verify demo --no-verdict
}

main() {
  begin
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  as_postgres mkdir "$scratch/old" "$scratch/spaces" "$scratch/typed-spaces"
  # The name of a data directory need not be UTF-8.
  local source=$scratch/sour$'\351'ce
  bin=$debian_bin
  create_cluster "$bin" "$source"
  start_cluster "$bin" "$source"
  pgbench --initialize --scale=2 --quiet 2>/dev/null
  sql "create tablespace fast location '$scratch/old'"
  sql "create table marks as select id from generate_series(1, 50000) id; create index on marks (id);
       create table spaced tablespace fast as select * from marks"
  marks=$(sql 'select sum(id) from marks')
  configure

  expect_status 0 pgv-backup demo --type full --wait 1min
  [ "$(labels | wc --lines)" -eq 1 ] || fail "not one backup"
  expect_status 0 pgv-info --max-age 1h
  sleep 2
  expect_status 7 env PGV_KEEP_FULL=2 pgv-info --max-age 0s
  exec 8>>"$scratch/state/lock"
  flock 8
  expect_status 75 pgv-backup demo
  exec 8>&-
  restore_refusals
  ended_script
  killed_stages
  [ "$(labels | wc --lines)" -eq 2 ] || fail "PGV_KEEP_FULL=2, and there are: $(labels)"
  sleep 1
  back_up_as_root
  copy_as_root
  [ "$(labels | wc --lines)" -eq 2 ] || fail "PGV_KEEP_FULL=2 keeps $(labels | wc --lines)"
  lines_as_typed
  increments
  [ "$kind" = file ] || copies

  stop_cluster "$bin" "$source"
  restore_and_check "$scratch/new" --tablespaces-under "$scratch/spaces"
  restore_and_check "$scratch/full" --replace --tablespace "fast=$scratch/spaces2"
  restore_and_check "$scratch/full" --delta
  [ -d "$(echo "$scratch"/full.before-*)/x" ] || fail "--replace lost the old directory"
  echo "scripts on $kind: backup, refusals, kills, expiry, restore"
}

main

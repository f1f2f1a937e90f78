#!/usr/bin/env bash
# shellcheck disable=SC2154  # what backup() takes by name
# shellcheck disable=SC2016  # $1 in bash -c '…' is for that shell
# Timelines, on Debian's PostgreSQL: a chain that begins on a primary, goes on at its standby and, after a failover in the
# middle of it, at the new primary; the old one comes back and writes on; a restored cluster is restored again; a
# directory that was filled by tar is set up. What each of them had is what comes back, or a refusal says why not.
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)

# Each server has a configuration of its own, and all of them the same tree.
configure() { # NAME DATA PORT
  as_postgres tee "$scratch/etc/$1.conf" >/dev/null <<CONF
PGV_CLUSTER=demo
PGV_REPO=file://$scratch/repository
PGV_KEY_FILE=$scratch/key
PGV_STATE_DIR=$scratch/state-$1
PGV_PGDATA=$2
PGV_WAL_TIMEOUT=20s
PGHOST="$scratch"
PGPORT=$3
CONF
  as_postgres chmod 0600 "$scratch/etc/$1.conf"
}

archive_by() { # NAME
  echo "archive_command = '$scratch/bin/pgv-wal-push -c $scratch/etc/$1.conf %p'"
}

backup() { # NAME LABEL-VARIABLE [OPTION…]
  local name=$1
  local -n taken=$2
  shift 2
  as_postgres pgv-backup demo --config "$scratch/etc/$name.conf" "$@" 2>"$scratch/err" || fail "the backup of $name exits with $?: $(cat "$scratch/err")"
  # shellcheck disable=SC2034  # the caller's variable
  taken=$(as_postgres pgv-info demo --format label | tail --lines=1)
}

add() { # ROW: and the segment is archived
  local name try
  sql "insert into rows select $1"
  moment=$(sql "select clock_timestamp()")
  sleep 1.1
  name=$(sql "select pg_walfile_name(pg_current_wal_lsn())")
  sql "insert into noise select $1; select pg_switch_wal()" >/dev/null
  for try in $(seq 300); do
    [ "$(sql "select coalesce(last_archived_wal, '') >= '$name' from pg_stat_archiver")" != t ] || return 0
    sleep 0.1
  done
  fail "$name is not archived (looked $try times): $(tail --lines=5 "$scratch"/*.log)"
}

restore() { # EXPECTED-ROWS [OPTION…]
  local expected=$1
  shift
  as_postgres pgv-restore demo "$scratch/restored" --port 5440 --start "$@" 2>"$scratch/err" || fail "restoring $* exits with $?: $(cat "$scratch/err")"
  [ "$(PGPORT=5440 sql "select string_agg(id::text, ' ' order by id) from rows")" = "$expected" ] ||
    fail "restored $*: $(PGPORT=5440 sql "select string_agg(id::text, ' ' order by id) from rows") instead of $expected"
  stop_cluster "$bin" "$scratch/restored"
  rm --recursive "$scratch/restored"
}

expect_refusal() { # STATUS MESSAGE OPTION…
  local wanted=$1 message=$2 status=0
  shift 2
  as_postgres pgv-restore demo "$scratch/refused" "$@" >"$scratch/out" 2>"$scratch/err" || status=$?
  [ "$status" -eq "$wanted" ] || fail "restoring $* exits with $status: $(cat "$scratch/err")"
  grep --quiet --fixed-strings -- "$message" "$scratch/err" || fail "no \"$message\" in: $(cat "$scratch/err")"
  [ ! -e "$scratch/refused" ] || fail "a refusal wrote something"
}

# Primary, standby, failover, and the primary again.
failover() {
  backup demo full
  add 1
  as_postgres "$bin/pg_basebackup" --pgdata="$scratch/standby" --write-recovery-conf --checkpoint=fast --wal-method=stream
  { echo "port = 5433"; archive_by standby; } | as_postgres tee --append "$scratch/standby/postgresql.auto.conf" >/dev/null
  start_cluster "$bin" "$scratch/standby"
  sql checkpoint
  PGPORT=5433 sql checkpoint
  backup standby at_standby
  [[ $at_standby == "${full}_"* ]] || fail "the standby's backup $at_standby is not built on $full"
  add 2
  second=$moment
  # Some of the last segment only.
  sql "insert into rows select 3"
  sleep 1
  stop_cluster "$bin" "$scratch/primary"
  as_postgres "$bin/pg_ctl" --pgdata="$scratch/standby" --wait --silent promote
  export PGPORT=5433
  # Later than anything of the old timeline was stored, by a clock of whole seconds.
  wait_until all_is_archived
  sleep 1.1
  add 4
  third=$moment
  backup standby at_new_primary
  [[ $at_new_primary == "${full}_"* ]] || fail "the new primary's backup $at_new_primary is not built on $full"
  # In another second than what lies before it was stored.
  sleep 1.1
  add 5
  fifth=$moment

  restore '1 2 3 4 5'
  restore '1 2' --time "$second"
  restore '1 2 3 4' --time "$third" --label "$full" --timeline latest
  expect_refusal 3 'timeline latest' --time "$third" --label "$full"
  # The old primary does not know that it is one.
  stop_cluster "$bin" "$scratch/standby"
  export PGPORT=5432
  start_cluster "$bin" "$scratch/primary"
  add 99
  stop_cluster "$bin" "$scratch/primary"
  restore '1 2 3 4 5'
  restore '1 2 3 99' --label "$full" --timeline 1
  # Though a newer backup was complete before: that one is of another timeline.
  restore '1 2 3 99' --time "$moment" --timeline 1
}

# To the end of a backup of timeline 1, though the archive has a second: the timeline of its own is the third.
number_of_its_own() {
  as_postgres pgv-restore demo "$scratch/restored" --port 5440 --start --immediate --label "$full" 2>"$scratch/err" || fail "restoring exits with $?: $(cat "$scratch/err")"
  [[ $(PGPORT=5440 sql 'select pg_walfile_name(pg_current_wal_lsn())') == 00000003* ]] ||
    fail "--immediate takes the timeline of $(PGPORT=5440 sql 'select pg_walfile_name(pg_current_wal_lsn())')"
  stop_cluster "$bin" "$scratch/restored"
  rm --recursive "$scratch/restored"
  # By nothing but the environment no server can read the archive.
  as_postgres env PGV_REPO="file://$scratch/repository" PGV_CONFIG_DIR="$scratch/nowhere" PGV_KEY_FILE="$scratch/key" PGV_SYSTEM_ID="$system" \
    pgv-restore demo "$scratch/restored" --immediate 2>"$scratch/err" || fail "restoring exits with $?: $(cat "$scratch/err")"
  grep --quiet 'may take a timeline that exists already' "$scratch/err" || fail "no warning: $(cat "$scratch/err")"
  rm --recursive "$scratch/restored"
}

# Behind the fork the old primary is backed up: the newest backup lies on no way to the latest timeline.
dead_end() {
  local dead
  start_cluster "$bin" "$scratch/primary"
  backup demo dead --type full
  stop_cluster "$bin" "$scratch/primary"
  restore '1 2 3 4 5'
  grep --quiet "backup $dead is newer" "$scratch/err" || fail "nobody speaks of $dead: $(cat "$scratch/err")"
  restore '1 2 3 99' --label "$dead" --timeline current
  expect_refusal 3 'timeline 2 cannot be reached' --label "$dead"
  expect_refusal 3 'timeline 2 cannot be reached' --label "$dead" --timeline 2
  expect_refusal 3 'timeline 1 cannot be reached' --label "$at_new_primary" --timeline 1
  expect_refusal 3 'there is no timeline 77' --timeline 77 --plan
  rm --recursive "$scratch/repository/demo/$system/backup/$dead"
}

# On the way to the latest timeline, before the fork and behind it.
gaps_on_the_way() {
  local timeline lost tree=$scratch/repository/demo/$system/wal
  for timeline in 00000001 00000002; do
    lost=$(find "$tree/$timeline" -name '????????????????????????.pgv' -printf '%f\n' | sort | tail --lines=2 | head --lines=1)
    [ "$timeline" != 00000001 ] || lost=$(fork_segment 2)
    mv "$tree/$timeline/$lost" "$scratch/lost"
    expect_refusal 3 "has a hole at ${lost%.pgv}" --label "$full"
    expect_refusal 3 "has a hole at ${lost%.pgv}" --label "$full" --timeline latest --time "$fifth"
    mv "$scratch/lost" "$tree/$timeline/$lost"
  done
  restore '1 2 3 4 5' --label "$full"
}

# The last whole segment of timeline 1 before it was left.
fork_segment() { # TIMELINE
  local first
  first=$(find "$scratch/repository/demo/$system/wal/0000000$1" -name '????????????????????????.pgv' -printf '%f\n' | sort | head --lines=1)
  printf '00000001%s%08X.pgv\n' "${first:8:8}" "$((16#${first:16:8} - 1))"
}

# A target is looked at whatever else is given.
targets() {
  expect_refusal 3 'the target is before backup' --label "$full" --time '2020-01-01 00:00:00+00'
  expect_refusal 3 'the target is before backup' --label "$full" --lsn 0/1 --plan
  expect_refusal 2 'a time has a date and a zone' --label "$full" --time '2020-01-01 00:00:00'
  expect_refusal 2 'is not a number' --xid x
}

# What was restored is gone on with, and restored.
restore_of_a_restore() {
  local status=0
  # Its archive_command still names the standby's configuration.
  as_postgres pgv-restore demo "$scratch/second" --archive keep --port 5432 --start 2>"$scratch/err" || fail "restoring exits with $?: $(cat "$scratch/err")"
  [ ! -e "$scratch/second/pgv/archiving-undecided" ] || fail "kept, and undecided"
  [ "$(sql 'show archive_mode')" = on ] || fail "it does not archive"
  sql "insert into rows select 6; select pg_switch_wal()" >/dev/null
  wait_until is_true 'select failed_count > 0 from pg_stat_archiver'
  is_true 'select archived_count = 0 from pg_stat_archiver' || fail "a restored copy archives into its original's tree"
  grep --quiet 'a restored copy needs' "$scratch/second.log" || fail "nobody says why"
  configure second "$scratch/second" 5432
  sql "alter system set archive_command = '$scratch/bin/pgv-wal-push -c $scratch/etc/second.conf %p'"
  # After three failures the archiver sleeps for a minute.
  stop_cluster "$bin" "$scratch/second"
  start_cluster "$bin" "$scratch/second"
  add 7
  backup second at_second
  add 8
  stop_cluster "$bin" "$scratch/second"
  restore '1 2 3 4 5 6 7 8'
  restore '1 2 3 4 5 6 7 8' --label "$full" --timeline latest
  as_postgres pgv-info wal demo --format tsv >"$scratch/windows" || status=$?
  [ "$status" -eq 0 ] || fail "pgv-info wal exits with $status: $(cat "$scratch/windows")"
  [ "$(cut --fields=4 "$scratch/windows" | sort --unique | tr '\n' ' ')" = '1 2 3 ' ] || fail "the windows: $(cat "$scratch/windows")"
}

# The pipe of README and tar fill a directory; pgv-restore sets up its recovery.
settings_only() {
  local url status=0
  url=$(as_postgres pgv-info choose demo --label "$full")
  as_postgres mkdir --mode=0700 "$scratch/by-hand"
  as_postgres bash -c 'set -o pipefail; pgv-s3 get "$1/data.pgv" | pgv-crypt -k "$2" -d | tar x -C "$3"' bash "$url" "$scratch/key" "$scratch/by-hand" || fail "the pipe exits with $?"
  as_postgres pgv-restore demo "$scratch/by-hand" --settings-only --label "$at_second" 2>"$scratch/err" || status=$?
  [ "$status" -eq 2 ] || fail "another label exits with $status"
  status=0
  as_postgres pgv-restore demo "$scratch/by-hand" --settings-only --time '2020-01-01 00:00:00' 2>"$scratch/err" || status=$?
  [ "$status" -eq 2 ] || fail "--settings-only with a time without a zone exits with $status"
  status=0
  as_postgres pgv-restore demo "$scratch/by-hand" --settings-only --time '2020-01-01 00:00:00+00' 2>"$scratch/err" || status=$?
  [ "$status" -eq 3 ] || fail "--settings-only with a time before the backup exits with $status"
  ! grep --quiet recovery_target_time "$scratch/by-hand/postgresql.auto.conf" || fail "a refusal wrote settings"
  as_postgres pgv-restore demo "$scratch/by-hand" --settings-only --time "$second" --port 5440 --start 2>"$scratch/err" || fail "--settings-only exits with $?: $(cat "$scratch/err")"
  [ "$(PGPORT=5440 sql "select string_agg(id::text, ' ' order by id) from rows")" = '1 2' ] || fail "not the moment that was asked for"
  stop_cluster "$bin" "$scratch/by-hand"
  status=0
  as_postgres pgv-restore demo "$scratch/etc" --settings-only 2>"$scratch/err" || status=$?
  [ "$status" -eq 2 ] || fail "--settings-only of no backup exits with $status"
}

# In the place of the original, and backed up at once: the started server does not keep the cluster's lock.
in_place() {
  as_postgres pgv-restore demo "$scratch/second" --config "$scratch/etc/second.conf" --replace --archive keep --start 2>"$scratch/err" ||
    fail "restoring in place exits with $?: $(cat "$scratch/err")"
  export PGPORT=5432
  backup second in_place
  stop_cluster "$bin" "$scratch/second"
}

# A segment is lost: what is beyond it is refused, what is before it is not.
gap() {
  local status=0 lost tree=$scratch/repository/demo/$system/wal
  lost=$(find "$tree/00000003" -name '????????????????????????.pgv' -printf '%f\n' | sort | tail --lines=2 | head --lines=1)
  mv "$tree/00000003/$lost" "$scratch/lost"
  as_postgres pgv-info wal demo --format tsv >"$scratch/windows" || status=$?
  [ "$status" -eq 7 ] || fail "pgv-info wal with a gap exits with $status: $(cat "$scratch/windows")"
  grep --quiet "^gap.*${lost%.pgv}" "$scratch/windows" || fail "the gap is not named: $(cat "$scratch/windows")"
  expect_refusal 3 "has a hole at ${lost%.pgv}"
  restore '1 2 3 4 5 6 7' --immediate --label "$at_second"
  mv "$scratch/lost" "$tree/00000003/$lost"
  restore '1 2 3 4 5 6 7 8'
}

main() {
  begin
  unset PGV_KEY_FILE
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  bin=$debian_bin
  export PGV_CONFIG_DIR=$scratch/etc PGV_TEST_PG_BIN=$bin
  as_postgres mkdir "$scratch/etc" "$scratch/repository"
  configure demo "$scratch/primary" 5432
  configure standby "$scratch/standby" 5433
  create_cluster "$bin" "$scratch/primary"
  { echo "archive_mode = on"; archive_by demo; } | as_postgres tee --append "$scratch/primary/postgresql.conf" >/dev/null
  start_cluster "$bin" "$scratch/primary"
  system=$(sql "select system_identifier from pg_control_system()")
  sql "create table rows (id int); create table noise (id int)"
  failover
  number_of_its_own
  dead_end
  gaps_on_the_way
  targets
  restore_of_a_restore
  settings_only
  gap
  in_place
  echo "timelines: followed, left, come back to, and refused where WAL is missing"
}

main

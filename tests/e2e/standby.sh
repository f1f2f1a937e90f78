#!/usr/bin/env bash
# A standby as source: backed up while its primary is written to, restored and looked at; increments go on
# after its promotion; a promotion or a stop during a backup leaves a stream that nobody can start.
# shellcheck disable=SC2016  # $1 in bash -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
major=${1:-$debian_major}

sql_at() { # PORT SQL
  PGPORT=$1 sql "$2"
}

take() { # LABEL [OPTION…]
  local label=$1
  shift
  as_postgres env PGPORT=5433 PGUSER=pgv bash -c 'set -euo pipefail; label=$1 dir=$2; shift 2
    pgv-snap --label "$label" --manifest "$dir/$label.manifest" "$@" >"$dir/$label.tar"' \
    bash "$label" "$scratch/tar" "$@" "$scratch/standby" || fail "the backup $label exits with $?"
}

# COMMAND: what happens during a backup that must fail.
interrupted() {
  local status=0
  as_postgres env PGPORT=5433 bash -c 'pgv-snap --rate 10MiB/s "$1" >"$2"' bash "$scratch/standby" "$scratch/cut.tar" 2>"$scratch/err" &
  local backup=$!
  wait_until is_streaming "$scratch/standby"
  "$@"
  wait "$backup" || status=$?
  [ "$status" -ne 0 ] || fail "a backup during $* succeeds"
  ! tar --list --file="$scratch/cut.tar" 2>/dev/null | grep --quiet --line-regexp --regexp='\(./\)\?global/pg_control' ||
    fail "after $* the stream has its last member"
  grep --quiet '^pgv-snap: error: ' "$scratch/err" || fail "no message: $(cat "$scratch/err")"
}

check() { # DIR
  as_postgres sh -c 'printf "restore_command = '\''false'\''\nprimary_conninfo = '\'\''\nport = 5432\n" >>"$1/postgresql.auto.conf"' sh "$1"
  start_cluster "$bin" "$1"
  wait_until_promoted
  [ "$(sql 'select (select sum(abalance) from pgbench_accounts) = (select coalesce(sum(delta), 0) from pgbench_history)')" = t ] ||
    fail "pgbench's invariant does not hold"
  sql "create extension amcheck" >/dev/null
  sql "select bt_index_check(indexrelid, true) from pg_index join pg_class c on c.oid = indexrelid
       join pg_am a on a.oid = c.relam where a.amname = 'btree' and c.relpersistence = 'p'" >/dev/null
  stop_cluster "$bin" "$1"
}

main() {
  begin
  local full=20260101-000000F
  local one=${full}_20260101-000001I two=${full}_20260101-000002I
  bin=$(server_bin "$major")
  as_postgres mkdir "$scratch/tar"
  create_cluster "$bin" "$scratch/primary"
  start_cluster "$bin" "$scratch/primary"
  pgbench --initialize --scale=5 --quiet 2>/dev/null
  sql "create role pgv login replication; grant pg_read_all_settings to pgv;
       grant execute on function pg_backup_start(text, bool), pg_backup_stop(bool) to pgv"
  as_postgres pg_basebackup --pgdata="$scratch/standby" --write-recovery-conf --checkpoint=fast --wal-method=stream
  echo "port = 5433" | as_postgres tee --append "$scratch/standby/postgresql.auto.conf" >/dev/null
  start_cluster "$bin" "$scratch/standby"
  begin_load
  take "$full"
  sleep 1
  sql checkpoint
  PGPORT=5433 sql checkpoint
  take "$one" --since "$scratch/tar/$full.manifest"

  interrupted as_postgres "$bin/pg_ctl" --pgdata="$scratch/standby" --mode=immediate --silent stop
  start_cluster "$bin" "$scratch/standby"
  interrupted as_postgres "$bin/pg_ctl" --pgdata="$scratch/standby" --wait --silent promote
  grep --quiet 'promoted' "$scratch/err" || fail "promotion is not named: $(cat "$scratch/err")"
  end_load
  stop_cluster "$bin" "$scratch/primary"

  # The promoted standby goes on, on a timeline of its own, with the same chain.
  [ "$(sql_at 5433 'select timeline_id from pg_control_checkpoint()')" = 2 ] || sql_at 5433 checkpoint
  PGPORT=5433 pgbench --transactions=200 --no-vacuum >/dev/null 2>&1
  take "$two" --since "$scratch/tar/$full.manifest" --since "$scratch/tar/$one.manifest"
  stop_cluster "$bin" "$scratch/standby"

  local label chain=()
  for label in "$full" "$one" "$two"; do
    chain+=("$label")
    as_postgres bash -c 'dir=$1 tar=$2; shift 2; for label; do pgv-apply "$dir" <"$tar/$label.tar" || exit; done' \
      bash "$scratch/r-$label" "$scratch/tar" "${chain[@]}" || fail "the restore of $label exits with $?"
    check "$scratch/r-$label"
  done
  echo "standby of PostgreSQL $major: backed up, promoted, stopped, restored"
}

main

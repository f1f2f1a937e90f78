#!/usr/bin/env bash
# A drill of a cluster that could do harm twice: a subscriber, with a library that acts by itself, an address, and more
# connections than the defaults. The copy has none of it and its limits, and the original's slot stays the original's.
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
major=${1:-$debian_major}
root=$(cd "$(dirname "$0")/../.." && pwd)

configure() {
  configure_demo "$source"
  as_postgres tee --append "$source/postgresql.conf" >/dev/null <<CONF
listen_addresses = '127.0.0.1'
wal_level = logical
shared_preload_libraries = 'auto_explain'
max_connections = 150
max_worker_processes = 12
max_wal_senders = 15
max_prepared_transactions = 7
max_locks_per_transaction = 100
CONF
}

# The drill is not to wait for ever where the copy's limits are too low for the WAL.
drill() { # STATUS LINE [OPTION…]
  local wanted=$1 line=$2 status=0
  shift 2
  as_postgres timeout --kill-after=10 120 pgv-drill demo "$@" >"$scratch/out" 2>"$scratch/err" || status=$?
  [ "$status" -eq "$wanted" ] || fail "pgv-drill $* exits with $status: $(cat "$scratch/out" "$scratch/err")"
  grep --quiet -- "$line" "$scratch/out" "$scratch/err" || fail "no \"$line\": $(cat "$scratch/out" "$scratch/err")"
}

subscribe() {
  sql "create database subscriber"
  sql "create table told (id int primary key)"
  sql "create table told (id int primary key)" subscriber
  sql "create publication told for table told"
  sql "select pg_create_logical_replication_slot('told', 'pgoutput')" >/dev/null
  sql "create subscription told connection 'host=$scratch port=5432 dbname=postgres user=postgres' publication told
    with (create_slot = false, slot_name = told, copy_data = false)" subscriber
}

slot() {
  sql "select active, confirmed_flush_lsn, restart_lsn from pg_replication_slots where slot_name = 'told'"
}

# The original's own worker is away, so that nothing but the drill could take the slot.
isolation() {
  local before setting checks=()
  sql "alter subscription told disable" subscriber
  wait_until is_true "select not active from pg_replication_slots where slot_name = 'told'"
  sql "insert into told values (1)"
  before=$(slot)
  [[ $before == f* ]] || fail "the slot is in use: $before"
  for setting in listen_addresses= shared_preload_libraries= max_connections=150 max_worker_processes=12 max_wal_senders=15 \
    max_prepared_transactions=7 max_locks_per_transaction=100 max_logical_replication_workers=0 archive_mode=off primary_conninfo=; do
    checks+=(--sql "select current_setting('${setting%%=*}') = '${setting#*=}'")
  done
  drill 0 'is good' "${checks[@]}" --sql 'select pg_sleep(7)' --no-verdict
  [ "$(slot)" = "$before" ] || fail "the drill took the slot: $before, then $(slot)"
  [ "$(sql 'select count(*) from told' subscriber)" = 0 ] || fail "something came by the slot"
}

# What a drill measured is what the next plan expects.
expectation() {
  as_postgres pgv-restore demo "$scratch/planned" --immediate --plan >"$scratch/out" 2>"$scratch/err" || fail "the plan exits with $?: $(cat "$scratch/err")"
  grep --quiet 'guessed from' "$scratch/out" || fail "no drill was stored, and the plan is: $(cat "$scratch/out")"
  drill 0 'is good'
  as_postgres pgv-restore demo "$scratch/planned" --immediate --plan >"$scratch/out" 2>"$scratch/err" || fail "the plan exits with $?: $(cat "$scratch/err")"
  grep --quiet "for the backup, as in the drill of $(date --utc +%Y-)" "$scratch/out" || fail "a drill was stored, and the plan is: $(cat "$scratch/out")"
}

# Rows that an index lacks.
damaged_index() {
  sql "create table pairs as select generate_series(1, 1000) id"
  sql "create index pairs_id on pairs (id)"
  sql "update pg_index set indisready = false where indexrelid = 'pairs_id'::regclass"
  sql "insert into pairs select generate_series(2000, 2100)"
  sql "update pg_index set indisready = true where indexrelid = 'pairs_id'::regclass"
  as_postgres pgv-backup demo 2>"$scratch/err" || fail "pgv-backup exits with $?: $(cat "$scratch/err")"
  drill 7 'BAD  .*amcheck.*lacks matching index tuple' --no-verdict
}

main() {
  begin
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  source=$scratch/source bin=$(server_bin "$major")
  create_cluster "$bin" "$source"
  configure
  start_cluster "$bin" "$source"
  subscribe
  as_postgres pgv-backup demo 2>"$scratch/err" || fail "pgv-backup exits with $?: $(cat "$scratch/err")"
  isolation
  expectation
  damaged_index
  stop_cluster "$bin" "$source"
  echo "drill $major: nothing of the original acts in the copy"
}

main

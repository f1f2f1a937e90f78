#!/usr/bin/env bash
# One major: a backup taken while pgbench writes, through the pipe into a directory repository, laid
# down by pgv-apply and, with no pgv binary, by tail, openssl, zstd and tar; both are started and hold
# what the source held.
# shellcheck disable=SC2016  # $1 in bash -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
major=${1:-$debian_major}
root=$(cd "$(dirname "$0")/../.." && pwd)

# Quiesced data, in an order that does not depend on where rows lie.
content() {
  sql "copy (select * from marks order by id) to stdout" | md5sum
  sql "copy (select aid from pgbench_accounts order by aid) to stdout" | md5sum
  sql "copy (select id from late order by id) to stdout" | md5sum
}

# While the backup runs: WAL makes it again, at its place, if nothing lies where its link goes.
create_tablespace_meanwhile() {
  wait_until is_streaming "$source"
  sql "create tablespace late location '$scratch/late'"
  sql "create table late tablespace late as select generate_series(1, 10000) id"
}

check_restored() { # BIN DATA
  # Another machine has the place, and nothing in it.
  rm --recursive --force "$scratch/late"
  as_postgres mkdir "$scratch/late"
  as_postgres sh -c 'echo "restore_command = '\''false'\''" >>"$1/postgresql.auto.conf"' sh "$2"
  start_cluster "$1" "$2"
  wait_until_promoted
  [ "$(content)" = "$expected" ] || fail "the restored data differ"
  [ "$(sql 'select (select sum(abalance) from pgbench_accounts) = (select sum(tbalance) from pgbench_tellers)
            and (select sum(abalance) from pgbench_accounts) = (select coalesce(sum(delta), 0) from pgbench_history)')" = t ] ||
    fail "pgbench's invariant does not hold"
  [ "$(sql 'select count(*) from unlogged_marks')" = 0 ] || fail "unlogged rows came back"
  sql "create extension amcheck" >/dev/null
  sql "select bt_index_check(indexrelid, true) from pg_index join pg_class c on c.oid = indexrelid
       join pg_am a on a.oid = c.relam where a.amname = 'btree' and c.relpersistence = 'p'" >/dev/null
  sql "create extension pg_visibility" >/dev/null
  [ "$(sql "select count(*) from pg_class c, pg_check_visible(c.oid) where relkind = 'r' and relpersistence = 'p'")" = 0 ] ||
    fail "pg_check_visible finds damage"
  [ "$(sql 'select timeline_id from pg_control_checkpoint()')" -ge 1 ] || fail "no timeline"
  stop_cluster "$1" "$2"
}

# Every page of the stopped cluster is good, and one that is not is found.
check_pages() {
  local status=0 file
  as_postgres bash -c 'pgv-snap --offline "$1" >/dev/null' bash "$scratch/restored" || fail "bad pages, or no offline backup: $?"
  file=$(find "$scratch/restored/base" -name '[0-9]*' -size +80k -type f ! -name '*_*' | sort | head --lines=1)
  flip "$file" 20000
  as_postgres bash -c 'pgv-snap --offline "$1" >/dev/null' bash "$scratch/restored" 2>"$scratch/err" || status=$?
  [ "$status" -eq 7 ] || fail "a damaged page gives $status: $(cat "$scratch/err")"
}

# A role whose sessions end after half a second of anything, and a checkpoint that takes longer than that.
create_hasty_role() {
  local timeout timeouts=(statement_timeout lock_timeout idle_in_transaction_session_timeout)
  [ "$major" -lt 14 ] || timeouts+=(idle_session_timeout)
  [ "$major" -lt 17 ] || timeouts+=(transaction_timeout)
  sql "create role hasty login superuser"
  for timeout in "${timeouts[@]}"; do sql "alter role hasty set $timeout = '500ms'"; done
  sql "alter system set checkpoint_timeout = '30s'"
  sql "alter system set checkpoint_completion_target = 0.05"
  sql "select pg_reload_conf()" >/dev/null
}

main() {
  begin
  local bin source=$scratch/source repository=$scratch/repository url
  bin=$(server_bin "$major")
  create_cluster "$bin" "$source"
  start_cluster "$bin" "$source"
  pgbench --initialize --scale=2 --quiet 2>/dev/null
  sql "create table marks as select id, md5(id::text) t from generate_series(1, 50000) id;
       create index on marks using hash (t); create index on marks (t);
       create unlogged table unlogged_marks as select * from marks;"
  create_hasty_role
  begin_load

  as_postgres mkdir "$repository" "$scratch/late"
  url=file://$repository/15-main/1/backup/20260101-000000F
  as_postgres "$scratch/bin/pgv-s3" put "$url/data.pgv" -- \
    pgv-crypt -e -- pgv-snap --dbname user=hasty --checkpoint spread --rate 10MiB/s --label 20260101-000000F --manifest "$scratch/m" --facts "$scratch/f" "$source" &
  local backup=$!
  create_tablespace_meanwhile
  wait "$backup" || fail "the backup exits with $?"
  grep --quiet '"tablespaces_changed":true' "$scratch/f" || fail "the facts do not tell of the tablespace: $(cat "$scratch/f")"
  end_load
  expected=$(content)
  stop_cluster "$bin" "$source"

  as_postgres bash -c 'set -euo pipefail
    pgv-s3 get "$1" | pgv-crypt -d | pgv-apply --expect 20260101-000000F "$2"' \
    bash "$url/data.pgv" "$scratch/restored" || fail "the restore exits with $?"
  pg_verifies "$scratch/restored" "$major"
  python3 "$root/tests/tools/check-manifest.py" "$major" "$scratch/restored" || fail "the manifest"
  check_restored "$bin" "$scratch/restored"
  check_pages

  # The same object with stock tools only: what the first line of the file says.
  as_postgres mkdir --mode=0700 "$scratch/stock"
  as_postgres env PATH=/usr/bin:/bin bash -c 'set -euo pipefail
    tail -n +2 "$1" | openssl enc -d -aes-256-cbc -pbkdf2 -md sha256 -iter 1000 -pass "file:$2" | zstd -d -q | tar x -C "$3"' \
    bash "$repository/15-main/1/backup/20260101-000000F/data.pgv" "$PGV_KEY_FILE" "$scratch/stock"
  check_restored "$bin" "$scratch/stock"
  echo "PostgreSQL $major: backed up under load, restored by pgv-apply and by stock tools"
}

main

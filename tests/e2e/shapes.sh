#!/usr/bin/env bash
# What page LSNs would get wrong, and what else changes a cluster's shape, between the links of a chain:
# no checksums and no logged hints, checksums enabled in between, a database that takes another's OID by
# file copy, a database that moves into a new tablespace, a relation that grows over 1 GiB and shrinks,
# and a clock that went back.
# shellcheck disable=SC2016  # $1 in bash -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
major=${1:-$debian_major}
full=20990101-000000F
links=("$full")

take() { # [OPTION…]: the next link
  local label since=() link
  label=${full}_20990101-00000${#links[@]}I
  if [ "${1:-}" = first ]; then
    label=$full
  else
    for link in "${links[@]}"; do since+=(--since "$scratch/tar/$link.manifest"); done
    links+=("$label")
  fi
  as_postgres bash -c 'set -euo pipefail; label=$1 tar=$2; shift 2
    pgv-snap --label "$label" --manifest "$tar/$label.manifest" --facts "$tar/$label.facts" "$@" >"$tar/$label.tar"' \
    bash "$label" "$scratch/tar" "${since[@]}" "$source" 2>"$scratch/err" || fail "the backup $label exits with $?: $(cat "$scratch/err")"
  contents+=("$(content)")
}

content() {
  local name
  sql "select count(*), sum(id) from visible; select count(*), sum(id) from big; select oid, datname from pg_database order by 1"
  for name in $(sql "select datname from pg_database where datname like 'd%' order by 1"); do
    sql "select count(*), sum(id), md5(string_agg(t, '' order by id)) from data" "$name"
  done
}

check() { # NUMBER OF LINKS
  local directory=$scratch/r$1 link
  as_postgres mkdir "$scratch/spaces$1"
  for link in "${links[@]:0:$1}"; do
    as_postgres bash -c 'pgv-apply --tablespaces-under "$1" "$2" <"$3"' bash "$scratch/spaces$1" "$directory" "$scratch/tar/$link.tar" ||
      fail "laying down $link exits with $?"
  done
  as_postgres sh -c 'echo "restore_command = '\''false'\''" >>"$1/postgresql.auto.conf"' sh "$directory"
  start_cluster "$bin" "$directory"
  wait_until_promoted
  [ "$(content)" = "${contents[$(($1 - 1))]}" ] || fail "link $1 differs: $(content) instead of ${contents[$(($1 - 1))]}"
  sql "create extension if not exists pg_visibility; create extension if not exists amcheck" >/dev/null
  [ "$(sql "select count(*) from pg_class c, pg_check_visible(c.oid) where relkind = 'r' and relpersistence = 'p'")" = 0 ] ||
    fail "pg_check_visible finds damage after link $1"
  [ "$(sql "select count(*) from pg_class c, pg_check_frozen(c.oid) where relkind = 'r' and relpersistence = 'p'")" = 0 ] ||
    fail "pg_check_frozen finds damage after link $1"
  [ "$(sql 'set enable_seqscan = off; select count(id) from visible')" = "$(sql 'set enable_indexonlyscan = off; set enable_indexscan = off; set enable_bitmapscan = off; select count(id) from visible')" ] ||
    fail "index and table do not agree after link $1"
  sql "select bt_index_check(indexrelid, true) from pg_index join pg_class c on c.oid = indexrelid
       join pg_am a on a.oid = c.relam where a.amname = 'btree' and c.relpersistence = 'p'" >/dev/null
  stop_cluster "$bin" "$directory"
  [ "$1" -lt "$checksums_at" ] || "$debian_bin/pg_checksums" --check --pgdata="$directory" >/dev/null 2>"$scratch/err" ||
    [ "$major" -ne "$debian_major" ] || fail "bad checksums after link $1: $(cat "$scratch/err")"
  rm --recursive --force "$directory" "$scratch/spaces$1"
}

data_in() { # DATABASE
  sql "create table data as select id, md5(id::text || '$1') t from generate_series(1, 5000) id; create index on data (id)" "$1"
}

main() {
  begin
  source=$scratch/source contents=() checksums_at=1000
  bin=$(server_bin "$major")
  as_postgres mkdir "$scratch/tar" "$scratch/place"
  initdb_options=()
  # From 18 on they are the default.
  [ "$major" -lt 18 ] || initdb_options=(--no-data-checksums)
  create_cluster "$bin" "$source"
  start_cluster "$bin" "$source"
  sql "create table visible as select id, repeat('v', 100) t from generate_series(1, 20000) id; create index on visible (id);
       create table big (id int, t text) with (fillfactor = 10); alter table big alter t set storage plain"
  sql "create database d1"
  data_in d1
  sql checkpoint
  take first

  # All-visible bits without a new LSN on the page, and then deletions.
  sql "vacuum visible"
  take
  grep --quiet 'the clock was set back' "$scratch/err" || fail "the clock went back, and nobody says so"
  sql "delete from visible where id % 7 = 0"
  take

  # Another database at the same place, file by file.
  if [ "$major" -ge 15 ]; then
    local oid
    oid=$(sql "select oid from pg_database where datname = 'd1'")
    sql "create database d2"
    data_in d2
    sql "drop database d1"
    sql "create database d3 oid = $oid strategy = file_copy template = d2"
    sql "update data set t = 'other' where id < 100" d3
  fi
  take

  # A tablespace that the parent does not know, and a whole database in it.
  sql "create tablespace later location '$scratch/place'"
  sql "alter database $(sql "select max(datname) from pg_database where datname like 'd%'") set tablespace later"
  take

  # Over 1 GiB: one row a page.
  sql "insert into big select id, repeat('b', 800) from generate_series(1, 135000) id"
  take
  [ -e "$source/$(sql "select pg_relation_filepath('big')").1" ] || fail "no second segment"
  sql "delete from big where id > 1000"
  sql "vacuum big"
  take
  sql "insert into big select id, repeat('c', 800) from generate_series(2000, 3000) id"
  # Checksums on every page, with the old LSNs.
  if [ "$major" -eq "$debian_major" ]; then
    stop_cluster "$bin" "$source"
    as_postgres "$bin/pg_checksums" --enable --pgdata="$source" >/dev/null
    start_cluster "$bin" "$source"
    checksums_at=$((${#links[@]} + 1))
  fi
  take
  stop_cluster "$bin" "$source"

  local n
  for n in $(seq "${#links[@]}"); do
    check "$n"
  done
  echo "PostgreSQL $major: ${#links[@]} links over changes of shape"
}

main

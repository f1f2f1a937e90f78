#!/usr/bin/env bash
# Backups and chains of one MAJOR, 17 or newer, under load, with a tablespace and a relation of more than 1 GiB, opened with
# nothing but openssl, zstd, tar and that major's own programs: pg_verifybackup accepts each, pg_combinebackup merges the
# chain, pg_waldump reads its WAL, the result starts, is the same as what pgv-restore makes, and pg_amcheck finds nothing.
set -euo pipefail
shopt -s inherit_errexit

major=${1:?usage: stock.sh MAJOR}
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)

# Opens a sealed backup without pgv.
open_by_hand() { # URL DIR
  as_postgres mkdir --mode=0700 "$2"
  # shellcheck disable=SC2016  # of that shell
  as_postgres bash -c 'set -euo pipefail
    tail --lines=+2 "$1" | openssl enc -d -aes-256-cbc -pbkdf2 -md sha256 -iter 1000 -pass "file:$2" | zstd --decompress --quiet >"$3.tar"
    tar --extract --directory="$3" --file="$3.tar"' bash "$1/data.pgv" "$scratch/key" "$2"
}

configure() {
  as_postgres mkdir "$scratch"/{etc,repository,state,space,restored.space}
  as_postgres tee "$scratch/etc/demo.conf" >/dev/null <<CONF
PGV_REPO=file://$scratch/repository
PGV_KEY_FILE=$PGV_KEY_FILE
PGV_STATE_DIR=$scratch/state
PGV_PGDATA=$source
PGHOST=$scratch
PGUSER=postgres
CONF
  as_postgres chmod 0600 "$scratch/etc/demo.conf"
  export PGV_CONFIG_DIR=$scratch/etc
}

# More than a segment of a relation; and changes to many of them later.
fill() {
  sql "create tablespace far location '$scratch/space'"
  sql "create table big (id int primary key, filler text); alter table big alter filler set storage plain"
  sql "insert into big select id, repeat('x', 7000) from generate_series(1, 160000) id; create table gone as select * from generate_series(1, 10000) x"
  sql "create table there (x int) tablespace far; insert into there select generate_series(1, 10000)"
  [ "$(sql "select pg_relation_size('big') > 1200000000")" = t ] || fail 'big is not big'
  pgbench --quiet --initialize --scale=5 >/dev/null 2>&1
}

change() {
  sql "update big set filler = 'y' where id % 20000 = 0; insert into there select generate_series(1, 1000); drop table if exists gone"
  sql "create index on there (x)" >/dev/null
  sql 'vacuum pgbench_accounts'
}

back_up() { # TYPE
  as_postgres pgv-backup demo --type "$1" 2>"$scratch/err" || fail "pgv-backup exits with $?: $(cat "$scratch/err")"
}

# Contents of both, which were recovered to the same moment.
digest() { # PORT
  psql --no-psqlrc --quiet --tuples-only --no-align --port="$1" --command="
    select count(*), sum(hashtextextended(t::text, 0)) from big t; select count(*), sum(x) from there;
    select count(*), sum(hashtextextended(t::text, 0)) from pgbench_accounts t; select count(*) from pg_class"
}

start_copy() { # DIR PORT
  as_postgres tee --append "$1/postgresql.auto.conf" >/dev/null <<<"archive_mode = off
restore_command = 'false'
allow_in_place_tablespaces = on
unix_socket_directories = '$scratch'
port = $2"
  as_postgres "$tools/pg_ctl" --pgdata="$1" --log="$1.log" --silent --wait start >/dev/null || fail "$1 does not start: $(tail --lines=5 "$1.log")"
  PGPORT=$2 wait_until_promoted
}

# Since 18 pg_verifybackup reads an archive, too. With tablespaces it wants one of each, as pg_basebackup makes them, so
# this is a backup without. It looks for WAL in an archive of its own, or since 19 elsewhere.
as_an_archive() {
  local set wal=(--no-parse-wal)
  [ "$major" -ge 18 ] || return 0
  back_up full
  set=$(ls --directory "$scratch"/repository/demo/*/backup/*)
  open_by_hand "$set" "$scratch/unpacked"
  as_postgres mkdir "$scratch/archive"
  as_postgres mv "$scratch/unpacked.tar" "$scratch/archive/base.tar"
  as_postgres cp "$scratch/unpacked/backup_manifest" "$scratch/archive/"
  [ "$major" -lt 19 ] || wal=(--wal-path="$scratch/unpacked/pg_wal")
  as_postgres "$tools/pg_verifybackup" --quiet "${wal[@]}" --format=tar "$scratch/archive" >"$scratch/said" 2>&1 || fail "as an archive: $(cat "$scratch/said")"
  [ "$major" -lt 19 ] || [ -s "$scratch/unpacked/pg_hosts.conf" ] || fail 'no pg_hosts.conf'
  rm --recursive "$scratch/archive" "$scratch/unpacked" "$set"
}

main() {
  local set label first opened=() by_hand by_pgv load
  need_debian_tools "$major" # those of 17 and 18, too
  begin
  cp "$root"/scripts/* "$scratch/bin/"
  tools=$(debian_tools "$major") source=$scratch/source
  create_cluster "$tools" "$source"
  configure
  # Certificates by host names.
  [ "$major" -lt 19 ] || as_postgres tee --append "$source/pg_hosts.conf" >/dev/null <<<'# a line of its own'
  start_cluster "$tools" "$source"
  as_an_archive
  fill
  pgbench --client=2 --time=600 --rate=200 --no-vacuum >/dev/null 2>&1 &
  load=$!
  back_up full
  for _ in 1 2 3; do
    change
    back_up incr
  done
  kill "$load" || true # it may have ended
  for set in "$scratch"/repository/demo/*/backup/*; do
    label=${set##*/}
    open_by_hand "$set" "$scratch/$label"
    # It parses the WAL as well.
    as_postgres "$tools/pg_verifybackup" --quiet "$scratch/$label" >"$scratch/said" 2>&1 || fail "pg_verifybackup of $label: $(cat "$scratch/said")"
    rm "$scratch/$label.tar"
    opened+=("$scratch/$label")
    first=$(find "$scratch/$label/pg_wal" -name '0*' -type f | sort | head --lines=1)
    # It ends where nothing is written yet.
    as_postgres "$tools/pg_waldump" "$first" >"$scratch/dumped" 2>"$scratch/said" ||
      grep --quiet 'invalid record length\|invalid magic number' "$scratch/said" || fail "pg_waldump of $label: $(cat "$scratch/said")"
    [ "$(wc --lines <"$scratch/dumped")" -gt 10 ] || fail "pg_waldump shows nothing of $first"
  done
  [ "${#opened[@]}" -eq 4 ] || fail "${#opened[@]} backups, not 4"
  stop_cluster "$tools" "$source"
  as_postgres "$tools/pg_combinebackup" "${opened[@]}" --output="$scratch/merged" >"$scratch/said" 2>&1 ||
    fail "pg_combinebackup: $(cat "$scratch/said")"
  as_postgres "$tools/pg_verifybackup" --quiet "$scratch/merged" >"$scratch/said" 2>&1 || fail "pg_verifybackup of the result: $(cat "$scratch/said")"
  as_postgres pgv-restore demo "$scratch/restored" --tablespaces-under "$scratch/restored.space" --immediate 2>"$scratch/err" ||
    fail "pgv-restore exits with $?: $(cat "$scratch/err")"
  start_copy "$scratch/merged" 6011
  as_postgres "$tools/pg_amcheck" --host="$scratch" --port=6011 --username=postgres --all --install-missing --heapallindexed >"$scratch/said" 2>&1 ||
    fail "pg_amcheck: $(cat "$scratch/said")"
  by_hand=$(digest 6011)
  start_copy "$scratch/restored" 6012
  by_pgv=$(digest 6012)
  [ "$major" -lt 19 ] || grep --quiet 'a line of its own' "$scratch/restored/pg_hosts.conf" || fail 'pg_hosts.conf is not restored'
  { [ -n "$by_hand" ] && [ "$by_hand" = "$by_pgv" ]; } || fail "pgv-restore makes something else than pg_combinebackup: $by_hand $by_pgv"
  echo "PostgreSQL $major: a chain of 4 is opened, verified, merged and started by its own programs"
}

main

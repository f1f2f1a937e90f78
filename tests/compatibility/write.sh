#!/usr/bin/env bash
# Writes the fixture of a release: write.sh CHECKOUT DIRECTORY, where CHECKOUT is a built checkout of that release and
# DIRECTORY, which must not exist, becomes its repository with the key beside it. PostgreSQL 15 has one database and
# segments of 1 MiB here, so that the fixture stays small.
set -euo pipefail
shopt -s inherit_errexit

checkout=${1:?usage: write.sh CHECKOUT DIRECTORY} target=${2:?usage: write.sh CHECKOUT DIRECTORY}
export PGV_BIN=$checkout/target/release
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/../e2e/lib.sh"

pgv() {
  as_postgres env PGV_CONFIG_DIR="$scratch/etc" "$@"
}

configure() {
  as_postgres mkdir "$scratch/etc" "$scratch/repository"
  as_postgres tee "$scratch/etc/demo.conf" >/dev/null <<CONF
PGV_REPO=file://$scratch/repository
PGV_KEY_FILE=$scratch/key
PGV_STATE_DIR=$scratch/state
PGV_LEVEL=19
PGV_PGDATA=$source
PGHOST=$scratch
CONF
  as_postgres chmod 0600 "$scratch/etc/demo.conf"
  as_postgres tee --append "$source/postgresql.conf" >/dev/null <<CONF
archive_mode = on
archive_command = 'PGV_CONFIG_DIR=$scratch/etc $scratch/bin/pgv-wal-push demo %p'
CONF
}

backup() { # OPTION…
  sleep 1
  pgv pgv-backup demo "$@"
}

begin
cp "$checkout"/scripts/pgv-* "$scratch/bin/"
source=$scratch/source bin=$(server_bin 15)
initdb_options+=(--wal-segsize=1)
create_cluster "$bin" "$source"
configure
start_cluster "$bin" "$source"
sql "update pg_database set datistemplate = false"
sql "drop database template0"
sql "drop database template1"
sql "create table marks as select 1 as step, id from generate_series(1, 1000) id"
backup --type full
sql "insert into marks select 2, id from generate_series(1, 1000) id"
backup --type incr
sql "insert into marks select 3, id from generate_series(1, 1000) id"
backup --type incr --files
pgv pgv-verify demo
sql "insert into marks select 4, id from generate_series(1, 1000) id"
sql "select pg_switch_wal()" >/dev/null
wait_until all_is_archived
stop_cluster "$bin" "$source"
mkdir "$target"
cp --recursive "$scratch/repository" "$scratch/key" "$target/"
find "$target" -type f -printf '%s %p\n'
du --summarize --bytes "$target"

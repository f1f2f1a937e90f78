#!/usr/bin/env bash
# A replica that pgv-restore makes of a backup: it streams from its primary, with a slot, a password in a file and a name that
# needs every kind of quote; it catches up from the archive while its primary is down, and no failure of the archive stops
# it; after a failover it archives. What cannot be a replica is refused before anything is written.
# shellcheck disable=SC2016  # $1 in bash -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
major=${1:-$debian_major}
root=$(cd "$(dirname "$0")/../.." && pwd)
copy=5440 name="it's \"node\" \\2"

configure() { # NAME DATA-DIRECTORY
  as_postgres install --mode=0600 /dev/null "$scratch/etc/$1.conf"
  as_postgres tee "$scratch/etc/$1.conf" >/dev/null <<CONF
PGV_REPO=file://$scratch/repository
PGV_KEY_FILE=$key
PGV_CLUSTER=demo
PGV_STATE_DIR=$scratch/state-$1
PGV_PGDATA=$2
PGV_WAL_TIMEOUT=20s
PGV_WAL_JOBS=1
PGHOST="$scratch"
CONF
}

said() { # TEXT
  grep --quiet --fixed-strings -- "$1" "$scratch/err" || fail "no \"$1\" in: $(cat "$scratch/err")"
}

no_secret() {
  ! grep --quiet secret "$scratch/err" "$scratch/out" || fail "a password is printed: $(cat "$scratch/err" "$scratch/out")"
}

restore() { # STATUS OPTION…
  local wanted=$1 status=0
  shift
  as_postgres timeout 120 pgv-restore replica "$scratch/replica" --port "$copy" "$@" >"$scratch/out" 2>"$scratch/err" || status=$?
  [ "$status" -eq "$wanted" ] || fail "restoring $* exits with $status instead of $wanted: $(cat "$scratch/err")"
  no_secret
}

refused() { # STATUS TEXT OPTION…
  restore "$1" "${@:3}"
  said "$2"
  [ ! -e "$scratch/replica" ] || fail "$3 wrote something"
}

at_copy() { # SQL
  PGPORT=$copy sql "$1"
}

refusals() {
  local option
  for option in --time=2026-11-29T01:00Z --lsn=0/5 --xid=5 --name=x --immediate --action=promote --timeline=latest --archive=keep --archive=off "--isolated=$scratch/place"; do
    refused 2 "--standby cannot be combined with ${option%%=*}" --standby "$primary" "$option"
  done
  refused 2 '--slot needs --standby' --slot x
  refused 2 'is not a slot' --standby "$primary" --slot 'No-Slot'
  refused 2 'at character 8: libpq has no such keyword' --standby "port=5 hots=x password=secret"
  refused 2 'is empty' --standby ''
  # Not the one that was backed up.
  refused 2 'but the backup is of cluster' --standby "host=$scratch port=5433" --start
  restore 0 --standby "$primary password='secret'" --slot node_2 --plan
  grep --quiet --fixed-strings "none, because it is a replica of host=$scratch port=5432 user=follower" "$scratch/out" || fail "the plan: $(cat "$scratch/out")"
  grep --quiet --fixed-strings 'password=********, slot node_2' "$scratch/out" || fail "the plan: $(cat "$scratch/out")"
}

# As Patroni calls the command of the page.
patroni() {
  page_block "$root/man/pgv-restore.1" patroni | sed "s/15-main/replica/" | as_postgres tee "$scratch/command" >/dev/null
  as_postgres bash "$scratch/command" --scope=batman "--datadir=$scratch/replica" --role=replica \
    "--connstring=postgres://follower@/postgres?host=$scratch" 2>"$scratch/err" || fail "the page's command exits with $?: $(cat "$scratch/err")"
  [ -e "$scratch/replica/standby.signal" ] || fail "the page's command makes no replica"
  # Nothing was started: the same command goes on from here, with another primary.
  restore 0 --standby "$primary" --slot node_2
  said 'was never started: only its settings are written again'
  [ "$(grep --count '^primary_conninfo' "$scratch/replica/postgresql.auto.conf")" = 1 ] || fail "two primaries: $(cat "$scratch/replica/postgresql.auto.conf")"
  # And it may become an ordinary copy.
  restore 0
  [ ! -e "$scratch/replica/standby.signal" ] || fail "it is a replica still"
  [ -e "$scratch/replica/recovery.signal" ] || fail "no recovery.signal"
  as_postgres rm --recursive "$scratch/replica"
}

streams_to_copy() {
  [ "$(sql "select state || ' ' || application_name from pg_stat_replication")" = "streaming $name" ]
}

has_row() { # ID
  [ "$(at_copy "select max(id) from rows")" = "$1" ]
}

# It streams at once, as its slot shows.
streams() {
  restore 0 --standby "$primary" --slot node_2 --start
  said 'the replica is up, and streams from'
  wait_until streams_to_copy
  [ "$(sql "select active from pg_replication_slots where slot_name = 'node_2'")" = t ] || fail "its slot is not used"
  sql 'insert into rows values (2)'
  wait_until has_row 2
  [ "$(at_copy 'show archive_mode')" = on ] || fail "archive_mode is $(at_copy 'show archive_mode')"
  [ -e "$scratch/replica/standby.signal" ] || fail "no standby.signal"
  [ ! -e "$scratch/replica/recovery.signal" ] || fail "recovery.signal stays"
  [ ! -e "$scratch/replica/pgv/archiving-undecided" ] || fail "a replica waits for a decision"
  # Its settings live on where the server was started once, and are not written again.
  stop_cluster "$bin" "$scratch/replica"
  restore 6 "--standby=$primary password='secret é'"
  said 'password=\*\*'
  restore 2 --standby "$primary" --settings-only
  said 'never started'
}

# While the primary is down the archive leads on; where that is away, too, the replica waits.
follows_the_archive() {
  sql 'insert into rows values (3)'
  sql 'select pg_switch_wal()' >/dev/null
  wait_until all_is_archived
  stop_cluster "$bin" "$source"
  as_postgres rm --recursive "$scratch/replica"
  restore 0 --standby "$primary" --slot node_2 --start
  said 'the primary does not answer, and the replica follows the archive until it does'
  said 'the replica is up, and follows the archive only'
  wait_until has_row 3
  as_postgres mv "$scratch/repository" "$scratch/away"
  as_postgres touch "$scratch/replica.log"
  wait_until bash -c 'grep --quiet "pgv-wal-get: error" "$1"' bash "$scratch/replica.log"
  start_cluster "$bin" "$source"
  sql 'insert into rows values (4)'
  wait_until streams_to_copy
  wait_until has_row 4
  as_postgres mv "$scratch/away" "$scratch/repository"
}

# Its primary is lost: it goes on, and archives.
fails_over() {
  stop_cluster "$bin" "$source"
  as_postgres "$bin/pg_ctl" --pgdata="$scratch/replica" --wait --silent promote
  PGPORT=$copy wait_until_promoted
  at_copy 'insert into rows values (5)'
  at_copy "select pg_switch_wal()" >/dev/null
  PGPORT=$copy wait_until all_is_archived
  [ "$(at_copy 'select failed_count from pg_stat_archiver')" = 0 ] || fail "archiving failed: $(tail "$scratch/replica.log")"
  as_postgres pgv-s3 ls --recursive "file://$scratch/repository/demo/" | grep --quiet '/00000002/00000002' || fail "nothing of its timeline is archived"
  stop_cluster "$bin" "$scratch/replica"
}

# The primary of before comes back as a replica of the new one, from the archive and in place.
comes_back() {
  start_cluster "$bin" "$scratch/replica"
  at_copy 'insert into rows values (6)'
  as_postgres timeout 120 pgv-restore source "$source" --delta --port 5432 --start \
    --standby "postgresql://follower@/?host=$scratch&port=$copy&passfile=$scratch/pgpass" 2>"$scratch/err" || fail "the old primary comes back with $?: $(cat "$scratch/err")"
  said 'the replica is up, and streams from'
  wait_until bash -c '[ "$(psql --no-psqlrc --tuples-only --no-align --command="select max(id) from rows")" = 6 ]'
  stop_cluster "$bin" "$source"
}

main() {
  begin
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  source=$scratch/source bin=$(server_bin "$major") key=$PGV_KEY_FILE
  as_postgres mkdir "$scratch/etc" "$scratch/repository"
  configure source "$source"
  configure replica "$scratch/replica"
  unset PGV_KEY_FILE
  export PGV_CONFIG_DIR=$scratch/etc PGV_TEST_PG_BIN=$bin
  create_cluster "$bin" "$scratch/other"
  echo 'port = 5433' | as_postgres tee --append "$scratch/other/postgresql.conf" >/dev/null
  create_cluster "$bin" "$source"
  # By every node's own configuration.
  printf '%s\n' "archive_mode = on" "archive_command = 'pgv-wal-push -c $scratch/etc/\$(basename \$PWD).conf %p'" 'wal_retrieve_retry_interval = 500ms' |
    as_postgres tee --append "$source/postgresql.conf" >/dev/null
  # Only who follows needs a password.
  printf '%s\n' 'local all,replication follower scram-sha-256' 'local all,replication all trust' | as_postgres tee "$source/pg_hba.conf" >/dev/null
  printf '*:*:replication:follower:secret\n' | as_postgres tee "$scratch/pgpass" >/dev/null
  as_postgres chmod 0600 "$scratch/pgpass"
  start_cluster "$bin" "$source"
  start_cluster "$bin" "$scratch/other"
  sql "set password_encryption = 'scram-sha-256'; create role follower login replication password 'secret'"
  sql "select pg_create_physical_replication_slot('node_2')" >/dev/null
  sql 'create table rows (id int); insert into rows values (1)'
  as_postgres pgv-backup source 2>"$scratch/err" || fail "pgv-backup exits with $?: $(cat "$scratch/err")"
  primary="host=$scratch port=5432 user=follower passfile=$scratch/pgpass application_name='it\\'s \"node\" \\\\2'"
  refusals
  patroni
  streams
  follows_the_archive
  fails_over
  comes_back
  stop_cluster "$bin" "$scratch/other"
  echo "replicas of PostgreSQL $major: streaming, from the archive alone, after a failover, and back again"
}

main

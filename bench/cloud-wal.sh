#!/usr/bin/env bash
# The part of make bench-cloud that is about WAL: a burst of ready segments archived with two and with eight workers, and
# recovery through all of them, by pgv and by pgBackRest in turn, on the line and the server of cloud-line.sh.
# shellcheck disable=SC2016  # $1 in bash -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

segments=${PGV_BENCH_SEGMENTS:-60}
trips=${PGV_BENCH_RTT:-30 100} # milliseconds
root=$(cd "$(dirname "$0")/.." && pwd)
tools=$root/target/bench-tools
pg_bin=/usr/lib/postgresql/15/bin
# shellcheck source=bench/cloud-line.sh
source "$root/bench/cloud-line.sh"

sql() { psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --command="$1"; }

start() { as_postgres "$pg_bin/pg_ctl" --pgdata="$1" --log="$scratch/log" --silent --wait --timeout=600 start >/dev/null; } # DATA

# The cluster before the WAL, and the WAL: all of it kept, none archived.
make_cluster() {
  local ready name
  as_postgres "$pg_bin/initdb" --pgdata="$scratch/data" --username=postgres --auth=trust --data-checksums --no-sync >/dev/null
  as_postgres tee --append "$scratch/data/postgresql.conf" >/dev/null <<CONF
listen_addresses = ''
unix_socket_directories = '$scratch'
shared_buffers = 256MB
max_wal_size = 8GB
wal_keep_size = 8GB
fsync = off
archive_mode = on
archive_command = ''
autovacuum = off
CONF
  start "$scratch/data"
  "$pg_bin/pgbench" --initialize --quiet --scale=20 2>/dev/null
  as_postgres "$pg_bin/pg_ctl" --pgdata="$scratch/data" --silent --wait stop
  cp --archive "$scratch/data" "$scratch/before"
  start "$scratch/data"
  while [ "$(find "$scratch/data/pg_wal/archive_status" -name '*.ready' | wc --lines)" -lt "$segments" ]; do
    "$pg_bin/pgbench" --no-vacuum --client=4 --transactions=5000 >/dev/null 2>&1
    sql checkpoint
  done
  sql "select pg_switch_wal()" >/dev/null
  names=$(cd "$scratch/data/pg_wal/archive_status" && printf '%s\n' *.ready | sed 's/\.ready$//' | head --lines="$segments")
  # No more than these, or workers that go ahead store others meanwhile.
  for ready in "$scratch/data/pg_wal/archive_status"/*.ready; do
    name=$(basename "$ready" .ready)
    [[ ! $name > ${names##*$'\n'} ]] || mv "$ready" "${ready%.ready}.done"
  done
}

# The commands that PostgreSQL runs, which do not change what they use: $scratch/bench.conf and $scratch/pgbackrest.conf do.
pgv_command() { echo "$scratch/bin/$1 -c $scratch/bench.conf"; } # TOOL

pgbackrest_command() { echo "$pgbackrest --config=$scratch/pgbackrest.conf --stanza=bench --archive-async $*"; } # OPTIONS…

forget() { rm --recursive --force "$scratch/state" "$scratch/pgbackrest-spool"; }

configure() { # NAME WORKERS
  forget
  as_postgres bash -c 'umask 077; cat >"$1"' bash "$scratch/bench.conf" <<CONF
PGV_REPO=s3://$bucket/$1-pgv
PGV_CLUSTER=bench
PGV_KEY_FILE=$scratch/key
PGV_PGDATA=$scratch/data
PGV_STATE_DIR=$scratch/state
PGV_WAL_JOBS=$2
PGV_S3_ENDPOINT_URL=https://$far
PGV_S3_REGION=garage
PGV_S3_CA_FILE=$scratch/ca.pem
AWS_ACCESS_KEY_ID=$access_key
AWS_SECRET_ACCESS_KEY=$secret_key
CONF
  as_postgres bash -c 'umask 077; cat >"$1"' bash "$scratch/pgbackrest.conf" <<CONF
[global]
repo1-type=s3
repo1-path=/$1-pgbackrest
repo1-s3-bucket=$bucket
repo1-s3-endpoint=$far
repo1-s3-region=garage
repo1-s3-uri-style=path
repo1-s3-key=$access_key
repo1-s3-key-secret=$secret_key
repo1-storage-ca-file=$scratch/ca.pem
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass=bench
compress-type=zst
compress-level=3
process-max=$2
log-level-console=warn
log-level-file=off
lock-path=$scratch/pgbackrest-lock
spool-path=$scratch/pgbackrest-spool
[bench]
pg1-path=$scratch/data
pg1-socket-path=$scratch
CONF
}

# From the moment that PostgreSQL may archive until nothing waits.
burst() { # COMMAND
  sql "alter system set archive_command = '$1 %p'"
  sql "select pg_reload_conf()" >/dev/null
  while [ -e "$scratch/data/pg_wal/archive_status/${names##*$'\n'}.ready" ]; do sleep 0.03; done
}

make_ready() {
  local name
  sql "alter system set archive_command = ''"
  sql "select pg_reload_conf()" >/dev/null
  sleep 1
  for name in $names; do
    [ -e "$scratch/data/pg_wal/archive_status/$name.ready" ] ||
      mv "$scratch/data/pg_wal/archive_status/$name.done" "$scratch/data/pg_wal/archive_status/$name.ready"
  done
}

prepare_recovery() { # RESTORE-COMMAND
  rm --recursive --force "$scratch/restored"
  cp --archive "$scratch/before" "$scratch/restored"
  as_postgres touch "$scratch/restored/recovery.signal"
  as_postgres tee --append "$scratch/restored/postgresql.conf" >/dev/null <<CONF
restore_command = '$1'
archive_mode = off
CONF
}

recover() {
  start "$scratch/restored"
  while [ "$(psql --no-psqlrc --tuples-only --no-align --command='select pg_is_in_recovery()' 2>/dev/null)" != f ]; do sleep 0.05; done
}

replay() { # ROW TOOL RESTORE-COMMAND
  prepare_recovery "$3"
  measure "$1" "$2" recover
  as_postgres "$pg_bin/pg_ctl" --pgdata="$scratch/restored" --silent --wait --mode=immediate stop
}

# Each number of workers has a repository of its own, that the segments are not in.
pushes() { # MILLISECONDS WORKERS
  configure "at$1-$2" "$2"
  far_apart 0
  as_postgres "$pgbackrest" --config="$scratch/pgbackrest.conf" --stanza=bench stanza-create
  far_apart "$1"
  measure "push-$2" pgv burst "$(pgv_command pgv-wal-push)"
  make_ready
  measure "push-$2" pgbackrest burst "$(pgbackrest_command archive-push)"
  make_ready
}

replays() { # MILLISECONDS WORKERS
  configure "at$1-$2" "$2"
  far_apart "$1"
  replay "replay-$2" pgv "$(pgv_command pgv-wal-get) %f %p"
  replay "replay-$2" pgbackrest "$(pgbackrest_command --pg1-path="$scratch/restored" archive-get) %f %p"
}

main() {
  local trip workers
  require_all
  scratch=$(mktemp --directory /var/tmp/pgv-bench.XXXXXX)
  trap clean_up EXIT
  chown postgres "$scratch"
  chmod 0755 "$scratch"
  start_line
  start_server
  mkdir "$scratch/bin"
  cp "$root"/target/release/pgv-{crypt,s3,info,peek,env} "$root"/scripts/pgv-{*.sh,wal-push,wal-get} "$scratch/bin/"
  export PATH=$pg_bin:$PATH PGHOST=$scratch PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
  as_postgres bash -c 'umask 077; "$1/bin/pgv-crypt" --generate-key >"$1/key"' bash "$scratch"
  make_cluster
  for trip in $trips; do
    for workers in 2 8; do pushes "$trip" "$workers"; done
  done
  # One server at a time has the socket.
  as_postgres "$pg_bin/pg_ctl" --pgdata="$scratch/data" --silent --wait --mode=fast stop
  for trip in $trips; do
    for workers in 2 8; do replays "$trip" "$workers"; done
  done
  summary
}

main

#!/usr/bin/env bash
# The part of make bench-cloud that is about backups: full, increment, restore, list, check and expire by pgv and by
# pgBackRest, in turn, on one Garage server over TLS at the end of a line that is as long as a cloud is far away
# (cloud-line.sh). Both with two processes, zstd 3 and encryption; pgBackRest with bundles and block increments. Ratios are
# of the seconds, and requests are those that the server saw.
# shellcheck disable=SC2016  # $1 in bash -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

rounds=${PGV_BENCH_ROUNDS:-1}
scale=${PGV_BENCH_SCALE:-40}
trips=${PGV_BENCH_RTT:-30 100} # milliseconds
root=$(cd "$(dirname "$0")/.." && pwd)
tools=$root/target/bench-tools
pg_bin=/usr/lib/postgresql/15/bin
# shellcheck source=bench/cloud-line.sh
source "$root/bench/cloud-line.sh"

make_cluster() {
  as_postgres "$pg_bin/initdb" --pgdata="$scratch/data" --username=postgres --auth=trust --data-checksums --no-sync >/dev/null
  as_postgres tee --append "$scratch/data/postgresql.conf" >/dev/null <<CONF
listen_addresses = ''
unix_socket_directories = '$scratch'
shared_buffers = 256MB
max_wal_size = 1GB
fsync = off
autovacuum = off
CONF
  as_postgres "$pg_bin/pg_ctl" --pgdata="$scratch/data" --log="$scratch/log" --silent --wait start >/dev/null
  "$pg_bin/pgbench" --initialize --quiet --scale="$scale" 2>/dev/null
  psql --quiet --no-psqlrc --command='vacuum analyze' --command=checkpoint
}

configure() { # NAME
  as_postgres bash -c 'umask 077; cat >"$1"' bash "$scratch/pgv.conf" <<CONF
PGV_REPO=s3://$bucket/$1-pgv
PGV_CLUSTER=bench
PGV_KEY_FILE=$scratch/key
PGV_PGDATA=$scratch/data
PGV_STATE_DIR=$scratch/state
PGV_EXPIRE=no
PGV_S3_ENDPOINT_URL=https://$far
PGV_S3_REGION=garage
PGV_S3_CA_FILE=$scratch/ca.pem
AWS_ACCESS_KEY_ID=$access_key
AWS_SECRET_ACCESS_KEY=$secret_key
PGHOST=$scratch
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
repo1-bundle=y
repo1-block=y
repo1-retention-full=9
compress-type=zst
compress-level=3
process-max=2
start-fast=y
log-level-console=warn
log-level-file=off
lock-path=$scratch/pgbackrest-lock
spool-path=$scratch/pgbackrest-spool
[bench]
pg1-path=$scratch/data
pg1-socket-path=$scratch
CONF
  as_postgres rm --recursive --force "$scratch/state" "$scratch/pgbackrest-spool"
}

pgv() { # TOOL ARGUMENT…
  as_postgres env --unset=PGV_REPO "$scratch/bin/$1" --config "$scratch/pgv.conf" "${@:2}"
}

pgbackrest() { as_postgres "$pgbackrest" --config="$scratch/pgbackrest.conf" --stanza=bench "$@"; }

change() { "$pg_bin/pgbench" --no-vacuum --transactions=500 >/dev/null 2>&1 && psql --quiet --no-psqlrc --command=checkpoint; }

both() { # TYPE
  measure "$1" pgv pgv pgv-backup --type "$1"
  measure "$1" pgbackrest pgbackrest --type="$1" --no-archive-check backup
}

labels() { pgv pgv-info --format label; }

# Ten backups that go: a full and its nine increments, after there is another full.
grow() {
  for _ in {1..9}; do
    change
    pgv pgv-backup --type incr --quiet
    pgbackrest --type=incr --no-archive-check backup
  done
  pgv pgv-backup --type full --quiet
  pgbackrest --type=full --no-archive-check backup
} >/dev/null 2>&1

one_trip() { # MILLISECONDS
  local first
  configure "at$1"
  far_apart 0
  pgbackrest stanza-create
  for _ in $(seq "$rounds"); do
    far_apart "$1"
    both full
    change
    both incr
    as_postgres rm --recursive --force "$scratch/restored" "$scratch/restored-pgbackrest"
    measure restore pgv pgv pgv-restore bench "$scratch/restored"
    measure restore pgbackrest pgbackrest --pg1-path="$scratch/restored-pgbackrest" restore
  done
  configure "grown$1"
  far_apart 0
  pgbackrest stanza-create
  pgv pgv-backup --type full --quiet
  pgbackrest --type=full --no-archive-check backup
  grow
  far_apart "$1"
  measure info pgv pgv pgv-info
  measure info pgbackrest pgbackrest info
  change
  # With eleven backups before it.
  measure incr-later pgv pgv pgv-backup --type incr
  measure incr-later pgbackrest pgbackrest --type=incr --no-archive-check backup
  first=$(labels | head --lines=10)
  measure expire pgv expire_labels "$first"
  measure expire pgbackrest pgbackrest --repo1-retention-full=1 expire
}

# Both switch a segment and wait until it is stored; only pgv can do without. And what a night is: an increment, its WAL
# in the archive, and expiry, which finds nothing to delete.
archived() { # MILLISECONDS
  far_apart "$1"
  archive_with "$scratch/bin/pgv-wal-push -c $scratch/pgv.conf %p"
  measure check pgv pgv pgv-check
  measure check-no-switch pgv pgv pgv-check --no-switch
  change
  measure night pgv as_postgres env PGV_EXPIRE=yes PGV_KEEP_FULL=9 "$scratch/bin/pgv-backup" --config "$scratch/pgv.conf" --type incr
  archive_with "$pgbackrest --config=$scratch/pgbackrest.conf --stanza=bench archive-push %p"
  measure check pgbackrest pgbackrest check
  change
  measure night pgbackrest pgbackrest --type=incr backup
  archive_with ''
}

archive_with() { # COMMAND
  psql --quiet --no-psqlrc --command="alter system set archive_command = '$1'"
  psql --quiet --no-psqlrc --command='select pg_reload_conf()' >/dev/null
}

# Backups were without an archive, so that nothing but they is measured.
begin_archiving() {
  psql --quiet --no-psqlrc --command='alter system set archive_mode = on'
  as_postgres "$pg_bin/pg_ctl" --pgdata="$scratch/data" --log="$scratch/log" --silent --wait --mode=fast restart >/dev/null
}

expire_labels() { echo "$1" | pgv pgv-expire -; } # LABELS

main() {
  local trip
  require_all
  scratch=$(mktemp --directory /var/tmp/pgv-bench.XXXXXX)
  trap clean_up EXIT
  chown postgres "$scratch"
  chmod 0755 "$scratch"
  start_line
  start_server
  mkdir "$scratch/bin"
  find "$root"/target/release -maxdepth 1 -name 'pgv-*' -executable -type f -exec cp --target-directory="$scratch/bin" {} +
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  export PATH=$pg_bin:$PATH PGHOST=$scratch PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
  as_postgres bash -c 'umask 077; "$1/bin/pgv-crypt" --generate-key >"$1/key"' bash "$scratch"
  make_cluster
  du --summarize --human-readable "$scratch/data"
  as_postgres "$pgbackrest" version
  for trip in $trips; do one_trip "$trip"; done
  begin_archiving
  for trip in $trips; do
    configure "grown$trip"
    archived "$trip"
  done
  summary
}

main

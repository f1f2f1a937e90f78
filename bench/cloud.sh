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
# shellcheck source=bench/lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source=bench/cloud-line.sh
source "$root/bench/cloud-line.sh"

configure() { # NAME
  as_postgres bash -c 'umask 077; cat >"$1"' bash "$scratch/pgv.conf" <<CONF
PGV_REPO=s3://$bucket/$1-pgv
PGV_CLUSTER=bench
PGV_KEY_FILE=$scratch/key
PGV_PGDATA=$scratch/data
PGV_STATE_DIR=$scratch/state
PGV_EXPIRE=no
PGHOST=$scratch
$(far_pgv)
CONF
  write_pgbackrest 2 <<CONF
repo1-path=/$1-pgbackrest
$(far_pgbackrest)
repo1-bundle=y
repo1-block=y
repo1-retention-full=9
start-fast=y
CONF
  as_postgres rm --recursive --force "$scratch/state" "$scratch/pgbackrest-spool"
}

pgv() { # TOOL ARGUMENT…
  as_postgres env --unset=PGV_REPO "$scratch/bin/$1" --config "$scratch/pgv.conf" "${@:2}"
}

pgbackrest() { as_postgres "$pgbackrest" --config="$scratch/pgbackrest.conf" --stanza=bench "$@"; }

change() { "$pg_bin/pgbench" --no-vacuum --transactions="${1:-500}" >/dev/null 2>&1 && sql checkpoint; }

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

# The copies become what is now, after one page of a hundred has changed.
refresh() {
  change 1500
  pgv pgv-backup --type incr --quiet
  pgbackrest --type=incr --no-archive-check backup >/dev/null 2>&1
  measure delta pgv pgv pgv-restore bench "$scratch/restored" --delta
  measure delta pgbackrest pgbackrest --pg1-path="$scratch/restored-pgbackrest" --delta restore
}

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
    refresh
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
  sql "alter system set archive_command = '$1'"
  sql 'select pg_reload_conf()' >/dev/null
}

# Backups were without an archive, so that nothing but they is measured.
begin_archiving() {
  sql 'alter system set archive_mode = on'
  stop "$scratch/data"
  start "$scratch/data"
}

expire_labels() { echo "$1" | pgv pgv-expire -; } # LABELS

main() {
  local trip
  require_all
  begin
  start_line
  start_server
  install_pgv
  make_data 'max_wal_size = 1GB' 'autovacuum = off'
  fill_with_pgbench "$scale"
  sql 'vacuum analyze'
  sql checkpoint
  du --summarize --human-readable "$scratch/data"
  as_postgres "$pgbackrest" version
  for trip in $trips; do one_trip "$trip"; done
  begin_archiving
  for trip in $trips; do
    configure "grown$trip"
    archived "$trip"
  done
  summary pgbackrest
}

main

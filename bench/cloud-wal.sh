#!/usr/bin/env bash
# The part of make bench-cloud that is about WAL: a burst of ready segments archived with two and with eight workers, and
# recovery through all of them, by pgv and by pgBackRest in turn, on the line and the server of cloud-line.sh.
# shellcheck disable=SC2016  # $1 in bash -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

segments=${PGV_BENCH_SEGMENTS:-60}
trips=${PGV_BENCH_RTT:-30 100} # milliseconds
# shellcheck source=bench/lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source=bench/lib-wal.sh
source "$root/bench/lib-wal.sh"
# shellcheck source=bench/cloud-line.sh
source "$root/bench/cloud-line.sh"

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
$(far_pgv)
CONF
  write_pgbackrest "$2" <<CONF
repo1-path=/$1-pgbackrest
$(far_pgbackrest)
CONF
}

replay() { # ROW TOOL RESTORE-COMMAND
  prepare_recovery "$3"
  measure "$1" "$2" recover
  stop "$scratch/restored" immediate
}

# Each number of workers has a repository of its own, that the segments are not in.
pushes() { # MILLISECONDS WORKERS
  configure "at$1-$2" "$2"
  far_apart 0
  as_postgres "$pgbackrest" --config="$scratch/pgbackrest.conf" --stanza=bench stanza-create
  far_apart "$1"
  measure "push-$2" pgv burst "$(pgv_command pgv-wal-push)"
  make_ready
  measure "push-$2" pgbackrest burst "$(pgbackrest_command --archive-async archive-push)"
  make_ready
}

replays() { # MILLISECONDS WORKERS
  configure "at$1-$2" "$2"
  far_apart "$1"
  replay "replay-$2" pgv "$(pgv_command pgv-wal-get) %f %p"
  replay "replay-$2" pgbackrest "$(pgbackrest_command --pg1-path="$scratch/restored" --archive-async archive-get) %f %p"
}

main() {
  local trip workers
  require_all
  begin
  start_line
  start_server
  install_pgv
  make_wal "$segments"
  for trip in $trips; do
    for workers in 2 8; do pushes "$trip" "$workers"; done
  done
  # One server at a time has the socket.
  stop "$scratch/data"
  for trip in $trips; do
    for workers in 2 8; do replays "$trip" "$workers"; done
  done
  summary pgbackrest
}

main

#!/usr/bin/env bash
# The part of make bench that is about WAL: one segment archived synchronously, a burst of ready ones archived
# with two workers, and recovery through all of them, each by pgv, with a shared key and for a recipient, and by pgBackRest in
# the same run, sealed, with zstd 3, into a local repository. For recovery, cp from an unsealed archive is the floor.
# shellcheck disable=SC2016  # $1 in bash -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

rounds=${PGV_BENCH_ROUNDS:-3}
segments=${PGV_BENCH_SEGMENTS:-100}
# shellcheck source=bench/lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source=bench/lib-wal.sh
source "$root/bench/lib-wal.sh"

configure() {
  as_postgres mkdir "$scratch"/{pgbackrest,plain}
  configure_twice "$scratch/bench" PGV_WAL_JOBS=2
  write_pgbackrest 2 <<CONF
repo1-path=$scratch/pgbackrest
CONF
}

milliseconds() { # NAME COMMAND…
  local name=$1 start stop
  shift
  start=$(date +%s%N)
  "$@"
  stop=$(date +%s%N)
  echo "$name $(((stop - start) / 1000000))" | tee --append "$scratch/times"
}

# As the archiver calls it: a shell for each segment, in the data directory. The same segments for both, in turn;
# becoming postgres is not timed, and no worker goes ahead.
sync_pushes() { # NAME…
  (cd "$scratch/data" && as_postgres bash -c 'pgbackrest=$1 pgv=$2 pgv_recipients=$3
    export PGV_WAL_JOBS=1
    for name in "${@:4}"; do
      for tool in pgbackrest pgv pgv_recipients; do
        start=${EPOCHREALTIME/[.,]/}
        sh -c "${!tool} pg_wal/$name" || exit
        stop=${EPOCHREALTIME/[.,]/}
        echo "sync-$tool $(((stop - start + 500) / 1000))"
      done
    done' bash "$(pgbackrest_command archive-push)" "$(pgv_command pgv-wal-push)" "$(pgv_command pgv-wal-push _recipients)" "$@") | tee --append "$scratch/times"
}

forget_stored() {
  # The last worker tidies up.
  sleep 1
  rm --recursive --force "$scratch/repository"/* "$scratch/repository_recipients"/* "$scratch"/state{,_recipients} "$scratch/pgbackrest/archive/bench/15-1" "$scratch/pgbackrest-spool"
}

replay() { # NAME RESTORE-COMMAND
  prepare_recovery "$2"
  milliseconds "$1" recover
  stop "$scratch/restored" immediate
}

summary() {
  echo
  echo "median in milliseconds, and the ratio to pgv (sync: one segment; burst and replay: $segments segments):"
  medians "$scratch/times" %7d
  echo "stored bytes of the segments:"
  du --bytes --summarize "$scratch/repository" "$scratch/pgbackrest" | sed "s#$scratch/##"
}

main() {
  local round name
  require_root 'it starts a server as user postgres'
  require_postgres
  require pgbackrest pgbackrest
  begin
  install_pgv
  make_wal "$segments"
  configure
  as_postgres pgbackrest --config="$scratch/pgbackrest.conf" --stanza=bench stanza-create --no-online

  for round in $(seq "$rounds"); do
    echo "round $round"
    forget_stored
    # shellcheck disable=SC2046  # names of segments
    sync_pushes $(head --lines=8 <<<"$names")
    forget_stored
    make_ready
    milliseconds burst-pgv burst "$(pgv_command pgv-wal-push)"
    make_ready
    milliseconds burst-pgv_recipients burst "$(pgv_command pgv-wal-push _recipients)"
    make_ready
    milliseconds burst-pgbackrest burst "$(pgbackrest_command --archive-async archive-push)"
  done
  stop "$scratch/data"
  for name in $names; do cp "$scratch/data/pg_wal/$name" "$scratch/plain/"; done
  chown --recursive postgres "$scratch/plain"
  for round in $(seq "$rounds"); do
    replay replay-cp "cp $scratch/plain/%f %p"
    replay replay-pgbackrest "$(pgbackrest_command --pg1-path="$scratch/restored" --archive-async archive-get) %f %p"
    replay replay-pgv "$(pgv_command pgv-wal-get) %f %p"
    # Its first call opens the data keys.
    rm --recursive --force "$scratch/state_identity"
    replay replay-pgv_recipients "$(pgv_command pgv-wal-get _identity) %f %p"
  done
  summary
}

main

#!/usr/bin/env bash
# The part of make bench that is about WAL: one segment archived synchronously, a burst of ready ones archived
# with two workers, and recovery through all of them, each by pgv and by pgBackRest in the same run, sealed,
# with zstd 3, into a local repository. For recovery, cp from an unsealed archive is the floor.
# shellcheck disable=SC2016  # $1 in bash -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

rounds=${PGV_BENCH_ROUNDS:-3}
segments=${PGV_BENCH_SEGMENTS:-100}
root=$(cd "$(dirname "$0")/.." && pwd)
pg_bin=/usr/lib/postgresql/15/bin
scratch=

as_postgres() { runuser --user postgres -- "$@"; }

sql() { psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --command="$1"; }

clean_up() {
  local data
  for data in "$scratch"/{data,restored}; do
    [ ! -f "$data/postmaster.pid" ] || as_postgres "$pg_bin/pg_ctl" --pgdata="$data" --silent --mode=immediate stop || true
  done
  rm --recursive --force "$scratch"
}

start() { # DATA
  as_postgres "$pg_bin/pg_ctl" --pgdata="$1" --log="$scratch/log" --silent --wait --timeout=600 start >/dev/null
}

configure() {
  as_postgres mkdir "$scratch"/{repository,pgbackrest,plain}
  as_postgres bash -c 'umask 077; "$1/bin/pgv-crypt" --generate-key >"$1/key"; cat >"$1/bench.conf"' bash "$scratch" <<CONF
PGV_REPO=file://$scratch/repository
PGV_KEY_FILE=$scratch/key
PGV_PGDATA=$scratch/data
PGV_STATE_DIR=$scratch/state
PGV_WAL_JOBS=2
CONF
  cat >"$scratch/pgbackrest.conf" <<CONF
[global]
repo1-path=$scratch/pgbackrest
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass=bench
compress-type=zst
compress-level=3
process-max=2
log-level-console=warn
log-level-file=off
lock-path=$scratch/pgbackrest-lock
spool-path=$scratch/pgbackrest-spool
[bench]
pg1-path=$scratch/data
pg1-socket-path=$scratch
CONF
}

# The cluster before the WAL, and the WAL: all of it kept, none archived.
make_cluster() {
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
}

pgbackrest_command() { # OPTIONS…
  echo "pgbackrest --config=$scratch/pgbackrest.conf --stanza=bench $*"
}

pgv_command() { # TOOL
  echo "$scratch/bin/$1 -c $scratch/bench.conf"
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
  (cd "$scratch/data" && as_postgres bash -c 'pgbackrest=$1 pgv=$2
    export PGV_WAL_JOBS=1
    for name in "${@:3}"; do
      for tool in pgbackrest pgv; do
        start=${EPOCHREALTIME/[.,]/}
        sh -c "${!tool} pg_wal/$name" || exit
        stop=${EPOCHREALTIME/[.,]/}
        echo "sync-$tool $(((stop - start + 500) / 1000))"
      done
    done' bash "$(pgbackrest_command archive-push)" "$(pgv_command pgv-wal-push)" "$@") | tee --append "$scratch/times"
}

# From the moment that PostgreSQL may archive until nothing waits.
burst() { # COMMAND
  sql "alter system set archive_command = '$1 %p'"
  sql "select pg_reload_conf()" >/dev/null
  while [ -e "$scratch/data/pg_wal/archive_status/${names##*$'\n'}.ready" ]; do sleep 0.03; done
}

forget_stored() {
  # The last worker tidies up.
  sleep 1
  rm --recursive --force "$scratch/repository"/* "$scratch/state" "$scratch/pgbackrest/archive/bench/15-1" "$scratch/pgbackrest-spool"
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

recover() { # RESTORE-COMMAND
  as_postgres "$pg_bin/pg_ctl" --pgdata="$scratch/restored" --log="$scratch/log" --silent --wait --timeout=600 start >/dev/null
  while [ "$(psql --no-psqlrc --tuples-only --no-align --command='select pg_is_in_recovery()' 2>/dev/null)" != f ]; do sleep 0.1; done
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

replay() { # NAME RESTORE-COMMAND
  prepare_recovery "$2"
  milliseconds "$1" recover
  as_postgres "$pg_bin/pg_ctl" --pgdata="$scratch/restored" --silent --wait --mode=immediate stop
}

summary() {
  echo
  echo "median in milliseconds, and the ratio to pgv (sync: one segment; burst and replay: $segments segments):"
  LC_ALL=C sort --key=1,1 --key=2,2n "$scratch/times" | awk '{ v[$1] = v[$1] " " $2; n[$1]++ }
    END { for (k in v) { split(v[k], t, " "); m[k] = t[int((n[k] + 1) / 2)] }
      for (k in m) { base = k; sub(/-.*/, "-pgv", base); printf "%-22s %7d  %5.2f\n", k, m[k], m[k] / m[base] } }' | sort
  echo "stored bytes of the segments:"
  du --bytes --summarize "$scratch/repository" "$scratch/pgbackrest" | sed "s#$scratch/##"
}

main() {
  local round name
  [ "$(id -u)" -eq 0 ] || { echo "bench: run as root, it starts a server as user postgres" >&2; exit 2; }
  command -v pgbackrest >/dev/null || { echo "bench: pgbackrest is missing: apt-get install pgbackrest" >&2; exit 2; }
  scratch=$(mktemp --directory /var/tmp/pgv-bench.XXXXXX)
  trap clean_up EXIT
  chown postgres "$scratch"
  chmod 0755 "$scratch"
  mkdir "$scratch/bin"
  cp "$root"/target/release/pgv-{crypt,s3,info,peek,env} "$root"/scripts/pgv-{*.sh,wal-push,wal-get} "$scratch/bin/"
  # The client itself, not the script before it that looks for a version.
  export PATH=$pg_bin:$PATH PGHOST=$scratch PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
  configure
  make_cluster
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
    milliseconds burst-pgbackrest burst "$(pgbackrest_command --archive-async archive-push)"
  done
  as_postgres "$pg_bin/pg_ctl" --pgdata="$scratch/data" --silent --wait --mode=fast stop
  for name in $names; do cp "$scratch/data/pg_wal/$name" "$scratch/plain/"; done
  chown --recursive postgres "$scratch/plain"
  for round in $(seq "$rounds"); do
    replay replay-cp "cp $scratch/plain/%f %p"
    replay replay-pgbackrest "$(pgbackrest_command --pg1-path="$scratch/restored" --archive-async archive-get) %f %p"
    replay replay-pgv "$(pgv_command pgv-wal-get) %f %p"
  done
  summary
}

main

# Sourced by wal.sh and cloud-wal.sh, after lib.sh: a cluster with many segments that are ready to be archived, a burst of
# them, and recovery through all of them.
# shellcheck shell=bash disable=SC2154  # scratch, pg_bin and others of lib.sh

# The cluster before the WAL, and the WAL: all of it kept, none archived. Sets `names`.
make_wal() { # SEGMENTS
  local ready name
  make_data 'max_wal_size = 8GB' 'wal_keep_size = 8GB' 'archive_mode = on' "archive_command = ''" 'autovacuum = off'
  fill_with_pgbench 20
  stop "$scratch/data"
  cp --archive "$scratch/data" "$scratch/before"
  start "$scratch/data"
  while [ "$(find "$scratch/data/pg_wal/archive_status" -name '*.ready' | wc --lines)" -lt "$1" ]; do
    "$pg_bin/pgbench" --no-vacuum --client=4 --transactions=5000 >/dev/null 2>&1
    sql checkpoint
  done
  sql "select pg_switch_wal()" >/dev/null
  names=$(cd "$scratch/data/pg_wal/archive_status" && printf '%s\n' *.ready | sed 's/\.ready$//' | head --lines="$1")
  # No more than these, or workers that go ahead store others meanwhile.
  for ready in "$scratch/data/pg_wal/archive_status"/*.ready; do
    name=$(basename "$ready" .ready)
    [[ ! $name > ${names##*$'\n'} ]] || mv "$ready" "${ready%.ready}.done"
  done
}

# The commands that PostgreSQL runs, which do not change what they use: $scratch/bench.conf and $scratch/pgbackrest.conf do.
pgv_command() { echo "$scratch/bin/$1 -c $scratch/bench${2:-}.conf"; } # TOOL [WHICH CONFIGURATION]

pgbackrest_command() { echo "${pgbackrest:-pgbackrest} --config=$scratch/pgbackrest.conf --stanza=bench $*"; } # OPTIONS…

archive_with() { # COMMAND
  sql "alter system set archive_command = '$1'"
  sql "select pg_reload_conf()" >/dev/null
}

# From the moment that PostgreSQL may archive until nothing waits.
burst() { # COMMAND
  archive_with "$1 %p"
  while [ -e "$scratch/data/pg_wal/archive_status/${names##*$'\n'}.ready" ]; do sleep 0.03; done
}

make_ready() {
  local name
  archive_with ''
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

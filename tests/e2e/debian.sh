#!/usr/bin/env bash
# Debian's clusters: one made by pg_createcluster, with its configuration in /etc/postgresql and an
# archive_command, is backed up by the name that pg_lsclusters gives it, and restored beside the living
# original: with --as, so that pg_lsclusters knows it, and by the pipe typed by hand. The original's
# archive and data stay as they are.
# shellcheck disable=SC2016  # $1 in sh -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
need_root

name=pgv$$ copy=pgvcopy$$
bin=$debian_bin

drop() {
  local cluster
  for cluster in "$name" "$copy"; do
    pg_dropcluster --stop "$debian_major" "$cluster" 2>/dev/null || true
    rm --recursive --force "/etc/postgresql/$debian_major/$cluster"
  done
}

sql_at() { # PORT SQL
  as_postgres psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --host=/var/run/postgresql \
    --port="$1" --dbname=postgres --command="$2"
}

# What sudo -u postgres gives pgv-info: no environment, and the configuration in its own place.
info_by_itself() {
  local given=()
  [ ! -e /etc/pgv ] || given=("$debian_major-$name")
  mkdir --parents /etc/pgv
  cp --archive "$scratch/etc/$debian_major-$name.conf" /etc/pgv/
  runuser --user postgres -- env --ignore-environment PATH="$scratch/bin:/usr/bin:/bin" pgv-info "${given[@]}" --format label >"$scratch/labels" ||
    fail "pgv-info by itself exits with $?"
  rm "/etc/pgv/$debian_major-$name.conf"
  rmdir --ignore-fail-on-non-empty /etc/pgv
  [ "$(wc --lines <"$scratch/labels")" -eq 1 ] || fail "pgv-info by itself lists: $(cat "$scratch/labels")"
}

main() {
  begin_on_machine
  trap 'status=$?; set +e; drop; (exit "$status"); end' EXIT
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  unset PGHOST PGPORT PGUSER PGDATABASE
  as_postgres mkdir "$scratch/archive" "$scratch/etc" "$scratch/repository" "$scratch/data"
  pg_createcluster "$debian_major" "$name" --datadir "$scratch/data/source" -- --data-checksums >/dev/null
  local port archive_command
  port=$(pg_lsclusters --no-header | awk -v name="$name" '$2 == name { print $3 }')
  archive_command="test ! -f $scratch/archive/%f && cp %p $scratch/archive/%f"
  as_postgres tee --append "/etc/postgresql/$debian_major/$name/conf.d/archive.conf" >/dev/null <<CONF
archive_mode = on
archive_command = '$archive_command'
restore_command = 'cp $scratch/archive/%f %p'
fsync = off
CONF
  pg_ctlcluster "$debian_major" "$name" start
  sql_at "$port" "create table marks as select id from generate_series(1, 20000) id"
  as_postgres tee "$scratch/etc/$debian_major-$name.conf" >/dev/null <<CONF
PGV_REPO=file://$scratch/repository
PGV_KEY_FILE=$PGV_KEY_FILE
PGV_STATE_DIR=$scratch/state
CONF
  as_postgres chmod 0600 "$scratch/etc/$debian_major-$name.conf"
  export PGV_CONFIG_DIR=$scratch/etc

  # The port comes from pg_lsclusters; nothing but the name is given.
  as_postgres pgv-backup "$debian_major-$name" 2>"$scratch/err" || fail "pgv-backup exits with $?: $(cat "$scratch/err")"
  grep --quiet 'the server archives elsewhere' "$scratch/err" || fail "not a word on another's archive: $(cat "$scratch/err")"
  sql_at "$port" "insert into marks values (0); select pg_switch_wal()" >/dev/null
  local before
  for _ in $(seq 100); do
    [ "$(sql_at "$port" "select count(*) from pg_ls_archive_statusdir() where name like '%.ready'")" != 0 ] || break
    sleep 0.1
  done
  before=$(cd "$scratch/archive" && md5sum -- * | sort)

  info_by_itself

  # As root, with the original running.
  pgv-restore "$debian_major-$name" "$scratch/data/copy" --as "$debian_major/$copy" --start 2>"$scratch/err" ||
    fail "pgv-restore exits with $?: $(cat "$scratch/err")"
  local copy_port
  copy_port=$(pg_lsclusters --no-header | awk -v name="$copy" '$2 == name && $4 ~ /^online/ { print $3 }')
  [ -n "$copy_port" ] || fail "pg_lsclusters does not show the copy online: $(pg_lsclusters)"
  [ "$copy_port" != "$port" ] || fail "the copy has the original's port"
  [ "$(sql_at "$copy_port" 'select count(*) from marks')" = 20000 ] || fail "the copy is not the backup"
  [ "$(sql_at "$copy_port" 'show archive_mode')" = off ] || fail "the copy archives"
  [ "$(sql_at "$copy_port" 'show data_directory')" = "$scratch/data/copy" ] || fail "the copy runs on other data"
  sql_at "$copy_port" "create table only_here (); select pg_switch_wal()" >/dev/null
  pg_ctlcluster "$debian_major" "$copy" stop

  # What has shut down at its target is no failure of pg_ctlcluster.
  rm --recursive "/etc/postgresql/$debian_major/$copy" "$scratch/data/copy"
  pgv-restore "$debian_major-$name" "$scratch/data/copy" --as "$debian_major/$copy" --immediate --action shutdown --start 2>"$scratch/err" ||
    fail "pgv-restore --action shutdown exits with $?: $(cat "$scratch/err")"

  # By hand, as README says it.
  as_postgres mkdir --mode=0700 "$scratch/data/by-hand"
  as_postgres sh -c 'set -e; url=$(pgv-info choose "$1" --latest); pgv-s3 get "$url/data.pgv" | pgv-crypt -d | tar x -C "$2"' \
    sh "$debian_major-$name" "$scratch/data/by-hand"
  as_postgres tee --append "$scratch/data/by-hand/postgresql.auto.conf" >/dev/null <<CONF
restore_command = 'false'
archive_mode = off
port = $((port + 20))
CONF
  as_postgres sh -c 'cp "$1"/pgv/config/*.conf "$1/" && : >"$1/pg_ident.conf"
    for line in "data_directory = '\''$1'\''" "hba_file = '\''$1/pg_hba.conf'\''" "ident_file = '\''$1/pg_ident.conf'\''" "external_pid_file = '\'''\''"; do
      echo "$line" >>"$1/postgresql.conf"; done; sed -i "/^include_dir/d" "$1/postgresql.conf"' sh "$scratch/data/by-hand"
  as_postgres "$bin/pg_ctl" --pgdata="$scratch/data/by-hand" --log="$scratch/by-hand.log" --silent --wait start ||
    fail "the copy laid down by hand does not start: $(cat "$scratch/by-hand.log")"
  for _ in $(seq 100); do
    [ "$(sql_at $((port + 20)) 'select pg_is_in_recovery()')" != f ] || break
    sleep 0.1
  done
  [ "$(sql_at $((port + 20)) 'select count(*) from marks')" = 20000 ] || fail "the copy by hand is not the backup"
  sql_at $((port + 20)) "create table only_by_hand (); select pg_switch_wal()" >/dev/null
  as_postgres "$bin/pg_ctl" --pgdata="$scratch/data/by-hand" --silent --mode=fast stop

  [ "$(cd "$scratch/archive" && md5sum -- * | sort)" = "$before" ] || fail "a copy wrote into the original's archive"
  [ "$(sql_at "$port" 'select count(*) from marks')" = 20001 ] || fail "the original was harmed"
  [ "$(sql_at "$port" "select failed_count from pg_stat_archiver")" = 0 ] || fail "the original's archiving fails"
  echo "Debian: backed up by name, restored --as and by hand beside the living original"
}

main

#!/usr/bin/env bash
# A copy beside its running original, whose configuration names places, addresses and standbys of its own, lies outside the
# data directory, and logs as CSV: the copy touches none of that, comes up where it was asked to, also where settings were
# raised after the backup and no transaction follows the moment, and can be given again whatever killed its restore.
# shellcheck disable=SC2016  # $1 in bash -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
major=${1:-$debian_major}
root=$(cd "$(dirname "$0")/../.." && pwd)
copy=5440

configure() {
  as_postgres mkdir "$scratch/etc" "$scratch/repository" "$scratch/pgetc" "$scratch/logs"
  as_postgres install --mode=0600 /dev/null "$scratch/etc/demo.conf"
  as_postgres tee "$scratch/etc/demo.conf" >/dev/null <<CONF
PGV_REPO=file://$scratch/repository
PGV_KEY_FILE=$PGV_KEY_FILE
PGV_STATE_DIR=$scratch/state
PGV_PGDATA=$source
PGV_WAL_TIMEOUT=20s
PGHOST="$scratch"
CONF
  unset PGV_KEY_FILE
  export PGV_CONFIG_DIR=$scratch/etc PGV_TEST_PG_BIN=$bin
  # The main file lies elsewhere; initdb's own stays in the data directory, and is not read.
  as_postgres cp "$source/postgresql.conf" "$scratch/pgetc/postgresql.conf"
  as_postgres tee --append "$scratch/pgetc/postgresql.conf" >/dev/null <<CONF
data_directory = '$source'
hba_file = '$source/pg_hba.conf'
external_pid_file = '$scratch/logs/server.pid'
logging_collector = on
log_destination = 'csvlog'
log_directory = '$scratch/logs'
log_filename = 'server.log'
max_connections = 30
archive_mode = on
archive_command = '$scratch/bin/pgv-wal-push -c $scratch/etc/demo.conf %p'
include 'more.conf'
CONF
  echo "shared_preload_libraries = 'auto_explain'" | as_postgres tee "$scratch/pgetc/more.conf" >/dev/null
}

start_original() {
  as_postgres "$bin/pg_ctl" --pgdata="$source" --options="-c config_file=$scratch/pgetc/postgresql.conf" --log="$source.log" --wait --silent start
}

restore() { # DIR OPTION…
  local directory=$1
  shift
  as_postgres timeout 120 pgv-restore demo "$directory" --port "$copy" --start "$@" 2>"$scratch/err" || fail "restoring $* exits with $?: $(cat "$scratch/err")"
}

said() { # TEXT
  grep --quiet --fixed-strings -- "$1" "$scratch/err" || fail "no \"$1\" in: $(cat "$scratch/err")"
}

# The original runs on; what names it acts on nothing of it.
beside() {
  local pid before setting
  pid=$(head --lines=1 "$source/postmaster.pid")
  before=$(as_postgres stat --format='%s %Y' "$scratch/logs/server.csv")
  restore "$scratch/copy" --immediate
  [ "$(cat "$scratch/logs/server.pid")" = "$pid" ] || fail "the copy wrote external_pid_file"
  [ "$(as_postgres stat --format='%s %Y' "$scratch/logs/server.csv")" = "$before" ] || fail "the copy wrote the original's log"
  for setting in max_connections=30 log_directory=log synchronous_standby_names= archive_mode=off shared_preload_libraries=auto_explain "data_directory=$scratch/copy" \
    "config_file=$scratch/copy/postgresql.conf" "external_pid_file="; do
    [ "$(PGPORT=$copy sql "show ${setting%%=*}")" = "${setting#*=}" ] || fail "in the copy ${setting%%=*} is $(PGPORT=$copy sql "show ${setting%%=*}")"
  done
  # Without a standby the first commit would wait for ever.
  PGPORT=$copy PGOPTIONS='-c statement_timeout=20s' sql 'insert into rows values (9)'
  stop_cluster "$bin" "$scratch/copy"
  [ "$(cat "$scratch/logs/server.pid" 2>&1)" = "$(head --lines=1 "$source/postmaster.pid")" ] || fail "the original was harmed"
  [ -e "$scratch/copy/postgresql.conf.unused" ] || fail "the file that was not read is gone"
  rm --recursive "$scratch/copy"
}

# Raised after the backup: recovery needs it, and gets it.
raised() {
  restore "$scratch/copy"
  said 'recovery needs max_connections = 60'
  said 'the last transaction that was replayed: 20'
  [ "$(PGPORT=$copy sql 'show max_connections')" = 60 ] || fail "max_connections is $(PGPORT=$copy sql 'show max_connections')"
  [ "$(PGPORT=$copy sql 'select max(id) from rows')" = 3 ] || fail "not all is there"
  stop_cluster "$bin" "$scratch/copy"
  rm --recursive "$scratch/copy"
}

# Nothing followed the moment: the archive's end is the answer, and the server stays where it was to.
idle() {
  restore "$scratch/copy" --time "$moment" --action pause
  said 'no transaction in the archive ended after'
  [ "$(PGPORT=$copy sql 'select pg_is_in_recovery(), pg_is_wal_replay_paused(), max(id) from rows')" = 't|t|3' ] || fail "not paused at the end"
  stop_cluster "$bin" "$scratch/copy"
  rm --recursive "$scratch/copy"
}

# Laid down, and not started because the original has the port: the same command goes on from there. A postmaster.pid of
# before a crash, whose process is another's by now, is no server.
port_taken() {
  local status=0 inode
  as_postgres timeout 120 pgv-restore demo "$scratch/copy" --immediate --port 5432 --start 2>"$scratch/err" || status=$?
  [ "$status" -eq 1 ] || fail "with a port that is taken pgv-restore exits with $status: $(cat "$scratch/err")"
  said "--start --settings-only"
  as_postgres sh -c 'echo $$ >"$1/postmaster.pid"; exec sleep 300' sh "$scratch/copy" &
  wait_until grep --quiet . "$scratch/copy/postmaster.pid"
  as_postgres pgv-restore demo "$scratch/copy" --immediate --settings-only 2>"$scratch/err" || fail "a reused process number: $(cat "$scratch/err")"
  kill "$(cat "$scratch/copy/postmaster.pid")"
  wait || true
  restore "$scratch/copy" --immediate --settings-only
  stop_cluster "$bin" "$scratch/copy"
  rm --recursive "$scratch/copy"
  as_postgres timeout 120 pgv-restore demo "$scratch/copy" --immediate --port 5432 --start 2>"$scratch/err" || status=$?
  inode=$(stat --format=%i "$scratch/copy/PG_VERSION")
  restore "$scratch/copy" --immediate
  said 'contains backup'
  [ "$(stat --format=%i "$scratch/copy/PG_VERSION")" = "$inode" ] || fail "it was restored again"
  stop_cluster "$bin" "$scratch/copy"
  status=0
  as_postgres pgv-restore demo "$scratch/copy" --immediate 2>"$scratch/err" || status=$?
  [ "$status" -eq 6 ] || fail "restoring over what was started exits with $status: $(cat "$scratch/err")"
  rm --recursive "$scratch/copy"
}

# Of root: what comes into the state directory is its owner's, and a backup and a restore exclude each other.
as_root() {
  local status=0 found place=$scratch/state
  [ "$(id --user)" -eq 0 ] || return 0
  as_postgres mv "$place" "$scratch/away"
  # shellcheck disable=SC2016  # of that shell
  printf '#!/bin/sh\nrunuser --user postgres -- flock --nonblock "%s/lock" true && echo free >"%s/free"\nexec "%s/recover" "$@"\n' "$place" "$scratch" "$scratch" >"$scratch/shim"
  mv "$scratch/bin/pgv-recover" "$scratch/recover"
  install --mode=0755 "$scratch/shim" "$scratch/bin/pgv-recover"
  cp "$scratch/bin/"*.sh "$scratch/"
  # Where PGV_PGDATA is on a new host; its configuration is all there is of it.
  as_postgres mkdir "$scratch/new"
  (cd "$scratch" && PGV_STATE_DIR=state PGV_PGDATA="$scratch/new/data" PGV_CONFIG_DIR=etc PGV_KEY_FILE=key:etc/../key pgv-restore demo "$scratch/new/data" --immediate) 2>"$scratch/err" || fail "root's restore exits with $?: $(cat "$scratch/err")"
  mv "$scratch/recover" "$scratch/bin/pgv-recover"
  [ ! -e "$scratch/free" ] || fail "nothing excludes a backup while root restores"
  found=$(find "$place" "$scratch/new" ! -user postgres)
  [ -z "$found" ] || fail "root left $found"
  [ -d "$place/manifest" ] || fail "no lock was taken"
  as_postgres flock --nonblock "$place/lock" true || fail "the lock outlives the restore"
  rm --recursive "$scratch/new/data"
  flock "$place/lock" env PGV_PGDATA="$scratch/new/data" pgv-restore demo "$scratch/new/data" --immediate 2>"$scratch/err" || status=$?
  [ "$status" -eq 75 ] || fail "root restores while another holds the lock: $status: $(cat "$scratch/err")"
  rm --recursive "$scratch/new" "$place"
  mv "$scratch/away" "$place"
}

# Killed before the settings were written, no server starts; the same command goes on.
killed() {
  local status=0
  mv "$scratch/bin/pgv-recover" "$scratch/recover"
  printf '#!/bin/sh\nkill -9 $PPID\n' >"$scratch/bin/pgv-recover"
  chmod 0755 "$scratch/bin/pgv-recover"
  as_postgres pgv-restore demo "$scratch/copy" --immediate --port "$copy" 2>/dev/null || status=$?
  mv "$scratch/recover" "$scratch/bin/pgv-recover"
  [ "$status" -ne 0 ] || fail "a killed restore succeeds"
  [ ! -e "$scratch/copy/global/pg_control" ] || fail "a killed restore can be started"
  restore "$scratch/copy" --immediate
  stop_cluster "$bin" "$scratch/copy"
}

# Ended by a signal, it leaves no stage behind.
ended() {
  local status=0 restore
  mv "$scratch/bin/pgv-s3" "$scratch/s3"
  printf '#!/bin/sh\ncase "$*" in *data.pgv) echo $$ >"%s"; exec sleep 300;; esac\nexec "%s" "$@"\n' "$scratch/state/stage" "$scratch/s3" >"$scratch/bin/pgv-s3"
  chmod 0755 "$scratch/bin/pgv-s3"
  as_postgres rm --force "$scratch/state/stage"
  as_postgres pgv-restore demo "$scratch/ended" --immediate 2>"$scratch/err" &
  restore=$!
  wait_until grep --quiet . "$scratch/state/stage"
  kill -TERM "$(pgrep --full --oldest "^bash $scratch/bin/pgv-restore demo $scratch/ended")"
  wait "$restore" || status=$?
  mv "$scratch/s3" "$scratch/bin/pgv-s3"
  [ "$status" -eq 143 ] || fail "a restore that was ended exits with $status: $(cat "$scratch/err")"
  [ ! -e "/proc/$(cat "$scratch/state/stage")" ] || fail "a stage of a restore that was ended goes on"
}

# The rate goes to whatever reads the streams, by option or by key, and into the plan; a wrong one is refused.
rates() {
  local status=0
  mv "$scratch/bin/pgv-s3" "$scratch/s3"
  printf '#!/bin/sh\ncase "$*" in *data.pgv) echo "$*" >>"%s";; esac\nexec "%s" "$@"\n' "$scratch/state/gets" "$scratch/s3" >"$scratch/bin/pgv-s3"
  chmod 0755 "$scratch/bin/pgv-s3"
  as_postgres pgv-restore demo "$scratch/slow" --immediate --rate 900MiB/s 2>"$scratch/err" || fail "with a rate: $?: $(cat "$scratch/err")"
  grep --quiet ' get --rate 900MiB/s file:' "$scratch/state/gets" || fail "no rate in: $(cat "$scratch/state/gets")"
  rm --recursive "$scratch/slow"
  as_postgres env PGV_RESTORE_RATE=800MiB/s pgv-restore demo "$scratch/slow" --immediate 2>"$scratch/err" || fail "with a key: $?: $(cat "$scratch/err")"
  grep --quiet ' get --rate 800MiB/s file:' "$scratch/state/gets" || fail "no rate of the key in: $(cat "$scratch/state/gets")"
  mv "$scratch/s3" "$scratch/bin/pgv-s3"
  rm --recursive "$scratch/slow"
  as_postgres pgv-restore demo "$scratch/slow" --immediate --rate 1KiB/s --plan >"$scratch/out" 2>"$scratch/err" || fail "a plan with a rate: $?: $(cat "$scratch/err")"
  grep --quiet 'for the backup, read at 1.0 KiB/s' "$scratch/out" || fail "the plan: $(cat "$scratch/out")"
  as_postgres pgv-restore demo "$scratch/slow" --immediate --rate 5 2>"$scratch/err" || status=$?
  [ "$status" -eq 2 ] || fail "a rate that is none: $status: $(cat "$scratch/err")"
  [ ! -e "$scratch/slow" ] || fail "something was written"
}

# As JSON, and refused where nothing is planned.
json_plan() {
  local status=0
  as_postgres pgv-restore demo "$scratch/planned" --immediate --plan --format json >"$scratch/out" 2>"$scratch/err" || fail "the plan as JSON: $?: $(cat "$scratch/err")"
  python3 -c 'import json, sys
plan = json.load(open(sys.argv[1]))
wanted = {"format": "pgv-plan/1", "key_opens": True, "enough_room": True, "seconds_from": "guess", "directory": sys.argv[2], "bad_pages": 0}
assert {key: plan[key] for key in wanted} == wanted, plan
assert plan["target"]["kind"] == "immediate" and plan["places"][0]["bytes"] > 1000000, plan' "$scratch/out" "$scratch/planned" || fail "the plan: $(cat "$scratch/out")"
  as_postgres pgv-restore demo "$scratch/planned" --immediate --format json 2>"$scratch/err" || status=$?
  [ "$status" -eq 2 ] || fail "--format without --plan: $status"
  said '--format needs --plan'
}

# A page that was bad when it was backed up comes back as it was, with a warning; or is refused before anything is written.
bad_pages() {
  local file status=0
  file=$source/$(PGPORT=5432 sql "select pg_relation_filepath('padded')")
  stop_cluster "$bin" "$source"
  flip "$file" 5000
  start_original
  as_postgres pgv-backup demo --type full 2>"$scratch/err" || status=$?
  [ "$status" -eq 7 ] || fail "a backup with a bad page exits with $status: $(cat "$scratch/err")"
  status=0
  as_postgres pgv-restore demo "$scratch/bad" --strict --immediate 2>"$scratch/err" || status=$?
  [ "$status" -eq 5 ] || fail "--strict exits with $status: $(cat "$scratch/err")"
  said 'have bad pages: 1 had a wrong checksum'
  [ ! -e "$scratch/bad" ] || fail "--strict wrote something"
  as_postgres pgv-restore demo "$scratch/bad" --immediate --plan >"$scratch/out" 2>"$scratch/err" || fail "the plan exits with $?"
  grep --quiet '^pages  *1 bad' "$scratch/out" || fail "the plan: $(cat "$scratch/out")"
  status=0
  as_postgres pgv-restore demo "$scratch/bad" --immediate 2>"$scratch/err" || status=$?
  [ "$status" -eq 7 ] || fail "a restore of a bad page exits with $status: $(cat "$scratch/err")"
  said 'warning: backup'
  cmp "$file" "$scratch/bad/${file#"$source/"}" || fail "the page is another"
  # An older backup has none.
  as_postgres pgv-restore demo "$scratch/good" --immediate --strict --label "$(as_postgres pgv-info demo --format label | head --lines=1)" 2>"$scratch/err" ||
    fail "--strict refuses a good backup: $?: $(cat "$scratch/err")"
  stop_cluster "$bin" "$source"
}

# A directory that this user may not enter; everything relative to it.
from_a_closed_directory() {
  [ "$(id --user)" -eq 0 ] || return 0
  mkdir --mode=0700 "$scratch/closed"
  (cd "$scratch/closed" && as_postgres pgv-restore demo "$scratch/planned" --plan >"$scratch/out" 2>"$scratch/err") || fail "the plan exits with $?: $(cat "$scratch/err")"
  [ ! -s "$scratch/err" ] || fail "in a closed directory: $(cat "$scratch/err")"
}

main() {
  begin
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  source=$scratch/source bin=$(server_bin "$major")
  create_cluster "$bin" "$source"
  configure
  start_original
  sql 'create table rows (id int); insert into rows values (1)'
  sql "alter system set synchronous_standby_names = 'nobody'"
  as_postgres pgv-backup demo 2>"$scratch/err" || fail "pgv-backup exits with $?: $(cat "$scratch/err")"
  beside
  port_taken
  as_root
  killed
  rm --recursive "$scratch/copy"
  sql 'alter system reset synchronous_standby_names'
  sql 'alter system set max_connections = 60'
  stop_cluster "$bin" "$source"
  start_original
  sql 'insert into rows values (3)'
  sleep 1.1
  moment=$(sql 'select clock_timestamp()')
  sleep 1.1
  sql checkpoint
  sql 'select pg_switch_wal()' >/dev/null
  wait_until all_is_archived
  sleep 1.1
  stop_cluster "$bin" "$source"
  raised
  idle
  from_a_closed_directory
  ended
  rates
  json_plan
  start_original
  sql "create table padded as select repeat('x', 500) from generate_series(1, 100); checkpoint"
  bad_pages
  echo "copies of PostgreSQL $major: beside their original, and at their targets"
}

main

#!/usr/bin/env bash
# PGV_KEEP_WAL, on Debian's PostgreSQL: expiry takes the WAL between an old backup and the window and nothing else; the old
# one comes back as it was at its end, a later target from it is refused before anything is written, and every moment of
# the window comes back. A hole that expiry made is no finding, a lost segment is one, and a copy that was restored to the
# end of the old backup goes on in the same archive.
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)

configure() { # NAME DATA
  as_postgres install --mode=0600 /dev/null "$scratch/etc/$1.conf"
  as_postgres tee "$scratch/etc/$1.conf" >/dev/null <<CONF
PGV_CLUSTER=demo
PGV_REPO=file://$scratch/repository
PGV_KEY_FILE=$scratch/key
PGV_STATE_DIR=$scratch/state-$1
PGV_PGDATA=$2
PGV_KEEP_LAST=9
PGV_KEEP_WAL=1d
PGV_EXPIRE=no
PGHOST="$scratch"
CONF
}

backup() { # LABEL-VARIABLE NAME
  as_postgres pgv-backup demo --config "$scratch/etc/$2.conf" --type full 2>"$scratch/err" || fail "the backup exits with $?: $(cat "$scratch/err")"
  printf -v "$1" %s "$(as_postgres pgv-info demo --config "$scratch/etc/demo.conf" --format label | tail --lines=1)"
}

add() { # ROW: sets `moment`, after which its segment is archived
  sql "insert into rows select $1"
  moment=$(sql "select clock_timestamp()")
  sleep 1.1
  sql "insert into noise select $1; select pg_switch_wal()" >/dev/null
  wait_until all_is_archived
}

segments() { # [TIMELINE]
  find "$tree/0000000${1:-1}" -name '????????????????????????.pgv' -printf '%f\n' | sort | sed 's/\.pgv$//'
}

own() { # LABEL: its first and last segment
  as_postgres pgv-info demo --config "$scratch/etc/demo.conf" --label "$1" --format tsv | cut --fields=13,14
}

restore() { # EXPECTED-ROWS OPTION…
  as_postgres pgv-restore demo "$scratch/restored" --config "$scratch/etc/demo.conf" --port 5440 --start "${@:2}" 2>"$scratch/err" ||
    fail "restoring ${*:2} exits with $?: $(cat "$scratch/err")"
  [ "$(PGPORT=5440 sql "select string_agg(id::text, ' ' order by id) from rows")" = "$1" ] ||
    fail "restored ${*:2}: $(PGPORT=5440 sql "select string_agg(id::text, ' ' order by id) from rows") instead of $1"
  stop_cluster "$bin" "$scratch/restored"
  rm --recursive "$scratch/restored"
}

expect() { # STATUS WORDS COMMAND…
  local status=0
  as_postgres "${@:3}" >"$scratch/out" 2>"$scratch/err" || status=$?
  [ "$status" -eq "$1" ] || fail "${*:3} exits with $status instead of $1: $(cat "$scratch/out" "$scratch/err")"
  [ -z "$2" ] || grep --quiet --fixed-strings -- "$2" "$scratch/out" "$scratch/err" || fail "${*:3}: no \"$2\" in $(cat "$scratch/out" "$scratch/err")"
}

expect_refusal() { # WORDS OPTION…
  expect 3 "$1" pgv-restore demo "$scratch/refused" --config "$scratch/etc/demo.conf" "${@:2}"
  [ ! -e "$scratch/refused" ] || fail "a refusal wrote something"
}

info_wal() { # STATUS WORDS [OPTION…]
  expect "$1" "$2" env PGV_KEEP_WAL=1d pgv-info wal demo --repo "file://$scratch/repository" --format tsv --now "$now" "${@:3}"
}

live() {
  local name
  add 1
  backup old demo
  # The end of a backup is in whole seconds, and is rounded up.
  sleep 1.1
  add 2
  second=$moment
  add 3
  backup beginning demo
  # As if they had been there for hours; with the beginning's own last segment.
  for name in $(segments); do touch --date='3 hours ago' "$tree/00000001/$name.pgv"; done
  sleep 2.1
  # A day before this the window begins.
  now=$(date --utc --date='+1 day' +%Y-%m-%dT%H:%M:%SZ)
  sleep 1.1
  add 4
  fourth=$moment
  backup newest demo
  add 5
}

expiry() {
  local first last from
  info_wal 0 window
  segments >"$scratch/before"
  read -r first last < <(own "$old")
  read -r from _ < <(own "$beginning")
  # By another way than the program's.
  awk -v first="$first" -v last="$last" -v from="$from" '{ name = $1 "" } (name >= first "" && name <= last "") || name >= from ""' "$scratch/before" >"$scratch/wanted"
  [ "$(wc --lines <"$scratch/before")" -ge "$(($(wc --lines <"$scratch/wanted") + 3))" ] || fail "too little is to go: $(cat "$scratch/before")"
  for _ in once again; do
    expect 0 '' pgv-expire demo --config "$scratch/etc/demo.conf" --now "$now"
    segments | diff "$scratch/wanted" - || fail "other WAL is left"
    [ "$(as_postgres pgv-info demo --config "$scratch/etc/demo.conf" --format label)" = "$(printf '%s\n' "$old" "$beginning" "$newest")" ] || fail "a backup went"
  done
  # The beginning stays whatever the rules are; what is given replaces those of the configuration.
  expect 0 "$old" pgv-expire demo --config "$scratch/etc/demo.conf" --now "$now" --keep-last 1 --keep-wal 1d --dry-run
  [ "$(cat "$scratch/out")" = "$old" ] || fail "the beginning goes: $(cat "$scratch/out")"
}

what_is_left() {
  local lost
  info_wal 0 "point	demo"
  # Where the key is not set, nobody knows what made the hole.
  expect 7 "gap	demo" env -u PGV_KEEP_WAL pgv-info wal demo --repo "file://$scratch/repository" --format tsv
  sed --in-place 's/PGV_KEEP_WAL=1d/PGV_KEEP_WAL=1s/' "$scratch/etc/demo.conf"
  expect 0 "backup $old can be restored to its end" pgv-verify demo --config "$scratch/etc/demo.conf" --wal
  sed --in-place 's/PGV_KEEP_WAL=1s/PGV_KEEP_WAL=1d/' "$scratch/etc/demo.conf"
  lost=$(segments | tail --lines=2 | head --lines=1).pgv
  mv "$tree/00000001/$lost" "$scratch/lost"
  info_wal 7 "gap	demo"
  mv "$scratch/lost" "$tree/00000001/$lost"
}

restores() {
  restore 1 --label "$old" --immediate
  expect 0 "$old is good" pgv-drill demo --config "$scratch/etc/demo.conf" --label "$old"
  restore '1 2 3 4' --time "$fourth"
  restore '1 2 3 4 5' --label "$beginning"
  restore '1 2 3 4 5'
  expect_refusal 'has a hole at' --label "$old"
  expect_refusal "backup $newest reaches the target" --label "$old"
  expect_refusal "--label $old --immediate" --label "$old" --time "$fourth"
  expect_refusal "is the end of backup $beginning" --time "$second"
  expect_refusal 'has a hole at' --label "$old" --name nowhere
  # In a copy every segment was stored later than all of its moments.
  touch --date=now "$tree/00000001/$(own "$old" | cut --fields=2).pgv"
  expect_refusal 'no transaction before it ended after' --label "$old" --time "$fourth"
  expect_refusal 'no transaction before it ended after' --time "$second"
  touch --date='3 hours ago' "$tree/00000001/$(own "$old" | cut --fields=2).pgv"
}

# Its timeline begins in the midst of what is left for the old backup.
a_copy_goes_on() {
  stop_cluster "$bin" "$scratch/primary"
  as_postgres pgv-restore demo "$scratch/second" --config "$scratch/etc/demo.conf" --port 5432 --label "$old" --immediate --archive keep --start 2>"$scratch/err" ||
    fail "restoring exits with $?: $(cat "$scratch/err")"
  configure second "$scratch/second"
  sql "alter system set archive_command = '$scratch/bin/pgv-wal-push -c $scratch/etc/second.conf %p'"
  # After three failures the archiver sleeps for a minute.
  stop_cluster "$bin" "$scratch/second"
  start_cluster "$bin" "$scratch/second"
  add 6
  [ -n "$(segments 2)" ] || fail "nothing of timeline 2 is archived"
  info_wal 0 "window	demo"
  segments >"$scratch/before"
  expect 0 '' pgv-expire demo --config "$scratch/etc/second.conf" --now "$now"
  segments | diff "$scratch/before" - || fail "WAL of timeline 1 went"
  restore '1 6' --label "$old" --timeline latest
  backup at_second second
  add 7
  restore '1 6 7'
  info_wal 0 "window	demo"
  stop_cluster "$bin" "$scratch/second"
}

old='' beginning='' newest=''
begin
unset PGV_KEY_FILE
cp "$root"/scripts/pgv-* "$scratch/bin/"
bin=$debian_bin
export PGV_CONFIG_DIR=$scratch/nowhere PGV_TEST_PG_BIN=$bin
as_postgres mkdir "$scratch/etc" "$scratch/repository"
configure demo "$scratch/primary"
create_cluster "$bin" "$scratch/primary"
as_postgres tee --append "$scratch/primary/postgresql.conf" >/dev/null <<CONF
archive_mode = on
archive_command = '$scratch/bin/pgv-wal-push -c $scratch/etc/demo.conf %p'
CONF
start_cluster "$bin" "$scratch/primary"
tree=$scratch/repository/demo/$(sql "select system_identifier from pg_control_system()")/wal
sql "create table rows (id int); create table noise (id int)"
live
expiry
what_is_left
restores
a_copy_goes_on
echo "window: WAL before it went, every promise was kept"

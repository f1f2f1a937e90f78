#!/usr/bin/env bash
# A server that was promoted while it did not archive: PostgreSQL never archives the history of its timeline. What lacks it
# is said, what can be restored without it is, and the next backup puts it into the archive, from where all is restored.
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
bin=$debian_bin

# A row, and then the moment: of a transaction after it there is WAL, and all of it is archived.
add() { # ROW
  sql "insert into rows select $1"
  sleep 1.1
  moment=$(sql 'select clock_timestamp()')
  sleep 1.1
  sql "insert into noise select $1; select pg_switch_wal()" >/dev/null
  wait_until all_is_archived
  # Later than this was stored, by a clock of whole seconds.
  sleep 1.1
}

backup() {
  as_postgres pgv-backup demo 2>"$scratch/err" || fail "the backup exits with $?: $(cat "$scratch/err")"
}

restore() { # EXPECTED-ROWS [OPTION…]
  local expected=$1 found
  shift
  as_postgres pgv-restore demo "$scratch/restored" --port 5440 --start "$@" 2>"$scratch/err" || fail "restoring $* exits with $?: $(cat "$scratch/err")"
  found=$(PGPORT=5440 sql "select string_agg(id::text, ' ' order by id) from rows")
  [ "$found" = "$expected" ] || fail "restored $*: $found instead of $expected"
  restored_timeline=$((16#$(PGPORT=5440 sql 'select left(pg_walfile_name(pg_current_wal_lsn()), 8)')))
  stop_cluster "$bin" "$scratch/restored"
  rm --recursive "$scratch/restored"
}

# STATUS, a part of what is printed, and the command.
expect() { # STATUS TEXT COMMAND…
  local status=0
  as_postgres "${@:3}" >"$scratch/out" 2>&1 || status=$?
  [ "$status" -eq "$1" ] || fail "${*:3} exits with $status: $(cat "$scratch/out")"
  grep --quiet --fixed-strings -- "$2" "$scratch/out" || fail "${*:3} does not say \"$2\": $(cat "$scratch/out")"
  [ ! -e "$scratch/refused" ] || fail "a refusal wrote something"
}

# As README says it, at 3 a.m.
restore_and_decide() {
  stop_cluster "$bin" "$scratch/primary"
  as_postgres pgv-restore demo "$scratch/primary" --replace --start 2>"$scratch/err" || fail "--replace exits with $?: $(cat "$scratch/err")"
  readme_block decide | sed "s|/var/lib/postgresql/15/main|$scratch/primary|; s|pg_ctlcluster 15 main|true|" >"$scratch/typed"
  as_postgres bash -e "$scratch/typed" || fail "README's block exits with $?"
  stop_cluster "$bin" "$scratch/primary"
  start_cluster "$bin" "$scratch/primary"
}

# Nothing can be followed to timeline 2; and the moments of timeline 1 can be restored all the same.
without_the_history() {
  expect 7 'timeline 2: its history, 00000002.history, is not in the archive' pgv-info wal demo --format table
  expect 7 $'history\tdemo' pgv-info wal demo --format tsv
  ! grep --quiet --perl-regexp '^window\t.*\t2\t' "$scratch/out" || fail "a window that cannot be restored: $(cat "$scratch/out")"
  grep --quiet --perl-regexp '^window\tdemo\t[0-9]+\t1\t' "$scratch/out" || fail "no window of timeline 1: $(cat "$scratch/out")"
  expect 7 'BAD  archiving: timeline 2: its history' pgv-check demo
  expect 7 'BAD  timeline 2: its history' pgv-verify demo
  expect 3 'pgv-backup demo' pgv-restore demo "$scratch/refused"
  expect 3 '00000002.history' pgv-restore demo "$scratch/refused" --time "$on_second" --timeline 2
  ! grep --quiet 'existing timelines' "$scratch/out" || fail "a hint that contradicts: $(cat "$scratch/out")"
  expect 3 'there is no timeline 7' pgv-restore demo "$scratch/refused" --timeline 7
  # And the number that is in use is not taken again.
  restore 1 --time "$on_first"
  [ "$restored_timeline" -eq 3 ] || fail "a restored copy takes timeline $restored_timeline"
  restore '1 2' --timeline current
}

with_the_history() {
  backup
  grep --quiet 'archived the history of timeline 2' "$scratch/err" || fail "nobody speaks of the history: $(cat "$scratch/err")"
  add 4
  expect 0 window pgv-info wal demo --format tsv
  grep --quiet --perl-regexp '^window\tdemo\t[0-9]+\t2\t' "$scratch/out" || fail "no window of timeline 2: $(cat "$scratch/out")"
  expect 0 'the history of each timeline' pgv-check demo
  expect 0 ok pgv-verify demo
  restore '1 2 3 4'
  restore '1 2 3' --time "$on_second" --timeline latest
  restore '1 2 3 4' --time "$moment"
  restore 1 --time "$on_first"
  [ "$restored_timeline" -eq 3 ] || fail "a restored copy takes timeline $restored_timeline"
  # Another time it is there, and nothing is said.
  backup
  ! grep --quiet history "$scratch/err" || fail "the history again: $(cat "$scratch/err")"
}

# The third timeline's server has the history of the second, too.
again() {
  local stored=$scratch/repository/demo/$system/wal/00000002/00000002.history.pgv
  restore_and_decide
  rm "$stored"
  backup
  [ -e "$stored" ] || fail "the history of a timeline on the way is not archived"
  expect 0 window pgv-info wal demo --format tsv
}

# Two servers that went their own ways under one number.
other_content() {
  local before
  before=$(as_postgres pgv-info demo --format label | wc --lines)
  as_postgres cp "$scratch/primary/pg_wal/00000003.history" "$scratch/own"
  echo '# another' | as_postgres tee --append "$scratch/primary/pg_wal/00000003.history" >/dev/null
  expect 1 'has other content' pgv-backup demo
  [ "$(as_postgres pgv-info demo --format label | wc --lines)" -eq "$before" ] || fail "a backup of another history is recorded"
  as_postgres cp "$scratch/own" "$scratch/primary/pg_wal/00000003.history"
  backup
}

main() {
  begin
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  start_primary "$bin" PGV_WAL_TIMEOUT=20s
  sql 'create table rows (id int); create table noise (id int)'
  backup
  add 1
  on_first=$moment
  add 2
  restore_and_decide
  add 3
  on_second=$moment
  without_the_history
  with_the_history
  again
  other_content
  echo "histories: missed, done without, archived by the next backup, and compared"
}

main

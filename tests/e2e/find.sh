#!/usr/bin/env bash
# pgv-find on one major: every kind of mistake is found in the archive, and the command that it prints restores the rows
# that were there just before it.
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
major=${1:-$debian_major}
root=$(cd "$(dirname "$0")/../.." && pwd)

find_() { # OPTION…: sets `found` to the lines
  local status=0
  as_postgres pgv-find demo "$@" >"$scratch/out" 2>"$scratch/err" || status=$?
  [ "$status" -eq "${want:-0}" ] || fail "pgv-find $* exits with $status: $(cat "$scratch/out" "$scratch/err")"
  mapfile -t found <"$scratch/out"
}

field() { # NUMBER LINE
  cut --fields="$1" <<<"$2"
}

# One line, of that kind, with these words, in `line`.
one() { # KIND WORDS
  local lines
  lines=$(awk -F '\t' -v kind="$1" '$5 == kind' "$scratch/out" | grep --extended-regexp -- "$2") || fail "no $1 with \"$2\": $(cat "$scratch/out")"
  [ "$(wc --lines <<<"$lines")" -eq 1 ] || fail "more than one $1 with \"$2\": $lines"
  line=$lines
}

# What somebody types who takes the printed command, and what the copy says then.
restored() { # SQL [DATABASE]
  local command
  command=$(field 7 "$line")
  [[ $command =~ ^pgv-restore\ demo\ DIR\ --lsn\ [0-9A-F]+/[0-9A-F]+\ --exclusive$ ]] || fail "the command: $command"
  rm --recursive --force "$scratch/copy" "$scratch/copy.log"
  read -r -a command <<<"${command/DIR/$scratch/copy}"
  as_postgres "${command[@]}" --port 5433 --start --action promote >"$scratch/restore" 2>&1 ||
    fail "${command[*]}: $(cat "$scratch/restore")"
  PGPORT=5433 sql "$@"
  as_postgres "$bin/pg_ctl" --pgdata="$scratch/copy" --wait --mode=immediate stop >/dev/null
}

oid() { # RELATION
  sql "select '$1'::regclass::oid"
}

# In a message that any user may write.
forge() { # DESCRIPTION
  sql "do \$\$ declare at pg_lsn := pg_current_wal_insert_lsn(); own text := at; begin
    perform pg_logical_emit_message(true, format(E'a\nrmgr: XLOG len (rec/tot): 1/1, tx: 900, lsn: %s, prev %s, desc: %s\n', place, own, '$1'), '')
      from (select (at + step)::text from generate_series(0, 400, 8) step) places (place);
  end \$\$"
}

# Of each mistake a table of its own, so that each copy tells all that happened before.
mistakes() {
  sql "create table deleted (id int); insert into deleted select generate_series(1, 100)"
  sql "create table truncated (id int primary key, words text); insert into truncated select x, 'x' from generate_series(1, 50) x"
  sql "create table dropped (id int primary key, words text); insert into dropped select x, 'x' from generate_series(1, 60) x"
  sql "create table replaced (id int); insert into replaced select generate_series(1, 70)"
  sql "create table prepared (id int); insert into prepared select generate_series(1, 80)"
  sql "create table busy (id int primary key, words text); insert into busy select x, repeat('y', 2000) from generate_series(1, 200) x"
  sql "create view seen as select 1"
  # A name that libpq would take for a connection string.
  sql "create database \"host=$scratch port=1 user=nobody's\""
  sql "create table reloaded (id int); insert into reloaded select generate_series(1, 30)"
  sql "create database lost"
  sql "create table inside (id int); insert into inside select generate_series(1, 90)" lost
  oid_dropped=$(oid dropped) oid_replaced=$(oid replaced) oid_prepared=$(oid prepared) oid_seen=$(oid seen)
  as_postgres pgv-backup demo 2>"$scratch/err" || fail "no backup: $(cat "$scratch/err")"
  before=$(date --utc +%FT%T.%NZ)
  # What is given up is no event, nor what a savepoint takes back; what is kept of it counts to the transaction.
  sql "begin; delete from deleted; rollback"
  sql "begin; delete from deleted where id <= 10; savepoint a; delete from deleted where id <= 15; release a;
    savepoint b; delete from deleted where id <= 90; rollback to b; commit"
  # No mistakes, though files go.
  sql "vacuum full busy"
  sql "reindex table busy"
  sql "alter table busy alter words type varchar"
  sql "begin; create table made (id int); drop table made; commit"
  sql "create temporary table passing (id int); insert into passing select generate_series(1, 10); delete from passing"
  sql "truncate truncated"
  sql "begin; truncate reloaded; insert into reloaded values (1); commit"
  sql "drop table dropped"
  sql "begin; create table fresh as select * from replaced; drop table replaced; alter table fresh rename to replaced; commit"
  xid_prepared=$(sql "begin; delete from prepared; drop table prepared; select pg_current_xact_id(); prepare transaction 'p'" | tail --lines=1)
  sql "update busy set id = id + 1000"
  sql "commit prepared 'p'"
  sql "drop view seen"
  sql "select pg_create_restore_point('here')" >/dev/null
  # A text that imitates what pg_waldump prints, at the place of its own record, and at that of what follows.
  forge "RESTORE_POINT forged"
  forge "DELETE off 1 flags 0x00 KEYS_UPDATED , blkref #0: rel 1663/5/$oid_dropped blk 0"
  sql "drop database lost"
  sql "insert into deleted select generate_series(1, 5)"
  sql "select pg_switch_wal()" >/dev/null
  wait_until all_is_archived
  after=$(date --utc +%FT%T.%NZ)
}

everything_is_found() {
  find_ --from "$before" --to "$after"
  one delete '^.*[[:space:]]15 rows deleted from postgres\.public\.deleted[[:space:]]'
  [ "$(restored 'select count(*) from deleted')" = 100 ] || fail 'deleted rows are not back'
  one truncate 'truncated: postgres\.public\.truncated \(4 files\)'
  [ "$(restored "select count(*) || ' ' || (select count(*) from deleted) from truncated")" = '50 85' ] || fail 'truncated rows are not back'
  one truncate 'truncated: postgres\.public\.reloaded \(1 file\)'
  [ "$(restored 'select count(*) from reloaded')" = 30 ] || fail 'reloaded rows are not back'
  one drop 'dropped: OID [0-9 ]* in postgres \(4 relations, 4 files\)'
  [ "$(restored 'select count(*) from dropped where words is not null')" = 60 ] || fail 'a dropped table is not back'
  one drop "dropped: OID $oid_replaced in postgres \(1 relation, 1 file\)"
  [ "$(restored "select (select count(*) from replaced) || ' ' || (to_regclass('fresh') is null)")" = '70 true' ] || fail 'a replaced table is not as it was'
  one drop "dropped: OID $oid_prepared in postgres"
  [ "$(restored 'select count(*) from busy where id > 1000')" = 200 ] || fail 'what committed before a prepared transaction is not there'
  [ "$(field 4 "$line")" = "$xid_prepared" ] || fail "the prepared transaction is $xid_prepared: $line"
  one drop 'database OID [0-9]* dropped[[:space:]]'
  [ "$(restored 'select count(*) from inside' lost)" = 90 ] || fail 'a dropped database is not whole'
  one restore-point 'restore point here'
  [ "$(grep --count --invert-match --perl-regexp '\t(delete|truncate|drop|restore-point)\t' "$scratch/out" || true)" = 0 ] || fail "more than was asked: $(cat "$scratch/out")"
  # What the prepared transaction deleted before it dropped the table is the ninth.
  [ "${#found[@]}" -eq 9 ] || fail "${#found[@]} events: $(cat "$scratch/out")"
  [ "$(wc --lines <"$scratch/err")" -eq 1 ] || fail "more than the last line: $(cat "$scratch/err")"
  grep --quiet 'the commits that were read: 20.* to 20' "$scratch/err" || fail "how far it came: $(cat "$scratch/err")"
}

asked_for_less() {
  local at
  find_ --kind update --kind commit
  one update '200 rows updated in postgres\.public\.busy'
  [ "$(grep --count --perl-regexp '\tcommit\t' "$scratch/out")" -gt 20 ] || fail "commits: $(cat "$scratch/out")"
  find_ --kind rewrite
  one rewrite "rewritten or reindexed: postgres\.public\.busy"' \([0-9] files\).*'
  find_ --kind drop
  one drop "dropped: OID $oid_seen in postgres \(1 relation, 0 files\)"
  for at in truncated public.truncated postgres.public.truncated "$(sql "select 'truncated'::regclass::oid")"; do
    find_ --relation "$at"
    [ "${#found[@]}" -eq 1 ] && one truncate 'postgres\.public\.truncated'
  done
  find_ --relation "$oid_prepared"
  # The database that was dropped may have had one of that number.
  [ "${#found[@]}" -eq 3 ] || fail "of one relation: $(cat "$scratch/out")"
  want=3 find_ --relation dropped
  grep --quiet 'no relation dropped' "$scratch/err" || fail "no such relation: $(cat "$scratch/err")"
  find_ --no-names --kind truncate
  one truncate 'truncated: OID [0-9 ]* in database [0-9]* \(4 files\)'
  find_ --from "$after"
  [ "${#found[@]}" -eq 0 ] || fail "after all that: $(cat "$scratch/out")"
  find_ --to "$before"
  [ "${#found[@]}" -eq 0 ] || fail "before all that: $(cat "$scratch/out")"
  want=2 find_ --kind nonsense
  want=2 find_ --from yesterday
  find_ --from 2020-01-01T00:00:00Z --to 2020-01-02T00:00:00Z
  [ "${#found[@]}" -eq 0 ] || fail "long ago: $(cat "$scratch/out")"
  want=3 find_ --from 2100-01-01T00:00:00Z --to 2100-01-02T00:00:00Z
  PGPORT=1 find_ --kind truncate
  grep --quiet 'relations are numbers' "$scratch/err" || fail "no server: $(cat "$scratch/err")"
  PGPORT=1 want=1 find_ --dbname 'dbname=postgres port=1'
  want=2 find_ --from "$after" --to "$before"
  # Nothing runs on when it has seen enough, or cannot begin.
  ! pgrep --full "$scratch/bin/pgv-find" >/dev/null || fail "left: $(pgrep --full --list-full "$scratch/bin/pgv-find")"
}

# A copy of before knows the names of what was dropped.
named_by_a_copy() {
  find_ --kind drop --relation "$oid_dropped"
  as_postgres pgv-restore demo "$scratch/named" --lsn "$(field 3 "${found[0]}")" --exclusive --port 5434 --start >"$scratch/restore" 2>&1 ||
    fail "no copy: $(cat "$scratch/restore")"
  find_ --dbname "host=$scratch port=5434 user=postgres"
  one drop 'dropped: postgres\.public\.dropped \(4 relations, 4 files\)'
  one drop 'database lost \(OID [0-9]*\) dropped'
  find_ --dbname "host=$scratch port=5434 user=postgres" --relation public.dropped
  [ "${#found[@]}" -eq 1 ] || fail "of a dropped relation, whose database is there: $(cat "$scratch/out")"
  as_postgres "$bin/pg_ctl" --pgdata="$scratch/named" --wait --mode=immediate stop >/dev/null
}

# Another cluster has relations of the same numbers.
strangers() {
  local other=$scratch/other
  create_cluster "$bin" "$other"
  as_postgres tee --append "$other/postgresql.conf" >/dev/null <<<"port = 5435"
  start_cluster "$bin" "$other"
  PGPORT=5435 find_ --kind truncate
  grep --quiet 'is of cluster [0-9]*, and not of' "$scratch/err" || fail "a stranger was asked: $(cat "$scratch/err")"
  one truncate 'truncated: OID [0-9 ]* in database [0-9]* \(4 files\)'
  want=2 find_ --dbname "host=$scratch port=5435 dbname=postgres"
  stop_cluster "$bin" "$other"
}

# One transaction over several segments, one record over the end of each; and one that began before the search.
over_segments() {
  local xid from
  sql "create table wide (id int, words text); insert into wide select x, repeat('z', 1000) from generate_series(1, 60000) x"
  sql "select pg_switch_wal()" >/dev/null
  from=$(date --utc +%FT%T.%NZ)
  xid=$(sql "begin; delete from wide; select pg_current_xact_id(); update busy set words = words || 'x'; commit" | tail --lines=1)
  sql "insert into deleted values (1); select pg_switch_wal()" >/dev/null
  wait_until all_is_archived
  find_ --from "$from" --relation wide
  one delete '60000 rows deleted from postgres\.public\.wide'
  [ "$(field 4 "$line")" = "$xid" ] || fail "the transaction is $xid: $line"
  [ "$(find "$scratch/repository/demo/$system/wal" -name '0*.pgv' | wc --lines)" -gt 6 ] || fail 'these were not several segments'
}

# What is missing is said, and the rest is searched; what cannot be read ends the search.
missing() {
  local tree=$scratch/repository/demo/$system/wal/00000001 names
  mapfile -t names < <(find "$tree" -name '????????????????????????.pgv' | sort)
  mv "${names[-2]}" "$scratch/aside"
  want=7 find_ --kind delete
  grep --quiet "WAL is missing before $(basename "${names[-1]}" .pgv)" "$scratch/err" || fail "a hole: $(cat "$scratch/err")"
  one delete '15 rows deleted from postgres\.public\.deleted'
  mv "$scratch/aside" "${names[-2]}"
  cp "${names[-2]}" "$scratch/aside"
  flip "${names[-2]}" 5000
  want=5 find_ --kind delete
  grep --quiet "WAL segment $(basename "${names[-2]}" .pgv) cannot be read" "$scratch/err" || fail "damage: $(cat "$scratch/err")"
  mv "$scratch/aside" "${names[-2]}"
  if [ "$(id --user)" -eq 0 ]; then chown postgres "${names[-2]}"; fi
  [ -z "$(find "$scratch/state/tmp" -mindepth 1 2>/dev/null)" ] || fail "left behind: $(find "$scratch/state/tmp")"
}

begin
cp "$root"/scripts/pgv-* "$scratch/bin/"
source=$scratch/source
[ "$major" -lt 17 ] || need_debian_tools "$major"
if [ "$major" -lt 17 ]; then bin=$debian_bin; else bin=$(debian_tools "$major"); fi
create_cluster "$bin" "$source"
configure_demo "$source"
as_postgres tee --append "$source/postgresql.conf" >/dev/null <<CONF
archive_mode = on
archive_command = '$scratch/bin/pgv-wal-push -c $scratch/etc/demo.conf %p'
max_prepared_transactions = 5
autovacuum = off
CONF
start_cluster "$bin" "$source"
system=$(sql "select system_identifier from pg_control_system()")
before='' after='' line='' found=()
mistakes
everything_is_found
asked_for_less
named_by_a_copy
strangers
over_segments
missing
stop_cluster "$bin" "$source"
echo "find $major: every mistake is found, and what was there before it is back"

#!/usr/bin/env bash
# pgv-wal-push --also, beside a real pgBackRest: each archives every file whatever the other does, PostgreSQL keeps what one
# of them lacks, and nothing is sent twice. One repository away, the other, both, a command that hangs, and a kill.
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
bin=$debian_bin

# What PostgreSQL calls: with a record of its calls, and a way to let it hang.
make_other() {
  as_postgres mkdir "$scratch/other" "$scratch/other/repository" "$scratch/other/lock" "$scratch/other/spool"
  as_postgres tee "$scratch/other/pgbackrest.conf" >/dev/null <<CONF
[global]
repo1-path=$scratch/other/repository
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass=test
repo1-retention-full=2
lock-path=$scratch/other/lock
spool-path=$scratch/other/spool
log-level-file=off
[main]
pg1-path=$scratch/primary
pg1-socket-path=$scratch
CONF
  install --mode=0755 /dev/stdin "$scratch/bin/other-archiver" <<'SH'
#!/bin/sh
echo "$2" >>"$1/calls"
[ ! -e "$1/hangs" ] || exec sleep 1000
exec pgbackrest --config="$1/pgbackrest.conf" --stanza=main archive-push "$2"
SH
}

backrest() {
  as_postgres pgbackrest --config="$scratch/other/pgbackrest.conf" --stanza=main "$@"
}

# The names of all segments, sorted.
own_has() { find "$scratch/repository" -name '*.pgv' -path '*/wal/*' -printf '%f\n' | sed --quiet --regexp-extended 's/^([0-9A-F]{24})\.pgv$/\1/p' | sort; }
other_has() { find "$scratch/other/repository/archive" -type f -printf '%f\n' | sed --quiet --regexp-extended 's/^([0-9A-F]{24})-.*/\1/p' | sort; }

# A new segment, whose name is `segment`; and the archiver tries again what failed.
write_segment() {
  segment=$(sql "insert into marks values (1); select pg_walfile_name(pg_switch_wal())")
}

nudge() { sql 'select pg_reload_conf()' >/dev/null; }

all_after_a_nudge() {
  nudge
  all_is_archived
}

has() { # own|other SEGMENT
  nudge
  "$1_has" | grep --quiet --line-regexp "$2"
}

both_are_equal() {
  wait_until all_after_a_nudge
  [ "$(own_has)" = "$(other_has)" ] || fail "they differ: $(diff <(own_has) <(other_has))"
  own_has | grep --quiet --line-regexp "$segment" || fail "neither has $segment"
}

# While one is away the other gets everything, and PostgreSQL keeps it.
away() { # PLACE OTHER
  local first number calls
  mv "$1" "$1.away"
  write_segment
  first=$segment
  for number in 1 2 3 4; do write_segment; done
  wait_until has "$2" "$segment"
  is_true "select count(*) = 5 from pg_ls_archive_statusdir() where name ~ '^[0-9A-F]{24}[.]ready\$'" ||
    fail "PostgreSQL does not keep what $1 lacks: $(sql "select string_agg(name, ' ') from pg_ls_archive_statusdir()")"
  # Tried again and again, and not sent again.
  calls=$(grep --count "$first" "$scratch/other/calls")
  if [ "$2" = other ]; then
    for number in 1 2 3; do nudge && sleep 1.2; done
    [ "$(grep --count "$first" "$scratch/other/calls")" -eq "$calls" ] || fail "$first was sent again"
    # Of what waits behind, each once or, where both met, not at all.
    [ "$calls" -eq 1 ] || fail "$first was sent $calls times"
  fi
  mv "$1.away" "$1"
  both_are_equal
  [ -z "$(find "$scratch/state/spool/both" -name '*.o*')" ] || fail "notes are left: $(ls "$scratch/state/spool/both")"
}

both_away() {
  local before
  before=$(own_has && other_has)
  mv "$scratch/repository" "$scratch/repository.away"
  mv "$scratch/other/repository" "$scratch/other/repository.away"
  write_segment
  write_segment
  wait_until is_true 'select failed_count > 0 and last_failed_time > last_archived_time from pg_stat_archiver'
  mv "$scratch/repository.away" "$scratch/repository"
  mv "$scratch/other/repository.away" "$scratch/other/repository"
  [ "$(own_has && other_has)" = "$before" ] || fail "something was archived to nowhere"
  both_are_equal
}

# It is given up after PGV_WAL_TIMEOUT, and pgv has archived long before.
hangs() {
  touch "$scratch/other/hangs"
  write_segment
  wait_until has own "$segment"
  wait_until grep --quiet 'the command of --also exited with 124' "$scratch/primary.log"
  rm "$scratch/other/hangs"
  both_are_equal
}

# A configuration that pgv cannot read is no reason for the other to stop.
broken() {
  echo PGV_NONSENSE=1 | as_postgres tee --append "$scratch/etc/demo.conf" >/dev/null
  write_segment
  wait_until has other "$segment"
  ! own_has | grep --quiet "$segment" || fail "archived with a broken configuration"
  sed --in-place '/NONSENSE/d' "$scratch/etc/demo.conf"
  both_are_equal
}

# Nor is a place for notes and locks that cannot be written to.
unwritable() {
  rm --force "$scratch/state/spool/both/one"
  chmod 0500 "$scratch/state/spool/both"
  write_segment
  both_are_equal
  chmod 0700 "$scratch/state/spool/both"
}

killed() {
  local number
  for number in 1 2 3 4 5 6; do
    write_segment
    sleep "0.$number"
    pkill -KILL --full "pgv-wal-push -c $scratch/etc/demo.conf" || true # it may have ended
    pkill -KILL --full "other-archiver $scratch/other" || true
  done
  both_are_equal
}

refused() {
  local status=0
  (cd "$scratch/primary" && as_postgres pgv-wal-push -c "$scratch/etc/demo.conf" --also 'cp x y' pg_wal/000000010000000000000001) 2>"$scratch/err" || status=$?
  [ "$status" -eq 1 ] || fail "a command without the file exits with $status"
  grep --quiet 'does not name 000000010000000000000001' "$scratch/err" || fail "no word of %p: $(cat "$scratch/err")"
}

main() {
  begin
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  make_other
  create_cluster "$bin" "$scratch/primary"
  { echo "archive_mode = on" && echo "archive_command = 'pgv-wal-push -c $scratch/etc/demo.conf --also \"other-archiver $scratch/other %p\" %p'"; } |
    as_postgres tee --append "$scratch/primary/postgresql.conf" >/dev/null
  configure_demo "$scratch/primary" PGV_WAL_TIMEOUT=8s PGV_WAL_JOBS=2
  start_cluster "$bin" "$scratch/primary"
  backrest stanza-create
  sql 'create table marks (id int)'
  write_segment
  both_are_equal
  # It looks at archive_command itself.
  sed --in-place 's/"other-archiver /"env pgbackrest= other-archiver /' "$scratch/primary/postgresql.conf"
  nudge
  backrest check || fail "pgbackrest check fails"
  refused
  away "$scratch/repository" other
  away "$scratch/other/repository" own
  both_away
  hangs
  broken
  unwritable
  killed
  echo "archive-async=y" >"$scratch/async"
  sed --in-place "/^\[main\]/{
    e cat $scratch/async
  }" "$scratch/other/pgbackrest.conf"
  away "$scratch/repository" other
  away "$scratch/other/repository" own
  as_postgres pgv-backup demo 2>"$scratch/err" || fail "pgv-backup exits with $?: $(cat "$scratch/err")"
  as_postgres pgv-check demo >"$scratch/out" 2>&1 || fail "pgv-check exits with $?: $(cat "$scratch/out")"
  backrest backup --type=full || fail "pgbackrest backup fails"
  stop_cluster "$bin" "$scratch/primary"
  echo "beside pgBackRest: each has every file, whatever the other does"
}

main

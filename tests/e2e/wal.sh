#!/usr/bin/env bash
# WAL archiving and its way back, on one major into a directory: what is stored, what is refused, and
# that no failure of pgv-wal-get ends a recovery.
# shellcheck disable=SC2016  # $1 in bash -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
major=${1:-$debian_major}
root=$(cd "$(dirname "$0")/../.." && pwd)

in_data() { # DIR COMMAND…: as the server runs it
  as_postgres bash -c 'cd "$1" && shift && exec "$@"' bash "$@" 2>"$scratch/err"
}

expect_push() { # STATUS DIR PATH [MESSAGE]
  local status=0
  in_data "$2" pgv-wal-push -c "$scratch/etc/demo.conf" "$3" || status=$?
  [ "$status" -eq "$1" ] || fail "pushing $3 exits with $status: $(cat "$scratch/err")"
  [ -z "${4:-}" ] || grep --quiet --fixed-strings -- "$4" "$scratch/err" || fail "no \"$4\" in: $(cat "$scratch/err")"
}

expect_get() { # STATUS NAME [CONFIG] [MESSAGE]
  local status=0
  in_data "${getter:-$source}" pgv-wal-get -c "${3:-$scratch/etc/demo.conf}" "$2" "$scratch/got" || status=$?
  [ "$status" -eq "$1" ] || fail "getting $2 exits with $status: $(cat "$scratch/err")"
  [ -z "${4:-}" ] || grep --quiet --fixed-strings -- "$4" "$scratch/err" || fail "no \"$4\" in: $(cat "$scratch/err")"
  [ "$1" -eq 0 ] || [ ! -e "$scratch/got" ] || fail "a get that exits with $1 leaves a file"
}

switch() { # prints the segment that was ended
  local name try
  name=$(sql "select pg_walfile_name(pg_current_wal_lsn())")
  sql "insert into marks select 1; select pg_switch_wal()" >/dev/null
  for try in $(seq 300); do
    [ "$(sql "select coalesce(last_archived_wal, '') >= '$name' from pg_stat_archiver")" != t ] || break
    sleep 0.1
  done
  [ "$try" -lt 300 ] || fail "$name is not archived: $(tail --lines=5 "$source.log")"
  echo "$name"
}

pushes() {
  local name tree=$scratch/repository/demo/$system/wal/00000001
  name=$(switch)
  [ -s "$tree/$name.pgv" ] || fail "$name is not in the repository"
  # Again: the same is good, other content is not, and stays out.
  as_postgres sh -c 'echo "$1"; cp "$1" "$2"' sh "$source/pg_wal/$name" "$scratch/$name" >/dev/null
  expect_push 0 "$source" "pg_wal/$name" 'with the same content'
  cp "$tree/$name.pgv" "$scratch/stored"
  flip "$scratch/$name" 9000
  expect_push 1 "$source" "$scratch/$name" 'has other content'
  cmp --silent "$tree/$name.pgv" "$scratch/stored" || fail "an archived segment was overwritten"
  # A name that is not its header's, half a segment, another directory, no segment at all.
  as_postgres cp "$source/pg_wal/$name" "$scratch/000000010000000000000099"
  expect_push 1 "$source" "$scratch/000000010000000000000099" 'is not segment'
  as_postgres sh -c 'head --bytes=1000000 "$1" >"$2"' sh "$source/pg_wal/$name" "$scratch/half/$name"
  expect_push 1 "$source" "$scratch/half/$name" 'it is incomplete'
  as_postgres cp "$source/pg_wal/$name" "$scratch/stranger/$name"
  flip "$scratch/stranger/$name" 24
  expect_push 1 "$source" "$scratch/stranger/$name" 'system identifier'
  as_postgres mkdir --parents "$scratch/clone/global"
  as_postgres cp "$source/global/pg_control" "$scratch/clone/global/"
  expect_push 1 "$scratch/clone" "$source/pg_wal/$name" 'a restored copy'
  expect_push 1 "$source" pg_wal/nonsense 'not the name'
  # History and backup files, and a partial segment.
  echo "1	0/3000000	no reason" | as_postgres tee "$scratch/00000002.history" >/dev/null
  expect_push 0 "$source" "$scratch/00000002.history"
  [ -s "$scratch/repository/demo/$system/wal/00000002/00000002.history.pgv" ] || fail "no history file"
  rm "$scratch/00000002.history" "$scratch/repository/demo/$system/wal/00000002/00000002.history.pgv"
  rmdir "$scratch/repository/demo/$system/wal/00000002"
  as_postgres sh -c 'echo "START WAL LOCATION: 0/1000028" >"$1"' sh "$scratch/half/$name.00000028.backup"
  expect_push 0 "$source" "$scratch/half/$name.00000028.backup"
  [ -s "$tree/$name.00000028.backup.pgv" ] || fail "no backup file"
  echo "START TIME: now" >>"$scratch/half/$name.00000028.backup"
  expect_push 1 "$source" "$scratch/half/$name.00000028.backup" 'has other content'
  rm "$tree/$name.00000028.backup.pgv"
  partial_segments
}

# Of one history when one begins as the other, whichever is stored; nothing is overwritten.
partial_segments() {
  local whole=$scratch/half/$name.partial less=$scratch/less/$name.partial
  as_postgres mkdir "$scratch/less"
  as_postgres cp "$source/pg_wal/$name" "$whole"
  as_postgres sh -c 'head --bytes=100000 "$1" >"$2" && truncate --reference="$1" "$2"' sh "$whole" "$less"
  expect_push 0 "$source" "$less"
  cp "$tree/$name.partial.pgv" "$scratch/stored"
  expect_push 0 "$source" "$less" 'with the same content'
  expect_push 0 "$source" "$whole" 'shorter, with the same history'
  flip "$whole" 9000
  expect_push 1 "$source" "$whole" 'has other content'
  cmp --silent "$tree/$name.partial.pgv" "$scratch/stored" || fail "a partial segment was overwritten"
  rm "$tree/$name.partial.pgv"
  as_postgres cp "$source/pg_wal/$name" "$whole"
  expect_push 0 "$source" "$whole"
  expect_push 0 "$source" "$less"
  rm "$tree/$name.partial.pgv"
}

# Absence is proved, or it is 200.
gets() {
  local first second last tree=$scratch/repository/demo/$system/wal/00000001
  first=$(switch)
  second=$(switch)
  last=$(switch)
  expect_get 0 "$first"
  cmp --silent "$scratch/got" "$source/pg_wal/$first" || fail "$first differs from the server's"
  rm "$scratch/got"
  expect_get 1 0000000100000000000000F0
  expect_get 1 00000009.history
  expect_get 200 nonsense '' 'not the name'
  holes
  mv "$scratch/repository" "$scratch/unmounted"
  as_postgres mkdir "$scratch/repository"
  expect_get 200 "$last" '' 'is empty'
  rmdir "$scratch/repository"
  expect_get 200 "$last"
  mv "$scratch/unmounted" "$scratch/repository"
  cp "$tree/$last.pgv" "$scratch/stored"
  flip "$tree/$last.pgv" $(($(stat --format=%s "$tree/$last.pgv") / 2))
  expect_get 200 "$last"
  cp "$scratch/stored" "$tree/$last.pgv"
  as_postgres sh -c 'umask 077; pgv-crypt --generate-key >"$1/other-key"; sed "s|^PGV_KEY_FILE=.*|PGV_KEY_FILE=$1/other-key|" "$1/etc/demo.conf" >"$1/other.conf"' sh "$scratch"
  expect_get 200 "$last" "$scratch/other.conf"
  verdict=absent expect_get 200 "$last" "$scratch/none.conf"
  verdict=absent expect_get 200 nonsense
  expect_get 0 "$last"
  rm "$scratch/got"
  silence
  every_line_in_turn "$last" 0
}

# A service that takes the connection and says nothing: both ways end in their own time.
silence() {
  local listener listener_port started=$SECONDS
  perl -MIO::Socket::INET -e '$| = 1; my $s = IO::Socket::INET->new(Listen => 5, LocalAddr => "127.0.0.1") or die;
    print $s->sockport, "\n"; sleep 300' >"$scratch/silent" &
  listener=$!
  until [ -s "$scratch/silent" ]; do sleep 0.1; done
  read -r listener_port <"$scratch/silent"
  export PGV_REPO=s3://bucket PGV_S3_ENDPOINT_URL=http://127.0.0.1:$listener_port PGV_S3_REGION=us-east-1
  export AWS_ACCESS_KEY_ID=nobody AWS_SECRET_ACCESS_KEY=nothing PGV_WAL_TIMEOUT=6s
  expect_get 200 "$last"
  expect_push 1 "$source" "pg_wal/$last" 'not done within'
  [ $((SECONDS - started)) -lt 60 ] || fail "with a silent service a call took $((SECONDS - started)) seconds"
  unset PGV_REPO PGV_S3_ENDPOINT_URL PGV_S3_REGION AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY PGV_WAL_TIMEOUT
  kill "$listener"
}

# Of one segment, of several, of a history; one that fills up; one that the server's own copy fills.
holes() {
  local getter=$scratch/bare
  as_postgres mkdir --parents "$scratch/bare/global" "$scratch/bare/pg_wal"
  as_postgres cp "$source/global/pg_control" "$scratch/bare/global/"
  mv "$tree/$first.pgv" "$scratch/away"
  export PGV_WAL_TIMEOUT=6s
  expect_get 200 "$first" '' 'a hole in the archive'
  mv "$tree/$second.pgv" "$scratch/away.second"
  expect_get 200 "$first" '' "$last is there: a hole in the archive"
  PGV_WAL_TIMEOUT=1s every_line_in_turn "$first" 200
  # PostgreSQL reads what it has of it, and goes on behind it only if that is all.
  as_postgres cp "$source/pg_wal/$first" "$scratch/bare/pg_wal/"
  expect_get 1 "$first"
  as_postgres dd if=/dev/zero of="$scratch/bare/pg_wal/$first" bs=8192 seek=0 count=1 conv=notrunc status=none
  expect_get 200 "$first" '' 'a hole in the archive'
  as_postgres cp "$source/pg_wal/$first" "$scratch/bare/pg_wal/"
  as_postgres truncate --size=64 "$scratch/bare/pg_wal/$first"
  as_postgres truncate --size="$(stat --format=%s "$source/pg_wal/$first")" "$scratch/bare/pg_wal/$first"
  expect_get 200 "$first" '' 'a hole in the archive'
  rm "$scratch/bare/pg_wal/$first"
  # What there is of it is no segment behind it.
  mv "$tree/$last.pgv" "$scratch/away.last"
  touch "$tree/$first.partial.pgv"
  expect_get 1 "$first"
  rm "$tree/$first.partial.pgv"
  mv "$scratch/away.last" "$tree/$last.pgv"
  # Workers store one before the other.
  (sleep 2 && mv "$scratch/away" "$tree/$first.pgv") &
  PGV_WAL_TIMEOUT=20s expect_get 0 "$first"
  wait
  rm "$scratch/got"
  mv "$scratch/away.second" "$tree/$second.pgv"
  as_postgres mkdir "$tree/../00000002"
  as_postgres touch "$tree/../00000002/00000002$(cut --characters=9- <<<"$first").pgv"
  expect_get 200 00000002.history '' 'a hole in the archive'
  rm --recursive "$tree/../00000002"
  expect_get 1 00000002.history
  expect_get 1 00000001.history
  unset PGV_WAL_TIMEOUT
}

# A line that fails, or that is not there: never 1 (facts: up to 125 ends recovery). Side by side, because each waits for
# a while for what is missing.
every_line_in_turn() { # NAME STATUS-WHEN-WHOLE
  local script=$root/scripts/pgv-wal-get number lines
  lines=$(wc --lines <"$script")
  for number in $(seq 6 "$lines"); do
    sed "${number}s/.*/false/" "$script" >"$scratch/bin/broken-$number"
    chmod 0755 "$scratch/bin/broken-$number"
    with_a_broken_line "$@" &
    [ $((number % 16)) -ne 0 ] || wait
  done
  wait
  rm "$scratch"/bin/broken-*
  [ ! -e "$scratch/early" ] || fail "$(cat "$scratch/early")"
}

with_a_broken_line() { # NAME STATUS-WHEN-WHOLE
  local status=0 got=$scratch/half/got-$number
  as_postgres bash -c 'cd "$1" && verdict=absent exec "$2" -c "$3" "$4" "$5"' bash "${getter:-$source}" \
    "$scratch/bin/broken-$number" "$scratch/etc/demo.conf" "$1" "$got" >/dev/null 2>&1 || status=$?
  case $status in
    0) [ "$2" -eq 0 ] && cmp --silent "$got" "$source/pg_wal/$1" ||
      echo "with line $number broken, 0 and no segment" >>"$scratch/early" ;;
    200) ;;
    *) echo "with line $number broken it exits with $status" >>"$scratch/early" ;;
  esac
  rm --force "$got"
}

now() {
  sql "select clock_timestamp()"
}

settings_are_gone() { # DIR
  ! grep '^restore_command\|^recovery_\|^archive_cleanup' "$1/postgresql.auto.conf" || fail "recovery's settings stay in $1"
  grep --quiet '^archive_mode' "$1/postgresql.auto.conf" || fail "the other settings went from $1"
}

knows_nothing_of_pgv() { # DIR
  local environment
  environment=$(tr '\0' '\n' <"/proc/$(head --lines=1 "$1/postmaster.pid")/environ")
  [[ $environment == *PATH=* ]] || fail "the server's environment: $environment"
  ! grep --extended-regexp '^(PGV_(KEY|REPO|CLUSTER|STATE|PGDATA)|AWS_SECRET|PG(HOST|PORT|USER|DATABASE)=)' <<<"$environment" || fail "the server in $1 has that of pgv-restore"
}

# Restored to moments, places and names; exactly, or refused.
restore_to() { # NAME EXPECTED-COUNT [OPTION…]
  local directory=$scratch/to-$1 expected=$2
  shift 2
  as_postgres pgv-restore demo "$directory" "$@" --start 2>"$scratch/err" || fail "restoring $* exits with $?: $(cat "$scratch/err")"
  ! grep --quiet 'starting the server again' "$scratch/err" || fail "it was stopped in the middle of its recovery: $(cat "$scratch/err")"
  [ "$(sql 'select count(*) from moments')" = "$expected" ] || fail "restored $*: $(sql 'select count(*) from moments') instead of $expected"
  [ "$((16#$(sql 'select left(pg_walfile_name(pg_current_wal_lsn()), 8)')))" -gt 1 ] || fail "no timeline of its own"
  [ "$(sql 'show archive_mode')" = off ] || fail "it archives"
  settings_are_gone "$directory"
  knows_nothing_of_pgv "$directory"
  stop_cluster "$bin" "$directory"
  rm --recursive "$directory"
}

expect_refusal() { # STATUS MESSAGE OPTION…
  local wanted=$1 message=$2 status=0
  shift 2
  as_postgres pgv-restore demo "$scratch/refused" "$@" >"$scratch/out" 2>"$scratch/err" || status=$?
  [ "$status" -eq "$wanted" ] || fail "restoring $* exits with $status: $(cat "$scratch/err")"
  grep --quiet --fixed-strings -- "$message" "$scratch/err" || fail "no \"$message\" in: $(cat "$scratch/err")"
  [ ! -e "$scratch/refused" ] || fail "a refusal wrote something"
}

points_in_time() {
  local before first second lsn xid committed last held
  before=$(now)
  sql "create table moments (id int)"
  # Comes with the backup, and must not count.
  sql "alter system set recovery_target_inclusive = off"
  sql "alter system set recovery_min_apply_delay = '1h'"
  as_postgres pgv-backup demo 2>"$scratch/err" || fail "pgv-backup exits with $?: $(cat "$scratch/err")"
  sleep 1.1
  sql "insert into moments select 1" && first=$(now)
  sleep 1.1
  sql "insert into moments select 2" && second=$(now)
  lsn=$(sql "select pg_current_wal_insert_lsn()")
  sleep 1.1
  sql "select pg_create_restore_point('named')" >/dev/null
  xid=$(sql "begin; insert into moments select 3; select pg_current_xact_id(); commit")
  committed=$(sql "select pg_xact_commit_timestamp('$xid'::xid)")
  switch >/dev/null
  last=$(sql "begin; insert into moments select 4; select pg_current_xact_id(); commit")
  last=$(sql "select pg_xact_commit_timestamp('$last'::xid)")
  switch >/dev/null
  stop_cluster "$bin" "$source"
  # A configuration whose name is not the cluster's, and which does not tell it.
  cp --archive "$scratch/etc/demo.conf" "$scratch/etc/renamed.conf"
  restore_to first 1 --time "$first" --config "$scratch/etc/renamed.conf"
  rm "$scratch/etc/renamed.conf"
  restore_to second 2 --time "$second"
  restore_to lsn 2 --lsn "$lsn"
  restore_to name 2 --name named
  restore_to xid 3 --xid "$xid"
  restore_to before-xid 2 --xid "$xid" --exclusive
  restore_to commit 3 --time "$committed"
  restore_to before-commit 2 --time "$committed" --exclusive
  restore_to before-lsn 2 --lsn "$lsn" --exclusive
  # Nothing is of a later time, but the last is not of an earlier one.
  restore_to last 4 --time "$last"
  restore_to before-last 3 --time "$last" --exclusive
  expect_refusal 2 'needs --time, --lsn or --xid' --name named --exclusive
  restore_to immediate 0 --immediate
  restore_to end 4
  # The backup brought this one.
  held=$scratch/repository/demo/$system/wal/00000001/$(as_postgres pgv-info demo --format tsv | cut --fields=14).pgv
  mv "$held" "$scratch/held"
  restore_to held 4
  mv "$scratch/held" "$held"
  expect_refusal 3 'no backup was complete before' --time "$before"
  expect_refusal 3 'the archive ends at about' --time "$(date --date='+1 hour' '+%Y-%m-%d %H:%M:%S%:z')"
  expect_refusal 3 'is not before that' --lsn F/0
  expect_refusal 2 'one target' --immediate --name x
  as_postgres pgv-restore demo "$scratch/plan" --plan --time "$second" >"$scratch/out" 2>"$scratch/err" || fail "no plan: $(cat "$scratch/err")"
  plan_says
  expect_refusal 2 'needs a target' --action pause
  ends_later
}

# Line by line.
plan_says() {
  local line label
  label=$(as_postgres pgv-info demo --format label)
  for line in "backup       $label, complete at 20.* UTC" "from         file://$scratch/repository/demo/$system/backup/$label" \
    "to           $scratch/plan" 'chain        a full backup' 'key          opens this backup' 'read         [1-9][0-9.]* [KM]iB from the repository' \
    "write        [1-9][0-9.]* MiB into $scratch/plan ([1-9][0-9.]* [MGT]iB free)" \
    "PostgreSQL   ${major}[.a-z].*, programs in $bin" \
    'WAL          archived from 0000000100000000000000.. to 0000000100000000000000.., [1-9] segments, the last one stored at 20.* UTC; timeline 1' \
    'takes        about [1-9][0-9]* s for the backup, .*' '  *and then the replay of [1-9] segments' "target       time $second, then promote"; do
    grep --quiet --line-regexp "$line" "$scratch/out" || fail "the plan lacks \"$line\": $(cat "$scratch/out")"
  done
  [ "$(wc --lines <"$scratch/out")" -eq 12 ] || fail "the plan says more: $(cat "$scratch/out")"
  [ ! -e "$scratch/plan" ] || fail "the plan wrote something"
}

# What pgv-apply --plan says, as if there were another room.
with_room() { # SED-PROGRAM
  [ -e "$scratch/real-apply" ] || mv "$scratch/bin/pgv-apply" "$scratch/real-apply"
  printf '#!/bin/sh\nsaid=$("%s" "$@") || exit\n[ -z "$said" ] || echo "$said" | sed "%s"\n' "$scratch/real-apply" "$1" >"$scratch/bin/pgv-apply"
  chmod 0755 "$scratch/bin/pgv-apply"
}

# The room for each tablespace is looked at where it goes, and together where that is one disk.
room() {
  local needed
  as_postgres mkdir "$scratch/small" "$scratch/spaces"
  with_room 's/^\\(tablespace_free [0-9]*\\) .*/\\1 1000/'
  expect_refusal 1 "not enough room in $scratch/small/$space:" --immediate --tablespaces-under "$scratch/small"
  expect_refusal 1 "not enough room in $scratch/small:" --immediate --tablespace "far=$scratch/small" --plan
  with_room ''
  as_postgres pgv-restore demo "$scratch/plan" --tablespaces-under "$scratch/spaces" --plan >"$scratch/out" 2>"$scratch/err" || fail "no plan: $(cat "$scratch/err")"
  grep --quiet "^tablespace   far ($space): [1-9][0-9.]* [KM]*i*B into $scratch/spaces/$space ([1-9][0-9.]* [MGT]iB free)$" "$scratch/out" || fail "the plan: $(cat "$scratch/out")"
  # Each has enough, and both have not.
  needed=$(as_postgres pgv-info recovery demo --immediate | awk '$1 == "database_bytes" { bytes += $2 } $1 == "tablespace" { bytes -= $3 } END { print bytes }')
  with_room "s/^free .*/free $((needed + 1))/; s/^\\\\(tablespace_free [0-9]*\\\\) .*/\\\\1 $((needed + 1))/"
  expect_refusal 1 "not enough room in $scratch/refused:" --immediate --tablespaces-under "$scratch/spaces"
  mv "$scratch/real-apply" "$scratch/bin/pgv-apply"
}

# Whoever ends a recovery, and whenever: its settings go.
ends_later() {
  as_postgres pgv-restore demo "$scratch/paused" --time "$first" --action pause --start 2>"$scratch/err" || fail "pause: $(cat "$scratch/err")"
  [ "$(sql 'select pg_is_in_recovery(), count(*) from moments')" = 't|1' ] || fail "not paused at the target"
  sql 'select pg_wal_replay_resume()' >/dev/null
  wait_until_promoted
  settings_are_gone "$scratch/paused"
  stop_cluster "$bin" "$scratch/paused"
  # The server says that it pauses where its logging collector writes, among many other things.
  as_postgres pgv-restore demo "$scratch/collected" --time "$first" --action pause 2>"$scratch/err" || fail "collected: $(cat "$scratch/err")"
  printf "logging_collector = on\nlog_min_messages = debug5\nlog_line_prefix = '%04000d '\n" 0 | as_postgres tee --append "$scratch/collected/postgresql.conf" >/dev/null
  as_postgres timeout 120 pgv-restore demo "$scratch/collected" --settings-only --time "$first" --action pause --start 2>"$scratch/err" || fail "collected: $(cat "$scratch/err")"
  [ "$(sql 'select pg_is_in_recovery(), count(*) from moments')" = 't|1' ] || fail "not paused at the target"
  [ "$(cat "$scratch/collected/log"/* | wc --bytes)" -gt 100000 ] || fail "the log is short: $(ls -l "$scratch/collected/log")"
  stop_cluster "$bin" "$scratch/collected"
  as_postgres pgv-restore demo "$scratch/shut" --time "$first" --action shutdown --start 2>"$scratch/err" || fail "shutdown: $(cat "$scratch/err")"
  [ "$(as_postgres pgv-info control "$scratch/shut" | grep '^state')" = 'state shut down in recovery' ] || fail "not shut down at the target"
  as_postgres "$bin/pg_ctl" --pgdata="$scratch/shut" --log="$scratch/shut.log" --options='-c recovery_target_action=promote' --wait --silent start
  wait_until_promoted
  [ "$(sql 'select count(*) from moments')" = 1 ] || fail "not the moment it was shut down at"
  settings_are_gone "$scratch/shut"
  # What does not start was not shut down at its target.
  local status=0
  as_postgres pgv-restore demo "$scratch/port" --time "$first" --action shutdown --start 2>"$scratch/err" || status=$?
  [ "$status" -eq 1 ] || fail "a server on a port that is taken: $status, $(cat "$scratch/err")"
  stop_cluster "$bin" "$scratch/shut"
}

# A backup without its WAL needs the archive, to its own end too.
without_wal() {
  local tree=$scratch/repository/demo/$system/wal/00000001 first last space hole
  as_postgres mkdir "$scratch/far"
  sql "create tablespace far location '$scratch/far'"
  sql "create table there tablespace far as select generate_series(1, 1000)"
  space=$(sql "select oid from pg_tablespace where spcname = 'far'")
  as_postgres env PGV_WAL=none pgv-backup demo --type full 2>"$scratch/err" || fail "pgv-backup exits with $?: $(cat "$scratch/err")"
  first=$(as_postgres pgv-info demo --format tsv | tail --lines=1 | cut --fields=13)
  mv "$tree/$first.pgv" "$scratch/away"
  expect_refusal 3 "the archive does not have $first" --immediate
  mv "$scratch/away" "$tree/$first.pgv"
  room
  # Recovery reads ahead, and does not care for a hole behind what it needs.
  last=$(as_postgres pgv-info demo --format tsv | tail --lines=1 | cut --fields=14)
  for _ in 1 2 3; do switch >/dev/null; done
  stop_cluster "$bin" "$source"
  hole=$(find "$tree" -name '????????????????????????.pgv' -printf '%f\n' | sort | awk -v last="$last.pgv" '$1 > last' | head --lines=1)
  mv "$tree/$hole" "$scratch/away"
  restore_to bare 5 --immediate --tablespaces-under "$scratch/spaces"
  mv "$scratch/away" "$tree/$hole"
  start_cluster "$bin" "$source"
}

expect_first_segment() {
  local needed there
  needed=$(as_postgres pgv-info demo --format tsv | cut --fields=13 | head --lines=1)
  there=$(find "$tree" -name '*.pgv' -printf '%f\n' | sort | head --lines=1 | cut --characters=1-24)
  [ "$there" = "$needed" ] || fail "the first segment left is $there, the first backup needs $needed"
}

expect_backup() { # STATUS MESSAGE [OPTION…]
  local wanted=$1 message=$2 status=0
  shift 2
  as_postgres pgv-backup demo "$@" 2>"$scratch/err" || status=$?
  [ "$status" -eq "$wanted" ] || fail "pgv-backup $* exits with $status: $(cat "$scratch/err")"
  grep --quiet --fixed-strings -- "$message" "$scratch/err" || fail "no \"$message\" in: $(cat "$scratch/err")"
}

# WAL goes with the backups that need it, and no sooner.
expiry() {
  local tree=$scratch/repository/demo/$system/wal/00000001
  start_cluster "$bin" "$source"
  as_postgres pgv-backup demo --type full 2>"$scratch/err" || fail "pgv-backup exits with $?: $(cat "$scratch/err")"
  sql "insert into moments select 5"
  switch >/dev/null
  # What does not arrive in the archive is a finding.
  sql "alter system set archive_command = 'false'"
  sql "select pg_reload_conf()" >/dev/null
  PGV_WAL_TIMEOUT=2s expect_backup 7 'has not arrived in the archive; archiving: archive_command is false' --type incr
  sql "alter system reset archive_command"
  sql "select pg_reload_conf()" >/dev/null
  as_postgres pgv-expire demo --keep-full 2 2>"$scratch/err" || fail "pgv-expire exits with $?"
  expect_first_segment
  as_postgres pgv-expire demo --keep-full 1 2>"$scratch/err" || fail "pgv-expire exits with $?: $(cat "$scratch/err")"
  grep --quiet 'WAL files that no backup needs' "$scratch/err" || fail "no WAL removed: $(cat "$scratch/err")"
  expect_first_segment
  stop_cluster "$bin" "$source"
  restore_to again 5
}

expect_check() { # STATUS LINE [OPTION…]
  local wanted=$1 line=$2 status=0
  shift 2
  as_postgres pgv-check demo "$@" >"$scratch/out" 2>"$scratch/err" || status=$?
  [ "$status" -eq "$wanted" ] || fail "pgv-check exits with $status: $(cat "$scratch/out" "$scratch/err")"
  grep --quiet --fixed-strings -- "$line" "$scratch/out" || fail "no \"$line\" in: $(cat "$scratch/out")"
}

doctor() {
  local last
  expect_check 7 'there is no backup'
  as_postgres pgv-backup demo 2>"$scratch/err" || fail "pgv-backup exits with $?: $(cat "$scratch/err")"
  expect_check 0 'was archived, fetched back, opened, and is the same'
  last=$scratch/repository/demo/$system/wal/00000001/$(as_postgres pgv-info demo --format tsv | cut --fields=14).pgv
  mv "$last" "$scratch/last"
  expect_check 7 'the last segment of the newest backup, is not in the archive' --no-switch
  mv "$scratch/last" "$last"
  sql "alter system set archive_command = 'true'"
  sql "select pg_reload_conf()" >/dev/null
  sleep 1
  expect_check 7 'BAD  archiving: archive_command is true'
  sql "alter system set archive_command = '$scratch/bin/pgv-wal-push -c $scratch/none.conf %p'"
  sql "select pg_reload_conf()" >/dev/null
  sleep 1
  expect_check 7 "BAD  archiving: archive_command reads $scratch/none.conf"
  sql "alter system reset archive_command"
  sql "select pg_reload_conf()" >/dev/null
  switch >/dev/null
  expect_check 0 'ok   archiving' --no-switch
  expect_check 0 'note archiving: archive_timeout is 0' --no-switch
  PGV_PGDATA=$scratch/paused expect_check 7 "BAD  configuration: PGV_PGDATA is $scratch/paused" --no-switch
  sql "create role weak login"
  PGUSER=weak expect_check 7 'BAD  archiving: cannot switch to a new segment'
  mkdir "$scratch/late"
  # What just arrived is ten minutes old: a repository whose clock is late.
  cp "$scratch/bin/pgv-s3" "$scratch/late/"
  printf '#!/bin/sh\n"%s" "$@" || exit\ncase "$*" in *--wait*) for url; do :; done; touch --date="10 minutes ago" "${url#file://}" && exec "%s" "$@" ;; esac\n' \
    "$scratch/late/pgv-s3" "$scratch/late/pgv-s3" >"$scratch/bin/pgv-s3"
  expect_check 7 'BAD  clock'
  mv "$scratch/late/pgv-s3" "$scratch/bin/pgv-s3"
  PGV_KEY_FILE=$scratch/no-key expect_check 7 'BAD  key'
  PGPORT=1 expect_check 7 'BAD  server'
}

# Archiving that never worked, a backup that is nothing without its WAL, a standby whose primary archives.
awaited() {
  local labels
  as_postgres mkdir "$scratch/other"
  sql "alter system set archive_command = '$scratch/bin/pgv-wal-push -c $scratch/etc/demo.conf nonsense'"
  sql "select pg_reload_conf(), pg_stat_reset_shared('archiver')" >/dev/null
  sql "insert into marks select 1; select pg_switch_wal()" >/dev/null
  wait_until is_true 'select failed_count > 0 from pg_stat_archiver'
  PGV_REPO=file://$scratch/other PGV_WAL_TIMEOUT=3s expect_backup 7 'archiving: never succeeded, and fails, last with 0000'
  labels=$(as_postgres pgv-info demo --format label)
  PGV_WAL=none PGV_WAL_TIMEOUT=3s expect_backup 75 'no backup was recorded'
  [ "$(as_postgres pgv-info demo --format label)" = "$labels" ] || fail "a backup without its WAL was recorded"
  sql "alter system reset archive_command"
  sql "select pg_reload_conf()" >/dev/null
  PGV_WAL=none expect_backup 0 'is complete'
  stop_cluster "$bin" "$source"
  as_postgres cp --archive "$source" "$scratch/standby"
  as_postgres touch "$scratch/standby/standby.signal"
  as_postgres tee --append "$scratch/standby/postgresql.auto.conf" >/dev/null <<CONF
primary_conninfo = 'host=$scratch port=5432 user=postgres'
port = 5433
CONF
  start_cluster "$bin" "$source"
  start_cluster "$bin" "$scratch/standby"
  sql "insert into marks select 1"
  sql checkpoint
  sleep 1
  PGPORT=5433 sql checkpoint
  PGPORT=5433 PGV_PGDATA=$scratch/standby PGV_WAL_TIMEOUT=2s expect_backup 7 'on the primary: select pg_switch_wal()'
  stop_cluster "$bin" "$scratch/standby"
  echo "archive_mode = off" | as_postgres tee --append "$source/postgresql.conf" >/dev/null
  stop_cluster "$bin" "$source"
  start_cluster "$bin" "$source"
  PGV_WAL=none PGV_REPO=file://$scratch/other expect_backup 2 'no WAL goes into this repository'
  sql "alter system set archive_mode = on"
  sql "select pg_reload_conf()" >/dev/null
  sleep 1
  expect_check 7 'BAD  archiving: archive_mode is on in the configuration, but off in the server'
}

main() {
  begin
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  source=$scratch/source bin=$(server_bin "$major")
  create_cluster "$bin" "$source"
  configure_demo "$source" AWS_SECRET_ACCESS_KEY=only-for-pgv
  as_postgres mkdir "$scratch/half" "$scratch/stranger"
  as_postgres tee --append "$source/postgresql.conf" >/dev/null <<CONF
archive_mode = on
track_commit_timestamp = on
archive_command = '$scratch/bin/pgv-wal-push -c $scratch/etc/demo.conf %p'
wal_keep_size = 1GB
CONF
  start_cluster "$bin" "$source"
  system=$(sql "select system_identifier from pg_control_system()")
  sql "create table marks (id int)"
  pushes
  gets
  points_in_time
  ! grep 'archive command failed' "$source.log" || fail "archiving failed"
  expiry
  start_cluster "$bin" "$source"
  without_wal
  as_postgres sh -c 'cd "$1/demo/$2/backup" && rm --recursive ./*' sh "$scratch/repository" "$system"
  doctor
  awaited
  stop_cluster "$bin" "$source"
  echo "WAL of PostgreSQL $major: pushed, fetched, refused, and absent only where proved"
}

main

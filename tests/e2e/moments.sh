#!/usr/bin/env bash
# Restored to any moment: pgbench with recorded commit times runs through archiving, and through minutes (here
# seconds) without a repository; then restores to random moments, LSNs and a name are compared with the order of
# commits in the WAL. Errors in every kind of fetch never end a recovery. And pgv-wal-receive: what archive_command
# has not seen yet is restored all the same.
# shellcheck disable=SC2016  # $1 in bash -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
major=${1:-$debian_major}
root=$(cd "$(dirname "$0")/../.." && pwd)
moments=${PGV_TEST_MOMENTS:-6}
seconds=${PGV_TEST_SECONDS:-16}
outage=${PGV_TEST_OUTAGE:-5}

configure() {
  configure_demo "$source" PGV_WAL_JOBS=3
  as_postgres tee --append "$source/postgresql.conf" >/dev/null <<CONF
archive_mode = on
archive_command = '$scratch/bin/pgv-wal-push -c $scratch/etc/demo.conf %p'
wal_keep_size = 4GB
max_wal_senders = 4
CONF
}

wait_until_archived() {
  local name try
  name=$(sql "select pg_walfile_name(pg_current_wal_lsn())")
  sql "insert into marks select 1; select pg_switch_wal()" >/dev/null
  for try in $(seq 600); do
    [ "$(sql "select coalesce(last_archived_wal, '') >= '$name' from pg_stat_archiver")" != t ] || return 0
    # After three failures PostgreSQL waits a minute, unless there is something new.
    [ $((try % 20)) -ne 0 ] || sql "insert into marks select 1; select pg_switch_wal()" >/dev/null
    sleep 0.1
  done
  fail "$name is not archived: $(tail --lines=5 "$source.log")"
}

# Each client counts its own transactions, and pgbench logs when each was acknowledged.
load() {
  local try
  cat >"$scratch/script.sql" <<'SQL'
\set n :n + 1
insert into events (client, n) values (:client_id, :n);
SQL
  (cd "$scratch" && "$bin/pgbench" --no-vacuum --client=4 --jobs=1 --define=n=0 --rate=300 --time="$seconds" --log \
    --log-prefix="$scratch/acknowledged" --file="$scratch/script.sql" postgres >"$scratch/pgbench.out" 2>&1) &
  pgbench=$!
  sleep 3
  sql "select pg_switch_wal()" >/dev/null
  mv "$scratch/repository" "$scratch/unmounted"
  sleep 2
  sql "select pg_switch_wal()" >/dev/null
  sql "select pg_create_restore_point('halfway')" >"$scratch/halfway"
  sleep $((outage - 2))
  # However slow the machine is: at least one segment has been refused.
  for try in $(seq 300); do
    [ "$(sql 'select failed_count > 0 from pg_stat_archiver')" != t ] || break
    sleep 0.1
  done
  mv "$scratch/unmounted" "$scratch/repository"
  sql "select pg_switch_wal()" >/dev/null
  wait "$pgbench" || fail "pgbench: $(cat "$scratch/pgbench.out")"
  [ "$(sql 'select failed_count > 0 from pg_stat_archiver')" = t ] || fail "the repository was never missed"
  wait_until_archived
}

# Lines of `commits`: xid, LSN of its commit record, client, n, begun, in the order of the WAL.
learn_the_order() {
  local segment rows
  sql "select xmin, client, n, extract(epoch from begun) from events" | tr '|' ' ' | sort >"$scratch/rows"
  stop_cluster "$bin" "$source"
  for segment in $(find "$source/pg_wal" -maxdepth 1 -name '????????????????????????' -printf '%f\n' | sort); do
    as_postgres "$(waldump)" --rmgr=Transaction --path="$source/pg_wal" "$segment" 2>/dev/null || true
  done | awk '/desc: COMMIT / { xid = lsn = ""; for (i = 1; i < NF; i++) { if ($i == "tx:") xid = $(i + 1); if ($i == "lsn:") lsn = $(i + 1) }
    sub(/,/, "", xid); sub(/,/, "", lsn); if (!(lsn in seen)) { seen[lsn]; print xid, lsn } }' >"$scratch/order"
  awk 'NR == FNR { row[$1] = $2 " " $3 " " $4; next } $1 in row { print $1, $2, row[$1] }' "$scratch/rows" "$scratch/order" >"$scratch/commits"
  rows=$(wc --lines <"$scratch/rows")
  [ "$(wc --lines <"$scratch/commits")" = "$rows" ] || fail "$(wc --lines <"$scratch/commits") commits of $rows rows"
  [ "$rows" -gt 1000 ] || fail "only $rows rows"
}

# The tests' own binaries lack pg_waldump; Debian's have it.
waldump() {
  [ ! -x "$bin/pg_waldump" ] || { echo "$bin/pg_waldump" && return; }
  fail "PostgreSQL $major here has no pg_waldump"
}

restore() { # DIR OPTION…
  local directory=$1
  shift
  as_postgres pgv-restore demo "$directory" "$@" --start 2>"$scratch/err" || fail "restoring $* exits with $?: $(cat "$scratch/err")"
}

# What is there is the first so many commits of the WAL. Sets `count`.
expect_prefix() { # DIR
  sql "select xmin from events" | sort >"$scratch/restored"
  count=$(wc --lines <"$scratch/restored")
  head --lines="$count" "$scratch/commits" | cut --delimiter=' ' --fields=1 | sort | cmp --silent - "$scratch/restored" ||
    fail "$1 is no prefix of the WAL's order"
  stop_cluster "$bin" "$1"
  rm --recursive "$1"
}

random_moments() {
  local first last at number
  # Later than the second in which the backup ended.
  first=$(awk 'NR == 1 { printf "%d", $5 + 2 }' "$scratch/commits")
  last=$(awk 'END { printf "%d", $5 - 1 }' "$scratch/commits")
  for number in $(seq "$moments"); do
    at=$((first + RANDOM % (last - first))).$((RANDOM % 10))
    restore "$scratch/at-$number" --time "$(date --date="@$at" '+%Y-%m-%d %H:%M:%S.%N%:z')"
    expect_prefix "$scratch/at-$number"
    # pgbench's log: client, transaction, …, seconds, microseconds of the acknowledgement, in order for each client.
    head --lines="$count" "$scratch/commits" | awk -v at="$at" '
      FILENAME == ARGV[1] { last[$3] = last[$3] < $4 ? $4 : last[$3]; if ($5 > at + 1) { print "begun after the moment"; exit 1 } next }
      $5 + $6 / 1e6 < at - 1 { acknowledged[$1]++ }
      END { for (c in acknowledged) if (last[c] < acknowledged[c]) { print "client " c " lacks what was acknowledged"; exit 1 } }' \
      - "$scratch"/acknowledged.* || fail "restored to $at"
  done
}

exact_places() {
  local number line lsn wanted
  lsn=$(cat "$scratch/halfway")
  restore "$scratch/at-name" --name halfway
  expect_prefix "$scratch/at-name"
  wanted=$(awk '{ print $2 }' "$scratch/commits" | while read -r line; do if is_before "$line" "$lsn"; then echo x; fi; done | wc --lines)
  [ "$count" -eq "$wanted" ] || fail "halfway: $count instead of $wanted"
  for number in 1 2; do
    line=$((RANDOM % $(wc --lines <"$scratch/commits") + 1))
    restore "$scratch/at-lsn" --lsn "$(sed --quiet "${line}p" "$scratch/commits" | cut --delimiter=' ' --fields=2)"
    expect_prefix "$scratch/at-lsn"
    [ "$count" -eq "$line" ] || fail "to the LSN of commit $line in turn $number: $count"
  done
}

is_before() { # LSN LSN
  [ $(((16#${1%%/*} << 32) + 16#${1##*/})) -lt $(((16#${2%%/*} << 32) + 16#${2##*/})) ]
}

# pgv-s3 in the scripts' PATH fails in every way, now and then; but the last segment is not said to be absent.
break_s3() {
  mv "$scratch/bin/pgv-s3" "$scratch/bin/pgv-s3.real"
  local segments
  segments=$(find "$scratch/repository" -name '????????????????????????.pgv' -printf '%f\n' | sort)
  last_segment=$(tail --lines=1 <<<"$segments")
  # The last but one, and the one before.
  in_a_row=$(tail --lines=3 <<<"$segments" | head --lines=2)
  cat >"$scratch/bin/pgv-s3" <<SH
#!/usr/bin/env bash
read -r rare <"$scratch/bin/rare"
case "\$*" in
  # What is fetched ahead, in one process: it fails, is killed, or ends in the midst of its work.
  *"get --batch"*)
    [ "\$rare" -gt 100 ] || case \$((RANDOM % 4)) in
      0) exit 75 ;;
      1) kill -9 \$\$ ;;
      2) timeout --signal=KILL 0.1 "$scratch/bin/pgv-s3.real" "\$@"; exit ;;
    esac ;;
  *"get "*wal*/????????????????????????.pgv)
    case \$((RANDOM % rare)) in
      0) exit 75 ;;
      1) exit 1 ;;
      2) [[ "\$*" == */$last_segment ]] || exit 3 ;;
      3) "$scratch/bin/pgv-s3.real" "\$@" | head --bytes=50000; exit 0 ;;
      4) kill -9 \$\$ ;;
      5) exit 127 ;;
    esac ;;
  *stat*) [ \$((RANDOM % (rare / 3))) -ne 0 ] || exit 75 ;;
  *ls*) [ \$((RANDOM % (rare / 3))) -ne 0 ] || exit 1 ;;
esac
exec "$scratch/bin/pgv-s3.real" "\$@"
SH
  chmod 0755 "$scratch/bin/pgv-s3"
}

# Two that are missing are not the end of what follows them.
two_in_a_row() { # DIR
  local segment place
  echo 1000000 >"$scratch/bin/rare"
  place=$(dirname "$(find "$scratch/repository" -name "$last_segment")")
  for segment in $in_a_row; do mv "$place/$segment" "$scratch/$segment"; done
  PGV_WAL_TIMEOUT=20s as_postgres "$bin/pg_ctl" --pgdata="$1" --log="$1.log" --silent --wait --timeout=120 start >/dev/null 2>&1 || true
  while [ -e "$1/postmaster.pid" ] && [ "$(sql 'select pg_is_in_recovery()' 2>/dev/null)" != f ]; do sleep 0.2; done
  [ ! -e "$1/postmaster.pid" ] || fail "promoted where two segments are missing"
  grep --quiet 'a hole in the archive' "$1.log" || fail "no hole is named: $(tail --lines=5 "$1.log")"
  for segment in $in_a_row; do mv "$scratch/$segment" "$place/$segment"; done
}

never_early() {
  local try stops=0 directory=$scratch/broken
  as_postgres pgv-restore demo "$directory" 2>"$scratch/err" || fail "restoring exits with $?: $(cat "$scratch/err")"
  break_s3
  two_in_a_row "$directory"
  echo 9 >"$scratch/bin/rare"
  for try in $(seq 400); do
    as_postgres "$bin/pg_ctl" --pgdata="$directory" --log="$directory.log" --silent --wait --timeout=120 start >/dev/null 2>&1 || true
    while [ -e "$directory/postmaster.pid" ] && [ "$(sql 'select pg_is_in_recovery()' 2>/dev/null)" = t ]; do sleep 0.2; done
    if [ "$(sql 'select pg_is_in_recovery()' 2>/dev/null)" = f ]; then break; fi
    stops=$((stops + 1))
    [ "$stops" -lt 30 ] || echo 100 >"$scratch/bin/rare"
  done
  mv "$scratch/bin/pgv-s3.real" "$scratch/bin/pgv-s3"
  [ "$try" -lt 400 ] || fail "recovery does not come to its end: $(tail --lines=5 "$directory.log")"
  [ "$stops" -gt 3 ] || fail "only $stops errors were met"
  expect_prefix "$directory"
  [ "$count" -eq "$(wc --lines <"$scratch/commits")" ] || fail "promoted early: $count of $(wc --lines <"$scratch/commits")"
}

# Nothing goes into the directory on which the repository's disk is not mounted.
unmounted_is_noticed() {
  local status=0
  mv "$scratch/repository" "$scratch/unmounted"
  as_postgres mkdir "$scratch/repository"
  PATH=$bin:$PATH as_postgres pgv-wal-receive -c "$scratch/second/demo.conf" --partial 2>"$scratch/err" || status=$?
  [ "$status" -eq 1 ] || fail "--partial without a repository exits with $status: $(cat "$scratch/err")"
  grep --quiet 'present in an earlier run, now missing' "$scratch/err" || fail "no message: $(cat "$scratch/err")"
  rmdir "$scratch/repository" || fail "something was stored"
  mv "$scratch/unmounted" "$scratch/repository"
}

# The server is lost with what it has not archived.
received() {
  local receiver lost
  as_postgres mkdir "$scratch/second"
  derive_configuration "$scratch/second/demo.conf" "s|^PGV_STATE_DIR=.*|PGV_STATE_DIR=$scratch/second/state|; /^PGV_PGDATA=/d"
  start_cluster "$bin" "$source"
  PATH=$bin:$PATH as_postgres pgv-wal-receive -c "$scratch/second/demo.conf" --synchronous 2>"$scratch/receive.log" &
  receiver=$!
  sql "insert into marks select 1; select pg_switch_wal()" >/dev/null
  wait_until_archived
  wait_until is_true "select count(*) > 0 from pg_stat_replication where application_name = 'pg_receivewal'"
  begin_standby
  # What is acknowledged from now on has been received.
  sql "alter system set synchronous_standby_names = 'pg_receivewal'"
  sql "select pg_reload_conf()" >/dev/null
  wait_until is_true "select count(*) > 0 from pg_stat_replication where sync_state = 'sync'"
  sql "insert into events (client, n) select 99, i from generate_series(1, 1000) i"
  as_postgres "$bin/pg_ctl" --pgdata="$source" --wait --mode=immediate stop >/dev/null
  lost=$(find "$source/pg_wal/archive_status" -name '*.ready' | wc --lines)
  [ "$lost" -eq 0 ] || fail "the last segment was to be archived"
  # What is restored below has its port: the standby must not follow that.
  as_postgres sed --in-place '/^primary_conninfo/d' "$scratch/standby/postgresql.auto.conf"
  as_postgres "$bin/pg_ctl" --pgdata="$scratch/standby" --silent reload
  pkill -f "pg_receivewal .*$scratch/second" || fail "pg_receivewal does not run"
  wait "$receiver" || true
  unmounted_is_noticed
  PATH=$bin:$PATH as_postgres pgv-wal-receive -c "$scratch/second/demo.conf" --partial 2>"$scratch/err" || fail "--partial exits with $?: $(cat "$scratch/err")"
  as_postgres pgv-restore demo "$scratch/plan" --plan >"$scratch/out"
  grep --quiet 'and the partial segment ' "$scratch/out" || fail "the plan: $(cat "$scratch/out")"
  restore "$scratch/to-the-last"
  [ "$(sql 'select count(*) from events where client = 99')" = 1000 ] || fail "what was received is not restored"
  stop_cluster "$bin" "$scratch/to-the-last"
}

# Of this configuration, with other lines.
derive_configuration() { # FILE SED-SCRIPT
  as_postgres sh -c 'sed "$3" "$1/etc/demo.conf" >"$2" && chmod 0600 "$2"' sh "$scratch" "$1" "$2"
}

begin_standby() {
  derive_configuration "$scratch/etc/standby.conf" "s|^PGV_STATE_DIR=.*|PGV_STATE_DIR=$scratch/state-standby|; s|^PGV_PGDATA=.*|PGV_PGDATA=$scratch/standby|; \$ a PGV_CLUSTER=demo\nPGPORT=5433"
  as_postgres "$bin/pg_basebackup" --pgdata="$scratch/standby" --write-recovery-conf --checkpoint=fast --wal-method=stream
  printf "port = 5433\narchive_command = '%s'\n" "$scratch/bin/pgv-wal-push -c $scratch/etc/standby.conf %p" |
    as_postgres tee --append "$scratch/standby/postgresql.auto.conf" >/dev/null
  start_cluster "$bin" "$scratch/standby"
  wait_until all_is_archived
}

# It takes over from the lost server. What it archives of the segment in which the timelines part is there already, as
# it was received; the receiver goes on with it.
taken_over() {
  local receiver partial
  partial=$(find "$scratch/repository" -name '*.partial.pgv')
  [ -n "$partial" ] || fail "no partial segment is stored"
  as_postgres cp "$partial" "$scratch/received"
  as_postgres "$bin/pg_ctl" --pgdata="$scratch/standby" --wait --silent promote
  export PGPORT=5433
  PATH=$bin:$PATH as_postgres env PGPORT=5433 pgv-wal-receive -c "$scratch/second/demo.conf" --synchronous 2>"$scratch/receive.log" &
  receiver=$!
  # It needs the receiver for this.
  sql "insert into events (client, n) select 100, i from generate_series(1, 10) i"
  wait_until_archived
  # It was archived, and is as it was received.
  as_postgres cmp --silent "$scratch/received" "$partial" || fail "the partial segment was stored again"
  [ "$(sql 'select failed_count from pg_stat_archiver')" = 0 ] || fail "archiving failed: $(tail "$scratch/standby.log")"
  wait_until test -e "$scratch/second/state/receive/stored/$(sql 'select last_archived_wal from pg_stat_archiver')"
  pkill -f "pg_receivewal .*$scratch/second" || fail "pg_receivewal does not run"
  wait "$receiver" || true
  stop_cluster "$bin" "$scratch/standby"
  export PGPORT=5432
  rm --recursive "$scratch/to-the-last"
  restore "$scratch/to-the-last"
  [ "$(sql 'select count(*) from events where client in (99, 100)')" = 1010 ] || fail "not all of both timelines is restored"
  stop_cluster "$bin" "$scratch/to-the-last"
}

main() {
  begin
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  RANDOM=${PGV_TEST_SEED:=$RANDOM}
  echo "PGV_TEST_SEED=$PGV_TEST_SEED" >&2
  source=$scratch/source bin=$(server_bin "$major")
  create_cluster "$bin" "$source"
  configure
  start_cluster "$bin" "$source"
  sql "create table marks (id int)"
  sql "create table events (client int, n int, begun timestamptz default clock_timestamp())"
  as_postgres pgv-backup demo 2>"$scratch/err" || fail "pgv-backup exits with $?: $(cat "$scratch/err")"
  load
  learn_the_order
  random_moments
  exact_places
  never_early
  received
  taken_over
  echo "every moment of $(wc --lines <"$scratch/commits") commits is a prefix of the WAL"
}

main

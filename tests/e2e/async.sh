#!/usr/bin/env bash
# WAL by several workers, into a directory or a bucket: a burst goes up and comes back while workers are killed,
# again as duplicates, with a spool that is full or not there; the spool of recovery stays within its bound and is
# emptied. A copy of the cluster, and a stranger under its name, never touch its archive. A full pg_wal recovers.
# shellcheck disable=SC2016  # $1 in bash -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
kind=${1:-file} # or s3
root=$(cd "$(dirname "$0")/../.." && pwd)
segments=24

configure() {
  local repository=file://$scratch/repository bucket_settings=()
  as_postgres mkdir "$scratch/etc" "$scratch/repository" "$scratch/state"
  if [ "$kind" = s3 ]; then
    start_bucket
    repository=s3://$PGV_TEST_BUCKET/some/prefix
  fi
  as_postgres tee "$scratch/etc/demo.conf" >/dev/null <<CONF
PGV_REPO=$repository
PGV_KEY_FILE=$PGV_KEY_FILE
PGV_STATE_DIR=$scratch/state
PGV_PGDATA=$source
PGV_WAL_JOBS=4
PGV_WAL_SPOOL=256MiB
PGHOST="$scratch"
$(printf '%s\n' "${bucket_settings[@]}")
CONF
  as_postgres chmod 0600 "$scratch/etc/demo.conf"
  unset PGV_KEY_FILE
  export PGV_CONFIG_DIR=$scratch/etc PGV_TEST_PG_BIN=$bin
  tree=$repository/demo
}

env_() { # COMMAND…: with the configuration as environment
  as_postgres pgv-env demo "$@"
}

archive_by() { # COMMAND
  sql "alter system set archive_command = '$1'"
  sql "select pg_reload_conf()" >/dev/null
}

push="pgv-wal-push -c"

# Segments that wait, from then on in `names`.
make_segments() { # COUNT
  local try
  archive_by ''
  sleep 0.5
  for try in $(seq "$1"); do
    sql "insert into marks select $try from generate_series(1, 500); select pg_switch_wal()" >/dev/null
  done
  names=$(find "$source/pg_wal/archive_status" -name '*.ready' -printf '%f\n' | sort | sed 's/\.ready$//')
  [ "$(wc --lines <<<"$names")" -ge "$1" ] || fail "only $(wc --lines <<<"$names") segments wait"
}

wait_until_archived() {
  local try last
  last=$(tail --lines=1 <<<"$names")
  for try in $(seq 600); do
    [ -e "$source/pg_wal/archive_status/$last.ready" ] || return 0
    # After three failures PostgreSQL waits a minute, unless there is something new.
    [ $((try % 30)) -ne 0 ] || sql "insert into marks select 0; select pg_switch_wal()" >/dev/null
    sleep 0.1
  done
  fail "$last is not archived: $(tail --lines=5 "$source.log")"
}

# Everything that PostgreSQL was told is archived opens, and is what the server has.
all_are_there() {
  local name context
  for name in $names; do
    context=$system/wal/${name:0:8}/$name.pgv
    env_ pgv-s3 --quiet get "$tree/$context" | env_ pgv-crypt --quiet -d --context "$context" | cmp --silent - "$source/pg_wal/$name" ||
      fail "$name is not in the archive as it was"
  done
}

# Of the test's own processes.
kill_workers() { # PATTERN
  local pid
  for pid in $(pgrep --full "$1"); do
    ! grep --quiet --null-data --fixed-strings "$scratch" "/proc/$pid/cmdline" 2>/dev/null || kill -KILL "$pid" 2>/dev/null || true
  done
}

bursts() {
  local count try
  for try in 1 2 3; do
    make_segments "$segments"
    archive_by "$scratch/bin/$push $scratch/etc/demo.conf %p"
    wait_until_archived
    all_are_there
    [ "$(sql 'select failed_count from pg_stat_archiver')" = 0 ] || fail "archiving failed: $(tail --lines=5 "$source.log")"
    # Marks go when PostgreSQL has asked, but for those since the last batch began: where the server is always faster than
    # the workers, there may be none.
    count=$(find "$scratch/state/spool/out" -ignore_readdir_race -name '*.ok' | wc --lines)
    [ "$count" -eq 0 ] || break
    archive_by ''
  done
  [ "$count" -gt 0 ] || fail "the workers pushed nothing in $try bursts: $(cat "$scratch/state/spool/out/log")"
  # Sealed segments do not stay in the spool.
  wait_until test ! -e "$scratch/state/spool/out/sealed"
  # The marks go with the next burst, and its workers are killed again and again.
  make_segments "$segments"
  archive_by "$scratch/bin/$push $scratch/etc/demo.conf %p"
  for count in $(seq 15); do
    sleep 0.1
    kill_workers 'pgv-wal-push|pgv-crypt|pgv-s3'
  done
  wait_until_archived
  all_are_there
  # What killed workers had sealed goes with the next batch.
  count=$(find "$scratch/state/spool/out" -ignore_readdir_race -type f -not -path '*/sealed/*' | wc --lines)
  [ "$count" -le $((segments + 3)) ] || fail "$count files in the spool: $(find "$scratch/state/spool/out")"
  # A batch that ends removes the directory, perhaps just now.
  count=$(find "$scratch/state/spool/out" -ignore_readdir_race -type f -path '*/sealed/*' | wc --lines)
  [ "$count" -le "$segments" ] || fail "$count sealed segments in the spool"
}

# Asked again for what is stored already, as after a crash.
duplicates() {
  local name
  env_ pgv-s3 --quiet ls --recursive --json "$tree/$system/wal/" | grep --only-matching '"url":"[^"]*"\|"modified":"[^"]*"' >"$scratch/stored"
  archive_by ''
  sleep 0.5
  for name in $names; do
    mv "$source/pg_wal/archive_status/$name.done" "$source/pg_wal/archive_status/$name.ready"
  done
  rm --recursive "$scratch/state/spool"
  archive_by "$scratch/bin/$push $scratch/etc/demo.conf %p"
  sql "insert into marks select 0; select pg_switch_wal()" >/dev/null
  wait_until_archived
  env_ pgv-s3 --quiet ls --recursive --json "$tree/$system/wal/" | grep --only-matching '"url":"[^"]*"\|"modified":"[^"]*"' >"$scratch/stored.now"
  [ -z "$(comm -23 <(sort "$scratch/stored") <(sort "$scratch/stored.now"))" ] || fail "duplicates changed what was stored"
  all_are_there
}

# Another history holds the name of a segment that waits: what waits behind it stays out, or one timeline of the
# archive would be of two histories.
conflicts() {
  local position conflict context behind
  for position in 1 3; do
    make_segments 7
    sql "select pg_stat_reset_shared('archiver')" >/dev/null
    conflict=$(sed --quiet "${position}p" <<<"$names")
    context=$system/wal/${conflict:0:8}/$conflict.pgv
    as_postgres cp "$source/pg_wal/$conflict" "$scratch/state/other"
    flip "$scratch/state/other" 9000
    env_ pgv-s3 --quiet put "$tree/$context" -- pgv-crypt -e --context "$context" "$scratch/state/other"
    archive_by "$scratch/bin/$push $scratch/etc/demo.conf %p"
    wait_until is_true "select failed_count > 1 and last_failed_wal = '$conflict' from pg_stat_archiver"
    sleep 1
    behind=$(env_ pgv-s3 --quiet ls --after "$conflict.pgv" "$tree/$system/wal/${conflict:0:8}/")
    [ -z "$behind" ] || fail "stored behind a conflict at $conflict: $behind"
    env_ pgv-s3 --quiet rm "$tree/$context"
    wait_until_archived
    all_are_there
  done
}

# Without a spool, or with a full one, segments go up one by one.
no_spool() {
  mv "$scratch/state" "$scratch/state.away"
  as_postgres mkdir --mode=0500 "$scratch/state"
  make_segments 4
  archive_by "$scratch/bin/$push $scratch/etc/demo.conf %p"
  wait_until_archived
  all_are_there
  rmdir "$scratch/state"
  if [ "$(id -u)" -eq 0 ]; then
    mkdir "$scratch/state"
    mount -t tmpfs -o size=4k,nr_inodes=5,mode=0777 none "$scratch/state"
    make_segments 6
    archive_by "$scratch/bin/$push $scratch/etc/demo.conf %p"
    wait_until_archived
    # The last worker may still see that there is no room.
    wait_until umount "$scratch/state"
    all_are_there
    rmdir "$scratch/state"
  else
    echo "async.sh: the full spool was NOT run: only root can mount" >&2
  fi
  mv "$scratch/state.away" "$scratch/state"
}

# Recovery through all of it; the spool never holds more than its bound, and goes.
read_ahead() {
  local most=0 now try directory=$scratch/restored
  as_postgres pgv-restore demo "$directory" 2>"$scratch/err" || fail "restoring exits with $?: $(cat "$scratch/err")"
  stop_cluster "$bin" "$source"
  as_postgres "$bin/pg_ctl" --pgdata="$directory" --log="$directory.log" --silent start >/dev/null
  for try in $(seq 1200); do
    # Fetched, or being fetched, for one server: each is a segment at most, and seen twice if it is renamed meanwhile.
    now=$(find "$scratch/state/spool/in" -ignore_readdir_race -type f -name '????????????????????????*' ! -name '*.lock' -printf '%h %i\n' |
      awk '!seen[$0]++ && ++count[$1] > most { most = count[$1] } END { print most + 0 }')
    [ "$now" -le "$most" ] || most=$now
    [ $((try % 8)) -ne 0 ] || [ "$try" -gt 40 ] || kill_workers 'pgv-wal-get|pgv-crypt|pgv-s3'
    # A call of the server's own that was killed stops it: that is not the end of recovery either.
    [ -e "$directory/postmaster.pid" ] ||
      as_postgres "$bin/pg_ctl" --pgdata="$directory" --log="$directory.log" --silent start >/dev/null 2>&1 || true
    if [ "$(sql 'select pg_is_in_recovery()' 2>/dev/null)" = f ]; then break; fi
    sleep 0.1
  done
  [ "$most" -gt 1 ] || fail "nothing was read ahead"
  [ "$most" -le 4 ] || fail "$most segments in the spool, of 4"
  [ "$(sql 'select count(*) from marks')" = "$rows" ] || fail "$(sql 'select count(*) from marks') of $rows rows"
  stop_cluster "$bin" "$directory"
  # Without a killed worker it goes by itself; what a killed one left goes with the next backup, an hour later.
  rm --recursive --force "$directory" "$scratch/state/spool/in"
  as_postgres pgv-restore demo "$directory" --start 2>"$scratch/err" || fail "restoring exits with $?: $(cat "$scratch/err")"
  for try in $(seq 100); do
    [ -n "$(ls "$scratch/state/spool/in")" ] || break
    sleep 0.1
  done
  [ "$try" -lt 100 ] || fail "the spool stays: $(find "$scratch/state/spool/in")"
  as_postgres mkdir --parents "$scratch/state/spool/in/1-1" "$scratch/state/spool/out/sealed"
  as_postgres touch "$scratch/state/spool/out/sealed/some.pgv"
  as_postgres touch --date='2 hours ago' "$scratch/state/spool/in/1-1" "$scratch/state/spool/out/sealed/some.pgv"
  # Not into the repository: the newest backup there shall stay the original's.
  as_postgres mkdir "$scratch/other"
  as_postgres env PGV_REPO="file://$scratch/other" PGV_WAL_TIMEOUT=1s PGV_PGDATA="$directory" pgv-backup demo 2>"$scratch/err" || [ $? -eq 7 ] || fail "pgv-backup exits with $?: $(cat "$scratch/err")"
  grep --quiet 'have not decided whether it archives' "$scratch/err" || fail "nobody reminds of the decision: $(cat "$scratch/err")"
  [ ! -e "$scratch/state/spool/in/1-1" ] || fail "what a killed worker fetched stays"
  [ ! -e "$scratch/state/spool/out/sealed/some.pgv" ] || fail "what a killed worker sealed stays"
  stop_cluster "$bin" "$directory"
}

# A copy that does not know that it is one, and another cluster under the same name.
impostors() {
  local name status=0
  as_postgres cp --archive "$source" "$scratch/clone"
  as_postgres sh -c 'sed "s|^PGV_PGDATA=.*|PGV_PGDATA=$1/clone|; s|^PGV_STATE_DIR=.*|PGV_STATE_DIR=$1/clone.state|; \$aPGV_CLUSTER=demo" "$1/etc/demo.conf" >"$1/clone.conf" && chmod 0600 "$1/clone.conf"' sh "$scratch"
  start_cluster "$bin" "$source"
  make_segments 2
  archive_by "$scratch/bin/$push $scratch/etc/demo.conf %p"
  wait_until_archived
  stop_cluster "$bin" "$source"
  echo "archive_command = ''" | as_postgres tee --append "$scratch/clone/postgresql.auto.conf" >/dev/null
  start_cluster "$bin" "$scratch/clone"
  name=$(sql "select pg_walfile_name(pg_current_wal_insert_lsn())")
  sql "insert into marks select 77 from generate_series(1, 500); select pg_switch_wal()" >/dev/null
  stop_cluster "$bin" "$scratch/clone"
  grep --quiet --line-regexp "$name" <<<"$names" || fail "$name of the copy is not one that its original archived: $names"
  as_postgres bash -c 'cd "$1" && pgv-wal-push -c "$2" "pg_wal/$3"' bash "$scratch/clone" "$scratch/clone.conf" "$name" 2>"$scratch/err" || status=$?
  [ "$status" -eq 1 ] || fail "a copy's segment $name: $status"
  grep --quiet 'has other content' "$scratch/err" || fail "no message: $(cat "$scratch/err")"
  all_are_there
  # A stranger has another system identifier, so a tree of its own; restore wants to know which.
  create_cluster "$bin" "$scratch/stranger"
  as_postgres sh -c 'sed "s|^PGV_PGDATA=.*|PGV_PGDATA=$1/stranger|; s|^PGV_STATE_DIR=.*|PGV_STATE_DIR=$1/stranger.state|" "$1/etc/demo.conf" >"$1/stranger.conf" && chmod 0600 "$1/stranger.conf"' sh "$scratch"
  start_cluster "$bin" "$scratch/stranger"
  as_postgres pgv-backup demo --config "$scratch/stranger.conf" 2>"$scratch/err" || [ $? -eq 7 ] || fail "a stranger's backup: $(cat "$scratch/err")"
  stop_cluster "$bin" "$scratch/stranger"
  status=0
  as_postgres pgv-restore demo "$scratch/nowhere" 2>"$scratch/err" || status=$?
  [ "$status" -eq 2 ] || fail "restoring one of two strangers exits with $status"
  all_are_there
}

# The archive fails until pg_wal is full and the server stops; with more room it goes on, and nothing is missing.
full_pg_wal() {
  local try
  [ "$(id -u)" -eq 0 ] || { echo "async.sh: the full pg_wal was NOT run: only root can mount" >&2 && return; }
  mkdir "$scratch/small"
  mount -t tmpfs -o size=180m none "$scratch/small"
  as_postgres cp --archive "$source/pg_wal" "$scratch/all_wal"
  sed --in-place '/^wal_keep_size/d; /^max_wal_size/d' "$source/postgresql.conf"
  echo "max_wal_size = 64MB" >>"$source/postgresql.conf"
  archive_setting "false"
  start_cluster "$bin" "$source"
  sql "checkpoint"
  stop_cluster "$bin" "$source"
  cp --archive "$source/pg_wal/." "$scratch/small/" || fail "pg_wal is too large for the small disk: $(du -sh "$source/pg_wal")"
  rm --recursive "$source/pg_wal"
  ln --symbolic "$scratch/small" "$source/pg_wal"
  chown postgres "$scratch/small"
  chmod 0700 "$scratch/small"
  start_cluster "$bin" "$source"
  rows=$(sql 'select count(*) from marks')
  for try in $(seq 40); do
    sql "insert into marks select 5 from generate_series(1, 500); select pg_switch_wal()" >/dev/null 2>&1 || break
    rows=$((rows + 500))
  done
  [ "$try" -lt 40 ] || fail "pg_wal did not fill: $(df "$scratch/small")"
  as_postgres "$bin/pg_ctl" --pgdata="$source" --silent --wait --mode=immediate stop >/dev/null 2>&1 || true
  mount -o remount,size=400m "$scratch/small"
  archive_setting "$scratch/bin/$push $scratch/etc/demo.conf %p"
  start_cluster "$bin" "$source"
  names=$(find "$scratch/small/archive_status" -name '*.ready' -printf '%f\n' | sort | sed 's/\.ready$//')
  sql "insert into marks select 0; select pg_switch_wal()" >/dev/null
  wait_until_archived
  # The last insert may have been committed before the server stopped.
  [ "$(sql 'select count(*) from marks')" -ge "$rows" ] || fail "rows were lost"
  rows=$(sql 'select count(*) from marks')
  names=$(sql 'select pg_walfile_name(pg_current_wal_insert_lsn())')
  sql "insert into marks select 0; select pg_switch_wal()" >/dev/null
  for try in $(seq 300); do
    [ "$(sql "select coalesce(last_archived_wal, '') >= '$names' from pg_stat_archiver")" != t ] || break
    sleep 0.1
  done
  as_postgres pgv-restore demo "$scratch/after" --system-id "$system" --start --port 5433 2>"$scratch/err" || fail "restoring exits with $?: $(cat "$scratch/err")"
  [ "$(PGPORT=5433 sql 'select count(*) from marks')" -ge "$rows" ] || fail "the archive lacks rows"
  stop_cluster "$bin" "$scratch/after"
  stop_cluster "$bin" "$source"
  umount "$scratch/small"
}

archive_setting() { # COMMAND
  as_postgres sed --in-place '/^archive_command/d' "$source/postgresql.auto.conf"
  echo "archive_command = '$1'" | as_postgres tee --append "$source/postgresql.auto.conf" >/dev/null
}

finish() {
  [ "$kind" != s3 ] || "$root/tests/tools/s3-server.sh" stop "$scratch/s3" || true
  ! mountpoint --quiet "$scratch/state" || umount "$scratch/state" || true
  if mountpoint --quiet "$scratch/small" 2>/dev/null; then
    as_postgres "$bin/pg_ctl" --pgdata="$source" --silent --mode=immediate stop >/dev/null 2>&1 || true
    umount --lazy "$scratch/small" || true
  fi
}

main() {
  begin
  trap 'status=$?; set +e; finish; (exit "$status"); end' EXIT
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  source=$scratch/source bin=$debian_bin
  create_cluster "$bin" "$source"
  configure
  as_postgres tee --append "$source/postgresql.conf" >/dev/null <<CONF
archive_mode = on
archive_command = '$scratch/bin/pgv-wal-push -c $scratch/etc/demo.conf %p'
wal_keep_size = 4GB
CONF
  start_cluster "$bin" "$source"
  system=$(sql "select system_identifier from pg_control_system()")
  sql "create table marks (id int)"
  as_postgres pgv-backup demo 2>"$scratch/err" || fail "pgv-backup exits with $?: $(cat "$scratch/err")"
  bursts
  duplicates
  conflicts
  no_spool
  rows=$(sql 'select count(*) from marks')
  sql "insert into marks select 0; select pg_switch_wal()" >/dev/null
  sleep 1
  rows=$((rows + 1))
  read_ahead
  impostors
  [ "$kind" = s3 ] || full_pg_wal
  echo "WAL by several workers on $kind: nothing lost, nothing twice"
}

main

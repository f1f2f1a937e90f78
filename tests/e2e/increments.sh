#!/usr/bin/env bash
# One major: a full and increments of every kind, taken while the cluster is written to and changes its
# shape; every link is restored by pgv-apply and by stock tools, which must give the same bytes, started,
# and looked at.
# shellcheck disable=SC2016  # $1 in bash -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
major=${1:-$debian_major}
root=$(cd "$(dirname "$0")/../.." && pwd)
full=20260101-000000F
one=${full}_20260101-000001I
two=${full}_20260101-000002I
three=${full}_20260101-000003I
diff=${full}_20260101-000004D
files=${full}_20260101-000005I
more_files=${full}_20260101-000006I

# LABEL [PARENT…]: into $scratch/tar/LABEL.tar, its manifest beside it.
take() {
  local label=$1 parent since=() mode=()
  shift
  for parent in "$@"; do
    case $parent in
      --*) mode+=("$parent") ;;
      *) since+=(--since "$scratch/tar/$parent.manifest") ;;
    esac
  done
  as_postgres bash -c 'set -euo pipefail; label=$1 tar=$2; shift 2
    pgv-snap --label "$label" --manifest "$tar/$label.manifest" --facts "$tar/$label.facts" "$@" >"$tar/$label.tar"' \
    bash "$label" "$scratch/tar" "${since[@]}" "${mode[@]}" "$source" || fail "the backup $label exits with $?"
}

# DIR LABEL…: a chain, by pgv-apply.
lay() {
  local directory=$1 hold=() label
  shift
  for label in "$@"; do
    hold=()
    [ "$label" = "${!#}" ] || hold=(--hold)
    as_postgres bash -c 'pgv-apply --expect "$2" "${@:4}" "$1" <"$3"' bash "$directory" "$label" "$scratch/tar/$label.tar" "${hold[@]}" ||
      fail "laying down $label exits with $?"
  done
}

content() {
  sql "copy (select * from marks order by id) to stdout" | md5sum
  sql "copy (select aid, abalance from pgbench_accounts order by aid) to stdout" | md5sum
  sql "copy (select * from shrunk order by id) to stdout" | md5sum
  sql "copy (select datname from pg_database order by 1) to stdout" | md5sum
}

invariant() {
  sql 'select (select sum(abalance) from pgbench_accounts) = (select sum(tbalance) from pgbench_tellers)
       and (select sum(abalance) from pgbench_accounts) = (select coalesce(sum(delta), 0) from pgbench_history)'
}

check_restored() { # DATA [CONTENT]
  pg_verifies "$1" "$major"
  as_postgres sh -c 'echo "restore_command = '\''false'\''" >>"$1/postgresql.auto.conf"' sh "$1"
  start_cluster "$bin" "$1"
  wait_until_promoted
  [ -z "${2:-}" ] || [ "$(content)" = "$2" ] || fail "the data in $1 differ"
  [ "$(invariant)" = t ] || fail "pgbench's invariant does not hold in $1"
  [ "$(sql 'select count(*) from unlogged_marks')" = 0 ] || fail "unlogged rows came back"
  sql "create extension amcheck; create extension pg_visibility" >/dev/null
  sql "select bt_index_check(indexrelid, true) from pg_index join pg_class c on c.oid = indexrelid
       join pg_am a on a.oid = c.relam where a.amname = 'btree' and c.relpersistence = 'p'" >/dev/null
  [ "$(sql "select count(*) from pg_class c, pg_check_visible(c.oid) where relkind = 'r' and relpersistence = 'p'")" = 0 ] ||
    fail "pg_check_visible finds damage"
  [ "$(sql "select count(*) from pg_class c, pg_check_frozen(c.oid) where relkind = 'r' and relpersistence = 'p'")" = 0 ] ||
    fail "pg_check_frozen finds damage"
  [ "$(sql 'set enable_seqscan = off; select count(id) from marks')" = "$(sql 'set enable_indexscan = off; set enable_indexonlyscan = off; set enable_bitmapscan = off; select count(id) from marks')" ] ||
    fail "index and table do not agree"
  stop_cluster "$bin" "$1"
}

extract() { # DIR LABEL: with tar alone
  as_postgres mkdir --mode=0700 "$1"
  as_postgres tar --extract --directory="$1" --file="$scratch/tar/$2.tar"
}

# What pgv-apply leaves and what another way leaves: the same, but for what only pgv reads.
same_trees() { # DIR DIR
  diff --recursive --no-dereference --exclude=pgv --exclude=backup_manifest "$1" "$2" >"$scratch/diff.log" ||
    fail "$1 and $2 differ: $(head --lines=5 "$scratch/diff.log")"
}

change_shape() {
  sql "delete from marks where id % 3 = 0"
  sql "vacuum marks"
  sql "insert into marks select id, md5(id::text) from generate_series(50001, 60000) id"
  sql "delete from shrunk where id > 2000"
  sql "vacuum shrunk"
  sql "drop table dropped; truncate truncated; insert into truncated select 7 from generate_series(1, 100)"
  sql "create table later as select id, repeat('x', 500) t from generate_series(1, 3000) id; create index on later (id)"
}

main() {
  begin
  local expected again
  source=$scratch/source
  bin=$(server_bin "$major")
  as_postgres mkdir "$scratch/tar"
  create_cluster "$bin" "$source"
  # What it would write by itself is no increment's.
  echo 'autovacuum = off' | as_postgres tee --append "$source/postgresql.conf" >/dev/null
  start_cluster "$bin" "$source"
  pgbench --initialize --scale=5 --quiet 2>/dev/null
  sql "create table marks as select id, md5(id::text) t from generate_series(1, 50000) id;
       create index on marks using hash (t); create index on marks (t); create index on marks (id);
       create index on marks using gin (to_tsvector('simple', t)); create index on marks using brin (id);
       create index on marks using spgist (t); create index on marks using gist (point(id, id));
       create unlogged table unlogged_marks as select * from marks;
       create table shrunk as select id, repeat('y', 300) t from generate_series(1, 20000) id;
       create table dropped as select * from marks; create table truncated as select id from marks"
  sql "create database gone"
  sql "create table x as select * from generate_series(1, 1000) id" gone
  take "$full"

  begin_load
  change_shape
  take "$one" "$full"
  end_load
  sql "drop database gone"
  sql "create database other"
  sql "create table y as select * from generate_series(1, 1000) id" other
  sql "insert into shrunk select id, repeat('z', 300) from generate_series(30000, 35000) id"
  sql "vacuum shrunk"
  pgbench --transactions=200 --no-vacuum >/dev/null 2>&1
  sql "vacuum (freeze) pgbench_accounts"
  expected=$(content)
  take "$two" "$full" "$one"
  # Nothing changed: nothing is read but what every backup sends whole, and the stream is small.
  sql checkpoint
  sleep 3
  take "$three" "$full" "$one" "$two"
  [ "$(stat --format=%s "$scratch/tar/$three.tar")" -lt 35000000 ] || fail "an increment without changes has $(stat --format=%s "$scratch/tar/$three.tar") bytes"
  take "$diff" "$full"
  take "$files" "$full" "$one" "$two" "$three" --files
  pgbench --transactions=100 --no-vacuum >/dev/null 2>&1
  sql "drop table later"
  again=$(content)
  take "$more_files" "$full" "$one" "$two" "$three" "$files" --files
  stop_cluster "$bin" "$source"

  refusals
  stock_ways

  lay "$scratch/a" "$full" "$one"
  check_restored "$scratch/a"
  lay "$scratch/b" "$full" "$one" "$two"
  check_restored "$scratch/b" "$expected"
  lay "$scratch/c" "$full" "$one" "$two" "$three"
  check_restored "$scratch/c" "$expected"
  lay "$scratch/d" "$full" "$diff"
  check_restored "$scratch/d" "$expected"
  lay "$scratch/e" "$full" "$one" "$two" "$three" "$files" "$more_files"
  check_restored "$scratch/e" "$again"
  echo "PostgreSQL $major: increments in blocks and files, restored by pgv-apply and by stock tools"
}

# tar, and what travels in the stream, with no pgv in PATH.
stock_ways() {
  local label
  for label in "$full" "$one" "$two"; do
    extract "$scratch/x-$label" "$label"
  done
  unmerged_does_not_start "$scratch/x-$one"
  local unstack=$scratch/x-$two/pgv/unstack
  [ "$major" -lt 17 ] || unstack=$root/scripts/pgv-unstack
  install --mode=0755 "$unstack" "$scratch/unstack"
  as_postgres env PATH=/usr/bin:/bin perl "$scratch/unstack" "$scratch/u" "$scratch/x-$full" "$scratch/x-$one" "$scratch/x-$two" ||
    fail "unstack exits with $?"
  lay "$scratch/u2" "$full" "$one" "$two"
  combine
  merged "$scratch/u2" "$full" "$one" "$two"
  same_trees "$scratch/u" "$scratch/u2"
  cmp "$scratch/u/backup_manifest" "$scratch/u2/backup_manifest" || fail "the manifests differ"
  if as_postgres env PATH=/usr/bin:/bin perl "$scratch/unstack" "$scratch/u3" "$scratch/x-$full" "$scratch/x-$two" 2>/dev/null; then
    fail "unstack takes a chain with a gap"
  fi

  # Increments of files: tar alone, in order, over what lies there.
  lay "$scratch/g" "$full" "$one" "$two" "$three"
  for label in "$files" "$more_files"; do
    as_postgres env PATH=/usr/bin:/bin tar --extract --incremental --directory="$scratch/g" --file="$scratch/tar/$label.tar"
  done
  lay "$scratch/g2" "$full" "$one" "$two" "$three" "$files" "$more_files"
  same_trees "$scratch/g" "$scratch/g2"
  merged "$scratch/g2" "$full" "$one" "$two" "$three" "$files" "$more_files"
  extract "$scratch/x-$files" "$files"
  unmerged_does_not_start "$scratch/x-$files"
  local directory
  for directory in "$scratch"/x-* "$scratch/u" "$scratch/u2" "$scratch/g" "$scratch/g2"; do
    rm --recursive --force "$directory"
  done
}

# What pgv-merge writes, by tar alone.
merge() { # DIR LABEL…
  local directory=$1
  shift
  as_postgres mkdir --mode=0700 "$directory"
  as_postgres bash -c 'set -o pipefail; out=$1; shift; pgv-merge "$@" | tar --extract --directory="$out"' bash "$directory" \
    "${@/#/$scratch/tar/}" 2>"$scratch/err" || fail "merging $* exits with $?: $(cat "$scratch/err")"
}

merged() { # DIR LABEL…: what pgv-apply makes of the same is in DIR
  local directory=$1 tars=("${@:2}")
  merge "$scratch/m" "${tars[@]/%/.tar}"
  # An increment of files has none, and the server makes it; the full that is merged has one.
  [ -e "$directory/pg_wal/summaries" ] || rm --recursive --force "$scratch/m/pg_wal/summaries"
  same_trees "$scratch/m" "$directory"
  pg_verifies "$scratch/m" "$major"
  rm --recursive "$scratch/m"
}

# What pg_combinebackup does, if there is one, and in any case what it asks of a chain.
combine() {
  [ "$major" -ge 17 ] || return 0
  local chain=("$scratch/x-$full" "$scratch/x-$one" "$scratch/x-$two")
  python3 "$root/tests/tools/check-chain.py" "${chain[@]}" || fail "pg_combinebackup would refuse the chain"
  if [ ! -x "$PGV_TEST_TOOLS/debian/$major/bin/pg_combinebackup" ]; then
    echo "increments.sh: pg_combinebackup was NOT run: tests/tools/install-debian-tools.sh could not install PostgreSQL $major" >&2
    return 0
  fi
  as_postgres "$(debian_tools "$major")/pg_combinebackup" --no-sync --output="$scratch/combined" "${chain[@]}" || fail "pg_combinebackup exits with $?"
  same_trees "$scratch/combined" "$scratch/u2"
  rm --recursive "$scratch/combined"
}

unmerged_does_not_start() { # DIR
  as_postgres cp --archive "$1" "$1.started"
  as_postgres sh -c 'echo "restore_command = '\''false'\''" >>"$1/postgresql.auto.conf"' sh "$1.started"
  ! as_postgres "$bin/pg_ctl" --pgdata="$1.started" --log="$1.log" --wait --timeout=20 start >/dev/null 2>&1 ||
    fail "an unmerged increment starts"
  rm --recursive "$1.started"
}

expect_refusal() { # STATUS DIR LABEL
  local status=0 before
  before=$(tree_sum "$2")
  as_postgres bash -c 'pgv-apply "$1" <"$2"' bash "$2" "$scratch/tar/$3.tar" 2>"$scratch/err" || status=$?
  [ "$status" -eq "$1" ] || fail "laying $3 over $2 exits with $status: $(cat "$scratch/err")"
  [ "$(tree_sum "$2")" = "$before" ] || fail "a refusal changed $2"
}

tree_sum() {
  (cd "$1" && find . -type f -printf '%p %s %T@\n' | sort | md5sum)
}

refusals() {
  lay "$scratch/r" "$full" "$one"
  expect_refusal 6 "$scratch/r" "$one"
  expect_refusal 6 "$scratch/r" "$three"
  expect_refusal 6 "$scratch/r" "$full"
  as_postgres mkdir "$scratch/empty"
  expect_refusal 6 "$scratch/empty" "$one"
  as_postgres sh -c 'mv "$1/base/1/1255" "$1/base/1/moved"' sh "$scratch/r"
  expect_refusal 6 "$scratch/r" "$two"
  as_postgres sh -c 'mv "$1/base/1/moved" "$1/base/1/1255"' sh "$scratch/r"
  lay "$scratch/r" "$two"
  lay "$scratch/r" "$three"
  # kill -9 in the middle of a link, and again from the start of the chain.
  lay "$scratch/k" "$full"
  as_postgres bash -c '(head --bytes=3000000 "$2"; sleep 60) | pgv-apply "$1"' bash "$scratch/k" "$scratch/tar/$one.tar" &
  local pipe=$! pid
  wait_until test ! -e "$scratch/k/global/pg_control"
  pid=$(pgrep --full "^pgv-apply $scratch/k\$") || fail "no pgv-apply to kill"
  kill -KILL "$pid"
  pkill --parent "$(pgrep --full "^bash -c .head --bytes=3000000.* $scratch/k " | tail --lines=1)" sleep || true
  ! wait "$pipe" || fail "a killed pgv-apply succeeds"
  [ ! -e "$scratch/k/global/pg_control" ] || fail "what was interrupted could start"
  expect_refusal 6 "$scratch/k" "$one"
  lay "$scratch/k" "$full" "$one" "$two"
  rm --recursive --force "$scratch/r" "$scratch/k" "$scratch/empty"
}

main

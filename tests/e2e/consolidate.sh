#!/usr/bin/env bash
# Synthetic fulls of one major, in a directory or a bucket: a chain under load becomes one full, on another host; increments
# follow it, and it is merged again; what is restored is what the chain gives, byte for byte, and PostgreSQL finds nothing
# wrong with it. An increment and a consolidation run beside each other, consolidation is killed before one command after
# the other, and what is damaged is refused.
# shellcheck disable=SC2016  # $1 in bash -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
major=${1:-$debian_major} kind=${2:-file} # or s3
root=$(cd "$(dirname "$0")/../.." && pwd)
# Before each so-many-th command the script is killed; make test-long takes each.
step=${PGV_TEST_STEP:-19}

expect() { # STATUS TEXT COMMAND…
  local status=0
  as_postgres "${@:3}" >"$scratch/out" 2>"$scratch/err" || status=$?
  [ "$status" -eq "$1" ] || fail "${*:3} exits with $status instead of $1: $(cat "$scratch/out" "$scratch/err")"
  grep --quiet --fixed-strings -- "$2" "$scratch/out" "$scratch/err" || fail "no \"$2\" of ${*:3}: $(cat "$scratch/out" "$scratch/err")"
}

# The repository itself.
stored() { # VERB URL…
  as_postgres pgv-env demo pgv-s3 --quiet "$@"
}

labels() { # [OPTION…]
  as_postgres pgv-info demo --format label "$@"
}

newest() {
  labels "$@" | tail --lines=1
}

backup() { # an increment, without a word of a full
  as_postgres pgv-backup demo 2>"$scratch/err" || fail "pgv-backup exits with $?: $(cat "$scratch/err")"
  ! grep --quiet 'making a full' "$scratch/err" || fail "a full: $(cat "$scratch/err")"
}

no_leftovers() {
  ! as_postgres pgv-info demo --format json | grep '"state":"incomplete"' || fail "$1 left something"
}

content() {
  sql 'copy (select * from marks order by id) to stdout' | md5sum
  sql 'copy (select aid, abalance from pgbench_accounts order by aid) to stdout' | md5sum
  sql 'copy (select datname from pg_database order by 1) to stdout' | md5sum
}

# Each by itself: not all can be in a transaction.
run() { # SQL…
  local statement
  for statement in "$@"; do sql "$statement" >/dev/null; done
}

invariant() {
  sql 'select (select sum(abalance) from pgbench_accounts) = (select sum(tbalance) from pgbench_tellers)
       and (select sum(abalance) from pgbench_accounts) = (select coalesce(sum(delta), 0) from pgbench_history)'
}

# A chain, by pgv-apply, with the record of each link.
lay() { # DIR LABEL
  local url urls hold
  urls=$(as_postgres pgv-info choose demo --label "$2")
  for url in $urls; do
    hold=(--hold)
    [ "${url##*/}" = "$2" ] && hold=()
    stored get "$url/record.json" >"$scratch/record"
    as_postgres pgv-env demo pgv-apply --quiet "${hold[@]}" --expect "${url##*/}" --record "$scratch/record" "$1" -- \
      pgv-crypt --quiet --decrypt -- pgv-s3 --quiet get "$url/data.pgv" || fail "laying down ${url##*/} exits with $?"
  done
}

# It is what the chain of its last link gives.
same_as() { # SYNTHETIC LABEL
  lay "$scratch/one" "$1"
  lay "$scratch/many" "$2"
  diff --recursive --no-dereference --exclude=pgv --exclude=backup_manifest "$scratch/one" "$scratch/many" >"$scratch/diff.log" ||
    fail "$1 and the chain of $2 differ: $(head --lines=5 "$scratch/diff.log")"
  pg_verifies "$scratch/one" "$major"
  rm --recursive "$scratch/one" "$scratch/many"
}

# Restores, starts and looks: what is expected of `content`, and no damage that PostgreSQL sees.
restored() { # CONTENT OPTION…
  as_postgres "${restore[@]}" demo "$scratch/restored" --port 5440 --start --archive off "${@:2}" >"$scratch/out" 2>"$scratch/err" || [ $? -eq 7 ] ||
    fail "restoring ${*:2} fails: $(cat "$scratch/err")"
  [ "$(PGPORT=5440 content)" = "$1" ] || fail "the data differ after a restore with ${*:2}"
  [ "$(PGPORT=5440 invariant)" = t ] || fail "pgbench's invariant does not hold after a restore with ${*:2}"
  [ "$(PGPORT=5440 sql 'set enable_seqscan = off; select count(id) from marks')" = "$(PGPORT=5440 sql 'set enable_indexscan = off; set enable_indexonlyscan = off; set enable_bitmapscan = off; select count(id) from marks')" ] ||
    fail "index and table do not agree after a restore with ${*:2}"
  [ "$major" -lt 14 ] || as_postgres "$debian_bin/pg_amcheck" --host="$scratch" --port=5440 --username=postgres --all --install-missing --heapallindexed >"$scratch/out" 2>&1 ||
    fail "pg_amcheck after a restore with ${*:2}: $(cat "$scratch/out")"
  stop_cluster "$bin" "$scratch/restored"
  as_postgres rm --recursive "$scratch/restored"
}

configure() {
  local bucket_settings=() key=$PGV_KEY_FILE
  repository=file://$scratch/repository
  if [ "$kind" = s3 ]; then
    start_bucket
    repository=s3://$PGV_TEST_BUCKET/some/prefix
  fi
  configure_demo "$source" PGV_FULL_EVERY=never PGV_KEEP_WITHIN=30d PGV_WAL_TIMEOUT=60s "${bucket_settings[@]}"
  as_postgres install --mode=0600 /dev/null "$scratch/etc/elsewhere.conf"
  printf '%s\n' PGV_CLUSTER=demo "PGV_REPO=$repository" "PGV_KEY_FILE=$key" "PGV_STATE_DIR=$scratch/state-elsewhere" "${bucket_settings[@]}" |
    as_postgres tee "$scratch/etc/elsewhere.conf" >/dev/null
}

# A set of tools as 0.1.0 installed it, with today's scripts: the verbs of the others are those of pgv-info.
older_tools() {
  mkdir "$scratch/older"
  cp "$scratch"/bin/* "$scratch/older/"
  rm "$scratch"/older/pgv-{merge,env,peek}
}

# Stands before TOOL, and waits while $scratch/hold-TOOL is there.
hold() { # TOOL PATTERN of its arguments
  mv "$scratch/bin/$1" "$scratch/bin/$1.real"
  cat >"$scratch/bin/$1" <<SHIM
#!/bin/bash
if [[ " \$* " == *"$2"* ]] && [ -e "$scratch/hold-$1" ]; then
  : >"$scratch/state/holds-$1"
  while [ -e "$scratch/hold-$1" ]; do sleep 0.1; done
fi
exec "$scratch/bin/$1.real" "\$@"
SHIM
  chmod 0755 "$scratch/bin/$1"
  : >"$scratch/hold-$1"
}

release() { # TOOL
  rm --force "$scratch/hold-$1" "$scratch/state/holds-$1"
}

first_chain() {
  local number
  begin_load
  as_postgres pgv-backup demo 2>"$scratch/err" || fail "the first backup exits with $?: $(cat "$scratch/err")"
  run "delete from marks where id % 3 = 0" "vacuum marks" "truncate emptied" "create database other"
  sql "create table y as select * from generate_series(1, 1000) id" other
  backup
  run "insert into marks select id, md5(id::text) from generate_series(50001, 60000) id" "drop table dropped"
  backup
  end_load
  sql 'vacuum (freeze) pgbench_accounts'
  expected=$(content)
  backup
  number=$(labels | wc --lines)
  [ "$number" -eq 4 ] || fail "there are $number backups, and not a full and three increments"
}

# On a host without a server; root gives the command, from another directory, in another language.
merged_elsewhere() {
  local last before synthetic since=() label
  last=$(newest) before=$(labels)
  expect 0 "merge 4 backups of demo, ${last%%_*} to $last" pgv-consolidate elsewhere --plan
  [ "$(labels)" = "$before" ] || fail "--plan made something"
  (cd /tmp && env --ignore-environment PATH=/usr/bin:/bin LANG=tr_TR.UTF-8 "PGV_CONFIG_DIR=$PGV_CONFIG_DIR" "$scratch/bin/pgv-consolidate" elsewhere) 2>"$scratch/err" ||
    fail "pgv-consolidate exits with $?: $(cat "$scratch/err")"
  synthetic=$(newest)
  [ "$(labels --type synthetic)" = "$synthetic" ] || fail "the newest is $synthetic, and synthetic are: $(labels --type synthetic)"
  [ "$(labels --type full)" = "${last%%_*}" ] || fail "fulls are: $(labels --type full)"
  no_leftovers pgv-consolidate
  expect 0 "nothing to merge: backup $synthetic is a synthetic full backup already" pgv-consolidate elsewhere
  same_as "$synthetic" "$last"
  # The database host makes the same manifest of its own copies.
  for label in $before; do since+=(--since "$scratch/state/manifest/$label"); done
  as_postgres pgv-merge --label "$synthetic" --manifest "$scratch/state/own" "${since[@]}" || fail "pgv-merge of manifests exits with $?"
  cmp "$scratch/state/own" "$scratch/state-elsewhere/manifest/$synthetic" || fail "two hosts make two manifests"
  restored "$expected" --label "$synthetic" --immediate
  expect 0 "$synthetic: every file matches" pgv-verify demo --label "$synthetic"
  # The next increments build on it, with its manifest from the repository.
  backup
  [ "$(newest | cut --delimiter=_ --fields=1)" = "$synthetic" ] || fail "the next backup is $(newest), and not built on $synthetic"
}

on_top() {
  local last synthetic moment at_moment
  begin_load
  run "insert into marks select id, 'second' from generate_series(70001, 75000) id" "create table dropped as select * from marks"
  backup
  end_load
  at_moment=$(content) moment=$(sql 'select clock_timestamp()')
  sleep 1.1
  run "delete from marks where id % 7 = 0" "vacuum marks" "drop database other" "drop table dropped"
  backup
  expected=$(content) last=$(newest)
  [ "$(as_postgres pgv-info choose demo --latest | wc --lines)" -eq 4 ] || fail "the chain is: $(as_postgres pgv-info choose demo --latest)"
  # On the database host now.
  as_postgres pgv-consolidate demo 2>"$scratch/err" || fail "the second pgv-consolidate exits with $?: $(cat "$scratch/err")"
  synthetic=$(newest)
  [ -s "$scratch/state/manifest/$synthetic" ] || fail "no manifest of $synthetic is kept"
  same_as "$synthetic" "$last"
  restored "$expected"
  # A chain, by the tools of 0.1.0.
  older_tools
  restore=(env "PATH=$debian_bin:/usr/bin:/bin" "$scratch/older/pgv-restore")
  restored "$at_moment" --time "$moment"
  restore=(pgv-restore)
  # The moment is before the second one's content, whatever its label says.
  grep --quiet "restoring.*$synthetic" "$scratch/err" && fail "the wrong backup: $(cat "$scratch/err")"
  as_postgres mkdir "$scratch/copied"
  expect 0 'has 1 backups' pgv-copy "$repository" "file://$scratch/copied" --cluster demo --label "$synthetic" --source-config "$scratch/etc/demo.conf"
  backup
}

# An increment that began before keeps its chain, and one that runs while a consolidation is at work is not in its way.
side_by_side() {
  local chain own pid synthetic
  chain=$(newest)
  hold pgv-snap ' --facts '
  as_postgres pgv-backup demo 2>"$scratch/slow.log" &
  pid=$!
  wait_until test -e "$scratch/state/holds-pgv-snap"
  as_postgres pgv-consolidate demo 2>"$scratch/err" || fail "beside a backup pgv-consolidate exits with $?: $(cat "$scratch/err")"
  synthetic=$(newest --type synthetic)
  release pgv-snap
  wait "$pid" || fail "beside a consolidation pgv-backup exits with $?: $(cat "$scratch/slow.log")"
  own=$(newest)
  [ "${own%%_*}" = "${chain%%_*}" ] || fail "$own was begun on the chain of $chain"
  [ "$(as_postgres pgv-info choose demo --label "$own" | tail --lines=2 | head --lines=1 | sed 's|.*/||')" = "$chain" ] || fail "$own is not built on $chain"
  backup
  [ "$(newest | cut --delimiter=_ --fields=1)" = "$synthetic" ] || fail "$(newest) is not built on the newest full, $synthetic"
  hold pgv-merge ' --record '
  as_postgres pgv-consolidate demo 2>"$scratch/slow.log" &
  pid=$!
  wait_until test -e "$scratch/state/holds-pgv-merge"
  expect 75 'another pgv run holds the lock' pgv-consolidate demo
  backup
  own=$(newest)
  # As an expiry on this host does, which removes what it kept of a chain before the chain.
  as_postgres find "$scratch/state/manifest" -type f ! -name "$own" -delete
  release pgv-merge
  wait "$pid" || fail "beside a backup pgv-consolidate exits with $?: $(cat "$scratch/slow.log")"
  [ "$(newest)" = "$own" ] || fail "the newest content is that of $own, and not of $(newest)"
  [ "$(labels --type synthetic | wc --lines)" -eq 4 ] || fail "synthetic fulls: $(labels --type synthetic)"
  no_leftovers 'running side by side'
  expected=$(content)
  restored "$expected"
}

# A signal ends it with all that it runs, and it takes back what it stored.
ended() {
  local pid before
  before=$(labels)
  : >"$scratch/hold-pgv-merge"
  as_postgres bash -c 'echo $$ >"$1"; exec pgv-consolidate demo' bash "$scratch/state/pid" 2>"$scratch/slow.log" &
  pid=$!
  wait_until test -e "$scratch/state/holds-pgv-merge"
  kill -TERM "$(cat "$scratch/state/pid")"
  ! wait "$pid" || fail 'what was ended succeeds'
  rm --force "$scratch/hold-pgv-merge" "$scratch/state/holds-pgv-merge"
  no_leftovers 'what was ended'
  [ "$(labels)" = "$before" ] || fail 'what was ended changed something'
  ! pgrep --full "$scratch/bin/pgv-merge" >/dev/null || fail 'a stage goes on'
}

# Done twice, it is as it was.
damage() { # URL
  stored get "$1" >"$scratch/damaged"
  flip "$scratch/damaged" 3000
  stored put --replace "$1" <"$scratch/damaged"
  rm "$scratch/damaged"
}

# What expiry takes away while it is read is not bad.
removed_meanwhile() { # URL
  local name pid status=0
  hold pgv-apply ' --check-only '
  as_postgres pgv-verify demo --merged >"$scratch/slow.log" 2>&1 &
  pid=$!
  wait_until test -e "$scratch/state/holds-pgv-apply"
  for name in record.json data.pgv; do
    stored get "$1/$name" >"$scratch/removed-$name"
    stored rm "$1/$name"
  done
  release pgv-apply
  wait "$pid" || status=$?
  for name in data.pgv record.json; do stored put "$1/$name" <"$scratch/removed-$name"; done
  [ "$status" -eq 75 ] || fail "of a backup that was removed meanwhile it exits with $status: $(cat "$scratch/slow.log")"
  grep --quiet 'was removed during the run' "$scratch/slow.log" || fail "it does not say so: $(cat "$scratch/slow.log")"
}

refusals() {
  local url before
  backup
  before=$(labels)
  url=$(as_postgres pgv-info choose demo --latest | head --lines=1)
  damage "$url/data.pgv"
  expect 5 'no backup was recorded' pgv-consolidate demo
  [ "$(labels)" = "$before" ] || fail "a damaged link became a full"
  no_leftovers 'a refused consolidation'
  expect 7 'BAD  ' pgv-verify demo --merged
  damage "$url/data.pgv"
  expect 0 'a restore would give what its manifest says' pgv-verify demo --merged
  removed_meanwhile "$url"
  stored get "$url/record.json" >"$scratch/moved"
  stored rm "$url/record.json"
  expect 5 'cannot be merged' pgv-consolidate demo
  stored put "$url/record.json" <"$scratch/moved"
  as_postgres sh -c 'umask 077; pgv-crypt --generate-key >"$1"' sh "$scratch/other-key"
  expect 4 'opens' env PGV_KEY_FILE="$scratch/other-key" pgv-consolidate demo
  expect 3 'there is no backup 20200101-000000F' pgv-consolidate demo --label 20200101-000000F
  expect 2 'PGV_KEEP_FULL with PGV_FULL_EVERY=never' env PGV_KEEP_FULL=2 pgv-consolidate demo
  expect 2 'PGV_KEEP_FULL with PGV_FULL_EVERY=never' env PGV_KEEP_FULL=2 pgv-backup demo
  [ "$(labels)" = "$before" ] || fail "a refusal changed something"
  no_leftovers 'a refusal'
  without_wal
}

# The newest backup needs a segment that is not in the archive now: it may come.
without_wal() {
  local url segment
  as_postgres env PGV_WAL=none pgv-backup demo 2>"$scratch/err" || fail "without WAL pgv-backup exits with $?: $(cat "$scratch/err")"
  url=$(as_postgres pgv-info choose demo --latest | tail --lines=1)
  segment=$(stored get "$url/record.json" | sed --quiet 's/.*"wal_last": *"\([0-9A-F]*\)".*/\1/p')
  segment=${url%/backup/*}/wal/${segment:0:8}/$segment.pgv
  stored get "$segment" >"$scratch/moved"
  stored rm "$segment"
  expect 75 'pgv-verify shows which WAL is missing' env PGV_WAL_TIMEOUT=2s pgv-consolidate demo
  [ "$(newest)" = "${url##*/}" ] || fail "a full without its WAL: $(newest)"
  no_leftovers 'a consolidation without WAL'
  stored put "$segment" <"$scratch/moved"
}

# Removes the newest backup, which no other is built on.
forget() { # LABEL
  local url
  url=$(as_postgres pgv-info choose demo --label "$1")
  stored rm --recursive "$url/"
  rm --force "$scratch/state/manifest/$1"
}

# Before its N-th command the whole run is killed: no backup appears, or it is whole, and none is lost.
kills() {
  local at status before command killed=0 made=''
  before=$(labels)
  mkdir "$scratch/shim"
  for command in pgv-info pgv-s3 pgv-crypt pgv-merge pgv-apply mkdir mktemp mv numfmt rm sed sync grep flock; do
    printf '#!/bin/sh\necho x >>"%s"\n[ "$(wc --lines <"%s")" -lt "$KILL_AT" ] || kill -KILL 0\nexec %s "$@"\n' \
      "$scratch/state/count" "$scratch/state/count" "$(command -v "$command")" >"$scratch/shim/$command"
  done
  chmod 0755 "$scratch"/shim/*
  # The script puts its own directory first.
  cp "$scratch"/bin/pgv-* "$scratch/shim/" --no-clobber
  for ((at = 1; ; at += step)); do
    [ -z "$made" ] || forget "$made"
    [ "$(labels)" = "$before" ] || fail "before command $at there are: $(labels)"
    : >"$scratch/state/count"
    chown postgres "$scratch/state/count" 2>/dev/null || true # by an ordinary user it is his
    status=0
    as_postgres env KILL_AT="$at" setsid --wait "$scratch/shim/pgv-consolidate" demo 2>"$scratch/err" || status=$?
    [ "$status" -ne 0 ] || break
    [ "$status" -eq 137 ] || fail "killed before command $at it exits with $status: $(cat "$scratch/err")"
    [ "$(labels | head --lines="$(wc --lines <<<"$before")")" = "$before" ] || fail "killed before command $at, and a backup is lost"
    expect 0 '' pgv-consolidate demo
    no_leftovers "killed before command $at, the next run"
    [ -z "$(find "$scratch/state/consolidate/claims" -type f 2>/dev/null)" ] || fail "killed before command $at, and the next run leaves claims"
    [ "$(labels | wc --lines)" -eq $(($(wc --lines <<<"$before") + 1)) ] || fail "killed before command $at, and then there are: $(labels)"
    made=$(newest) killed=$((killed + 1))
  done
  [ "$at" -gt 50 ] || fail "only $at commands"
  expect 0 'every file matches' pgv-verify demo --label "$(newest)"
  echo "consolidate: killed before $killed of $at commands"
}

# A byte of two pages, and back again; the server is down meanwhile.
flip_pages() { # OFFSET…
  local at
  stop_cluster "$bin" "$source"
  for at in "$@"; do flip "$source/$file" "$at"; done
  start_cluster "$bin" "$source"
}

checksums() { # OPTION
  stop_cluster "$bin" "$source"
  as_postgres "$bin/pg_checksums" "$1" --no-sync --pgdata="$source" >"$scratch/out" 2>&1 || fail "pg_checksums: $(cat "$scratch/out")"
  start_cluster "$bin" "$source"
}

# What a newer backup of the chain has mended is no bad page of the full.
bad_pages() {
  local file
  file=$(sql "select pg_relation_filepath('marks')")
  flip_pages 5000 13000
  expect 7 'bad page at byte 0, block 0' pgv-backup demo
  flip_pages 13000
  backup
  expect 0 'bad pages: at most 2' pgv-consolidate demo --plan
  # A warning is said in any case.
  expect 7 "$file: bad page, block 0" pgv-consolidate demo --quiet
  ! grep 'block 1$' "$scratch/err" || fail 'a page that was mended is said to be bad'
  stored get "$(as_postgres pgv-info choose demo --latest)/record.json" | grep --quiet '"bad_pages": *1,' || fail 'its record has not one bad page'
  expect 5 'have bad pages: 1' pgv-restore demo "$scratch/strict" --strict --immediate
  flip_pages 5000
  backup
  expect 0 'is complete' pgv-consolidate demo
  stored get "$(as_postgres pgv-info choose demo --latest)/record.json" | grep --quiet '"bad_pages": *0,' || fail 'its record has bad pages'
  # Without checksums nobody can tell which of them are left.
  flip_pages 5000
  expect 7 'bad page at byte 0, block 0' pgv-backup demo
  flip_pages 5000
  checksums --disable
  backup
  expect 7 'the page checksums were switched off' pgv-consolidate demo
  stored get "$(as_postgres pgv-info choose demo --latest)/record.json" | grep --quiet '"bad_pages": *1,' || fail 'its record has not the bad page of its chain'
  checksums --enable
  expected=$(content)
}

# The old chains go, and what is left is restored.
expiry() {
  local synthetic before label
  backup
  before=$(labels)
  as_postgres sed --in-place 's/^PGV_KEEP_WITHIN=.*/PGV_KEEP_LAST=1/' "$scratch/etc/demo.conf"
  # What a run leaves behind whose expiry did not come, or failed, the same command expires.
  as_postgres env PGV_EXPIRE=no pgv-consolidate demo 2>"$scratch/err" || fail "without expiry it exits with $?: $(cat "$scratch/err")"
  synthetic=$(newest)
  [ "$(labels)" != "$synthetic" ] || fail 'PGV_EXPIRE=no expires'
  expect 0 'nothing to merge' pgv-consolidate demo
  [ "$(labels)" = "$synthetic" ] || fail "PGV_KEEP_LAST=1 leaves: $(labels)"
  for label in $before; do
    [ ! -e "$scratch/state/manifest/$label" ] || fail "the manifest of $label, which expired, is left"
  done
  backup
  restored "$expected"
  expect 0 'every file matches' pgv-verify demo
  ! grep ^BAD "$scratch/out" || fail 'an increment on a synthetic full is BAD'
}

main() {
  begin
  source=$scratch/source restore=(pgv-restore)
  bin=$(server_bin "$major")
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  create_cluster "$bin" "$source"
  configure
  as_postgres tee --append "$source/postgresql.conf" >/dev/null <<CONF
archive_mode = on
archive_command = '$scratch/bin/pgv-wal-push -c $scratch/etc/demo.conf %p'
CONF
  start_cluster "$bin" "$source"
  pgbench --initialize --scale=3 --quiet 2>/dev/null
  sql "create table marks as select id, md5(id::text) t from generate_series(1, 50000) id; create index on marks (id); create index on marks using gin (to_tsvector('simple', t));
       create table dropped as select * from marks; create table emptied as select * from marks; create unlogged table unlogged_marks as select * from marks"
  first_chain
  merged_elsewhere
  on_top
  side_by_side
  refusals
  ended
  kills
  bad_pages
  expiry
  stop_cluster "$bin" "$source"
  echo "PostgreSQL $major, $kind: chains become synthetic fulls, and what they give is the same"
}

main

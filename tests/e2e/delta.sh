#!/usr/bin/env bash
# pgv-restore --delta: over an old copy of the cluster, or one that a server wrote to, it gives what a restore into a new
# directory gives, and fetches little more than what differs; of a full, of chains in both modes and of a synthetic full,
# with a tablespace; killed anywhere it can be given again; and a backup without an index is fetched whole.
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
major=${1:-$debian_major}
copy_options=(--immediate --quiet --tablespaces-under)

backup() { # OPTION…
  sql checkpoint
  as_postgres pgv-backup demo --quiet "$@"
  label=$(as_postgres pgv-info demo --format label | tail --lines=1)
}

restore() { # DIR OPTION…
  as_postgres pgv-restore demo "$1" --tablespaces-under "$1.spaces" --immediate --archive off "${@:2}" >"$scratch/out" 2>"$scratch/err" ||
    fail "pgv-restore into $1 exits with $?: $(cat "$scratch/err")"
}

# Sets `read` and `stored`: what a command reads of the backup with this label and of those that it builds on.
measure() { # LABEL COMMAND…
  local urls url
  mapfile -t urls < <(as_postgres pgv-info choose demo --label "$1")
  stored=0
  for url in "${urls[@]}"; do stored=$((stored + $(stat --format=%s "${url#file://}/data.pgv"))); done
  # Each process by itself: a call that another interrupts would be two lines, and the second names no file.
  as_postgres rm --recursive --force "$scratch/trace" && as_postgres mkdir "$scratch/trace"
  as_postgres strace --follow-forks --output-separately --seccomp-bpf --trace=read,pread64 --quiet=all --decode-fds=path \
    --output="$scratch/trace/of" "${@:2}" >"$scratch/out" 2>"$scratch/err" || fail "${*:2} exits with $?: $(cat "$scratch/err")"
  read=$(cat "$scratch/trace"/of.* | grep --extended-regexp '/backup/[^>]*\.pgv>' | awk '$NF > 0 { bytes += $NF } END { print bytes + 0 }')
}

# By content, tablespaces included. Settings name the directory.
compare() { # DIR
  as_postgres rm --recursive --force "$scratch/new" "$scratch/new.spaces"
  as_postgres mkdir "$scratch/new.spaces"
  restore "$scratch/new" --quiet
  diff --recursive --brief --exclude=postgresql.auto.conf --exclude=postmaster.opts "$1" "$scratch/new" >"$scratch/differs" || true # none differs
  [ ! -s "$scratch/differs" ] || fail "$1 is not $label: $(head --lines=5 "$scratch/differs")"
  local listed=(find . -printf '%p %y %m\n')
  diff <(cd "$1" && "${listed[@]}" | sort) <(cd "$scratch/new" && "${listed[@]}" | sort) >"$scratch/differs" || true # none differs
  [ ! -s "$scratch/differs" ] || fail "$1 has other modes than $label: $(head --lines=5 "$scratch/differs")"
}

# Over the copy, reading at most so many percent of the backup.
refresh() { # PERCENT
  measure "$label" pgv-restore demo "$copy" "${copy_options[@]}" "$copy.spaces" --delta
  [ $((read * 100)) -le $((stored * $1)) ] || fail "$label: $read of $stored bytes were read, more than $1 %"
  echo "delta: $label: read $read of $stored bytes, $((read * 1000 / stored)) per mille"
  compare "$copy"
}

# One row a page: every two hundredth changes, and moves. Files of other relations come and go.
change() { # NUMBER
  sql "update big set v = $1 where id % 200 = $1; drop table if exists gone; create table gone as select 1
    ; create table t$1 as select 2; insert into quick values ($1); insert into far values ($1); insert into small values ($1)"
}

# A server writes to the copy: next to each other, because every record that holds a changed page is fetched.
diverge() {
  stop_cluster "$bin" "$scratch/primary"
  rm "$copy/recovery.signal"
  start_cluster "$bin" "$copy"
  sql "update big set v = -1 where id < 300; drop table small; create table mine as select generate_series(1, 1000); checkpoint"
  stop_cluster "$bin" "$copy"
  start_cluster "$bin" "$scratch/primary"
}

# Killed while it writes, wherever; until it is done no server can start.
kills() {
  local try restore=(setsid) killed=0
  [ "$EUID" -ne 0 ] || restore+=(runuser --user postgres --)
  for try in {1..6}; do
    "${restore[@]}" pgv-restore demo "$copy" "${copy_options[@]}" "$copy.spaces" --delta >/dev/null 2>&1 &
    pid=$!
    rm --force "$scratch/begun" && touch "$scratch/begun"
    for _ in {1..600}; do
      [ ! "$copy/pgv/stream.json" -nt "$scratch/begun" ] || break
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.02
    done
    sleep "0.$((try * 7 % 10))"
    ! kill -KILL -- "-$pid" 2>/dev/null || killed=$((killed + 1))
    wait "$pid" || true # it was killed
    [ ! -e "$copy/pgv/applying" ] || [ ! -e "$copy/global/pg_control" ] || fail "a copy that is not complete can be started"
  done
  [ "$killed" -gt 0 ] || fail "no restore was killed"
}

# What cannot be used is not, and what is damaged leaves no copy that starts.
damages() {
  local object=$scratch/repository/demo/$system/backup/$label status=0
  flip "$object/data.pgv" $(($(stat --format=%s "$object/data.pgv") / 3))
  as_postgres pgv-restore demo "$copy" "${copy_options[@]}" "$copy.spaces" --delta >/dev/null 2>"$scratch/err" || status=$?
  [ "$status" -eq 5 ] || fail "of a damaged backup it exits with $status: $(cat "$scratch/err")"
  [ ! -e "$copy/global/pg_control" ] || fail "of a damaged backup a copy can be started"
  flip "$object/data.pgv" $(($(stat --format=%s "$object/data.pgv") / 3))
  refresh 100
  # The index of another backup, and none.
  mv "$object/index.pgv" "$scratch/index"
  as_postgres cp "$scratch/repository/demo/$system/backup/$full/index.pgv" "$object/index.pgv"
  restore "$copy" --delta
  grep --quiet "everything is fetched: index.pgv of backup $label does not open" "$scratch/err" || fail "it does not say why: $(cat "$scratch/err")"
  compare "$copy"
  rm "$object/index.pgv"
  restore "$copy" --delta
  grep --quiet "everything is fetched: backup $label has no index.pgv" "$scratch/err" || fail "it does not say why: $(cat "$scratch/err")"
  compare "$copy"
  mv "$scratch/index" "$object/index.pgv"
  restore "$copy" --delta
  grep --quiet 'fetching .* the rest lies in' "$scratch/err" || fail "it does not say how much: $(cat "$scratch/err")"
}

# Of what only a copy has: a directory that lies elsewhere gives way to one of its own, and nothing is read or left there.
directories_elsewhere() {
  local name
  as_postgres mkdir "$scratch/elsewhere"
  for name in base pg_xact; do
    as_postgres mv "$copy/$name" "$scratch/elsewhere/"
    as_postgres ln --symbolic "$scratch/elsewhere/$name" "$copy/$name"
  done
  as_postgres rm --recursive "$copy/pg_multixact" && as_postgres ln --symbolic "$scratch/nowhere" "$copy/pg_multixact"
  (cd "$scratch/elsewhere" && find . -type f -exec sha256sum {} + | sort) >"$scratch/before"
  restore "$copy" --delta
  compare "$copy"
  (cd "$scratch/elsewhere" && find . -type f -exec sha256sum {} + | sort) | cmp "$scratch/before" - || fail 'a directory that a link led to was changed'
}

# A copy of the primary that was made with its links has its tablespace, which a server uses.
links_of_the_original() {
  local status
  as_postgres cp --archive "$scratch/primary" "$scratch/twin"
  as_postgres rm --force "$scratch/twin/postmaster.pid"
  for _ in tablespace pg_wal; do
    status=0
    as_postgres pgv-restore demo "$scratch/twin" --immediate --delta >"$scratch/out" 2>"$scratch/err" || status=$?
    [ "$status" -eq 6 ] || fail "over a copy with the links of a server it exits with $status: $(cat "$scratch/err")"
    grep --quiet "leads to .*, which is of the data directory $scratch/primary" "$scratch/err" || fail "it does not say why: $(cat "$scratch/err")"
    [ ! -e "$scratch/twin/pgv/applying" ] || fail 'a refusal wrote something'
    as_postgres rm --recursive --force "$scratch/twin/pg_tblspc/"* "$scratch/twin/pg_wal"
    as_postgres ln --symbolic "$scratch/primary/pg_wal" "$scratch/twin/pg_wal"
  done
  sql 'checkpoint; select count(*) from far' >/dev/null || fail 'the server was damaged'
}

begin
cp "$root"/scripts/pgv-* "$scratch/bin/"
bin=$(server_bin "$major")
start_primary "$bin" PGV_WAL_TIMEOUT=20s
copy=$scratch/copy
as_postgres mkdir "$scratch/space" "$copy.spaces"
sql "create tablespace away location '$scratch/space'"
# 250 MB that no compression makes much smaller.
sql "create table big (id int generated always as identity, v int default 0, filler text); alter table big alter filler set storage plain
  ; create table small (a int); create table gone as select 1; create unlogged table quick (a int); create table far (a int) tablespace away
  ; copy big (filler) from program 'head --bytes=150000000 /dev/urandom | base64 --wrap=6400'"
# Whoever reads a new page writes to it.
sql "vacuum freeze big"
backup --type full
full=$label
restore "$copy" --quiet
refresh 5
change 1
backup --type incr
refresh 5
# A file that changes is whole in an increment of files, and what changed is scattered over it.
change 2
backup --type incr --files
diverge
refresh 60
change 3
backup --type incr --files
refresh 60
# What has changed since the full lies in one increment, next to what the copy has of it.
change 4
backup --type diff
refresh 12
change 5
backup --type incr
change 6
backup --type incr
diverge
refresh 15
as_postgres pgv-consolidate demo --quiet
label=$(as_postgres pgv-info demo --format label | tail --lines=1)
refresh 5
sql "update big set v = 7 where id % 3 = 0"
backup --type incr
kills
refresh 100
sql "update big set v = 8 where id % 3 = 1"
backup --type incr
damages
directories_elsewhere
links_of_the_original
echo "delta $major: fulls, increments of both kinds, a synthetic full, over copies that a server wrote to; killed, damaged, with links"

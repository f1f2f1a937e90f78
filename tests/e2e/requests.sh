#!/usr/bin/env bash
# How many requests a night on S3 takes, by the log of the service: an increment as many with few backups as with many,
# and whatever else reads records none for those that it knows; and what a restore of a chain asks for that fetches only
# what differs. The requests for WAL segments are the archiver's, and are not counted.
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
bin=$debian_bin

start_service() {
  local line
  mkdir "$scratch/s3"
  "$root/tests/tools/moto-server.sh" start "$scratch/s3" >"$scratch/s3.env" || fail "moto does not start"
  mapfile -t service < <(grep --invert-match PGV_TEST_BUCKET "$scratch/s3.env")
  line=$(grep PGV_TEST_BUCKET "$scratch/s3.env")
  bucket=${line#*=}
}

# Sets `asked` to the requests of a command: method, key or listed prefix, and what is asked of it.
count() { # AT MOST COMMAND…
  local before
  before=$(wc --lines <"$scratch/s3/log")
  as_postgres "${@:2}" >"$scratch/out" 2>"$scratch/err" || fail "${*:2} exits with $?: $(cat "$scratch/err")"
  tail --lines=+$((before + 1)) "$scratch/s3/log" | sed --quiet 's|^[^"]*"\([A-Z]* [^ ]*\) HTTP.*|\1|p' |
    grep --invert-match --extended-regexp '/wal/[0-9A-F]{8}/' >"$scratch/asked" || true # there may be none
  asked=$(wc --lines <"$scratch/asked")
  echo "requests: $asked of ${*:2}"
  [ "$asked" -le "$1" ] || fail "${*:2} asks $asked times, more than $1: $(cat "$scratch/asked")"
}

increment() { # AT MOST
  sql "insert into marks values ($((++marks)))"
  count "$1" pgv-backup demo --type incr
}

begin
cp "$root"/scripts/pgv-* "$scratch/bin/"
start_service
create_cluster "$bin" "$scratch/source"
configure_demo "$scratch/source" "${service[@]}" PGV_KEEP_FULL=2
sed --in-place "s|^PGV_REPO=.*|PGV_REPO=s3://$bucket/pgv|" "$scratch/etc/demo.conf"
as_postgres tee --append "$scratch/source/postgresql.conf" >/dev/null <<CONF
archive_mode = on
archive_command = 'env PGV_CONFIG_DIR=$scratch/etc $scratch/bin/pgv-wal-push -c $scratch/etc/demo.conf %p'
CONF
start_cluster "$bin" "$scratch/source"
marks=0
sql 'create table marks (id int)'
count 26 pgv-backup demo --type full
increment 24
increment 24
few=$asked
for _ in {1..7}; do increment 24; done
# A put that takes long looks once more.
[ "$asked" -le $((few + 3)) ] || fail "with 10 backups an increment takes $asked requests, with 3 it took $few: $(cat "$scratch/asked")"
# Its record was stored, and not read yet.
count 3 pgv-info demo
count 2 pgv-info demo
[ "$(wc --lines <"$scratch/out")" -eq 10 ] || fail "not 10 backups: $(cat "$scratch/out")"
rm --recursive "$scratch/state/records"
count 12 pgv-info demo
[ "$(grep --count 'GET .*/record.json' "$scratch/asked")" -eq 10 ] || fail "not each record once: $(cat "$scratch/asked")"
count 6 pgv-check demo --no-switch
# A chain of ten onto itself, and after a page of it changed: of each link its record, its three lists, the head of its
# stream, and what is wanted of it.
as_postgres pgv-restore demo "$scratch/copy" --quiet
count 68 pgv-restore demo "$scratch/copy" --delta
flip "$scratch/copy/base/1/1255" 8000
count 68 pgv-restore demo "$scratch/copy" --delta
count 26 pgv-backup demo --type full
# Ten sets and their WAL.
count 19 pgv-expire demo --keep-full 1
[ "$(as_postgres pgv-info demo --format label | wc --lines)" -eq 1 ] || fail "not 1 backup is left: $(as_postgres pgv-info demo)"

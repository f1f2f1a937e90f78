#!/usr/bin/env bash
# A night on S3 in a repository of 2,000 backups and 200,000 segments of WAL: as few requests as with ten, for a full, an
# increment, a plan of a restore, a check.
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
bin=$debian_bin
service=''

# Of the repository with this cluster's name and identifier.
start_service() {
  local line
  [ -x "$PGV_BIN/examples/fake-s3" ] || fail "no fake-s3 in $PGV_BIN/examples: run cargo build --release --locked --example fake-s3"
  "$PGV_BIN/examples/fake-s3" "cluster=demo" "system-id=$system" >"$scratch/service" &
  service=$!
  wait_until grep --quiet AWS_EC2_METADATA_DISABLED "$scratch/service"
  mapfile -t settings <"$scratch/service"
  for line in "${settings[@]}"; do [[ $line != PGV_S3_ENDPOINT_URL=* ]] || endpoint=${line#*=}; done
}

# Its requests, but for those of the archiver.
count() { # AT MOST COMMAND…
  local asked
  curl --silent --fail --request DELETE "$endpoint/-/counts" >/dev/null
  as_postgres "${@:2}" >"$scratch/out" 2>"$scratch/err" || fail "${*:2} exits with $?: $(cat "$scratch/err")"
  curl --silent --fail "$endpoint/-/requests" >"$scratch/requests"
  grep --invert-match --extended-regexp '/wal/00000001/[0-9A-F]{24}' "$scratch/requests" >"$scratch/asked" || true # none
  asked=$(wc --lines <"$scratch/asked")
  echo "requests: $asked of ${*:2}"
  [ "$asked" -le "$1" ] || fail "${*:2} asks $asked times, more than $1: $(cat "$scratch/asked")"
}

begin
cp "$pgv_tree"/scripts/pgv-* "$scratch/bin/"
trap 'status=$?; set +e; [ -z "$service" ] || kill "$service"; (exit "$status"); end' EXIT
create_cluster "$bin" "$scratch/source"
system=$(as_postgres "$bin/pg_controldata" "$scratch/source" | sed --quiet 's/^Database system identifier: *//p')
# Its WAL goes on behind that of the repository.
as_postgres "$bin/pg_resetwal" -l 000000010000040000000001 "$scratch/source" >/dev/null
start_service
configure_demo "$scratch/source" "${settings[@]}"
as_postgres sed --in-place '1d' "$scratch/etc/demo.conf" # the first PGV_REPO, a directory
as_postgres tee --append "$scratch/source/postgresql.conf" >/dev/null <<CONF
archive_mode = on
archive_command = 'env PGV_CONFIG_DIR=$scratch/etc $scratch/bin/pgv-wal-push -c $scratch/etc/demo.conf %p'
CONF
start_cluster "$bin" "$scratch/source"
sql 'create table marks (id int)'
as_postgres pgv-backup demo --type full 2>"$scratch/err" || fail "pgv-backup exits with $?: $(cat "$scratch/err")"
for mark in 1 2 3; do
  sql "insert into marks values ($mark)"
  count 25 pgv-backup demo --type incr
done
# Once more, now that it knows the record of the last one.
count 11 pgv-info demo
count 10 pgv-info demo
[ "$(wc --lines <"$scratch/out")" -ge 2004 ] || fail "not every backup is listed: $(wc --lines <"$scratch/out")"
count 31 pgv-restore demo "$scratch/nowhere" --plan
count 25 pgv-check demo --no-switch

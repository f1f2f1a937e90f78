#!/usr/bin/env bash
# CONTAINERS of pgv-hosts(7), typed as it stands but for places, on a cluster that lies as in the official image: no
# pg_lsclusters, the data directory in a volume, the key readable by everyone, and config_file outside of PGDATA.
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
page=$root/man/pgv-hosts.7
bin=$debian_bin

typed() { # NAME
  page_block "$page" "$1" | sed "s|/etc/pgv|$scratch/etc|g; s|s3://my-bucket/pgv|file://$scratch/repository|; s|/run/secrets|$scratch/secrets|g; s|/var/lib/postgresql|$scratch/volume|g"
}

type_block() { # NAME
  typed "$1" >"$scratch/typed"
  (cd / && as_postgres bash -e -o pipefail "$scratch/typed") </dev/null >"$scratch/out" 2>"$scratch/err" ||
    fail "the page's block \"$1\" exits with $?: $(cat "$scratch/typed" "$scratch/out" "$scratch/err")"
}

# As the container starts: with what the volumes hold, and this option.
start_container() {
  as_postgres "$bin/pg_ctl" --pgdata="$scratch/volume/data" --log="$scratch/server.log" --wait --timeout=120 \
    --options="-c config_file=$scratch/mounted/postgresql.conf" start >/dev/null || fail "the server does not start: $(tail --lines=5 "$scratch/server.log")"
}

main() {
  begin
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  unset PGV_KEY_FILE
  as_postgres mkdir "$scratch/etc" "$scratch/secrets" "$scratch/volume" "$scratch/mounted" "$scratch/repository"
  as_postgres install --mode=0444 "$scratch/key" "$scratch/secrets/pgv-key"
  create_cluster "$bin" "$scratch/volume/data"
  as_postgres mv "$scratch/volume/data/postgresql.conf" "$scratch/mounted/"
  { echo "listen_addresses = ''" && echo "unix_socket_directories = '$scratch'" && typed container-archive; } | as_postgres tee --append "$scratch/mounted/postgresql.conf" >/dev/null
  type_block container-configure
  chmod 0600 "$scratch/etc/15-main.conf"
  start_container
  sql 'create table marks as select generate_series(1, 1000) as id'
  export PGV_TEST_PG_BIN=$bin
  as_postgres pgv-backup 15-main 2>"$scratch/err" || fail "pgv-backup exits with $?: $(cat "$scratch/err")"
  as_postgres pgv-check 15-main >"$scratch/out" 2>&1 || fail "pgv-check exits with $?: $(cat "$scratch/out")"
  sql 'insert into marks select generate_series(1, 1000)'
  sql 'select pg_switch_wal()' >/dev/null
  wait_until all_is_archived
  stop_cluster "$bin" "$scratch/volume/data"
  # An empty volume; what is mounted stays.
  mv "$scratch/volume/data" "$scratch/lost"
  type_block container-restore
  sha256sum "$scratch/mounted/postgresql.conf" >"$scratch/mounted.sum"
  start_container
  wait_until_promoted
  [ "$(sql 'select count(*) from marks')" = 2000 ] || fail "rows are missing"
  [ "$(sql 'show config_file')" = "$scratch/mounted/postgresql.conf" ] || fail "it reads another configuration"
  [ "$(sql 'show archive_mode')" = off ] || fail "the copy archives"
  sha256sum --check --quiet "$scratch/mounted.sum" || fail "the mounted configuration was changed"
  stop_cluster "$bin" "$scratch/volume/data"
  echo "as in a container: configured, backed up, restored into an empty volume"
}

main

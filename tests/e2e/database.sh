#!/usr/bin/env bash
# pgv-restore --database: what was chosen is as in the original, of the others nothing is read, they refuse connections and
# can be dropped; what recovery finds missing in a database that must be whole makes it fail.
# shellcheck disable=SC2016  # $1 in bash -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
major=${1:-$debian_major} kind=${2:-file} # or s3

backup() { # OPTION…
  as_postgres pgv-backup demo --quiet "$@"
  label=$(as_postgres pgv-info demo --format label | tail --lines=1)
}

# All index types; and `still`, which is not written any more.
fill() { # DATABASE
  sql "create table rows (id serial, v int, t text, p point, a int[]); insert into rows (v, t, p, a) select i % 100, md5(i::text), point(i, i % 7), array[i, i % 10] from generate_series(1, 20000) i
    ; create index on rows (v); create index on rows using hash (t); create index on rows using gin (a); create index on rows using gist (p)
    ; create index on rows using spgist (p); create index on rows using brin (id); create table still as select i from generate_series(1, 20000) i" "$1"
  pgbench --initialize --scale=1 --quiet "$1" >/dev/null 2>&1
}

# Without checksums VACUUM writes no page to the WAL for what it marks as visible.
vacuum() {
  sql 'vacuum still' shop
  sql 'vacuum still' other
}

load_both() {
  local name
  loads=()
  for name in shop other; do
    pgbench --client=2 --time=600 --rate=300 --no-vacuum "$name" >/dev/null 2>&1 &
    loads+=("$!")
    (while sql "insert into rows (v, t, p, a) select i, md5(random()::text), point(i, 1), array[i] from generate_series(1, 50) i; delete from rows where id % 17 = 3; update rows set v = v + 1 where id % 97 = 1" "$name" >/dev/null 2>&1; do sleep 0.2; done) &
    loads+=("$!")
    wait_until holds "select count(*) > 20 from pgbench_history" "$name"
  done
}

end_loads() {
  kill "${loads[@]}" 2>/dev/null || true # one may have ended
  wait "${loads[@]}" || true             # by that
}

holds() { # SQL DATABASE
  [ "$(sql "$1" "$2")" = t ]
}

# Of all tables of a database.
digest() { # DATABASE
  local table
  for table in $(sql "select c.oid::regclass from pg_class c where relkind = 'r' and relnamespace = 'public'::regnamespace order by 1" "$1"); do
    echo "$table $(sql "select count(*), sum(hashtext(t::text)::bigint) from $table t" "$1")"
  done
}

# Counts what is read of streams, into `read`.
count_bytes() {
  mv "$scratch/bin/pgv-s3" "$scratch/bin/pgv-s3.real"
  cat >"$scratch/bin/pgv-s3" <<WRAPPER
#!/bin/bash
[[ " \$* " == *" get "*data.pgv* ]] || exec "\$0.real" "\$@"
set -o pipefail
"\$0.real" "\$@" | tee >(wc --bytes >>"$scratch/read")
WRAPPER
  chmod 0755 "$scratch/bin/pgv-s3"
}

# In the repository, of all backups or of these.
stored_bytes() { # [LABEL…]
  local stored
  [ $# -gt 0 ] || mapfile -t labels < <(as_postgres pgv-info demo --format label)
  for stored in "${@:-${labels[@]}}"; do as_postgres pgv-env demo pgv-s3.real --quiet get "$repository/demo/$system/backup/$stored/data.pgv"; done | wc --bytes
}

restore() { # STATUS OPTION…: into `copy`, which listens at 5433
  local status=0
  rm --recursive --force "$scratch/copy" "$scratch/spaces"
  as_postgres mkdir "$scratch/spaces"
  : >"$scratch/read"
  chown postgres "$scratch/read"
  as_postgres pgv-restore demo "$scratch/copy" --port 5433 --tablespaces-under "$scratch/spaces" "${@:2}" >"$scratch/out" 2>"$scratch/err" || status=$?
  [ "$status" -eq "$1" ] || fail "pgv-restore ${*:2} exits with $status: $(cat "$scratch/out" "$scratch/err")"
  bytes=$(awk '{ bytes += $1 } END { print bytes + 0 }' "$scratch/read")
}

says() { # TEXT
  grep --quiet --fixed-strings -- "$1" "$scratch/err" || fail "no \"$1\" in: $(cat "$scratch/err")"
}

stop_copy() {
  stop_cluster "$bin" "$scratch/copy"
}

refuses() { # DATABASE
  ! PGPORT=5433 sql 'select 1' "$1" 2>"$scratch/refused" || fail "$1 takes connections"
  grep --quiet 'not a valid data directory' "$scratch/refused" || fail "$1 says: $(cat "$scratch/refused")"
}

# What was chosen, and what is shared.
whole() {
  (export PGPORT=5433 && digest shop) >"$scratch/found"
  diff "$1" "$scratch/found" >&2 || fail 'shop is not as in the original'
  PGPORT=5433 sql "set enable_seqscan = off; select count(*) from rows where a @> array[5]; select count(*) from rows where p <@ box '((0,0),(100,100))'" shop >/dev/null
  [ "$(PGPORT=5433 sql 'select rolname from pg_roles where rolname = $$clerk$$' shop)" = clerk ] || fail 'a role is missing'
  [ "$(PGPORT=5433 sql 'select count(*) from kept' tmpl)" = 1 ] || fail 'the template is not whole'
  [ "$(PGPORT=5433 sql 'show ignore_invalid_pages' shop)" = off ] || fail 'ignore_invalid_pages stayed on'
  ! grep --quiet ignore_invalid_pages "$scratch/copy/postgresql.auto.conf" || fail 'ignore_invalid_pages stays in postgresql.auto.conf'
  [ "$(PGPORT=5433 sql 'show autovacuum' shop)" = off ] || fail 'autovacuum is on'
}

# The printed SQL, as it is typed.
drops() {
  diff "$scratch/out" "$scratch/copy/pgv/drop-skipped.sql" >&2 || fail 'what is printed is not what is kept'
  as_postgres psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --port=5433 --dbname=template1 --file="$scratch/copy/pgv/drop-skipped.sql" >/dev/null || fail 'the SQL fails'
  [ "$(PGPORT=5433 sql "select string_agg(datname, ' ' order by datname) from pg_database" shop)" = "$1" ] || fail "after the drops there are $(PGPORT=5433 sql 'select string_agg(datname, $$ $$) from pg_database' shop)"
  wait_until holds_copy "select setting = 'on' from pg_settings where name = 'autovacuum'"
  PGPORT=5433 sql 'vacuum' shop
  PGPORT=5433 sql 'create database afterwards' shop
}

holds_copy() { # SQL
  [ "$(PGPORT=5433 sql "$1" shop)" = t ]
}

refusals() {
  restore 2 --database nowhere --plan
  says 'has no database nowhere'
  says 'postgres, shop, other, tmpl, odd "name"'
  restore 2 --database shop --delta
  restore 2 --database shop --standby 'host=nowhere'
  restore 2 --database shop --action pause --immediate
  restore 2 --database shop --archive keep
  [ ! -e "$scratch/copy" ] || fail 'a refusal wrote something'
}

plans() {
  restore 0 --database shop --plan
  grep --quiet '^databases    shop, the templates' "$scratch/out" || fail "the plan has no databases: $(cat "$scratch/out")"
  grep --quiet 'only empty files: postgres, other, odd "name"$' "$scratch/out" || fail "the plan has no skipped ones: $(cat "$scratch/out")"
  grep --quiet '^read         about ' "$scratch/out" || fail "the plan reads: $(cat "$scratch/out")"
  [ ! -e "$scratch/copy" ] || fail '--plan wrote something'
  restore 0 --database shop --plan --format json
  grep --quiet '"databases":\["shop"\]' "$scratch/out" || fail "the JSON plan has no databases: $(cat "$scratch/out")"
}

# To the end of the archive, over a full and an increment of blocks.
chain() {
  local stored copied=''
  restore 7 --database shop
  stored=$(stored_bytes)
  [ "$bytes" -gt 0 ] || fail 'no byte was counted'
  [ "$bytes" -lt $((stored / 3)) ] || fail "$bytes of $stored bytes were read"
  chain_bytes="$bytes of $stored"
  ! grep --quiet 'was replayed: none' "$scratch/err" || fail "no last transaction: $(cat "$scratch/err")"
  says 'a database that is not whole: copied'
  says 'refuse connections: copied, "odd ""name""", other, postgres'
  grep --quiet 'WAL contains references to invalid pages' "$scratch/copy/pgv/recovery.log" || fail 'no page was missing: this tries nothing'
  whole "$scratch/at-end"
  for name in other postgres copied 'odd "name"'; do refuses "$name"; done
  [ "$(PGPORT=5433 sql 'select count(*) from kept' fresh)" = 1 ] || fail 'a database that came later is not whole'
  [ "$major" -lt 15 ] || copied=' walcopy'
  [ "$major" -lt 15 ] || (PGPORT=5433 digest walcopy) >/dev/null || fail 'a copy by WAL is not whole'
  drops "fresh shop template0 template1 tmpl$copied"
  stop_copy
}

# A full alone, or with an increment of files, to its end: nothing was copied yet.
to_its_end() { # LABEL
  restore 0 --database shop --label "$1" --immediate
  stored=$(stored_bytes "$full" "$of_files")
  [ "$bytes" -gt 0 ] || fail 'no byte was counted'
  [ "$bytes" -lt $((stored / 2)) ] || fail "$bytes of $stored bytes of $1 were read"
  [ "$(du --summarize --block-size=1M "$scratch/copy/base/$other" | cut --fields=1)" -lt 60 ] || fail 'a skipped database takes room'
  refuses other
  [ "$(PGPORT=5433 sql 'select count(*) > 0 from pgbench_history' shop)" = t ] || fail 'shop is empty'
  drops 'shop template0 template1 tmpl'
  stop_copy
}

# The page that VACUUM marks is missing in the database that was chosen.
damage() {
  mv "$scratch/bin/pgv-recover" "$scratch/bin/pgv-recover.real"
  printf '#!/bin/bash\ntruncate --size=0 "%s/copy/%s"\nexec "$0.real" "$@"\n' "$scratch" "$still" >"$scratch/bin/pgv-recover"
  chmod 0755 "$scratch/bin/pgv-recover"
  restore 5 --database shop
  says "relations of whole databases do not have: $still"
  [ ! -e "$scratch/copy/postmaster.pid" ] || fail 'the server of a damaged restore runs'
  mv "$scratch/bin/pgv-recover.real" "$scratch/bin/pgv-recover"
}

# Without an index all is read: of one link by name, of the newest only by OID.
without_index() {
  local object=$scratch/repository/demo/$system/backup
  as_postgres mv "$object/$full/index.pgv" "$scratch/index"
  restore 7 --database shop
  says "backup $full has no index: all of it is read"
  whole "$scratch/at-end"
  refuses other
  stop_copy
  # Nor with that of another backup.
  as_postgres cp "$object/$(as_postgres pgv-info demo --format label | tail --lines=1)/index.pgv" "$object/$full/index.pgv"
  restore 7 --database shop
  says "backup $full has no index that opens: all of it is read"
  stop_copy
  as_postgres rm "$object/$full/index.pgv"
  restore 2 --database shop --label "$full" --immediate
  says 'the names of the databases'
  restore 0 --database "$shop" --label "$full" --immediate
  [ "$bytes" -ge "$(stat --format=%s "$object/$full/data.pgv")" ] || fail 'not all was read'
  refuses other
  [ "$(PGPORT=5433 sql 'select count(*) > 0 from pgbench_history' shop)" = t ] || fail 'shop is empty'
  # What initdb made is kept where names are not known.
  [ "$(PGPORT=5433 sql 'select 1' postgres)" = 1 ] || fail 'postgres is not whole'
  stop_copy
  as_postgres mv "$scratch/index" "$object/$full/index.pgv"
}

# Interrupted before its start: a plain restore takes it for nothing of its own, and pgv-recover knows what it is.
interrupted() {
  local status=0
  mv "$scratch/bin/pgv-recover" "$scratch/bin/pgv-recover.real"
  install --mode=0755 /dev/stdin "$scratch/bin/pgv-recover" <<<$'#!/bin/bash\nexit 1'
  restore 1 --database shop
  mv "$scratch/bin/pgv-recover.real" "$scratch/bin/pgv-recover"
  as_postgres pgv-restore demo "$scratch/copy" --tablespaces-under "$scratch/spaces" --quiet >/dev/null 2>"$scratch/err" || status=$?
  [ "$status" -eq 0 ] || fail "a restore of all into an unfinished one exits with $status: $(cat "$scratch/err")"
  [ ! -e "$scratch/copy/pgv/selection" ] || fail 'the selection is still there'
  [ -s "$scratch/copy/base/$other/PG_VERSION" ] || fail 'a database is still empty'
}

main() {
  local copying=''
  begin
  trap 'status=$?; set +e; [ "$kind" != s3 ] || "$root/tests/tools/s3-server.sh" stop "$scratch/s3"; (exit "$status"); end' EXIT
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  bin=$(server_bin "$major")
  initdb_options=()
  [ "$major" -lt 18 ] || initdb_options=(--no-data-checksums)
  local bucket_settings=()
  repository=file://$scratch/repository
  if [ "$kind" = s3 ]; then
    start_bucket
    repository=s3://$PGV_TEST_BUCKET/some/prefix
  fi
  start_primary "$bin" PGV_WAL_TIMEOUT=20s "${bucket_settings[@]}"
  as_postgres mkdir "$scratch/space"
  sql 'create role clerk'
  sql "create tablespace far location '$scratch/space'"
  for name in shop other tmpl; do sql "create database $name"; done
  sql 'create database "odd ""name""" tablespace far'
  for name in tmpl template1; do sql 'create table kept as select 1' "$name"; done
  sql 'alter database tmpl is_template true'
  shop=$(sql "select oid from pg_database where datname = 'shop'")
  other=$(sql "select oid from pg_database where datname = 'other'")
  fill shop
  fill other
  sql 'create table distant tablespace far as select i from generate_series(1, 1000) i' shop
  sql 'create table distant tablespace far as select i from generate_series(1, 1000) i' other
  sql "create table big as select md5(random()::text) || md5(random()::text) t from generate_series(1, 1400000)" other
  sql "create table big as select md5(random()::text) t from generate_series(1, 100000)" 'odd "name"'
  sql checkpoint
  load_both
  backup --type full
  full=$label
  vacuum
  backup --type incr --files
  of_files=$label
  sql 'insert into still select i from generate_series(1, 20000) i' shop
  sql 'insert into still select i from generate_series(1, 20000) i' other
  sql checkpoint
  backup --type incr
  vacuum
  [ "$major" -lt 15 ] || { copying='strategy file_copy' && sql 'create database fresh'; }
  end_loads
  # Of 13 and 14 all are file copies; template1 is whole.
  [ "$major" -ge 15 ] || sql 'create database fresh'
  wait_until holds "select count(*) = 0 from pg_stat_activity where datname = 'other'" postgres
  sql "create database copied template other $copying"
  [ "$major" -lt 15 ] || sql 'create database walcopy template other'
  digest shop >"$scratch/at-end"
  still=$(sql "select pg_relation_filepath('still')" shop)
  sql 'select pg_switch_wal()' >/dev/null
  wait_until all_is_archived
  stop_cluster "$bin" "$scratch/primary"
  count_bytes
  refusals
  plans
  chain
  to_its_end "$full"
  to_its_end "$of_files"
  damage
  interrupted
  [ "$kind" = s3 ] || without_index
  echo "databases $major on $kind: a full and a chain, $chain_bytes bytes"
}

main

#!/usr/bin/env bash
# pgv-runbooks.7, typed as it stands but for names of places, hosts and ports: a cluster of Debian's, and a bucket of
# moto's, which can be locked.
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
page=$root/man/pgv-runbooks.7
need_root

name=pgvrun$$ fresh=pgvnew$$
# Where nobody but root writes, as in /etc/pgv.
etc=/etc/$name
bin=$debian_bin

drop() {
  local cluster
  ! mountpoint --quiet "$scratch/small" 2>/dev/null || umount --lazy "$scratch/small"
  for cluster in "$name" "$fresh"; do
    pg_dropcluster --stop "$debian_major" "$cluster" 2>/dev/null || true
    rm --recursive --force "/etc/postgresql/$debian_major/$cluster"
    rm --force "/etc/cron.d/pgv-$debian_major-$cluster"
  done
  rm --recursive --force "$etc" "$etc.away"
}

stop_copies() {
  local pid
  for pid in "$scratch"/srv/*/postmaster.pid; do
    [ ! -e "$pid" ] || kill -QUIT "$(head --lines=1 "$pid")"
  done
}

# The cluster that lies at the page's /var/lib/postgresql/15/main.
at=$name

names_of_here() {
  sed --expression="s|15-main|$debian_major-$name|g" --expression="s|15 main|$debian_major $at|g" \
    --expression="s|/var/lib/postgresql/15/main|$scratch/data/$at|g" --expression="s|/etc/pgv|$etc|g" \
    --expression="s|/srv/pg|$scratch/srv|g" --expression="s|5433|$free|g" \
    --expression="s|s3://my-bucket/|s3://$PGV_TEST_BUCKET/|g" --expression="s|https://s3.example.com|$endpoint|g" \
    --expression="s|region-1|us-east-1|g" --expression="s|AWS_ACCESS_KEY_ID=\.\.\.|AWS_ACCESS_KEY_ID=$user_id|" \
    --expression="s|AWS_SECRET_ACCESS_KEY=\.\.\.|AWS_SECRET_ACCESS_KEY=$user_secret|"
}

type_block() { # NAME [STATUS [COMMAND…]]
  local wanted=${2:-0} status=0 shell=("${@:3}")
  page_block "$page" "$1" | names_of_here >"$scratch/typed"
  (cd "$scratch/here" && "${shell[@]}" bash -e -o pipefail "$scratch/typed") <"${input:-/dev/null}" >"$scratch/out" 2>"$scratch/err" || status=$?
  [ "$status" -eq "$wanted" ] || fail "the page's block \"$1\" exits with $status: $(cat "$scratch/typed" "$scratch/out" "$scratch/err")"
}

# The page's own port is Debian's first.
sql_at() { # PORT SQL [DATABASE]
  as_postgres psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --host=/var/run/postgresql \
    --port="$1" --dbname="${3:-postgres}" --command="$2"
}

orders() { # PORT
  sql_at "$1" 'select count(*) from orders' shop
}

aws() {
  env AWS_ACCESS_KEY_ID="$admin_id" AWS_SECRET_ACCESS_KEY="$admin_secret" "$PGV_TEST_TOOLS/moto/bin/aws" "$@"
}

new_access_key() { # USER
  aws iam create-access-key --user-name "$1" --output text --query 'AccessKey.[AccessKeyId, SecretAccessKey]'
}

may() { # Allow|Deny
  aws iam put-user-policy --user-name pgv --policy-name "$1" --policy-document \
    "{\"Version\": \"2012-10-17\", \"Statement\": [{\"Effect\": \"$1\", \"Action\": \"s3:*\", \"Resource\": \"*\"}]}"
}

start_service() {
  local line keys
  mkdir "$scratch/s3"
  "$root/tests/tools/moto-server.sh" start "$scratch/s3" >"$scratch/s3.env" || fail "moto does not start"
  while IFS= read -r line; do export "${line?}"; done <"$scratch/s3.env"
  endpoint=$PGV_S3_ENDPOINT_URL admin_id=$AWS_ACCESS_KEY_ID admin_secret=$AWS_SECRET_ACCESS_KEY
  unset PGV_S3_ENDPOINT_URL PGV_S3_REGION AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
  export AWS_ENDPOINT_URL=$endpoint AWS_DEFAULT_REGION=us-east-1
  for line in admin pgv; do aws iam create-user --user-name "$line" >"$scratch/out"; done
  aws iam put-user-policy --user-name admin --policy-name all --policy-document \
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
  may Allow
  read -r user_id user_secret <<<"$(new_access_key pgv)"
  keys=$(new_access_key admin)
  "$root/tests/tools/moto-server.sh" enforce "$scratch/s3"
  read -r admin_id admin_secret <<<"$keys"
}

# What the page types and this machine may not have, or not in the same place.
stand_ins() {
  cat >"$scratch/bin/sudo" <<SUDO
#!/bin/bash
shift 2
case \$1 in psql | pg_dump) [[ " \$* " == *" -p "* ]] || export PGPORT=$port ;; esac
exec runuser --user postgres -- "\$@"
SUDO
  cat >"$scratch/bin/aws" <<AWS
#!/bin/bash
AWS_ACCESS_KEY_ID=$admin_id AWS_SECRET_ACCESS_KEY=$admin_secret exec "$PGV_TEST_TOOLS/moto/bin/aws" "\$@"
AWS
  chmod 0755 "$scratch/bin/sudo" "$scratch/bin/aws"
  # Whether cron is installed here is of no matter.
  ln --symbolic /bin/true "$scratch/bin/cron"
}

create_debian_cluster() { # NAME
  pg_createcluster "$debian_major" "$1" --datadir "$scratch/data/$1" -- --data-checksums >/dev/null
  echo 'fsync = off' >"/etc/postgresql/$debian_major/$1/conf.d/test.conf"
  pg_ctlcluster "$debian_major" "$1" start
}

wait_for_archive() {
  local try
  sql_at "$port" 'select pg_switch_wal()' >/dev/null
  for try in $(seq 600); do
    [ "$(sql_at "$port" "select count(*) from pg_ls_archive_statusdir() where name like '%.ready'")" != 0 ] || return 0
    sleep 0.1
  done
  fail "WAL is not archived after $try tries: $(tail "/var/log/postgresql/postgresql-$debian_major-$name.log")"
}

first_backup() {
  type_block room
  type_block first 7 env "PGV_STATE_DIR=$scratch/state"
  grep --quiet 'restart the server' "$scratch/err" || fail "no word of the restart: $(cat "$scratch/err")"
  # The test's own patience.
  printf 'PGV_S3_TIMEOUT=5s\n' >>"$etc/$debian_major-$name.conf"
  type_block first-restart
  ! grep ^BAD "$scratch/out" || fail "pgv-check is not content"
  type_block drill
}

same_host() {
  sql_at "$port" 'insert into orders select generate_series(1001, 2000)' shop
  wait_for_archive
  type_block same-plan
  rm --recursive "$scratch/data/$name/base"
  type_block same-replace
  [ "$(orders "$port")" = 2000 ] || fail "--replace brought back $(orders "$port") rows"
  as_postgres pgv-check "$debian_major-$name" --no-switch >"$scratch/out" 2>&1 && fail "pgv-check is content with an undecided copy"
  grep --after-context=1 '^BAD  archiving: archive_mode is off' "$scratch/out" | grep --quiet 'delete that line' ||
    fail "pgv-check does not name the line that turns archiving off: $(cat "$scratch/out")"
  decide_as_readme_says
  sql_at "$port" 'insert into orders select generate_series(2001, 3000)' shop
  wait_for_archive
  type_block same-plan
  find "$scratch/data/$name/base" -name '[0-9]*' -type f -size +8k -exec truncate --size=8k {} +
  type_block same-delta
  [ "$(orders "$port")" = 3000 ] || fail "--delta brought back $(orders "$port") rows"
  type_block same-decide
}

# The command of the first backup takes a backup of the new timeline, whose history is in the archive then.
decide_as_readme_says() {
  readme_block decide | names_of_here >"$scratch/typed"
  bash -e "$scratch/typed" || fail "README's decision exits with $?"
  pgv-setup "$debian_major-$name" >"$scratch/out" 2>"$scratch/err" || fail "pgv-setup after a restore exits with $?: $(cat "$scratch/err")"
  grep --quiet 'taking a backup of timeline 2' "$scratch/err" || fail "no backup of the new timeline: $(cat "$scratch/err")"
  wait_for_archive
  as_postgres pgv-info wal "$debian_major-$name" >"$scratch/out" || fail "pgv-info wal exits with $?: $(cat "$scratch/out")"
  as_postgres pgv-restore "$debian_major-$name" "$scratch/srv/plan" --plan >"$scratch/out" 2>&1 || fail "no restore is possible: $(cat "$scratch/out")"
  pgv-setup "$debian_major-$name" >"$scratch/out" 2>"$scratch/err" || fail "pgv-setup once more exits with $?: $(cat "$scratch/err")"
  grep --quiet 'so no backup is taken now' "$scratch/err" || fail "another backup: $(cat "$scratch/err")"
}

one_table() {
  sql_at "$port" 'drop table orders' shop
  # The only cluster, and its server, though that is not where libpq looks.
  as_postgres pgv-find >"$scratch/out" 2>"$scratch/err" || fail "pgv-find exits with $?: $(cat "$scratch/err")"
  ! grep --quiet 'relations are numbers' "$scratch/err" || fail "pgv-find asks another server: $(cat "$scratch/err")"
  type_block table-restore
  type_block table-dump
  [ "$(orders "$port")" = 3000 ] || fail "the table came back with $(orders "$port") rows"
  [ "$(sql_at "$port" "select count(*) from pg_indexes where tablename = 'orders'" shop)" = 1 ] || fail "the table's index did not come back"
  type_block table-remove
  sql_at "$port" 'drop table orders' shop
  type_block table-database
  type_block table-dump
  [ "$(orders "$port")" = 3000 ] || fail "of its database alone the table came back with $(orders "$port") rows"
  type_block table-remove
  [ ! -e "$scratch/srv/beside" ] || fail "the copy is still there"
}

# The rules of set-up stay here: the page's own are of the configuration.
incremental_for_ever() {
  as_postgres pgv-backup "$debian_major-$name" --type incr --quiet
  type_block consolidate
  grep --quiet synthetic "$scratch/out" || fail "no synthetic full: $(cat "$scratch/out" "$scratch/err")"
}

# Configuration, key and state of the host are away while COMMAND… runs.
as_a_new_host() { # COMMAND…
  mv "$etc" "$etc.away"
  mv "$scratch/state" "$scratch/state.away"
  "$@"
  rm --recursive "${etc:?}" "${scratch:?}/state"
  mv "$etc.away" "$etc"
  mv "$scratch/state.away" "$scratch/state"
}

from_the_bucket() {
  at=$fresh input=$etc.away/key type_block new-key
  at=$fresh type_block new-setup 0 env "AWS_ACCESS_KEY_ID=$user_id" "AWS_SECRET_ACCESS_KEY=$user_secret" "PGV_STATE_DIR=$scratch/state"
  grep --quiet "^$debian_major-$name " "$scratch/out" || fail "--restore-only lists: $(cat "$scratch/out" "$scratch/err")"
  at=$fresh type_block new-restore
  [ "$(orders "$fresh_port")" = "$rows" ] || fail "on the new host are $(orders "$fresh_port") rows"
  pg_ctlcluster "$debian_major" "$fresh" stop
}

from_a_copy() {
  type_block copy
  input=$etc.away/key type_block new-key
  type_block copy-restore 0 env "PGV_STATE_DIR=$scratch/state"
  [ "$(orders "$free")" = "$rows" ] || fail "from the copy came $(orders "$free") rows"
  stop_cluster "$bin" "$scratch/srv/restored"
}

stock_tools() {
  local label
  label=$(as_postgres pgv-info "$debian_major-$name" --format label --type full | tail --lines=1)
  aws s3 cp --only-show-errors "$(as_postgres pgv-info "$debian_major-$name" --format url --label "$label")/data.pgv" "$scratch/here/data.pgv"
  cp "$etc/key" "$scratch/here/KEY"
  chown --recursive postgres "$scratch/here"
  type_block stock 0 runuser --user postgres --
  grep --quiet '^ t ' "$scratch/out" || grep --quiet '^ f ' "$scratch/out" || fail "no answer: $(cat "$scratch/out")"
  # The only full is the first backup.
  [ "$(orders "$free")" = 1000 ] || fail "stock tools brought $(orders "$free") rows"
  stop_cluster "$bin" "$scratch/srv/stock"
}

locked_bucket() {
  # What was written between the first backup and the restart that turned archiving on was never promised: no gap.
  as_postgres pgv-info wal "$debian_major-$name" >"$scratch/out" || fail "a moment was missing before, or nobody can tell: $(cat "$scratch/out")"
  may Deny
  sql_at "$port" 'insert into orders select generate_series(3001, 4000); select pg_switch_wal()' shop >/dev/null
  as_postgres pgv-backup "$debian_major-$name" >"$scratch/out" 2>&1 && fail "a locked bucket takes backups"
  [ $? -eq 1 ] || fail "pgv-backup says of a locked bucket: $(cat "$scratch/out")"
  type_block full-look
  grep --after-context=2 waiting "$scratch/out" | grep --quiet ' [1-9]' || fail "nothing is waiting: $(cat "$scratch/out")"
  type_block full-check 7
  grep --quiet '^BAD  put: store an object' "$scratch/out" || fail "check says of a locked bucket: $(cat "$scratch/out")"
  type_block full-elsewhere
  wait_for_archive
  type_block full-elsewhere-check
  ! grep ^BAD "$scratch/out" || fail "pgv-check is not content with the other place"
  aws iam delete-user-policy --user-name pgv --policy-name Deny
  # Status 7 and a line "gap" were a moment missing.
  type_block full-back
}

# On a small disk of its own, until the server stops.
full_disk() {
  local data=$scratch/data/$name try
  mkdir "$scratch/small"
  mount -t tmpfs -o size=160m,mode=0700 none "$scratch/small"
  sql_at "$port" "alter system set max_wal_size = '64MB'"
  sql_at "$port" "alter system set min_wal_size = '32MB'"
  sql_at "$port" 'select pg_reload_conf()' >/dev/null
  sql_at "$port" checkpoint
  sql_at "$port" checkpoint
  pg_ctlcluster "$debian_major" "$name" stop
  cp --archive "$data/pg_wal/." "$scratch/small/" || fail "pg_wal is too large for the small disk: $(du -sh "$data/pg_wal")"
  chown postgres: "$scratch/small"
  rm --recursive "$data/pg_wal"
  ln --symbolic "$scratch/small" "$data/pg_wal"
  pg_ctlcluster "$debian_major" "$name" start
  may Deny
  for try in $(seq 40); do
    sql_at "$port" 'insert into orders select max(id) + 1 from orders; select pg_switch_wal()' shop >/dev/null 2>&1 || break
  done
  [ "$try" -lt 40 ] || fail "pg_wal did not fill: $(df "$scratch/small")"
  wait_until grep --quiet 'No space left on device' "/var/log/postgresql/postgresql-$debian_major-$name.log"
  # The doctor says it, though the server is down and the repository is locked.
  type_block fills-look 7
  grep --after-context=1 '^BAD  pg_wal: .* waiting to be archived.* free; ' "$scratch/out" | grep --quiet 'THE ARCHIVE IS DOWN AND PG_WAL FILLS' ||
    fail "pgv-check says nothing of the full disk: $(cat "$scratch/out" "$scratch/err")"
  find "$scratch/small" -maxdepth 1 -name '0*' | sort >"$scratch/kept"
  type_block fills-move
  [ "$(orders "$port")" -ge $((rows + try - 1)) ] || fail "the moved pg_wal lacks rows: $(orders "$port") of $((rows + try - 1))"
  [ "$(find "$scratch/small" -maxdepth 1 -name '0*' | sort)" = "$(cat "$scratch/kept")" ] || fail "something was deleted from the full disk"
  aws iam delete-user-policy --user-name pgv --policy-name Deny
  wait_for_archive
  type_block fills-after
  ! grep ^BAD "$scratch/out" || fail "pgv-check is not content after the disk was full"
  [ ! -e "$data/pg_wal.full" ] || fail "the old directory is there"
  [ -d "$scratch/small/archive_status" ] || fail "the old file system was emptied through the link"
  umount "$scratch/small"
}

# README's line for a rotation: postgres reads the key, nobody else, and typed again it replaces nothing.
another_key() {
  local before
  readme_block new-key | names_of_here >"$scratch/typed"
  bash -e "$scratch/typed" || fail "README's new key exits with $?"
  [ "$(stat --format='%a %U' "$etc/key2")" = '600 postgres' ] || fail "who may read the key: $(ls -l "$etc/key2")"
  before=$(sha256sum "$etc/key2")
  ! bash -e "$scratch/typed" 2>"$scratch/err" || fail "README's new key is made over one that is there"
  [ "$(sha256sum "$etc/key2")" = "$before" ] || fail "README's new key replaced one"
}

lost_key() {
  local before
  cp "$etc/key" "$scratch/srv/found"
  chown postgres "$scratch/srv/found"
  type_block lost-try
  (umask 077 && pgv-crypt --generate-key) >"$scratch/srv/found"
  type_block lost-try 4
  rm "$etc/key"
  before=$(grep ^PGV_KEY_NAME= "$etc/$debian_major-$name.conf")
  type_block lost-new
  grep --quiet ^PGV_KEY_NAME= "$etc/$debian_major-$name.conf" || fail "the new key has no name"
  ! grep --quiet --line-regexp "$before" "$etc/$debian_major-$name.conf" || fail "the new key has the lost one's name"
  pgv-setup "$debian_major-$name" --sheet "$scratch/sheet" 2>"$scratch/err" || fail "no new sheet: $(cat "$scratch/err")"
  grep --quiet --fixed-strings "$(cat "$etc/key")" "$scratch/sheet" || fail "the new sheet lacks the key: $(cat "$scratch/sheet")"
  type_block lost-remove
  ! grep ^BAD "$scratch/out" || fail "with the new key pgv-verify is not content"
}

main() {
  begin_on_machine
  trap 'status=$?; set +e; stop_copies; drop; (exit "$status"); end' EXIT
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  unset PGHOST PGPORT PGUSER PGDATABASE PGV_KEY_FILE
  start_service
  mkdir "$scratch/here"
  as_postgres mkdir "$scratch/data"
  export PGV_CONFIG_DIR=$etc
  create_debian_cluster "$name"
  create_debian_cluster "$fresh"
  port=$(pg_lsclusters --no-header | awk -v name="$name" '$2 == name { print $3 }')
  fresh_port=$(pg_lsclusters --no-header | awk -v name="$fresh" '$2 == name { print $3 }')
  free=$((port + 30))
  stand_ins
  sql_at "$port" 'create database shop'
  sql_at "$port" 'create table orders (id int primary key); insert into orders select generate_series(1, 1000)' shop
  first_backup
  same_host
  one_table
  incremental_for_ever
  wait_for_archive
  rows=3000
  pg_ctlcluster "$debian_major" "$name" stop
  as_a_new_host from_the_bucket
  as_a_new_host from_a_copy
  stock_tools
  pg_ctlcluster "$debian_major" "$name" start
  locked_bucket
  rows=$(orders "$port")
  full_disk
  another_key
  lost_key
  pg_ctlcluster "$debian_major" "$name" stop
  echo "runbooks: each case, as its page says"
}

main

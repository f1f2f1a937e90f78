#!/usr/bin/env bash
# pgv-migrate(7), typed as it stands but for names of places and ports: a cluster of Debian's with a real pgBackRest, whose
# configuration is like that of a cookbook, on an S3 server over TLS. In, side by side, back, in again, switch, restore, and
# removal, killed at any moment; and removal where nothing else archives.
# shellcheck disable=SC2154  # what page_block and lib.sh set
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
page=$root/man/pgv-migrate.7
need_root

name=pgvmig$$
cluster=$debian_major-$name
debian=/etc/postgresql/$debian_major/$name
# Where nobody but root writes, as in /etc/pgv.
etc=/etc/$name

drop() {
  pg_dropcluster --stop "$debian_major" "$name" 2>/dev/null || true
  rm --recursive --force "$debian" "$etc"
  rm --force "/etc/cron.d/pgv-$cluster"
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

sql_at() { # PORT SQL
  as_postgres psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --host=/var/run/postgresql \
    --port="$1" --dbname=postgres --command="$2"
}

type_block() { # NAME [STATUS]
  local wanted=${2:-0} status=0
  page_block "$page" "$1" | sed --expression="s|/etc/pgbackrest.conf|$backrest/pgbackrest.conf|g" --expression="s|15-main|$cluster|g" \
    --expression="s|/var/lib/postgresql/15/copy|$scratch/data/copy|g" --expression="s|/root/|$scratch/sheets/|g" --expression="s|5433|$free|g" \
    --expression="s|pgbackrest --stanza|pgbackrest --config-path=$backrest --stanza|g" >"$scratch/typed"
  (cd / && bash -e -o pipefail "$scratch/typed") </dev/null >"$scratch/out" 2>"$scratch/err" || status=$?
  [ "$status" -eq "$wanted" ] || fail "the page's block \"$1\" exits with $status: $(cat "$scratch/typed" "$scratch/out" "$scratch/err")"
  ! grep --quiet --fixed-strings --regexp=correct-horse --regexp="$secret" "$scratch/out" "$scratch/err" || fail "\"$1\" prints a secret"
}

# pgBackRest speaks TLS only.
start_service() {
  local line
  start_bucket
  for line in "${bucket_settings[@]}"; do
    case $line in
      PGV_S3_ENDPOINT_URL=*) plain=${line##*/} ;;
      AWS_ACCESS_KEY_ID=*) identifier=${line#*=} ;;
      AWS_SECRET_ACCESS_KEY=*) secret=${line#*=} ;;
    esac
  done
  tls=$(free_port)
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=test CA" -keyout "$scratch/ca.key" -out "$scratch/ca.pem" 2>/dev/null
  openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout "$scratch/tls.key" -out "$scratch/tls.csr" 2>/dev/null
  echo subjectAltName=DNS:localhost,IP:127.0.0.1 >"$scratch/tls.ext"
  openssl x509 -req -in "$scratch/tls.csr" -CA "$scratch/ca.pem" -CAkey "$scratch/ca.key" -CAcreateserial -days 2 -extfile "$scratch/tls.ext" -out "$scratch/tls.crt" 2>/dev/null
  chmod 0644 "$scratch/ca.pem"
  printf 'foreground = yes\npid =\n[s3]\naccept = 127.0.0.1:%s\nconnect = %s\ncert = %s\nkey = %s\n' "$tls" "$plain" "$scratch/tls.crt" "$scratch/tls.key" >"$scratch/stunnel.conf"
  stunnel4 "$scratch/stunnel.conf" >"$scratch/stunnel.log" 2>&1 &
  wait_until curl --silent --cacert "$scratch/ca.pem" --output "$scratch/out" "https://localhost:$tls/"
}

# Names of every age, sections of commands, a second file.
configure_backrest() {
  backrest=$scratch/backrest
  as_postgres mkdir "$backrest" "$backrest/conf.d" "$backrest/lock" "$backrest/spool" "$backrest/log"
  install --owner=postgres --group=postgres --mode=0640 /dev/stdin "$backrest/pgbackrest.conf" <<CONF
# As a cookbook has it.
[global]
repo1-type=s3
repo1-path=/repo
repo1-s3-bucket=$PGV_TEST_BUCKET
repo1-s3-endpoint=localhost
repo1-s3-port=$tls
repo1-s3-key=$identifier
repo1-s3-key-secret=$secret
repo1-s3-region=us-east-1
repo1-s3-uri-style=path
repo1-s3-verify-ssl=y
repo1-s3-ca-file=$scratch/ca.pem
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass=correct-horse
repo1-retention-full=2
repo1-bundle=y
start-fast=y
stop-auto=y
compress-type=zst
compress-level=3
process-max=2
archive-async=y
log-level-console=warn
log-path=$backrest/log
lock-path=$backrest/lock
spool-path=$backrest/spool

[global:archive-push]
process-max=3
CONF
  printf '[main]\ndb-path=%s\ndb-port=%s\n' "$scratch/data/source" "$port" | as_postgres tee "$backrest/conf.d/main.conf" >/dev/null
  pgbackrest_command="pgbackrest --config-path=$backrest --stanza=main archive-push %p"
  install --owner=postgres --group=postgres --mode=0644 /dev/stdin "$debian/conf.d/pgbackrest.conf" <<CONF
archive_mode = on
archive_command = '$pgbackrest_command'
CONF
  pg_ctlcluster "$debian_major" "$name" restart
  backrest stanza-create
  backrest --type=full backup
}

backrest() {
  as_postgres pgbackrest --config-path="$backrest" --stanza=main "$@" || fail "pgbackrest $* exits with $?"
}

archive_command() { sql_at "$port" 'show archive_command'; }

# All that set-up may change on machine and server.
changed() {
  local path
  for path in "$debian"/*.conf "$debian"/conf.d/* "$scratch/data/source/postgresql.auto.conf" "/etc/cron.d/pgv-$cluster" "$debian"/*.before-pgv; do
    [ ! -e "$path" ] || { stat --format='%n %a %U:%G' "$path" && grep --invert-match '^#' "$path"; } || true # it may be all comments
  done
  sql_at "$port" "select rolname from pg_roles order by 1"
  archive_command
}

configured() { sed --quiet "s/^$1=//p" "$etc/$cluster.conf"; }

look() {
  local before
  before=$(changed)
  type_block look
  { [ "$(changed)" = "$before" ] && [ ! -e "$etc/$cluster.conf" ]; } || fail "--dry-run changes something: $(diff <(echo "$before") <(changed))"
  grep --quiet 'repo1-s3-bucket becomes PGV_REPO' "$scratch/err" || fail "no word of the bucket: $(cat "$scratch/err")"
  grep --quiet "PGV_REPO=s3://$PGV_TEST_BUCKET/repo-pgv" "$scratch/err" || fail "no word of the repository: $(cat "$scratch/err")"
  for option in repo1-cipher-pass stop-auto spool-path log-path; do
    grep --quiet " $option: " "$scratch/err" || fail "no word of $option: $(cat "$scratch/err")"
  done
}

# Without --archive an archive_command of pgBackRest stays, and what to do is said.
in_without_archive() {
  local status=0 line
  pgv-setup "$cluster" --from-pgbackrest "$backrest/pgbackrest.conf" --keep-full 5 --no-backup </dev/null >"$scratch/out" 2>"$scratch/err" || status=$?
  [ "$status" -eq 7 ] || fail "pgv-setup exits with $status: $(cat "$scratch/err")"
  [ "$(archive_command)" = "$pgbackrest_command" ] || fail "archive_command was replaced: $(archive_command)"
  grep --quiet "left to do: to archive with it and with pgv, side by side: pgv-setup $cluster --archive both" "$scratch/err" || fail "nothing is offered: $(cat "$scratch/err")"
  for line in "PGV_REPO=s3://$PGV_TEST_BUCKET/repo-pgv" PGV_S3_REGION=us-east-1 "PGV_S3_ENDPOINT_URL=https://localhost:$tls" PGV_S3_PATH_STYLE=yes \
    "AWS_ACCESS_KEY_ID=$identifier" "AWS_SECRET_ACCESS_KEY=$secret" "PGV_S3_CA_FILE=$scratch/ca.pem" PGV_JOBS=2 PGV_WAL_JOBS=3 PGV_LEVEL=3 \
    PGV_CHECKPOINT=fast PGV_KEEP_FULL=5 "PGV_PGDATA=$scratch/data/source"; do
    [ "$(configured "${line%%=*}")" = "${line#*=}" ] || fail "not $line in $(cat "$etc/$cluster.conf")"
  done
  # An option counted more than the file; what is there stays.
  sed --in-place 's/^PGV_LEVEL=.*/PGV_LEVEL=5/' "$etc/$cluster.conf"
  ! grep --recursive --quiet correct-horse "$etc" || fail "the passphrase of pgBackRest is in $etc"
}

set_up() {
  type_block set-up
  { [ "$(configured PGV_LEVEL)" = 5 ] && [ "$(configured PGV_KEEP_FULL)" = 5 ]; } || fail "what was configured did not stay: $(cat "$etc/$cluster.conf")"
  [[ $(archive_command) == *"pgv-wal-push -c $etc/$cluster.conf --also '$pgbackrest_command' %p" ]] || fail "archive_command: $(archive_command)"
  sql_at "$port" "insert into marks select generate_series(1, 1000)"
  backrest check
}

back() {
  local wanted=$1
  type_block back
  [ "$(changed)" = "$wanted" ] || fail "something is left: $(diff <(echo "$wanted") <(changed))"
  for kept in "$etc/key" "$etc/$cluster.conf"; do
    [ -e "$kept" ] || fail "$kept is gone"
    grep --quiet --fixed-strings "$kept" "$scratch/err" || fail "not said that $kept is left: $(cat "$scratch/err")"
  done
  as_postgres pgv-info "$cluster" >"$scratch/out" || fail "the backups are gone"
  # Nothing is left to do.
  type_block back
}

remove_killed() {
  local delay
  for delay in 0.2 0.4 0.6 0.8 1.0 1.3 1.6; do
    timeout --signal=KILL "$delay" pgv-setup "$cluster" --remove >/dev/null 2>&1 || true # it was killed
  done
}

switch() {
  type_block switch
  [[ $(archive_command) == *"pgv-wal-push -c $etc/$cluster.conf %p" ]] || fail "archive_command: $(archive_command)"
  type_block drill
  type_block sheet
  sql_at "$port" "insert into marks select generate_series(1, 1000)"
  sql_at "$port" "select pg_switch_wal()" >/dev/null
  as_postgres pgv-backup "$cluster" 2>"$scratch/err" || fail "the backup after the switch exits with $?: $(cat "$scratch/err")"
  type_block restore
  [ "$(sql_at "$free" 'select count(*) from marks')" = "$(sql_at "$port" 'select count(*) from marks')" ] || fail "the copy lacks rows"
  as_postgres "$debian_bin/pg_ctl" --pgdata="$scratch/data/copy" --mode=fast --silent stop
}

is_locked() { ! flock --nonblock "$scratch/state/lock" true; }

refused() {
  local status=0
  pgv-setup "$cluster" --remove --with key 2>"$scratch/err" || status=$?
  { [ "$status" -eq 2 ] && grep --quiet 'nobody could open the backups' "$scratch/err"; } || fail "the key alone: $status, $(cat "$scratch/err")"
  # Backups under the name of this cluster, sealed by the same key, that are of another one.
  # shellcheck disable=SC2016  # of that shell
  as_postgres pgv-env "$cluster" sh -c 'echo x | pgv-s3 --quiet put "$PGV_REPO/$PGV_CLUSTER/7/backup/20200101-000000F/record.json"'
  status=0
  pgv-setup "$cluster" --remove --with key --with repository 2>"$scratch/err" || status=$?
  { [ "$status" -eq 2 ] && grep --quiet '/7/ may need the same key' "$scratch/err"; } || fail "backups of another: $status, $(cat "$scratch/err")"
  # shellcheck disable=SC2016  # of that shell
  as_postgres pgv-env "$cluster" sh -c 'exec pgv-s3 --quiet rm --recursive "$PGV_REPO/$PGV_CLUSTER/7/"'
  # A configuration with its backups in the same place, as a standby beside its primary has one; and a standby's own.
  { echo "PGV_CLUSTER=$cluster" && grep --invert-match '^PGV_\(PGDATA\|KEY_FILE\)=' "$etc/$cluster.conf"; } |
    install --owner=postgres --mode=0600 /dev/stdin "$etc/other.conf"
  status=0
  pgv-setup "$cluster" --remove --with repository 2>"$scratch/err" || status=$?
  { [ "$status" -eq 2 ] && grep --quiet 'other.conf has its backups in .*, too' "$scratch/err"; } || fail "backups of two: $status, $(cat "$scratch/err")"
  rm "$etc/other.conf"
  as_postgres touch "$scratch/data/source/standby.signal"
  status=0
  pgv-setup "$cluster" --remove --with repository 2>"$scratch/err" || status=$?
  { [ "$status" -eq 2 ] && grep --quiet 'is a standby' "$scratch/err"; } || fail "a standby: $status, $(cat "$scratch/err")"
  rm "$scratch/data/source/standby.signal"
  status=0
  (as_postgres flock "$scratch/state/lock" sleep 20) &
  wait_until is_locked
  pgv-setup "$cluster" --remove 2>"$scratch/err" || status=$?
  [ "$status" -eq 75 ] || fail "beside a backup: $status, $(cat "$scratch/err")"
  pkill -TERM --full "flock $scratch/state/lock" || true # it may have ended
  wait_until flock --nonblock "$scratch/state/lock" true
}

remove_all() {
  type_block remove-all
  { [ ! -e "$etc/key" ] && [ ! -e "$etc/$cluster.conf" ]; } || fail "something is left: $(ls "$etc")"
  [ -z "$(find "$scratch/s3" -path "*repo-pgv*$cluster*" -type f -name '*.pgv')" ] || fail "backups are left"
  backrest check
}

# Nothing archived before, so nothing does afterwards: said until the server was restarted.
without_another() {
  local before status=0
  rm "$debian/conf.d/pgbackrest.conf"
  pg_ctlcluster "$debian_major" "$name" restart
  before=$(changed)
  as_postgres mkdir "$scratch/repository"
  pgv-setup "$cluster" --repo "file://$scratch/repository" --no-backup 2>"$scratch/err" || [ $? -eq 7 ] || fail "pgv-setup: $(cat "$scratch/err")"
  pg_ctlcluster "$debian_major" "$name" restart
  pgv-setup "$cluster" --remove 2>"$scratch/err" || status=$?
  { [ "$status" -eq 7 ] && grep --quiet 'left to do: restart the server' "$scratch/err"; } || fail "removal exits with $status: $(cat "$scratch/err")"
  pg_ctlcluster "$debian_major" "$name" restart
  pgv-setup "$cluster" --remove 2>"$scratch/err" || fail "after the restart: $(cat "$scratch/err")"
  [ "$(changed)" = "$before" ] || fail "something is left: $(diff <(echo "$before") <(changed))"
}

# A service whose certificate nobody verified.
unverified() {
  local status=0
  sed --in-place 's/verify-ssl=y/verify-ssl=n/; /ca-file/d' "$backrest/pgbackrest.conf"
  pgv-setup "$cluster" --from-pgbackrest "$backrest/pgbackrest.conf" --dry-run 2>"$scratch/err" || status=$?
  { [[ $status =~ ^(1|75)$ ]] && grep --quiet 'repo1-storage-verify-tls: pgv always verifies the service: .*give --ca-file FILE' "$scratch/err"; } ||
    fail "an unverified service: $status, $(cat "$scratch/err")"
  pgv-setup "$cluster" --from-pgbackrest "$backrest/pgbackrest.conf" --ca-file "$scratch/ca.pem" --dry-run 2>"$scratch/err" || fail "with --ca-file: $(cat "$scratch/err")"
  ! grep --quiet verify-tls: "$scratch/err" || fail "asked for what was given: $(cat "$scratch/err")"
}

main() {
  local first
  begin_on_machine
  trap 'status=$?; set +e; drop; (exit "$status"); end' EXIT
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  # The page's lines begin with it, on a machine that may have none.
  printf '#!/bin/sh\nshift 2\nexec runuser --user postgres -- "$@"\n' >"$scratch/bin/sudo"
  chmod 0755 "$scratch/bin/sudo"
  ln --symbolic /bin/true "$scratch/bin/cron"
  mkdir --mode=0700 "$scratch/sheets"
  unset PGHOST PGPORT PGUSER PGDATABASE PGV_KEY_FILE
  as_postgres mkdir "$scratch/data"
  pg_createcluster "$debian_major" "$name" --datadir "$scratch/data/source" -- --data-checksums >/dev/null
  port=$(pg_lsclusters --no-header | awk -v name="$name" '$2 == name { print $3 }')
  pg_ctlcluster "$debian_major" "$name" start
  free=$(free_port)
  export PGV_CONFIG_DIR=$etc PGV_STATE_DIR=$scratch/state TMPDIR=$scratch
  start_service
  configure_backrest
  sql_at "$port" "create table marks (id int)"
  first=$(changed)
  look
  in_without_archive
  set_up
  type_block watch
  backrest --type=incr backup
  refused
  back "$first"
  type_block back-check
  # What was archived meanwhile pgv does not have, and says so.
  set_up
  type_block again
  type_block watch 7
  grep --quiet ^gap "$scratch/out" || fail "no gap is reported: $(cat "$scratch/out")"
  switch
  # The way back after the switch, killed everywhere.
  remove_killed
  back "$first"
  type_block back-check
  remove_all
  unverified
  without_another
  echo "from pgBackRest: in, side by side, back, in, switch, restore, removal"
}

main

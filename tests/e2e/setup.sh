#!/usr/bin/env bash
# pgv-setup on a cluster of Debian's: killed at any moment and run again, run twice, and what it leaves is enough: the
# doctor is content, the role has no more rights than it needs, and the recovery sheet restores.
# shellcheck disable=SC2016  # $1 in sh -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
need_root

name=pgvset$$
cluster=$debian_major-$name
bin=$debian_bin
# Where nobody but root writes, as in /etc/pgv.
etc=/etc/$name

drop() {
  pg_dropcluster --stop "$debian_major" "$name" 2>/dev/null || true
  rm --recursive --force "/etc/postgresql/$debian_major/$name"
  rm --force "/etc/cron.d/pgv-$cluster"
  rm --recursive --force "$etc" "$etc.gone"
}

sql_at() { # PORT SQL
  as_postgres psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --host=/var/run/postgresql \
    --port="$1" --dbname=postgres --command="$2"
}

setup() { # STATUS [OPTION…]
  local wanted=$1 status=0
  shift
  pgv-setup "$cluster" "$@" >"$scratch/out" 2>"$scratch/err" </dev/null || status=$?
  [ "$status" -eq "$wanted" ] || fail "pgv-setup $* exits with $status: $(cat "$scratch/err" "$scratch/out")"
  ! grep --quiet --extended-regexp 'pgvkey1_[A-Za-z0-9_-]{20}' "$scratch/out" "$scratch/err" || fail "pgv-setup $* prints the key: $(cat "$scratch/out" "$scratch/err")"
}

# What it said the first time it says as long as nothing starts the schedule.
without_cron() {
  mv "$scratch/bin/cron" "$scratch/cron"
  if ! command -v cron >"$scratch/out"; then
    setup 7 --no-backup
    grep --quiet 'left to do: apt-get install cron' "$scratch/err" || fail "no word of cron: $(cat "$scratch/err")"
  fi
  mv "$scratch/cron" "$scratch/bin/cron"
  [ -z "$(sed --quiet 's/^PATH=//p' "/etc/cron.d/pgv-$cluster" | tr ':' '\n' | sort | uniq --repeated)" ] ||
    fail "a directory comes twice: $(cat "/etc/cron.d/pgv-$cluster")"
}

# Where the cluster's owner may not write: said at once, with what makes the directory, and nothing is made.
where_it_cannot_write() {
  mkdir --mode=0755 "$scratch/disk"
  for option in --dry-run --no-backup; do
    setup 1 "$option" --repo "file://$scratch/disk/backups"
    grep --quiet --fixed-strings "install --directory --owner=postgres --mode=0700 $scratch/disk/backups" "$scratch/err" ||
      fail "no word of what is to be made: $(cat "$scratch/err")"
  done
  [ -z "$(ls "$scratch/disk")" ] || fail "something was made: $(ls "$scratch/disk")"
  as_postgres pgv-s3 put "file://$scratch/disk/backups/x" /dev/null 2>"$scratch/err" && fail "postgres writes where it may not"
  grep --quiet --fixed-strings "as root: install --directory --owner=postgres --mode=0700 $scratch/disk/backups" "$scratch/err" ||
    fail "pgv-s3 does not say what is to be made: $(cat "$scratch/err")"
  rmdir "$scratch/disk"
  pgv-setup "${cluster/-//}" --repo "file://$scratch/repository" 2>"$scratch/err" && fail "a name with a slash is one"
  grep --quiet --fixed-strings "such as $cluster" "$scratch/err" || fail "the right name is not named: $(cat "$scratch/err")"
}

state_of_things() {
  local file
  for file in "$etc/key" "$etc/$cluster.conf" "/etc/cron.d/pgv-$cluster" "/etc/postgresql/$debian_major/$name/conf.d/pgv.conf" "/etc/postgresql/$debian_major/$name/pg_hba.conf"; do
    stat --format='%n %a %U' "$file"
    sha256sum "$file"
  done
}

set_up() {
  local before delay
  setup 0 --dry-run --repo "file://$scratch/repository"
  [ ! -e "$etc" ] || fail "--dry-run wrote something"
  [ "$(sql_at "$port" "select count(*) from pg_roles where rolname = 'pgv'")" = 0 ] || fail "--dry-run made a role"
  setup 2
  where_it_cannot_write
  for delay in 0.1 0.2 0.4 0.7 1.1 1.6; do
    timeout --signal=KILL "$delay" pgv-setup "$cluster" --repo "file://$scratch/repository" >/dev/null 2>&1 || true
  done
  refusals
  setup 7 --repo "file://$scratch/repository" --sheet "$scratch/sheet"
  [ "$(stat --format=%a "$scratch/sheet")" = 600 ] || fail "who may read the sheet: $(ls -l "$scratch/sheet")"
  grep --quiet 'left to do: restart the server' "$scratch/err" || fail "no word of the restart: $(cat "$scratch/err")"
  [ "$(stat --format='%a %U' "$etc/key" "$etc/$cluster.conf" | sort --unique)" = '600 postgres' ] || fail "who may read: $(ls -l "$etc")"
  grep --quiet --fixed-strings "$(cat "$etc/key")" "$scratch/sheet" || fail "the sheet lacks the key"
  [ "$(sql_at "$port" "select rolsuper from pg_roles where rolname = 'pgv'")" = f ] || fail "the role is a superuser"
  [ "$(grep --count '^local   all,replication pgv' "/etc/postgresql/$debian_major/$name/pg_hba.conf")" -eq 1 ] || fail "pg_hba.conf: $(cat "/etc/postgresql/$debian_major/$name/pg_hba.conf")"
  grep --quiet '^PGUSER=pgv$' "$etc/$cluster.conf" || fail "the configuration has no role"
  [ "$(as_postgres pgv-info "$cluster" --format label | wc --lines)" -ge 1 ] || fail "no backup was taken"
  grep --quiet "^[0-9]* 5 1 \* \*  postgres  timeout 12h pgv-drill $cluster --quiet" "/etc/cron.d/pgv-$cluster" || fail "no drill is scheduled: $(cat "/etc/cron.d/pgv-$cluster" "$scratch/err")"
  before=$(state_of_things)
  pg_ctlcluster "$debian_major" "$name" restart
  setup 0 --no-backup
  [ "$(state_of_things)" = "$before" ] || fail "the second run changed something: $(diff <(echo "$before") <(state_of_things))"
  without_cron
  nothing_scheduled
  as_postgres pgv-backup "$cluster" 2>"$scratch/err" || fail "the backup after the restart exits with $?: $(cat "$scratch/err")"
  as_postgres pgv-check "$cluster" >"$scratch/out" 2>&1 || fail "pgv-check exits with $?: $(cat "$scratch/out"; tail --lines=14 "/var/log/postgresql/postgresql-$debian_major-$name.log")"
  grep --quiet 'was archived, fetched back' "$scratch/out" || fail "archiving was not proved: $(cat "$scratch/out")"
  again
}

# Without a schedule it stays so until another one is asked for.
nothing_scheduled() {
  mv "/etc/cron.d/pgv-$cluster" "$scratch/cron.kept"
  setup 7 --no-backup --schedule none
  grep --quiet "left to do: start pgv-backup $cluster every night" "$scratch/err" || fail "no word of the schedule: $(cat "$scratch/err")"
  setup 0 --no-backup
  [ ! -e "/etc/cron.d/pgv-$cluster" ] || fail "the second run schedules again: $(cat "$scratch/err")"
  setup 0 --no-backup --schedule cron
  [ -e "/etc/cron.d/pgv-$cluster" ] || fail "--schedule cron schedules nothing: $(cat "$scratch/err")"
  rm "/etc/cron.d/pgv-$cluster"
  setup 0 --no-backup
  [ -e "/etc/cron.d/pgv-$cluster" ] || fail "--schedule cron was forgotten: $(cat "$scratch/err")"
  mv "$scratch/cron.kept" "/etc/cron.d/pgv-$cluster"
}

# The first key's name, as pgv-setup makes it.
fingerprint() { # FILE
  { echo 'pgv key name' && cat "$1"; } | sha256sum | cut --characters=1-8
}

# What goes wrong at the server is said, and damages nothing there.
refusals() {
  local hba=/etc/postgresql/$debian_major/$name/pg_hba.conf
  # However far the killed runs came.
  setup 0 --repo "file://$scratch/repository" --no-backup --no-archive
  grep --invert-match 'pgv' "$hba.before-pgv" >"$scratch/hba.first"
  [ "$(cat "$hba.before-pgv")" = "$(cat "$scratch/hba.first")" ] || fail "what pg_hba.conf was is lost: $(cat "$hba.before-pgv")"
  # The file is replaced, never written in: whoever has it open goes on reading what it was.
  cp "$hba.before-pgv" "$hba"
  chown postgres:postgres "$hba"
  chmod 0640 "$hba"
  exec 7<"$hba"
  sql_at "$port" "select pg_reload_conf()" >/dev/null
  echo kept >"$hba.before-pgv"
  # A grant that fails is not passed over.
  sql_at "$port" "alter function pg_switch_wal() rename to pg_switch_wal_away"
  setup 1 --repo "file://$scratch/repository" --no-backup --no-archive
  sql_at "$port" "alter function pg_switch_wal_away() rename to pg_switch_wal"
  setup 0 --repo "file://$scratch/repository" --no-backup --no-archive
  [ "$(cat <&7)" = "$(cat "$scratch/hba.first")" ] || fail "pg_hba.conf was written in"
  exec 7<&-
  [ "$(stat --format='%a %U:%G' "$hba")" = '640 postgres:postgres' ] || fail "pg_hba.conf: $(ls -l "$hba")"
  [ "$(cat "$hba.before-pgv")" = kept ] || fail "pg_hba.conf.before-pgv was overwritten"
  # A server that would not start again.
  rm --force "/etc/postgresql/$debian_major/$name/conf.d/pgv.conf"
  printf 'wal_level = minimal\nmax_wal_senders = 0\n' >"/etc/postgresql/$debian_major/$name/conf.d/minimal.conf"
  pg_ctlcluster "$debian_major" "$name" restart
  setup 7 --repo "file://$scratch/repository"
  grep --quiet 'left to do: wal_level is minimal' "$scratch/err" || fail "no word of wal_level: $(cat "$scratch/err")"
  [ ! -e "/etc/postgresql/$debian_major/$name/conf.d/pgv.conf" ] || fail "archive_mode was set beside wal_level = minimal"
  rm "/etc/postgresql/$debian_major/$name/conf.d/minimal.conf"
  pg_ctlcluster "$debian_major" "$name" restart
}

# What is there stays there: no second first backup, no key but those that are configured, no lost comment.
again() {
  local before labels newest
  labels=$(as_postgres pgv-info "$cluster" --format label)
  setup 0
  grep --quiet "backup $(tail --lines=1 <<<"$labels") exists" "$scratch/err" || fail "no word of the backup: $(cat "$scratch/err")"
  [ "$(as_postgres pgv-info "$cluster" --format label)" = "$labels" ] || fail "another backup was taken"
  newest=$(as_postgres pgv-info "$cluster" --format json | tail --lines=1)
  [[ $newest == *"\"key_name\":\"$(fingerprint "$etc/key")\""* ]] || fail "the record does not name the key: $newest"
  # A rotation as pgv.conf(5) describes it.
  as_postgres sh -c 'umask 077; pgv-crypt --generate-key >"$1/key-2"' sh "$scratch/data"
  mv "$scratch/data/key-2" "$etc/"
  sed --in-place "s|^PGV_KEY_FILE=.*|# The new key first.\nPGV_KEY_FILE=$etc/key-2:$etc/key|" "$etc/$cluster.conf"
  chown postgres "$etc/$cluster.conf"
  before=$(sed "s|^PGV_KEY_NAME=.*|PGV_KEY_NAME=$(fingerprint "$etc/key-2")|" "$etc/$cluster.conf")
  setup 0
  [ "$(cat "$etc/$cluster.conf")" = "$before" ] || fail "the rotation was undone: $(diff <(echo "$before") "$etc/$cluster.conf")"
  as_postgres pgv-backup "$cluster" --type full 2>"$scratch/err" || fail "the backup with the new key exits with $?: $(cat "$scratch/err")"
  rm "$scratch/sheet"
  setup 0 --sheet "$scratch/sheet"
  [ "$(sed --quiet 's/^key  *//p' "$scratch/sheet")" = "$(cat "$etc/key-2" "$etc/key")" ] || fail "the sheet's keys: $(cat "$scratch/sheet")"
  grep --quiet "^ *named $(fingerprint "$etc/key-2"), in $etc/key-2 " "$scratch/sheet" || fail "the sheet does not say whose key it is: $(cat "$scratch/sheet")"
  # A key that is configured and gone is not made anew.
  mv "$etc/key-2" "$etc/away"
  setup 2 --no-backup
  [ ! -e "$etc/key-2" ] || fail "a key was made in the place of one that is gone"
  mv "$etc/away" "$etc/key-2"
  other_sheet
}

# The sheet with each command on one line.
unfolded() { # SHEET
  sed ':again; /\\$/{ N; s/ \\\n */ /; b again; }' "$1"
}

# Everything that a new machine has to be told is from the configuration.
other_sheet() {
  local line
  mkdir "$scratch/other"
  chmod 0755 "$scratch/other"
  cat >"$scratch/other/shop.conf" <<CONF
PGV_REPO="s3://bucket/with blank"
PGV_CLUSTER=trade
PGV_SYSTEM_ID=7
PGV_KEY_FILE=$etc/key
PGV_S3_ENDPOINT_URL=https://127.0.0.1:9
PGV_S3_CA_FILE=/etc/ssl/own.pem
PGV_S3_PATH_STYLE=yes
PGV_S3_TIMEOUT=2s
AWS_ACCESS_KEY_ID=AKIDOFTHESHEET
AWS_SECRET_ACCESS_KEY=nothingtoprint
CONF
  chmod 0600 "$scratch/other/shop.conf"
  chown postgres "$scratch/other/shop.conf"
  PGV_CONFIG_DIR=$scratch/other pgv-setup shop --sheet "$scratch/sheet.other" 2>"$scratch/err" || fail "the sheet of another: $(cat "$scratch/err")"
  chmod 0600 "$scratch/other/shop.conf"
  [ "$(PGV_CONFIG_DIR=$scratch/other PGV_STATE_DIR='' pgv-env shop printenv PGV_CLUSTER)" = trade ] || fail "the configuration's PGV_CLUSTER is not taken"
  for line in 'backups     s3://bucket/with blank/trade/' \
    "  pgv-setup trade --restore-only --repo s3://bucket/with\\ blank --key-file $etc/key --endpoint-url https://127.0.0.1:9 --ca-file /etc/ssl/own.pem --path-style" \
    'access key  AKIDOFTHESHEET' \
    '  aws s3 cp --endpoint-url https://127.0.0.1:9 --ca-bundle /etc/ssl/own.pem s3://bucket/with\ blank/trade/7/backup/LABEL/data.pgv data.pgv' \
    '  sudo -u postgres pgv-restore trade DIRECTORY --system-id 7 --start'; do
    unfolded "$scratch/sheet.other" | grep --line-regexp --fixed-strings -- "$line" >/dev/null || fail "the sheet lacks \"$line\": $(cat "$scratch/sheet.other")"
  done
  ! grep --quiet nothingtoprint "$scratch/sheet.other" "$scratch/err" || fail "the secret is on the sheet"
}

# A machine that has the sheet only: what is on it is typed as it stands.
from_the_sheet() {
  local last try line keys
  last=$(sql_at "$port" "insert into marks values (1); select pg_walfile_name(pg_current_wal_insert_lsn())")
  sql_at "$port" "select pg_switch_wal()" >/dev/null
  for try in $(seq 300); do
    [ "$(sql_at "$port" "select coalesce(last_archived_wal, '') >= '$last' from pg_stat_archiver")" != t ] || break
    sleep 0.1
  done
  [ "$try" -lt 300 ] || fail "$last is not archived"
  pg_ctlcluster "$debian_major" "$name" stop
  rm "$scratch/sheet"
  setup 0 --sheet "$scratch/sheet"
  mapfile -t keys < <(sed --quiet 's/^key  *//p' "$scratch/sheet")
  mv "$etc" "$etc.gone"
  mv "$scratch/state" "$scratch/state.gone"
  # Of a cluster that pg_lsclusters lists and whose data are lost.
  mv "$scratch/data/source" "$scratch/data/lost"
  while read -r line; do
    line=${line//DIRECTORY/$scratch/data/restored}
    bash -c "$line" >"$scratch/out" 2>"$scratch/err" <<<"${keys[0]:-}" || fail "$line exits with $?: $(cat "$scratch/out" "$scratch/err")"
    [[ $line != *'cat >'* ]] || keys=("${keys[@]:1}")
    [[ $line != pgv-setup* ]] || grep --quiet "^$cluster " "$scratch/out" || fail "--restore-only lists: $(cat "$scratch/out")"
  done < <(sed '1,/^On a new machine/d; /^$/,$d' <(unfolded "$scratch/sheet"))
  [ "$(sql_at "$port" 'select count(*) from marks')" = 1 ] || fail "the restored cluster lacks a row"
  as_postgres "$bin/pg_ctl" --pgdata="$scratch/data/restored" --silent stop
  mv "$scratch/data/lost" "$scratch/data/source"
  without_pgv
}

# And no pgv: on a machine whose PATH has none, in an empty directory.
without_pgv() {
  local line free=$((port + 50))
  # A tablespace stays a directory, which a server of 15 or newer refuses unless it is told.
  pg_ctlcluster "$debian_major" "$name" start
  as_postgres mkdir "$scratch/data/far"
  sql_at "$port" "create tablespace far location '$scratch/data/far'"
  sql_at "$port" "create table there tablespace far as select 7 as x"
  pgv-backup "$cluster" --type full 2>"$scratch/err" || fail "a full with a tablespace exits with $?: $(cat "$scratch/err")"
  rm "$scratch/sheet"
  setup 0 --sheet "$scratch/sheet"
  pg_ctlcluster "$debian_major" "$name" stop
  mkdir "$scratch/bare"
  sed '1!d; s/^key  *//' <(grep '^key  ' "$scratch/sheet") >"$scratch/bare/KEY"
  while read -r line; do
    line=${line//DIRECTORY/$scratch/data/stock}
    # Only the port: the label, which is a time, may have these digits, too.
    (cd "$scratch/bare" && PATH=$scratch/sudo-only:/usr/sbin:/usr/bin:/sbin:/bin bash -c "${line// 5433/ $free}") >"$scratch/out" 2>"$scratch/err" </dev/null ||
      fail "$line exits with $?: $(cat "$scratch/out" "$scratch/err" "$scratch/data/stock/start.log")"
  done < <(sed '1,/^Without pgv, as root/d; /^$/,$d' <(unfolded "$scratch/sheet"))
  [ "$(sql_at "$free" 'select x from there')" = 7 ] || fail "the sheet's stock commands restore something else"
  as_postgres "$bin/pg_ctl" --pgdata="$scratch/data/stock" --silent stop
}

# A cluster that is not Debian's, on S3, with secrets from the environment and systemd's timers: by --pgdata, its archive
# settings by ALTER SYSTEM.
elsewhere() {
  local data=$scratch/data/own status=0 auto line endpoint
  "$root/tests/tools/s3-server.sh" start "$scratch/s3" >"$scratch/s3.env" || fail "the S3 server does not start"
  while IFS= read -r line; do export "${line?}"; done < <(grep '^[A-Z_0-9]*=' "$scratch/s3.env")
  endpoint=$PGV_S3_ENDPOINT_URL
  unset PGV_S3_ENDPOINT_URL PGV_S3_REGION
  as_postgres "$bin/initdb" --pgdata="$data" --username=postgres --auth-local=peer --auth-host=reject --no-sync --locale=C --encoding=UTF8 >/dev/null
  port=$((port + 40))
  printf "port = %s\nlisten_addresses = ''\nunix_socket_directories = '/var/run/postgresql'\nfsync = off\n" "$port" | as_postgres tee --append "$data/postgresql.conf" >/dev/null
  start_cluster "$bin" "$data"
  printf '#!/bin/sh\necho "$@" >>"%s/systemctl.said"\n' "$scratch" >"$scratch/bin/systemctl"
  chmod 0755 "$scratch/bin/systemctl"
  export PGV_CONFIG_DIR=$scratch/etc.own PGV_STATE_DIR=$scratch/state.own
  # Under the name of a cluster of Debian's, whose settings are of another server.
  pgv-setup "$cluster" --repo "file://$scratch/nothing" --pgdata "$data" --schedule none --dry-run >"$scratch/out" 2>"$scratch/err" </dev/null ||
    fail "a name that is another server's: $(cat "$scratch/err")"
  grep --quiet 'setting archive_mode with ALTER SYSTEM' "$scratch/err" || fail "the settings of another server: $(cat "$scratch/err")"
  local options=(--repo "s3://$PGV_TEST_BUCKET/set-up" --endpoint-url "$endpoint" --path-style --pgdata "$data" --schedule systemd)
  # Somebody else's archive_command stays.
  sql_at "$port" "alter system set archive_mode = on"
  sql_at "$port" "alter system set archive_command = 'true'"
  as_postgres "$bin/pg_ctl" --pgdata="$data" --log="$data.log" --silent --wait restart
  pgv-setup own "${options[@]}" </dev/null >"$scratch/sheet.own" 2>"$scratch/err" || status=$?
  [ "$status" -eq 7 ] || fail "pgv-setup own exits with $status: $(cat "$scratch/err")"
  grep --quiet 'archive_command is true; it was not changed' "$scratch/err" || fail "no word of archive_command: $(cat "$scratch/err")"
  [ "$(sql_at "$port" 'show archive_command')" = true ] || fail "another archive_command was replaced"
  # Nor does that of another configuration of ours count as this one's.
  sql_at "$port" "alter system set archive_command = '$scratch/bin/pgv-wal-push -c $scratch/etc.own/old.conf %p'"
  sql_at "$port" "select pg_reload_conf()" >/dev/null
  pgv-setup own "${options[@]}" --dry-run </dev/null >"$scratch/sheet.own" 2>"$scratch/err" || status=$?
  grep --quiet "archive_command reads $scratch/etc.own/old.conf, which is not $scratch/etc.own/own.conf" "$scratch/err" || fail "an old configuration: $(cat "$scratch/err")"
  # Without it, ours.
  sql_at "$port" "alter system reset archive_command"
  sql_at "$port" "alter system reset archive_mode"
  as_postgres "$bin/pg_ctl" --pgdata="$data" --log="$data.log" --silent --wait restart
  status=0
  pgv-setup own --pgdata "$data" --schedule systemd </dev/null >"$scratch/sheet.own" 2>"$scratch/err" || status=$?
  [ "$status" -eq 7 ] || fail "pgv-setup own exits with $status: $(cat "$scratch/err")"
  auto=$(cat "$data/postgresql.auto.conf")
  [[ $auto == *"archive_command = '"*"pgv-wal-push -c $scratch/etc.own/own.conf %p'"* ]] || fail "ALTER SYSTEM: $auto"
  as_postgres "$bin/pg_ctl" --pgdata="$data" --log="$data.log" --silent --wait restart
  [ "$(grep --count '^AWS_.*=' "$scratch/etc.own/own.conf")" -eq 2 ] || fail "the secrets are not in the configuration"
  ! grep --quiet --fixed-strings "$AWS_SECRET_ACCESS_KEY" "$scratch/sheet.own" "$scratch/err" || fail "the secret was printed"
  [ "$(sort --unique "$scratch/systemctl.said")" = $'enable --now pgv-backup@own.timer pgv-verify@own.timer pgv-age@own.timer\nenable --now pgv-drill@own.timer' ] || fail "systemctl: $(cat "$scratch/systemctl.said")"
  # Nothing in the environment any more. The first backup's WAL went to `true`, or failed with the old configuration.
  unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
  as_postgres pgv-backup own 2>"$scratch/err" || fail "pgv-backup own exits with $?: $(cat "$scratch/err")"
  as_postgres pgv-check own >"$scratch/out" 2>&1 || fail "pgv-check own exits with $?: $(cat "$scratch/out")"
  # And away again: the timers and what ALTER SYSTEM set; the configuration and the repository stay.
  : >"$scratch/systemctl.said"
  local unit
  status=0
  pgv-setup own --remove </dev/null >"$scratch/out" 2>&1 || status=$?
  [ "$status" -eq 7 ] || fail "pgv-setup own --remove exits with $status: $(cat "$scratch/out")"
  grep --quiet 'left to do: restart the server' "$scratch/out" || fail "no word of archive_mode: $(cat "$scratch/out")"
  for unit in pgv-{backup,verify,age,drill}@own.timer; do
    grep --quiet --line-regexp "disable --now $unit" "$scratch/systemctl.said" || fail "$unit stays: $(cat "$scratch/systemctl.said")"
  done
  auto=$(cat "$data/postgresql.auto.conf")
  [[ $auto != *pgv-wal-push* ]] || fail "ALTER SYSTEM stays: $auto"
  [ -e "$scratch/etc.own/own.conf" ] || fail 'the configuration went'
  as_postgres pgv-info own >/dev/null || fail "pgv-info after --remove exits with $?"
  stop_cluster "$bin" "$data"
  "$root/tests/tools/s3-server.sh" stop "$scratch/s3"
}

main() {
  begin_on_machine
  trap 'status=$?; set +e; drop; (exit "$status"); end' EXIT
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  # What the sheet says is typed on a machine that may have no sudo.
  printf '#!/bin/sh\nshift 2\nexec runuser --user postgres -- "$@"\n' >"$scratch/bin/sudo"
  chmod 0755 "$scratch/bin/sudo"
  mkdir "$scratch/sudo-only"
  chmod 0755 "$scratch/sudo-only"
  cp "$scratch/bin/sudo" "$scratch/sudo-only/"
  # Whether cron is installed here is of no matter.
  ln --symbolic /bin/true "$scratch/bin/cron"
  unset PGHOST PGPORT PGUSER PGDATABASE PGV_KEY_FILE
  as_postgres mkdir "$scratch/repository" "$scratch/data"
  pg_createcluster "$debian_major" "$name" --datadir "$scratch/data/source" -- --data-checksums >/dev/null
  port=$(pg_lsclusters --no-header | awk -v name="$name" '$2 == name { print $3 }')
  pg_ctlcluster "$debian_major" "$name" start
  sql_at "$port" "create table marks (id int)"
  export PGV_CONFIG_DIR=$etc PGV_STATE_DIR=$scratch/state
  # What is killed leaves its trial there.
  export TMPDIR=$scratch
  set_up
  from_the_sheet
  elsewhere
  echo "set-up: killed, repeated, and enough to restore"
}

main

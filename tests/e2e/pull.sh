#!/usr/bin/env bash
# PULL of pgv-hosts(7), typed as it stands but for places: a backup host that has the key and the repository, and a database
# host, behind an SSH server on the loopback, that has neither. A full, a differential, a connection that breaks, a restore.
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
page=$root/man/pgv-hosts.7
bin=$debian_bin

# As the owner of the cluster, who needs no root for it.
start_ssh() {
  local port
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  as_postgres mkdir --mode=0700 "$scratch/ssh" "$scratch/ssh/tmp"
  as_postgres ssh-keygen -q -t ed25519 -N '' -f "$scratch/ssh/host"
  as_postgres ssh-keygen -q -t ed25519 -N '' -f "$scratch/ssh/user"
  mkdir "$scratch/dbhost"
  cp "$PGV_BIN/pgv-snap" "$scratch/dbhost/"
  as_postgres tee "$scratch/ssh/sshd_config" >/dev/null <<CONF
ListenAddress 127.0.0.1:$port
HostKey $scratch/ssh/host
AuthorizedKeysFile $scratch/ssh/user.pub
PidFile $scratch/ssh/pid
StrictModes no
UsePAM no
SetEnv PATH=$scratch/dbhost:/usr/bin:/bin PGHOST=$scratch TMPDIR=$scratch/ssh/tmp
CONF
  as_postgres tee "$scratch/ssh/config" >/dev/null <<CONF
Host db
  HostName 127.0.0.1
  Port $port
  User $(as_postgres id --user --name)
  IdentityFile $scratch/ssh/user
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
CONF
  printf '#!/bin/sh\nexec /usr/bin/ssh -F %s/ssh/config "$@"\n' "$scratch" | install --mode=0755 /dev/stdin "$scratch/bin/ssh"
  as_postgres /usr/sbin/sshd -f "$scratch/ssh/sshd_config" -E "$scratch/ssh/log"
  wait_until as_postgres ssh -n db true
}

stop_ssh() { [ ! -e "$scratch/ssh/pid" ] || kill "$(<"$scratch/ssh/pid")"; }

typed() { # NAME
  page_block "$page" "$1" | sed "s|/etc/pgv|$scratch/etc|g; s|s3://my-bucket/pgv|file://$scratch/repository|; s|bash pull|bash $scratch/here/pull|"
}

main() {
  local status=0 full
  begin
  trap 'status=$?; set +e; stop_ssh; (exit "$status"); end' EXIT
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  create_cluster "$bin" "$scratch/primary"
  start_cluster "$bin" "$scratch/primary"
  sql 'create table marks as select generate_series(1, 50000) as id'
  start_ssh
  ! as_postgres ssh -n db 'command -v pgv-crypt || env | grep ^PGV_' >"$scratch/out" || fail "the database host has more than pgv-snap: $(cat "$scratch/out")"
  unset PGV_KEY_FILE
  as_postgres mkdir "$scratch/etc" "$scratch/here" "$scratch/repository"
  export PGV_STATE_DIR=$scratch/state TMPDIR=$scratch/here
  typed pull-configure >"$scratch/typed"
  as_postgres bash -e "$scratch/typed" 2>"$scratch/err" || fail "configuring exits with $?: $(cat "$scratch/err")"
  typed pull | as_postgres tee "$scratch/here/pull" >/dev/null
  typed pull-run >"$scratch/typed"
  sql 'checkpoint'
  # What the backup host knows of the server it does not need.
  as_postgres env --unset=PGHOST --unset=PGPORT --unset=PGUSER --unset=PGDATABASE bash -e "$scratch/typed" >"$scratch/out" 2>"$scratch/err" || fail "pulling exits with $?: $(cat "$scratch/err")"
  [ "$(as_postgres pgv-info 15-main --format tsv | cut --fields=4 | paste --serial --delimiters=' ')" = 'full diff' ] || fail "what was pulled: $(as_postgres pgv-info 15-main)"
  [ -z "$(ls "$scratch/ssh/tmp")" ] || fail "the private directory is left on the database host"
  as_postgres pgv-verify 15-main >"$scratch/out" 2>&1 || fail "pgv-verify exits with $?: $(cat "$scratch/out")"
  # A database host that dies in the middle.
  # shellcheck disable=SC2016  # of that shell
  printf '#!/bin/sh\n%s/dbhost/pgv-snap.real "$@" | head --bytes=1000000\nkill -KILL $PPID\n' "$scratch" >"$scratch/snap"
  mv "$scratch/dbhost/pgv-snap" "$scratch/dbhost/pgv-snap.real"
  install --mode=0755 "$scratch/snap" "$scratch/dbhost/pgv-snap"
  full=$(find "$scratch/repository" -name record.json | wc --lines)
  as_postgres pgv-env 15-main bash "$scratch/here/pull" db >"$scratch/out" 2>"$scratch/err" || status=$?
  [ "$status" -ne 0 ] || fail "a backup that was cut short is one"
  [ "$(find "$scratch/repository" -name record.json | wc --lines)" -eq "$full" ] || fail "a record of a backup that was cut short"
  [ "$(find "$scratch/repository" -name data.pgv | wc --lines)" -eq "$full" ] || fail "a stream that was cut short has its name"
  as_postgres env "PGV_TEST_PG_BIN=$bin" pgv-restore 15-main "$scratch/copy" --port 5499 --start 2>"$scratch/err" || fail "the restore exits with $?: $(cat "$scratch/err")"
  [ "$(PGPORT=5499 sql 'select count(*) from marks')" = 50000 ] || fail "the copy lacks rows"
  stop_cluster "$bin" "$scratch/copy"
  stop_cluster "$bin" "$scratch/primary"
  echo "pulled: a full, a differential, nothing of what broke, and a restore"
}

main

#!/usr/bin/env bash
# pgv-setup, killed with SIGKILL before each command that changes something, in turn, and run again: it ends as if it had
# never been killed, and the server's own files are at any moment what they were or what they shall be. For make
# test-long.
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
need_root
name=pgvkill$$
cluster=$debian_major-$name
server=/etc/postgresql/$debian_major/$name

drop() {
  pg_dropcluster --stop "$debian_major" "$name" 2>/dev/null || true
  rm --recursive --force "$server"
  rm --force "/etc/cron.d/pgv-$cluster"
}

# Commands that count themselves, and kill whom they were called by when it is their turn.
make_shims() {
  local command
  for command in install chown chmod mv sync cp rm cat runuser pgv-crypt; do
    [ "$command" != pgv-crypt ] || mv "$scratch/bin/pgv-crypt" "$scratch/bin/pgv-crypt.real"
    cat >"$scratch/bin/$command" <<SHIM
#!/bin/sh
if [ -n "\${KILL_AT:-}" ]; then
  # One line for each, whatever is in it.
  set -f
  echo $command \$* >>"$scratch/count"
  if [ "\$(/usr/bin/wc --lines <"$scratch/count")" -eq "\$KILL_AT" ]; then
    kill -KILL "\$(/usr/bin/cat "$scratch/pid")"
    exit 137
  fi
fi
unset KILL_AT
exec $(if [ "$command" = pgv-crypt ]; then echo "$scratch/bin/pgv-crypt.real"; else PATH=/usr/sbin:/usr/bin:/sbin:/bin command -v "$command"; fi) "\$@"
SHIM
    chmod 0755 "$scratch/bin/$command"
  done
}

setup() { # KILL AT: its status
  rm --force "$scratch/count"
  # shellcheck disable=SC2016  # of that shell
  KILL_AT=$1 bash -c 'echo $$ >"$1/pid"; exec pgv-setup "$2" --repo "file://$1/repository" --no-backup' bash "$scratch" "$cluster" \
    >"$scratch/out" 2>"$scratch/err" </dev/null
}

begin_anew() {
  psql_here "drop owned by pgv" "drop role pgv"
  rm --recursive --force "${scratch:?}"/{etc,state,repository} "/etc/cron.d/pgv-$cluster" "$server/conf.d/pgv.conf" "$server"/pg_*.before-pgv* "$server"/*.pgv-new
  cp --archive "$scratch/first/pg_hba.conf" "$scratch/first/pg_ident.conf" "$server/"
  install --directory --owner=postgres "$scratch/repository"
  psql_here "select pg_reload_conf()"
}

psql_here() { # SQL…
  local statement
  for statement in "$@"; do
    as_postgres psql --no-psqlrc --quiet --host=/var/run/postgresql --port="$port" --dbname=postgres --command="$statement" >/dev/null 2>&1 || true
  done
}

# All that is left, without what is another every time: the key and its name, the minute of the schedule.
result() {
  sed '/^PGV_KEY_NAME=/d' "$scratch/etc/$cluster.conf"
  sed 's/^[0-9]* \([149]\) /M \1 /' "/etc/cron.d/pgv-$cluster"
  cat "$server"/pg_hba.conf "$server"/pg_ident.conf "$server"/pg_hba.conf.before-pgv "$server/conf.d/pgv.conf"
  stat --format='%n %a %U:%G' "$scratch/etc" "$scratch/etc/key" "$scratch/etc/$cluster.conf" "$scratch/state" "$server"/pg_{hba,ident}.conf "$server/conf.d/pgv.conf"
}

whole() { # FILE
  cmp --silent "$server/$1" "$scratch/first/$1" || cmp --silent "$server/$1" "$scratch/last/$1"
}

main() {
  local wanted at=0 status
  begin_on_machine
  trap 'status=$?; set +e; drop; (exit "$status"); end' EXIT
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  ln --symbolic /bin/true "$scratch/bin/cron"
  make_shims
  unset PGHOST PGPORT PGUSER PGDATABASE PGV_KEY_FILE
  pg_createcluster "$debian_major" "$name" --datadir "$scratch/source" >/dev/null
  port=$(pg_lsclusters --no-header | awk -v name="$name" '$2 == name { print $3 }')
  pg_ctlcluster "$debian_major" "$name" start
  export PGV_CONFIG_DIR=$scratch/etc PGV_STATE_DIR=$scratch/state
  mkdir "$scratch/first" "$scratch/last"
  cp --archive "$server"/pg_{hba,ident}.conf "$scratch/first/"
  begin_anew
  setup 100000 || [ $? -eq 7 ] || fail "set-up exits with $?: $(cat "$scratch/err")"
  wanted=$(result)
  cp --archive "$server"/pg_{hba,ident}.conf "$scratch/last/"
  while true; do
    at=$((at + ${PGV_TEST_STEP:-1})) status=0
    begin_anew
    setup "$at" 2>/dev/null || status=$?
    [ "$status" -eq 137 ] || break
    { whole pg_hba.conf && whole pg_ident.conf; } ||
      fail "killed at $at ($(tail --lines=1 "$scratch/count")), and the server's files are damaged"
    setup 100000 || [ $? -eq 7 ] || fail "after it was killed at $at set-up exits with $?: $(cat "$scratch/err")"
    [ "$(result)" = "$wanted" ] || fail "killed at $at, and another result: $(diff <(echo "$wanted") <(result))"
  done
  # It came to its end, with fewer commands than that.
  [[ $status =~ ^[07]$ && $(wc --lines <"$scratch/count") -lt $at ]] ||
    fail "not killed at $at, set-up exits with $status: $(cat "$scratch/err")"
  # What the owner does in one shell counts once: 48 today, and fewer would mean that not all are seen.
  [ "$at" -gt 48 ] || fail "it runs only $at commands"
  echo "set-up: killed before each of $((at - 1)) commands, and the same in the end"
}

main

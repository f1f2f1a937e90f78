#!/usr/bin/env bash
# pgv-drill, killed with SIGKILL before each command that it runs, in turn, and run again: the next one ends as if there had
# been no other, and leaves neither a server nor a directory. For make test-long.
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)

# Commands that count themselves, and kill whom they were called by when it is their turn.
make_shims() {
  local command
  for command in cut date df find flock mkdir psql pgv-info pgv-restore pgv-s3 rm sed sleep tail touch tr; do
    mkdir --parents "$scratch/real"
    [ ! -e "$scratch/bin/$command" ] || mv "$scratch/bin/$command" "$scratch/real/$command"
    cat >"$scratch/bin/$command" <<SHIM
#!/bin/sh
if [ -n "\${KILL_AT:-}" ]; then
  echo "$command \$*" >>"$scratch/state/count"
  if [ "\$(/usr/bin/wc --lines <"$scratch/state/count")" -ge "\$KILL_AT" ]; then # stages of a pipe count together
    kill -KILL "\$(/usr/bin/cat "$scratch/state/pid")"
    exit 137
  fi
fi
unset KILL_AT
exec $(if [ -e "$scratch/real/$command" ]; then echo "$scratch/real/$command"; else PATH=/usr/bin:/bin command -v "$command"; fi) "\$@"
SHIM
    chmod 0755 "$scratch/bin/$command"
  done
  # A script finds its library beside itself.
  cp "$root"/scripts/pgv-*.sh "$scratch/real/"
}

drill() { # KILL AT: its status
  as_postgres rm --force "$scratch/state/count"
  # shellcheck disable=SC2016  # of that shell
  as_postgres env KILL_AT="$1" bash -c 'echo $$ >"$1/state/pid"; exec pgv-drill demo --scratch "$1/scratch" --sql "select count(*) = 100 from t"' \
    bash "$scratch" >"$scratch/out" 2>"$scratch/err" </dev/null
}

servers() { pgrep --full "postgres .*$scratch/scratch" || true; }

main() {
  local at=0 status
  begin
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  bin=$debian_bin
  as_postgres mkdir "$scratch"/{etc,repository,state,scratch}
  as_postgres tee "$scratch/etc/demo.conf" >/dev/null <<CONF
PGV_REPO=file://$scratch/repository
PGV_KEY_FILE=$PGV_KEY_FILE
PGV_STATE_DIR=$scratch/state
PGHOST="$scratch"
CONF
  as_postgres chmod 0600 "$scratch/etc/demo.conf"
  export PGV_CONFIG_DIR=$scratch/etc PGV_TEST_PG_BIN=$bin
  create_cluster "$bin" "$scratch/source"
  start_cluster "$bin" "$scratch/source"
  sql "create table t as select id from generate_series(1, 100) id"
  as_postgres pgv-backup demo 2>"$scratch/err" || fail "pgv-backup exits with $?: $(cat "$scratch/err")"
  stop_cluster "$bin" "$scratch/source"
  make_shims
  while true; do
    at=$((at + ${PGV_TEST_STEP:-1})) status=0
    drill "$at" 2>/dev/null || status=$?
    [ "$status" -eq 137 ] || break
    # What a killed drill had begun ends by itself, and holds the scratch space until then.
    for try in $(seq 60); do
      status=0
      drill 100000 || status=$?
      [ "$status" -eq 75 ] || break
      sleep 0.5
    done
    [ "$status" -eq 0 ] || fail "after it was killed at $at the drill exits with $status, in try $try: $(cat "$scratch/err")"
    [ -z "$(servers)" ] || fail "killed at $at, a server runs: $(servers)"
    # The lock's file may stay: who removed it could take it from another.
    [ "$(ls --almost-all "$scratch/scratch")" = pgv-drill.lock ] || fail "killed at $at, and left: $(find "$scratch/scratch" -maxdepth 2)"
  done
  [ "$status" -eq 0 ] || fail "the drill exits with $status: $(cat "$scratch/err")"
  [ "$at" -gt 15 ] || [ "${PGV_TEST_STEP:-1}" -gt 1 ] || fail "killed at $at moments only"
  echo "drill: killed before each of $((at - 1)) commands, and the next one is good"
}

main

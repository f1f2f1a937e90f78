#!/usr/bin/env bash
# Everything at once for MINUTES: a server under load that archives, and backups of all types, expiry, copies, verifications,
# drills and restored segments in a random order, of which every third is killed with all its processes, and now and then the
# push of a segment. Memory and files are watched. What runs undisturbed ends with 0, and at the end a restore equals the
# source. PGV_TEST_SEED repeats an order.
set -euo pipefail
shopt -s inherit_errexit

minutes=${1:-5}
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
seed=${PGV_TEST_SEED:-$$}
# KiB that one process may hold, as in tests/e2e/memory.sh.
memory_bound=$((96 * 1024))
# What one killed run of each kind may leave until the next of its kind; a leak grows beyond any such number.
files_bound=200
sets_bound=5

# When a push was killed three times PostgreSQL waits for a minute, which is all that a backup waits by default.
configure() {
  as_postgres mkdir "$scratch"/{etc,repository,copy,state,spare}
  as_postgres tee "$scratch/etc/demo.conf" >/dev/null <<CONF
PGV_REPO=file://$scratch/repository
PGV_KEY_FILE=$PGV_KEY_FILE
PGV_STATE_DIR=$scratch/state
PGV_PGDATA=$source
PGV_KEEP_FULL=2
PGV_WAL_JOBS=2
PGV_WAL_TIMEOUT=150s
PGHOST=$scratch
CONF
  as_postgres chmod 0600 "$scratch/etc/demo.conf"
  export PGV_CONFIG_DIR=$scratch/etc TMPDIR=$scratch/spare
  as_postgres tee --append "$source/postgresql.conf" >/dev/null <<CONF
archive_mode = on
archive_command = '$scratch/bin/push $scratch %p'
archive_timeout = 10s
CONF
}

# The most that any binary of pgv held, by name, in $scratch/peaks.
watch_memory() {
  local pid name kib
  local -A peak=()
  while [ -e "$scratch/watching" ]; do
    for pid in $(pgrep '^pgv-'); do
      # A process may end while it is looked at.
      [[ $(readlink "/proc/$pid/exe" 2>/dev/null) == "$scratch"/* ]] || continue
      read -r name kib < <(awk '$1 == "Name:" { name = $2 } $1 == "VmHWM:" { print name, $2 }' "/proc/$pid/status" 2>/dev/null) || continue
      [ "${kib:-0}" -le "${peak[$name]:-0}" ] || peak[$name]=$kib
    done
    for name in "${!peak[@]}"; do echo "$name ${peak[$name]}"; done >"$scratch/peaks.new"
    mv "$scratch/peaks.new" "$scratch/peaks"
    sleep 0.1
  done
}

check_memory() {
  awk -v bound="$memory_bound" '$2 > bound { print; bad = 1 } END { exit bad }' "$scratch/peaks" >"$scratch/over" ||
    fail "more memory than $memory_bound KiB: $(cat "$scratch/over")"
}

check_files() {
  local sets pushes
  pushes=$(wc --lines <"$scratch/pushes")
  # A killed drill leaves a whole cluster to the next one.
  state_files=$(find "$scratch/state" -path "$scratch/state/drill/pgv-drill" -prune -o -print | wc --lines) spare_files=$(find "$scratch/spare" | wc --lines)
  temporary=$(find "$scratch/repository" "$scratch/copy" -name '.*' -type f | wc --lines)
  sets=$(find "$scratch"/repository/demo/*/backup -mindepth 1 -maxdepth 1 -type d ! -exec test -e '{}/record.json' \; -print 2>/dev/null | wc --lines)
  [ "$state_files" -le "$files_bound" ] || fail "$state_files files in the state directory: $(find "$scratch/state" | tail)"
  [ "$spare_files" -le "$files_bound" ] || fail "$spare_files files in TMPDIR: $(find "$scratch/spare" | tail)"
  # A killed push leaves its part of a segment; expiry removes it after two days, so that no running upload is hurt.
  [ "$temporary" -le $((20 + pushes)) ] || fail "$temporary temporary files in the repository: $(find "$scratch/repository" -name '.*' | tail)"
  [ "$sets" -le "$sets_bound" ] || fail "$sets sets without a record: $(ls "$scratch"/repository/demo/*/backup)"
}

get_segment() {
  local name
  name=$(find "$scratch"/repository/demo/*/wal -name '????????????????????????.pgv' -printf '%f\n' | shuf --head-count=1)
  name=${name%.pgv}
  # Its place in the archive may be emptied by expiry, or the name be its first.
  [ -n "$name" ] || return 0
  cd "$source"
  pgv-wal-get -c "$PGV_CONFIG_DIR/demo.conf" "$name" "$scratch/state/got"
}

act() { # ACTION
  local side=$scratch/etc/demo.conf
  case $1 in
    full | diff | incr) pgv-backup demo --type "$1" --wait 1min ;;
    files) pgv-backup demo --type incr --files --wait 1min ;;
    expire) pgv-expire demo --keep-full 2 --wait 1min ;;
    copy) pgv-copy "file://$scratch/repository" "file://$scratch/copy" --source-config "$side" --destination-config "$side" ;;
    verify) pgv-verify demo ;;
    drill) pgv-drill demo --sql 'select count(*) > 0 from pgbench_accounts' ;;
    get) get_segment ;;
  esac
}
export -f act get_segment

# In a process group of its own, which is killed after some tenths of a second if `killed` is not empty. Sets `status`.
run_action() { # ACTION
  local group
  status=0
  # shellcheck disable=SC2016  # of that shell
  setsid as_user bash -c 'set -euo pipefail; act "$1"' bash "$1" >"$scratch/action.log" 2>&1 &
  group=$!
  if [ -n "$killed" ]; then
    sleep "$((RANDOM % 2)).$((RANDOM % 10))$((RANDOM % 10))"
    kill -KILL -- "-$group" 2>/dev/null || true
  fi
  wait "$group" 2>/dev/null || status=$?
}

# The next push of a segment, with all its processes, in some milliseconds; PostgreSQL gives it the same segment again.
kill_a_push() {
  [ ! -e "$scratch/kill-push" ] || return 0
  as_postgres tee "$scratch/kill-push.new" <<<"0.0$((RANDOM % 7 + 1))" >/dev/null
  as_postgres mv "$scratch/kill-push.new" "$scratch/kill-push"
  sql 'select pg_switch_wal()' >/dev/null
}

make_pusher() {
  cat >"$scratch/bin/push" <<'PUSH'
#!/bin/bash
export PGV_CONFIG_DIR=$1/etc
if in=$(cat "$1/kill-push" 2>/dev/null); then
  rm "$1/kill-push"
  echo "$2" >>"$1/pushes"
  exec timeout --signal=KILL "$in" "$1/bin/pgv-wal-push" demo "$2"
fi
exec "$1/bin/pgv-wal-push" demo "$2"
PUSH
  chmod 0755 "$scratch/bin/push"
}

contents() { # a number that only the same rows have
  sql "select (select md5(string_agg(t::text, ',' order by aid)) from pgbench_accounts t) ||
    (select count(*) || ' ' || coalesce(sum(delta), 0) from pgbench_history)"
}

ended_load() {
  local pid=$scratch/state/drill/pgv-drill/data/postmaster.pid
  rm --force "$scratch/watching"
  [ -z "${load:-}" ] || kill "$load" 2>/dev/null || true
  # A killed drill leaves its server to the next one; after a failure there is none.
  [ "$1" -eq 0 ] || [ ! -e "$pid" ] || kill -QUIT "$(head --lines=1 "$pid")" 2>/dev/null || true
}

main() {
  local action killed status runs=0 kills=0 pushes load watcher end_at before
  local actions=(full diff incr incr files expire copy verify drill drill get)
  begin
  trap 'status=$?; ended_load "$status"; (exit "$status"); end' EXIT
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  # setsid starts a program, and as_postgres is none.
  printf '#!/bin/bash\n%s "$@"\n' "$([ "$(id --user)" -ne 0 ] || echo 'exec runuser --user postgres --')" >"$scratch/bin/as_user"
  chmod 0755 "$scratch/bin/as_user"
  source=$scratch/source bin=$(server_bin "$debian_major")
  export scratch source PGV_TEST_PG_BIN=$bin
  create_cluster "$bin" "$source"
  configure
  make_pusher
  start_cluster "$bin" "$source"
  pgbench --initialize --scale=5 --quiet 2>/dev/null
  as_postgres pgv-backup demo >"$scratch/action.log" 2>&1 || fail "the first backup: $(cat "$scratch/action.log")"
  RANDOM=$seed
  touch "$scratch/watching" "$scratch/peaks"
  as_postgres touch "$scratch/pushes"
  watch_memory &
  watcher=$!
  end_at=$((SECONDS + minutes * 60))
  pgbench --time=$((minutes * 60 + 600)) --client=2 --rate=100 >"$scratch/pgbench.log" 2>&1 &
  load=$!

  while [ "$SECONDS" -lt "$end_at" ]; do
    action=${actions[RANDOM % ${#actions[@]}]} killed=
    [ $((RANDOM % 3)) -ne 0 ] || killed=yes
    [ $((RANDOM % 4)) -ne 0 ] || kill_a_push
    run_action "$action"
    runs=$((runs + 1))
    case $status:$killed in
      0:*) ;;
      *:yes) kills=$((kills + 1)) ;;
      *) fail "run $runs of seed $seed: $action exits with $status: $(cat "$scratch/action.log")" ;;
    esac
    [ "$action:$status" != drill:0 ] || [ "$(ls --almost-all "$scratch/state/drill")" = pgv-drill.lock ] ||
      fail "a drill left $(ls --almost-all "$scratch/state/drill")"
    check_memory
    check_files
    echo "$SECONDS s: $action ${killed:+killed }$status; files: state $state_files, TMPDIR $spare_files, temporary $temporary"
    kill -0 "$load" 2>/dev/null || fail "the load ended: $(tail --lines=3 "$scratch/pgbench.log")"
    # Labels have seconds.
    sleep 1
  done

  ended_load 0
  wait "$load" "$watcher" 2>/dev/null || true
  killed=
  for action in incr verify drill; do
    run_action "$action"
    [ "$status" -eq 0 ] || fail "at the end: $action exits with $status: $(cat "$scratch/action.log")"
  done
  before=$(contents)
  sql 'select pg_switch_wal()' >/dev/null
  wait_until all_is_archived
  stop_cluster "$bin" "$source"
  as_postgres pgv-restore demo "$scratch/restored" --start >"$scratch/action.log" 2>&1 || fail "the restore: $(cat "$scratch/action.log")"
  [ "$(contents)" = "$before" ] || fail "seed $seed: what was restored is not what was there"
  stop_cluster "$bin" "$scratch/restored"
  pushes=$(wc --lines <"$scratch/pushes")
  sed 's/$/ KiB at most/' "$scratch/peaks"
  echo "soak: $runs runs in $minutes minutes, $kills killed, $pushes pushes killed; the restore equals the source (seed $seed)"
}

main
